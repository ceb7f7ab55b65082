//! A full disk fails transactions and nothing else.

use super::*;

#[test]
fn a_full_disk_fails_the_group_and_the_next_one_works_when_there_is_room() {
    for room in 0..200 {
        let disk = Simulated::new(room);
        let (mut log, loaded) = open(&disk).unwrap();
        let next = loaded.sequence + 1;
        disk.room(Some(room));
        let refused = log.append(&[put(next, "lost", &[1; 200])]);
        assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
        disk.room(None);
        log.append(&[put(next, "kept", b"2")]).unwrap();
        drop(log);
        disk.restart();
        let (_, loaded) = open(&disk).unwrap();
        let names: Vec<_> = loaded.objects.iter().map(|o| o.key.name().to_owned()).collect();
        assert_eq!((loaded.sequence, names), (next, vec!["kept".to_owned()]), "with room for {room} bytes");
    }
}

#[test]
fn a_checkpoint_that_finds_no_room_is_tried_again_only_when_the_log_has_grown() {
    for room in [300, 600, 5_000] {
        let disk = Simulated::new(5);
        let (mut log, loaded) = open(&disk).unwrap();
        let before = disk.created();
        let (mut sequence, mut bytes) = (loaded.sequence, 0);
        for round in 0..400u64 {
            // Enough for a record, not for all that is alive.
            disk.room(Some(room));
            let record = put(sequence + 1, &format!("n{round}"), &[round as u8; 150]);
            if log.append(&[record]).is_ok() {
                sequence += 1;
                bytes += 200;
            }
        }
        let (tries, grown) = (disk.created() - before, bytes / SMALL.checkpoint_from as usize);
        assert!(sequence > 300 && tries > 0, "{sequence} {tries}");
        assert!(tries <= 3 * (grown + 1), "{tries} tries for {grown} times the size at which one is made");
    }
}

#[test]
fn no_room_for_a_checkpoint_is_survived() {
    let disk = Simulated::new(3);
    let (mut log, loaded) = open(&disk).unwrap();
    let (mut model, mut sequence, mut refused) = (Objects::new(), loaded.sequence, 0);
    for round in 0..300u64 {
        // Room comes and goes, a little at a time.
        disk.room((round % 40 < 30).then_some(round * 7 % 900));
        let record = put(sequence + 1, &format!("n{}", round % 50), &[round as u8; 150]);
        match log.append(std::slice::from_ref(&record)) {
            Ok(()) => {
                apply(&mut model, &record);
                sequence += 1;
            }
            Err(StoreError::Full { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 10 && sequence > 50, "{refused} {sequence}");
    drop(log);
    disk.room(None);
    disk.restart();
    let (_, loaded) = open(&disk).unwrap();
    assert_eq!((loaded.sequence, objects(&loaded)), (sequence, model));
}
