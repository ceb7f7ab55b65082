//! How many durable writes a second: 64 writers, 1 kB values, each write acknowledged after its sync. Ways to keep them
//! are compared under the same grouping, one thread that takes everything queued and makes it durable at once: plain
//! appends to one file, redb as a log (keys are revisions) and redb as the table of 20,000 objects. Then the store
//! itself, end to end, and reading. Disks are moody, so the contenders take turns and the median round counts.
//!
//! `cargo bench -p naru-store --bench engine [-- <folder>]`; the folder (default `target`'s) decides the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use naru_store::{Codec, CodecError, Key, Opened, Options, Prefix, Revision, Store};
use tokio::sync::{mpsc, oneshot};

const WRITERS: usize = 64;
const VALUE: usize = 1000;
const TIME: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

type Write = (u64, Vec<u8>, oneshot::Sender<()>);

fn main() {
    let folder = std::env::args().skip(1).find(|a| !a.starts_with("--")).map_or_else(default_folder, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let dir = tempfile::TempDir::new_in(folder).expect("scratch folder");
    println!("{WRITERS} writers, {VALUE} byte values, on {}", dir.path().display());
    println!(
        "{:<28} {:>9} {:>19} {:>9} {:>9}",
        "median of five rounds", "writes/s", "(least - most)", "p50 ms", "p99 ms"
    );
    runtime.block_on(async {
        let names =
            ["plain append + fdatasync", "redb as a log", "redb as the table", "store, embedded", "store, memory"];
        let mut rounds: Vec<Vec<Figures>> = names.iter().map(|_| Vec::new()).collect();
        for round in 0..ROUNDS {
            for (contender, figures) in rounds.iter_mut().enumerate() {
                let path = dir.path().join(format!("{contender}-{round}"));
                figures.push(match contender {
                    0 => grouped(appender(&path)).await,
                    1 => grouped(redb_writer(&path, false)).await,
                    2 => grouped(redb_writer(&path, true)).await,
                    3 => store(Options::embedded(&path, Arc::new(Raw))).await,
                    _ => store(Options::memory(Arc::new(Raw))).await,
                });
                let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
            }
        }
        names.iter().zip(rounds).for_each(|(name, figures)| report(name, figures));
        reading().await;
        fan_out(&dir.path().join("fan-out")).await;
    });
}

fn default_folder() -> PathBuf {
    let exe = std::env::current_exe().expect("own path");
    exe.parent().map(Path::to_owned).unwrap_or_else(std::env::temp_dir)
}

type Figures = Vec<Duration>;

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).map_or(0.0, |d| d.as_secs_f64() * 1e3)
}

fn report(name: &str, mut rounds: Vec<Figures>) {
    rounds.sort_by_key(Vec::len);
    let rate = |round: &Figures| round.len() as f64 / TIME.as_secs_f64();
    let spread = format!("({:.0} - {:.0})", rate(&rounds[0]), rate(&rounds[ROUNDS - 1]));
    let median = &mut rounds[ROUNDS / 2];
    median.sort();
    let (p50, p99) = (percentile(median, 50), percentile(median, 99));
    println!("{name:<28} {:>9.0} {spread:>19} {p50:>9.3} {p99:>9.3}", rate(median));
}

/// Runs 64 writers, each one write after the other, through `write`.
async fn writers<F: Future<Output = ()> + Send>(write: impl Fn(u64) -> F + Clone + Send + 'static) -> Vec<Duration> {
    let end = Instant::now() + TIME;
    let tasks: Vec<_> = (0..WRITERS as u64)
        .map(|writer| {
            let write = write.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for i in 0.. {
                    let start = Instant::now();
                    if start >= end {
                        break;
                    }
                    write(writer << 32 | i).await;
                    latencies.push(start.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("writer"));
    }
    all
}

/// Gives groups of writes to `commit` in a thread of its own.
async fn grouped(mut commit: impl FnMut(&[Write]) + Send + 'static) -> Figures {
    let (sender, mut receiver) = mpsc::unbounded_channel::<Write>();
    let thread = std::thread::spawn(move || {
        let mut group = Vec::new();
        while let Some(write) = receiver.blocking_recv() {
            group.push(write);
            while let Ok(write) = receiver.try_recv() {
                group.push(write);
            }
            commit(&group);
            for (_, _, done) in group.drain(..) {
                let _ = done.send(());
            }
        }
    });
    let latencies = writers(move |id| {
        let (done, later) = oneshot::channel();
        sender.send((id, vec![b'x'; VALUE], done)).expect("writer thread");
        async move { later.await.expect("written") }
    })
    .await;
    thread.join().expect("writer thread");
    latencies
}

fn appender(path: &Path) -> impl FnMut(&[Write]) + Send + 'static {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).expect("create");
    let mut buffer = Vec::new();
    move |group| {
        buffer.clear();
        group.iter().for_each(|(_, value, _)| buffer.extend_from_slice(value));
        file.write_all(&buffer).and_then(|()| file.sync_data()).expect("append");
    }
}

fn redb_writer(path: &Path, table: bool) -> impl FnMut(&[Write]) + Send + 'static {
    const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("objects");
    let database = redb::Database::create(path).expect("create");
    let mut revision = 0;
    move |group| {
        let transaction = database.begin_write().expect("begin");
        {
            let mut objects = transaction.open_table(TABLE).expect("table");
            for (id, value, _) in group {
                revision += 1;
                objects.insert(if table { object(*id) } else { revision }, &value[..]).expect("insert");
            }
        }
        transaction.commit().expect("commit");
    }
}

