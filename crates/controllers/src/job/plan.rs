//! The decision about one Job.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use naru_client::{DeleteOptions, Propagation};
use serde_json::{Value, json};

use super::View;
use super::index::{self, INDEX};
use super::tally::{TRACKED, Tally};
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
    Complete { reason: &'static str, message: String },
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
    if job.status.start_time.is_none() && Condition::find(&job.status.conditions, "Suspended").is_none() {
        plan.notices.extend(ignored(job));
    }
    let end = end(job, &tally, now);
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

/// Tells, at its start, what of a Job is kept and not acted on: silence would let people rely on it.
fn ignored(job: &Job) -> Option<Notice> {
    let spec = &job.spec;
    let fields = [
        ("podFailurePolicy", spec.pod_failure_policy.is_some()),
        ("successPolicy", spec.success_policy.is_some()),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.is_some()),
        ("maxFailedIndexes", spec.max_failed_indexes.is_some()),
        ("podReplacementPolicy", spec.pod_replacement_policy == "Failed"),
    ];
    let names: Vec<&str> = fields.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    (!names.is_empty()).then(|| Notice {
        resource: JOBS,
        key: key(&job.metadata),
        uid: job.metadata.uid.clone(),
        warning: true,
        reason: "FieldsIgnored",
        message: format!("This controller does not act on: {}; every failure counts alike", names.join(", ")),
    })
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
    let complete =
        End::Complete { reason: "CompletionsReached", message: "Reached expected number of succeeded pods".into() };
    if begun("SuccessCriteriaMet").is_some() {
        return Some(complete);
    }
    let failed = |reason: &str, message: &str| Some(End::Failed { reason: reason.into(), message: message.into() });
    if tally.all_failed() > job.spec.backoff_limit.unwrap_or(6) || restarted_too_often(job, tally) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    let due = job.spec.active_deadline_seconds.zip(job.status.start_time).map(|(seconds, at)| after(at, seconds));
    if due.is_some_and(|due| due <= now) && !job.spec.suspend {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let done = match job.spec.completions {
        Some(_) if job.spec.completion_mode == "Indexed" => {
            i32::try_from(tally.completed.len()).unwrap_or(i32::MAX) >= job.spec.completions.unwrap_or(0)
        }
        Some(completions) => tally.all_succeeded() >= completions,
        None => tally.all_succeeded() > 0 && tally.active.is_empty(),
    };
    done.then_some(complete)
}

/// Pods that restart in place fail in place.
fn restarted_too_often(job: &Job, tally: &Tally) -> bool {
    if job.spec.template["spec"]["restartPolicy"] != "OnFailure" {
        return false;
    }
    let restarts: i32 = tally.active.iter().map(|pod| pod.restarts()).sum();
    let limit = job.spec.backoff_limit.unwrap_or(6);
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// Creates and deletes pods so that as many run as should.
fn supply(plan: &mut Plan, view: &View, tally: &Tally, now: Timestamp) {
    let job = &*view.job;
    let parallelism = job.spec.parallelism.unwrap_or(1).max(0);
    let active = i32::try_from(tally.active.len()).unwrap_or(i32::MAX);
    let wanted = match job.spec.completions {
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
    let missing = usize::try_from(wanted - active).unwrap_or(0);
    if missing == 0 {
        return;
    }
    if let Some(due) = pause(view, tally).filter(|due| *due > now) {
        plan.reason = "pausing after a failure".into();
        return plan.again_at(due);
    }
    plan.reason = format!("creating {missing} pods").into();
    if job.spec.completion_mode == "Indexed" {
        let running: BTreeSet<i32> = tally.active.iter().filter_map(|pod| index::of(pod)).collect();
        let open = (0..job.spec.completions.unwrap_or(0))
            .filter(|index| !running.contains(index) && !tally.completed.contains(index));
        plan.writes.extend(open.take(missing).map(|index| create(job, Some(index))));
    } else {
        plan.writes.extend((0..missing).map(|_| create(job, None)));
    }
}

/// Until when nothing new is started after failures.
fn pause(view: &View, tally: &Tally) -> Option<Timestamp> {
    let failures = u32::try_from(tally.all_failed()).unwrap_or(0);
    if failures == 0 {
        return None;
    }
    let ended = |pod: &Pod| {
        let ends = pod
            .status
            .container_statuses
            .iter()
            .filter_map(|container| container.state.terminated.as_ref()?.finished_at);
        ends.max().or(pod.metadata.deletion_timestamp)
    };
    let badly = view.pods.iter().filter(|pod| pod.status.phase == Phase::Failed);
    let last = badly.filter_map(|pod| ended(pod)).max()?;
    let seconds = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_PAUSE);
    Some(after(last, seconds))
}

fn create(job: &Job, index: Option<i32>) -> Write {
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
    let counted = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let seen = json!({
        "active": or_absent(counted(tally.active.len())),
        "ready": counted(ready),
        "terminating": tally.leaving,
        "succeeded": or_absent(tally.succeeded),
        "failed": or_absent(tally.failed),
        "startTime": time(started),
        "completionTime": time(completed_at),
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
