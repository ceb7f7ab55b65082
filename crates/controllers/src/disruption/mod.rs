//! PodDisruptionBudget: how many of its pods may be evicted now.
//!
//! The budget's status is a purse that two sides use: this controller fills it from what it sees of the pods, and each
//! eviction takes one out in the same object. So every write here is guarded by the revision that was seen, and what
//! an eviction has taken counts as gone until its pod is, or until it plainly was never deleted.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use naru_client::{Change, ObjectRef};

use crate::cluster::Cluster;
use crate::driver::{Controller, Keys};
use crate::ownership::selector;
use crate::plan::Plan;
use crate::views::{Meta, Owner, Pod, PodDisruptionBudget};

/// Fills the purses of disruption budgets.
pub(crate) struct Budgets(pub(crate) Arc<Cluster>);

/// One budget and what it protects.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) budget: Arc<PodDisruptionBudget>,
    /// The pods that it selects.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// How many pods each of their workloads asks for, by the workload's uid.
    pub(crate) scales: BTreeMap<String, i32>,
}

impl Controller for Budgets {
    type View = View;

    fn name(&self) -> &'static str {
        "disruption"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.budgets.listen(move |change| own.add(change.key()));
        let (from_pods, budgets) = (keys.clone(), self.0.budgets.clone());
        self.0.pods.listen(move |change| {
            for budget in budgets.list_in(&change.key().namespace) {
                let wanted = selector(&budget.view.spec.selector);
                if change.sides().any(|pod| wanted.matches(&pod.view.metadata.labels)) {
                    from_pods.add(&budget.key);
                }
            }
        });
        // What a share is a share of.
        let (on_size, budgets) = (keys.clone(), self.0.budgets.clone());
        let resized = Arc::new(move |namespace: &str| {
            budgets.list_in(namespace).iter().for_each(|budget| on_size.add(&budget.key));
        });
        let tell = resized.clone();
        self.0.deployments.listen(move |change| told(change, |it| it.spec.replicas, &*tell));
        let tell = resized.clone();
        self.0.replica_sets.listen(move |change| told(change, |it| it.spec.replicas, &*tell));
        self.0.stateful_sets.listen(move |change| told(change, |it| it.spec.replicas, &*resized));
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.0.budgets.list().iter().map(|budget| budget.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let budget = self.0.budgets.get_ref(key)?.view.clone();
        let wanted = selector(&budget.spec.selector);
        let pods = self.0.pods.list_in(&key.namespace).into_iter().map(|pod| pod.view.clone());
        let pods: Vec<_> = pods.filter(|pod| wanted.matches(&pod.metadata.labels)).collect();
        let mut scales = BTreeMap::new();
        let mut known: BTreeMap<&str, String> = BTreeMap::new();
        for owner in pods.iter().filter_map(|pod| pod.metadata.controller()) {
            if known.contains_key(owner.uid.as_str()) {
                continue;
            }
            let (workload, scale) = self.scale(&key.namespace, owner).unwrap_or_else(|| {
                // A workload without a number of its own asks for as many as there are.
                let own = pods.iter().filter(|pod| pod.metadata.controller().is_some_and(|it| it.uid == owner.uid));
                (owner.uid.clone(), i32::try_from(own.count()).unwrap_or(i32::MAX))
            });
            scales.insert(workload.clone(), scale);
            known.insert(owner.uid.as_str(), workload);
        }
        Some(View { budget, pods, scales })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }
}

impl Budgets {
    /// The workload that a pod's owner belongs to, and how many pods that asks for.
    fn scale(&self, namespace: &str, owner: &Owner) -> Option<(String, i32)> {
        let is = |meta: &Meta, owner: &Owner| meta.uid == owner.uid;
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set =
                    self.0.replica_sets.get(namespace, &owner.name).filter(|set| is(&set.view.metadata, owner))?;
                let above = set.view.metadata.controller().filter(|above| above.kind == "Deployment");
                if let Some(above) = above
                    && let Some(deployment) = self.0.deployments.get(namespace, &above.name)
                    && is(&deployment.view.metadata, above)
                {
                    return Some((above.uid.clone(), deployment.view.spec.replicas.unwrap_or(1)));
                }
                Some((owner.uid.clone(), set.view.spec.replicas.unwrap_or(1)))
            }
            "StatefulSet" => {
                let set =
                    self.0.stateful_sets.get(namespace, &owner.name).filter(|set| is(&set.view.metadata, owner))?;
                Some((owner.uid.clone(), set.view.spec.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }
}

/// Tells of an object whose size has changed.
fn told<V>(change: &Change<V>, size: impl Fn(&V) -> Option<i32>, tell: &dyn Fn(&str)) {
    let of = |side: Option<&Arc<naru_client::Cached<V>>>| side.map(|object| size(&object.view));
    if of(change.before.as_ref()) != of(change.after.as_ref()) {
        tell(&change.key().namespace);
    }
}
