//! Volumes that are removed: the node that has the data erases it, whenever it is there.

use std::path::PathBuf;

use naru_testkit::{Cluster, Host, eventually, until};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");

/// A project with one volume on a node, into which something was written.
fn compose(node: &str) -> String {
    format!(
        "services:\n  db:\n    image: naru.local/probe:1\n    volumes: ['data:/data']\n    \
         deploy: {{placement: {{constraints: [node.hostname=={node}]}}}}\nvolumes: {{data: {{}}}}\n"
    )
}

/// The folders of volumes on a machine.
fn folders(host: &Host) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(host.state_dir().join("volumes")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn volumes(cluster: &Cluster) -> Vec<Value> {
    let list = cluster.server.kubectl(&["get", "pv", "-o", "json"]).ok().json();
    list["items"].as_array().cloned().unwrap_or_default()
}

#[test]
fn what_down_removes_is_erased_where_it_lies_also_when_that_machine_was_away() {
    let Some(cluster) = Cluster::start(PROGRAM, 2, &["--pod-eviction", "1h"]) else { return };
    let worker = &cluster.workers[0];
    let shop = cluster.server.project("shop", &compose("w1"));
    let fill = || {
        shop.up(&[]);
        // A link that leads out of the volume: what it leads to is not the volume's.
        let script = "echo kept > /data/file; ln -sfn / /data/out; mkdir -p /data/a/b; echo x > /data/a/b/c";
        shop.naru(&["exec", "-T", "db", "sh", "-c", script]).ok();
        let found = folders(worker);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    let first = fill();
    assert!(first.join("file").exists());
    shop.naru(&["volumes"]).ok().says(&["shop_data", "w1"]);
    shop.naru(&["down", "-v"]).ok().says(&["Volume shop_data  Removed"]);
    assert!(!first.exists(), "down has waited for the erasure");
    assert!(volumes(&cluster).is_empty());
    assert!(worker.state_dir().join("node").exists(), "nothing else was touched");

    // The machine is away: the verb says so and ends, and what is made again under the same name is not meant.
    let second = fill();
    worker.cut();
    until("it is lost", || cluster.status_of("w1"), |status| status == "Unknown");
    for pod in cluster.pods("shop") {
        cluster.server.kubectl(&["delete", "pod", "-n", "shop", &pod.name, "--grace-period=0", "--force"]).ok();
    }
    shop.naru(&["down", "-v"])
        .ok()
        .says(&["Volume shop_data  Removed; node w1 is away and erases its data when it is back"]);
    cluster.server.naru(&["status"]).says(&["which was removed, is on node w1 until that machine erases it"]);
    shop.naru(&["volumes"]).ok().says(&["shop_data", "removed: node w1 is away"]);
    assert!(second.join("file").exists(), "nobody else can erase it");
    let again = cluster.server.project("shop", &compose("w2"));
    again.up(&[]);
    again.naru(&["exec", "-T", "db", "sh", "-c", "echo new > /data/file"]).ok();
    // A restart of the server forgets nothing.
    cluster.server.restart_server();
    worker.mend();
    eventually("it erases what it has", || match folders(worker) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
    until("only the new volume is left", || volumes(&cluster).len(), |count| *count == 1);
    let kept = again.naru(&["exec", "-T", "db", "cat", "/data/file"]).ok();
    assert_eq!(kept.text(), "new");
    again.naru(&["down", "-v"]).ok();
    assert!(folders(&cluster.workers[1]).is_empty());
}

#[test]
fn a_running_pod_keeps_its_data_and_a_removed_node_has_no_duty() {
    let Some(cluster) = Cluster::start(PROGRAM, 1, &["--pod-eviction", "1h"]) else { return };
    let worker = &cluster.workers[0];
    let shop = cluster.server.project("shop", &compose("w1"));
    shop.up(&[]);
    shop.naru(&["exec", "-T", "db", "sh", "-c", "echo kept > /data/file"]).ok();
    let folder = folders(worker).pop().expect("the volume's folder");
    // Deleted by hand under a claim that is in use: both wait.
    let name = volumes(&cluster)[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    cluster.server.kubectl(&["delete", "pv", &name, "--wait=false"]).ok();
    shop.kubectl(&["delete", "pvc", "--all", "--wait=false"]).ok();
    let claim = shop.kubectl(&["get", "pvc", "-o", "jsonpath={.items[0].status.phase}"]).ok();
    assert_eq!(claim.text(), "Bound");
    assert_eq!(shop.naru(&["exec", "-T", "db", "cat", "/data/file"]).ok().text(), "kept");

    // The cluster forgets the pod while the node, cut off, goes on running it.
    worker.cut();
    until("it is lost", || cluster.status_of("w1"), |status| status == "Unknown");
    shop.kubectl(&["delete", "deployment", "--all"]).ok();
    shop.kubectl(&["delete", "pods", "--all", "--grace-period=0", "--force"]).ok();
    until(
        "the node has a duty",
        || volumes(&cluster),
        |all| all.iter().any(|volume| volume["metadata"]["labels"]["naru.io/erase-on"] == "w1"),
    );
    assert!(folder.join("file").exists());
    cluster.server.naru(&["node", "rm", "--force", "w1"]).ok();
    until("nobody waits for it", || volumes(&cluster).len(), |count| *count == 0);
    let events = cluster.server.kubectl(&["get", "events", "-n", "default"]).ok();
    events.says(&["VolumeLeftBehind", "shop/shop-data"]);
    assert!(folder.join("file").exists(), "its data stays on the machine that left");
}
