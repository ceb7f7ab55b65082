//! Counting the ends of pods, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::index;
use super::policy::{self, Verdict};
use crate::views::{Job, Phase, Pod};

/// Finalizer of a Job's pods: their end has not been counted.
pub(super) const TRACKED: &str = "batch.kubernetes.io/job-tracking";

/// How a Job stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    /// Ends that are counted for good.
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    /// Pods whose end is recorded and not yet counted.
    pub(super) ended_well: BTreeSet<String>,
    pub(super) ended_badly: BTreeSet<String>,
    /// Indexes that succeeded.
    pub(super) completed: BTreeSet<i32>,
    /// Pods whose recorded end lets them go.
    pub(super) release: Vec<Arc<Pod>>,
    /// Pods that run or will.
    pub(super) active: Vec<Arc<Pod>>,
    /// Pods on their way out.
    pub(super) leaving: i32,
    /// Indexes that failed for good.
    pub(super) failed_indexes: BTreeSet<i32>,
    /// How often each index failed, where that is limited.
    pub(super) failures: BTreeMap<i32, IndexFailures>,
    /// Pods that are kept because they know how often their index failed.
    pub(super) held: Vec<Arc<Pod>>,
    /// Why one failure fails the whole Job.
    pub(super) fail_job: Option<String>,
}

/// The failures of one index.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct IndexFailures {
    pub(super) count: i32,
    /// When the last pod ended.
    pub(super) last: Option<Timestamp>,
}

/// Annotation of a pod of an indexed Job: how often the pods before it failed for its index.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

impl Tally {
    pub(super) fn of(job: &Job, pods: &[Arc<Pod>]) -> Tally {
        let uncounted = job.status.uncounted_terminated_pods.as_ref();
        let listed = |which: &str| -> BTreeSet<String> {
            let list = uncounted.and_then(|uncounted| uncounted[which].as_array()).into_iter().flatten();
            list.filter_map(|uid| uid.as_str().map(str::to_owned)).collect()
        };
        let indexed = job.spec.completion_mode == "Indexed";
        let mut tally = Tally {
            succeeded: job.status.succeeded,
            failed: job.status.failed,
            ended_well: listed("succeeded"),
            ended_badly: listed("failed"),
            completed: index::read(&job.status.completed_indexes, job.spec.completions.unwrap_or(0)),
            release: Vec::new(),
            active: Vec::new(),
            leaving: 0,
            failed_indexes: index::read(&job.status.failed_indexes, job.spec.completions.unwrap_or(0)),
            failures: BTreeMap::new(),
            held: Vec::new(),
            fail_job: None,
        };
        let tracked = |pod: &Pod| pod.metadata.finalizers.iter().any(|name| name == TRACKED);
        // What is recorded counts for good once its pod no longer needs the record.
        let held: BTreeSet<&str> =
            pods.iter().filter(|pod| tracked(pod)).map(|pod| pod.metadata.uid.as_str()).collect();
        let count = |ended: &mut BTreeSet<String>| {
            let before = ended.len();
            ended.retain(|uid| held.contains(uid.as_str()));
            i32::try_from(before - ended.len()).unwrap_or(i32::MAX)
        };
        let (well, badly) = (tally.ended_well.clone(), tally.ended_badly.clone());
        tally.succeeded += count(&mut tally.ended_well);
        tally.failed += count(&mut tally.ended_badly);
        let limit = job.spec.backoff_limit_per_index.filter(|_| indexed);
        for pod in pods {
            let uid = &pod.metadata.uid;
            let recorded = well.contains(uid) || badly.contains(uid);
            let end = end_of(job, pod);
            if end == Some(false)
                && let Some(index) = index::of(pod).filter(|_| limit.is_some())
            {
                tally.count_index(job, pod, index);
            }
            match end {
                None if pod.metadata.is_deleting() => {}
                None => tally.active.push(pod.clone()),
                Some(_) if recorded || !tracked(pod) => {
                    if tracked(pod) {
                        tally.release.push(pod.clone());
                    }
                }
                Some(true) => {
                    // An index that succeeded twice succeeded once.
                    let new = !indexed || index::of(pod).is_some_and(|index| tally.completed.insert(index));
                    let list = if new { &mut tally.ended_well } else { &mut tally.ended_badly };
                    list.insert(uid.clone());
                }
                Some(false) => tally.failure(job, pod),
            }
            tally.leaving += i32::from(pod.metadata.is_deleting() && !pod.is_finished());
        }
        if limit.is_some() {
            tally.hold_last_failures();
        }
        tally
    }

