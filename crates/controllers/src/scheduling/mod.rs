//! Scheduling: asking the scheduler for every pod without a node, and telling its answer.
//!
//! The scheduler's own columns are fed by the informers. An answer sets the place aside at once, before the binding is
//! written, so that pods that are placed at the same time do not take one place twice; a binding that fails gives it
//! back.

mod answer;
mod mirror;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use naru_client::ObjectRef;
use parking_lot::Mutex;

use crate::cluster::{ApplyError, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use answer::{Answer, View};
use mirror::{Known, Mirror};

/// Names under which pods ask for this scheduler.
const NAMES: [&str; 3] = ["", "default-scheduler", "naru-scheduler"];

/// What runs where, for whoever asks the scheduler without placing anything.
#[derive(Clone)]
pub(crate) struct Columns(Arc<Mutex<Mirror>>);

impl Columns {
    /// A look, during which nothing is placed.
    pub(crate) fn lock(&self) -> parking_lot::MappedMutexGuard<'_, naru_scheduler::Cluster> {
        parking_lot::MutexGuard::map(self.0.lock(), Mirror::columns)
    }
}

/// Gives pods their nodes.
pub(crate) struct Scheduling {
    cluster: Arc<Cluster>,
    mirror: Arc<Mutex<Mirror>>,
}

impl Scheduling {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Scheduling { cluster, mirror: Arc::default() }
    }

    /// Its columns.
    pub(crate) fn columns(&self) -> Columns {
        Columns(self.mirror.clone())
    }
}

impl Controller for Scheduling {
    type View = View;

    fn name(&self) -> &'static str {
        "scheduler"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        // Nodes first, so that the pods of a running cluster find theirs.
        let (mirror, on_node) = (self.mirror.clone(), keys.clone());
        self.cluster.nodes.listen(move |change| {
            mirror.lock().take_node(change).iter().for_each(|key| on_node.add(key));
        });
        let (mirror, on_namespace) = (self.mirror.clone(), keys.clone());
        self.cluster.namespaces.listen(move |change| {
            mirror.lock().take_namespace(change).iter().for_each(|key| on_namespace.add(key));
        });
        let (mirror, on_pod) = (self.mirror.clone(), keys.clone());
        self.cluster.pods.listen(move |change| {
            mirror.lock().take_pod(change).iter().for_each(|key| on_pod.add(key));
        });
        let (mirror, on_claim) = (self.mirror.clone(), keys.clone());
        self.cluster.claims.listen(move |_| mirror.lock().waiting().for_each(|key| on_claim.add(key)));
        let (mirror, on_volume) = (self.mirror.clone(), keys.clone());
        self.cluster.volumes.listen(move |_| mirror.lock().waiting().for_each(|key| on_volume.add(key)));
    }

    fn scan(&self) -> Vec<ObjectRef> {
        let pods = self.cluster.pods.list().into_iter().filter(|pod| pod.view.spec.node_name.is_empty());
        pods.map(|pod| pod.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let pod = self.cluster.pods.get_ref(key)?;
        let spec = &pod.view.spec;
        let concerns =
            spec.node_name.is_empty() && pod.view.is_active() && NAMES.contains(&spec.scheduler_name.as_str());
        if !concerns {
            return None;
        }
        let volumes = || answer::volumes(&self.cluster, &pod.view);
        let known = |key: &ObjectRef| {
            let pod = self.cluster.pods.get_ref(key)?;
            Some(Known { uid: pod.uid.to_string(), leaving: pod.deleting })
        };
        let answer = match spec.scheduling_gates.is_empty() {
            true => self.mirror.lock().place(&pod, volumes, known),
            false => Answer::Gated,
        };
        Some(View { pod: pod.view.clone(), answer })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        answer::plan(view, now)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let binds = plan.writes.iter().any(|write| matches!(write, Write::Post { .. }));
            let outcome = self.cluster.apply(plan.writes, plan.notices).await;
            if binds && outcome.is_err() {
                // Others that wait are told by the next change; this pod itself is tried again first.
                self.mirror.lock().give_back(key);
            }
            outcome
        })
    }
}
