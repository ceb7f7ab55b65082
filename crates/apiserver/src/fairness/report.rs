//! What came of requests, in the names that dashboards for Kubernetes know.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Fairness;
use crate::metrics::{Gauge, Held};

/// Upper bounds of waits, in seconds.
const BOUNDS: [f64; 10] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 15.0];

/// Why a request was refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    QueueFull,
    ConcurrencyLimit,
    TimeOut,
}

/// Counters of one schema.
#[derive(Debug, Default)]
pub(super) struct Counts {
    dispatched: AtomicU64,
    refused: [AtomicU64; 3],
    executing: AtomicI64,
    seats: AtomicI64,
    waiting: Gauge,
    waits: [AtomicU64; BOUNDS.len() + 1],
    waited: AtomicU64,
}

// === impl Counts ===

impl Counts {
    pub(super) fn dispatched(&self, after: Duration) {
        self.dispatched.fetch_add(1, Relaxed);
        let at = BOUNDS.iter().position(|bound| after.as_secs_f64() <= *bound).unwrap_or(BOUNDS.len());
        self.waits[at].fetch_add(1, Relaxed);
        self.waited.fetch_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn refused(&self, why: Why) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn executing(&self, requests: i64, seats: i64) {
        self.executing.fetch_add(requests, Relaxed);
        self.seats.fetch_add(seats, Relaxed);
    }

    /// One more waits until this is dropped.
    pub(super) fn waits(&self) -> Held<'_> {
        self.waiting.hold()
    }
}

impl Fairness {
    /// Adds the counters in the Prometheus text format.
    pub(crate) fn write(&self, out: &mut String) {
        let counts = self.counts.lock();
        let mut family = |name: &str, kind: &str, of: &dyn Fn(&Counts) -> Vec<(&'static str, i64)>| {
            let _ = writeln!(out, "# TYPE apiserver_flowcontrol_{name} {kind}");
            for ((schema, level), counts) in counts.iter() {
                for (more, value) in of(counts) {
                    let labels = format!("flow_schema=\"{schema}\",priority_level=\"{level}\"{more}");
                    let _ = writeln!(out, "apiserver_flowcontrol_{name}{{{labels}}} {value}");
                }
            }
        };
        let counter = |value: &AtomicU64| i64::try_from(value.load(Relaxed)).unwrap_or(i64::MAX);
        family("dispatched_requests_total", "counter", &|counts| vec![("", counter(&counts.dispatched))]);
        family("rejected_requests_total", "counter", &|counts| {
            let reasons = [",reason=\"queue-full\"", ",reason=\"concurrency-limit\"", ",reason=\"time-out\""];
            let told = reasons.into_iter().zip(&counts.refused).map(|(reason, count)| (reason, counter(count)));
            told.filter(|(_, count)| *count > 0).collect()
        });
        family("current_executing_requests", "gauge", &|counts| vec![("", counts.executing.load(Relaxed))]);
        family("current_executing_seats", "gauge", &|counts| vec![("", counts.seats.load(Relaxed))]);
        family("current_inqueue_requests", "gauge", &|counts| vec![("", counts.waiting.get())]);
        let name = "apiserver_flowcontrol_request_wait_duration_seconds";
        let _ = writeln!(out, "# TYPE {name} histogram");
        for ((schema, level), counts) in counts.iter() {
            let labels = format!("flow_schema=\"{schema}\",priority_level=\"{level}\"");
            let mut sum = 0;
            for (count, bound) in counts.waits.iter().zip(BOUNDS.iter().copied().chain([f64::INFINITY])) {
                sum += count.load(Relaxed);
                let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {sum}");
            }
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", counts.waited.load(Relaxed) as f64 / 1e6);
            let _ = writeln!(out, "{name}_count{{{labels}}} {sum}");
        }
        drop(counts);
        let standing = self.turns.lock().seats.standing();
        let _ = writeln!(out, "# TYPE apiserver_flowcontrol_nominal_limit_seats gauge");
        for level in standing {
            let name = level.name;
            let _ = writeln!(
                out,
                "apiserver_flowcontrol_nominal_limit_seats{{priority_level=\"{name}\"}} {}",
                level.nominal
            );
        }
    }
}
