//! What every engine must do, over the public interface only. `conformance!(open, reopen)` makes one test of each.
//!
//! Values are text; the codec appends `@<revision>` and indexes values that start with `<word>:` under that word.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use naru_store::*;

pub const FIRST_WORD: IndexName = IndexName("first-word");

pub struct TextCodec;

impl Codec for TextCodec {
    fn open(&self, _key: &Key, stored: &[u8], at: Revision) -> Result<Opened, CodecError> {
        let text = std::str::from_utf8(stored).map_err(|e| CodecError::caused("not text", e))?;
        let indexes = text.split_once(':').map(|(word, _)| (FIRST_WORD, word.into())).into_iter().collect();
        Ok(Opened { served: format!("{text}@{at}").into(), indexes })
    }

    fn restamp(&self, served: &Bytes, at: Revision) -> Bytes {
        let text = std::str::from_utf8(served).unwrap();
        format!("{}@{at}", text.rsplit_once('@').unwrap().0).into()
    }

    fn close(&self, _key: &Key, served: &Bytes) -> Result<Bytes, CodecError> {
        let end = served.iter().rposition(|b| *b == b'@').ok_or_else(|| CodecError::new("no revision"))?;
        Ok(served.slice(..end))
    }
}

pub fn codec() -> Arc<dyn Codec> {
    Arc::new(TextCodec)
}

pub fn key(name: &str) -> Key {
    Key::new("things", "ns", name)
}

pub fn text(entry: &Entry) -> &str {
    std::str::from_utf8(&entry.served).unwrap()
}

pub async fn put(store: &Store, name: &str, value: &str) -> Revision {
    put_at(store, key(name), value).await
}

pub async fn put_at(store: &Store, key: Key, value: &str) -> Revision {
    let put = |txn: &mut Txn<'_>| {
        txn.put(key.clone(), value.to_owned());
        Ok::<_, ()>(())
    };
    store.commit(put).await.unwrap().revision
}

pub async fn delete(store: &Store, name: &str) -> Revision {
    let delete = |txn: &mut Txn<'_>| {
        txn.delete(key(name));
        Ok::<_, ()>(())
    };
    store.commit(delete).await.unwrap().revision
}

/// The next batch, or a failed test when it does not come.
pub async fn next(watch: &mut Watch) -> Result<Batch, WatchEnd> {
    tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("nothing came")
}

/// Reads changes until one has this revision; (revision, name, what is shown).
pub async fn until(watch: &mut Watch, revision: Revision) -> Vec<(Revision, String, String)> {
    let mut seen = Vec::new();
    loop {
        let batch = next(watch).await.unwrap();
        for change in &batch.changes {
            assert!(change.revision <= batch.revision);
            let object = change.object().unwrap();
            seen.push((change.revision, change.key.name().to_owned(), text(object).to_owned()));
        }
        if batch.revision >= revision {
            return seen;
        }
    }
}

pub async fn objects_appear_change_and_go_with_revisions_in_order(store: Store) {
    let start = store.snapshot().revision();
    assert!(start.0 > 0, "0 is not a revision to hand out");
    let created = put(&store, "a", "one").await;
    assert_eq!(created, start.next());
    let modified = put(&store, "a", "two").await;
    assert_eq!(modified, created.next());
    let snapshot = store.snapshot();
    let entry = snapshot.get(&key("a")).unwrap();
    assert_eq!((entry.created, entry.modified), (created, modified));
    assert_eq!(text(entry), format!("two@{modified}"));
    let deleted = delete(&store, "a").await;
    assert_eq!(deleted, modified.next());
    assert!(store.snapshot().get(&key("a")).is_none());
    assert!(snapshot.get(&key("a")).is_some(), "a snapshot stays what it was");
    let again = put(&store, "a", "three").await;
    assert_eq!(store.snapshot().get(&key("a")).unwrap().created, again, "created anew");
}

