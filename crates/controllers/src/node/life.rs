//! Looking at nodes: whether they are connected, and their leases, as this process has seen them being renewed.
//!
//! The connection that a node keeps to the server is lost within seconds when the node is, so that is what counts first.
//! A lease that is not renewed tells of a node that is connected and hangs; one that is renewed, of a node that has lost
//! that connection only.
//!
//! A lease's own time stamp says when it was renewed by the node's clock. What counts is how long *we* have not seen a
//! renewal: so neither a wrong clock nor our own absence makes a living node look dead.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use naru_client::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::plan;
use crate::cluster::{BY_NODE, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::Plan;
use crate::views::{Condition, Lease, Node, Pod};

/// The names of the nodes that are connected now.
pub type Presence = watch::Receiver<Arc<BTreeSet<String>>>;

/// How long nodes find their way back to a server that has just started, at most: their longest pause between attempts,
/// and what that takes.
const RETURN: SignedDuration = SignedDuration::from_secs(10);
/// More than this part of the nodes gone at once (in percent) is rather our own loss: then nobody is driven out ...
const MANY: usize = 55;
/// ... for so long.
const HOLD: SignedDuration = SignedDuration::from_secs(300);

/// How long a node may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silence {
    /// Without renewing its lease.
    pub(crate) lease: SignedDuration,
    /// Without connection.
    pub(crate) gone: SignedDuration,
}

/// Watches over nodes.
pub(crate) struct Nodes {
    cluster: Arc<Cluster>,
    silence: Silence,
    presence: Option<Presence>,
    /// When each node's lease was last seen to change, and to which renewal.
    heard: Arc<Mutex<HashMap<String, Heard>>>,
    /// When each node that is not connected was.
    left: Arc<Mutex<HashMap<String, Timestamp>>>,
    /// What is asked of all nodes together, kept as they change: a look at one node must not cost a look at all.
    census: Arc<Mutex<Census>>,
    started: Timestamp,
}

/// Nodes in numbers.
#[derive(Debug, Default)]
struct Census {
    /// Those that are ready.
    ready: HashSet<ObjectRef>,
    /// Counts nodes that come and go.
    generation: u64,
    /// Which nodes were gone when it was last looked, and for which nodes and connections that holds.
    gone: Option<Gone>,
}

#[derive(Debug)]
struct Gone {
    generation: u64,
    present: Arc<BTreeSet<String>>,
    /// Until when nobody is driven out.
    held_until: Option<Timestamp>,
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
    /// Too many are gone at once: nobody is driven out before this time.
    pub(super) held_until: Option<Timestamp>,
}

impl Nodes {
    pub(crate) fn new(cluster: Arc<Cluster>, silence: Silence, presence: Option<Presence>) -> Self {
        let started = cluster.now();
        Nodes {
            cluster,
            silence,
            presence,
            heard: Arc::default(),
            left: Arc::default(),
            census: Arc::default(),
            started,
        }
    }

    /// When a node was last heard of, and how long it may be silent from then on.
    fn silence_of(&self, name: &str, created: Timestamp) -> (Timestamp, SignedDuration) {
        // A node that has just registered has no lease yet.
        let lease = self.heard.lock().get(name).map_or(self.started, |heard| heard.at).max(created);
        let Some(presence) = &self.presence else { return (lease, self.silence.lease) };
        if presence.borrow().contains(name) {
            return (lease, self.silence.lease);
        }
        match self.left.lock().get(name) {
            Some(left) => (lease.max(*left), self.silence.gone),
            // Never seen by this process: it gets the time that nodes need to find a server.
            None => (lease.max(self.started.saturating_add(RETURN).unwrap_or(self.started)), self.silence.gone),
        }
    }

    /// Until when nobody is driven out, if too many nodes are gone at once.
    fn held_until(&self) -> Option<Timestamp> {
        let present = self.presence.as_ref()?.borrow().clone();
        let mut census = self.census.lock();
        let generation = census.generation;
        if let Some(known) = &census.gone
            && known.generation == generation
            && Arc::ptr_eq(&known.present, &present)
        {
            return known.held_until;
        }
        let nodes = self.cluster.nodes.list();
        let gone: Vec<_> = nodes.iter().filter(|node| !present.contains(&*node.key.name)).collect();
        let held_until = (gone.len() * 100 > MANY * nodes.len())
            .then(|| {
                let left = self.left.lock();
                gone.iter().map(|node| left.get(&*node.key.name).copied().unwrap_or(self.started)).max()
            })
            .flatten()
            .map(|since| since.saturating_add(HOLD).unwrap_or(Timestamp::MAX));
        census.gone = Some(Gone { generation, present, held_until });
        held_until
    }
}

/// Notes who comes and goes, for as long as the cluster is looked at.
async fn follow(
    mut presence: Presence,
    left: Arc<Mutex<HashMap<String, Timestamp>>>,
    census: Arc<Mutex<Census>>,
    cluster: std::sync::Weak<Cluster>,
    keys: Keys,
) {
    let mut known = presence.borrow_and_update().clone();
    while presence.changed().await.is_ok() {
        let Some(cluster) = cluster.upgrade() else { return };
        let present = presence.borrow_and_update().clone();
        let now = cluster.now();
        let away: Vec<String> = {
            let mut left = left.lock();
            left.extend(known.difference(&present).map(|name| (name.clone(), now)));
            left.retain(|name, _| !present.contains(name));
            left.keys().cloned().collect()
        };
        // What was known may have been found before it was noted who left when.
        census.lock().gone = None;
        // Those that are away too: whether they are given up depends on how many are.
        for name in known.symmetric_difference(&present).chain(&away) {
            keys.add(&ObjectRef::cluster(name));
        }
        known = present;
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
        let (own, census) = (keys.clone(), self.census.clone());
        self.cluster.nodes.listen(move |change| {
            let mut census = census.lock();
            if change.before.is_none() || change.after.is_none() {
                census.generation += 1;
            }
            match change.after.as_ref().is_some_and(|node| is_ready(&node.view)) {
                true => drop(census.ready.insert(change.key().clone())),
                false => drop(census.ready.remove(change.key())),
            }
            own.add(change.key());
        });
        let (from_leases, heard, cluster) = (keys.clone(), self.heard.clone(), Arc::downgrade(&self.cluster));
        let silence = self.silence.lease;
        self.cluster.leases.listen(move |change| {
            let (Some(lease), Some(cluster)) = (&change.after, cluster.upgrade()) else { return };
            let now = cluster.now();
            let known = heard.lock().insert(lease.key.name.to_string(), of(&lease.view, now));
            // Every renewal moves the deadline, but only one after a silence changes anything now.
            if known.is_none_or(|known| known.at.saturating_add(silence).is_ok_and(|end| end < now)) {
                from_leases.add(&ObjectRef::cluster(&lease.key.name));
            }
        });
        if let Some(presence) = &self.presence {
            let (left, census) = (self.left.clone(), self.census.clone());
            let following = follow(presence.clone(), left, census, Arc::downgrade(&self.cluster), keys.clone());
            tokio::spawn(following);
        }
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
        let created = node.metadata.creation_timestamp.unwrap_or(Timestamp::MIN);
        let (heard, grace) = self.silence_of(&key.name, created);
        let pods = self.cluster.pods.by_index(BY_NODE, &key.name).into_iter().map(|pod| pod.view.clone()).collect();
        let others_ready = {
            let census = self.census.lock();
            census.ready.len() > usize::from(census.ready.contains(key))
        };
        Some(View { node, heard, grace, pods, others_ready, held_until: self.held_until() })
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
