//! Counters and processes.

use std::fs;

use naru_api::View;
use naru_runtime::pod::{PodStats, Usage};
use serde_json::{Value, json};

use super::{
    reply::{Refusal, Reply, json_reply},
    router::{Call, Found},
};

/// `/stats`, `/stats/{namespace}/{pod}`, `/stats/{namespace}/{pod}/{container}`.
pub(super) async fn stats(call: &Call, rest: &[&str]) -> Reply {
    match rest {
        [] | ["summary"] => {
            let names: Vec<(String, String)> = call
                .fleet
                .workers()
                .values()
                .map(|worker| (worker.pod().namespace().to_owned(), worker.pod().name().to_owned()))
                .collect();
            let mut pods = Vec::new();
            for (namespace, name) in names {
                // Pods come and go while they are counted.
                let Ok(found) = call.pod(&namespace, &name) else { continue };
                if let Ok(stats) = call.node().config.runtime.stats(&found.executor.uid).await {
                    pods.push(pod_json(&found, &stats));
                }
            }
            Ok(json_reply(&json!({"node": call.node().config.node_name, "pods": pods})))
        }
        [namespace, name] => {
            let found = call.pod(namespace, name)?;
            let stats = call.node().config.runtime.stats(&found.executor.uid).await;
            Ok(json_reply(&pod_json(&found, &stats.map_err(|error| Refusal::failed(&error))?)))
        }
        [namespace, name, container] => {
            let found = call.pod(namespace, name)?;
            let (uid, own) = found.running(container)?;
            let stats = call.node().config.runtime.stats(&uid).await.map_err(|error| Refusal::failed(&error))?;
            let usage = stats.containers.iter().find(|usage| usage.name == own);
            let usage = usage.ok_or_else(|| Refusal::absent(format!("no counters of container {container:?}")))?;
            let mut value = usage_json(&usage.usage);
            value["time"] = json!(stats.at);
            value["interfaces"] = json!(stats.interfaces);
            Ok(json_reply(&value))
        }
        _ => Err(Refusal::absent("expected /stats/<namespace>/<pod>/<container>")),
    }
}

fn pod_json(found: &Found, stats: &PodStats) -> Value {
    let containers: Vec<Value> = stats
        .containers
        .iter()
        .map(|usage| {
            let mut value = usage_json(&usage.usage);
            value["name"] = json!(usage.name);
            value
        })
        .collect();
    let mut value = usage_json(&stats.pod);
    value["namespace"] = json!(found.pod.namespace());
    value["name"] = json!(found.pod.name());
    value["uid"] = json!(found.executor.uid);
    value["time"] = json!(stats.at);
    value["containers"] = json!(containers);
    value["interfaces"] = json!(stats.interfaces);
    value
}

fn usage_json(usage: &Usage) -> Value {
    json!({
        "cpuUsageNanoseconds": usage.cpu_ns,
        "cpuThrottledNanoseconds": usage.throttled_ns,
        "memoryUsage": usage.memory,
        "memoryWorkingSet": usage.working_set,
        "memoryRss": usage.rss,
        "memoryLimit": usage.memory_limit,
        "oomKills": usage.oom_kills,
        "pids": usage.pids,
        "pidsLimit": usage.pids_limit,
        "blockReadBytes": usage.read_bytes,
        "blockWriteBytes": usage.write_bytes,
    })
}

/// `/top/{namespace}/{pod}/{container}`: the columns of `docker top`.
pub(super) async fn top(call: &Call, namespace: &str, pod: &str, container: &str) -> Reply {
    let (uid, name) = call.pod(namespace, pod)?.running(container)?;
    let pids = call.node().config.runtime.processes(&uid, &name).await.map_err(|error| Refusal::failed(&error))?;
    let clock = Clock::read();
    let rows: Vec<Value> = pids.into_iter().filter_map(|pid| process(pid, &clock)).collect();
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
    Ok(json_reply(&json!({"titles": titles, "processes": rows})))
}

struct Clock {
    ticks: u64,
    booted: i64,
    uptime: f64,
    users: String,
}

impl Clock {
    fn read() -> Clock {
        let uptime: f64 = fs::read_to_string("/proc/uptime")
            .ok()
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .unwrap_or_default();
        Clock {
            // Linux shows times to programs in hundredths of a second on every machine.
            ticks: 100,
            booted: jiff::Timestamp::now().as_second() - uptime as i64,
            uptime,
            users: fs::read_to_string("/etc/passwd").unwrap_or_default(),
        }
    }

    fn user(&self, uid: &str) -> String {
        let line = self.users.lines().find(|line| line.split(':').nth(2) == Some(uid));
        line.and_then(|line| line.split(':').next()).unwrap_or(uid).to_owned()
    }
}

/// One process, unless it has ended meanwhile.
fn process(pid: i32, clock: &Clock) -> Option<Value> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next())?;
    // The name may hold blanks and brackets; what follows its last bracket does not.
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(').map(|(_, name)| name).unwrap_or_default();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (parent, terminal) = (fields.get(1)?, number(4));
    let seconds = (number(11) + number(12)) / clock.ticks;
    let began = number(19) as f64 / clock.ticks as f64;
    let share = seconds as f64 / (clock.uptime - began).max(1.0) * 100.0;
    let started = jiff::Timestamp::from_second(clock.booted + began as i64).ok()?;
    let started = started.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M").to_string();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy);
    let command = command.collect::<Vec<_>>().join(" ");
    let command = if command.is_empty() { format!("[{name}]") } else { command };
    // Unix 98 terminals have the major numbers from 136.
    let terminal = if (34816..36864).contains(&terminal) { format!("pts/{}", terminal & 0xff) } else { "?".to_owned() };
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(json!([
        clock.user(uid),
        pid.to_string(),
        parent,
        (share as u64).to_string(),
        started,
        terminal,
        time,
        command
    ]))
}
