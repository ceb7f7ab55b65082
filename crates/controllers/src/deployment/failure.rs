//! Whether the new pods of a Compose service fail, and what then.
//!
//! Kubernetes waits until a deadline and leaves the rest to people. A service with an update rule is judged by its new
//! containers' failures, and goes back (or stops) by itself. The judgement ends when the update has: what fails a month
//! later is no failure of the update.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use naru_api::naru::names;
use naru_client::PatchKind;
use serde_json::{Value, json};

use super::plan::Rollout;
use super::revision;
use super::template;
use super::update::{FailureAction, UpdateRule};
use crate::ownership::key;
use crate::plan::{Notice, Plan, Write};
use crate::resources::DEPLOYMENTS;
use crate::views::{Condition, Deployment, Phase, Pod, ReplicaSet};

/// Reasons for which a container waits that do not pass by themselves.
const STUCK: [&str; 8] = [
    "CrashLoopBackOff",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Whether a container of the pod cannot start.
pub(super) fn is_stuck(pod: &Pod) -> bool {
    let containers = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    containers.flat_map(|container| &container.state.waiting).any(|waiting| STUCK.contains(&waiting.reason.as_str()))
}

/// Whether a container's health test has failed too often, while nothing ends it for that.
pub(super) fn is_unhealthy(pod: &Pod) -> bool {
    Condition::find(&pod.status.conditions, names::UNHEALTHY).is_some_and(Condition::is_true)
}

/// Whether a new pod counts as failed.
fn has_failed(pod: &Pod, rule: &UpdateRule) -> bool {
    if pod.status.phase == Phase::Failed || is_stuck(pod) || is_unhealthy(pod) {
        return true;
    }
    pod.status.container_statuses.iter().filter(|container| container.restart_count > 0).any(|container| {
        let ended = container.last_state.terminated.as_ref().and_then(|end| end.finished_at);
        match (pod.is_ready(), ended, pod.status.start_time) {
            (true, Some(ended), Some(started)) => ended <= started + signed(rule),
            // Restarted and still not serving, or restarted at a time nobody knows.
            _ => true,
        }
    })
}

/// How many of a set's pods failed and do not serve.
pub(super) fn fallen(pods: &[Arc<Pod>], rule: &UpdateRule) -> i32 {
    let lost = |pod: &&Arc<Pod>| !pod.metadata.is_deleting() && !pod.is_ready() && has_failed(pod, rule);
    i32::try_from(pods.iter().filter(lost).count()).unwrap_or(i32::MAX)
}

fn signed(rule: &UpdateRule) -> SignedDuration {
    SignedDuration::try_from(rule.monitor).unwrap_or(SignedDuration::MAX)
}

/// What the record of a rollback says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The hash of the template gone back to.
    to: String,
    /// Why.
    pub(super) message: String,
}

/// The record of the last rollback, if the Deployment still has the template gone back to.
pub(super) fn record(deployment: &Deployment) -> Option<Record> {
    let value = note(deployment, names::ROLLED_BACK)?;
    let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let record = Record { to: field("to"), message: field("message") };
    (record.to == template::hash(&deployment.spec.template, None)).then_some(record)
}

fn note(deployment: &Deployment, annotation: &str) -> Option<Value> {
    serde_json::from_str(deployment.metadata.annotation(annotation)?).ok()
}

/// A pause that we, and nobody else, have ordered.
///
/// It is a Deployment's own pause, so that every tool sees it and `kubectl rollout resume` ends it; the record beside it
/// tells it from a person's pause, which only people end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// None, or a person's.
    Foreign,
    /// The update to the present template is paused, for this reason.
    Standing(String),
    /// Somebody has resumed the update just now: that must be written down.
    Ended(Value),
    /// Somebody has resumed the update, and it is judged no more.
    Overruled,
    /// A newer template has overtaken it.
    Overtaken,
}

pub(super) fn pause(deployment: &Deployment) -> Pause {
    let Some(mut record) = note(deployment, names::UPDATE_PAUSED) else { return Pause::Foreign };
    let (present, resumed) = (template::hash(&deployment.spec.template, None), record["resumed"] == true);
    match (record["of"] == present, deployment.spec.paused) {
        (true, true) if !resumed => Pause::Standing(record["message"].as_str().unwrap_or_default().to_owned()),
        (true, false) if !resumed => {
            record["resumed"] = true.into();
            Pause::Ended(record)
        }
        (true, _) => Pause::Overruled,
        // Whoever pauses after having resumed means it for what comes next as well.
        (false, true) if resumed => Pause::Foreign,
        (false, _) => Pause::Overtaken,
    }
}

