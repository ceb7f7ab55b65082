//! The decision about one Job.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use naru_client::{DeleteOptions, Propagation};
use serde_json::{Value, json};

use super::View;
use super::index::{self, INDEX};
use super::policy;
use super::tally::{FAILURES, TRACKED, Tally, replaces_failed_only};
use crate::ownership::{controller_of, key, without_finalizer};
use crate::plan::{Notice, Plan, Write};
use crate::pods;
use crate::replicaset::or_absent;
use crate::resources::{JOBS, PODS};
use crate::views::{Condition, Job, Phase, Pod};

/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: i64 = 10;
/// The longest pause after failures.
const LONGEST_PAUSE: i64 = 360;

/// Why a Job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Complete { reason: String, message: String },
    Failed { reason: String, message: String },
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let job = &*view.job;
    let mut plan = Plan::nothing("running");
    let tally = Tally::of(job, &view.pods);
    plan.writes.extend(tally.release.iter().map(|pod| without_finalizer(PODS, &pod.metadata, TRACKED)));
    if job.metadata.is_deleting() {
        // Nobody will count any more: the pods must not be held.
        let held =
            view.pods.iter().filter(|pod| !tally.release.iter().any(|freed| freed.metadata.uid == pod.metadata.uid));
        let held = held.filter(|pod| pod.metadata.finalizers.iter().any(|name| name == TRACKED));
        plan.writes.extend(held.map(|pod| without_finalizer(PODS, &pod.metadata, TRACKED)));
        plan.reason = "being deleted".into();
        return plan;
    }
    if let Some(finished) = finished(job) {
        plan.reason = "finished".into();
        expire(&mut plan, job, finished, now);
        return plan;
    }
    if !["", "kubernetes.io/job-controller"].contains(&job.spec.managed_by.as_str()) {
        return Plan::nothing("another controller runs it");
    }
    let end = end(job, &tally, now);
    if end.is_some() {
        plan.writes.extend(tally.held.iter().map(|pod| without_finalizer(PODS, &pod.metadata, TRACKED)));
    }
    let mut started = job.status.start_time;
    if end.is_some() {
        plan.reason = "ending".into();
        stop(&mut plan, job, tally.active.iter().map(|pod| &**pod));
    } else if job.spec.suspend {
        plan.reason = "suspended".into();
        started = None;
        stop(&mut plan, job, tally.active.iter().map(|pod| &**pod));
    } else {
        started = started.or(Some(now));
        deadline(&mut plan, job, started, now);
        supply(&mut plan, view, &tally, now);
    }
    status(&mut plan, job, &tally, end, started, now);
    plan
}

/// When a Job finished.
fn finished(job: &Job) -> Option<Timestamp> {
    let mut ends =
        job.status.conditions.iter().filter(|condition| ["Complete", "Failed"].contains(&condition.kind.as_str()));
    let end = ends.find(|condition| condition.is_true())?;
    Some(end.last_transition_time.unwrap_or(Timestamp::MIN))
}

/// Deletes a finished Job when its time is up.
fn expire(plan: &mut Plan, job: &Job, finished: Timestamp, now: Timestamp) {
    let Some(seconds) = job.spec.ttl_seconds_after_finished else { return };
    let due = after(finished, seconds);
    if due > now {
        return plan.again_at(due);
    }
    plan.reason = "its time after finishing is up".into();
    let options = DeleteOptions::exactly(job.metadata.uid.clone()).propagation(Propagation::Background);
    plan.push(Write::Delete { resource: JOBS, key: key(&job.metadata), options });
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn stop<'a>(plan: &mut Plan, job: &Job, surplus: impl Iterator<Item = &'a Pod>) {
    surplus.for_each(|pod| pods::delete(plan, (&JOBS, &job.metadata), pod));
}

fn deadline(plan: &mut Plan, job: &Job, started: Option<Timestamp>, now: Timestamp) {
    if let (Some(seconds), Some(started)) = (job.spec.active_deadline_seconds, started) {
        let due = after(started, seconds);
        if due > now {
            plan.again_at(due);
        }
    }
}

