//! Revisions: numbers that tell the order of templates, and the history that is kept.

use std::collections::BTreeMap;

use naru_api::naru::names;
use serde_json::{Map, Value, json};

use super::bounds::Bounds;
use crate::ownership::key;
use crate::plan::Write;
use crate::resources::REPLICA_SETS;
use crate::views::{Deployment, Meta, ReplicaSet};

const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a Deployment that its sets do not take over.
const OWN: [&str; 11] = [
    names::LAST_APPLIED,
    names::PROJECT_APPLIED,
    names::DEPLOYMENT_REVISION,
    HISTORY,
    DESIRED,
    MOST,
    names::SETTLED,
    names::ROLLED_BACK,
    names::UPDATE_PAUSED,
    names::STOP_FIRST,
    "deprecated.deployment.rollback.to",
];

/// A set's revision; 0 if it has none.
pub(super) fn of(meta: &Meta) -> i64 {
    meta.annotation(names::DEPLOYMENT_REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

/// The revision that the set of the present template should have: above all others.
pub(super) fn wanted(new: Option<&ReplicaSet>, old: &[&ReplicaSet]) -> i64 {
    let above = old.iter().map(|set| of(&set.metadata)).max().unwrap_or(0) + 1;
    new.map_or(above, |new| of(&new.metadata).max(above))
}

/// The annotations that the set of the present template should have.
pub(super) fn annotations(deployment: &Deployment, bounds: &Bounds, revision: i64) -> BTreeMap<String, String> {
    let mut annotations: BTreeMap<_, _> = deployment
        .metadata
        .annotations
        .iter()
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    annotations.insert(names::DEPLOYMENT_REVISION.into(), revision.to_string());
    annotations.extend(sizes(bounds));
    if bounds.counts_leaving && deployment.spec.strategy.kind != "Recreate" {
        annotations.insert(names::STOP_FIRST.into(), "true".into());
    }
    annotations
}

/// The annotations that remember for what size a set was sized.
pub(super) fn sizes(bounds: &Bounds) -> [(String, String); 2] {
    [(DESIRED.into(), bounds.replicas.to_string()), (MOST.into(), (bounds.replicas + bounds.surge).to_string())]
}

/// What of a set's annotations must change to have the wanted ones, as a merge patch; nothing if nothing.
pub(super) fn difference(set: &ReplicaSet, wanted: &BTreeMap<String, String>) -> Option<Map<String, Value>> {
    let present = &set.metadata.annotations;
    let mut patch = Map::new();
    for (name, value) in wanted {
        if present.get(name) != Some(value) {
            patch.insert(name.clone(), value.as_str().into());
        }
    }
    // Annotations that others gave the set stay; but this one is ours, and its absence means something.
    if present.contains_key(names::STOP_FIRST) && !wanted.contains_key(names::STOP_FIRST) {
        patch.insert(names::STOP_FIRST.into(), Value::Null);
    }
    if patch.contains_key(names::DEPLOYMENT_REVISION) && of(&set.metadata) > 0 {
        // The number it had before is kept, so that `rollout undo --to-revision` can explain itself.
        let mut history: Vec<&str> = set.metadata.annotation(HISTORY).into_iter().flat_map(|h| h.split(',')).collect();
        let former = of(&set.metadata).to_string();
        if !history.contains(&former.as_str()) {
            history.push(&former);
        }
        patch.insert(HISTORY.into(), history.join(",").into());
    }
    (!patch.is_empty()).then_some(patch)
}

/// Deletes the oldest sets beyond the limit, of those that are empty.
pub(super) fn expire(deployment: &Deployment, old: &[&ReplicaSet]) -> Vec<Write> {
    let limit = usize::try_from(deployment.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let is_empty = |set: &ReplicaSet| {
        set.spec.replicas == Some(0)
            && set.status.replicas == 0
            && set.status.observed_generation >= set.metadata.generation
            && !set.metadata.is_deleting()
    };
    let mut empty: Vec<&&ReplicaSet> = old.iter().filter(|set| is_empty(set)).collect();
    empty.sort_by_key(|set| (of(&set.metadata), set.metadata.creation_timestamp));
    let surplus = empty.len().saturating_sub(limit);
    let delete = |set: &&&ReplicaSet| Write::delete(REPLICA_SETS, key(&set.metadata), &set.metadata.uid);
    empty.iter().take(surplus).map(delete).collect()
}

/// Changes a set's size, and whatever else of it must change.
pub(super) fn resize(set: &ReplicaSet, to: Option<i32>, annotations: Map<String, Value>, extra: Value) -> Write {
    // Guarded by the uid alone: its size is ours to decide, and its status changes all the time.
    let mut patch = json!({ "metadata": { "uid": set.metadata.uid } });
    if !annotations.is_empty() {
        patch["metadata"]["annotations"] = Value::Object(annotations);
    }
    if let Value::Object(extra) = extra
        && !extra.is_empty()
    {
        patch["spec"] = Value::Object(extra);
    }
    if let Some(to) = to {
        patch["spec"]["replicas"] = to.into();
    }
    Write::merge(REPLICA_SETS, key(&set.metadata), patch)
}
