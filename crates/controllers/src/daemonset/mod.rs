//! DaemonSet: one pod on every node that it fits.
//!
//! Its pods are created with their node: there is nothing to choose, so the scheduler is not asked, and a node that is
//! full is told so by its own admission and not by a pod that waits for ever.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use naru_client::ObjectRef;

use crate::cluster::{BY_OWNER, Cluster, owner_key};
use crate::driver::{Controller, Keys};
use crate::plan::Plan;
use crate::views::{ControllerRevision, DaemonSet, Node, Pod};

/// Keeps DaemonSets on their nodes.
pub(crate) struct DaemonSets(pub(crate) Arc<Cluster>);

/// One DaemonSet, its pods and all nodes.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) set: Arc<DaemonSet>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) revisions: Vec<Arc<ControllerRevision>>,
}

impl Controller for DaemonSets {
    type View = View;

    fn name(&self) -> &'static str {
        "daemonset"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.daemon_sets.listen(move |change| own.add(change.key()));
        let (from_nodes, sets) = (keys.clone(), self.0.daemon_sets.clone());
        self.0.nodes.listen(move |change| {
            let fits = |node: &Node| (node.metadata.labels.clone(), node.spec.clone());
            let same = match (&change.before, &change.after) {
                (Some(before), Some(after)) => fits(&before.view) == fits(&after.view),
                _ => false,
            };
            if !same {
                sets.list().iter().for_each(|set| from_nodes.add(&set.key));
            }
        });
        let keys = keys.clone();
        self.0.pods.listen(move |change| {
            for pod in change.sides() {
                owner_key(&pod.view.metadata, "DaemonSet").iter().for_each(|key| keys.add(key));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.0.daemon_sets.list().iter().map(|set| set.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let set = self.0.daemon_sets.get_ref(key)?.view.clone();
        let uid = &set.metadata.uid;
        let pods = self.0.pods.by_index(BY_OWNER, uid).into_iter().map(|pod| pod.view.clone()).collect();
        let revisions = self.0.revisions.by_index(BY_OWNER, uid).into_iter().map(|r| r.view.clone()).collect();
        let nodes = self.0.nodes.list().into_iter().map(|node| node.view.clone()).collect();
        Some(View { set, pods, nodes, revisions })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }
}
