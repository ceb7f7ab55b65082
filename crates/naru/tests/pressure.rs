//! A machine that runs short: who is ended, who is told, and that it ends when there is room again.

use std::time::Duration;

use naru_testkit::{Cluster, eventually_within, until};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");
/// Longer than any wait that is right.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn on_a_short_disk_the_largest_pod_goes_and_no_critical_one_and_its_successor_comes_when_there_is_room() {
    let Some(cluster) = Cluster::apart(PROGRAM, 1, &["--pod-eviction", "1h"]) else { return };
    let (server, worker) = (&cluster.server, &cluster.workers[0]);
    worker.small_disk("", 200);
    cluster.welcome(worker, &cluster.token(&[]), "w1");
    let on = "deploy: {placement: {constraints: [node.hostname==w1]}}";
    let shop = server.project(
        "shop",
        &format!(
            "services:\n  hog: {{image: naru.local/busybox:1, command: [sleep, '10000'], {on}}}\n  \
             web: {{image: naru.local/probe:1, {on}}}\n"
        ),
    );
    shop.up(&[]);
    let critical = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "critical", "namespace": "kube-system"},
        "spec": {"nodeSelector": {"kubernetes.io/hostname": "w1"}, "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "a", "image": "naru.local/busybox:1", "command": ["sleep", "10000"]}]}}"#;
    server.kubectl_fed(critical, &["apply", "-f", "-"]).ok();
    server.kubectl(&["wait", "-n", "kube-system", "--for=condition=Ready", "pod/critical", "--timeout=60s"]).ok();
    let identity = |service: &str| shop.container(service)["ID"].to_string();
    let (web, hog) = (identity("web"), shop.container("hog")["Pod"].as_str().unwrap_or_default().to_owned());

    // Together they leave less than is to stay free; the critical one holds more.
    let fill = |mebibytes: u32| format!("dd if=/dev/zero of=/fill bs=1048576 count={mebibytes}");
    server.kubectl(&["exec", "-n", "kube-system", "critical", "--", "sh", "-c", &fill(95)]).ok();
    shop.naru(&["exec", "-T", "hog", "sh", "-c", &fill(75)]);
    let pod = |name: &str| server.kubectl(&["get", "pod", "-n", "shop", name, "-o", "json"]).ok().json();
    let ended = eventually_within(PATIENCE, "the pod is evicted", || {
        let pod = pod(&hog);
        if pod["status"]["phase"] == "Failed" { Ok(pod) } else { Err(pod["status"].to_string()) }
    });
    assert_eq!(ended["status"]["reason"], "Evicted");
    let message = ended["status"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: "), "{message}");
    assert!(message.contains(" was using ") && message.contains("request is 0"), "{message}");
    let conditions = ended["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let disrupted = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget");
    assert_eq!(disrupted.map(|condition| &condition["reason"]), Some(&Value::from("TerminationByKubelet")));

    // Whoever asks is told.
    let events = server.kubectl(&["get", "events", "-A"]).ok();
    events.says(&["Evicted", "The node was low on resource", "EvictionThresholdMet"]);
    shop.naru(&["ps", "-a", "--no-trunc"]).ok().says(&["evicted: The node was low on resource: ephemeral-storage"]);

    // What it held is gone from the disk, so the node is well again, and its successor finds its place.
    eventually_within(PATIENCE, "the node is not short any more", || {
        let node = server.kubectl(&["get", "node", "w1", "-o", "json"]).ok().json();
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let pressed = conditions.iter().any(|c| c["type"] == "DiskPressure" && c["status"] == "True");
        let tainted = node["spec"]["taints"].as_array().is_some_and(|taints| !taints.is_empty());
        if pressed || tainted { Err(node["spec"].to_string()) } else { Ok(()) }
    });
    let runs = |rows: &Vec<Value>| rows.iter().any(|row| row["Service"] == "hog" && row["State"] == "running");
    until("its successor runs", || shop.ps(), runs);
    assert_eq!(identity("web"), web, "whoever holds nothing goes on");
    let critical = server.kubectl(&["get", "pod", "-n", "kube-system", "critical", "-o", "jsonpath={.status.phase}"]);
    assert_eq!(critical.text(), "Running");
    server.kubectl(&["delete", "pod", "-n", "kube-system", "critical"]).ok();
}
