//! A disk that forgets. At a power cut, of everything that was not synced each part may be there or not: any sectors of
//! the writes (the last one torn in its middle), a file's length with or without its bytes, any of the creations, renames
//! and removals, in any combination that keeps the order of those on one name.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::disk::{Disk, File};

const SECTOR: usize = 512;

/// What unwinds when the power is cut.
pub(crate) struct PowerCut;

/// A simulated disk; clones are the same disk.
#[derive(Clone)]
pub(crate) struct Simulated(Arc<Mutex<State>>);

struct State {
    files: Vec<Contents>,
    /// As programs see it, and as the disk has it.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameOp>,
    random: StdRng,
    /// Operations until the power is cut.
    fuse: Option<u64>,
    /// Bytes that may still be written beyond files' lengths.
    room: Option<u64>,
    /// How many files were made so far.
    created: usize,
}

#[derive(Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<DataOp>,
}

enum DataOp {
    Write(u64, Vec<u8>),
    Clear,
}

enum NameOp {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Simulated {
    pub fn new(seed: u64) -> Simulated {
        Simulated(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            random: StdRng::seed_from_u64(seed),
            fuse: None,
            room: None,
            created: 0,
        })))
    }

    /// Cuts the power at the n-th operation from now: it unwinds with [`PowerCut`], perhaps half done.
    pub fn cut_after(&self, operations: u64) {
        self.0.lock().fuse = Some(operations);
    }

    /// Lets files grow by so many bytes in all, then the disk is full.
    pub fn room(&self, bytes: Option<u64>) {
        self.0.lock().room = bytes;
    }

    /// How many files were made so far.
    pub fn created(&self) -> usize {
        self.0.lock().created
    }

    /// Power comes back: what is on the disk is what is seen.
    pub fn restart(&self) {
        let mut state = self.0.lock();
        state.fuse = None;
        state.lose();
    }

    /// As after a sync that failed: programs see what they wrote, the kernel believes that it is on the disk, it is not.
    pub fn believe(&self) {
        let mut state = self.0.lock();
        state.fuse = None;
        state.files.iter_mut().for_each(|file| file.unsynced.clear());
    }

    /// A file's bytes, to be damaged.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let id = state.names[name];
        let file = &mut state.files[id];
        edit(&mut file.seen);
        file.durable = file.seen.clone();
        file.unsynced.clear();
    }

    /// The bytes of every file.
    pub fn dump(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock();
        state.names.iter().map(|(name, id)| (name.clone(), state.files[*id].seen.clone())).collect()
    }

    /// A disk with these files, all durable.
    pub fn with(files: &BTreeMap<String, Vec<u8>>) -> Simulated {
        let disk = Simulated::new(0);
        let mut state = disk.0.lock();
        for (name, bytes) in files {
            let id = state.files.len();
            state.files.push(Contents { seen: bytes.clone(), durable: bytes.clone(), unsynced: Vec::new() });
            state.names.insert(name.clone(), id);
        }
        state.durable_names = state.names.clone();
        drop(state);
        disk
    }

    /// Counts an operation; the power may go before it, or (the answer) in it.
    fn operate(&self) -> (MutexGuard<'_, State>, bool) {
        let mut state = self.0.lock();
        let mut cut = false;
        if let Some(fuse) = &mut state.fuse {
            cut = *fuse == 0;
            *fuse = fuse.saturating_sub(1);
        }
        if cut && state.random.random_bool(0.5) {
            drop(state);
            resume_unwind(Box::new(PowerCut));
        }
        (state, cut)
    }
}

fn finish(state: MutexGuard<'_, State>, cut: bool) -> io::Result<()> {
    drop(state);
    if cut {
        resume_unwind(Box::new(PowerCut));
    }
    Ok(())
}

