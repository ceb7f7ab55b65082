//! Running pods go to nodes that came later: on request, or always where the server was told so; and nobody notices.

use naru_testkit::{Cluster, eventually, under_load, until};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");
/// A program that is told to end finishes what is under way: here by not obeying for a while.
const POLITE: &str = ", args: ['--ignore-term'], readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}";

#[test]
fn a_worker_that_joins_takes_its_share_and_no_request_is_lost() {
    let Some(mut cluster) = Cluster::start(PROGRAM, 1, &[]) else { return };
    cluster.deploy(6, POLITE);
    cluster.expose(30778);
    until("three on each", || cluster.ready_on(["node-1", "w1"]), |counts| *counts == [3; 2]);
    // Not one may be missing at any time: a replacement has to be there first.
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"minAvailable": 6, "selector": {"matchLabels": {"app": "web"}}}});
    cluster.server.kubectl_fed(&budget.to_string(), &["apply", "-f", "-"]).ok();
    let address = cluster.server.address();
    eventually("it answers", || cluster.server.get_from_outside(address, 30778, "/").map(drop));
    cluster.server.naru(&["node", "rebalance"]).ok().says(&["Everything is well placed"]);

    let machine = cluster.machine().expect("a machine");
    let token = cluster.token(&[]);
    let ((), load) = under_load(&cluster.server, address, 30778, || {
        cluster.welcome(&machine, &token, "w2");
        let before = cluster.pods("default");
        let planned = cluster.server.naru(&["node", "rebalance", "--dry-run", "--format", "json"]).ok().json();
        let planned = planned.as_array().cloned().unwrap_or_default();
        assert_eq!(planned.len(), 2, "{planned:?}");
        assert!(planned.iter().all(|step| step["to"] == "w2"), "{planned:?}");
        cluster
            .server
            .naru(&["node", "rebalance", "w2", "--dry-run", "--most", "1"])
            .ok()
            .says(&["1 pods would be moved; nothing was"]);
        assert_eq!(cluster.pods("default"), before, "nothing was moved yet");
        cluster.server.naru(&["node", "rebalance", "w2"]).ok().says(&[
            "Moving pod web-",
            "towards w2",
            "2 pods were moved",
        ]);
        until("two on each", || cluster.ready_on(["node-1", "w1", "w2"]), |counts| *counts == [2; 3]);
    });
    assert!(
        load.asked > 20 && load.lost.is_empty(),
        "{} of {} lost: {:?}",
        load.lost.len(),
        load.asked,
        load.lost.first()
    );
    let after = until("six are left", || cluster.pods("default"), |pods| pods.len() == 6);
    cluster.server.naru(&["node", "rebalance"]).ok().says(&["Everything is well placed"]);
    assert_eq!(cluster.pods("default"), after, "what is even stays");
    cluster.server.naru(&["status"]).ok().says(&["All is well"]);

    // What cannot be filled is not asked to be.
    cluster.server.naru(&["node", "cordon", "w2"]).ok();
    cluster
        .server
        .naru(&["node", "rebalance", "w2"])
        .refuses(&["node w2 takes no pods, for it is cordoned: nothing was moved"]);
    cluster.server.naru(&["node", "rebalance", "w9"]).refuses(&["there is no node w9: there are node-1, w1, w2"]);
    cluster.workers.push(machine);
}

#[test]
fn a_server_that_was_told_so_fills_whoever_comes_and_leaves_what_would_lose_something() {
    let Some(cluster) = Cluster::apart(PROGRAM, 1, &["--rebalance", "2"]) else { return };
    let compose = "services:\n  web: {image: naru.local/probe:1, deploy: {replicas: 4}}\n  one: {image: naru.local/probe:1}\n  \
                   kept: {image: naru.local/probe:1, volumes: ['data:/data'], deploy: {replicas: 2}}\nvolumes: {data: {}}\n";
    let shop = cluster.server.project("shop", compose);
    shop.up(&[]);
    let of = |service: &str| -> Vec<Value> {
        let rows = shop.ps().into_iter().filter(|row| row["Service"] == service && row["State"] == "running");
        rows.map(|row| json!([row["Pod"], row["Node"]])).collect()
    };
    let (one, kept) = (of("one"), of("kept"));
    cluster.welcome(&cluster.workers[0], &cluster.token(&[]), "w1");
    let on = |node: &str| {
        shop.ps()
            .iter()
            .filter(|row| row["Service"] == "web" && row["Node"] == node && row["State"] == "running")
            .count()
    };
    until("two on each", || [on("node-1"), on("w1")], |counts| *counts == [2; 2]);
    assert_eq!(of("one"), one, "the only container of a service stays");
    assert_eq!(of("kept"), kept, "so does what has files on its node");
    assert_eq!(of("web").len(), 4);
    let events = shop.kubectl(&["get", "events"]).ok();
    events.says(&["a replacement starts first"]);
}
