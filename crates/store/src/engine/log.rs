//! The embedded engine: a checksummed write-ahead log with checkpoints.
//!
//! All objects are in memory, so the disk is only asked to remember: a group of transactions is one frame, appended and
//! synced once. When the log outgrows the living data it is sealed, a new segment begins, and a checkpoint of what is
//! alive is made from the sealed files in the background; then they are removed.
//!
//! - What was acknowledged is in a synced frame. A torn tail was never acknowledged and is dropped when the log is
//!   opened. Damage anywhere before is refused with the file and the offset (`scan` tells the two apart).
//! - A failed sync ends the process. A failed write (disk full) leaves a part of a frame behind the end: it can never
//!   become whole, so no recovery takes it for one, and the next frame is written over it. What failed stays failed,
//!   reads go on, and the next write is tried as if nothing had been.
//! - Segments are written into room they already have: a former segment's file, or zeros written ahead in steps. So
//!   most syncs write data only and no file metadata, and files are seldom removed. Each file's own salt in every
//!   checksum keeps a former segment's frames from being taken for this one's.
//!
//! Refused: an embedded database. Its trees would keep a second copy of what is in memory; redb, the one whose file
//! layer can be simulated, does not reach the rate (see `benches/engine.rs`).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::disk::{Disk, File, Folder, Holder, die_of_failed_sync};
use crate::engine::{ClusterId, Engine, Opening, Record};
use crate::{OpenError, Revision, StoreError};

pub(crate) mod checkpoint;
pub(crate) mod format;
pub(crate) mod identity;
pub(crate) mod names;
pub(crate) mod recover;
mod replay;
mod scan;

#[cfg(test)]
mod tests;

use checkpoint::Job;
use format::{FileKind, FrameBuilder, FrameKind, HEADER, Header};
use names::{SPARE, segment_name};

/// When to do what; tests use small numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// A log shorter than this is never checkpointed, in bytes.
    pub checkpoint_from: u64,
    /// How far ahead the tail is zeroed, in bytes.
    pub zero_ahead: u64,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { checkpoint_from: 32 << 20, zero_ahead: 1 << 20 }
    }
}

/// The open log.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    tuning: Tuning,
    cluster: ClusterId,
    active: Segment,
    sequence: u64,
    frame: FrameBuilder,
    /// The newest checkpoint; it is also the number of the first segment after it.
    base: Option<u64>,
    base_bytes: u64,
    /// The first segment that is not in the checkpoint, and the bytes of those sealed since.
    first: u64,
    sealed_bytes: u64,
    /// No checkpoint is tried before the log is so long, after one failed.
    patience: u64,
    job: Option<Running>,
    /// Last, so that the folder is held until everything else is gone.
    _holder: Option<Holder>,
}

struct Running {
    next: u64,
    thread: JoinHandle<Result<u64, OpenError>>,
}

/// Opens the log in a folder and loads what it holds.
pub(crate) fn open(dir: &Path, raise_above: Option<Revision>) -> Opening {
    let (folder, holder) = Folder::hold(dir)?;
    recover::open(Arc::new(folder), Some(holder), raise_above, Tuning::default())
}

impl Engine for Log {
    fn append(&mut self, group: &[Record]) -> Result<(), StoreError> {
        let Some(first) = group.first() else { return Ok(()) };
        debug_assert_eq!(first.sequence, self.sequence + 1);
        self.frame.clear();
        group.iter().for_each(|record| self.frame.transaction(record));
        self.put(FrameKind::Transactions, first.sequence)?;
        self.sequence += group.len() as u64;
        self.tend_checkpoint();
        Ok(())
    }

    fn close(&mut self) {
        if let Some(Running { thread, .. }) = self.job.take() {
            // Its result is found again by the next start.
            let _ = thread.join();
        }
        self.frame.clear();
        if let Err(error) = self.put(FrameKind::Closed, self.sequence) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store's log was not closed in good order");
        }
    }
}