pub async fn a_refused_transaction_changes_nothing(store: Store) {
    let before = put(&store, "a", "one").await;
    let refused = store
        .commit(|txn| {
            txn.put(key("a"), "two");
            txn.put(key("b"), "two");
            Err::<(), _>("no")
        })
        .await;
    assert!(matches!(refused, Err(CommitError::Rejected("no"))), "{refused:?}");
    let snapshot = store.snapshot();
    assert_eq!((snapshot.revision(), snapshot.count(&Prefix::all())), (before, 1));
}

pub async fn a_transaction_without_effect_takes_no_revision(store: Store) {
    let before = put(&store, "a", "one").await;
    let read = store.commit(|txn| Ok::<_, ()>(txn.get(&key("a")).map(|e| text(&e).to_owned()))).await.unwrap();
    assert_eq!((read.value, read.revision), (Some(format!("one@{before}")), before));
    assert_eq!(delete(&store, "nobody").await, before);
    assert_eq!(put(&store, "b", "two").await, before.next());
}

pub async fn values_too_large_or_not_understood_are_refused(store: Store) {
    let before = put(&store, "a", "one").await;
    let large = store
        .commit(|txn| {
            txn.put(key("b"), "x");
            txn.put(key("large"), vec![b'x'; MAX_VALUE + 1]);
            Ok::<_, ()>(())
        })
        .await;
    match large {
        Err(CommitError::TooLarge { key: at, size, limit }) => {
            assert_eq!((at, size, limit), (key("large"), MAX_VALUE + 1, MAX_VALUE));
        }
        other => panic!("{other:?}"),
    }
    let odd = store
        .commit(|txn| {
            txn.put(key("b"), "x");
            txn.put(key("odd"), vec![0xff]);
            Ok::<_, ()>(())
        })
        .await;
    assert!(matches!(&odd, Err(CommitError::Codec { key: at, .. }) if *at == key("odd")), "{odd:?}");
    let snapshot = store.snapshot();
    assert_eq!((snapshot.revision(), snapshot.count(&Prefix::all())), (before, 1));
    let most = store.commit(|txn| {
        txn.put(key("large"), vec![b'x'; MAX_VALUE]);
        Ok::<_, ()>(())
    });
    most.await.unwrap();
}

/// Many tasks add to the same few counters; an update that is lost or done twice shows in the sum.
pub async fn concurrent_transactions_are_as_if_one_after_the_other(store: Store) {
    const TASKS: u64 = 16;
    const ROUNDS: u64 = 50;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let counter = key(["x", "y", "z"][((task + round) % 3) as usize]);
                    let add = |txn: &mut Txn<'_>| {
                        let old = txn.get(&counter).map_or(0, |e| text(&e).split('@').next().unwrap().parse().unwrap());
                        txn.put(counter.clone(), (old + 1u64).to_string());
                        Ok::<_, ()>(old)
                    };
                    store.commit(add).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let snapshot = store.snapshot();
    let sum: u64 = snapshot
        .range(&Prefix::collection("things"))
        .map(|e| text(e).split('@').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, TASKS * ROUNDS);
}

/// Each task puts a member only while there are fewer than ten; ranges must be checked for what appears, too.
pub async fn a_decision_over_a_range_holds(store: Store) {
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move {
                let join = |txn: &mut Txn<'_>| {
                    if txn.range(&Prefix::namespace("things", "ns")).count() >= 10 {
                        return Err("full");
                    }
                    txn.put(key(&format!("m{i}")), "member");
                    Ok(())
                };
                store.commit(join).await.is_ok()
            })
        })
        .collect();
    let mut joined = 0;
    for task in tasks {
        joined += usize::from(task.await.unwrap());
    }
    assert_eq!((joined, store.snapshot().count(&Prefix::collection("things"))), (10, 10));
}

