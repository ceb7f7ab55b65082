//! `top`, `stats`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::Method;
use naru_client::Client;
use serde_json::Value;

use super::container::{Container, containers};
use super::project::Target;
use crate::output::{Table, size};

async fn ask(client: &Client, container: &Container, path: &str) -> anyhow::Result<Value> {
    let node = container.object["spec"]["nodeName"].as_str().unwrap_or_default();
    let path = format!("/api/v1/nodes/{node}/proxy{path}");
    let answer = client.json(Method::GET, &path, "application/json", None).await;
    answer.with_context(|| format!("the node of {} does not answer", container.title))
}

/// `naru top`.
pub(crate) async fn top(client: &Client, target: &Target, services: &[String]) -> anyhow::Result<()> {
    for container in containers(client, target, services).await?.iter().filter(|c| c.is_running()) {
        let path = format!("/top/{}/{}/{}", target.namespace, container.pod, container.name);
        let answer = ask(client, container, &path).await?;
        let texts = |value: &Value| -> Vec<String> {
            let list = value.as_array().into_iter().flatten();
            list.map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect()
        };
        let heads = texts(&answer["titles"]);
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        println!("{}", container.title);
        let mut table = Table::new(&heads);
        answer["processes"].as_array().into_iter().flatten().for_each(|row| table.row(texts(row)));
        println!("{table}");
    }
    Ok(())
}

/// How `naru stats` shows.
pub(crate) struct How {
    pub once: bool,
    /// Stopped containers too.
    pub all: bool,
    pub json: bool,
}

/// `naru stats`.
pub(crate) async fn stats(client: &Client, target: &Target, services: &[String], how: &How) -> anyhow::Result<()> {
    let How { once, all, json } = *how;
    let mut before: BTreeMap<String, (u64, Instant)> = BTreeMap::new();
    let live = !once && !json && *crate::output::COLOUR;
    let mut first = true;
    loop {
        let found = containers(client, target, services).await?;
        let mut table = Table::new(&["NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "PIDS"]);
        for container in &found {
            if !container.is_running() {
                if all {
                    table.row(vec![container.title.clone(), "--".into(), "-- / --".into(), "--".into(), "--".into()]);
                }
                continue;
            }
            let path = format!("/stats/{}/{}/{}", target.namespace, container.pod, container.name);
            let stats = ask(client, container, &path).await?;
            let cpu_now = stats["cpuUsageNanoseconds"].as_u64().unwrap_or(0);
            let now = Instant::now();
            let cpu = before.insert(container.title.clone(), (cpu_now, now)).map_or(0.0, |(old, at)| {
                let span = now.duration_since(at).as_nanos().max(1) as f64;
                cpu_now.saturating_sub(old) as f64 / span * 100.0
            });
            let used = stats["memoryWorkingSet"].as_u64().unwrap_or(0);
            let limit = stats["memoryLimit"].as_u64().filter(|l| *l > 0).unwrap_or_else(machine_memory);
            let share = used as f64 / limit.max(1) as f64 * 100.0;
            let pids = stats["pids"].as_u64().unwrap_or(0);
            // The first look has nothing to compare with; a single one waits for the second.
            if json && !first {
                let row = serde_json::json!({
                    "Name": container.title, "CPUPerc": format!("{cpu:.2}%"), "MemUsage": format!("{} / {}", size(used), size(limit)),
                    "MemPerc": format!("{share:.2}%"), "PIDs": pids.to_string(),
                });
                println!("{row}");
            }
            table.row(vec![
                container.title.clone(),
                format!("{cpu:.2}%"),
                format!("{} / {}", size(used), size(limit)),
                format!("{share:.2}%"),
                pids.to_string(),
            ]);
        }
        if !first && !json {
            print!("{}{table}", if live { "\x1b[2J\x1b[H" } else { "" });
        }
        if once && !first {
            return Ok(());
        }
        let pause = if first { Duration::from_millis(250) } else { Duration::from_secs(1) };
        first = false;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn machine_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
