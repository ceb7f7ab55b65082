//! CronJob: a Job at each time of a schedule.
//!
//! A run's name follows from its time, so that it is made once however often the controller looks.

mod plan;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use naru_client::ObjectRef;

use crate::cluster::{BY_OWNER, Cluster, owner_key};
use crate::driver::{Controller, Keys};
use crate::plan::Plan;
use crate::views::{CronJob, Job};

/// Runs CronJobs.
pub(crate) struct CronJobs(pub(crate) Arc<Cluster>);

/// One CronJob and its runs.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) cron: Arc<CronJob>,
    pub(super) jobs: Vec<Arc<Job>>,
}

impl Controller for CronJobs {
    type View = View;

    fn name(&self) -> &'static str {
        "cronjob"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.cron_jobs.listen(move |change| own.add(change.key()));
        let keys = keys.clone();
        self.0.jobs.listen(move |change| {
            for job in change.sides() {
                owner_key(&job.view.metadata, "CronJob").iter().for_each(|key| keys.add(key));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.0.cron_jobs.list().iter().map(|cron| cron.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let cron = self.0.cron_jobs.get_ref(key)?.view.clone();
        let jobs = self.0.jobs.by_index(BY_OWNER, &cron.metadata.uid);
        Some(View { cron, jobs: jobs.into_iter().map(|job| job.view.clone()).collect() })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan::plan(view, now)
    }
}
