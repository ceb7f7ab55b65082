use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::disk::simulated::{PowerCut, Simulated};
use crate::engine::log::{Tuning, recover};
use crate::{Codec, CommitError, Opened, Options, Txn};

/// Serves `<value>@<revision>`.
struct Stamping;

impl Codec for Stamping {
    fn open(&self, _: &Key, stored: &[u8], at: Revision) -> Result<Opened, CodecError> {
        Ok(Opened { served: [stored, format!("@{at}").as_bytes()].concat().into(), indexes: Vec::new() })
    }

    fn restamp(&self, served: &Bytes, at: Revision) -> Bytes {
        let end = served.iter().rposition(|b| *b == b'@').unwrap();
        [&served[..end], format!("@{at}").as_bytes()].concat().into()
    }

    fn close(&self, _: &Key, served: &Bytes) -> Result<Bytes, CodecError> {
        let end = served.iter().rposition(|b| *b == b'@').ok_or_else(|| CodecError::new("no revision"))?;
        Ok(served.slice(..end))
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A store with these writes (`None` deletes), one transaction each.
fn store(writes: &[(u8, Option<Vec<u8>>)]) -> Store {
    block(async {
        let store = Store::open(Options::memory(Arc::new(Stamping))).await.unwrap();
        for (name, value) in writes {
            let key = Key::new(if name % 2 == 0 { "things" } else { "others" }, "ns", &format!("n{name}"));
            let write = |txn: &mut Txn<'_>| {
                match value {
                    Some(value) => txn.put(key.clone(), value.clone()),
                    None => txn.delete(key.clone()),
                }
                Ok::<(), ()>(())
            };
            let done: Result<_, CommitError<()>> = store.commit(write).await;
            done.unwrap();
        }
        store
    })
}

fn exported(store: &Store) -> (Backup, Vec<u8>) {
    let mut bytes = Vec::new();
    (store.export(&mut bytes).unwrap(), bytes)
}

/// Key, value, and how long before the newest revision it was created and changed.
type Contents = BTreeMap<String, (Vec<u8>, u64, u64)>;

fn contents(store: &Store) -> Contents {
    let snapshot = store.snapshot();
    let newest = snapshot.revision().0;
    let entry = |e: &Arc<crate::Entry>| {
        let value = Stamping.close(&e.key, &e.served).unwrap().to_vec();
        assert!(e.served.ends_with(format!("@{}", e.modified).as_bytes()));
        (e.key.as_str().to_owned(), (value, newest - e.created.0, newest - e.modified.0))
    };
    snapshot.range(&Prefix::all()).map(entry).collect()
}

fn opened(disk: &Simulated) -> Result<Store, OpenError> {
    let tuning = Tuning { checkpoint_from: 4096, zero_ahead: 1024 };
    let opening = recover::open(Arc::new(disk.clone()), None, None, tuning);
    Store::start(opening, &Options::memory(Arc::new(Stamping)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_exported_is_imported_with_all_revisions_above(
        writes in prop::collection::vec((0u8..20, prop::option::of(prop::collection::vec(any::<u8>(), 0..300))), 0..60),
        issued in prop::option::of(0u64..u64::MAX >> 12),
    ) {
        let before = store(&writes);
        let (backup, bytes) = exported(&before);
        prop_assert_eq!((backup.revision, backup.objects), (before.snapshot().revision(), contents(&before).len() as u64));
        let disk = Simulated::new(1);
        let imported = import(&disk, &mut &bytes[..], issued.map(Revision)).unwrap();
        disk.restart();
        let after = opened(&disk).unwrap();
        prop_assert_eq!(contents(&after), contents(&before));
        prop_assert_eq!((after.cluster(), after.snapshot().revision()), (before.cluster(), imported.revision));
        let lowest = after.snapshot().range(&Prefix::all()).map(|e| e.created.0).min().unwrap_or(imported.revision.0);
        prop_assert!(lowest > backup.revision.0 + GAP / 2 && lowest > issued.unwrap_or(0));
        // And again, from the store that was made of it.
        let (again, bytes) = exported(&after);
        let disk = Simulated::new(2);
        let second = import(&disk, &mut &bytes[..], None).unwrap();
        prop_assert!(second.revision.0 > again.revision.0);
        prop_assert_eq!(contents(&opened(&disk).unwrap()), contents(&before));
    }

    #[test]
    fn a_backup_with_any_byte_changed_or_missing_is_refused(at in any::<prop::sample::Index>(), bit in 0u8..8, cut: bool) {
        let writes: Vec<_> = (0..9).map(|n| (n, Some(vec![n; 40]))).collect();
        let (_, mut bytes) = exported(&store(&writes));
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        let disk = Simulated::new(1);
        let refused = import(&disk, &mut &bytes[..], None);
        prop_assert!(matches!(refused, Err(ImportError::Damaged { .. } | ImportError::Version { .. })), "{:?}", refused);
        prop_assert!(!disk.dump().contains_key("identity"));
    }
}

#[test]
fn many_large_objects_span_frames() {
    let writes: Vec<_> = (0..20).map(|n| (n, Some(vec![n; 60_000]))).collect();
    let before = store(&writes);
    let (backup, mut bytes) = exported(&before);
    assert_eq!(backup.objects, 20);
    let disk = Simulated::new(1);
    import(&disk, &mut &bytes[..], None).unwrap();
    assert_eq!(contents(&opened(&disk).unwrap()), contents(&before));
    bytes.push(0);
    import(&Simulated::new(1), &mut &bytes[..], None).expect_err("something behind the end");
    let again = import(&disk, &mut &bytes[..], None);
    assert!(matches!(again, Err(ImportError::NotEmpty { .. })), "{again:?}");
}

#[test]
fn a_power_cut_leaves_everything_or_nothing() {
    let writes: Vec<_> = (0..9).map(|n| (n, Some(vec![n; 700]))).collect();
    let before = store(&writes);
    let (_, bytes) = exported(&before);
    let mut whole = 0;
    for seed in 0..40 {
        for operations in 0..40 {
            let disk = Simulated::new(seed);
            disk.cut_after(operations);
            let done = match catch_unwind(AssertUnwindSafe(|| import(&disk, &mut &bytes[..], None))) {
                Ok(result) => result.is_ok(),
                Err(payload) => {
                    assert!(payload.is::<PowerCut>());
                    false
                }
            };
            disk.restart();
            match opened(&disk) {
                Ok(store) if store.snapshot().count(&Prefix::all()) == 0 => {
                    assert!(!done, "it had said that it is done")
                }
                Ok(store) => {
                    assert_eq!(contents(&store), contents(&before));
                    whole += 1;
                }
                Err(error) => assert!(!done, "{error}"),
            }
        }
    }
    assert!(whole > 100, "{whole}");
}

#[test]
fn an_object_that_has_no_stored_form_is_named() {
    struct Mute;
    impl Codec for Mute {
        fn open(&self, _: &Key, stored: &[u8], _: Revision) -> Result<Opened, CodecError> {
            Ok(Opened { served: Bytes::copy_from_slice(stored), indexes: Vec::new() })
        }
        fn restamp(&self, served: &Bytes, _: Revision) -> Bytes {
            served.clone()
        }
        fn close(&self, _: &Key, _: &Bytes) -> Result<Bytes, CodecError> {
            Err(CodecError::new("the sealing key is missing"))
        }
    }
    block(async {
        let store = Store::open(Options::memory(Arc::new(Mute))).await.unwrap();
        let put = |txn: &mut Txn<'_>| {
            txn.put(Key::new("secrets", "a", "b"), "v");
            Ok::<(), ()>(())
        };
        store.commit(put).await.unwrap();
        let error = store.export(&mut Vec::new()).unwrap_err();
        assert!(matches!(&error, ExportError::Codec { key, .. } if key.name() == "b"), "{error}");
    });
}
