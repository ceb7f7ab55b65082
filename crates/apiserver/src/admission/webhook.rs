//! Admission webhooks: programs of the cluster's users that change objects on their way in, and refuse them.
//!
//! Configurations are read and their expressions compiled when they change, not for each request; without any, a request
//! pays for two comparisons. Those that change are asked one after another, in the order of their configurations' names;
//! those that only judge are asked at once.

mod call;
mod config;

use futures_util::future::BoxFuture;
use naru_api::Status;
use serde_json::Value;

use super::chain::{Review, Seen};
use super::expression::{Asked, Variables, all_hold};
use super::matching::Match;
use crate::routes::Route;

pub(super) use call::converted;
use config::Hook;
pub(crate) use config::{Cache, Hooks, faults};

/// What no webhook may stand in the way of: or a broken one could not be removed.
pub(crate) fn exempt(route: &Route) -> bool {
    matches!(
        &*route.collection,
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
            | "validatingwebhookconfigurations.admissionregistration.k8s.io"
            | "mutatingadmissionpolicies.admissionregistration.k8s.io"
            | "mutatingadmissionpolicybindings.admissionregistration.k8s.io"
            | "validatingadmissionpolicies.admissionregistration.k8s.io"
            | "validatingadmissionpolicybindings.admissionregistration.k8s.io"
    )
}

/// How far those that change objects came with one of them.
#[derive(Default)]
pub(crate) struct Progress {
    /// How often all were asked before.
    rounds: usize,
    /// How often the object had changed when each was last asked.
    seen: Vec<Option<usize>>,
    changes: usize,
}

/// Asks those that change objects; from the second time on, those who want to know what others did after them. `moved`
/// says that somebody else changed the object since the last time. `None`: nobody changes it.
///
/// # Errors
/// When one refuses, or cannot be asked and must not be passed over.
pub(crate) async fn mutate(
    review: &Review<'_>,
    hooks: &Hooks,
    seen: Seen<'_>,
    progress: &mut Progress,
    moved: bool,
) -> Result<Option<Value>, Status> {
    let Some(object) = seen.new.filter(|_| !hooks.mutating().is_empty()) else { return Ok(None) };
    let round = progress.rounds;
    progress.rounds += 1;
    progress.seen.resize(hooks.mutating().len(), None);
    progress.changes += usize::from(moved);
    let mut changed = None;
    for (hook, asked) in hooks.mutating().iter().zip(&mut progress.seen) {
        let due = match (round, *asked) {
            (0, _) => true,
            (_, Some(then)) => hook.reinvoked && then < progress.changes,
            (_, None) => false,
        };
        if !due {
            continue;
        }
        let object = changed.as_ref().unwrap_or(object);
        let Some(ask) = ask(hook, &Asked::new(review, Seen { new: Some(object), ..seen }))? else { continue };
        if let Some(other) = call::mutate(review, hook, &ask, object, round).await? {
            progress.changes += 1;
            changed = Some(other);
        }
        *asked = Some(progress.changes);
    }
    Ok(changed)
}

/// Asks those that only judge.
///
/// # Errors
/// The first refusal, in the order of the configurations.
pub(crate) async fn validate(review: &Review<'_>, hooks: &Hooks, seen: Seen<'_>) -> Result<(), Status> {
    let mut answers: Vec<BoxFuture<'_, Result<(), Status>>> = Vec::new();
    for (hook, ask) in chosen(review, hooks, seen)? {
        answers.push(Box::pin(async move { call::validate(review, hook, &ask, seen.new).await }));
    }
    futures_util::future::join_all(answers).await.into_iter().collect()
}

/// Those that are to be asked for their judgement.
fn chosen<'h>(review: &Review<'_>, hooks: &'h Hooks, seen: Seen<'_>) -> Result<Vec<(&'h Hook, Match)>, Status> {
    let asked = Asked::new(review, seen);
    let mut chosen = Vec::new();
    for hook in hooks.validating() {
        chosen.extend(ask(hook, &asked)?.map(|ask| (hook, ask)));
    }
    Ok(chosen)
}

/// Whether a webhook is to be asked, and in which form it is shown the object.
///
/// # Errors
/// When a condition fails and the webhook must not be passed over.
fn ask(hook: &Hook, asked: &Asked<'_>) -> Result<Option<Match>, Status> {
    let Asked { review, seen, .. } = *asked;
    let Some(ask) = hook.constraints.matches(review, seen.new).filter(|_| hook.constraints.has_rules()) else {
        return Ok(None);
    };
    match all_hold(&hook.conditions, &Variables::of(asked)) {
        Ok(true) => Ok(Some(ask)),
        Ok(false) => Ok(None),
        Err(why) if hook.required => {
            let text = format!("{} is forbidden: {why}", review.route.kind.group_resource());
            Err(Status::new(naru_api::Reason::Forbidden, text))
        }
        Err(why) => {
            tracing::warn!(webhook = hook.name, why, "a condition failed; the webhook is passed over");
            Ok(None)
        }
    }
}
