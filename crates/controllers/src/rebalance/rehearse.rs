//! What rebalancing would do, told without doing it.

use std::sync::Arc;

use naru_api::View as _;
use naru_api::k8s::api::core::v1 as core;
use naru_scheduler::{Better, Cluster, Demand};
use serde_json::Value;

use super::{Choice, Set, choose, settled};
use crate::views::{Pod, ReplicaSet};

/// One move that would be made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Planned {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Where it is.
    pub from: String,
    /// Where its replacement would start.
    pub to: String,
}

/// The moves that would be made towards the nodes that `may` take pods, each after the ones before it; at most `most`.
///
/// The objects are those of the API, as JSON. What cannot be read is not moved.
pub fn rehearse(
    nodes: &[Value],
    pods: &[Value],
    sets: &[Value],
    may: impl Fn(&str) -> bool,
    most: usize,
) -> Vec<Planned> {
    let mut columns = Cluster::default();
    for node in nodes.iter().filter_map(|node| core::Node::from_json(&bytes(node)).ok()) {
        columns.set_node(&node);
    }
    for pod in pods.iter().filter_map(|pod| core::Pod::from_json(&bytes(pod)).ok()) {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        if let (false, false, Ok(demand)) =
            (node.is_empty(), ["Succeeded", "Failed"].contains(&phase), Demand::of(&pod))
        {
            columns.set_pod(&node, demand);
        }
    }
    let mut sets = read(pods, sets);
    let mut planned: Vec<Planned> = Vec::new();
    let mut cursor = 0;
    while planned.len() < most {
        let ask = |pod: &Pod| columns.better(&pod.metadata.namespace, &pod.metadata.name, &may);
        match choose(&sets, &mut cursor, ask) {
            Choice::None => break,
            Choice::GoOn => {}
            Choice::Move(pod, better) => {
                if !carry_out(&mut columns, &mut sets, &pod, &better, planned.len()) {
                    break;
                }
                let namespace = pod.metadata.namespace.clone();
                planned.push(Planned { namespace, pod: pod.metadata.name.clone(), from: better.from, to: better.to });
            }
        }
    }
    planned
}

fn bytes(object: &Value) -> Vec<u8> {
    object.to_string().into_bytes()
}

/// The settled sets with their pods.
fn read(pods: &[Value], sets: &[Value]) -> Vec<Set> {
    let view = |set: &Value| serde_json::from_value::<ReplicaSet>(set.clone()).ok().map(Arc::new);
    let sets: Vec<Arc<ReplicaSet>> = sets.iter().filter_map(view).collect();
    let pods: Vec<(Arc<Pod>, bytes::Bytes)> = pods
        .iter()
        .filter_map(|pod| Some((Arc::new(serde_json::from_value(pod.clone()).ok()?), bytes(pod).into())))
        .collect();
    let owner = |set: &ReplicaSet| set.metadata.controller().map(|owner| owner.uid.clone());
    let mut found = Vec::new();
    for set in &sets {
        let same = |other: &&Arc<ReplicaSet>| {
            other.metadata.uid != set.metadata.uid && owner(other).is_some() && owner(other) == owner(set)
        };
        let siblings: Vec<_> = sets.iter().filter(same).cloned().collect();
        if settled(set, &siblings) {
            let own = |(pod, _): &&(Arc<Pod>, bytes::Bytes)| {
                pod.metadata.controller().is_some_and(|owner| owner.uid == set.metadata.uid)
            };
            found.push(Set { set: set.clone(), pods: pods.iter().filter(own).cloned().collect() });
        }
    }
    found
}

/// Puts a replacement in the pod's place; false when the scheduler has none for it.
fn carry_out(columns: &mut Cluster, sets: &mut [Set], pod: &Arc<Pod>, better: &Better, number: usize) -> bool {
    let meta = &pod.metadata;
    let mut pods = sets.iter_mut().flat_map(|set| &mut set.pods);
    let Some((there, raw)) = pods.find(|(there, _)| there.metadata.uid == meta.uid) else { return false };
    let Some(Ok(mut demand)) = core::Pod::from_json(raw).ok().map(|pod| Demand::of(&pod)) else { return false };
    demand.name = format!("{}+{number}", meta.name.split('+').next().unwrap_or_default());
    let mut moved = Pod::clone(there);
    moved.metadata.name.clone_from(&demand.name);
    if columns.place(&demand).is_err() {
        return false;
    }
    columns.remove_pod(&meta.namespace, &meta.name);
    moved.spec.node_name.clone_from(&better.to);
    *there = Arc::new(moved);
    true
}
