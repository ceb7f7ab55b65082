//! Damage is told from a torn tail, and refused.

use super::*;

/// A log of three frames and a close mark in one segment, and its file's name.
fn short_log() -> (BTreeMap<String, Vec<u8>>, String) {
    let disk = Simulated::new(1);
    let (mut log, loaded) = open(&disk).unwrap();
    for i in 1..=3 {
        log.append(&[put(loaded.sequence + i, &format!("n{i}"), &[i as u8; 30])]).unwrap();
    }
    log.close();
    drop(log);
    (disk.dump(), "log-0000000000000001".into())
}

/// A log with a checkpoint and a segment after it.
fn long_log() -> BTreeMap<String, Vec<u8>> {
    let disk = Simulated::new(1);
    let (mut log, loaded) = open(&disk).unwrap();
    for i in 1..=40 {
        log.append(&[put(loaded.sequence + i, &format!("n{}", i % 9), &[i as u8; 200])]).unwrap();
    }
    log.close();
    drop(log);
    disk.dump()
}

/// Where the bytes end that may not change: behind the close mark or seal, after which there are only zeros or what the
/// file held in a former life.
fn end_of_records(bytes: &[u8]) -> usize {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 64;
    loop {
        let (len, kind) = (word(at + 8), word(at + 12));
        at = (at + 24 + len).next_multiple_of(8);
        if kind >= 3 {
            return at;
        }
    }
}

#[test]
fn every_flipped_bit_in_acknowledged_records_is_refused_by_name_and_offset() {
    for files in [short_log().0, long_log()] {
        for (name, bytes) in files.iter().filter(|(n, _)| n.starts_with("log-") || n.starts_with("checkpoint-")) {
            // The close mark is the last frame; it is nobody's data.
            let closed = if name.starts_with("log-") { 24 } else { 0 };
            for at in 0..end_of_records(bytes) - closed {
                let disk = Simulated::with(&files);
                disk.edit(name, |bytes| bytes[at] ^= 1 << (at % 8));
                match open(&disk).map(|(_, loaded)| loaded) {
                    Err(OpenError::Damaged { file, offset, .. }) => {
                        assert!(
                            file.ends_with(name) && offset <= at as u64,
                            "{name} {at}: {} {offset}",
                            file.display()
                        );
                    }
                    Err(OpenError::Version { .. }) if (8..12).contains(&at) => {}
                    other => panic!("bit flipped in {name} at {at}: {other:?}"),
                }
                let mut damaged = files.clone();
                damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
                assert_eq!(disk.dump(), damaged, "a refused log is left as it was");
            }
        }
    }
}

#[test]
fn every_shortened_log_is_opened_with_whole_groups_or_refused() {
    let (files, name) = short_log();
    let len = end_of_records(&files[&name]);
    for cut in 64..len {
        let disk = Simulated::with(&files);
        disk.edit(&name, |bytes| bytes.truncate(cut));
        let (_, loaded) = open(&disk).unwrap();
        let whole = (1..=3).take_while(|i| loaded.objects.len() >= *i).count() as u64;
        assert_eq!(loaded.sequence, crate::engine::FIRST + whole);
        let ends: Vec<usize> = ends_of_frames(&files[&name]);
        let (kept, begun) = (ends[whole as usize], ends.contains(&cut));
        let told = loaded.torn.map(|torn| (torn.offset as usize, torn.bytes as usize));
        assert_eq!(told, (!begun).then_some((kept, cut - kept)), "cut at {cut}");
    }
}

/// Where the header and each frame ends, up to the close mark.
fn ends_of_frames(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, last) = (vec![64], end_of_records(bytes));
    while let Some(at) = ends.last().copied().filter(|at| *at < last) {
        let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        ends.push((at + 24 + len).next_multiple_of(8));
    }
    ends
}

#[test]
fn a_damaged_last_record_is_told_and_a_reused_file_is_no_damage() {
    let disk = Simulated::new(1);
    let (mut log, loaded) = open(&disk).unwrap();
    assert_eq!(loaded.torn, None, "a new log");
    let mut sequence = loaded.sequence;
    // Long enough that later segments are made of former ones, whose old frames lie behind the end.
    for round in 0..120u64 {
        sequence += 1;
        log.append(&[put(sequence, &format!("n{}", round % 7), &[round as u8; 150])]).unwrap();
        let (_, loaded) = open(&Simulated::with(&disk.dump())).unwrap();
        assert_eq!((loaded.torn, loaded.sequence), (None, sequence), "round {round}");
    }
    let files = disk.dump();
    let name = files.keys().rfind(|name| name.starts_with("log-")).unwrap().clone();
    drop(log);
    let end = {
        // The last frame is the one with the highest sequence.
        let bytes = &files[&name];
        let at = (64..bytes.len() - 24)
            .step_by(8)
            .rfind(|at| u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap()) == sequence);
        at.unwrap()
    };
    for at in [0, 5, 30, 100] {
        let disk = Simulated::with(&files);
        disk.edit(&name, |bytes| bytes[end + at] ^= 1);
        let (_, loaded) = open(&disk).unwrap();
        assert_eq!(loaded.sequence, sequence - 1);
        assert_eq!(loaded.torn.map(|torn| torn.offset), Some(end as u64), "byte {at}");
    }
}

