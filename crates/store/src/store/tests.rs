//! What only shows with an engine whose answers a test decides.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Condvar;

use super::*;
use crate::engine::{Engine, FIRST, Record};
use crate::{CodecError, IndexName, Prefix, WatchEnd};

impl Inner {
    fn sequencer(&self) -> &Sequencer {
        match &self.order {
            Order::Local(local) => &local.sequencer,
            Order::Remote(_) => panic!("a store of these tests is local"),
        }
    }
}

/// An engine that waits at each append until the test says how it ends.
#[derive(Clone, Default)]
struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    answers: Mutex<Vec<bool>>,
    changed: Condvar,
    groups: Mutex<Vec<usize>>,
    waiting: AtomicBool,
}

impl Gate {
    fn answer(&self, ok: bool) {
        self.0.answers.lock().push(ok);
        self.0.changed.notify_all();
    }

    async fn until_appending(&self) {
        until(|| self.0.waiting.load(Ordering::SeqCst)).await;
    }
}

impl Engine for Gate {
    fn append(&mut self, group: &[Record]) -> Result<(), StoreError> {
        let mut answers = self.0.answers.lock();
        self.0.waiting.store(true, Ordering::SeqCst);
        while answers.is_empty() {
            self.0.changed.wait(&mut answers);
        }
        self.0.waiting.store(false, Ordering::SeqCst);
        self.0.groups.lock().push(group.len());
        match answers.remove(0) {
            true => Ok(()),
            false => {
                let source = Arc::new(std::io::ErrorKind::StorageFull.into());
                Err(StoreError::Full { folder: "/full".into(), source })
            }
        }
    }
}

struct Plain;

impl Codec for Plain {
    fn open(&self, _: &Key, stored: &[u8], at: Revision) -> Result<Opened, CodecError> {
        let served = [stored, format!("@{at}").as_bytes()].concat().into();
        Ok(Opened { served, indexes: vec![(IndexName("all"), "x".into())] })
    }

    fn restamp(&self, served: &Bytes, at: Revision) -> Bytes {
        let text = std::str::from_utf8(served).unwrap();
        format!("{}@{at}", text.split('@').next().unwrap()).into()
    }

    fn close(&self, _: &Key, served: &Bytes) -> Result<Bytes, CodecError> {
        Ok(served.slice(..served.iter().position(|b| *b == b'@').unwrap_or(served.len())))
    }
}

fn gated() -> (Store, Gate) {
    let gate = Gate::default();
    let loaded = Loaded { sequence: FIRST, offset: 0, cluster: ClusterId([0; 16]), objects: Vec::new(), torn: None };
    let options = Options::memory(Arc::new(Plain));
    (Store::start(Ok((Box::new(gate.clone()), loaded)), &options).unwrap(), gate)
}

async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("it does not come true");
}

fn key(name: &str) -> Key {
    Key::new("things", "", name)
}

type Put = Result<Committed<()>, CommitError<&'static str>>;

/// Creates an object, in a task; refuses when it is there.
fn create(store: &Store, name: &'static str) -> tokio::task::JoinHandle<Put> {
    let store = store.clone();
    tokio::spawn(async move {
        store
            .commit(|txn| match txn.get(&key(name)) {
                Some(_) => Err("exists"),
                None => {
                    txn.put(key(name), "v");
                    Ok(())
                }
            })
            .await
    })
}