impl State {
    fn lose(&mut self) {
        // Some cuts keep nearly all, some nearly nothing, some a mixture.
        let keep = [0.0, 0.1, 0.5, 0.9, 1.0][self.random.random_range(0..5)];
        let ordered = self.random.random_bool(0.5);
        let until = self.random.random_range(0..=self.unsynced_names.len());
        let mut stuck = HashSet::new();
        for (i, op) in std::mem::take(&mut self.unsynced_names).into_iter().enumerate() {
            let kept = if ordered { i < until } else { self.random.random_bool(keep) };
            let names: Vec<&String> = match &op {
                NameOp::Create(a, _) | NameOp::Remove(a) => vec![a],
                NameOp::Rename(a, b) => vec![a, b],
            };
            if !kept || names.iter().any(|n| stuck.contains(*n)) {
                stuck.extend(names.into_iter().cloned());
                continue;
            }
            op.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        for file in &mut self.files {
            for op in std::mem::take(&mut file.unsynced) {
                match op {
                    DataOp::Write(offset, bytes) => {
                        scatter(&mut file.durable, offset as usize, &bytes, keep, &mut self.random)
                    }
                    DataOp::Clear if self.random.random_bool(keep) => file.durable.clear(),
                    DataOp::Clear => {}
                }
            }
            file.seen = file.durable.clone();
        }
    }
}

impl NameOp {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameOp::Create(name, id) => drop(names.insert(name, id)),
            NameOp::Remove(name) => drop(names.remove(&name)),
            NameOp::Rename(from, to) => {
                if let Some(id) = names.remove(&from) {
                    names.insert(to, id);
                }
            }
        }
    }
}

/// Puts some of the sectors of a write onto the disk.
fn scatter(disk: &mut Vec<u8>, offset: usize, bytes: &[u8], keep: f64, random: &mut StdRng) {
    if random.random_bool(keep) && disk.len() < offset + bytes.len() {
        disk.resize(offset + bytes.len(), 0);
    }
    let mut at = 0;
    while at < bytes.len() {
        let len = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
        if random.random_bool(keep) {
            let len = if random.random_bool(0.1) { random.random_range(0..=len) } else { len };
            put(disk, offset + at, &bytes[at..at + len]);
        }
        at += len;
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Simulated {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let id = *self.0.lock().names.get(name).ok_or_else(not_found)?;
        Ok(Box::new(Handle { disk: self.clone(), id }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let (mut state, cut) = self.operate();
        state.created += 1;
        let id = match state.names.get(name).copied() {
            Some(id) => {
                state.files[id].seen.clear();
                state.files[id].unsynced.push(DataOp::Clear);
                id
            }
            None => {
                let id = state.files.len();
                state.files.push(Contents::default());
                state.names.insert(name.into(), id);
                state.unsynced_names.push(NameOp::Create(name.into(), id));
                id
            }
        };
        finish(state, cut)?;
        Ok(Box::new(Handle { disk: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (mut state, cut) = self.operate();
        let id = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.into(), id);
        state.unsynced_names.push(NameOp::Rename(from.into(), to.into()));
        finish(state, cut)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (mut state, cut) = self.operate();
        state.names.remove(name).ok_or_else(not_found)?;
        state.unsynced_names.push(NameOp::Remove(name.into()));
        finish(state, cut)
    }

    fn sync_names(&self) -> io::Result<()> {
        let (mut state, cut) = self.operate();
        if !cut {
            state.unsynced_names.clear();
            state.durable_names = state.names.clone();
        }
        finish(state, cut)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/simulated").join(name)
    }

    fn concurrent(&self) -> bool {
        false
    }
}

struct Handle {
    disk: Simulated,
    id: usize,
}

impl File for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[self.id].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let bytes = state.files[self.id].seen.get(offset as usize..).unwrap_or_default();
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, cut) = self.disk.operate();
        let growth = (offset + bytes.len() as u64).saturating_sub(state.files[self.id].seen.len() as u64);
        let mut bytes = bytes;
        let full = state.room.is_some_and(|room| growth > room);
        if full {
            let fits = (bytes.len() as u64 - growth + state.room.unwrap_or(0)) as usize;
            bytes = &bytes[..fits];
        }
        let grown = (offset + bytes.len() as u64).saturating_sub(state.files[self.id].seen.len() as u64);
        state.room = state.room.map(|room| room - grown);
        put(&mut state.files[self.id].seen, offset as usize, bytes);
        state.files[self.id].unsynced.push(DataOp::Write(offset, bytes.to_vec()));
        finish(state, cut)?;
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut state, cut) = self.disk.operate();
        if !cut {
            let file = &mut state.files[self.id];
            for op in std::mem::take(&mut file.unsynced) {
                match op {
                    DataOp::Write(offset, bytes) => put(&mut file.durable, offset as usize, &bytes),
                    DataOp::Clear => file.durable.clear(),
                }
            }
        }
        finish(state, cut)
    }
}
