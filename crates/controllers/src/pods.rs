//! What the controllers that make pods share: making one from a template, and judging the ones there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use naru_api::naru::names;
use naru_client::Resource;
use serde_json::{Value, json};

use crate::ownership::key;
use crate::plan::{Notice, Plan, Write};
use crate::resources::PODS;
use crate::views::{Meta, Owner, Phase, Pod};

/// The cost annotation by which users choose what is deleted first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Whether and since when a pod serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It is not ready.
    No,
    /// It is ready and will count from this time on.
    From(Timestamp),
    /// It has been ready for long enough.
    Yes,
}

/// Judges a pod against `minReadySeconds`.
pub(crate) fn availability(pod: &Pod, min_ready_seconds: i64, now: Timestamp) -> Availability {
    if !pod.is_ready() {
        return if ran_its_course(pod) { Availability::Yes } else { Availability::No };
    }
    if min_ready_seconds <= 0 {
        return Availability::Yes;
    }
    let Some(since) = pod.ready_since() else { return Availability::No };
    let from = since.saturating_add(SignedDuration::from_secs(min_ready_seconds)).unwrap_or(Timestamp::MAX);
    if from <= now { Availability::Yes } else { Availability::From(from) }
}

/// A pod which is meant to end by its restart rule and ended well: it has done what was asked for.
fn ran_its_course(pod: &Pod) -> bool {
    let statuses = &pod.status.container_statuses;
    // Its node keeps such a pod's phase at Running, because it may be told to start again.
    let all_ended_well = !statuses.is_empty()
        && statuses.len() == pod.spec.containers.len()
        && statuses.iter().all(|status| status.state.terminated.as_ref().is_some_and(|end| end.exit_code == 0));
    may_end(pod) && (pod.status.phase == Phase::Succeeded || all_ended_well)
}

/// Whether a pod's restart rule lets it end (Compose's `no` and `on-failure`), so that it is not to be replaced then.
fn may_end(pod: &Pod) -> bool {
    let rule = pod.metadata.annotation(names::RESTART).unwrap_or_default();
    rule == "no" || rule.starts_with("on-failure")
}

/// Whether a pod takes one of its owner's places.
pub(crate) fn counts(pod: &Pod) -> bool {
    // What was evicted did not end by itself: it is replaced, as what a lost node ran.
    let evicted = pod.status.reason == "Evicted" && pod.status.phase == Phase::Failed;
    pod.is_active() || (!pod.metadata.is_deleting() && may_end(pod) && !evicted)
}

/// A pod made from a template, not yet named if `name` ends with a dash.
pub(crate) fn from_template(template: &Value, namespace: &str, name: &str, owner: &Owner) -> Value {
    let mut metadata = json!({ "namespace": namespace, "ownerReferences": [owner] });
    let name_field = if name.ends_with('-') { "generateName" } else { "name" };
    metadata[name_field] = name.into();
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field).filter(|value| !value.is_null()) {
            metadata[field] = value.clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

/// Deletes a pod and tells its owner.
pub(crate) fn delete(plan: &mut Plan, owner: (&Resource, &Meta), pod: &Pod) {
    let (resource, meta) = owner;
    plan.push(Write::delete(PODS, key(&pod.metadata), &pod.metadata.uid));
    plan.notices.push(Notice {
        resource: resource.clone(),
        key: key(meta),
        uid: meta.uid.clone(),
        warning: false,
        reason: "SuccessfulDelete",
        message: format!("Deleted pod: {}", pod.metadata.name),
    });
}

/// Numbers a service's pods: the label on every one, and where Compose's tools look on those of a Compose service.
pub(crate) fn set_ordinal(pod: &mut Value, ordinal: u32) {
    let ordinal = ordinal.to_string();
    let labels = &mut pod["metadata"]["labels"];
    labels[names::ORDINAL] = ordinal.as_str().into();
    if labels.get(names::SERVICE).is_some() {
        labels[names::COMPOSE_NUMBER] = ordinal.into();
    }
}

/// A pod's number, if it has one.
pub(crate) fn ordinal(pod: &Pod) -> Option<u32> {
    pod.metadata.label(names::ORDINAL)?.parse().ok()
}

/// The lowest numbers from 1 that none of these pods has.
pub(crate) fn free_ordinals<'a>(pods: impl Iterator<Item = &'a Pod>) -> impl Iterator<Item = u32> {
    let taken: BTreeSet<u32> = pods.filter_map(ordinal).collect();
    (1..).filter(move |ordinal| !taken.contains(ordinal))
}

/// How little a pod will be missed: lower goes first. The order of the fields is Kubernetes' order of the rules, but
/// that a Compose service loses its highest numbers first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dispensability {
    bound: bool,
    phase: u8,
    ready: bool,
    cost: i64,
    number: Reverse<Option<u32>>,
    crowd: Reverse<usize>,
    ready_since: Reverse<Option<Timestamp>>,
    restarts: Reverse<i32>,
    created: Reverse<Option<Timestamp>>,
    name: Reverse<String>,
}

/// Ranks a pod among its owner's; `crowd` counts those by node.
pub(crate) fn dispensability(pod: &Pod, crowd: &BTreeMap<String, usize>) -> Dispensability {
    let meta = &pod.metadata;
    let service = meta.labels.contains_key(names::SERVICE);
    Dispensability {
        bound: !pod.spec.node_name.is_empty(),
        phase: match pod.status.phase {
            Phase::Succeeded | Phase::Failed => 0,
            Phase::Pending => 1,
            Phase::Unknown => 2,
            Phase::Running => 3,
        },
        ready: pod.is_ready(),
        cost: meta.annotation(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0),
        number: Reverse(ordinal(pod).filter(|_| service)),
        crowd: Reverse(crowd.get(&pod.spec.node_name).copied().unwrap_or(0)),
        ready_since: Reverse(pod.ready_since()),
        restarts: Reverse(pod.restarts()),
        created: Reverse(meta.creation_timestamp),
        name: Reverse(meta.name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_may_end_and_ended_well_is_available_whatever_its_phase() {
        let judged = |restart: &str, code: i64| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "p", "namespace": "n", "annotations": {names::RESTART: restart}},
                "spec": {"containers": [{"name": "a"}]},
                "status": {
                    "phase": "Running",
                    "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": code}}}],
                },
            }))
            .expect("a pod");
            matches!(availability(&pod, 0, Timestamp::UNIX_EPOCH), Availability::Yes)
        };
        assert!(judged("no", 0) && judged("on-failure:2", 0));
        assert!(!judged("no", 3) && !judged("always", 0));
    }
}