/// Whether a Job must end now; one that has begun to end keeps its reason.
fn end(job: &Job, tally: &Tally, now: Timestamp) -> Option<End> {
    let begun = |kind: &str| Condition::find(&job.status.conditions, kind).filter(|condition| condition.is_true());
    if let Some(failing) = begun("FailureTarget") {
        return Some(End::Failed { reason: failing.reason.clone(), message: failing.message.clone() });
    }
    if let Some(met) = begun("SuccessCriteriaMet") {
        return Some(End::Complete { reason: met.reason.clone(), message: met.message.clone() });
    }
    let complete = End::Complete {
        reason: "CompletionsReached".into(),
        message: "Reached expected number of succeeded pods".into(),
    };
    let failed = |reason: &str, message: &str| Some(End::Failed { reason: reason.into(), message: message.into() });
    if let Some(why) = &tally.fail_job {
        return failed("PodFailurePolicy", why);
    }
    if tally.all_failed() > backoff_limit(job) || restarted_too_often(job, tally) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    let due = job.spec.active_deadline_seconds.zip(job.status.start_time).map(|(seconds, at)| after(at, seconds));
    if due.is_some_and(|due| due <= now) && !job.spec.suspend {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    if job.spec.completion_mode == "Indexed"
        && let Some(end) = end_of_indexes(job, tally)
    {
        return Some(end);
    }
    let done = match job.spec.completions {
        Some(_) if job.spec.completion_mode == "Indexed" => {
            count_of(&tally.completed) >= job.spec.completions.unwrap_or(0)
        }
        Some(completions) => tally.all_succeeded() >= completions,
        None => tally.all_succeeded() > 0 && tally.active.is_empty(),
    };
    done.then_some(complete)
}

fn count_of(indexes: &BTreeSet<i32>) -> i32 {
    i32::try_from(indexes.len()).unwrap_or(i32::MAX)
}

/// How many failures the Job bears in all; where each index has a limit of its own, any number unless it says so.
fn backoff_limit(job: &Job) -> i32 {
    let otherwise = if job.spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 };
    job.spec.backoff_limit.unwrap_or(otherwise)
}

/// The ends that only Jobs with indexes have.
fn end_of_indexes(job: &Job, tally: &Tally) -> Option<End> {
    let failed = |reason: &str, message: &str| Some(End::Failed { reason: reason.into(), message: message.into() });
    if job.spec.backoff_limit_per_index.is_some() {
        let (bad, good) = (count_of(&tally.failed_indexes), count_of(&tally.completed));
        if job.spec.max_failed_indexes.is_some_and(|most| bad > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return failed("MaxFailedIndexesExceeded", message);
        }
        if bad > 0 && bad + good >= job.spec.completions.unwrap_or(0) {
            return failed("FailedIndexes", "Job has failed indexes");
        }
    }
    let rule = policy::enough(job, &tally.completed)?;
    Some(End::Complete { reason: "SuccessPolicy".into(), message: format!("Matched rules at index {rule}") })
}