pub async fn groups_are_read_in_order_counted_and_continued(store: Store) {
    for (collection, namespace, name) in
        [("things", "b", "1"), ("things", "a", "2"), ("things", "a", "1"), ("things", "a-b", "1"), ("thing", "a", "9")]
    {
        put_at(&store, Key::new(collection, namespace, name), "v").await;
    }
    put_at(&store, Key::new("nodes", "", "n1"), "v").await;
    let snapshot = store.snapshot();
    let names = |prefix: &Prefix| -> Vec<String> {
        let all: Vec<String> = snapshot.range(prefix).map(|e| e.key.to_string()).collect();
        assert_eq!(snapshot.count(prefix), all.len());
        for (i, entry) in snapshot.range(prefix).enumerate() {
            let rest: Vec<String> =
                snapshot.range_from(prefix, prefix.rest(&entry.key).unwrap()).map(|e| e.key.to_string()).collect();
            assert_eq!(rest, all[i + 1..]);
        }
        all
    };
    let things = Prefix::collection("things");
    assert_eq!(names(&things), ["things/a-b/1", "things/a/1", "things/a/2", "things/b/1"]);
    assert_eq!(names(&Prefix::namespace("things", "a")), ["things/a/1", "things/a/2"]);
    assert_eq!(names(&Prefix::collection("nodes")), ["nodes//n1"]);
    assert_eq!(names(&Prefix::collection("none")), [""; 0]);
    assert_eq!(names(&Prefix::all()).len(), 6);
}

pub async fn indexes_follow_their_objects(store: Store) {
    let found = |word: &str| -> Vec<String> {
        store.snapshot().by_index(FIRST_WORD, word).map(|e| text(e).split('@').next().unwrap().to_owned()).collect()
    };
    put(&store, "a", "red:1").await;
    put(&store, "b", "red:2").await;
    put(&store, "c", "reddish:3").await;
    assert_eq!(found("red"), ["red:1", "red:2"]);
    let old = store.snapshot();
    put(&store, "a", "blue:1").await;
    put(&store, "b", "red:4").await;
    assert_eq!((found("red"), found("blue")), (vec!["red:4".into()], vec!["blue:1".into()]));
    delete(&store, "b").await;
    assert_eq!((found("red").len(), found("reddish").len(), found("none").len()), (0, 1, 0));
    assert_eq!(old.by_index(FIRST_WORD, "red").count(), 2);
}

pub async fn old_revisions_are_read_exactly(store: Store) {
    let start = store.snapshot().revision();
    let mut states = Vec::new();
    for i in 0..300 {
        match i % 5 {
            4 => delete(&store, &format!("k{}", i % 7)).await,
            _ => put(&store, &format!("k{}", i % 7), &format!("w{}:{i}", i % 3)).await,
        };
        states.push(store.snapshot());
    }
    let all = Prefix::all();
    let list = |s: &Snapshot| s.range(&all).map(|e| text(e).to_owned()).collect::<Vec<_>>();
    let index = |s: &Snapshot| s.by_index(FIRST_WORD, "w1").map(|e| text(e).to_owned()).collect::<Vec<_>>();
    for state in states.iter().rev() {
        let again = store.snapshot_at(state.revision()).unwrap();
        assert_eq!(again.revision(), state.revision());
        assert_eq!((list(&again), index(&again)), (list(state), index(state)));
    }
    assert!(list(&store.snapshot_at(start).unwrap()).is_empty());
    let newest = store.snapshot().revision();
    let unknown = store.snapshot_at(newest.next()).unwrap_err();
    assert_eq!((unknown.requested, unknown.newest), (newest.next(), newest));
    assert!(store.snapshot_at(Revision(start.0 - 1)).is_err());
}

