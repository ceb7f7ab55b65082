//! The decision about one CronJob.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use naru_client::{DeleteOptions, Propagation};
use serde_json::{Value, json};

use super::View;
use super::schedule::Schedule;
use crate::ownership::{controller_of, key};
use crate::plan::{Notice, Plan, Write};
use crate::resources::{CRON_JOBS, JOBS};
use crate::views::{Condition, CronJob, Job};

/// Missed times beyond which only the newest are looked for.
const MANY: i64 = 100;

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let cron = &*view.cron;
    let mut plan = Plan::nothing("waiting for the next time");
    if cron.metadata.is_deleting() {
        return Plan::nothing("being deleted");
    }
    let active: Vec<&Arc<Job>> = view.jobs.iter().filter(|job| outcome(job).is_none()).collect();
    expire(&mut plan, view);
    let mut last = time(cron.status.get("lastScheduleTime"));
    if cron.spec.suspend {
        plan.reason = "suspended".into();
    } else {
        match zone(cron).and_then(|zone| Ok((Schedule::parse(&cron.spec.schedule)?, zone))) {
            Err(problem) => {
                plan.reason = "its schedule cannot be read".into();
                tell(&mut plan, cron, true, "UnparseableSchedule", problem);
            }
            Ok((schedule, zone)) => {
                if let Some(due) = due(cron, last, &schedule, &zone, now) {
                    run(&mut plan, view, &active, due, &mut last);
                }
                schedule.next(now, &zone).into_iter().for_each(|next| plan.again_at(next));
            }
        }
    }
    status(&mut plan, view, &active, last);
    plan
}

/// Whether a run has ended, and whether well.
fn outcome(job: &Job) -> Option<bool> {
    let is = |kind: &str| Condition::find(&job.status.conditions, kind).is_some_and(Condition::is_true);
    if is("Complete") { Some(true) } else { is("Failed").then_some(false) }
}

fn time(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

fn zone(cron: &CronJob) -> Result<TimeZone, String> {
    match &cron.spec.time_zone {
        None => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|error| format!("time zone {name:?}: {error}")),
    }
}

/// The newest time that has come since the last run and may still be made up for.
fn due(
    cron: &CronJob,
    last: Option<Timestamp>,
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut since = last.or(cron.metadata.creation_timestamp)?;
    if let Some(seconds) = cron.spec.starting_deadline_seconds {
        since = since.max(now.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN));
    }
    let first = schedule.next(since, zone).filter(|first| *first <= now)?;
    let mut newest = first;
    if let Some(second) = schedule.next(first, zone) {
        let period = second.duration_since(first);
        // After a long absence the many times that were missed are one.
        let recent = now.saturating_sub(period.saturating_mul(2)).unwrap_or(first);
        if now.duration_since(first).as_secs() / period.as_secs().max(1) > MANY && recent > first {
            newest = schedule.next(recent, zone).filter(|recent| *recent <= now).unwrap_or(first);
        }
    }
    while let Some(next) = schedule.next(newest, zone).filter(|next| *next <= now) {
        newest = next;
    }
    Some(newest)
}

/// Makes the run of a time, as far as the runs under way allow.
fn run(plan: &mut Plan, view: &View, active: &[&Arc<Job>], due: Timestamp, last: &mut Option<Timestamp>) {
    let cron = &*view.cron;
    let name = format!("{}-{}", cron.metadata.name, due.as_second() / 60);
    if view.jobs.iter().any(|job| job.metadata.name == name) {
        // Made before, but its time was not written down.
        *last = Some(due);
        return;
    }
    match cron.spec.concurrency_policy.as_str() {
        "Forbid" if !active.is_empty() => {
            plan.reason = "the run before is still active".into();
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            return tell(plan, cron, false, "JobAlreadyActive", message.into());
        }
        "Replace" => active.iter().for_each(|job| plan.push(delete(job))),
        _ => {}
    }
    plan.reason = "starting a run".into();
    let template = &cron.spec.job_template;
    let mut metadata = json!({
        "name": name,
        "namespace": cron.metadata.namespace,
        "ownerReferences": [controller_of(&CRON_JOBS, &cron.metadata)],
        "annotations": { "batch.kubernetes.io/cronjob-scheduled-timestamp": naru_api::meta::time(due) },
    });
    if let Some(labels) = template["metadata"].get("labels") {
        metadata["labels"] = labels.clone();
    }
    for (annotation, value) in template["metadata"]["annotations"].as_object().into_iter().flatten() {
        metadata["annotations"][annotation] = value.clone();
    }
    let job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"] });
    plan.push(Write::create(JOBS, job));
    tell(plan, cron, false, "SuccessfulCreate", format!("Created job {name}"));
    *last = Some(due);
}

fn delete(job: &Job) -> Write {
    let options = DeleteOptions::exactly(job.metadata.uid.clone()).propagation(Propagation::Background);
    Write::Delete { resource: JOBS, key: key(&job.metadata), options }
}

/// Deletes the oldest finished runs beyond the limits.
fn expire(plan: &mut Plan, view: &View) {
    let spec = &view.cron.spec;
    for (well, limit) in
        [(true, spec.successful_jobs_history_limit.unwrap_or(3)), (false, spec.failed_jobs_history_limit.unwrap_or(1))]
    {
        let mut runs: Vec<_> =
            view.jobs.iter().filter(|job| outcome(job) == Some(well) && !job.metadata.is_deleting()).collect();
        runs.sort_by_key(|job| (job.status.start_time, job.metadata.name.clone()));
        let surplus = runs.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        plan.writes.extend(runs.into_iter().take(surplus).map(|job| delete(job)));
    }
}

fn status(plan: &mut Plan, view: &View, active: &[&Arc<Job>], last: Option<Timestamp>) {
    let cron = &*view.cron;
    let list: Vec<Value> = active
        .iter()
        .map(|job| json!({ "apiVersion": "batch/v1", "kind": "Job", "namespace": job.metadata.namespace, "name": job.metadata.name, "uid": job.metadata.uid }))
        .collect();
    let successes = view.jobs.iter().filter(|job| outcome(job) == Some(true));
    let successful =
        successes.filter_map(|job| job.status.completion_time).max().max(time(cron.status.get("lastSuccessfulTime")));
    let written = |time: Option<Timestamp>| time.map_or(Value::Null, |time| naru_api::meta::time(time).into());
    let seen = json!({
        "active": if list.is_empty() { Value::Null } else { list.into() },
        "lastScheduleTime": written(last),
        "lastSuccessfulTime": written(successful),
    });
    let same = seen
        .as_object()
        .is_some_and(|seen| seen.iter().all(|(name, value)| cron.status.get(name).unwrap_or(&Value::Null) == value));
    if !same {
        let patch = json!({ "metadata": { "uid": cron.metadata.uid }, "status": seen });
        plan.push(Write::status(CRON_JOBS, key(&cron.metadata), patch));
    }
}

fn tell(plan: &mut Plan, cron: &CronJob, warning: bool, reason: &'static str, message: String) {
    let uid = cron.metadata.uid.clone();
    plan.notices.push(Notice { resource: CRON_JOBS, key: key(&cron.metadata), uid, warning, reason, message });
}
