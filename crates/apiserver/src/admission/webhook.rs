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

use super::chain::Review;
use super::expression::{Asked, Variables, all_hold};
use super::matching::Match;
use crate::routes::Route;

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

/// Asks those that change objects. `object` has the form in which the request names it. `None`: nobody changes it.
///
/// # Errors
/// When one refuses, or cannot be asked and must not be passed over.
pub(crate) async fn mutate(review: &Review<'_>, hooks: &Hooks, object: &Value) -> Result<Option<Value>, Status> {
    let mut changed = None;
    // How often the object had changed when each was last asked.
    let mut seen: Vec<Option<usize>> = vec![None; hooks.mutating().len()];
    let mut changes = 0;
    for round in 0..2 {
        for (hook, seen) in hooks.mutating().iter().zip(&mut seen) {
            // Asked once, and once more if it wants to know what others did after it.
            let due = match (round, *seen) {
                (0, _) => true,
                (_, Some(then)) => hook.reinvoked && then < changes,
                (_, None) => false,
            };
            if !due {
                continue;
            }
            let object = changed.as_ref().unwrap_or(object);
            let Some(ask) = ask(hook, &Asked::new(review, Some(object)))? else { continue };
            if let Some(other) = call::mutate(review, hook, &ask, object, round).await? {
                changes += 1;
                changed = Some(other);
            }
            *seen = Some(changes);
        }
    }
    Ok(changed)
}

/// Asks those that only judge. `object` has the form in which the request names it; `None`: it is removed.
///
/// # Errors
/// The first refusal, in the order of the configurations.
pub(crate) async fn validate(review: &Review<'_>, hooks: &Hooks, object: Option<&Value>) -> Result<(), Status> {
    let mut answers: Vec<BoxFuture<'_, Result<(), Status>>> = Vec::new();
    for (hook, ask) in chosen(review, hooks, object)? {
        answers.push(Box::pin(async move { call::validate(review, hook, &ask, object).await }));
    }
    futures_util::future::join_all(answers).await.into_iter().collect()
}

/// Those that are to be asked for their judgement.
fn chosen<'h>(review: &Review<'_>, hooks: &'h Hooks, object: Option<&Value>) -> Result<Vec<(&'h Hook, Match)>, Status> {
    let asked = Asked::new(review, object);
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
    let Asked { review, object, .. } = *asked;
    let Some(ask) = hook.constraints.matches(review, object).filter(|_| hook.constraints.has_rules()) else {
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
