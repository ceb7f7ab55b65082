//! Rebalancing: running pods go to nodes that came later, on request, a few at a time, and never before their
//! replacement serves.
//!
//! A move is written on the pod itself ([`MOVING`]): for as long as that stands its ReplicaSet keeps one pod more, which
//! the scheduler places; once that serves, the old one is evicted, so that disruption budgets hold. Whoever wrote it may
//! be gone by then: the mark ends by its own time, and the ReplicaSet with what it then has too many. A request is
//! written on the node that is to be filled ([`REBALANCE`]), so that it outlives every process, too. Refused: deleting
//! pods and hoping that they come up elsewhere, as a descheduler does, for a service with one replica is away meanwhile.

mod choose;
mod movable;
mod plan;
mod rehearse;
mod request;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use naru_client::{Cached, ObjectRef};
use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use choose::{Choice, Set, choose, settled};
pub(crate) use movable::stays;
pub use rehearse::{Planned, rehearse};
pub use request::{REBALANCE, Request};

use crate::cluster::{ApplyError, BY_MOVING, BY_OWNER, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::scheduling::Columns;
use crate::views::{Meta, Node, Pod, ReplicaSet};

/// Annotation of a pod that is to go once a replacement serves: until when that is tried.
pub(crate) const MOVING: &str = "naru.io/moving";
/// How long after any change it is looked whether something would be better off elsewhere, where that is always wished.
const CALM: Duration = Duration::from_secs(1);
/// How long an owner that was not moved well is left alone, and how long moves of one owner are counted together.
const REST: SignedDuration = SignedDuration::from_mins(10);

/// Whether a pod is to go once its replacement serves: then its owner keeps one more. Until when.
pub(crate) fn moving_until(meta: &Meta) -> Option<Timestamp> {
    meta.annotation(MOVING)?.parse().ok()
}

/// Moves pods.
pub(crate) struct Rebalancing {
    cluster: Arc<Cluster>,
    columns: Columns,
    /// How many pods are moved at once without being asked; none unless it is wished.
    always: usize,
    /// Something is asked for or under way: pods matter.
    active: Arc<AtomicBool>,
    /// How many pods of an owner were moved, and when the last.
    moved: Mutex<HashMap<String, (usize, Timestamp)>>,
    /// Where the search goes on.
    cursor: Mutex<usize>,
}

/// What is asked for, what is under way, and the best next move.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) requests: Vec<(Arc<Node>, Request)>,
    pub(super) always: usize,
    pub(super) moving: Vec<Moving>,
    pub(super) choice: Choice,
}

/// A pod that is to go.
#[derive(Debug)]
pub(super) struct Moving {
    pub pod: Arc<Pod>,
    /// Its owner, if that is as it was when the move began.
    pub set: Option<Arc<ReplicaSet>>,
    /// The owner's pods.
    pub siblings: Vec<Arc<Pod>>,
}

fn everything() -> ObjectRef {
    ObjectRef::cluster("pods")
}

impl Rebalancing {
    pub(crate) fn new(cluster: Arc<Cluster>, columns: Columns, always: usize) -> Self {
        Rebalancing {
            cluster,
            columns,
            always,
            active: Arc::default(),
            moved: Mutex::default(),
            cursor: Mutex::default(),
        }
    }

    fn set_of(&self, pod: &Pod) -> Option<Arc<ReplicaSet>> {
        let owner = pod.metadata.controller().filter(|owner| owner.kind == "ReplicaSet")?;
        let set = self.cluster.replica_sets.get(&pod.metadata.namespace, &owner.name)?.view.clone();
        let own = set.metadata.uid == owner.uid && settled(&set, &self.siblings(&set));
        own.then_some(set)
    }

    /// The other sets of a set's Deployment.
    fn siblings(&self, set: &ReplicaSet) -> Vec<Arc<ReplicaSet>> {
        let Some(owner) = set.metadata.controller() else { return Vec::new() };
        let all = self.cluster.replica_sets.by_index(BY_OWNER, &owner.uid).into_iter().map(|set| set.view.clone());
        all.filter(|other| other.metadata.uid != set.metadata.uid).collect()
    }

    fn pods_of(&self, set: &ReplicaSet) -> Vec<Arc<Cached<Pod>>> {
        self.cluster.pods.by_index(BY_OWNER, &set.metadata.uid)
    }

