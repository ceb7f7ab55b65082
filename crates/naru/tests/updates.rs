//! Changes to what runs: without a lost request, and with a way back when the new one is bad.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use naru_testkit::{Host, Project, shared_host, until};

fn host() -> Option<&'static Host> {
    shared_host(env!("CARGO_BIN_EXE_naru"))
}

fn compose(port: u16, replicas: u32, color: &str, more: &str) -> String {
    format!(
        r#"
services:
  web:
    image: naru.local/probe:1
    environment: {{COLOR: {color}}}
    ports: ["{port}:8080"]
    restart: always
    stop_grace_period: 2s
    healthcheck: {{test: [CMD, wget, -q, -O-, "http://127.0.0.1:8080/health"], interval: 1s, retries: 2}}
    deploy:
      replicas: {replicas}
      update_config: {{order: start-first, parallelism: 2, failure_action: rollback, monitor: 2s}}
    {more}
"#
    )
}

/// The colours that answer at a port.
fn colors(host: &Host, port: u16) -> BTreeSet<String> {
    (0..20).filter_map(|_| host.get([127, 0, 0, 1], port, "/env/COLOR").ok()).map(|answer| answer.body).collect()
}

fn running(project: &Project<'_>) -> usize {
    project.ps().iter().filter(|row| row["State"] == "running").count()
}

#[test]
fn no_request_is_lost_while_replicas_are_replaced() {
    let Some(host) = host() else { return };
    let project = host.project("load", &compose(8601, 6, "red", ""));
    project.up(&[]);
    // The containers run; the port opens when the data plane knows of them.
    until("all are old", || colors(host, 8601), |seen| seen.iter().eq(["red"]));
    let (stop, sent, lost) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            host.inside(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    let answer = naru_testkit::get_here([127, 0, 0, 1].into(), 8601, "/env/COLOR");
                    if answer.as_ref().map(|answer| answer.status) != Ok(200) {
                        eprintln!("lost: request {number}: {answer:?}");
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        });
        project.write("compose.yaml", &compose(8601, 6, "blue", ""));
        let up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| project.up(&[])));
        stop.store(true, Ordering::Relaxed);
        up.map(drop).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let (sent, lost) = (sent.into_inner(), lost.into_inner());
    assert_eq!(lost, 0, "of {sent} requests");
    assert!(sent > 50, "{sent} requests were made");
    until("all are new", || colors(host, 8601), |seen| seen.iter().eq(["blue"]));
}

#[test]
fn a_bad_update_rolls_back_by_itself() {
    let Some(host) = host() else { return };
    let project = host.project("back", &compose(8602, 3, "red", ""));
    project.up(&[]);
    // Each is bad in its own way: never healthy, ends at once.
    for (color, more) in [("blue", "command: [--unhealthy]"), ("green", "command: [--exit, '3']")] {
        project.write("compose.yaml", &compose(8602, 3, color, more));
        project.naru(&["up", "-d", "--wait"]).refuses(&["web", "rolled back"]);
        until("the old ones answer", || colors(host, 8602), |seen| seen.iter().eq(["red"]));
        until("three run", || running(&project), |count| *count == 3);
    }
    project.write("compose.yaml", &compose(8602, 3, "white", ""));
    project.up(&[]);
    until("a good one goes through", || colors(host, 8602), |seen| seen.iter().eq(["white"]));
}

#[test]
fn stop_first_never_runs_two() {
    let Some(host) = host() else { return };
    let compose = |color: &str| {
        format!(
            "services:\n  web:\n    image: naru.local/probe:1\n    environment: {{COLOR: {color}}}\n    volumes: ['./shared:/shared']\n    \
             entrypoint: [sh, -c, 'mkdir /shared/lock || {{ echo two at once; exit 9; }}; trap \"rmdir /shared/lock; exit 0\" TERM; sleep 600 & wait']\n"
        )
    };
    let project = host.project("single", &compose("red"));
    project.write("shared/keep", "");
    project.up(&[]);
    for color in ["blue", "green"] {
        project.write("compose.yaml", &compose(color));
        project.up(&[]);
        until(
            "the new one runs",
            || project.exec("web", &["sh", "-c", "echo $COLOR"]).stdout,
            |text| text.trim() == color,
        );
    }
    assert_eq!(project.container("web")["RestartCount"], 0);
    project.naru(&["logs", "web"]).ok().hides(&["two at once"]);
}

#[test]
fn global_services_and_replicas_of_jobs() {
    let Some(host) = host() else { return };
    let project = host.project(
        "modes",
        r#"
services:
  every: {image: naru.local/probe:1, deploy: {mode: global}}
  job: {image: naru.local/busybox:1, command: ["true"], deploy: {mode: replicated-job, replicas: 2}}
"#,
    );
    project.up(&[]);
    assert_eq!(project.container("every")["State"], "running");
    project.kubectl(&["get", "daemonset", "every"]).ok();
    project.kubectl(&["get", "job", "job"]).ok().says(&["2/2"]);
}