impl Log {
    /// Appends what is in `self.frame` and syncs.
    fn put(&mut self, kind: FrameKind, sequence: u64) -> Result<(), StoreError> {
        let name = segment_name(self.active.number);
        let written = match self.frame.finish(&self.active.salt, kind, sequence) {
            None => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
            Some(bytes) => self.active.append(bytes, self.tuning.zero_ahead),
        };
        let Err(error) = written else {
            self.active.file.sync().unwrap_or_else(|error| die_of_failed_sync(&self.disk.path(&name), &error));
            return Ok(());
        };
        let source = Arc::new(error);
        Err(match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full { folder: self.disk.path(""), source }
            }
            _ => StoreError::Write { file: self.disk.path(&name), source },
        })
    }

    /// Takes the result of a checkpoint that is done; starts one when the log has outgrown the living data.
    fn tend_checkpoint(&mut self) {
        if self.job.as_ref().is_some_and(|job| job.thread.is_finished())
            && let Some(Running { next, thread }) = self.job.take()
            && let Ok(result) = thread.join()
        {
            self.checkpointed(next, result);
        }
        let enough = self.base_bytes.max(self.tuning.checkpoint_from).max(self.patience);
        if self.job.is_some() || self.sealed_bytes + self.active.end <= enough {
            return;
        }
        if let Err(error) = self.rotate() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the store's log could not be continued in a new file"
            );
            self.patience = self.sealed_bytes + self.active.end + self.tuning.checkpoint_from;
            return;
        }
        let next = self.active.number;
        let job = Job { cluster: self.cluster, base: self.base, first: self.first, next };
        if !self.disk.concurrent() {
            return self.checkpointed(next, job.run(&*self.disk));
        }
        let disk = self.disk.clone();
        let thread = std::thread::Builder::new().name("store-checkpoint".into()).spawn(move || job.run(&*disk));
        match thread {
            Ok(thread) => self.job = Some(Running { next, thread }),
            Err(source) => {
                let path = self.disk.path("");
                self.checkpointed(next, Err(OpenError::Io { doing: "start a thread for", path, source }));
            }
        }
    }

    fn checkpointed(&mut self, next: u64, result: Result<u64, OpenError>) {
        match result {
            Ok(bytes) => {
                self.base = Some(next);
                (self.base_bytes, self.first, self.sealed_bytes, self.patience) = (bytes, next, 0, 0);
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "no checkpoint of the store could be made; its log grows until one can"
                );
                self.patience = self.sealed_bytes + self.active.end + self.tuning.checkpoint_from;
            }
        }
    }

    /// Continues in a new segment. The new one is durable before the old one is sealed, so that a seal proves that
    /// there must be another.
    fn rotate(&mut self) -> io::Result<()> {
        let number = self.active.number + 1;
        let next = Segment::create(&*self.disk, self.cluster, number, self.sequence)?;
        self.frame.clear();
        let sealed = match self.frame.finish(&self.active.salt, FrameKind::Sealed, self.sequence) {
            None => Err(io::ErrorKind::FileTooLarge.into()),
            Some(bytes) => self.active.append(bytes, 0),
        };
        if let Err(error) = sealed {
            self.disk.remove(&segment_name(number))?;
            return Err(error);
        }
        let old = std::mem::replace(&mut self.active, next);
        let (mut file, path) = (old.file, self.disk.path(&segment_name(old.number)));
        file.sync().unwrap_or_else(|error| die_of_failed_sync(&path, &error));
        self.sealed_bytes += old.end;
        Ok(())
    }
}

/// The segment that is being written.
pub(crate) struct Segment {
    number: u64,
    salt: [u8; 16],
    file: Box<dyn File>,
    /// Behind the last frame.
    end: u64,
    /// The file's length: bytes behind `end` are zeros, a torn frame or a former segment's, and are there to be
    /// overwritten.
    reserved: u64,
}

impl Segment {
    /// Makes an empty segment, durably; from the spare file if there is one. The header is durable before the name.
    pub(crate) fn create(disk: &dyn Disk, cluster: ClusterId, number: u64, sequence: u64) -> io::Result<Segment> {
        let name = segment_name(number);
        let header = Header { kind: FileKind::Segment, cluster, salt: rand::random(), segment: number, sequence };
        let mut file = match disk.open(SPARE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(SPARE)?,
            opened => opened?,
        };
        let end = HEADER as u64;
        file.write_at(&header.encode(), 0)?;
        let reserved = file.len()?.max(end);
        file.sync().unwrap_or_else(|error| die_of_failed_sync(&disk.path(SPARE), &error));
        disk.rename(SPARE, &name)?;
        disk.sync_names().unwrap_or_else(|error| die_of_failed_sync(&disk.path(&name), &error));
        Ok(Segment { number, salt: header.salt, file, end, reserved })
    }

    /// Writes a frame at the end, without syncing it.
    fn append(&mut self, frame: &[u8], zero_ahead: u64) -> io::Result<()> {
        self.file.write_at(frame, self.end)?;
        self.end += frame.len() as u64;
        if self.end > self.reserved {
            self.reserved = self.end;
            // Only to make later syncs cheap: no room for it is not an error of this write.
            while self.reserved < self.end + zero_ahead && self.file.write_at(&ZEROS, self.reserved).is_ok() {
                self.reserved += ZEROS.len() as u64;
            }
        }
        Ok(())
    }
}

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
