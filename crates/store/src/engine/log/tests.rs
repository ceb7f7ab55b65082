//! What the log promises, on a simulated disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::simulated::Simulated;
use crate::engine::log::{Tuning, recover};
use crate::engine::{Engine, Loaded, Record};
use crate::{Key, OpenError, Revision, StoreError};

mod damage;
mod full;
mod power_cuts;

/// So small that every path is taken often.
const SMALL: Tuning = Tuning { checkpoint_from: 4096, zero_ahead: 1024 };

type Objects = BTreeMap<Key, (u64, u64, Bytes)>;

fn open(disk: &Simulated) -> Result<(Box<dyn Engine>, Loaded), OpenError> {
    recover::open(Arc::new(disk.clone()), None, None, SMALL)
}

fn objects(loaded: &Loaded) -> Objects {
    loaded.objects.iter().map(|o| (o.key.clone(), (o.created, o.modified, o.value.clone()))).collect()
}

fn apply(objects: &mut Objects, record: &Record) {
    for (key, value) in &record.mutations {
        match value {
            None => drop(objects.remove(key)),
            Some(value) => {
                let created = objects.get(key).map_or(record.sequence, |o| o.0);
                objects.insert(key.clone(), (created, record.sequence, value.clone()));
            }
        }
    }
}

fn put(sequence: u64, name: &str, value: &[u8]) -> Record {
    let mutations = vec![(Key::new("things", "", name), Some(Bytes::copy_from_slice(value)))];
    Record { sequence, mutations }
}

#[test]
fn what_was_appended_is_found_again_also_after_checkpoints() {
    let disk = Simulated::new(1);
    let (mut log, loaded) = open(&disk).unwrap();
    let (mut model, mut sequence) = (objects(&loaded), loaded.sequence);
    for round in 0..200u64 {
        let mut record = put(sequence + 1, &format!("n{}", round % 7), &vec![round as u8; (round * 13 % 700) as usize]);
        record.mutations.push((Key::new("things", "ns", &format!("d{}", round % 5)), Some(Bytes::from_static(b""))));
        let delete = Record {
            sequence: sequence + 2,
            mutations: vec![(Key::new("things", "ns", &format!("d{}", (round + 2) % 5)), None)],
        };
        log.append(&[record.clone(), delete.clone()]).unwrap();
        apply(&mut model, &record);
        apply(&mut model, &delete);
        sequence += 2;
    }
    log.close();
    drop(log);
    let files = disk.dump();
    assert!(files.keys().any(|n| n.starts_with("checkpoint-")), "{:?}", files.keys());
    assert!(!files.contains_key("log-0000000000000001"), "segments before the checkpoint are removed");
    let (_, loaded) = open(&disk).unwrap();
    assert_eq!(loaded.sequence, sequence);
    assert_eq!(objects(&loaded), model);
}

#[test]
fn raising_puts_all_revisions_above_for_good() {
    let disk = Simulated::new(1);
    let (mut log, loaded) = open(&disk).unwrap();
    assert_eq!(loaded.offset, 0);
    log.append(&[put(loaded.sequence + 1, "a", b"1")]).unwrap();
    drop(log);
    let raised = |above| {
        let opened = recover::open(Arc::new(disk.clone()), None, Some(Revision(above)), SMALL);
        let (_, loaded) = opened.unwrap();
        (loaded.offset, loaded.revision(loaded.objects[0].created))
    };
    let (offset, created) = raised(1000);
    assert!(offset == 1000 && created > Revision(1000), "{offset} {created}");
    assert_eq!(raised(500), (offset, created), "never back");
    disk.restart();
    let (_, loaded) = open(&disk).unwrap();
    assert_eq!((loaded.offset, loaded.revision(loaded.objects[0].created)), (offset, created));
}
