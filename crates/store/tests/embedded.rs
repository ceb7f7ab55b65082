//! The embedded engine passes the suite, and keeps what it was told.

mod suite;

use naru_store::{Codec, CodecError, History, Key, OpenError, Opened, Options, Prefix, Revision, Store};
use suite::*;
use tempfile::TempDir;

async fn open(history: History) -> Option<(TempDir, Store)> {
    let dir = TempDir::new().unwrap();
    let store = open_in(&dir, history).await;
    Some((dir, store))
}

async fn open_in(dir: &TempDir, history: History) -> Store {
    Store::open(Options { history, ..Options::embedded(dir.path().join("store"), codec()) }).await.unwrap()
}

conformance!(open);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reopened_store_has_everything_and_goes_on_counting() {
    let dir = TempDir::new().unwrap();
    let store = open_in(&dir, History::default()).await;
    let cluster = store.cluster();
    let created = put(&store, "a", "red:1").await;
    let modified = put(&store, "a", "red:2").await;
    put(&store, "b", "v").await;
    let last = delete(&store, "b").await;
    store.close().await;
    drop(store);
    let store = open_in(&dir, History::default()).await;
    assert_eq!(store.cluster(), cluster);
    let snapshot = store.snapshot();
    assert_eq!((snapshot.revision(), snapshot.count(&Prefix::all())), (last, 1));
    let entry = snapshot.get(&key("a")).unwrap();
    assert_eq!((entry.created, entry.modified, text(entry)), (created, modified, &*format!("red:2@{modified}")));
    assert_eq!(snapshot.by_index(FIRST_WORD, "red").count(), 1);
    assert!(store.watch(Prefix::all(), created).is_err(), "what was before the start is not known");
    let mut watch = store.watch(Prefix::all(), last).unwrap();
    assert_eq!(put(&store, "c", "v").await, last.next());
    assert_eq!(next(&mut watch).await.unwrap().revision, last.next());
    // Dropped, not closed: also kept.
    drop((store, snapshot, watch));
    let store = open_in(&dir, History::default()).await;
    assert_eq!(store.snapshot().revision(), last.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_while_others_write_becomes_a_store_of_its_own() {
    let dir = TempDir::new().unwrap();
    let store = open_in(&dir, History::default()).await;
    for n in 0..200 {
        put(&store, &format!("n{}", n % 50), &format!("red:{n}")).await;
    }
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..500 {
                put(&store, &format!("n{}", n % 70), &format!("blue:{n}")).await;
            }
        }
    });
    let exporting = store.clone();
    let export = move || {
        let mut bytes = Vec::new();
        (exporting.export(&mut bytes).unwrap(), bytes)
    };
    let (backup, bytes) = tokio::task::spawn_blocking(export).await.unwrap();
    writer.await.unwrap();
    let then = store.snapshot_at(backup.revision).unwrap();
    let folder = dir.path().join("restored");
    let imported = Store::import(&folder, &mut &bytes[..], None).unwrap();
    assert_eq!((imported.objects, imported.cluster), (backup.objects, store.cluster()));
    let last = store.snapshot().revision();
    let restored = Store::open(Options::embedded(&folder, codec())).await.unwrap();
    let plain = |snapshot: &naru_store::Snapshot| -> Vec<(String, String)> {
        let value = |e: &naru_store::Entry| text(e).rsplit_once('@').unwrap().0.to_owned();
        snapshot.range(&Prefix::all()).map(|e| (e.key.as_str().to_owned(), value(e))).collect()
    };
    assert_eq!(plain(&restored.snapshot()), plain(&then), "one revision's state, whatever was written meanwhile");
    assert!(restored.snapshot().range(&Prefix::all()).all(|e| e.created > last), "above everything issued since");
    assert!(restored.watch(Prefix::all(), last).is_err(), "watchers from before are sent back to list");
    assert_eq!(restored.snapshot().by_index(FIRST_WORD, "red").count(), then.by_index(FIRST_WORD, "red").count());
    assert_eq!(put(&restored, "new", "v").await, imported.revision.next());
    let again = Store::import(&folder, &mut &bytes[..], None);
    assert!(matches!(again, Err(naru_store::ImportError::Store(OpenError::Locked { .. }))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raising_sends_watchers_from_before_back() {
    let dir = TempDir::new().unwrap();
    let store = open_in(&dir, History::default()).await;
    let last = put(&store, "a", "v").await;
    drop(store);
    let raised =
        Options { raise_above: Some(Revision(last.0 + 100)), ..Options::embedded(dir.path().join("store"), codec()) };
    let store = Store::open(raised).await.unwrap();
    for before in [last.0, last.0 + 50, last.0 + 100] {
        assert!(store.watch(Prefix::all(), Revision(before)).is_err());
    }
    let entry = store.snapshot().get(&key("a")).unwrap().clone();
    assert!(entry.modified.0 > last.0 + 100);
    assert_eq!(text(&entry), format!("v@{}", entry.modified));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_the_codec_refuses_keeps_the_store_shut_and_is_named() {
    struct Picky;
    impl Codec for Picky {
        fn open(&self, _: &Key, _: &[u8], _: Revision) -> Result<Opened, CodecError> {
            Err(CodecError::new("the sealing key is missing"))
        }
        fn restamp(&self, served: &bytes::Bytes, _: Revision) -> bytes::Bytes {
            served.clone()
        }
        fn close(&self, _: &Key, served: &bytes::Bytes) -> Result<bytes::Bytes, CodecError> {
            Ok(served.clone())
        }
    }
    let dir = TempDir::new().unwrap();
    let store = open_in(&dir, History::default()).await;
    put(&store, "a", "v").await;
    drop(store);
    let refused = Store::open(Options::embedded(dir.path().join("store"), std::sync::Arc::new(Picky))).await;
    assert!(matches!(&refused, Err(OpenError::Codec { key: at, .. }) if *at == key("a")), "{:?}", refused.err());
    open_in(&dir, History::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_refused_with_the_holders_pid() {
    let (dir, store) = open(History::default()).await.unwrap();
    let again = Store::open(Options::embedded(dir.path().join("store"), codec())).await;
    match again.err() {
        Some(OpenError::Locked { holder, .. }) => assert_eq!(holder, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
    store.close().await;
    drop(store);
    open_in(&dir, History::default()).await;
}

/// Not a test of its own: the process that [`a_killed_process_loses_nothing_acknowledged`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_to_be_killed() {
    let Some(dir) = std::env::var_os("NARU_STORE_WRITER_DIR") else { return };
    let store = Store::open(Options::embedded(dir, codec())).await.unwrap();
    write_without_end(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_acknowledged() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("store");
    let acknowledged = said_by_a_killed_process("writer_to_be_killed", "NARU_STORE_WRITER_DIR", folder);
    let store = open_in(&dir, History::default()).await;
    let snapshot = store.snapshot();
    for (name, value, revision) in acknowledged {
        let entry = snapshot.get(&key(&name)).unwrap();
        let found: u64 = text(entry).split('@').next().unwrap().parse().unwrap();
        assert!(found >= value && entry.modified >= revision, "{name}: {found}, acknowledged {value}");
    }
}