    fn search(&self, requests: &[(Arc<Node>, Request)], moving: &[Moving], now: Timestamp) -> Choice {
        let busy = |set: &ReplicaSet| {
            let is = |moving: &Moving| moving.pod.metadata.controller().is_some_and(|o| o.uid == set.metadata.uid);
            moving.iter().any(is)
        };
        let mut moved = self.moved.lock();
        moved.retain(|_, (_, last)| now.duration_since(*last) < REST);
        // As many moves as it has pods: more could only be going round.
        let spent = |set: &ReplicaSet| {
            let most = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
            moved.get(&set.metadata.uid).is_some_and(|(count, _)| *count >= most)
        };
        let mut sets = Vec::new();
        for set in self.cluster.replica_sets.list() {
            let set = set.view.clone();
            let fit = settled(&set, &self.siblings(&set)) && set.status.ready_replicas > 0;
            if fit && !busy(&set) && !spent(&set) {
                let pods = self.pods_of(&set).into_iter().map(|pod| (pod.view.clone(), pod.raw.clone())).collect();
                sets.push(Set { set, pods });
            }
        }
        sets.sort_by(|a, b| a.set.metadata.uid.cmp(&b.set.metadata.uid));
        let may = |node: &str| self.always > 0 || requests.iter().any(|(asked, _)| asked.metadata.name == node);
        let columns = self.columns.lock();
        choose(&sets, &mut self.cursor.lock(), |pod| columns.better(&pod.metadata.namespace, &pod.metadata.name, may))
    }
}

impl Controller for Rebalancing {
    type View = View;

    fn name(&self) -> &'static str {
        "rebalance"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let (on_node, always) = (keys.clone(), self.always > 0);
        self.cluster.nodes.listen(move |change| {
            let asked = |node: &Cached<Node>| node.view.metadata.annotation(REBALANCE).is_some();
            if change.after.as_deref().is_some_and(asked) {
                on_node.add(&everything());
            } else if always {
                on_node.add_at(&everything(), Instant::now() + CALM);
            }
        });
        let (on_pod, active, always) = (keys.clone(), self.active.clone(), self.always > 0);
        self.cluster.pods.listen(move |change| {
            let marked = |pod: &Cached<Pod>| pod.view.metadata.annotation(MOVING).is_some();
            if active.load(Ordering::Relaxed) || change.sides().any(|pod| marked(pod)) {
                on_pod.add(&everything());
            } else if always {
                on_pod.add_at(&everything(), Instant::now() + CALM);
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        vec![everything()]
    }

    fn view(&self, _: &ObjectRef) -> Option<View> {
        let nodes = self.cluster.nodes.list();
        let asked = nodes.into_iter().filter_map(|node| {
            let request = Request::of(&node.view.metadata)?;
            Some((node.view.clone(), request))
        });
        let requests: Vec<(Arc<Node>, Request)> = asked.collect();
        let moving: Vec<Moving> = self
            .cluster
            .pods
            .by_index(BY_MOVING, BY_MOVING)
            .into_iter()
            .map(|pod| {
                let pod = pod.view.clone();
                let set = self.set_of(&pod);
                let siblings = set.iter().flat_map(|set| self.pods_of(set)).map(|pod| pod.view.clone()).collect();
                Moving { pod, set, siblings }
            })
            .collect();
        self.active.store(!requests.is_empty() || !moving.is_empty(), Ordering::Relaxed);
        let mut view = View { requests, always: self.always, moving, choice: Choice::None };
        if view.room() > 0 {
            view.choice = self.search(&view.requests, &view.moving, self.cluster.now());
        }
        Some(view)
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }

    fn apply<'a>(&'a self, _: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            for owner in plan::begun(&plan.writes, &self.cluster) {
                let mut moved = self.moved.lock();
                let entry = moved.entry(owner).or_insert((0, self.cluster.now()));
                *entry = (entry.0 + 1, self.cluster.now());
            }
            for owner in plan::given_up(&plan.writes, &self.cluster) {
                self.moved.lock().insert(owner, (usize::MAX, self.cluster.now()));
            }
            let (evictions, writes): (Vec<_>, Vec<_>) =
                plan.writes.into_iter().partition(|write| matches!(write, Write::Post { .. }));
            self.cluster.apply(writes, plan.notices).await?;
            match self.cluster.apply(evictions, Vec::new()).await {
                // A disruption budget says: not now. It is asked again, until the mark ends.
                Err(ApplyError::Write { source, .. }) if source.status().is_some_and(|status| status.code() == 429) => {
                    Ok(())
                }
                done => done,
            }
        })
    }
}

impl View {
    /// How many more moves may begin now.
    fn room(&self) -> usize {
        let asked = self.requests.iter().map(|(_, request)| request.at_once).max().unwrap_or(0);
        asked.max(self.always).saturating_sub(self.moving.len())
    }
}
