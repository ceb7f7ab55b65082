//! Thousands of power cuts: no acknowledged write is lost, no half group is seen, revisions never go back.
//!
//! `NARU_STORE_CUTS` sets how many (default 500), `NARU_STORE_SEED` the first seed; a failure names its seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::disk::simulated::PowerCut;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// What the world outside of the disk knows.
struct World {
    disk: Simulated,
    random: StdRng,
    /// Acknowledged, or seen after a restart.
    known: Objects,
    sequence: u64,
    offset: u64,
    /// The group that was being appended when the power went: it may have happened whole or not at all.
    flying: Vec<Record>,
    raising: Option<u64>,
    revision: u64,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            disk: Simulated::new(seed),
            random: StdRng::seed_from_u64(!seed),
            known: Objects::new(),
            sequence: crate::engine::FIRST,
            offset: 0,
            flying: Vec::new(),
            raising: None,
            revision: 0,
        }
    }

    fn group(&mut self) -> Vec<Record> {
        let transactions = self.random.random_range(1..=4);
        (1..=transactions).map(|i| Record { sequence: self.sequence + i, mutations: self.mutations() }).collect()
    }

    fn mutations(&mut self) -> Vec<(Key, Option<Bytes>)> {
        let mutation = |random: &mut StdRng| {
            let key = Key::new("things", "ns", &format!("n{}", random.random_range(0..12)));
            let len = [0, 10, 100, 700, 2000][random.random_range(0..5)];
            (key, random.random_bool(0.7).then(|| Bytes::from(vec![random.random::<u8>(); len])))
        };
        (0..self.random.random_range(1..=3)).map(|_| mutation(&mut self.random)).collect()
    }

    /// Opens, checks, works until the power goes (or closes in good order).
    fn live(&mut self) {
        let raise = self.random.random_bool(0.05).then(|| self.offset + self.sequence + 10);
        self.raising = raise;
        let opened = recover::open(Arc::new(self.disk.clone()), None, raise.map(Revision), SMALL);
        let (mut log, loaded) = opened.unwrap_or_else(|error| panic!("refused: {error}"));
        self.check(&loaded);
        self.raising = None;
        loop {
            if self.random.random_bool(0.05) {
                return log.close();
            }
            let room = self.random.random_bool(0.1).then(|| self.random.random_range(0..4000));
            self.disk.room(room);
            self.flying = self.group();
            match log.append(&self.flying) {
                Ok(()) => {
                    let group = std::mem::take(&mut self.flying);
                    group.iter().for_each(|record| apply(&mut self.known, record));
                    self.sequence += group.len() as u64;
                    self.revision = self.offset + self.sequence;
                }
                Err(StoreError::Full { .. }) => self.flying.clear(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn check(&mut self, loaded: &Loaded) {
        if loaded.sequence != self.sequence {
            let whole = self.sequence + self.flying.len() as u64;
            assert_eq!(loaded.sequence, whole, "the group in flight at {} is there whole or not at all", self.sequence);
            std::mem::take(&mut self.flying).iter().for_each(|record| apply(&mut self.known, record));
            self.sequence = whole;
        }
        self.flying.clear();
        assert_eq!(objects(loaded), self.known);
        assert!(loaded.offset == self.offset || Some(loaded.offset) >= self.raising);
        self.offset = loaded.offset;
        let revision = self.offset + self.sequence;
        assert!(revision >= self.revision, "revision {revision} after {}", self.revision);
        self.revision = revision;
    }
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    let (cuts, first) = (setting("NARU_STORE_CUTS", 500), setting("NARU_STORE_SEED", 0));
    let (mut done, mut seed, mut checkpoints) = (0, first, 0);
    while done < cuts {
        let mut world = World::new(seed);
        // Several cuts in a row on one disk, so that recoveries are cut too.
        for _ in 0..20 {
            let fuse = [3, 12, 60, 250][world.random.random_range(0..4)];
            let fuse = world.random.random_range(0..fuse);
            world.disk.cut_after(fuse);
            let ended = catch_unwind(AssertUnwindSafe(|| world.live()));
            match ended {
                Ok(()) => {}
                Err(cause) if cause.is::<PowerCut>() => done += 1,
                Err(cause) => {
                    eprintln!("failed with NARU_STORE_SEED={seed}");
                    resume_unwind(cause);
                }
            }
            checkpoints += world.disk.dump().keys().filter(|n| n.starts_with("checkpoint-")).count();
            world.disk.room(None);
            world.disk.restart();
        }
        seed += 1;
    }
    assert!(checkpoints > 0, "no cut met a checkpoint");
    eprintln!("{done} power cuts survived");
}

/// A sync fails, the process ends, and the next one reads from the kernel's memory a record that is not on the disk. Once
/// that process has shown it to anyone, it must be durable.
#[test]
fn a_record_found_after_a_failed_sync_is_made_durable() {
    let mut found = 0;
    for fuse in 0..30 {
        let disk = Simulated::new(fuse);
        let (mut log, loaded) = open(&disk).unwrap();
        let next = loaded.sequence + 1;
        log.append(&[put(next, "before", &[1; 3000])]).unwrap();
        disk.cut_after(fuse);
        let died = catch_unwind(AssertUnwindSafe(|| log.append(&[put(next + 1, "last", &[2; 3000])]))).is_err();
        disk.believe();
        drop(log);
        let (log, loaded) = open(&disk).unwrap();
        let shown = objects(&loaded);
        found += u32::from(died && loaded.sequence == next + 1);
        drop(log);
        disk.restart();
        let (_, loaded) = open(&disk).unwrap();
        assert_eq!(objects(&loaded), shown);
    }
    assert!(found > 0, "no such record was met");
}
