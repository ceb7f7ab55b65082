//! Deployment: changes of a template, rolled out over ReplicaSets.
//!
//! The decision is one pure function over the Deployment, its ReplicaSets and their pods; the arithmetic of sizes
//! stands apart in `rolling` and `scale`, so that its laws can be tested without objects.

pub(crate) mod bounds;
mod failure;
mod plan;
pub(crate) mod revision;
mod rolling;
mod scale;
mod status;
pub(crate) mod template;
#[cfg(test)]
mod tests;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use naru_client::{Change, ObjectRef};

use crate::cluster::{BY_OWNER, Cluster, ORPHANS, owner_key};
use crate::driver::{Controller, Keys};
use crate::ownership::selector;
use crate::plan::Plan;
use crate::views::{Deployment, Owner, Pod, ReplicaSet};

/// Rolls Deployments out.
pub(crate) struct Deployments(pub(crate) Arc<Cluster>);

/// One Deployment with its ReplicaSets and their pods.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) deployment: Arc<Deployment>,
    /// The sets that name it as their manager, by name.
    pub(crate) sets: Vec<Arc<ReplicaSet>>,
    /// Sets that match and that nobody manages.
    pub(crate) orphans: Vec<Arc<ReplicaSet>>,
    /// Names of the namespace's sets that others manage.
    pub(crate) taken: BTreeSet<String>,
    /// Names of sets whose manager is gone, and which will be released or deleted in a moment.
    pub(crate) leaving: BTreeSet<String>,
    /// The pods of each set, by the set's uid, those on their way out included.
    pub(crate) pods: BTreeMap<String, Vec<Arc<Pod>>>,
}

impl Controller for Deployments {
    type View = View;

    fn name(&self) -> &'static str {
        "deployment"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.deployments.listen(move |change| own.add(change.key()));
        let (from_sets, deployments) = (keys.clone(), self.0.deployments.clone());
        self.0.replica_sets.listen(move |change| {
            for set in change.sides() {
                let meta = &set.view.metadata;
                if meta.controller().is_some() {
                    owner_key(meta, "Deployment").iter().for_each(|key| from_sets.add(key));
                    continue;
                }
                for deployment in deployments.list_in(&meta.namespace) {
                    if selector(&deployment.view.spec.selector).matches(&meta.labels) {
                        from_sets.add(&deployment.key);
                    }
                }
            }
        });
        let (keys, sets) = (keys.clone(), self.0.replica_sets.clone());
        self.0.pods.listen(move |change| {
            let newest = change.after.as_ref().or(change.before.as_ref());
            let Some(pod) = newest.filter(|_| matters(change)) else { return };
            let set = owner_key(&pod.view.metadata, "ReplicaSet").and_then(|key| sets.get_ref(&key));
            set.and_then(|set| owner_key(&set.view.metadata, "Deployment")).iter().for_each(|key| keys.add(key));
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.0.deployments.list().iter().map(|deployment| deployment.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let deployment = self.0.deployments.get_ref(key)?.view.clone();
        let wanted = selector(&deployment.spec.selector);
        let uid = &deployment.metadata.uid;
        let sets: Vec<_> =
            self.0.replica_sets.by_index(BY_OWNER, uid).into_iter().map(|set| set.view.clone()).collect();
        let mut orphans: Vec<_> =
            self.0.replica_sets.by_index(ORPHANS, &key.namespace).into_iter().map(|set| set.view.clone()).collect();
        orphans.retain(|set| wanted.matches(&set.metadata.labels));
        let (mut taken, mut leaving) = (BTreeSet::new(), BTreeSet::new());
        for set in self.0.replica_sets.list_in(&key.namespace) {
            match set.view.metadata.controller() {
                Some(owner) if owner.uid == *uid => {}
                Some(owner) if owner.kind == "Deployment" && !self.lives(&key.namespace, owner) => {
                    leaving.insert(set.key.name.to_string());
                }
                _ => {
                    taken.insert(set.key.name.to_string());
                }
            }
        }
        let pods_of = |set: &Arc<ReplicaSet>| {
            let pods = self.0.pods.by_index(BY_OWNER, &set.metadata.uid);
            (set.metadata.uid.clone(), pods.into_iter().map(|pod| pod.view.clone()).collect())
        };
        let pods = sets.iter().map(pods_of).collect();
        Some(View { deployment, sets, orphans, taken, leaving, pods })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }
}

impl Deployments {
    /// Whether the Deployment that manages a set exists and stays.
    fn lives(&self, namespace: &str, owner: &Owner) -> bool {
        let found = self.0.deployments.get(namespace, &owner.name);
        found.is_some_and(|found| *found.uid == *owner.uid && !found.deleting)
    }
}

/// Pods matter to a Deployment itself only when they go or fail: the rest it learns from its sets' counters.
fn matters(change: &Change<Pod>) -> bool {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            let (before, after) = (&*before.view, &*after.view);
            before.status.phase != after.status.phase
                || before.restarts() != after.restarts()
                || failure::is_stuck(before) != failure::is_stuck(after)
                || failure::is_unhealthy(before) != failure::is_unhealthy(after)
                || before.metadata.is_deleting() != after.metadata.is_deleting()
        }
        (_, None) => true,
        (None, Some(_)) => false,
    }
}
