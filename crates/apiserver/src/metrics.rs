//! The server's own counters, in the names that dashboards for Kubernetes know.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;

use crate::wire::path::Verb;

/// The status codes that are counted by themselves; others count with the last of their hundred.
const CODES: [u16; 19] =
    [101, 200, 201, 202, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 500, 503];
/// Verbs of resources, and plain paths.
const KINDS: usize = Verb::ALL.len() + 1;

/// Counters of one server.
pub(crate) struct Metrics {
    requests: [[AtomicU64; CODES.len()]; KINDS],
    microseconds: [AtomicU64; KINDS],
    /// Watches that run now.
    pub(crate) watches: Gauge,
    /// Requests that are worked on now, without watches.
    pub(crate) inflight: Gauge,
    /// Connections that are open now.
    pub(crate) connections: Gauge,
}

/// A number that goes up and down.
#[derive(Default)]
pub(crate) struct Gauge(AtomicI64);

/// One more until dropped.
pub(crate) struct Held<'a>(&'a Gauge);

// === impl Gauge ===

impl Gauge {
    pub(crate) fn hold(&self) -> Held<'_> {
        self.add(1);
        Held(self)
    }

    pub(crate) fn add(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            requests: std::array::from_fn(|_| std::array::from_fn(|_| zero())),
            microseconds: std::array::from_fn(|_| zero()),
            watches: Gauge::default(),
            inflight: Gauge::default(),
            connections: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Counts an answered request.
    pub(crate) fn answered(&self, verb: Option<Verb>, code: StatusCode, took: Duration) {
        let row = verb.map_or(KINDS - 1, |v| v as usize);
        let code = code.as_u16();
        let column = CODES
            .iter()
            .position(|c| *c == code)
            .unwrap_or_else(|| CODES.iter().rposition(|c| c / 100 == code / 100).unwrap_or(CODES.len() - 1));
        self.requests[row][column].fetch_add(1, Relaxed);
        self.microseconds[row].fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The Prometheus text format.
    pub(crate) fn text(&self, revision: u64, objects: &[(&str, usize)]) -> String {
        let mut out = String::with_capacity(4096);
        let verb = |row: usize| Verb::ALL.get(row).map_or("CONNECT", |v| v.as_str()).to_uppercase();
        out.push_str("# TYPE apiserver_request_total counter\n");
        for (row, counts) in self.requests.iter().enumerate() {
            for (code, count) in CODES.iter().zip(counts) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let _ = writeln!(out, "apiserver_request_total{{verb=\"{}\",code=\"{code}\"}} {count}", verb(row));
                }
            }
        }
        out.push_str("# TYPE apiserver_request_duration_seconds summary\n");
        for (row, sum) in self.microseconds.iter().enumerate() {
            let count: u64 = self.requests[row].iter().map(|c| c.load(Relaxed)).sum();
            if count > 0 {
                let seconds = sum.load(Relaxed) as f64 / 1e6;
                let _ = writeln!(out, "apiserver_request_duration_seconds_sum{{verb=\"{}\"}} {seconds}", verb(row));
                let _ = writeln!(out, "apiserver_request_duration_seconds_count{{verb=\"{}\"}} {count}", verb(row));
            }
        }
        for (name, value) in [
            ("apiserver_longrunning_requests", self.watches.get()),
            ("apiserver_current_inflight_requests", self.inflight.get()),
            ("naru_apiserver_connections", self.connections.get()),
        ] {
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {value}");
        }
        let _ = writeln!(out, "# TYPE naru_store_revision counter\nnaru_store_revision {revision}");
        out.push_str("# TYPE apiserver_storage_objects gauge\n");
        for (resource, count) in objects {
            let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_verb_and_code() {
        let metrics = Metrics::default();
        metrics.answered(Some(Verb::Get), StatusCode::OK, Duration::from_millis(2));
        metrics.answered(Some(Verb::Get), StatusCode::NOT_FOUND, Duration::ZERO);
        metrics.answered(None, StatusCode::OK, Duration::ZERO);
        let held = metrics.watches.hold();
        let text = metrics.text(7, &[("pods", 3)]);
        for line in [
            "apiserver_request_total{verb=\"GET\",code=\"200\"} 1",
            "apiserver_request_total{verb=\"GET\",code=\"404\"} 1",
            "apiserver_request_total{verb=\"CONNECT\",code=\"200\"} 1",
            "apiserver_request_duration_seconds_sum{verb=\"GET\"} 0.002",
            "apiserver_longrunning_requests 1",
            "naru_store_revision 7",
            "apiserver_storage_objects{resource=\"pods\"} 3",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        drop(held);
        assert_eq!(metrics.watches.get(), 0);
    }
}
