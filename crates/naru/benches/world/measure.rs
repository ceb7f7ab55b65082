//! The course of the benchmark.

use std::time::{Duration, Instant};

use serde_json::json;

use super::fleet::{Door, Fleet};
use super::gauge::{Probe, Process};
use super::node::SimNode;
use super::workload::Workload;

/// How long nothing may happen before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the converged cluster is watched.
const STEADY: Duration = Duration::from_secs(30);

/// Lets the cluster come into being, rest, and lose a tenth of its nodes.
pub async fn measure(door: &Door, server: &Process, nodes: usize, pods: usize, followers: usize) {
    let administrator = door.administrator();
    println!("{nodes} nodes, {pods} pods, {followers} nodes that follow everything");
    value("server before anybody joined", server.memory(), "MB");
    keep_for_nodes(&administrator).await;

    let (begin, cpu) = (Instant::now(), server.cpu());
    let fleet = Fleet::join(door, nodes, followers).await;
    value("all nodes joined", begin.elapsed().as_secs_f64(), "s");
    value("  processor time of the server", server.cpu() - cpu, "s");
    value("  server then", server.memory(), "MB");
    let idle = server.load(STEADY / 3).await;
    value("  server's load with nodes and no pods", idle, "% of a processor");

    let probe = Probe::start(door.administrator()).await;
    let workload = Workload::of(nodes, pods);
    let (begin, cpu) = (Instant::now(), server.cpu());
    workload.create(&administrator).await.expect("workloads");
    let all = workload.replicas() + workload.daemon_sets * nodes;
    println!("  {} Deployments, {} DaemonSets: {all} pods", workload.deployments.len(), workload.daemon_sets);
    match fleet.until_given(all, PATIENCE).await {
        Ok(at) => {
            let seconds = (at - begin).as_secs_f64();
            value("all pods placed, and known to their nodes", seconds, "s");
            value("  pods a second", all as f64 / seconds, "/s");
        }
        Err(given) => return println!("  only {given} of {all} pods were placed"),
    }
    match workload.until_ready(&administrator, PATIENCE).await {
        Ok(at) => value("all Deployments say that they are ready", (at - begin).as_secs_f64(), "s"),
        Err(missing) => return println!("  not ready: {missing}"),
    }
    value("  processor time of the server", server.cpu() - cpu, "s");
    println!("    API meanwhile: {}", probe.said());
    value("  server then", server.memory(), "MB");

    tokio::time::sleep(STEADY / 3).await;
    let _ = probe.said();
    let steady = server.load(STEADY).await;
    value("load of the server, everything converged", steady, "% of a processor");
    value("  resident", server.memory(), "MB");
    println!("    API meanwhile: {}", probe.said());

    let begin = Instant::now();
    let cpu = server.cpu();
    let lost = nodes / 10;
    fleet.nodes.iter().take(lost).for_each(SimNode::power_off);
    let left = workload.replicas() + workload.daemon_sets * (nodes - lost);
    match fleet.until_given(left, PATIENCE).await {
        Ok(at) => value(&format!("{lost} nodes lost power: all pods placed again"), (at - begin).as_secs_f64(), "s"),
        Err(given) => return println!("  only {given} of {left} pods were placed again"),
    }
    match workload.until_ready(&administrator, PATIENCE).await {
        Ok(at) => value("  and all Deployments ready", (at - begin).as_secs_f64(), "s"),
        Err(missing) => return println!("  not ready: {missing}"),
    }
    value("  processor time of the server", server.cpu() - cpu, "s");
    println!("    API meanwhile: {}", probe.said());
    value("  server then", server.memory(), "MB");
}

/// The server's own node would run its pods in earnest.
async fn keep_for_nodes(administrator: &naru_client::Client) {
    let nodes = administrator.dynamic(naru_client::Resource::of::<naru_api::k8s::api::core::v1::Node>(), None);
    let taints = json!({"spec": {"taints": [{"key": "world.example.org/real", "effect": "NoExecute"}]}});
    let patched = nodes.patch("node-1", naru_client::PatchKind::Merge, &taints).await;
    // A control plane without a node of its own has none that could be in the way.
    assert!(patched.err().is_none_or(|error| error.is_not_found()), "a taint");
}

fn value(what: &str, value: f64, unit: &str) {
    println!("  {what:<58} {value:>9.1} {unit}");
}
