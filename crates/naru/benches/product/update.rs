//! A rolling update of 20 replicas while clients ask without pause, through the published port and the virtual IP.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use naru_testkit::NODE;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::host::{Bench, IMAGE};
use crate::memory::processes;
use crate::report;

const REPLICAS: usize = 20;
/// Clients a way, and how long each rests between two requests.
const CLIENTS: usize = 4;
const REST: Duration = Duration::from_millis(10);
/// How long the load goes on before and after the update.
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Tally {
    times: Vec<Duration>,
    new_version: usize,
    /// When after the update's begin, and what.
    failures: Vec<(Duration, String)>,
}

pub fn run() -> Option<()> {
    let bench = Bench::start()?;
    let name = format!("--name=client-{}", std::process::id());
    let project = bench.host.project("rolled", &compose(1, &name));
    project.naru(&["up", "-d", "--wait"]).ok();
    let service = bench.call("GET", "/api/v1/namespaces/rolled/services/web", None);
    let address: IpAddr =
        service["spec"]["clusterIP"].as_str().and_then(|text| text.parse().ok()).expect("a virtual IP");
    let client = processes(|line| line.starts_with("/bench-worker") && line.contains(&name));
    let client = client.first().map(|(_, pid)| *pid).expect("the client's process");

    let (begin, stop) = (Instant::now(), AtomicBool::new(false));
    let (port, virtual_ip) = (Mutex::new(Tally::default()), Mutex::new(Tally::default()));
    let took = thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| bench.host.outside(|| load(SocketAddr::new(NODE.into(), 8080), begin, &stop, &port)));
            scope.spawn(|| {
                enter(client);
                load(SocketAddr::new(address, 8080), begin, &stop, &virtual_ip);
            });
        }
        // A panic here must not leave the clients running: the scope waits for them.
        let stopping = Stop(&stop);
        thread::sleep(MARGIN);
        project.write("compose.yaml", &compose(2, &name));
        let started = Instant::now();
        project.naru(&["up", "-d", "--wait"]).ok();
        project.until("web", "only new ones are left", |rows| rows.len() == REPLICAS);
        let took = started.elapsed();
        thread::sleep(MARGIN);
        drop(stopping);
        took
    });
    report::value(&format!("rolling update of {REPLICAS} replicas, 4 at a time, took"), took.as_secs_f64(), "s", None);
    print("published port, from another machine", &port);
    print("virtual IP, from a pod", &virtual_ip);
    Some(())
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn compose(version: u32, client: &str) -> String {
    format!(
        r#"
services:
  web:
    image: "{IMAGE}"
    command: ["--serve"]
    environment: {{VERSION: "{version}"}}
    ports: ["8080:8080"]
    healthcheck: {{test: [CMD, /bench-worker, --check], interval: 1s, start_period: 10s, start_interval: 200ms}}
    deploy: {{replicas: {REPLICAS}, update_config: {{parallelism: 4, order: start-first}}}}
  client: {{image: "{IMAGE}", command: ["{client}"]}}
"#
    )
}

/// Moves this thread into the network of a process.
fn enter(pid: i32) {
    let file = File::open(format!("/proc/{pid}/ns/net")).expect("the client's network");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter the client's network");
}

fn load(to: SocketAddr, begin: Instant, stop: &AtomicBool, tally: &Mutex<Tally>) {
    let mut own = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        match ask(to) {
            Ok(body) => {
                own.new_version += usize::from(body == "2");
                own.times.push(sent.elapsed());
            }
            Err(error) => own.failures.push((begin.elapsed().saturating_sub(MARGIN), error.to_string())),
        }
        thread::sleep(REST);
    }
    let mut all = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    all.times.extend(own.times);
    all.failures.extend(own.failures);
    all.new_version += own.new_version;
}

fn ask(to: SocketAddr) -> std::io::Result<String> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    match head.starts_with("HTTP/1.1 200") {
        true => Ok(body.to_owned()),
        false => Err(std::io::Error::other(head.to_owned())),
    }
}

fn print(what: &str, tally: &Mutex<Tally>) {
    let tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (good, failed) = (tally.times.len(), tally.failures.len());
    report::value(&format!("{what}: failed of {} requests", good + failed), failed as f64, "requests", Some(0.0));
    let at = |percent| report::at(&tally.times, percent);
    let slowest = tally.times.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3;
    report::note(&format!(
        "answers: median {:.1} ms, p95 {:.1} ms, slowest {slowest:.0} ms; {} by the new version",
        at(50),
        at(95),
        tally.new_version
    ));
    for (when, why) in tally.failures.iter().take(5) {
        report::note(&format!("failed {:.2} s after the update began: {why}", when.as_secs_f64()));
    }
}