/// Serves what is stored.
struct Raw;

impl Codec for Raw {
    fn close(&self, _: &Key, served: &Bytes) -> Result<Bytes, CodecError> {
        Ok(served.clone())
    }

    fn open(&self, _: &Key, stored: &[u8], _: Revision) -> Result<Opened, CodecError> {
        Ok(Opened { served: Bytes::copy_from_slice(stored), indexes: Vec::new() })
    }

    fn restamp(&self, served: &Bytes, _: Revision) -> Bytes {
        Bytes::copy_from_slice(served)
    }
}

/// Which of 20,000 objects a write creates or replaces.
fn object(id: u64) -> u64 {
    (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % 20_000
}

async fn put(store: &Store, id: u64) {
    let key = Key::new("things", "bench", &format!("{:05}", object(id)));
    let value = Bytes::from(vec![b'x'; VALUE]);
    let put = |txn: &mut naru_store::Txn<'_>| {
        txn.get(&key);
        txn.put(key.clone(), value.clone());
        Ok::<_, ()>(())
    };
    store.commit(put).await.expect("commit");
}

async fn store(options: Options) -> Figures {
    let store = Store::open(options).await.expect("open");
    let handle = store.clone();
    let latencies = writers(move |id| {
        let store = handle.clone();
        async move { put(&store, id).await }
    })
    .await;
    store.close().await;
    latencies
}

async fn reading() {
    let store = Store::open(Options::memory(Arc::new(Raw))).await.expect("open");
    for name in 0..20_000 {
        let put = |txn: &mut naru_store::Txn<'_>| {
            txn.put(Key::new("things", "bench", &format!("{name:05}")), vec![b'x'; VALUE]);
            Ok::<_, ()>(())
        };
        store.commit(put).await.expect("commit");
    }
    let things = Prefix::collection("things");
    let start = Instant::now();
    let mut bytes = 0;
    for _ in 0..100 {
        bytes += store.snapshot().range(&things).map(|e| e.served.len()).sum::<usize>();
    }
    println!("list of 20,000: {:.3} ms ({} MB seen)", start.elapsed().as_secs_f64() * 10.0, bytes / 1_000_000);
    let key = Key::new("things", "bench", "01234");
    let start = Instant::now();
    for _ in 0..1_000_000 {
        assert!(store.snapshot().get(&key).is_some());
    }
    println!("snapshot and get: {:.0} ns", start.elapsed().as_secs_f64() * 1e3);
    let old = Revision(store.snapshot().revision().0 - 10_000);
    let start = Instant::now();
    for i in 0..10 {
        store.snapshot_at(Revision(old.0 - i * 7)).expect("kept");
    }
    println!("snapshot of an old revision: {:.3} ms", start.elapsed().as_secs_f64() * 100.0);
}

/// 1,000 watchers of one collection, 100 writes/s.
async fn fan_out(dir: &Path) {
    let store = Store::open(Options::embedded(dir, Arc::new(Raw))).await.expect("open");
    let epoch = Instant::now();
    let after = store.snapshot().revision();
    let watchers: Vec<_> = (0..1000)
        .map(|_| {
            let mut watch = store.watch(Prefix::collection("things"), after).expect("watch");
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while let Ok(batch) = watch.next().await {
                    let now = epoch.elapsed().as_nanos() as u64;
                    for change in batch.changes {
                        let sent: [u8; 8] = change.object().expect("object").served[..8].try_into().expect("stamp");
                        latencies.push(Duration::from_nanos(now - u64::from_le_bytes(sent)));
                    }
                }
                latencies
            })
        })
        .collect();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for i in 0..300 {
        tick.tick().await;
        let mut value = vec![b'x'; VALUE];
        value[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_le_bytes());
        let put = |txn: &mut naru_store::Txn<'_>| {
            txn.put(Key::new("things", "bench", &format!("{}", i % 50)), value.clone());
            Ok::<_, ()>(())
        };
        store.commit(put).await.expect("commit");
    }
    store.close().await;
    let mut all = Vec::new();
    for watcher in watchers {
        all.extend(watcher.await.expect("watcher"));
    }
    all.sort();
    println!(
        "1,000 watchers, 100 writes/s: {} events, from before the commit p50 {:.3} ms, p99 {:.3} ms",
        all.len(),
        percentile(&all, 50),
        percentile(&all, 99)
    );
}
