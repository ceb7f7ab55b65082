//! Taking all objects out of a running store, and making a new one of them.
//!
//! A backup is one snapshot: the state at one revision, while writing goes on. Its values are what an engine would
//! store (without revisions, sealed where they are), made from the snapshot by [`Codec::close`](crate::Codec::close);
//! so it is the same whatever engine kept them, and is also the way from one engine to another. Refused: copying the
//! log's files, which would need the writer to stand still and bind backups to one engine.
//!
//! The form is that of a checkpoint (`engine/log/format.rs`): a header that names the cluster, the revision offset and
//! the sequence, frames of objects with checksums, and an end that says how many there were. So a backup that is cut
//! short, or damaged in any byte, is refused.
//!
//! **Revisions never go backwards.** Between the backup and its restoration the cluster went on issuing revisions that
//! nobody wrote down. The new store's offset lies [`GAP`] above the backup's, which is more than a cluster can have
//! issued meanwhile, and above what the caller knows to have been issued. Watchers from before are sent back to list,
//! and a writer that read an object before meets a conflict.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::disk::die_of_failed_sync;
use crate::disk::{Disk, Folder, Holder};
use crate::engine::log::Segment;
use crate::engine::log::checkpoint::Out;
use crate::engine::log::format::{
    BadHeader, FRAME, FileKind, FrameBuilder, FrameHead, FrameKind, HEADER, Header, Item, VERSION, frame_checksum,
    read_body,
};
use crate::engine::log::identity::Identity;
use crate::engine::log::names::{CHECKPOINT_TEMPORARY, Names, checkpoint_name};
use crate::{ClusterId, CodecError, EtcdConfig, Key, OpenError, Prefix, Revision, Snapshot, Store};

/// How far above the backup's revisions those of a store that is made from it begin. At 20,000 transactions a second,
/// all the time, this is what a cluster issues in 20 months; and it leaves room for 8,000 restorations before a revision
/// outgrows what every client reads as a number (2^53).
pub const GAP: u64 = 1 << 40;

/// A frame is closed when it has about so many bytes.
const FRAME_BYTES: usize = 1 << 18;
/// No frame of a backup is longer: its bytes, and one more object of the largest size.
const LONGEST: usize = FRAME_BYTES + crate::MAX_VALUE + (1 << 20);
/// The number of the checkpoint that a new store begins with, and of the segment that continues it.
const BASE: u64 = 1;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The cluster whose data it is.
    pub cluster: ClusterId,
    /// The revision at which everything was taken; after an import, the first revision of the new store.
    pub revision: Revision,
    /// How many objects there are.
    pub objects: u64,
}

/// A folder that no other process can use for as long as this lives.
#[derive(Debug)]
pub struct Held {
    _holder: Holder,
}

