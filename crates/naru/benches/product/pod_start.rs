//! From the API's create of a pod to its first instruction: admission, scheduling, network, root filesystem, process.

use std::time::SystemTime;

use crate::host::{Bench, IMAGE};
use crate::peer::Docker;
use crate::report::{self, Peer};
use crate::stamps::{Clock, await_stamp, between};

const PODS: usize = 50;

pub fn run() -> Option<()> {
    let bench = Bench::start()?;
    let clock = Clock::start();
    await_stamp(&bench.pod("warm", &[]));
    let mut times = Vec::new();
    for number in 0..PODS {
        let begin = SystemTime::now();
        let log = bench.pod(&format!("p{number}"), &[]);
        times.push(between(begin, await_stamp(&log)));
    }
    drop((clock, bench));
    let peer = match Docker::start() {
        Some(docker) => Peer::Here("docker run -d", docker_run(&docker)),
        None => Peer::Before("docker run 280-350 ms"),
    };
    report::times("API create of a pod to its first instruction", &times, Some((40.0, Some(80.0))), peer);
    Some(())
}

fn docker_run(docker: &Docker) -> Vec<std::time::Duration> {
    docker.cli(&["run", "-d", IMAGE]);
    let run = |_| {
        let begin = SystemTime::now();
        let id = docker.cli(&["run", "-d", IMAGE]);
        between(begin, await_stamp(&docker.log(&id)))
    };
    (0..PODS / 2).map(run).collect()
}
