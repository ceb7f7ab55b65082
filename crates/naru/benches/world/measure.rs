//! The course of the benchmark.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

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
    let _trace = trace(server.0);
    println!(
        "{nodes} nodes, {pods} pods; one server, with a real node of its own that runs none of them and follows all"
    );
    println!(
        "  a simulated node joins by token with a key of its own, answers a ping a second, renews a lease every ten"
    );
    println!(
        "  seconds, follows its own Node and pods and tells their statuses; it runs nothing, writes no events, and"
    );
    println!(
        "  {followers} of them follow all services, slices, pods and nodes, as the data plane of every real one does"
    );
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
    value("the most memory that the server had", server.most_memory(), "MB");
    let own = Process(std::process::id());
    println!("  the simulating process took {:.0} s of the same processors, {:.0} MB", own.cpu(), own.most_memory());
}

/// With `NARU_WORLD_TRACE`, a line every five seconds: who took how much of the processors, and the server's memory.
fn trace(server: u32) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        if std::env::var_os("NARU_WORLD_TRACE").is_none() {
            return;
        }
        let (begin, pause) = (Instant::now(), Duration::from_secs(5));
        let (server, own) = (Process(server), Process(std::process::id()));
        let mut before = (server.cpu(), own.cpu());
        loop {
            tokio::time::sleep(pause).await;
            let now = (server.cpu(), own.cpu());
            let share = |before: f64, now: f64| (now - before) / pause.as_secs_f64() * 100.0;
            eprintln!(
                "    {:>4.0} s: server {:>4.0} %, {:>5.0} MB; simulation {:>4.0} %, {:>5.0} MB",
                begin.elapsed().as_secs_f64(),
                share(before.0, now.0),
                server.memory(),
                share(before.1, now.1),
                own.memory()
            );
            before = now;
        }
    }))
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