/// Why a backup could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An object's bytes could not be turned into what is stored.
    #[error("{key} cannot be put into the backup, which is not complete")]
    Codec {
        /// The object.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
    /// The backup could not be written.
    #[error("the backup cannot be written and is not complete")]
    Write(#[source] io::Error),
}

/// Why no store could be made from a backup. Nothing that opens as a store is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is something already.
    #[error("{folder} holds a store or a part of one: give an empty folder, or move that one away")]
    NotEmpty {
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// The bytes are not a whole backup.
    #[error("the backup is damaged at byte {offset}: {what}. Take another one")]
    Damaged {
        /// Where.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// The backup was made by a newer version.
    #[error("the backup has format version {found}, this naru knows up to {known}: use a newer naru")]
    Version {
        /// Its version.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// The backup could not be read.
    #[error("the backup cannot be read")]
    Read(#[source] io::Error),
    /// The new store could not be written.
    #[error(transparent)]
    Store(#[from] OpenError),
}

// === impl Store ===

impl Store {
    /// Writes all objects, as they are at one revision, while the store goes on. Blocks the thread while it writes.
    ///
    /// # Errors
    /// When `out` fails or an object has no stored form; what was written until then is no backup.
    pub fn export(&self, out: &mut dyn Write) -> Result<Backup, ExportError> {
        self.export_of(&self.snapshot(), out)
    }

    /// Writes all objects of a snapshot of this store, for a caller that must say first which revision it is.
    ///
    /// # Errors
    /// As [`Store::export`].
    pub fn export_of(&self, snapshot: &Snapshot, out: &mut dyn Write) -> Result<Backup, ExportError> {
        let (offset, codec) = (self.offset(), self.codec());
        let revision = snapshot.revision();
        let header = Header {
            kind: FileKind::Backup,
            cluster: self.cluster(),
            salt: rand::random(),
            segment: offset,
            sequence: revision.0 - offset,
        };
        out.write_all(&header.encode()).map_err(ExportError::Write)?;
        let mut frame = FrameBuilder::new();
        let (mut objects, mut before) = (0, 0);
        for entry in snapshot.range(&Prefix::all()) {
            let stored = codec.close(&entry.key, &entry.served);
            let stored = stored.map_err(|source| ExportError::Codec { key: entry.key.clone(), source })?;
            frame.object(&entry.key, entry.created.0 - offset, entry.modified.0 - offset, &stored);
            objects += 1;
            if frame.bytes.len() >= FRAME_BYTES {
                put(out, &mut frame, &header.salt, FrameKind::Objects, before)?;
                before = objects;
            }
        }
        if before < objects {
            put(out, &mut frame, &header.salt, FrameKind::Objects, before)?;
        }
        put(out, &mut frame, &header.salt, FrameKind::Sealed, objects)?;
        out.flush().map_err(ExportError::Write)?;
        Ok(Backup { cluster: header.cluster, revision, objects })
    }

    /// Makes a store of a backup in an empty folder, durably; it is opened like any other afterwards. All its revisions
    /// lie above those that the backup's cluster ever issued, and above `issued`, which matters only to a caller that
    /// knows of an even higher one. Blocks the thread.
    ///
    /// # Errors
    /// When the folder is used or cannot be written, or the backup is not whole.
    pub fn import(dir: &Path, backup: &mut dyn Read, issued: Option<Revision>) -> Result<Backup, ImportError> {
        let (folder, _holder) = Folder::hold(dir)?;
        import(&folder, backup, issued)
    }

    /// Keeps other processes from using a folder as a store's, as an open store does: for servers whose store is elsewhere
    /// and of which a folder may have only one.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be made.
    pub fn hold(dir: &Path) -> Result<Held, OpenError> {
        let (_, holder) = Folder::hold(dir)?;
        Ok(Held { _holder: holder })
    }

    /// As [`Store::import`], into etcd, where there must be nothing under the prefix. Reading the backup blocks the
    /// thread.
    ///
    /// # Errors
    /// As [`Store::import`]. What an import that failed has written must be deleted by hand: nothing takes it for a store.
    pub async fn import_into(
        etcd: &EtcdConfig,
        backup: impl Read,
        issued: Option<Revision>,
    ) -> Result<Backup, ImportError> {
        let client = naru_etcd::Client::new(&etcd.connection).map_err(|source| OpenError::EtcdConfig { source })?;
        crate::remote::import(&client, &etcd.prefix, backup, issued).await
    }
}

fn put(
    out: &mut dyn Write,
    frame: &mut FrameBuilder,
    salt: &[u8; 16],
    kind: FrameKind,
    sequence: u64,
) -> Result<(), ExportError> {
    let bytes = frame.finish(salt, kind, sequence).ok_or_else(|| io::ErrorKind::FileTooLarge.into());
    bytes.and_then(|bytes| out.write_all(bytes)).map_err(ExportError::Write)?;
    frame.clear();
    Ok(())
}

/// Makes the files of a store: the objects as a checkpoint, an empty segment that continues it, and last the identity,
/// without which nothing opens.
pub(crate) fn import(disk: &dyn Disk, backup: &mut dyn Read, issued: Option<Revision>) -> Result<Backup, ImportError> {
    let names = disk.list().map_err(|source| OpenError::Io { doing: "read", path: disk.path(""), source })?;
    if !Names::sort(names).is_empty() {
        return Err(ImportError::NotEmpty { folder: disk.path("") });
    }
    let mut reading = Reading::begin(backup)?;
    let from = reading.header.clone();
    let path = disk.path(CHECKPOINT_TEMPORARY);
    let failed = |source| OpenError::Io { doing: "write", path: path.clone(), source };
    let header = Header { kind: FileKind::Checkpoint, salt: rand::random(), segment: BASE, ..from.clone() };
    let mut out = Out::begin(disk, &header).map_err(failed)?;
    let mut objects = 0;
    while let Some((head, body)) = reading.next(objects)? {
        let mut result = Ok(());
        let read = read_body(&head, &body, |item| {
            if let (Item::Object { created, modified, key, value, .. }, Ok(())) = (item, &result) {
                result = out.object(&key, created, modified, value, objects);
                objects += 1;
            }
        });
        result.map_err(failed)?;
        read.ok_or(ImportError::Damaged { offset: reading.at, what: "a record before it makes no sense" })?;
    }
    out.finish(objects).map_err(failed)?;
    out.sync(&path);
    let name = checkpoint_name(BASE);
    disk.rename(CHECKPOINT_TEMPORARY, &name).map_err(failed)?;
    disk.sync_names().unwrap_or_else(|error| die_of_failed_sync(&disk.path(&name), &error));
    Segment::create(disk, from.cluster, BASE, from.sequence).map_err(failed)?;
    let offset = (from.segment + GAP).max(issued.map_or(0, |r| r.0));
    Identity { cluster: from.cluster, offset }.write(disk)?;
    Ok(Backup { cluster: from.cluster, revision: Revision(offset + from.sequence), objects })
}

/// A backup being read and checked.
pub(crate) struct Reading<'a> {
    from: &'a mut dyn Read,
    pub header: Header,
    pub at: u64,
}

impl Reading<'_> {
    pub fn begin(from: &mut dyn Read) -> Result<Reading<'_>, ImportError> {
        let mut bytes = [0; HEADER];
        let mut at = 0;
        fill(from, &mut bytes, &mut at)?;
        let header = Header::decode(FileKind::Backup, &bytes).map_err(|bad| match bad {
            BadHeader::Version(found) if found > VERSION => ImportError::Version { found, known: VERSION },
            BadHeader::Version(_) => ImportError::Damaged { offset: 8, what: "the format version is zero" },
            BadHeader::Other(what) => ImportError::Damaged { offset: 0, what },
        })?;
        Ok(Reading { from, header, at })
    }

    /// The next frame of objects, when there were so many before it; `None` at the end.
    pub fn next(&mut self, objects: u64) -> Result<Option<(FrameHead, Vec<u8>)>, ImportError> {
        let start = self.at;
        let damaged = |what| ImportError::Damaged { offset: start, what };
        let mut fixed = [0; FRAME];
        fill(self.from, &mut fixed, &mut self.at)?;
        let head = FrameHead::decode(&fixed).ok_or(damaged("no record begins here"))?;
        if head.len() > LONGEST {
            return Err(damaged("the record says that it is longer than any"));
        }
        let mut frame = vec![0; head.len()];
        frame[..FRAME].copy_from_slice(&fixed);
        fill(self.from, &mut frame[FRAME..], &mut self.at)?;
        if frame_checksum(&self.header.salt, &frame[8..]) != head.checksum {
            return Err(damaged("the record's checksum does not match"));
        }
        if head.sequence != objects {
            return Err(damaged("records before it are missing"));
        }
        match head.kind {
            FrameKind::Objects => {
                frame.truncate(FRAME + head.body);
                frame.drain(..FRAME);
                Ok(Some((head, frame)))
            }
            FrameKind::Sealed if matches!(self.from.read(&mut [0]).map_err(ImportError::Read)?, 0) => Ok(None),
            FrameKind::Sealed => {
                Err(ImportError::Damaged { offset: self.at, what: "there is something behind its end" })
            }
            FrameKind::Transactions | FrameKind::Closed => Err(damaged("a backup has no record of this kind")),
        }
    }
}

fn fill(from: &mut dyn Read, buffer: &mut [u8], at: &mut u64) -> Result<(), ImportError> {
    match from.read_exact(buffer) {
        Ok(()) => *at += buffer.len() as u64,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(ImportError::Damaged { offset: *at, what: "it ends in the middle of a record" });
        }
        Err(error) => return Err(ImportError::Read(error)),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
