//! From the death of a container's process to the first instruction of the next one, before back-off applies.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Bench, IMAGE};
use crate::memory::processes;
use crate::peer::Docker;
use crate::report::{self, Peer};
use crate::stamps::{Clock, await_stamp, between, stamps_below, wait};

const PODS: usize = 20;
const PEER_TASKS: usize = 5;

pub fn run() -> Option<()> {
    let bench = Bench::start()?;
    let clock = Clock::start();
    let name = |number: usize| format!("--name=naru-bench-{}-{number}", std::process::id());
    let logs: Vec<_> = (0..PODS).map(|number| bench.pod(&format!("k{number}"), &[&name(number)])).collect();
    logs.iter().for_each(|log| {
        await_stamp(log);
    });
    let mut times = Vec::new();
    for (number, log) in logs.iter().enumerate() {
        let begin = kill_one(&name(number));
        times.push(between(begin, await_stamp(&log.with_file_name("1.log"))));
    }
    drop((clock, bench));
    let peer = match Docker::start() {
        Some(docker) => Peer::Here("Docker Swarm, its usual restart delay", swarm(&docker.swarm())),
        None => Peer::Before("Docker Swarm 5.6 s"),
    };
    report::times("killed container to the next one's first instruction", &times, Some((30.0, None)), peer);
    Some(())
}

/// Kills a worker with this argument; says when.
fn kill_one(argument: &str) -> SystemTime {
    let found = processes(|line| line.starts_with("/bench-worker") && line.contains(argument));
    let pid = found.first().and_then(|(_, pid)| Pid::from_raw(*pid)).expect("the worker's process");
    let begin = SystemTime::now();
    kill_process(pid, Signal::KILL).expect("kill the worker");
    begin
}

fn swarm(docker: &Docker) -> Vec<Duration> {
    let name = format!("--name=swarm-{}-", std::process::id());
    let replicas = PEER_TASKS.to_string();
    docker.cli(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        "web",
        "--replicas",
        &replicas,
        IMAGE,
        &name,
    ]);
    let logs = docker.logs();
    wait("the swarm's containers run", || {
        Some(()).filter(|()| newer(&logs, SystemTime::UNIX_EPOCH).len() == PEER_TASKS)
    });
    let restart = |_| {
        let begin = kill_one(&name);
        let next = wait("the swarm's next container", || newer(&logs, begin).into_iter().min());
        between(begin, next)
    };
    (0..PEER_TASKS).map(restart).collect()
}

fn newer(logs: &Path, begin: SystemTime) -> Vec<SystemTime> {
    stamps_below(logs, "-json.log").into_iter().filter(|stamp| *stamp > begin).collect()
}