/// Ends our pause because a newer template is there.
pub(super) fn lift(plan: &mut Plan, deployment: &Deployment) {
    plan.reason = "a newer template ends the pause".into();
    let patch = json!({
        "metadata": {
            "resourceVersion": deployment.metadata.resource_version,
            "annotations": { names::UPDATE_PAUSED: null },
        },
        "spec": { "paused": false },
    });
    plan.push(Write::merge(DEPLOYMENTS, key(&deployment.metadata), patch));
}

/// The judgement on the update that is under way.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing speaks against it (yet); judge again at this time.
    Pending(Option<Timestamp>),
    /// Every new pod has served for the whole monitored time.
    Good,
    /// Too many new pods failed.
    Failed(String),
}

pub(super) fn judge(rollout: &Rollout<'_>, rule: &UpdateRule, now: Timestamp) -> Verdict {
    let Some(new) = rollout.new.filter(|new| new.metadata.annotation(names::SETTLED).is_none()) else {
        return Verdict::Pending(None);
    };
    let pods = rollout.pods_of(new);
    let failed = pods.iter().filter(|pod| !pod.metadata.is_deleting() && has_failed(pod, rule)).count();
    let all = rollout.bounds.replicas.max(1);
    if failed > 0 && failed as f64 > f64::from(all) * rule.max_failure_ratio {
        return Verdict::Failed(format!("{failed} of {all} containers failed"));
    }
    let progress = Condition::find(&rollout.deployment.status.conditions, "Progressing");
    let current = rollout.deployment.status.observed_generation >= rollout.deployment.metadata.generation;
    if current && progress.is_some_and(|progress| progress.reason == "ProgressDeadlineExceeded") {
        return Verdict::Failed("the containers did not become ready in time".into());
    }
    if !rollout.is_complete() {
        return Verdict::Pending(None);
    }
    let since = pods.iter().filter_map(|pod| pod.ready_since().or(pod.status.start_time)).max();
    match since.map(|since| since + signed(rule)) {
        Some(end) if end > now => Verdict::Pending(Some(end)),
        _ => Verdict::Good,
    }
}

/// Acts on a failed update. Returns whether the plan is thereby made.
pub(super) fn act(plan: &mut Plan, rollout: &Rollout<'_>, rule: &UpdateRule, why: &str) -> bool {
    let deployment = rollout.deployment;
    let target = rollout.old.iter().max_by_key(|set| revision::of(&set.metadata));
    let already = record(deployment).is_some();
    match (rule.failure_action, target) {
        (FailureAction::Continue, _) => return false,
        (FailureAction::Rollback, Some(target)) if !already => {
            plan.reason = format!("rolling back: {why}").into();
            plan.push(rollback(rollout, target, why));
            plan.notices
                .push(notice(rollout, format!("Rolled back to revision {}: {why}", revision::of(&target.metadata))));
        }
        // A first deployment has nothing to go back to, and is not an update that could be paused.
        (_, None) => return false,
        _ => {
            plan.reason = format!("pausing the update: {why}").into();
            let of = template::hash(&deployment.spec.template, None);
            let record = json!({ "of": of, "message": why }).to_string();
            let patch = json!({
                "metadata": {
                    "resourceVersion": deployment.metadata.resource_version,
                    "annotations": { names::UPDATE_PAUSED: record },
                },
                "spec": { "paused": true },
            });
            plan.push(Write::merge(DEPLOYMENTS, key(&deployment.metadata), patch));
            plan.notices.push(notice(rollout, format!("Paused the update: {why}")));
        }
    }
    true
}

fn rollback(rollout: &Rollout<'_>, target: &ReplicaSet, why: &str) -> Write {
    let meta = &rollout.deployment.metadata;
    let before = template::bare(&target.spec.template);
    let record = json!({
        "from": revision::of(&rollout.new.map(|new| new.metadata.clone()).unwrap_or_default()),
        "to": template::hash(&before, None),
        "message": why,
    });
    // A JSON patch, because a merge would keep the fields that only the failed template has. The annotations exist:
    // the update rule is one of them. The version is written and not tested, so that a stale one is a conflict.
    let patch = json!([
        { "op": "add", "path": "/metadata/resourceVersion", "value": meta.resource_version },
        { "op": "replace", "path": "/spec/template", "value": before },
        { "op": "add", "path": format!("/metadata/annotations/{}", names::ROLLED_BACK.replace('/', "~1")),
          "value": record.to_string() },
    ]);
    Write::Patch { resource: DEPLOYMENTS, key: key(meta), subresource: None, kind: PatchKind::Json, patch }
}

fn notice(rollout: &Rollout<'_>, message: String) -> Notice {
    let meta = &rollout.deployment.metadata;
    Notice {
        resource: DEPLOYMENTS,
        key: key(meta),
        uid: meta.uid.clone(),
        warning: true,
        reason: "UpdateFailed",
        message,
    }
}
