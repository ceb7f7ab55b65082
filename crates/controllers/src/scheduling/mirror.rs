//! The scheduler's columns, kept in step with the informers.

use std::collections::{BTreeSet, HashSet};

use naru_api::k8s::api::core::v1 as core;
use naru_api::naru::names;
use naru_api::view::View as _;
use naru_client::{Cached, Change, ObjectRef};
use naru_scheduler::{Demand, Rejection, VolumeNodes};

use super::answer::Answer;
use crate::views::{Namespace, Node, Pod};

/// The columns, the places that are set aside, and the pods that have found none.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    columns: naru_scheduler::Cluster,
    /// Pods with a place that no informer shows yet.
    assumed: HashSet<ObjectRef>,
    /// Pods without a place.
    waiting: BTreeSet<ObjectRef>,
}

impl Mirror {
    /// Pods without a place.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &ObjectRef> {
        self.waiting.iter()
    }

    /// What runs where.
    pub(super) fn columns(&mut self) -> &mut naru_scheduler::Cluster {
        &mut self.columns
    }

    /// Takes a node's change; returns the pods that may now find a place.
    pub(super) fn take_node(&mut self, change: &Change<Node>) -> Vec<ObjectRef> {
        match &change.after {
            Some(node) => match core::Node::from_json(&node.raw) {
                Ok(node) => self.columns.set_node(&node),
                Err(error) => tracing::warn!(node = %node.key, %error, "a node cannot be read and gets no pods"),
            },
            None => self.columns.remove_node(&change.key().name),
        }
        self.waiting.iter().cloned().collect()
    }

    /// Takes a namespace's change; returns the pods that may now find a place.
    pub(super) fn take_namespace(&mut self, change: &Change<Namespace>) -> Vec<ObjectRef> {
        let labels = |side: &Cached<Namespace>| side.view.metadata.labels.clone();
        let (before, after) = (change.before.as_deref().map(labels), change.after.as_deref().map(labels));
        if before == after {
            return Vec::new();
        }
        self.columns.set_namespace(&change.key().name, after);
        self.waiting.iter().cloned().collect()
    }

    /// Takes a pod's change; returns the pods to look at.
    pub(super) fn take_pod(&mut self, change: &Change<Pod>) -> Vec<ObjectRef> {
        let key = change.key();
        let place = |pod: &Cached<Pod>| (!pod.view.is_finished()).then(|| pod.view.spec.node_name.clone());
        let before = change.before.as_deref().and_then(place).filter(|node| !node.is_empty());
        match change.after.as_deref().map(|pod| (pod, place(pod))) {
            Some((pod, Some(node))) if node.is_empty() => {
                let replaced = change.before.as_ref().is_some_and(|before| before.uid != pod.uid);
                if replaced {
                    self.give_back(key);
                }
                vec![key.clone()]
            }
            Some((pod, Some(node))) => {
                self.waiting.remove(key);
                let as_assumed =
                    self.assumed.remove(key) && self.columns.place_of(&key.namespace, &key.name) == Some(node.as_str());
                if before.as_ref() != Some(&node)
                    && !as_assumed
                    && let Some(demand) = demand(pod)
                {
                    self.columns.set_pod(&node, demand);
                }
                Vec::new()
            }
            // Finished or gone: its place is free.
            _ => {
                self.waiting.remove(key);
                if before.is_some() || self.assumed.contains(key) {
                    return self.give_back(key);
                }
                Vec::new()
            }
        }
    }

    /// Frees a pod's place; returns the pods that may now find one.
    pub(super) fn give_back(&mut self, key: &ObjectRef) -> Vec<ObjectRef> {
        self.assumed.remove(key);
        self.columns.remove_pod(&key.namespace, &key.name);
        self.waiting.iter().cloned().collect()
    }

    /// Asks for a place, and sets it aside.
    pub(super) fn place(
        &mut self,
        pod: &Cached<Pod>,
        volumes: impl FnOnce() -> Result<Vec<VolumeNodes>, String>,
        known: impl Fn(&ObjectRef) -> Option<Known>,
    ) -> Answer {
        if self.assumed.contains(&pod.key) {
            return Answer::BeingBound;
        }
        let Some(mut demand) = demand(pod) else {
            return Answer::Nowhere("the pod's demands cannot be read".into());
        };
        let answer = match volumes() {
            Err(problem) => Answer::Nowhere(problem),
            Ok(volumes) => {
                demand.volumes = volumes;
                match self.columns.place(&demand) {
                    Ok(placement) => Answer::Node(placement.node),
                    Err(rejection) => match self.without_room(&demand, &rejection, known) {
                        Answer::Nowhere(why) => Answer::Nowhere(why + &data_on(&demand.volumes)),
                        other => other,
                    },
                }
            }
        };
        if matches!(answer, Answer::Node(_)) {
            self.waiting.remove(&pod.key);
            self.assumed.insert(pod.key.clone());
        } else {
            self.waiting.insert(pod.key.clone());
        }
        answer
    }
}

/// Where a pod's data is, in a sentence: that is what it waits for.
fn data_on(volumes: &[VolumeNodes]) -> String {
    let terms = volumes.iter().flat_map(|volume| &volume.nodes.node_selector_terms);
    let expressions = terms.flat_map(|term| term.match_expressions.iter().flatten());
    let hosts = expressions.filter(|expression| expression.key == names::HOSTNAME && expression.operator == "In");
    let nodes: BTreeSet<&str> = hosts.flat_map(|host| host.values.iter().flatten()).map(String::as_str).collect();
    match nodes.is_empty() {
        true => String::new(),
        false => format!(" Its data is on node {}.", nodes.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

/// What is known of a pod that may be pushed away.
pub(super) struct Known {
    /// Its uid.
    pub(super) uid: String,
    /// It is on its way out already.
    pub(super) leaving: bool,
}

impl Mirror {
    /// What becomes of a pod for which no node has room: others that matter less may go for it. While some of those
    /// are on their way out nothing more is pushed away.
    fn without_room(
        &mut self,
        demand: &Demand,
        rejection: &Rejection,
        known: impl Fn(&ObjectRef) -> Option<Known>,
    ) -> Answer {
        match self.columns.preempt(demand) {
            Err(none) => Answer::Nowhere(format!("{rejection} {none}")),
            Ok(found) => {
                let why = format!("{rejection} preemption: {} victims on {}.", found.victims.len(), found.node);
                let mut victims = Vec::new();
                for (namespace, name) in &found.victims {
                    let key = ObjectRef::new(namespace, name);
                    match known(&key) {
                        Some(Known { leaving: true, .. }) => return Answer::Nowhere(why),
                        Some(Known { uid, .. }) => victims.push((key, uid)),
                        None => {}
                    }
                }
                Answer::Preempts { why, node: found.node, victims }
            }
        }
    }
}

fn demand(pod: &Cached<Pod>) -> Option<Demand> {
    let read = core::Pod::from_json(&pod.raw).map_err(|error| error.to_string());
    let demand = read.and_then(|pod| Demand::of(&pod).map_err(|error| error.to_string()));
    demand.inspect_err(|error| tracing::warn!(pod = %pod.key, %error, "a pod's demands cannot be read")).ok()
}
