//! From `naru join` to a node that the cluster calls ready.

use std::time::{Duration, Instant};

use crate::machines::Machines;
use crate::report::{self, Peer};
use crate::swarm::Swarm;

const ROUNDS: usize = 5;

pub fn run() -> Option<()> {
    let machines = Machines::apart(1)?;
    let (token, worker) = (machines.token()?, &machines.workers[0]);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        worker.naru(&["join", &token, "--node-name", "w1"]).ok();
        times.push(begin.elapsed());
        worker.naru(&["leave", "--yes"]).ok();
    }
    let peer = match swarm() {
        Some(times) => Peer::Here("docker swarm join", times),
        None => Peer::None,
    };
    report::times("join to Ready", &times, Some((2000.0, None)), peer);
    Some(())
}

fn swarm() -> Option<Vec<Duration>> {
    let mut swarm = Swarm::start(1)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(swarm.join(0));
        swarm.leave(0);
    }
    Some(times)
}