/// Pods that restart in place fail in place.
fn restarted_too_often(job: &Job, tally: &Tally) -> bool {
    if job.spec.template["spec"]["restartPolicy"] != "OnFailure" {
        return false;
    }
    let restarts: i32 = tally.active.iter().map(|pod| pod.restarts()).sum();
    let limit = backoff_limit(job);
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// Creates and deletes pods so that as many run as should.
fn supply(plan: &mut Plan, view: &View, tally: &Tally, now: Timestamp) {
    let job = &*view.job;
    let parallelism = job.spec.parallelism.unwrap_or(1).max(0);
    let active = i32::try_from(tally.active.len()).unwrap_or(i32::MAX);
    let wanted = match job.spec.completions {
        Some(completions) if job.spec.completion_mode == "Indexed" => {
            let over = count_of(&tally.completed) + count_of(&tally.failed_indexes);
            parallelism.min((completions - over).max(0))
        }
        Some(completions) => parallelism.min((completions - tally.all_succeeded()).max(0)),
        // A pod that succeeded says that the work is done: those that run end by themselves.
        None if tally.all_succeeded() > 0 => active.min(parallelism),
        None => parallelism,
    };
    if active > wanted {
        let mut dispensable: Vec<_> = tally.active.iter().collect();
        let crowd = Default::default();
        dispensable.sort_by_cached_key(|pod| pods::dispensability(pod, &crowd));
        plan.reason = format!("stopping {} pods", active - wanted).into();
        let surplus = usize::try_from(active - wanted).unwrap_or(0);
        return stop(plan, job, dispensable.into_iter().take(surplus).map(|pod| &**pod));
    }
    // Where a pod is replaced only when it has really ended, those on their way out keep their places.
    let leaving = if replaces_failed_only(job) { tally.leaving } else { 0 };
    let missing = usize::try_from(wanted - active - leaving).unwrap_or(0);
    if missing == 0 {
        return;
    }
    if job.spec.completion_mode == "Indexed" {
        return supply_indexes(plan, view, tally, missing, now);
    }
    if let Some(due) = pause(view, tally).filter(|due| *due > now) {
        plan.reason = "pausing after a failure".into();
        return plan.again_at(due);
    }
    plan.reason = format!("creating {missing} pods").into();
    plan.writes.extend((0..missing).map(|_| create(job, None, None)));
}

/// Creates pods for indexes that have none. Where each index has a limit, each pauses for itself after a failure.
fn supply_indexes(plan: &mut Plan, view: &View, tally: &Tally, missing: usize, now: Timestamp) {
    let job = &*view.job;
    let limited = job.spec.backoff_limit_per_index.is_some();
    if let Some(due) = pause(view, tally).filter(|due| *due > now && !limited) {
        plan.reason = "pausing after a failure".into();
        return plan.again_at(due);
    }
    let waits = |pod: &&Arc<Pod>| pod.metadata.is_deleting() && !pod.is_finished() && replaces_failed_only(job);
    let leaving = view.pods.iter().filter(waits);
    let taken: BTreeSet<i32> = tally.active.iter().chain(leaving).filter_map(|pod| index::of(pod)).collect();
    let over = |index: &i32| tally.completed.contains(index) || tally.failed_indexes.contains(index);
    let mut open = Vec::new();
    for index in (0..job.spec.completions.unwrap_or(0)).filter(|index| !taken.contains(index) && !over(index)) {
        let failures = tally.failures.get(&index).filter(|_| limited);
        match failures.and_then(|known| Some(after(known.last?, pause_after(known.count)))).filter(|due| *due > now) {
            Some(due) => plan.again_at(due),
            None => open.push((index, failures.map_or(0, |known| known.count))),
        }
    }
    open.truncate(missing);
    plan.reason =
        if open.is_empty() { "pausing after a failure".into() } else { format!("creating {} pods", open.len()).into() };
    let made = open.into_iter().map(|(index, count)| create(job, Some(index), limited.then_some(count)));
    plan.writes.extend(made);
}

/// The pause after the given number of failures, in seconds.
fn pause_after(failures: i32) -> i64 {
    match u32::try_from(failures).unwrap_or(0) {
        0 => 0,
        failures => FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_PAUSE),
    }
}

/// Until when nothing new is started after failures.
fn pause(view: &View, tally: &Tally) -> Option<Timestamp> {
    if tally.all_failed() == 0 {
        return None;
    }
    let badly = view.pods.iter().filter(|pod| pod.status.phase == Phase::Failed);
    let last = badly.filter_map(|pod| index::ended(pod)).max()?;
    Some(after(last, pause_after(tally.all_failed())))
}

fn create(job: &Job, index: Option<i32>, failures: Option<i32>) -> Write {
    let meta = &job.metadata;
    let owner = controller_of(&JOBS, meta);
    let prefix = match index {
        Some(index) => format!("{}-{index}-", meta.name),
        None => format!("{}-", meta.name),
    };
    let mut pod = pods::from_template(&job.spec.template, &meta.namespace, &prefix, &owner);
    let mut finalizers = pod["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.push(TRACKED.into());
    pod["metadata"]["finalizers"] = finalizers.into();
    if let Some(failures) = failures {
        pod["metadata"]["annotations"][FAILURES] = failures.to_string().into();
    }
    if let Some(index) = index {
        pod["metadata"]["annotations"][INDEX] = index.to_string().into();
        pod["metadata"]["labels"][INDEX] = index.to_string().into();
        if pod["spec"].get("hostname").is_none() {
            pod["spec"]["hostname"] = format!("{}-{index}", meta.name).into();
        }
        for list in ["containers", "initContainers"] {
            for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                tell_index(container);
            }
        }
    }
    Write::create(PODS, pod)
}

/// A container of an indexed Job finds its index in its environment.
fn tell_index(container: &mut Value) {
    let mut env = container["env"].as_array().cloned().unwrap_or_default();
    if env.iter().any(|variable| variable["name"] == "JOB_COMPLETION_INDEX") {
        return;
    }
    let field = json!({ "fieldPath": format!("metadata.annotations['{INDEX}']") });
    env.push(json!({ "name": "JOB_COMPLETION_INDEX", "valueFrom": { "fieldRef": field } }));
    container["env"] = env.into();
}

