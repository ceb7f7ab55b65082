//! Counting the ends of pods, each once.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::index;
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
}

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
        for pod in pods {
            let uid = &pod.metadata.uid;
            let recorded = well.contains(uid) || badly.contains(uid);
            match end_of(pod) {
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
                Some(false) => drop(tally.ended_badly.insert(uid.clone())),
            }
            tally.leaving += i32::from(pod.metadata.is_deleting() && !pod.is_finished());
        }
        tally
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

/// Whether a pod has ended, and whether well. One that is being taken away has failed, unless it has succeeded.
fn end_of(pod: &Pod) -> Option<bool> {
    match pod.status.phase {
        Phase::Succeeded => Some(true),
        Phase::Failed => Some(false),
        _ if pod.metadata.is_deleting() => Some(false),
        _ => None,
    }
}
