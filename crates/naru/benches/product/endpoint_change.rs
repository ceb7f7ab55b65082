//! From the write that changes where a Service leads to the rules of every node having followed: the answer to
//! `GET /naru/v1/dataplanes`, which comes when the last node has said so.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::NAMESPACE;
use crate::machines::Machines;
use crate::report;
use crate::stamps::wait;

const WORKERS: usize = 4;
const CHANGES: usize = 300;

pub fn run() -> Option<()> {
    let machines = Machines::joined(WORKERS)?;
    let server = &machines.server;
    let service = json!({"metadata": {"name": "changing"}, "spec": {"ports": [{"port": 80, "targetPort": 8080}]}});
    server.call("POST", &format!("/api/v1/namespaces/{NAMESPACE}/services"), Some(&service));
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices");
    let slice = |number: usize| {
        let address = format!("10.42.200.{}", number % 200 + 2);
        json!({"metadata": {"name": "changing-1", "labels": {"kubernetes.io/service-name": "changing"}},
            "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]})
    };
    let made = server.call("POST", &slices, Some(&slice(0)));
    wait("every node follows", || Some(()).filter(|()| all_at(&machines, &made).is_empty()));
    let mut times: Vec<Duration> = Vec::new();
    for number in 1..=CHANGES {
        let begin = Instant::now();
        let written = server.call("PUT", &format!("{slices}/changing-1"), Some(&slice(number)));
        let missing = all_at(&machines, &written);
        times.push(begin.elapsed());
        assert!(missing.is_empty(), "nodes that have not followed within the server's patience: {missing}");
        // Changes that follow one another at once would be one for the nodes.
        std::thread::sleep(Duration::from_millis(20));
    }
    let nodes = WORKERS + 1;
    let p99 = report::at(&times, 99);
    report::value(&format!("endpoint change in force on {nodes} nodes, p99"), p99, "ms", Some(50.0));
    report::note(&format!(
        "median {:.1} ms, p95 {:.1} ms, {CHANGES} changes; from the write to the last node's word, over HTTP",
        report::at(&times, 50),
        report::at(&times, 95)
    ));
    Some(())
}

/// Waits until every node has followed an object's state; the names of those that have not.
fn all_at(machines: &Machines, object: &Value) -> String {
    let revision = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let path = format!("/naru/v1/dataplanes?revision={revision}&timeoutMilliseconds=5000");
    let answer = machines.server.call("GET", &path, None);
    let names = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    [names("behind"), names("unable")].concat().iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}
