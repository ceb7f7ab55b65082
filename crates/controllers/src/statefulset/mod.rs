//! StatefulSet: numbered pods with names and volumes of their own, one after the other.

mod make;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use naru_client::ObjectRef;

use crate::cluster::{BY_OWNER, Cluster, owner_key};
use crate::driver::{Controller, Keys};
use crate::plan::Plan;
use crate::views::{ControllerRevision, Pod, StatefulSet};

/// Keeps StatefulSets.
pub(crate) struct StatefulSets(pub(crate) Arc<Cluster>);

/// One StatefulSet, its pods, its former templates, and the claims there are.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) set: Arc<StatefulSet>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) revisions: Vec<Arc<ControllerRevision>>,
    /// Names of the namespace's claims.
    pub(super) claims: BTreeSet<String>,
}

impl Controller for StatefulSets {
    type View = View;

    fn name(&self) -> &'static str {
        "statefulset"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.stateful_sets.listen(move |change| own.add(change.key()));
        let keys = keys.clone();
        self.0.pods.listen(move |change| {
            for pod in change.sides() {
                owner_key(&pod.view.metadata, "StatefulSet").iter().for_each(|key| keys.add(key));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.0.stateful_sets.list().iter().map(|set| set.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let set = self.0.stateful_sets.get_ref(key)?.view.clone();
        let uid = &set.metadata.uid;
        let pods = self.0.pods.by_index(BY_OWNER, uid).into_iter().map(|pod| pod.view.clone()).collect();
        let revisions = self.0.revisions.by_index(BY_OWNER, uid).into_iter().map(|r| r.view.clone()).collect();
        let claims = self.0.claims.list_in(&key.namespace).iter().map(|claim| claim.key.name.to_string()).collect();
        Some(View { set, pods, revisions, claims })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }
}
