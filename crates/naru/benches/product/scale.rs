//! From one replica of a service to fifty and a hundred, and back.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use naru_testkit::Project;
use serde_json::json;

use crate::host::{Bench, IMAGE};
use crate::peer::Docker;
use crate::report::{self, Peer};
use crate::stamps::{Clock, between, stamps_below, wait};
use crate::watch::PodWatch;

const ROUNDS: usize = 3;

/// What scaling took.
struct Scaled {
    /// Until the last new container ran its first instruction.
    running: Duration,
    /// Until the API said so.
    said: Duration,
}

#[derive(Default)]
struct Times {
    fifty: Vec<Duration>,
    fifty_said: Vec<Duration>,
    hundred: Vec<Duration>,
    hundred_said: Vec<Duration>,
    removal: Vec<Duration>,
}

pub fn run() -> Option<()> {
    let bench = Bench::start()?;
    let clock = Clock::start();
    let ours = measure(&bench);
    drop((clock, bench));
    let swarm = Docker::start().map(|docker| measure_swarm(&docker.swarm()));
    let peer = |theirs: fn(&Times) -> &Vec<Duration>, before| match &swarm {
        Some(times) => Peer::Here("docker service scale (Swarm)", theirs(times).clone()),
        None => before,
    };
    let before = Peer::Before("Docker Swarm 16 s");
    report::times(
        "1 to 50 replicas, last first instruction",
        &ours.fifty,
        Some((1000.0, None)),
        peer(|t| &t.fifty, before),
    );
    report::times("1 to 50 replicas, API says all run", &ours.fifty_said, None, peer(|t| &t.fifty_said, Peer::None));
    report::times("50 to 100 replicas, last first instruction", &ours.hundred, None, Peer::None);
    report::times("50 to 100 replicas, API says all run", &ours.hundred_said, None, Peer::None);
    report::times("removal of 99 replicas (the peer: of 49)", &ours.removal, None, peer(|t| &t.removal, Peer::None));
    Some(())
}

fn measure(bench: &Bench) -> Times {
    let project = bench.host.project("scaled", &format!("services:\n  web: {{image: \"{IMAGE}\"}}\n"));
    project.naru(&["up", "-d"]).ok();
    let mut watch = PodWatch::start(&bench.socket(), "scaled");
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        let scaled = scale(bench, &project, &mut watch, 1, 50);
        times.fifty.push(scaled.running);
        times.fifty_said.push(scaled.said);
        let scaled = scale(bench, &project, &mut watch, 50, 100);
        times.hundred.push(scaled.running);
        times.hundred_said.push(scaled.said);
        let begin = Instant::now();
        let ended = thread::scope(|scope| {
            scope.spawn(|| project.naru(&["scale", "web=1"]).ok());
            watch.until("one pod is left", |pods| pods.len() == 1)
        });
        times.removal.push(ended - begin);
    }
    times
}

fn scale(bench: &Bench, project: &Project<'_>, watch: &mut PodWatch, from: usize, to: usize) -> Scaled {
    let (begin, begin_wall) = (Instant::now(), SystemTime::now());
    let said = thread::scope(|scope| {
        scope.spawn(|| project.naru(&["scale", &format!("web={to}")]).ok());
        watch.until("all pods run", |pods| pods.values().filter(|running| **running).count() == to)
    });
    let logs = bench.host.state_dir().join("logs");
    let last =
        last_of(&format!("{to} pods' first lines"), to - from, || newer(stamps_below(&logs, ".log"), begin_wall));
    Scaled { running: between(begin_wall, last), said: said - begin }
}

/// The last of so many stamps.
fn last_of(what: &str, count: usize, look: impl Fn() -> Vec<SystemTime>) -> SystemTime {
    wait(what, || Some(look()).filter(|found| found.len() >= count)).into_iter().max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn newer(stamps: Vec<SystemTime>, begin: SystemTime) -> Vec<SystemTime> {
    stamps.into_iter().filter(|stamp| *stamp > begin).collect()
}

fn measure_swarm(docker: &Docker) -> Times {
    let mut times = Times::default();
    docker.cli(&["service", "create", "--detach", "--no-resolve-image", "--name", "web", IMAGE]);
    let running = || {
        let containers = docker.call("GET", "/containers/json", None).ok()?;
        containers.as_array().map(Vec::len)
    };
    let until = |count: usize| {
        let reached = || {
            thread::sleep(Duration::from_millis(20)); // each look costs the engine something
            running().filter(|running| *running == count)
        };
        wait(&format!("the swarm runs {count} containers"), reached);
        Instant::now()
    };
    until(1);
    let (begin, begin_wall) = (Instant::now(), SystemTime::now());
    docker.cli(&["service", "scale", "--detach", "web=50"]);
    times.fifty_said.push(until(50) - begin);
    let last = last_of("the swarm's first lines", 49, || newer(stamps_below(&docker.logs(), "-json.log"), begin_wall));
    times.fifty.push(between(begin_wall, last));
    let begin = Instant::now();
    docker.cli(&["service", "scale", "--detach", "web=1"]);
    times.removal.push(until(1) - begin);
    let _ = docker.call("DELETE", "/services/web", Some(&json!({})));
    times
}
