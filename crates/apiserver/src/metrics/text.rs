//! The Prometheus text format.

use std::fmt::Write as _;

use super::labels::Labels;
use super::series::Series;
use super::{Gauge, process};
use crate::components::Queue;
use crate::state::Core;

const DURATION: &str = "apiserver_request_duration_seconds";

/// Everything that the server counts.
pub(crate) fn text(core: &Core) -> String {
    let mut out = String::with_capacity(64 << 10);
    requests(core, &mut out);
    durations(core, &mut out);
    running(core, &mut out);
    store(core, &mut out);
    audit(core, &mut out);
    queues(core, &mut out);
    core.aggregate.write_metrics(&mut out);
    process::write(&mut out);
    out
}

/// Writes what a name stands for.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// All counters of requests, with their labels in words.
fn each(core: &Core, mut see: impl FnMut(&str, &Series)) {
    let plain = "component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"\",scope=\"\",subresource=\"\",verb=\"GET\",version=\"\"";
    if core.metrics.plain.count() > 0 {
        see(plain, &core.metrics.plain);
    }
    let serving = core.serving();
    for route in serving.routes.iter() {
        let kind = &route.kind;
        route.meters.each(|labels: &Labels, series| {
            let words = format!(
                "component=\"apiserver\",dry_run=\"{}\",group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
                labels.dry_run(),
                kind.group,
                kind.plural,
                labels.scope(),
                labels.below(),
                labels.verb(),
                kind.version,
            );
            see(&words, series);
        });
    }
}

fn requests(core: &Core, out: &mut String) {
    let name = "apiserver_request_total";
    let help = "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.";
    head(out, name, "counter", help);
    each(core, |labels, series| {
        for (code, count) in series.codes() {
            let _ = writeln!(out, "{name}{{code=\"{code}\",{labels}}} {count}");
        }
    });
}

fn durations(core: &Core, out: &mut String) {
    let help = "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.";
    head(out, DURATION, "histogram", help);
    each(core, |labels, series| {
        let mut all = 0;
        for (bound, count) in series.took() {
            all = count;
            let _ = writeln!(out, "{DURATION}_bucket{{{labels},le=\"{}\"}} {count}", bound as f64 / 1000.0);
        }
        // Counted meanwhile, it must not be less than what was told before.
        let count = series.count().max(all);
        let _ = writeln!(out, "{DURATION}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{DURATION}_sum{{{labels}}} {}", series.seconds());
        let _ = writeln!(out, "{DURATION}_count{{{labels}}} {count}");
    });
}

fn running(core: &Core, out: &mut String) {
    let metrics = &core.metrics;
    let name = "apiserver_current_inflight_requests";
    head(
        out,
        name,
        "gauge",
        "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
    );
    for (kind, gauge) in [("mutating", &metrics.writing), ("readOnly", &metrics.reading)] {
        let _ = writeln!(out, "{name}{{request_kind=\"{kind}\"}} {}", gauge.get());
    }
    let name = "apiserver_longrunning_requests";
    let help = "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component.";
    head(out, name, "gauge", help);
    let serving = core.serving();
    for route in serving.routes.iter().filter(|route| route.meters.watches.get() > 0) {
        let (kind, count) = (&route.kind, route.meters.watches.get());
        let _ = writeln!(
            out,
            "{name}{{component=\"apiserver\",group=\"{}\",resource=\"{}\",scope=\"\",subresource=\"\",verb=\"WATCH\",version=\"{}\"}} {count}",
            kind.group, kind.plural, kind.version
        );
    }
    let gauge = |out: &mut String, name: &str, help: &str, gauge: &Gauge| {
        head(out, name, "gauge", help);
        let _ = writeln!(out, "{name} {}", gauge.get());
    };
    gauge(out, "naru_apiserver_connections", "Open connections.", &metrics.connections);
    gauge(out, "naru_apiserver_watches", "Watches that run.", &metrics.watches);
}

fn store(core: &Core, out: &mut String) {
    let snapshot = core.store.snapshot();
    head(out, "naru_store_revision", "counter", "The newest revision of the store.");
    let _ = writeln!(out, "naru_store_revision {}", snapshot.revision().0);
    let name = "apiserver_storage_objects";
    head(out, name, "gauge", "Number of stored objects at the time of last check split by kind.");
    let serving = core.serving();
    for kind in serving.registry.iter().filter(|kind| kind.is_stored() && kind.stored_as.is_none()) {
        let count = snapshot.count(&naru_store::Prefix::collection(kind.collection()));
        let _ = writeln!(out, "{name}{{resource=\"{}\"}} {count}", kind.collection());
    }
}

fn queues(core: &Core, out: &mut String) {
    let queues = core.components.get().map(|components| components.queues()).unwrap_or_default();
    if queues.is_empty() {
        return;
    }
    let mut tell = |name: &str, kind: &str, help: &str, of: fn(&Queue) -> u64| {
        head(out, name, kind, help);
        for queue in &queues {
            let _ = writeln!(out, "{name}{{name=\"{}\"}} {}", queue.name, of(queue));
        }
    };
    tell("workqueue_depth", "gauge", "Current depth of workqueue", |q| q.waiting as u64);
    let help = "Total number of adds handled by workqueue";
    tell("workqueue_adds_total", "counter", help, |q| q.done + (q.waiting + q.running) as u64);
    tell("naru_workqueue_running", "gauge", "Keys that are worked on", |q| q.running as u64);
    tell("naru_workqueue_failing", "gauge", "Keys that failed when they were last worked on", |q| q.failing as u64);
}

fn audit(core: &Core, out: &mut String) {
    let Some(log) = core.audit.get() else { return };
    let counters = log.counters();
    head(
        out,
        "apiserver_audit_event_total",
        "counter",
        "Counter of audit events generated and sent to the audit backend.",
    );
    let _ = writeln!(out, "apiserver_audit_event_total {}", counters.events());
    let help = "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.";
    head(out, "apiserver_audit_error_total", "counter", help);
    let _ = writeln!(out, "apiserver_audit_error_total{{plugin=\"log\"}} {}", counters.lost());
    head(out, "apiserver_audit_level_total", "counter", "Counter of policy levels for audit events (1 per request).");
    for (level, count) in counters.levels() {
        let _ = writeln!(out, "apiserver_audit_level_total{{level=\"{level}\"}} {count}");
    }
}