pub async fn watchers_see_every_change_once_and_in_order(store: Store) {
    let start = store.snapshot().revision();
    let mut early = store.watch(Prefix::collection("things"), start).unwrap();
    let mut namespace = store.watch(Prefix::namespace("things", "ns"), start).unwrap();
    let mut other = store.watch(Prefix::collection("other"), start).unwrap();
    let mut everything = store.watch(Prefix::all(), start).unwrap();
    let mut expected = Vec::new();
    let mut last = start;
    for i in 0..50 {
        let name = format!("k{}", i % 4);
        last = put(&store, &name, &format!("v{i}")).await;
        expected.push((last, name, format!("v{i}@{last}")));
        put_at(&store, Key::new("things", "elsewhere", "x"), "v").await;
    }
    let end = put_at(&store, Key::new("other", "", "x"), "v").await;
    let mut late = store.watch(Prefix::collection("things"), start).unwrap();
    for watch in [&mut early, &mut late] {
        let seen = until(watch, Revision(end.0 - 1)).await;
        assert_eq!(seen.len(), 100);
        let here: Vec<_> = seen.into_iter().filter(|(_, name, _)| name != "x").collect();
        assert_eq!(here, expected);
    }
    assert_eq!(until(&mut namespace, last).await, expected);
    assert_eq!(until(&mut other, end).await.len(), 1);
    assert_eq!(until(&mut everything, end).await.len(), 101);
    let mut middle = store.watch(Prefix::namespace("things", "ns"), expected[20].0).unwrap();
    assert_eq!(until(&mut middle, last).await, expected[21..]);
    assert_eq!(middle.progress(), Some(end), "nothing more of the prefix up to the newest revision");
    let more = put(&store, "k1", "more").await;
    assert_eq!(middle.progress(), None);
    assert_eq!(next(&mut middle).await.unwrap().revision, more);
}

pub async fn one_object_and_what_an_index_finds_can_be_followed(store: Store) {
    let start = store.snapshot().revision();
    let found = |word: &str| Scope::Index(FIRST_WORD, word.into());
    let mut object = store.watch(Scope::Key(key("a")), start).unwrap();
    let mut early = store.watch(found("red"), start).unwrap();
    let first = put(&store, "a", "red:1").await;
    let other = put(&store, "b", "blue:1").await;
    let mut late = store.watch(found("red"), other).unwrap();
    let moved = put(&store, "b", "red:2").await;
    let left = put(&store, "a", "blue:2").await;
    put(&store, "a", "blue:3").await;
    let gone = delete(&store, "b").await;
    let last = put(&store, "c", "green:1").await;
    // Who comes later than others and asks for what was before them gets that too, and they get nothing twice.
    let mut whole = store.watch(found("red"), start).unwrap();
    let revisions = async |watch: &mut Watch, until: Revision| -> Vec<Revision> {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| *last < until) {
            seen.extend(next(watch).await.unwrap().changes.iter().map(|change| change.revision));
        }
        seen
    };
    assert_eq!(revisions(&mut early, gone).await, [first, moved, left, gone], "also what leaves is told");
    assert_eq!(revisions(&mut late, gone).await, [moved, left, gone]);
    assert_eq!(revisions(&mut whole, gone).await, [first, moved, left, gone]);
    assert_eq!(revisions(&mut object, left).await.first(), Some(&first));
    assert_eq!(early.progress(), Some(last), "nothing more concerns it");
    let again = put(&store, "d", "red:3").await;
    assert_eq!(revisions(&mut early, again).await, [again]);
}

pub async fn the_changes_of_a_transaction_come_together(store: Store) {
    let start = store.snapshot().revision();
    let mut watch = store.watch(Prefix::collection("things"), start).unwrap();
    let committed = store
        .commit(|txn| {
            for i in 0..2000 {
                txn.put(key(&format!("k{i:04}")), "v");
            }
            txn.put(Key::new("other", "", "x"), "v");
            Ok::<_, ()>(())
        })
        .await
        .unwrap();
    assert_eq!((committed.revision, committed.changes.len()), (start.next(), 2001));
    put(&store, "after", "v").await;
    let batch = next(&mut watch).await.unwrap();
    assert_eq!(batch.changes.iter().filter(|c| c.revision == committed.revision).count(), 2000);
    let snapshot = store.snapshot();
    let entry = snapshot.get(&key("k0001")).unwrap();
    assert!(committed.changes.iter().any(|c| c.after.as_ref().is_some_and(|e| Arc::ptr_eq(e, entry))), "shared");
}

