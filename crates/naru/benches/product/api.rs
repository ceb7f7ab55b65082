//! The API over HTTPS: durable creates, reads, lists of 20,000 objects, and a thousand watchers.
//!
//! The load comes from this process, on the same processors as the server, as the peer's figures were measured. The
//! peer's are quoted: kube-apiserver is in no distribution's packages.

mod connection;
mod watchers;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;

use crate::host::Bench;
use crate::report;
use connection::{Endpoint, answer, request};

const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(5);
const OBJECTS: usize = 20_000;
const LISTED: &str = "/api/v1/namespaces/default/configmaps";
const CREATED: &str = "/api/v1/namespaces/kube-system/configmaps";

pub fn run() -> Option<()> {
    let bench = Bench::idle()?;
    bench.host.start_server();
    let endpoint = Endpoint::of(&bench);
    let server = Server(bench.host.server_pid()?);
    // A thread's namespace is inherited by the executor's threads that it starts.
    bench.host.inside(|| {
        let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        executor.expect("an executor").block_on(measure(&bench, Arc::new(endpoint), &server));
    });
    Some(())
}

async fn measure(bench: &Bench, endpoint: Arc<Endpoint>, server: &Server) {
    fill(&endpoint).await;
    let read = crowd(&endpoint, server, || request(Method::GET, &format!("{LISTED}/m0"), Bytes::new())).await;
    read.print(
        "GETs/s of one object, 64 connections",
        45_900.0,
        "kube-apiserver 4,590/s (7,920/s with resourceVersion=0)",
    );
    let next = AtomicUsize::new(0);
    let create = move || request(Method::POST, CREATED, map(next.fetch_add(1, Relaxed)));
    let created = crowd(&endpoint, server, create).await;
    created.print("durable creates/s, 64 connections", 20_000.0, "kube-apiserver + etcd 2,000/s (p99 84 ms)");
    paced(bench, &endpoint).await;
    list(&endpoint, server).await;
    watchers::run(&endpoint).await;
}

fn map(number: usize) -> Bytes {
    let text = "x".repeat(400);
    let meta = format!(r#""kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"m{number}"}}"#);
    format!(r#"{{{meta},"data":{{"k":"{text}"}}}}"#).into()
}

/// The server's process.
struct Server(u32);

impl Server {
    /// Seconds of processor time that it took.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0 // user and system time, in hundredths of a second on every Linux
    }
}

/// What a crowd of connections achieved.
struct Rate {
    times: Vec<Duration>,
    seconds: f64,
    cpu: f64,
}

impl Rate {
    fn print(&self, what: &str, budget: f64, peer: &str) {
        report::rate(what, self.times.len() as f64 / self.seconds, "/s", Some(budget));
        report::note(&format!(
            "median {:.2} ms, p99 {:.2} ms; {:.0} µs of the server's processors each",
            report::at(&self.times, 50),
            report::at(&self.times, 99),
            self.cpu * 1e6 / self.times.len() as f64
        ));
        report::note(&format!("peer, measured before: {peer}"));
    }
}

/// Sends requests from all connections for a while.
async fn crowd(
    endpoint: &Arc<Endpoint>,
    server: &Server,
    next: impl Fn() -> http::Request<connection::Body> + Send + Sync + 'static,
) -> Rate {
    let next = Arc::new(next);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(endpoint.connect().await);
    }
    let (begin, before) = (Instant::now(), server.cpu());
    let ask = |mut connection: connection::Connection| {
        let next = next.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            while begin.elapsed() < TIME {
                let sent = Instant::now();
                let (code, _) = answer(&mut connection, next()).await;
                assert!(code == 200 || code == 201, "the server answers {code}");
                times.push(sent.elapsed());
            }
            times
        })
    };
    let tasks: Vec<_> = connections.into_iter().map(ask).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a connection's requests"));
    }
    Rate { times, seconds: begin.elapsed().as_secs_f64(), cpu: server.cpu() - before }
}

/// Makes what is read and listed.
async fn fill(endpoint: &Arc<Endpoint>) {
    let made = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let (mut connection, made) = (endpoint.connect().await, made.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = made.fetch_add(1, Relaxed);
                if number >= OBJECTS {
                    return;
                }
                let (code, _) = answer(&mut connection, request(Method::POST, LISTED, map(number))).await;
                assert_eq!(code, 201, "a ConfigMap is made");
            }
        }));
    }
    for task in tasks {
        task.await.expect("objects");
    }
}

/// Latency of creates at 1,000 a second beside that of the disk.
async fn paced(bench: &Bench, endpoint: &Arc<Endpoint>) {
    let disk = syncs(bench);
    let limit = 2.0 * report::at(&disk, 99) + 0.5;
    let mut senders = Vec::new();
    for sender in 0..10 {
        let mut connection = endpoint.connect().await;
        senders.push(tokio::spawn(async move {
            let mut times = Vec::new();
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            for number in 0..300 {
                tick.tick().await;
                let sent = Instant::now();
                let request = request(Method::POST, CREATED, map(10_000_000 + sender * 1_000 + number));
                assert_eq!(answer(&mut connection, request).await.0, 201);
                times.push(sent.elapsed());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for sender in senders {
        times.extend(sender.await.expect("creates"));
    }
    report::value("p99 of a create at 1,000/s", report::at(&times, 99), "ms", Some((limit * 10.0).round() / 10.0));
    let note = format!("median {:.2} ms; fdatasync median {:.2} ms", report::at(&times, 50), report::at(&disk, 50));
    report::note(&format!("{note}, p99 {:.2} ms: the budget is twice that and 0.5 ms", report::at(&disk, 99)));
}

/// How long the disk takes to make a kilobyte durable.
fn syncs(bench: &Bench) -> Vec<Duration> {
    let mut file = std::fs::File::create(bench.host.folder().join("sync")).expect("a file");
    let sync = |_| {
        let begin = Instant::now();
        file.write_all(&[7; 1024]).and_then(|()| file.sync_data()).expect("a durable write");
        begin.elapsed()
    };
    (0..500).map(sync).collect()
}

async fn list(endpoint: &Arc<Endpoint>, server: &Server) {
    let mut connection = endpoint.connect().await;
    let (begin, before, mut count, mut bytes) = (Instant::now(), server.cpu(), 0, 0);
    while begin.elapsed() < TIME {
        let (code, length) = answer(&mut connection, request(Method::GET, LISTED, Bytes::new())).await;
        assert_eq!(code, 200, "a list");
        (count, bytes) = (count + 1, bytes + length);
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), server.cpu() - before);
    report::rate("LISTs/s of 20,000 ConfigMaps", f64::from(count) / seconds, "/s", Some(54.6));
    let (rate, each) = (bytes as f64 / seconds / 1e6, bytes as f64 / f64::from(count) / 1e6);
    report::note(&format!(
        "{rate:.0} MB/s, {each:.1} MB each; {:.1} per second of the server's processors",
        f64::from(count) / cpu
    ));
    report::note("peer, measured before: kube-apiserver 9.1/s, 114 MB/s");
}
