//! What must hold however etcd's answers are lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::simulated::{Faults, Simulated};
use crate::{Codec, CodecError, CommitError, Key, Opened, Options, Prefix, Revision, Store, StoreError, Txn, WatchEnd};

struct Text;

impl Codec for Text {
    fn open(&self, _: &Key, stored: &[u8], at: Revision) -> Result<Opened, CodecError> {
        let text = std::str::from_utf8(stored).map_err(|error| CodecError::caused("not text", error))?;
        Ok(Opened { served: format!("{text}@{at}").into(), indexes: Vec::new() })
    }

    fn restamp(&self, served: &Bytes, at: Revision) -> Bytes {
        let text = std::str::from_utf8(served).unwrap();
        format!("{}@{at}", text.rsplit_once('@').unwrap().0).into()
    }

    fn close(&self, _: &Key, served: &Bytes) -> Result<Bytes, CodecError> {
        Ok(served.slice(..served.iter().rposition(|byte| *byte == b'@').unwrap()))
    }
}

async fn open(etcd: &Simulated) -> Store {
    Store::follow(Arc::new(etcd.clone()), "/naru", &Options::memory(Arc::new(Text))).await.unwrap()
}

fn key(name: &str) -> Key {
    Key::new("things", "ns", name)
}

fn number(served: &[u8]) -> u64 {
    std::str::from_utf8(served).unwrap().split('@').next().unwrap().parse().unwrap()
}

async fn put(store: &Store, name: &str, value: &str) -> Result<Revision, CommitError<()>> {
    let put = |txn: &mut Txn<'_>| {
        txn.put(key(name), value.to_owned());
        Ok(())
    };
    store.commit(put).await.map(|committed| committed.revision)
}

async fn add(store: &Store, name: &str) -> Result<u64, CommitError<()>> {
    let add = |txn: &mut Txn<'_>| {
        let next = txn.get(&key(name)).map_or(0, |entry| number(&entry.served)) + 1;
        txn.put(key(name), next.to_string());
        Ok(next)
    };
    store.commit(add).await.map(|committed| committed.value)
}

fn content(store: &Store) -> BTreeMap<String, String> {
    let snapshot = store.snapshot();
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    snapshot.range(&Prefix::all()).map(|entry| (entry.key.to_string(), text(&entry.served))).collect()
}

/// Two servers count the same things up, one also creates and deletes; every promise is looked at in the end.
async fn count(seed: u64, faults: Faults) {
    let etcd = Simulated::new(seed);
    let stores = [open(&etcd).await, open(&etcd.another()).await];
    let start = stores[0].snapshot().revision();
    etcd.fail(faults);
    let mut tasks = Vec::new();
    for task in 0..6 {
        let store = stores[task % 2].clone();
        tasks.push(tokio::spawn(async move {
            let (mut done, mut unknown, mut values) = (0, 0, Vec::new());
            for round in 0..12 {
                match add(&store, ["x", "y"][(task + round) % 2]).await {
                    Ok(value) => {
                        done += 1;
                        values.push((["x", "y"][(task + round) % 2], value));
                    }
                    Err(CommitError::Store(StoreError::Unknown { .. })) => unknown += 1,
                    Err(CommitError::Store(StoreError::Unavailable { .. })) => {}
                    Err(error) => panic!("seed {seed}: {error:?}"),
                }
            }
            (done, unknown, values)
        }));
    }
    let (mut done, mut unknown, mut values) = (0, 0, Vec::new());
    for task in tasks {
        let (more, doubtful, told) = task.await.unwrap();
        done += more;
        unknown += doubtful;
        values.extend(told);
    }
    etcd.fail(Faults::default());
    etcd.settle();
    let end = stores[0].confirm().await.unwrap();
    let sum: u64 = end.range(&Prefix::all()).map(|entry| number(&entry.served)).sum();
    assert!(sum >= done && sum <= done + unknown, "seed {seed}: {done} done, {unknown} unknown, {sum} there");
    let told = values.len();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), told, "seed {seed}: two were told that they had made the same step");
    // Both servers know the same, and tell the same story of how it came.
    stores[1].confirm().await.unwrap();
    assert_eq!(content(&stores[0]), content(&stores[1]), "seed {seed}");
    let mut stories = Vec::new();
    for store in &stores {
        let mut watch = store.watch(Prefix::all(), start).unwrap();
        let (mut story, mut told, last) = (Vec::new(), start, store.snapshot().revision());
        while told < last {
            let batch = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
            told = batch.revision;
            story.extend(batch.changes.iter().map(|change| {
                let served = |entry: &Option<Arc<crate::Entry>>| entry.as_ref().map(|entry| entry.served.clone());
                (change.revision, change.key.clone(), served(&change.before), served(&change.after))
            }));
        }
        stories.push(story);
    }
    assert_eq!(stories[0], stories[1], "seed {seed}");
}