pub async fn deletions_show_the_last_state_with_their_own_revision(store: Store) {
    let created = put(&store, "a", "word:last").await;
    let mut watch = store.watch(Prefix::all(), created).unwrap();
    let deleted = delete(&store, "a").await;
    let batch = next(&mut watch).await.unwrap();
    let [change] = &batch.changes[..] else { panic!("{batch:?}") };
    assert!(change.after.is_none());
    assert_eq!(text(change.before.as_ref().unwrap()), format!("word:last@{created}"));
    let tombstone = change.deleted().unwrap();
    assert_eq!(text(tombstone), format!("word:last@{deleted}"));
    assert_eq!((tombstone.created, tombstone.modified), (created, deleted));
}

/// A writer, a reader and watchers at once: who is told of a change can read it, and a watch from a snapshot's revision
/// continues exactly that snapshot.
pub async fn a_snapshot_and_a_watch_join_without_a_gap(store: Store) {
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut last = Revision(0);
            for i in 0..400 {
                last = match i % 3 {
                    2 => delete(&store, &format!("k{}", i % 5)).await,
                    _ => put(&store, &format!("k{}", i % 5), &format!("v{i}")).await,
                };
            }
            put(&store, "end", "v").await.max(last)
        }
    });
    let things = Prefix::collection("things");
    let followers: Vec<_> = (0..20)
        .map(|_| {
            let (store, things) = (store.clone(), things.clone());
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                let snapshot = store.snapshot();
                let mut model: std::collections::BTreeMap<Key, Arc<Entry>> =
                    snapshot.range(&things).map(|e| (e.key.clone(), e.clone())).collect();
                let mut watch = store.watch(things.clone(), snapshot.revision()).unwrap();
                while !model.contains_key(&key("end")) {
                    let batch = next(&mut watch).await.unwrap();
                    assert!(store.snapshot().revision() >= batch.revision, "told before it could be read");
                    for change in batch.changes {
                        let before = model.get(&change.key).map(|e| e.modified);
                        assert_eq!(change.before.as_ref().map(|e| e.modified), before);
                        match &change.after {
                            Some(entry) => drop(model.insert(change.key.clone(), entry.clone())),
                            None => drop(model.remove(&change.key)),
                        }
                    }
                }
                model.into_values().map(|e| text(&e).to_owned()).collect::<Vec<_>>()
            })
        })
        .collect();
    writer.await.unwrap();
    let end: Vec<_> = store.snapshot().range(&things).map(|e| text(e).to_owned()).collect();
    for follower in followers {
        assert_eq!(follower.await.unwrap(), end);
    }
}

pub async fn a_closed_store_ends_watches_and_refuses_writes(store: Store) {
    let last = put(&store, "a", "v").await;
    let mut drained = store.watch(Prefix::all(), last).unwrap();
    let mut behind = store.watch(Prefix::all(), Revision(last.0 - 1)).unwrap();
    let waiting = tokio::spawn(async move { next(&mut drained).await.map(|_| ()) });
    store.close().await;
    assert_eq!(waiting.await.unwrap(), Err(WatchEnd::Closed));
    assert_eq!(next(&mut behind).await.unwrap().revision, last, "what happened is still told");
    assert_eq!(next(&mut behind).await.unwrap_err(), WatchEnd::Closed);
    let refused = store
        .commit(|txn| {
            txn.put(key("b"), "v");
            Ok::<_, ()>(())
        })
        .await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Closed))), "{refused:?}");
    assert_eq!(store.snapshot().count(&Prefix::all()), 1);
}

