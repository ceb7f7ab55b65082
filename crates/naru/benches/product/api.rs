//! The API over HTTPS: durable creates, reads, lists of 20,000 objects, and a thousand watchers.
//!
//! The load comes from this process, on the same processors as the server, as the peer's figures were measured. The
//! peer is a kube-apiserver over etcd where `KUBE_APISERVER` names its program, under the same load in the same run;
//! its figures are quoted otherwise: it is in no distribution's packages.

pub mod connection;
pub mod server;
mod watchers;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;

use crate::host::Bench;
use crate::kubernetes::Kubernetes;
use crate::report;
use connection::{Credentials, Endpoint, answer, request};
use server::Server;

const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(5);
const OBJECTS: usize = 20_000;
const LISTED: &str = "/api/v1/namespaces/default/configmaps";
const CREATED: &str = "/api/v1/namespaces/kube-system/configmaps";

pub fn run() -> Option<()> {
    let bench = Bench::idle()?;
    bench.host.start_server();
    let credentials = Credentials::of(&bench);
    let server = Server(vec![bench.host.server_pid()?]);
    let disk = syncs(&bench);
    // A thread's namespace is inherited by the executor's threads that it starts.
    let ours = bench.host.inside(|| measure(Endpoint::of(&credentials), &server));
    drop(bench);
    let peer = Kubernetes::start(&credentials).map(|peer| measure(peer.endpoint(), &peer.server()));
    print(&ours, peer.as_ref(), &disk);
    Some(())
}

/// What one server achieved.
struct Figures {
    read: Rate,
    created: Rate,
    paced: Vec<Duration>,
    list: Lists,
    delivered: Vec<Duration>,
}

fn measure(endpoint: Endpoint, server: &Server) -> Figures {
    let endpoint = Arc::new(endpoint);
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    executor.expect("an executor").block_on(async {
        fill(&endpoint).await;
        let read = crowd(&endpoint, server, || request(Method::GET, &format!("{LISTED}/m0"), Bytes::new())).await;
        let next = AtomicUsize::new(0);
        let create = move || request(Method::POST, CREATED, map(next.fetch_add(1, Relaxed)));
        let created = crowd(&endpoint, server, create).await;
        let paced = paced(&endpoint).await;
        let list = list(&endpoint, server).await;
        Figures { read, created, paced, list, delivered: watchers::run(&endpoint).await }
    })
}

fn print(ours: &Figures, peer: Option<&Figures>, disk: &[Duration]) {
    ours.read.print("GETs/s of one object, 64 connections", 45_900.0);
    Rate::print_peer(&ours.read, peer.map(|peer| &peer.read), "4,590/s (7,920/s with resourceVersion=0)");
    ours.created.print("durable creates/s, 64 connections", 20_000.0);
    Rate::print_peer(&ours.created, peer.map(|peer| &peer.created), "2,000/s (p99 84 ms)");
    let limit = 2.0 * report::at(disk, 99) + 0.5;
    report::value("p99 of a create at 1,000/s", report::at(&ours.paced, 99), "ms", Some((limit * 10.0).round() / 10.0));
    let note = format!("median {:.2} ms; fdatasync median {:.2} ms", report::at(&ours.paced, 50), report::at(disk, 50));
    report::note(&format!("{note}, p99 {:.2} ms: the budget is twice that and 0.5 ms", report::at(disk, 99)));
    print_times(peer.map(|peer| &peer.paced), &ours.paced);
    ours.list.print();
    match peer.map(|peer| &peer.list) {
        Some(list) => report::note(&format!(
            "kube-apiserver and etcd, in this run: {:.1}/s, {:.1} per second of their processors; ratio {:.1} and {:.1}",
            list.rate(),
            list.per_cpu(),
            ours.list.rate() / list.rate(),
            ours.list.per_cpu() / list.per_cpu()
        )),
        None => report::note("peer, measured before: kube-apiserver 9.1/s, 114 MB/s"),
    }
    watchers::print(&ours.delivered);
    print_times(peer.map(|peer| &peer.delivered), &ours.delivered);
}

fn print_times(peer: Option<&Vec<Duration>>, ours: &[Duration]) {
    let Some(theirs) = peer else { return };
    let (middle, late) = (report::at(theirs, 50), report::at(theirs, 99));
    let ratio = late / report::at(ours, 99);
    report::note(&format!(
        "kube-apiserver and etcd, in this run: median {middle:.2} ms, p99 {late:.2} ms; ratio {ratio:.1}"
    ));
}

fn map(number: usize) -> Bytes {
    let text = "x".repeat(400);
    let meta = format!(r#""kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"m{number}"}}"#);
    format!(r#"{{{meta},"data":{{"k":"{text}"}}}}"#).into()
}

/// What a crowd of connections achieved.
struct Rate {
    times: Vec<Duration>,
    seconds: f64,
    cpu: f64,
}

impl Rate {
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.seconds
    }

    fn print(&self, what: &str, budget: f64) {
        report::rate(what, self.rate(), "/s", Some(budget));
        report::note(&self.detail());
    }

    fn detail(&self) -> String {
        let each = self.cpu * 1e6 / self.times.len() as f64;
        let (middle, late) = (report::at(&self.times, 50), report::at(&self.times, 99));
        format!("median {middle:.2} ms, p99 {late:.2} ms; {each:.0} µs of the server's processors each")
    }

    fn print_peer(ours: &Rate, peer: Option<&Rate>, before: &str) {
        match peer {
            Some(peer) => report::note(&format!(
                "kube-apiserver and etcd, in this run: {:.0}/s, {}; ratio {:.1}",
                peer.rate(),
                peer.detail(),
                ours.rate() / peer.rate()
            )),
            None => report::note(&format!("peer, measured before: kube-apiserver and etcd {before}")),
        }
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

/// Latency of creates at 1,000 a second.
async fn paced(endpoint: &Arc<Endpoint>) -> Vec<Duration> {
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
    times
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

/// Whole lists, one after another.
struct Lists {
    count: f64,
    bytes: f64,
    seconds: f64,
    cpu: f64,
}

impl Lists {
    fn rate(&self) -> f64 {
        self.count / self.seconds
    }

    fn per_cpu(&self) -> f64 {
        self.count / self.cpu
    }

    fn print(&self) {
        report::rate("LISTs/s of 20,000 ConfigMaps", self.rate(), "/s", Some(54.6));
        let (rate, each) = (self.bytes / self.seconds / 1e6, self.bytes / self.count / 1e6);
        let cpu = self.per_cpu();
        report::note(&format!("{rate:.0} MB/s, {each:.1} MB each; {cpu:.1} per second of the server's processors"));
    }
}

async fn list(endpoint: &Arc<Endpoint>, server: &Server) -> Lists {
    let mut connection = endpoint.connect().await;
    let (begin, before, mut count, mut bytes) = (Instant::now(), server.cpu(), 0_u32, 0_usize);
    while begin.elapsed() < TIME {
        let (code, length) = answer(&mut connection, request(Method::GET, LISTED, Bytes::new())).await;
        assert_eq!(code, 200, "a list");
        (count, bytes) = (count + 1, bytes + length);
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), server.cpu() - before);
    Lists { count: f64::from(count), bytes: bytes as f64, seconds, cpu }
}
