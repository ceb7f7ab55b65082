//! Creates through the store in etcd, beside puts that are sent to etcd as they are: 64 writers, 1 kB values, each with a
//! key of its own. The contenders take turns, and the median round counts.
//!
//! `cargo bench -p naru-store --bench etcd`; needs etcd on the path, or where `make setup-test` unpacks it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use naru_etcd::{Client, Compare, RangeRequest, RequestOp, TxnRequest};
use naru_store::{Codec, CodecError, EtcdConfig, Key, Opened, Options, Revision, Store};

const WRITERS: u64 = 64;
const VALUE: usize = 1000;
const TIME: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

/// Serves what is stored.
struct Raw;

impl Codec for Raw {
    fn open(&self, _: &Key, stored: &[u8], _: Revision) -> Result<Opened, CodecError> {
        Ok(Opened { served: Bytes::copy_from_slice(stored), indexes: Vec::new() })
    }

    fn restamp(&self, served: &Bytes, _: Revision) -> Bytes {
        Bytes::copy_from_slice(served)
    }

    fn close(&self, _: &Key, served: &Bytes) -> Result<Bytes, CodecError> {
        Ok(served.clone())
    }
}

/// Ended when dropped.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("NARU_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/naru")));
    let unpacked = cache.map(|cache| cache.join("etcd/usr/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(unpacked).map(|folder| folder.join("etcd")).find(|path| path.exists())
}

fn main() {
    let Some(program) = program() else {
        println!("SKIPPED: etcd is missing: `make setup-test` unpacks it");
        return;
    };
    let dir = tempfile::TempDir::new().expect("scratch folder");
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("its address"))
    };
    let (client, peer) = (free(), free());
    let flags = [
        ("--data-dir", dir.path().display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client.clone()),
        ("--listen-peer-urls", peer.clone()),
        ("--initial-advertise-peer-urls", peer.clone()),
        ("--initial-cluster", format!("default={peer}")),
        ("--log-level", "error".to_owned()),
    ];
    let mut command = Command::new(program);
    for (flag, value) in &flags {
        command.args([*flag, value.as_str()]);
    }
    let _etcd = Etcd(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("etcd"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(run(naru_etcd::Config { endpoints: vec![client], ..naru_etcd::Config::default() }));
}

async fn run(connection: naru_etcd::Config) {
    let client = Client::new(&connection).expect("a client");
    let ask = RangeRequest { key: "x".into(), ..RangeRequest::default() };
    while client.range(&ask).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let config = EtcdConfig { connection, prefix: "/naru".into() };
    let store = Store::open(Options::etcd(config, Arc::new(Raw))).await.expect("open");
    let names = ["etcd, a put", "etcd, a put if absent", "store in etcd, a create"];
    let mut rounds = [const { Vec::new() }; 3];
    let ids = Arc::new(AtomicU64::new(0));
    for _ in 0..ROUNDS {
        for (contender, figures) in rounds.iter_mut().enumerate() {
            figures.push(round(contender, &client, &store, &ids).await);
        }
    }
    println!("{WRITERS} writers, {VALUE} byte values");
    println!(
        "{:<26} {:>9} {:>19} {:>9} {:>9}",
        "median of five rounds", "writes/s", "(least - most)", "p50 ms", "p99 ms"
    );
    for (name, mut rounds) in names.into_iter().zip(rounds) {
        rounds.sort_by_key(Vec::len);
        let rate = |round: &Vec<Duration>| round.len() as f64 / TIME.as_secs_f64();
        let spread = format!("({:.0} - {:.0})", rate(&rounds[0]), rate(&rounds[ROUNDS - 1]));
        let median = &mut rounds[ROUNDS / 2];
        median.sort();
        let at = |percent: usize| median.get(median.len() * percent / 100).map_or(0.0, |d| d.as_secs_f64() * 1e3);
        println!("{name:<26} {:>9.0} {spread:>19} {:>9.3} {:>9.3}", rate(median), at(50), at(99));
    }
    store.close().await;
}

async fn round(contender: usize, client: &Client, store: &Store, ids: &Arc<AtomicU64>) -> Vec<Duration> {
    let end = Instant::now() + TIME;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (client, store, ids) = (client.clone(), store.clone(), ids.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let start = Instant::now();
                    if start >= end {
                        return latencies;
                    }
                    let name = format!("{:010}", ids.fetch_add(1, Ordering::Relaxed));
                    write(contender, &client, &store, &name).await;
                    latencies.push(start.elapsed());
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await.expect("a writer"));
    }
    all
}

async fn write(contender: usize, client: &Client, store: &Store, name: &str) {
    let value = Bytes::from(vec![b'x'; VALUE]);
    if contender == 2 {
        let key = Key::new("things", "bench", name);
        let create = |txn: &mut naru_store::Txn<'_>| {
            assert!(txn.get(&key).is_none());
            txn.put(key.clone(), value.clone());
            Ok::<_, ()>(())
        };
        store.commit(create).await.expect("commit");
        return;
    }
    let key = format!("/raw/{name}");
    let compare = if contender == 1 { vec![Compare::written_at(key.clone(), 0)] } else { Vec::new() };
    let request = TxnRequest { compare, success: vec![RequestOp::put(key, value)], failure: Vec::new() };
    assert!(client.txn(request).await.expect("a put").succeeded);
}