/// With a history of 64 transactions.
pub async fn the_past_is_forgotten_by_the_limits(store: Store) {
    let start = store.snapshot().revision();
    let mut slow = store.watch(Prefix::collection("things"), start).unwrap();
    let mut quiet = store.watch(Prefix::collection("quiet"), start).unwrap();
    let mut last = start;
    for i in 0..500 {
        last = put(&store, &format!("k{}", i % 3), "v").await;
    }
    assert_eq!(next(&mut slow).await.unwrap_err(), WatchEnd::Lagged);
    assert_eq!(next(&mut slow).await.unwrap_err(), WatchEnd::Lagged, "for ever");
    let compacted = store.watch(Prefix::all(), start).err().unwrap();
    assert_eq!((compacted.requested, compacted.newest), (start, last));
    assert_eq!(store.snapshot_at(start).unwrap_err(), compacted);
    assert!(last.0 - compacted.oldest.0 <= 64 && last.0 - compacted.oldest.0 >= 32, "{compacted}");
    assert_eq!(store.snapshot_at(compacted.oldest).unwrap().revision(), compacted.oldest);
    assert!(store.watch(Prefix::all(), compacted.oldest).is_ok());
    assert!(store.watch(Prefix::all(), last.next()).is_err(), "a revision not reached yet is not known");
    // Whoever watches something quiet has missed nothing.
    let told = put_at(&store, Key::new("quiet", "", "x"), "v").await;
    assert_eq!(next(&mut quiet).await.unwrap().revision, told);
}

/// What a process runs that [`said_by_a_killed_process`] kills: writes without end, and says what was acknowledged.
#[allow(dead_code, reason = "the memory engine keeps nothing that a process could lose")]
pub async fn write_without_end(store: Store) {
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0u64.. {
                let revision = put(&store, &format!("w{writer}"), &i.to_string()).await;
                println!("acknowledged w{writer} {i} {revision}");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// Kills a process when dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a test of this program, which calls [`write_without_end`], as a process of its own with a variable set, and kills
/// it in the middle: name, value and revision of everything it said was acknowledged.
#[allow(dead_code, reason = "as above")]
pub fn said_by_a_killed_process(
    test: &str,
    variable: &str,
    value: impl AsRef<std::ffi::OsStr>,
) -> Vec<(String, u64, Revision)> {
    use std::io::BufRead;
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(variable, value)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut lines = std::io::BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    let parse = |line: &str| -> Option<(String, u64, Revision)> {
        let mut words = line.split("acknowledged ").nth(1)?.split(' ');
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?, Revision(words.next()?.parse().ok()?)))
    };
    while acknowledged.len() < 300 {
        acknowledged.extend(parse(&lines.next().expect("the writer ended").unwrap()));
    }
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    // What it still said before it died counts, except a line cut off.
    acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| parse(&line)));
    acknowledged
}

/// Makes a test of each promise for the engine that `$open` (a function from `History` to a guard and a store, or
/// nothing where the engine is missing) opens.
#[macro_export]
macro_rules! conformance {
    ($open:path: $($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some((_guard, store)) = $open(naru_store::History::default()).await else { return };
                suite::$name(store).await;
            }
        )*
    };
    ($open:path) => {
        conformance!($open:
            objects_appear_change_and_go_with_revisions_in_order,
            a_refused_transaction_changes_nothing,
            a_transaction_without_effect_takes_no_revision,
            values_too_large_or_not_understood_are_refused,
            concurrent_transactions_are_as_if_one_after_the_other,
            a_decision_over_a_range_holds,
            groups_are_read_in_order_counted_and_continued,
            indexes_follow_their_objects,
            old_revisions_are_read_exactly,
            watchers_see_every_change_once_and_in_order,
            one_object_and_what_an_index_finds_can_be_followed,
            the_changes_of_a_transaction_come_together,
            deletions_show_the_last_state_with_their_own_revision,
            a_snapshot_and_a_watch_join_without_a_gap,
            a_closed_store_ends_watches_and_refuses_writes,
        );

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn the_past_is_forgotten_by_the_limits() {
            let history = naru_store::History { transactions: 64, ..Default::default() };
            let Some((_guard, store)) = $open(history).await else { return };
            suite::the_past_is_forgotten_by_the_limits(store).await;
        }
    };
}
