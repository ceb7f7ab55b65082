//! From a node's loss of power to the last replacement of its pods running elsewhere.

use std::time::{Duration, Instant};

use crate::host::NAMESPACE;
use crate::machines::Machines;
use crate::report::{self, Peer};
use crate::swarm::Swarm;
use crate::watch::PodWatch;

/// More than half of the machines stay: where more are lost, it is rather the server that is cut off, and it waits.
const WORKERS: usize = 4;
const LOST: usize = 2;
const REPLICAS: usize = 6;

pub fn run() -> Option<()> {
    let machines = Machines::joined(WORKERS)?;
    machines.deploy("web", REPLICAS);
    let mut watch = PodWatch::start(&machines.server.socket(), NAMESPACE);
    let running = |pods: &std::collections::BTreeMap<String, bool>| pods.values().filter(|runs| **runs).count();
    watch.until("all pods run", |pods| running(pods) == REPLICAS);
    let mut times = Vec::new();
    for worker in machines.workers.iter().take(LOST) {
        let begin = Instant::now();
        worker.kill_everything();
        watch.until("its pods are given up", |pods| running(pods) < REPLICAS);
        let whole = watch.until("and replaced", |pods| running(pods) == REPLICAS);
        times.push(whole - begin);
    }
    let peer = match swarm() {
        Some(times) => Peer::Here("Docker Swarm, an engine killed", times),
        None => Peer::None,
    };
    report::times("power off to the last replacement running", &times, Some((10_000.0, None)), peer);
    Some(())
}

fn swarm() -> Option<Vec<Duration>> {
    let mut swarm = Swarm::start(WORKERS)?;
    for worker in 0..WORKERS {
        swarm.join(worker);
    }
    swarm.service("web", REPLICAS);
    swarm.until_running(REPLICAS, &[]);
    let mut lost = Vec::new();
    let mut times = Vec::new();
    for worker in 0..LOST {
        lost.push(swarm.node(worker));
        let begin = Instant::now();
        swarm.kill(worker);
        times.push(swarm.until_running(REPLICAS, &lost) - begin);
    }
    Some(times)
}
