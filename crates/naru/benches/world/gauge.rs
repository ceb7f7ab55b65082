//! What the server costs, and how long it takes to answer meanwhile.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use naru_api::k8s::api::core::v1::ConfigMap;
use naru_client::{Client, PatchKind, Resource};
use serde_json::json;

/// A process, looked at from outside.
pub struct Process(pub u32);

impl Process {
    /// Seconds of processor time that it took.
    pub fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0 // user and system time, in hundredths of a second on every Linux
    }

    /// Resident memory in megabytes.
    pub fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most that it has had.
    pub fn most_memory(&self) -> f64 {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_whitespace().next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    /// Percent of one processor over a while.
    pub async fn load(&self, over: Duration) -> f64 {
        let (begin, before) = (Instant::now(), self.cpu());
        tokio::time::sleep(over).await;
        (self.cpu() - before) / begin.elapsed().as_secs_f64() * 100.0
    }
}

/// Asks and writes at a steady pace, and keeps how long it took.
pub struct Probe {
    times: Arc<Mutex<(Vec<Duration>, Vec<Duration>)>>,
    task: tokio::task::AbortHandle,
}

impl Probe {
    /// Over a connection of its own.
    pub async fn start(client: Client) -> Probe {
        let maps = client.dynamic(Resource::of::<ConfigMap>(), Some("default"));
        let _ = maps.create(&json!({"metadata": {"name": "probe"}})).await;
        let times: Arc<Mutex<(Vec<Duration>, Vec<Duration>)>> = Arc::default();
        let kept = times.clone();
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            for number in 0_u64.. {
                tick.tick().await;
                let begin = Instant::now();
                let _ = maps.get("probe").await;
                let read = begin.elapsed();
                let begin = Instant::now();
                let _ = maps.patch("probe", PatchKind::Merge, &json!({"data": {"n": number.to_string()}})).await;
                let wrote = begin.elapsed();
                let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                kept.0.push(read);
                kept.1.push(wrote);
            }
        });
        Probe { times, task: task.abort_handle() }
    }

    /// Reads and writes since the last time, in words.
    pub fn said(&self) -> String {
        let (reads, writes) =
            std::mem::take(&mut *self.times.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let words = |times: &[Duration]| {
            let mut sorted = times.to_vec();
            sorted.sort();
            let at =
                |percent: usize| sorted.get(sorted.len() * percent / 100).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3);
            format!(
                "median {:.1} ms, p99 {:.1} ms, most {:.0} ms",
                at(50),
                at(99),
                at(100).max(sorted.last().map_or(0.0, |t| t.as_secs_f64() * 1e3))
            )
        };
        format!("a GET {}; a durable PATCH {}", words(&reads), words(&writes))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}
