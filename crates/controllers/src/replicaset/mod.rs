//! ReplicaSet: as many pods of one template as asked for.
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
use naru_client::{Cached, ObjectRef};

use crate::cluster::{ApplyError, BY_OWNER, Cluster, ORPHANS, owner_key};
use crate::driver::{Controller, Keys};
use crate::ownership::selector;
use crate::plan::Plan;
use crate::views::{Pod, ReplicaSet};

/// Keeps ReplicaSets at their numbers.
pub(crate) struct ReplicaSets(pub(crate) Arc<Cluster>);

/// One ReplicaSet and the pods that concern it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) set: Arc<ReplicaSet>,
    /// The pods that name it as their manager.
    pub(crate) owned: Vec<Arc<Pod>>,
    /// Pods that match and that nobody manages.
    pub(crate) orphans: Vec<Arc<Pod>>,
    /// Pods of the same service by node, those of sibling sets included.
    pub(crate) crowd: BTreeMap<String, usize>,
}

impl Controller for ReplicaSets {
    type View = View;

    fn name(&self) -> &'static str {
        "replicaset"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.replica_sets.listen(move |change| own.add(change.key()));
        let (keys, sets) = (keys.clone(), self.0.replica_sets.clone());
        self.0.pods.listen(move |change| {
            for pod in change.sides() {
                let meta = &pod.view.metadata;
                if meta.controller().is_some() {
                    owner_key(meta, "ReplicaSet").iter().for_each(|key| keys.add(key));
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
        self.0.replica_sets.list().iter().map(|set| set.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let set = self.0.replica_sets.get_ref(key)?.view.clone();
        let wanted = selector(&set.spec.selector);
        let view_of = |pod: Arc<Cached<Pod>>| pod.view.clone();
        let owned: Vec<_> = self.0.pods.by_index(BY_OWNER, &set.metadata.uid).into_iter().map(view_of).collect();
        let mut orphans: Vec<_> = self.0.pods.by_index(ORPHANS, &key.namespace).into_iter().map(view_of).collect();
        orphans.retain(|pod| wanted.matches(&pod.metadata.labels));
        let siblings = match set.metadata.controller() {
            Some(owner) => self.0.replica_sets.by_index(BY_OWNER, &owner.uid),
            None => Vec::new(),
        };
        let others = siblings.iter().filter(|sibling| *sibling.uid != *set.metadata.uid);
        let others = others.flat_map(|sibling| self.0.pods.by_index(BY_OWNER, &sibling.uid)).map(view_of);
        let mut crowd = BTreeMap::new();
        for pod in owned.iter().cloned().chain(others).filter(|pod| pod.is_active()) {
            *crowd.entry(pod.spec.node_name.clone()).or_default() += 1;
        }
        Some(View { set, owned, orphans, crowd })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let outcome = self.0.apply(plan.writes, plan.notices).await;
            if let Err(ApplyError::Write { source, .. }) = &outcome
                && let Some(status) = source.status()
                && let Some(set) = self.0.replica_sets.get_ref(key)
            {
                let told = plan::refused(&set.view, &status.message, self.0.now());
                // The turn has failed already, and says so with its own error.
                let _ = self.0.apply(told.into_iter().collect(), Vec::new()).await;
            }
            outcome
        })
    }
}