#[test]
fn every_missing_file_is_noticed() {
    let files = long_log();
    assert!(files.len() >= 3, "{:?}", files.keys());
    for name in files.keys().filter(|name| *name != "spare") {
        let mut rest = files.clone();
        rest.remove(name);
        match open(&Simulated::with(&rest)).map(|(_, loaded)| loaded) {
            Err(OpenError::Missing { file, .. }) if file.ends_with(name) => {}
            // Without its checkpoint the log starts in the middle: its first segment is what is missed.
            Err(OpenError::Missing { .. }) if name.starts_with("checkpoint-") => {}
            other => panic!("{name} removed: {other:?}"),
        }
    }
}

#[test]
fn files_of_another_cluster_are_refused() {
    let (mut files, name) = short_log();
    files.insert(name.clone(), short_log().0[&name].clone());
    let refused = open(&Simulated::with(&files)).map(|(_, loaded)| loaded);
    assert!(matches!(&refused, Err(OpenError::Damaged { what, .. }) if what.contains("cluster")), "{refused:?}");
}

#[test]
fn a_newer_format_is_refused_by_its_version() {
    let (files, name) = short_log();
    let disk = Simulated::with(&files);
    disk.edit(&name, |bytes| bytes[8] = 9);
    let refused = open(&disk).map(|(_, loaded)| loaded);
    assert!(matches!(refused, Err(OpenError::Version { found: 9, .. })), "{refused:?}");
}

#[test]
fn a_record_of_the_same_log_inside_a_value_is_not_taken_for_a_record() {
    let (files, name) = short_log();
    let stolen = files[&name][64..end_of_records(&files[&name])].to_vec();
    // In another segment, with another salt, as the value of the last and torn record.
    let disk = Simulated::new(2);
    let (mut log, loaded) = open(&disk).unwrap();
    log.append(&[put(loaded.sequence + 1, "a", b"1")]).unwrap();
    log.append(&[put(loaded.sequence + 2, "b", &[&stolen[..], &[7; 600]].concat())]).unwrap();
    drop(log);
    disk.edit(&name, |bytes| {
        let end = bytes.iter().rposition(|b| *b != 0).unwrap();
        bytes[end] ^= 1;
    });
    let (_, loaded) = open(&disk).unwrap();
    assert_eq!(loaded.objects.len(), 1);
}

/// A process that died between sealing a segment and its checkpoint, continued by one that makes no checkpoints: two
/// segments, both with records.
#[test]
fn a_lost_seal_is_noticed_when_the_next_segment_has_records() {
    let seal = 24;
    for fuse in 0.. {
        let disk = Simulated::new(1);
        let (mut log, loaded) = open(&disk).unwrap();
        let mut sequence = loaded.sequence;
        disk.cut_after(fuse);
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for i in 1..=40 {
                log.append(&[put(sequence + i, "n", &[i as u8; 200])]).unwrap();
            }
        }));
        assert!(died.is_err(), "no such moment was met");
        drop(log);
        disk.believe();
        let (mut log, loaded) = recover::open(Arc::new(disk.clone()), None, None, Tuning::default()).unwrap();
        sequence = loaded.sequence;
        log.append(&[put(sequence + 1, "n", b"in the last segment")]).unwrap();
        drop(log);
        let files = disk.dump();
        let (Some(first), Some(_)) = (files.get("log-0000000000000001"), files.get("log-0000000000000002")) else {
            continue;
        };
        let end = end_of_records(first);
        let disk = Simulated::with(&files);
        assert_eq!(open(&disk).unwrap().1.sequence, sequence + 1);
        let disk = Simulated::with(&files);
        disk.edit("log-0000000000000001", |bytes| bytes[end - seal..].fill(0));
        let refused = open(&disk).map(|(_, loaded)| loaded);
        match &refused {
            Err(OpenError::Damaged { file, offset, .. }) => {
                assert!(file.ends_with("log-0000000000000001") && *offset == (end - seal) as u64);
            }
            other => panic!("{other:?}"),
        }
        return;
    }
}
