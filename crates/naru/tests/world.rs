//! The simulated world in little: a real server, and nodes that speak as real ones and only pretend to run their pods.
//! The same as `scripts/bench.sh NARU world` at its full size; here it is about what happens, not about how long it takes.

#[path = "../benches/world/door.rs"]
mod door;
#[path = "../benches/world/fleet.rs"]
mod fleet;
#[path = "../benches/world/followers.rs"]
mod followers;
#[path = "../benches/world/node.rs"]
mod node;
#[path = "../benches/world/workload.rs"]
mod workload;

use std::time::{Duration, Instant};

use naru_api::k8s::api::core::v1::{Node, Pod};
use naru_client::{Client, ListOptions, PatchKind, Resource};
use naru_testkit::{Host, HostOptions};
use serde_json::{Value, json};

use fleet::{Door, Fleet};
use workload::Workload;

const NODES: usize = 100;
const PODS: usize = 1_000;
const LOST: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_hundred_nodes_get_their_pods_and_a_tenth_of_them_is_replaced() {
    let server = ["--pod-network", "10.128.0.0/9"].map(str::to_owned).to_vec();
    let options = HostOptions { images: Some(Vec::new()), server, ..HostOptions::default() };
    let Some(host) = Host::start_with(env!("CARGO_BIN_EXE_naru"), options) else { return };
    let door = door::of(&host);
    host.inside(|| {
        let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        executor.expect("an executor").block_on(live(&door));
    });
}

async fn live(door: &Door) {
    let client = door.administrator();
    let own = json!({"spec": {"taints": [{"key": "world.example.org/real", "effect": "NoExecute"}]}});
    client.dynamic(Resource::of::<Node>(), None).patch("node-1", PatchKind::Merge, &own).await.expect("a taint");
    let fleet = Fleet::join(door, NODES, 1).await;
    let workload = Workload::of(NODES, PODS);
    workload.create(&client).await.expect("workloads");
    settled(&client, &fleet, &workload, NODES).await;

    fleet.nodes.iter().take(LOST).for_each(node::SimNode::power_off);
    settled(&client, &fleet, &workload, NODES - LOST).await;
    let lost: Vec<&str> = fleet.nodes.iter().take(LOST).map(|node| node.name.as_str()).collect();
    // A busy machine may hold up one that lives; it is back at once.
    let begun = Instant::now();
    loop {
        let nodes = list::<Node>(&client).await;
        let wrong: Vec<&str> = nodes
            .iter()
            .filter_map(|node| {
                let name = node["metadata"]["name"].as_str().unwrap_or_default();
                (is_ready(node) == lost.contains(&name)).then_some(name)
            })
            .collect();
        if wrong.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "the cluster is wrong about {wrong:?}; lost are {lost:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|known| known["type"] == "Ready" && known["status"] == "True")
}

/// Waits until every pod has a node with power and is ready there, and sees that they are well spread.
async fn settled(client: &Client, fleet: &Fleet, workload: &Workload, nodes: usize) {
    let all = workload.replicas() + workload.daemon_sets * nodes;
    if let Err(given) = fleet.until_given(all, PATIENCE).await {
        panic!("{given} of {all} pods were given to nodes");
    }
    if let Err(missing) = workload.until_ready(client, PATIENCE).await {
        panic!("{missing}");
    }
    let each = fleet.nodes.iter().filter(|node| !node.is_off());
    let most = each.map(|node| node.given.load(std::sync::atomic::Ordering::Relaxed)).max().unwrap_or(0);
    assert!(most <= all / nodes * 2, "a node has {most} of {all} pods");
    let pods = list::<Pod>(client).await;
    let mut addresses: Vec<&str> = pods
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod["status"]["podIP"].as_str())
        .collect();
    let count = addresses.len();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), count, "no two pods have one address");
}

async fn list<V: naru_api::View>(client: &Client) -> Vec<Value> {
    client.dynamic(Resource::of::<V>(), None).list(&ListOptions::default()).await.expect("a list").items
}
