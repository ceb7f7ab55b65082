//! Job: pods that are to end well, a number of times.
//!
//! A pod's end is counted exactly once, even if the pod is lost right after: every pod carries a finalizer; its end is
//! first written into the Job's status by uid, then the finalizer is taken away, and only then does the uid become a
//! number. Whoever dies in between finds the uid and goes on.

mod index;
mod plan;
mod policy;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use naru_client::ObjectRef;

use crate::cluster::{BY_OWNER, Cluster, owner_key};
use crate::driver::{Controller, Keys};
use crate::plan::Plan;
use crate::views::{Job, Pod};

/// Runs Jobs.
pub(crate) struct Jobs(pub(crate) Arc<Cluster>);

/// One Job and its pods.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) job: Arc<Job>,
    pub(super) pods: Vec<Arc<Pod>>,
}

impl Controller for Jobs {
    type View = View;

    fn name(&self) -> &'static str {
        "job"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.jobs.listen(move |change| own.add(change.key()));
        let keys = keys.clone();
        self.0.pods.listen(move |change| {
            for pod in change.sides() {
                owner_key(&pod.view.metadata, "Job").iter().for_each(|key| keys.add(key));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.0.jobs.list().iter().map(|job| job.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let job = self.0.jobs.get_ref(key)?.view.clone();
        let pods = self.0.pods.by_index(BY_OWNER, &job.metadata.uid);
        Some(View { job, pods: pods.into_iter().map(|pod| pod.view.clone()).collect() })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }
}
