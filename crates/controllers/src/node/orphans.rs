//! Pods that nobody else will ever remove: those of nodes that are gone, those that were to be deleted before they had
//! a node, and finished ones beyond a number.

use std::sync::Arc;

use jiff::Timestamp;
use naru_client::{DeleteOptions, ObjectRef};

use crate::cluster::Cluster;
use crate::driver::{Controller, Keys};
use crate::ownership::key;
use crate::plan::{Plan, Write};
use crate::resources::PODS;
use crate::views::Pod;

/// Collects pods. It has one key: what is to be done depends on all pods together.
pub(crate) struct PodCollector {
    pub(crate) cluster: Arc<Cluster>,
    /// Finished pods to keep.
    pub(crate) finished: usize,
}

/// The pods that may have to go.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Pods on nodes that do not exist.
    pub(super) stranded: Vec<Arc<Pod>>,
    /// Pods that are to be deleted and have no node to do it.
    pub(super) unbound: Vec<Arc<Pod>>,
    /// Finished ones.
    pub(super) finished: Vec<Arc<Pod>>,
    /// How many of those to keep.
    pub(super) keep: usize,
}

fn everything() -> ObjectRef {
    ObjectRef::cluster("pods")
}

impl Controller for PodCollector {
    type View = View;

    fn name(&self) -> &'static str {
        "pod-collector"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let from_nodes = keys.clone();
        self.cluster.nodes.listen(move |change| {
            if change.after.is_none() {
                from_nodes.add(&everything());
            }
        });
        let (keys, nodes) = (keys.clone(), self.cluster.nodes.clone());
        self.cluster.pods.listen(move |change| {
            let Some(pod) = change.after.as_ref().map(|pod| &pod.view) else { return };
            let node = pod.spec.node_name.as_str();
            let nowhere = node.is_empty() && pod.metadata.is_deleting();
            let stranded = !node.is_empty() && nodes.is_synced() && nodes.get("", node).is_none();
            if nowhere || stranded || pod.is_finished() {
                keys.add(&everything());
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        vec![everything()]
    }

    fn view(&self, _: &ObjectRef) -> Option<View> {
        let mut view = View { keep: self.finished, ..View::default() };
        for pod in self.cluster.pods.list() {
            let pod = pod.view.clone();
            let node = pod.spec.node_name.as_str();
            if !node.is_empty() && self.cluster.nodes.get("", node).is_none() {
                view.stranded.push(pod);
            } else if node.is_empty() && pod.metadata.is_deleting() {
                view.unbound.push(pod);
            } else if pod.is_finished() && !pod.metadata.is_deleting() {
                view.finished.push(pod);
            }
        }
        Some(view)
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }
}

pub(super) fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing("nothing to collect");
    let now = |pod: &Arc<Pod>| {
        let options = DeleteOptions::exactly(pod.metadata.uid.clone()).grace(0);
        Write::Delete { resource: PODS, key: key(&pod.metadata), options }
    };
    plan.writes.extend(view.stranded.iter().chain(&view.unbound).map(now));
    let mut finished: Vec<_> = view.finished.iter().collect();
    finished.sort_by_key(|pod| (pod.metadata.creation_timestamp, pod.metadata.name.clone()));
    let surplus = finished.len().saturating_sub(view.keep);
    plan.writes.extend(finished.into_iter().take(surplus).map(now));
    if !plan.writes.is_empty() {
        plan.reason = "collecting".into();
    }
    plan
}
