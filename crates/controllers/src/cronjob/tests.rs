use std::sync::Arc;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::plan;
use super::schedule::Schedule;
use super::*;
use crate::fixtures::{at, merge, view};

fn next(schedule: &str, after: &str, hours_east: i8) -> Option<String> {
    let zone = TimeZone::fixed(jiff::tz::offset(hours_east));
    Schedule::parse(schedule).unwrap().next(after.parse().unwrap(), &zone).map(|time| time.to_string())
}

#[test]
fn schedules_are_followed() {
    for (schedule, after, expected) in [
        ("* * * * *", "2026-03-01T12:00:30Z", "2026-03-01T12:01:00Z"),
        ("*/15 8-10 * * *", "2026-03-01T10:45:00Z", "2026-03-02T08:00:00Z"),
        ("5/20 * * * *", "2026-03-01T12:26:00Z", "2026-03-01T12:45:00Z"),
        ("0 0 29 feb *", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 9 * * mon-fri", "2026-03-06T09:00:00Z", "2026-03-09T09:00:00Z"),
        ("0 0 13 * 5", "2026-03-01T00:00:00Z", "2026-03-06T00:00:00Z"),
        ("0 0 * * 7", "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"),
        ("@monthly", "2026-12-05T00:00:00Z", "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!(next(schedule, after, 0).as_deref(), Some(expected), "{schedule}");
    }
    assert_eq!(next("0 9 * * *", "2026-03-01T00:30:00Z", 9).as_deref(), Some("2026-03-02T00:00:00Z"));
    assert_eq!(next("0 0 30 2 *", "2026-03-01T00:00:00Z", 0), None);
}

#[test]
fn what_is_no_schedule_is_refused_with_the_field() {
    for (text, field) in [
        ("* * * *", "five fields"),
        ("60 * * * *", "minute"),
        ("* 5-3 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * foo *", "month"),
        ("*/0 * * * *", "minute"),
    ] {
        let error = Schedule::parse(text).unwrap_err();
        assert!(error.contains(field), "{text}: {error}");
    }
}

proptest! {
    /// The next time is later, whole minutes, and nothing lies between it and the time before.
    #[test]
    fn next_is_the_first(minute in 0..60_u8, step in 1..30_u8, hour in 0..24_u8, start in 0..10_000_000_i64) {
        let schedule = Schedule::parse(&format!("{minute},*/{step} {hour} * * *")).unwrap();
        let after = jiff::Timestamp::from_second(1_700_000_000 + start).unwrap();
        let found = schedule.next(after, &TimeZone::UTC).unwrap();
        prop_assert!(found > after && found.as_second() % 60 == 0);
        let earlier = jiff::Timestamp::from_second(found.as_second() - 1).unwrap();
        prop_assert_eq!(schedule.next(earlier.max(after), &TimeZone::UTC), Some(found));
    }
}

fn cron(spec: Value, status: Value) -> Arc<CronJob> {
    let mut cron = json!({
        "metadata": { "name": "tick", "namespace": "shop", "uid": "c", "creationTimestamp": at(0) },
        "spec": { "schedule": "*/10 * * * *", "jobTemplate": { "metadata": { "labels": { "a": "b" } }, "spec": { "completions": 1 } } },
        "status": status,
    });
    merge(&mut cron, &json!({ "spec": spec }));
    Arc::new(view(cron))
}

fn job(name: &str, end: &str, started: i64) -> Arc<Job> {
    let conditions = if end.is_empty() { json!([]) } else { json!([{ "type": end, "status": "True" }]) };
    Arc::new(view(json!({
        "metadata": { "name": name, "namespace": "shop", "uid": name },
        "status": { "conditions": conditions, "startTime": at(started), "completionTime": at(started + 1) },
    })))
}

fn look(cron: Arc<CronJob>, jobs: Vec<Arc<Job>>, now: i64) -> (Vec<String>, Plan) {
    let plan = plan(&View { cron, jobs }, at(now).parse().unwrap());
    let writes = plan.writes.iter().map(ToString::to_string).filter(|write| !write.contains("/status"));
    (writes.collect(), plan)
}

/// The run of twelve o'clock and so many minutes.
fn run(minutes: i64) -> String {
    format!("tick-{}", crate::fixtures::noon().as_second() / 60 + minutes)
}

#[test]
fn a_run_is_made_at_its_time_and_once() {
    let (writes, plan) = look(cron(json!({}), json!({})), vec![], 599);
    assert_eq!((writes.len(), plan.again), (0, Some(at(600).parse().unwrap())));
    let (writes, plan) = look(cron(json!({}), json!({})), vec![], 610);
    assert_eq!(writes, [format!("create jobs shop/{}", run(10))]);
    assert!(plan.to_string().contains(&format!(r#""lastScheduleTime":"{}""#, at(600))));
    let (writes, _) = look(cron(json!({}), json!({})), vec![job(&run(10), "", 600)], 610);
    assert!(writes.is_empty(), "made before");
    let (writes, _) = look(cron(json!({}), json!({ "lastScheduleTime": at(600) })), vec![], 700);
    assert!(writes.is_empty());
}

#[test]
fn missed_times_are_one_run_unless_it_is_too_late() {
    let (writes, _) = look(cron(json!({}), json!({ "lastScheduleTime": at(0) })), vec![], 6100);
    assert_eq!(writes, [format!("create jobs shop/{}", run(100))]);
    let (writes, _) = look(cron(json!({}), json!({ "lastScheduleTime": at(-864_000_000) })), vec![], 6100);
    assert_eq!(writes, [format!("create jobs shop/{}", run(100))], "after years too");
    let (writes, _) =
        look(cron(json!({ "startingDeadlineSeconds": 60 }), json!({ "lastScheduleTime": at(0) })), vec![], 6100);
    assert!(writes.is_empty());
    let (writes, _) = look(cron(json!({ "suspend": true }), json!({})), vec![], 6100);
    assert!(writes.is_empty());
}

#[test]
fn runs_under_way_are_kept_or_replaced() {
    let active = || vec![job("before", "", 0)];
    let policy = |policy: &str| cron(json!({ "concurrencyPolicy": policy }), json!({}));
    let create = format!("create jobs shop/{}", run(10));
    assert_eq!(look(policy("Allow"), active(), 600).0, std::slice::from_ref(&create));
    assert!(look(policy("Forbid"), active(), 600).0.is_empty());
    assert_eq!(look(policy("Replace"), active(), 600).0, ["delete jobs shop/before".to_owned(), create]);
}

#[test]
fn the_oldest_ended_runs_go_and_bad_schedules_are_told() {
    let jobs = vec![job("w1", "Complete", 1), job("w2", "Complete", 2), job("f1", "Failed", 3), job("f2", "Failed", 4)];
    let limits = json!({ "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0 });
    let (writes, plan) = look(cron(limits, json!({})), jobs, 10);
    assert_eq!(writes, ["w1", "f1", "f2"].map(|name| format!("delete jobs shop/{name}")));
    assert!(plan.to_string().contains(&format!(r#""lastSuccessfulTime":"{}""#, at(3))), "{plan}");
    let (_, plan) = look(cron(json!({ "schedule": "often" }), json!({})), vec![], 10);
    assert_eq!(plan.notices[0].reason, "UnparseableSchedule");
    let (_, plan) = look(cron(json!({ "timeZone": "Mars/Olympus" }), json!({})), vec![], 10);
    assert!(plan.notices[0].message.contains("Mars/Olympus"));
}