fn status(plan: &mut Plan, job: &Job, tally: &Tally, end: Option<End>, started: Option<Timestamp>, now: Timestamp) {
    let ready = tally.active.iter().filter(|pod| pod.is_ready()).count();
    let mut conditions = job.status.conditions.clone();
    let mut completed_at = None;
    match &end {
        Some(End::Complete { reason, message }) => {
            raise(&mut conditions, "SuccessCriteriaMet", "True", reason, message, now);
            if tally.is_settled() {
                completed_at = Some(now);
                raise(&mut conditions, "Complete", "True", reason, message, now);
            }
        }
        Some(End::Failed { reason, message }) => {
            raise(&mut conditions, "FailureTarget", "True", reason, message, now);
            if tally.is_settled() {
                raise(&mut conditions, "Failed", "True", reason, message, now);
            }
        }
        None if job.spec.suspend => raise(&mut conditions, "Suspended", "True", "JobSuspended", "Job suspended", now),
        None if Condition::find(&conditions, "Suspended").is_some() => {
            raise(&mut conditions, "Suspended", "False", "JobResumed", "Job resumed", now);
        }
        None => {}
    }
    tell(plan, job, &conditions);
    let time = |time: Option<Timestamp>| time.map_or(Value::Null, |time| naru_api::meta::time(time).into());
    let indexes = index::write(&tally.completed);
    let limited = job.spec.backoff_limit_per_index.is_some();
    let failed_indexes = index::write(&tally.failed_indexes);
    let counted = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let seen = json!({
        "active": or_absent(counted(tally.active.len())),
        "ready": counted(ready),
        "terminating": tally.leaving,
        "succeeded": or_absent(tally.succeeded),
        "failed": or_absent(tally.failed),
        "startTime": time(started),
        "completionTime": time(completed_at),
        "failedIndexes": if limited { failed_indexes.clone().into() } else { Value::Null },
        "completedIndexes": if indexes.is_empty() { Value::Null } else { indexes.clone().into() },
        "uncountedTerminatedPods": replaced(job, tally.uncounted()),
        "conditions": conditions,
    });
    let known = &job.status;
    let same = known.active == counted(tally.active.len())
        && known.ready == Some(counted(ready))
        && known.terminating == tally.leaving
        && known.succeeded == tally.succeeded
        && known.failed == tally.failed
        && known.start_time.is_some() == started.is_some()
        && completed_at.is_none()
        && known.completed_indexes == indexes
        && (!limited || known.failed_indexes == failed_indexes)
        && known.conditions == conditions
        && known.uncounted_terminated_pods.clone().unwrap_or(json!({})) == tally.uncounted();
    if !same {
        let patch = json!({ "metadata": { "uid": job.metadata.uid, "resourceVersion": job.metadata.resource_version }, "status": seen });
        plan.push(Write::status(JOBS, key(&job.metadata), patch));
    }
}

/// In a merge patch, what is no longer there must be named.
fn replaced(job: &Job, mut wanted: Value) -> Value {
    let known = job.status.uncounted_terminated_pods.as_ref().and_then(Value::as_object);
    for name in known.into_iter().flatten().map(|(name, _)| name) {
        if wanted.get(name).is_none() {
            wanted[name] = Value::Null;
        }
    }
    wanted
}

fn raise(conditions: &mut Vec<Condition>, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) {
    let new = Condition {
        kind: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: Some(now),
        last_probe_time: Some(now),
        ..Condition::default()
    };
    match conditions.iter_mut().find(|known| known.kind == kind) {
        Some(known) if known.status == status => {}
        Some(known) => *known = new,
        None => conditions.push(new),
    }
}

/// Tells people when a Job comes to its end.
fn tell(plan: &mut Plan, job: &Job, conditions: &[Condition]) {
    for (kind, reason, warning) in [("Complete", "Completed", false), ("Failed", "Failed", true)] {
        let new = Condition::find(conditions, kind).filter(|_| Condition::find(&job.status.conditions, kind).is_none());
        if let Some(new) = new {
            let message = if warning { new.message.clone() } else { "Job completed".into() };
            let uid = job.metadata.uid.clone();
            plan.notices.push(Notice { resource: JOBS, key: key(&job.metadata), uid, warning, reason, message });
        }
    }
}