    /// Takes a failure by what the Job's policy says of it.
    fn failure(&mut self, job: &Job, pod: &Arc<Pod>) {
        match policy::judge(job, pod) {
            Verdict::Ignore => return self.release.push(pod.clone()),
            Verdict::FailIndex => self.failed_indexes.extend(index::of(pod)),
            Verdict::FailJob(why) => drop(self.fail_job.get_or_insert(why)),
            Verdict::Count => {}
        }
        self.ended_badly.insert(pod.metadata.uid.clone());
    }

    /// Counts a failure for its index, which fails for good beyond the limit.
    fn count_index(&mut self, job: &Job, pod: &Pod, index: i32) {
        let before = failures_before(pod);
        let failures = before + i32::from(policy::judge(job, pod) != Verdict::Ignore);
        let known = self.failures.entry(index).or_default();
        let ended = index::ended(pod);
        if failures > known.count || (failures == known.count && ended > known.last) {
            *known = IndexFailures { count: failures, last: ended };
        }
        if failures > job.spec.backoff_limit_per_index.unwrap_or(i32::MAX) && !self.completed.contains(&index) {
            self.failed_indexes.insert(index);
        }
    }

    /// The last failed pod of an index is the only one that knows how often it failed: it stays until another has
    /// taken its place.
    fn hold_last_failures(&mut self) {
        let (active, completed, failed) = (&self.active, &self.completed, &self.failed_indexes);
        let succeeded = |index: i32| completed.contains(&index) || failed.contains(&index);
        let counts = &self.failures;
        let (held, release) = std::mem::take(&mut self.release).into_iter().partition(|pod: &Arc<Pod>| {
            let Some(index) = index::of(pod).filter(|_| !pod.is_succeeded()) else { return false };
            let newest = counts.get(&index).is_some_and(|known| failures_before(pod) + 1 >= known.count);
            let replaced = active.iter().any(|other| index::of(other) == Some(index));
            newest && !replaced && !succeeded(index)
        });
        (self.held, self.release) = (held, release);
    }

    /// Ends that went well, counted or recorded.
    pub(super) fn all_succeeded(&self) -> i32 {
        self.succeeded + i32::try_from(self.ended_well.len()).unwrap_or(i32::MAX)
    }

    /// Ends that went badly, counted or recorded.
    pub(super) fn all_failed(&self) -> i32 {
        self.failed + i32::try_from(self.ended_badly.len()).unwrap_or(i32::MAX)
    }

    /// Everything is counted.
    pub(super) fn is_settled(&self) -> bool {
        self.ended_well.is_empty() && self.ended_badly.is_empty() && self.active.is_empty() && self.leaving == 0
    }

    /// What is recorded, as the status holds it.
    pub(super) fn uncounted(&self) -> Value {
        let mut uncounted = json!({});
        for (name, list) in [("succeeded", &self.ended_well), ("failed", &self.ended_badly)] {
            if !list.is_empty() {
                uncounted[name] = json!(list);
            }
        }
        uncounted
    }
}

/// Whether pods are replaced only when they have really ended. A policy about failures needs their ends.
pub(super) fn replaces_failed_only(job: &Job) -> bool {
    job.spec.pod_replacement_policy == "Failed" || job.spec.pod_failure_policy.is_some()
}

/// How often the pods before this one failed for its index.
fn failures_before(pod: &Pod) -> i32 {
    pod.metadata.annotation(FAILURES).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Whether a pod has ended, and whether well. One that is being taken away has failed, unless it has succeeded, or the
/// Job waits for its end.
fn end_of(job: &Job, pod: &Pod) -> Option<bool> {
    match pod.status.phase {
        Phase::Succeeded => Some(true),
        Phase::Failed => Some(false),
        _ if pod.metadata.is_deleting() && !replaces_failed_only(job) => Some(false),
        _ => None,
    }
}