fn queued(store: &Store) -> usize {
    store.0.sequencer().queued()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_seen_or_answered_before_it_is_durable_and_neighbours_share_a_sync() {
    let (store, gate) = gated();
    let start = store.snapshot().revision();
    let mut watch = store.watch(Prefix::all(), start).unwrap();
    let first = create(&store, "a");
    gate.until_appending().await;
    let others = ["b", "c", "d"].map(|name| create(&store, name));
    let again = create(&store, "a");
    until(|| queued(&store) == 4).await;
    assert_eq!(store.snapshot().revision(), start, "not seen");
    assert!(!first.is_finished() && !again.is_finished(), "not answered, neither the refusal");
    gate.answer(true);
    assert_eq!(first.await.unwrap().unwrap().revision, start.next());
    gate.until_appending().await;
    gate.answer(true);
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert!(matches!(again.await.unwrap(), Err(CommitError::Rejected("exists"))));
    assert_eq!(*gate.0.groups.lock(), [1, 3]);
    let mut seen = 0;
    while seen < 4 {
        seen += watch.next().await.unwrap().changes.len();
    }
    let snapshot = store.snapshot();
    for entry in snapshot.range(&Prefix::all()) {
        assert!(entry.served.ends_with(format!("@{}", entry.modified).as_bytes()), "{entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_group_takes_back_all_that_was_built_on_it() {
    let (store, gate) = gated();
    let start = store.snapshot().revision();
    let mut watch = store.watch(Prefix::all(), start).unwrap();
    let lost = create(&store, "a");
    gate.until_appending().await;
    let behind = create(&store, "b");
    until(|| queued(&store) == 1).await;
    // It refuses because of "a", which does not happen in the end: it must be asked again, and then create it.
    let refused = create(&store, "a");
    until(|| queued(&store) == 2).await;
    gate.answer(false);
    for failed in [lost, behind] {
        let failed = failed.await.unwrap();
        assert!(matches!(failed, Err(CommitError::Store(StoreError::Full { .. }))), "{failed:?}");
    }
    gate.until_appending().await;
    assert_eq!(store.snapshot().revision(), start, "reads go on");
    gate.answer(true);
    assert_eq!(refused.await.unwrap().unwrap().revision, start.next(), "no revision is skipped");
    let batch = watch.next().await.unwrap();
    assert_eq!((batch.revision, batch.changes.len()), (start.next(), 1));
    gate.answer(true);
    assert_eq!(create(&store, "b").await.unwrap().unwrap().revision, start.next().next());
}

/// A closure that is running when what it saw is lost must run again: when it refuses, and when it writes, even if
/// another transaction has taken the lost one's revision by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_closure_that_saw_what_was_lost_runs_again() {
    for refuses in [true, false] {
        let (store, gate) = gated();
        let lost = create(&store, "a");
        gate.until_appending().await;
        let (runs, inner, seen) = (Arc::new(Mutex::new(0)), store.clone(), store.0.sequencer().view().root.revision);
        let task = tokio::spawn({
            let (store, gate, runs) = (store.clone(), gate.clone(), runs.clone());
            async move {
                let closure = |txn: &mut Txn<'_>| {
                    *runs.lock() += 1;
                    let found = txn.get(&key("a")).is_some();
                    if *runs.lock() == 1 {
                        assert!(found);
                        gate.answer(false);
                        // The runtime must go on with the others meanwhile.
                        tokio::task::block_in_place(|| {
                            while inner.0.sequencer().epoch() == 0 {
                                std::thread::yield_now();
                            }
                            create(&inner, if refuses { "other" } else { "a" });
                            while inner.0.sequencer().view().root.revision < seen {
                                std::thread::yield_now();
                            }
                            // Else it could share a group with what this closure writes when it runs again.
                            while inner.0.sequencer().queued() > 0 {
                                std::thread::yield_now();
                            }
                        });
                    }
                    if refuses && found {
                        return Err("exists");
                    }
                    txn.put(key("b"), "v");
                    Ok(())
                };
                store.commit(closure).await
            }
        });
        lost.await.unwrap().unwrap_err();
        for _ in 0..2 {
            gate.until_appending().await;
            gate.answer(true);
            until(|| gate.0.answers.lock().is_empty()).await;
        }
        task.await.unwrap().unwrap();
        assert_eq!(*runs.lock(), 2, "refuses: {refuses}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_finishes_what_has_its_place() {
    let (store, gate) = gated();
    let placed = create(&store, "a");
    gate.until_appending().await;
    let mut watch = store.watch(Prefix::all(), store.snapshot().revision()).unwrap();
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    until(|| store.0.sequencer().is_closed()).await;
    assert!(matches!(create(&store, "b").await.unwrap(), Err(CommitError::Store(StoreError::Closed))));
    gate.answer(true);
    closing.await.unwrap();
    placed.await.unwrap().unwrap();
    assert_eq!(watch.next().await.unwrap().changes.len(), 1);
    assert_eq!(watch.next().await.unwrap_err(), WatchEnd::Closed);
}

/// Everyone changes the same object all the time, and each closure is slow: all must get through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_closure_is_not_starved_by_quick_ones() {
    let store = Store::open(Options::memory(Arc::new(Plain))).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let quick = tokio::spawn({
        let (store, done) = (store.clone(), done.clone());
        async move {
            while !done.load(Ordering::SeqCst) {
                let put = |txn: &mut Txn<'_>| {
                    txn.put(key("a"), "quick");
                    Ok::<_, ()>(())
                };
                store.commit(put).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    let mut runs = 0;
    let slow = store.commit(|txn| {
        let seen = txn.get(&key("a")).map(|e| e.modified);
        // As long as the closure may run beside others, it ends only when it has been overtaken.
        runs += 1;
        let overtaken = || store.snapshot().get(&key("a")).map(|e| e.modified) != seen;
        while runs <= OPTIMISTIC_RUNS && !overtaken() {
            std::thread::yield_now();
        }
        for _ in 0..if runs > OPTIMISTIC_RUNS { 2000 } else { 0 } {
            std::thread::yield_now();
            assert!(!overtaken(), "the others wait now");
        }
        txn.put(key("b"), "slow");
        Ok::<_, ()>(())
    });
    slow.await.unwrap();
    done.store(true, Ordering::SeqCst);
    quick.await.unwrap();
    assert_eq!(runs, OPTIMISTIC_RUNS + 1);
}

/// The result of a future over the memory engine, which never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the memory engine never waits"),
    }
}

fn put_now(store: &Store, name: &str) -> Revision {
    let put = store.commit(|txn| {
        txn.put(key(name), "v");
        Ok::<_, ()>(())
    });
    now(put).unwrap().revision
}

/// A value is opened before its revision is known; whoever comes between changes it.
#[test]
fn a_value_that_was_overtaken_is_served_with_its_final_revision() {
    let store = now(Store::open(Options::memory(Arc::new(Plain)))).unwrap();
    let committed = now(store.commit(|txn| {
        txn.put(key("a"), "v");
        put_now(&store, "b");
        Ok::<_, ()>(())
    }));
    let revision = committed.unwrap().revision;
    let snapshot = store.snapshot();
    assert!(snapshot.get(&key("b")).unwrap().modified < revision);
    assert_eq!(snapshot.get(&key("a")).unwrap().served, format!("v@{revision}"));
}

/// What a closure read may not have changed when it takes its place; what it did not read may.
#[test]
fn a_closure_runs_again_when_what_it_read_has_changed() {
    let store = now(Store::open(Options::memory(Arc::new(Plain)))).unwrap();
    let runs = |read: &(dyn Fn(&mut Txn<'_>) + Sync), between: Key| {
        let mut runs = 0;
        let committed = store.commit(|txn| {
            runs += 1;
            read(txn);
            if runs == 1 {
                now(store.commit(|txn| {
                    txn.put(between.clone(), "v");
                    Ok::<_, ()>(())
                }))
                .unwrap();
            }
            txn.put(Key::new("results", "", "r"), "v");
            Ok::<_, ()>(())
        });
        now(committed).unwrap();
        runs
    };
    let (mine, theirs, other) = (Key::new("p", "x", "mine"), Key::new("p", "y", "theirs"), Key::new("q", "x", "other"));
    let get = |txn: &mut Txn<'_>| drop(txn.get(&Key::new("p", "x", "mine")));
    let list = |prefix: Prefix| {
        move |txn: &mut Txn<'_>| {
            txn.range(&prefix).count();
        }
    };
    assert_eq!(runs(&get, mine.clone()), 2, "it was absent");
    assert_eq!(runs(&get, mine.clone()), 2, "it was older");
    assert_eq!(runs(&get, theirs.clone()), 1);
    assert_eq!(runs(&list(Prefix::namespace("p", "x")), mine.clone()), 2);
    assert_eq!(runs(&list(Prefix::collection("p")), theirs), 2);
    assert_eq!(runs(&list(Prefix::collection("p")), other.clone()), 1);
    assert_eq!(runs(&list(Prefix::all()), other), 2);
    assert_eq!(runs(&|_| {}, mine), 1);
}
