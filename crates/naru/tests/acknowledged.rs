//! A pod is told to end only when every node has said that it leads nothing new to it.

use std::time::Duration;

use jiff::Timestamp;
use naru_testkit::{Host, HostOptions, Image, Lan, eventually_within, until};
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");
const PATIENCE: Duration = Duration::from_secs(90);
/// The longest that a stop waits for other nodes.
const LONGEST: Duration = Duration::from_secs(2);

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: first, labels: {app: web}}
spec:
  nodeName: w1
  terminationGracePeriodSeconds: 20
  containers: [{name: c, image: "naru.local/probe:1"}]
---
apiVersion: v1
kind: Pod
metadata: {name: second, labels: {app: web}}
spec:
  nodeName: node-1
  containers: [{name: c, image: "naru.local/probe:1"}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"#;

fn machine(lan: &Lan, idle: bool) -> Option<Host> {
    Host::start_with(PROGRAM, HostOptions { idle, lan: Some(lan.clone()), ..HostOptions::default() })
}

fn worker(host: &Host) -> Pid {
    let text = std::fs::read_to_string(host.state_dir().join("node.lock")).expect("the worker's lock");
    Pid::from_raw(text.trim().parse().expect("a process")).expect("a process")
}

/// Lets the worker go on also when the test fails.
struct Held(Pid);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// When the pod wrote that it was told to end.
fn told(host: &Host) -> Option<Timestamp> {
    let logs = std::fs::read_dir(host.state_dir().join("logs")).ok()?.flatten();
    let folder = logs.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("default_first_"))?;
    let text = std::fs::read_to_string(folder.join("c/0.log")).ok()?;
    text.lines().find(|line| line.contains("got TERM"))?.split(' ').next()?.parse().ok()
}

#[test]
fn a_node_that_has_not_followed_holds_a_stop_back() {
    let Some(lan) = Lan::new() else { return };
    let Some(server) = machine(&lan, false) else { return };
    let workers = [machine(&lan, true), machine(&lan, true)];
    let [Some(w1), Some(w2)] = &workers else { return };
    let line = server.naru(&["token", "create"]).ok().text().trim().trim_start_matches("naru join ").to_owned();
    for (host, name) in [(w1, "w1"), (w2, "w2")] {
        host.naru(&["join", &line, "--node-name", name]).ok();
    }
    w1.load(Image::Probe);
    server.kubectl_fed(PODS, &["apply", "-f", "-"]).ok();
    let endpoints = || {
        let path = "jsonpath={.items[*].endpoints[*].conditions.ready}";
        server
            .kubectl(&["get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", path])
            .ok()
            .text()
            .to_owned()
    };
    until("two endpoints", endpoints, |ready| ready == "true true");

    // The other worker's data plane stands still while the pod is deleted.
    let held = Held(worker(w2));
    let begun = Timestamp::now();
    kill_process(held.0, Signal::STOP).expect("stop the worker");
    server.kubectl(&["delete", "pod", "first", "--wait=false"]).ok();
    until("the controller has said so", endpoints, |ready| ready != "true true");
    // As long as a stop takes at most when nobody has to be waited for, and more.
    std::thread::sleep(Duration::from_millis(500));
    let released = Timestamp::now();
    drop(held);
    let told = eventually_within(PATIENCE, "the pod is told to end", || told(w1).ok_or_else(|| "not yet".to_owned()));
    let waited = Duration::try_from(told.duration_since(begun)).unwrap_or_default();
    assert!(told >= released || waited >= LONGEST, "told at {told}, {waited:?} after {begun}, and before {released}");
    eprintln!("told after {waited:?}, {} after the node went on", told.duration_since(released));
}
