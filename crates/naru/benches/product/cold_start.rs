//! From the start of the server's process to a ready API.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::host::Bench;
use crate::http;
use crate::report::{self, Peer};
use crate::stamps::wait;

const ROUNDS: usize = 10;
const OBJECTS: usize = 1_000;

/// A server, killed with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn run() -> Option<()> {
    let mut fresh = Vec::new();
    for _ in 0..ROUNDS {
        let bench = Bench::idle()?;
        fresh.push(start(&bench).1);
    }
    let bench = Bench::idle()?;
    let first = start(&bench);
    fill(&bench);
    drop(first);
    let again: Vec<_> = (0..ROUNDS).map(|_| start(&bench).1).collect();
    let peer = Peer::Before("kube-apiserver + etcd 2.6-3.3 s");
    report::times("first start of a new cluster to a ready API", &fresh, Some((150.0, None)), peer);
    let what = format!("start after a crash with {OBJECTS} objects to a ready API");
    report::times(&what, &again, Some((150.0, None)), Peer::None);
    Some(())
}

fn start(bench: &Bench) -> (Server, Duration) {
    let log = std::fs::File::options().create(true).append(true).open(bench.host.log_path()).expect("the server's log");
    let mut command = bench.host.server_command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let socket = bench.socket();
    let begin = Instant::now();
    let server = Server(command.spawn().expect("start the server"));
    wait("the API is ready", || http::bytes(&socket, "GET", "/readyz", None).ok());
    (server, begin.elapsed())
}

fn fill(bench: &Bench) {
    let text = "x".repeat(400);
    for number in 0..OBJECTS {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"k": text}});
        bench.call("POST", "/api/v1/namespaces/default/configmaps", Some(&map));
    }
}
