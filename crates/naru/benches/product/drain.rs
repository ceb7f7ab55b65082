//! Draining a node with 50 pods of five services, until all of them are ready elsewhere.

use std::time::{Duration, Instant};

use crate::host::NAMESPACE;
use crate::machines::Machines;
use crate::report::{self, Peer};
use crate::swarm::Swarm;
use crate::watch::PodWatch;

const SERVICES: usize = 5;
const REPLICAS: usize = 10;

pub fn run() -> Option<()> {
    let machines = Machines::joined(2)?;
    let server = &machines.server.host;
    let others = ["node-1", "w2"];
    for node in others {
        server.naru(&["node", "cordon", node]).ok();
    }
    (0..SERVICES).for_each(|number| machines.deploy(&format!("web-{number}"), REPLICAS));
    let mut watch = PodWatch::start(&machines.server.socket(), NAMESPACE);
    let whole = |pods: &std::collections::BTreeMap<String, bool>| {
        pods.values().filter(|runs| **runs).count() == SERVICES * REPLICAS
    };
    watch.until("all pods run on w1", whole);
    for node in others {
        server.naru(&["node", "uncordon", node]).ok();
    }
    let begin = Instant::now();
    server.naru(&["node", "drain", "w1"]).ok();
    let took = begin.elapsed();
    let peer = match swarm() {
        Some(time) => Peer::Here("docker node update --availability drain", vec![time]),
        None => Peer::None,
    };
    report::times(&format!("drain of a node with {} pods", SERVICES * REPLICAS), &[took], None, peer);
    report::note(
        "ours one of each service at a time, its replacement ready before the next goes; the peer's all at once",
    );
    Some(())
}

fn swarm() -> Option<Duration> {
    let mut swarm = Swarm::start(2)?;
    for worker in 0..2 {
        swarm.join(worker);
    }
    let (first, second) = (swarm.node(0), swarm.node(1));
    let manager = swarm.manager_node();
    [&manager, &second].iter().for_each(|node| swarm.availability(node, "pause"));
    (0..SERVICES).for_each(|number| swarm.service(&format!("web-{number}"), REPLICAS));
    swarm.until_running(SERVICES * REPLICAS, &[]);
    [&manager, &second].iter().for_each(|node| swarm.availability(node, "active"));
    let begin = Instant::now();
    swarm.availability(&first, "drain");
    Some(swarm.until_running(SERVICES * REPLICAS, &[first]) - begin)
}
