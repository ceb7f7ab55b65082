//! Looking at nodes: their leases, as this process has seen them being renewed.
//!
//! A lease's own time stamp says when it was renewed by the node's clock. What counts is how long *we* have not seen a
//! renewal: so neither a wrong clock nor our own absence makes a living node look dead.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use naru_client::ObjectRef;
use parking_lot::Mutex;

use super::plan;
use crate::cluster::{BY_NODE, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::Plan;
use crate::views::{Condition, Lease, Node, Pod};

/// Watches over nodes.
pub(crate) struct Nodes {
    cluster: Arc<Cluster>,
    grace: SignedDuration,
    /// When each node's lease was last seen to change, and to which renewal.
    heard: Arc<Mutex<HashMap<String, Heard>>>,
    started: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Heard {
    renewed: Option<Timestamp>,
    at: Timestamp,
}

/// One node and the pods on it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) node: Arc<Node>,
    /// When it was last heard of.
    pub(super) heard: Timestamp,
    /// How long it may be silent.
    pub(super) grace: SignedDuration,
    pub(super) pods: Vec<Arc<Pod>>,
    /// Some other node is ready. Where none is, it is rather this process that is cut off, and pods have nowhere to go.
    pub(super) others_ready: bool,
}

impl Nodes {
    pub(crate) fn new(cluster: Arc<Cluster>, grace: SignedDuration) -> Self {
        let started = cluster.now();
        Nodes { cluster, grace, heard: Arc::default(), started }
    }
}

impl Controller for Nodes {
    type View = View;

    fn name(&self) -> &'static str {
        "node"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.cluster.nodes.listen(move |change| own.add(change.key()));
        let (from_leases, heard, cluster) = (keys.clone(), self.heard.clone(), Arc::downgrade(&self.cluster));
        let silence = self.grace;
        self.cluster.leases.listen(move |change| {
            let (Some(lease), Some(cluster)) = (&change.after, cluster.upgrade()) else { return };
            let now = cluster.now();
            let known = heard.lock().insert(lease.key.name.to_string(), of(&lease.view, now));
            // Every renewal moves the deadline, but only one after a silence changes anything now.
            if known.is_none_or(|known| known.at.saturating_add(silence).is_ok_and(|end| end < now)) {
                from_leases.add(&ObjectRef::cluster(&lease.key.name));
            }
        });
        let (keys, nodes) = (keys.clone(), self.cluster.nodes.clone());
        self.cluster.pods.listen(move |change| {
            let Some(pod) = &change.after else { return };
            // Pods matter where a taint may drive them out.
            let node = ObjectRef::cluster(&pod.view.spec.node_name);
            if nodes.get_ref(&node).is_some_and(|node| !node.view.spec.taints.is_empty()) {
                keys.add(&node);
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.cluster.nodes.list().iter().map(|node| node.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let node = self.cluster.nodes.get_ref(key)?.view.clone();
        let heard = self.heard.lock().get(&*key.name).map_or(self.started, |heard| heard.at);
        // A node that has just registered has no lease yet.
        let heard = heard.max(node.metadata.creation_timestamp.unwrap_or(Timestamp::MIN));
        let pods = self.cluster.pods.by_index(BY_NODE, &key.name).into_iter().map(|pod| pod.view.clone()).collect();
        let mut others = self.cluster.nodes.list().into_iter().filter(|other| other.key != *key);
        let others_ready = others.any(|other| is_ready(&other.view));
        Some(View { node, heard, grace: self.grace, pods, others_ready })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }
}

fn of(lease: &Lease, now: Timestamp) -> Heard {
    Heard { renewed: lease.spec.renew_time, at: now }
}

fn is_ready(node: &Node) -> bool {
    Condition::find(&node.status.conditions, "Ready").is_some_and(Condition::is_true)
}