#[tokio::test]
async fn two_servers_agree_without_faults() {
    count(1, Faults::default()).await;
}

/// `NARU_STORE_SEEDS=1000` tries more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transaction_is_lost_or_done_twice_whatever_answers_are_lost() {
    let seeds = std::env::var("NARU_STORE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        let part = |of: u64| if seed % of == 0 { 0.15 } else { 0.03 };
        let faults = Faults { lost: part(2), unanswered: part(3), late: part(4), unread: part(5), broken: part(3) };
        count(seed, faults).await;
    }
}

#[tokio::test]
async fn a_server_that_has_not_heard_yet_decides_on_the_newest_state_all_the_same() {
    let etcd = Simulated::new(1);
    let behind = etcd.another();
    let (one, two) = (open(&etcd).await, open(&behind).await);
    put(&one, "a", "1").await.unwrap();
    two.confirm().await.unwrap();
    behind.hold(true);
    let delete = |txn: &mut Txn<'_>| {
        txn.delete(key("a"));
        Ok::<_, ()>(())
    };
    one.commit(delete).await.unwrap();
    assert!(two.snapshot().get(&key("a")).is_some(), "it has not heard of it");
    // It would refuse by what it knows, and read what is gone.
    let create = tokio::spawn({
        let two = two.clone();
        async move {
            let create = |txn: &mut Txn<'_>| match txn.get(&key("a")) {
                Some(_) => Err("it exists"),
                None => {
                    txn.put(key("a"), "2");
                    Ok(())
                }
            };
            two.commit(create).await.map(drop)
        }
    });
    let read = tokio::spawn({
        let two = two.clone();
        async move { two.confirm().await.unwrap().get(&key("a")).map(|entry| entry.served.clone()) }
    });
    tokio::task::yield_now().await;
    assert!(!create.is_finished() && !read.is_finished());
    behind.hold(false);
    assert_ne!(read.await.unwrap().map(|served| number(&served)), Some(1));
    create.await.unwrap().unwrap();
}

/// Appearing is a key that was written; going is none.
#[tokio::test]
async fn a_decision_over_a_range_sees_what_has_gone() {
    let etcd = Simulated::new(1);
    let behind = etcd.another();
    let (one, two) = (open(&etcd).await, open(&behind).await);
    put(&one, "a", "1").await.unwrap();
    put(&one, "b", "1").await.unwrap();
    two.confirm().await.unwrap();
    behind.hold(true);
    let delete = |txn: &mut Txn<'_>| {
        txn.delete(key("a"));
        Ok::<_, ()>(())
    };
    one.commit(delete).await.unwrap();
    let counted = tokio::spawn({
        let two = two.clone();
        async move {
            let count = |txn: &mut Txn<'_>| {
                let members = txn.range(&Prefix::collection("things")).count();
                txn.put(Key::new("counts", "", "things"), members.to_string());
                Ok::<_, ()>(members)
            };
            two.commit(count).await.unwrap().value
        }
    });
    tokio::task::yield_now().await;
    behind.hold(false);
    assert_eq!(counted.await.unwrap(), 1);
}

