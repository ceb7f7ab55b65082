//! The next pod to move: of all that may be, the one whose move evens out most.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use naru_api::naru::names;
use naru_scheduler::Better;
use serde_json::Value;

use super::{moving_until, stays};
use crate::pods;
use crate::views::{Pod, ReplicaSet};

/// How many pods the scheduler is asked about in one turn.
const ASKED: usize = 512;

/// What is to be moved next.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Choice {
    /// Nothing: everything is well placed.
    #[default]
    None,
    /// Not everything has been looked at yet.
    GoOn,
    /// This pod.
    Move(Arc<Pod>, Better),
}

/// A settled set and its pods with their objects.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    /// The set.
    pub set: Arc<ReplicaSet>,
    /// Its pods, as views and as JSON.
    pub pods: Vec<(Arc<Pod>, Bytes)>,
}

/// Whether a set has exactly the pods that it wants, all of them serving, and its Deployment is not between two revisions.
pub(crate) fn settled(set: &ReplicaSet, siblings: &[Arc<ReplicaSet>]) -> bool {
    let wanted = set.spec.replicas.unwrap_or(1);
    let idle = |other: &Arc<ReplicaSet>| other.spec.replicas.unwrap_or(1) == 0 && other.status.replicas == 0;
    // Two containers over one data folder would destroy it: what stops before it starts is not doubled.
    let doubles = set.metadata.annotation(names::STOP_FIRST) != Some("true");
    wanted > 0 && doubles && !set.metadata.is_deleting() && siblings.iter().all(idle)
}

/// Asks about one pod of each set on each node, beginning where the last turn ended.
pub(crate) fn choose(sets: &[Set], cursor: &mut usize, ask: impl Fn(&Pod) -> Option<Better>) -> Choice {
    let mut best: Option<(Arc<Pod>, Better)> = None;
    let mut asked = 0;
    let begin = if *cursor < sets.len() { *cursor } else { 0 };
    for (at, set) in sets.iter().enumerate().skip(begin) {
        if asked >= ASKED {
            *cursor = at;
            return best.map_or(Choice::GoOn, |(pod, better)| Choice::Move(pod, better));
        }
        for pod in candidates(set) {
            asked += 1;
            let Some(better) = ask(pod) else { continue };
            if best.as_ref().is_none_or(|(_, known)| known.gain < better.gain) {
                best = Some((pod.clone(), better));
            }
        }
    }
    // After a part only: the rest is looked at before it is said that all is well.
    let whole = std::mem::take(cursor) == 0;
    match best {
        Some((pod, better)) => Choice::Move(pod, better),
        None if whole => Choice::None,
        None => Choice::GoOn,
    }
}

/// One pod a node that may be moved: the one with the highest number, which is the one that is missed least. None at all
/// of a set that has not all its pods.
fn candidates(set: &Set) -> Vec<&Arc<Pod>> {
    let replicas = usize::try_from(set.set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    let active: Vec<_> = set.pods.iter().filter(|(pod, _)| pod.is_active()).collect();
    let whole = active.len() == replicas && active.iter().all(|(pod, _)| pod.is_ready());
    if !whole || set.pods.iter().any(|(pod, _)| moving_until(&pod.metadata).is_some()) {
        return Vec::new();
    }
    let mut by_node: BTreeMap<&str, &Arc<Pod>> = BTreeMap::new();
    for (pod, raw) in active {
        let object: Value = serde_json::from_slice(raw).unwrap_or_default();
        if stays(pod, &object, replicas).is_some() {
            continue;
        }
        let rank = |pod: &Pod| (pods::ordinal(pod), pod.metadata.creation_timestamp);
        let known = by_node.entry(&pod.spec.node_name).or_insert(pod);
        if rank(known) < rank(pod) {
            *known = pod;
        }
    }
    by_node.into_values().collect()
}
