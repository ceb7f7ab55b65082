//! The table of pods. The status is judged from the containers, because the phase alone hides what a person looks for.

use jiff::Timestamp;
use serde_json::Value;

use super::age::age;
use super::cell::{created, items, name, number, text};
use super::{Table, table};
use crate::meta;

pub(super) const TABLE: Table =
    table(&["Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates"], row);

struct Summary {
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
    reason: String,
}

fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarise(pod);
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts != 0 => format!("{} ({} ago)", summary.restarts, age(at, now)),
        _ => summary.restarts.to_string(),
    };
    let ip = items(pod, "status.podIPs").next().map_or("", |ip| meta::text(ip, "ip"));
    let ip = if ip.is_empty() { meta::text(pod, "status.podIP") } else { ip };
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        created(pod, now),
        if ip.is_empty() { "<none>".into() } else { ip.into() },
        text(pod, "spec.nodeName", "<none>"),
        text(pod, "status.nominatedNodeName", "<none>"),
        gates(pod).into(),
    ]
}

/// What the Status column says: `Running`, `Init:0/1`, `CrashLoopBackOff`, `Completed`, `OOMKilled`, `Terminating`, …
pub fn pod_status(pod: &Value) -> String {
    summarise(pod).reason
}

/// How many containers are ready, and of how many.
pub fn pod_ready(pod: &Value) -> (usize, usize) {
    let summary = summarise(pod);
    (summary.ready, summary.total)
}

/// How often containers were restarted, and when the last one ended.
pub fn pod_restarts(pod: &Value) -> (i64, Option<Timestamp>) {
    let summary = summarise(pod);
    (summary.restarts, summary.last_restart)
}

fn gates(pod: &Value) -> String {
    let gates: Vec<&str> = items(pod, "spec.readinessGates").map(|g| meta::text(g, "conditionType")).collect();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met = gates.iter().filter(|g| condition(pod, g).is_some_and(|c| meta::text(c, "status") == "True")).count();
    format!("{met}/{}", gates.len())
}

fn condition<'o>(pod: &'o Value, of: &str) -> Option<&'o Value> {
    items(pod, "status.conditions").find(|c| meta::text(c, "type") == of)
}

fn holds(pod: &Value, of: &str) -> bool {
    condition(pod, of).is_some_and(|c| meta::text(c, "status") == "True")
}

/// Whether an init container keeps running beside the others.
fn is_sidecar(pod: &Value, name: &str) -> bool {
    items(pod, "spec.initContainers")
        .any(|c| meta::text(c, "name") == name && meta::text(c, "restartPolicy") == "Always")
}

fn ended(status: &Value) -> Option<Timestamp> {
    meta::text(status, "lastState.terminated.finishedAt").parse().ok()
}

fn flag(status: &Value, key: &str) -> bool {
    status.get(key).is_some_and(|f| *f == true)
}

/// `Signal:9`, `ExitCode:3` or the reason given.
fn ending(terminated: &Value) -> String {
    match (meta::text(terminated, "reason"), number(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn summarise(pod: &Value) -> Summary {
    let phase = meta::text(pod, "status.phase");
    let mut reason = phase.to_owned();
    if !meta::text(pod, "status.reason").is_empty() {
        reason = meta::text(pod, "status.reason").to_owned();
    }
    if condition(pod, "PodScheduled").is_some_and(|c| meta::text(c, "reason") == "SchedulingGated") {
        reason = "SchedulingGated".to_owned();
    }
    let sidecars = items(pod, "spec.initContainers").filter(|c| meta::text(c, "restartPolicy") == "Always").count();
    let total = items(pod, "spec.containers").count() + sidecars;
    let mut summary = Summary { ready: 0, total, restarts: 0, last_restart: None, reason };
    let initializing = initialise(pod, &mut summary);
    if !initializing || holds(pod, "Initialized") {
        keep_sidecar_restarts(pod, &mut summary);
        run(pod, &mut summary);
    }
    if meta::is_deleting(pod) {
        if meta::text(pod, "status.reason") == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

/// Reads the init containers; answers whether one of them still holds the pod.
fn initialise(pod: &Value, summary: &mut Summary) -> bool {
    let count = items(pod, "spec.initContainers").count();
    for (i, status) in items(pod, "status.initContainerStatuses").enumerate() {
        summary.restarts += number(status, "restartCount");
        summary.last_restart = summary.last_restart.max(ended(status));
        let terminated = meta::at(status, "state.terminated");
        let waiting = meta::text(status, "state.waiting.reason");
        if terminated.is_object() && number(terminated, "exitCode") == 0 {
            continue;
        }
        if is_sidecar(pod, meta::text(status, "name")) && flag(status, "started") {
            summary.ready += usize::from(flag(status, "ready"));
            continue;
        }
        summary.reason = if terminated.is_object() {
            format!("Init:{}", ending(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{count}")
        };
        return true;
    }
    false
}

/// Once a pod is initialised, only the restarts of what still runs count.
fn keep_sidecar_restarts(pod: &Value, summary: &mut Summary) {
    (summary.restarts, summary.last_restart) = (0, None);
    for status in items(pod, "status.initContainerStatuses") {
        if is_sidecar(pod, meta::text(status, "name")) {
            summary.restarts += number(status, "restartCount");
            summary.last_restart = summary.last_restart.max(ended(status));
        }
    }
}

fn run(pod: &Value, summary: &mut Summary) {
    let mut running = false;
    let statuses: Vec<&Value> = items(pod, "status.containerStatuses").collect();
    for status in statuses.into_iter().rev() {
        summary.restarts += number(status, "restartCount");
        summary.last_restart = summary.last_restart.max(ended(status));
        let terminated = meta::at(status, "state.terminated");
        let waiting = meta::text(status, "state.waiting.reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if terminated.is_object() {
            summary.reason = ending(terminated);
        } else if flag(status, "ready") && meta::at(status, "state.running").is_object() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        summary.reason = if holds(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
}