#[tokio::test]
async fn watchers_list_anew_when_etcd_has_forgotten_what_they_missed() {
    let etcd = Simulated::new(1);
    let behind = etcd.another();
    let (one, two) = (open(&etcd).await, open(&behind).await);
    let start = two.snapshot().revision();
    let mut watch = two.watch(Prefix::collection("things"), start).unwrap();
    behind.hold(true);
    for value in ["1", "2", "3"] {
        put(&one, "a", value).await.unwrap();
    }
    etcd.forget(etcd.revision());
    behind.hold(false);
    let now = two.confirm().await.unwrap();
    assert_eq!(number(&now.get(&key("a")).unwrap().served), 3);
    let ended = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("it is told nothing");
    assert_eq!(ended.unwrap_err(), WatchEnd::Lagged);
    assert!(two.watch(Prefix::all(), start).is_err() && two.snapshot_at(start).is_err());
    let mut watch = two.watch(Prefix::all(), now.revision()).unwrap();
    let last = put(&two, "a", "4").await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, last, "and everything goes on");
}

#[tokio::test]
async fn a_store_whose_revisions_are_raised_by_another_server_ends() {
    let etcd = Simulated::new(1);
    let one = open(&etcd).await;
    let before = put(&one, "a", "1").await.unwrap();
    let mut watch = one.watch(Prefix::all(), before).unwrap();
    let options = Options { raise_above: Some(Revision(1 << 40)), ..Options::memory(Arc::new(Text)) };
    let two = Store::follow(Arc::new(etcd.clone()), "/naru/", &options).await.unwrap();
    assert_eq!(two.cluster(), one.cluster());
    assert!(two.snapshot().get(&key("a")).unwrap().modified.0 > 1 << 40);
    let ended = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("it is told nothing");
    assert_eq!(ended.unwrap_err(), WatchEnd::Closed);
    assert!(matches!(put(&one, "a", "2").await, Err(CommitError::Store(StoreError::Closed))));
    put(&two, "a", "3").await.unwrap();
}

#[tokio::test]
async fn others_keys_are_left_alone_and_their_revisions_are_gaps() {
    let etcd = Simulated::new(1);
    etcd.put("/other/x", "1");
    let store = open(&etcd).await;
    let first = put(&store, "a", "1").await.unwrap();
    etcd.put("/other/x", "2");
    etcd.put("/other/x", "3");
    let second = put(&store, "a", "2").await.unwrap();
    assert_eq!(second.0, first.0 + 3);
    for (at, value) in [(first.0, 1), (first.0 + 1, 1), (first.0 + 2, 1), (second.0, 2)] {
        let then = store.snapshot_at(Revision(at)).unwrap();
        assert_eq!((then.revision().0, number(&then.get(&key("a")).unwrap().served)), (at, value));
    }
}

#[tokio::test]
async fn what_is_no_store_is_not_taken_for_one() {
    let etcd = Simulated::new(1);
    etcd.put("/naru/o/pods/a/b", "half an import");
    let refused = Store::follow(Arc::new(etcd.clone()), "/naru", &Options::memory(Arc::new(Text))).await;
    let error = refused.err().expect("opened");
    assert!(error.to_string().contains("/naru/"), "{error}");
    Store::follow(Arc::new(etcd), "/elsewhere", &Options::memory(Arc::new(Text))).await.unwrap();
}

#[tokio::test]
async fn servers_take_turns_to_compact_and_keep_what_is_newer_than_a_round() {
    let etcd = Simulated::new(1);
    let (one, two) = (open(&etcd).await, open(&etcd.another()).await);
    let shared = |store: &Store| match &store.order() {
        crate::store::Order::Remote(remote) => remote.shared.clone(),
        crate::store::Order::Local(_) => panic!("not in etcd"),
    };
    let (one, two, store) = (shared(&one), shared(&two), one);
    let first = super::compaction::round(&one, None).await.unwrap();
    let second = super::compaction::round(&two, None).await.unwrap();
    let known = etcd.revision();
    put(&store, "a", "1").await.unwrap();
    super::compaction::round(&one, Some(first)).await.unwrap();
    // The other one sees that this round is done.
    let third = super::compaction::round(&two, Some(second)).await.unwrap();
    assert_eq!(etcd.compacted(), known, "what happened in this round is kept");
    super::compaction::round(&two, Some(third)).await.unwrap();
    assert!(etcd.compacted() > known);
}
