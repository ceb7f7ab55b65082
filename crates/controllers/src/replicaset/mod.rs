//! ReplicaSet, and its forerunner ReplicationController: as many pods of one template as asked for.
//!
//! All missing pods are created at once (the executor bounds how many at a time): starting slowly protects a control
//! plane that is far away, ours is near and refuses what it cannot take.

mod plan;

pub(crate) use plan::{REPLICA_FAILURE, or_absent};
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use naru_client::{Cached, Informer, ObjectRef, Resource};

use crate::cluster::{ApplyError, BY_OWNER, Cluster, ORPHANS, owner_key};
use crate::driver::{Controller, Keys};
use crate::ownership::selector;
use crate::plan::Plan;
use crate::resources::{REPLICA_SETS, REPLICATION_CONTROLLERS};
use crate::views::{Pod, ReplicaSet};

/// Keeps ReplicaSets, or ReplicationControllers, at their numbers.
pub(crate) struct ReplicaSets {
    cluster: Arc<Cluster>,
    flavour: Flavour,
}

/// Which of the two kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Flavour {
    #[default]
    ReplicaSet,
    /// Selects by a plain map of labels, and belongs to nobody.
    ReplicationController,
}

impl Flavour {
    /// Its resource.
    pub(crate) fn resource(self) -> Resource {
        match self {
            Flavour::ReplicaSet => REPLICA_SETS,
            Flavour::ReplicationController => REPLICATION_CONTROLLERS,
        }
    }
}

/// One ReplicaSet and the pods that concern it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) flavour: Flavour,
    pub(crate) set: Arc<ReplicaSet>,
    /// The pods that name it as their manager.
    pub(crate) owned: Vec<Arc<Pod>>,
    /// Pods that match and that nobody manages.
    pub(crate) orphans: Vec<Arc<Pod>>,
    /// Pods of the same service by node, those of sibling sets included.
    pub(crate) crowd: BTreeMap<String, usize>,
}

impl ReplicaSets {
    pub(crate) fn of(flavour: Flavour, cluster: Arc<Cluster>) -> Self {
        ReplicaSets { cluster, flavour }
    }

    fn sets(&self) -> &Informer<ReplicaSet> {
        match self.flavour {
            Flavour::ReplicaSet => &self.cluster.replica_sets,
            Flavour::ReplicationController => &self.cluster.replication_controllers,
        }
    }
}

impl Controller for ReplicaSets {
    type View = View;

    fn name(&self) -> &'static str {
        match self.flavour {
            Flavour::ReplicaSet => "replicaset",
            Flavour::ReplicationController => "replicationcontroller",
        }
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.sets().listen(move |change| own.add(change.key()));
        let (keys, sets) = (keys.clone(), self.sets().clone());
        let kind = self.flavour.resource().kind;
        self.cluster.pods.listen(move |change| {
            for pod in change.sides() {
                let meta = &pod.view.metadata;
                if meta.controller().is_some() {
                    owner_key(meta, &kind).iter().for_each(|key| keys.add(key));
                    continue;
                }
                for set in sets.list_in(&meta.namespace) {
                    if selector(&set.view.spec.selector).matches(&meta.labels) {
                        keys.add(&set.key);
                    }
                }
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.sets().list().iter().map(|set| set.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let set = self.sets().get_ref(key)?.view.clone();
        let wanted = selector(&set.spec.selector);
        let view_of = |pod: Arc<Cached<Pod>>| pod.view.clone();
        let owned: Vec<_> = self.cluster.pods.by_index(BY_OWNER, &set.metadata.uid).into_iter().map(view_of).collect();
        let mut orphans: Vec<_> =
            self.cluster.pods.by_index(ORPHANS, &key.namespace).into_iter().map(view_of).collect();
        orphans.retain(|pod| wanted.matches(&pod.metadata.labels));
        let siblings = match set.metadata.controller() {
            Some(owner) => self.cluster.replica_sets.by_index(BY_OWNER, &owner.uid),
            None => Vec::new(),
        };
        let others = siblings.iter().filter(|sibling| *sibling.uid != *set.metadata.uid);
        let others = others.flat_map(|sibling| self.cluster.pods.by_index(BY_OWNER, &sibling.uid)).map(view_of);
        let mut crowd = BTreeMap::new();
        for pod in owned.iter().cloned().chain(others).filter(|pod| pod.is_active()) {
            *crowd.entry(pod.spec.node_name.clone()).or_default() += 1;
        }
        Some(View { flavour: self.flavour, set, owned, orphans, crowd })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let outcome = self.cluster.apply(plan.writes, plan.notices).await;
            if let Err(ApplyError::Write { source, .. }) = &outcome
                && let Some(status) = source.status()
                && let Some(set) = self.sets().get_ref(key)
            {
                let told = plan::refused(self.flavour, &set.view, &status.message, self.cluster.now());
                // The turn has failed already, and says so with its own error.
                let _ = self.cluster.apply(told.into_iter().collect(), Vec::new()).await;
            }
            outcome
        })
    }
}
