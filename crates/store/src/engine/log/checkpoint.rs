//! Checkpoints: all living objects in one file, so that the segments before it can go.
//!
//! A checkpoint is made from the files that are sealed, not from memory: the store keeps no stored bytes, only served
//! ones. It takes two passes: which value of each object is the newest, then copying those. What it reads is checked, so
//! damage in old segments is found while a backup is still fresh.

use std::io;
use std::path::Path;

use crate::disk::{Disk, File, die_of_failed_sync};
use crate::engine::ClusterId;
use crate::engine::log::format::{FileKind, FrameBuilder, FrameKind, HEADER, Header};
use crate::engine::log::names::{CHECKPOINT_TEMPORARY, Names, SPARE, checkpoint_name, segment_name};
use crate::engine::log::replay::{Ended, Replay, Value};
use crate::engine::log::scan::bad_header;
use crate::{Key, OpenError};

/// Objects are framed by about so many bytes.
const FRAME_BYTES: usize = 1 << 18;

/// Which sealed files a checkpoint is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub cluster: ClusterId,
    /// The checkpoint before, if any; its number is that of the first segment.
    pub base: Option<u64>,
    pub first: u64,
    /// The segment that continues the new checkpoint; those before it are sealed.
    pub next: u64,
}

/// What is alive, and the open files it is in.
struct Survey {
    replay: Replay<Place>,
    files: Vec<Box<dyn File>>,
}

#[derive(Clone, Copy)]
struct Place {
    file: usize,
    at: u64,
    len: usize,
}

impl Job {
    /// Makes the checkpoint durable, then removes what it replaces. Returns its size in bytes. After an error everything
    /// before is still there.
    pub fn run(&self, disk: &dyn Disk) -> Result<u64, OpenError> {
        let survey = self.survey(disk)?;
        let written = self.write(disk, &survey);
        let size = match written {
            Ok(size) => size,
            Err(error) => {
                let _ = disk.remove(CHECKPOINT_TEMPORARY);
                return Err(error);
            }
        };
        let name = checkpoint_name(self.next);
        disk.rename(CHECKPOINT_TEMPORARY, &name).map_err(|source| OpenError::Io {
            doing: "rename",
            path: disk.path(CHECKPOINT_TEMPORARY),
            source,
        })?;
        disk.sync_names().unwrap_or_else(|error| die_of_failed_sync(&disk.path(&name), &error));
        remove_before(disk, self.next)?;
        Ok(size)
    }

    /// Finds the newest value of every object.
    fn survey(&self, disk: &dyn Disk) -> Result<Survey, OpenError> {
        let mut replay = Replay::new(self.cluster);
        let mut files = Vec::new();
        let place = |file| move |value: Value<'_>| Place { file, at: value.at, len: value.bytes.len() };
        let open = |name: String| {
            disk.open(&name).map_err(|source| OpenError::Io { doing: "open", path: disk.path(&name), source })
        };
        if let Some(base) = self.base {
            replay.checkpoint(disk, base, &mut place(files.len()))?;
            files.push(open(checkpoint_name(base))?);
        }
        for number in self.first..self.next {
            let path = || disk.path(&segment_name(number));
            match replay.segment(disk, number, &mut place(files.len()))? {
                Ok(Ended::Sealed) => files.push(open(segment_name(number))?),
                Ok(Ended::Open { scan, end, .. }) => return Err(scan.damaged(end, "its seal is missing".into())),
                Err(bad) => return Err(bad_header(path(), bad)),
            }
        }
        Ok(Survey { replay, files })
    }

    fn write(&self, disk: &dyn Disk, Survey { replay, files }: &Survey) -> Result<u64, OpenError> {
        let path = disk.path(CHECKPOINT_TEMPORARY);
        let io = |source| OpenError::Io { doing: "write", path: path.clone(), source };
        let header = Header {
            kind: FileKind::Checkpoint,
            cluster: self.cluster,
            salt: rand::random(),
            segment: self.next,
            sequence: replay.sequence,
        };
        let mut out = Out::begin(disk, &header).map_err(io)?;
        let mut buffer = Vec::new();
        for (count, (key, object)) in replay.objects.iter().enumerate() {
            buffer.resize(object.value.len, 0);
            let read = files[object.value.file].read_at(&mut buffer, object.value.at).map_err(io)?;
            if read < buffer.len() {
                return Err(io(io::ErrorKind::UnexpectedEof.into()));
            }
            out.object(key, object.created, object.modified, &buffer, count as u64).map_err(io)?;
        }
        out.finish(replay.objects.len() as u64).map_err(io)?;
        out.sync(&path);
        Ok(out.at)
    }
}

/// Removes segments and checkpoints before the checkpoint `number`, which is durable; the last segment becomes the spare
/// file. No name needs to be synced: what a power cut brings back is older than the checkpoint and removed again.
pub(crate) fn remove_before(disk: &dyn Disk, number: u64) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { doing: "clean", path: disk.path(""), source };
    let names = Names::sort(disk.list().map_err(io)?);
    let old = |n: &&u64| **n < number;
    let mut spare = names.spare;
    for segment in names.segments.iter().filter(old).rev() {
        let name = segment_name(*segment);
        let done = if spare { disk.remove(&name) } else { disk.rename(&name, SPARE) };
        done.map_err(io)?;
        spare = true;
    }
    for checkpoint in names.checkpoints.iter().filter(old) {
        disk.remove(&checkpoint_name(*checkpoint)).map_err(io)?;
    }
    Ok(())
}

/// A checkpoint file being written.
pub(crate) struct Out {
    file: Box<dyn File>,
    at: u64,
    salt: [u8; 16],
    frame: FrameBuilder,
    /// Objects before the frame that is being filled.
    before: u64,
}

impl Out {
    /// Begins the temporary file.
    pub fn begin(disk: &dyn Disk, header: &Header) -> io::Result<Out> {
        let mut file = disk.create(CHECKPOINT_TEMPORARY)?;
        file.write_at(&header.encode(), 0)?;
        Ok(Out { file, at: HEADER as u64, salt: header.salt, frame: FrameBuilder::new(), before: 0 })
    }

    /// Makes what was written durable.
    pub fn sync(&mut self, path: &Path) {
        self.file.sync().unwrap_or_else(|error| die_of_failed_sync(path, &error));
    }

    /// Adds an object, before which there were `count`.
    pub fn object(&mut self, key: &Key, created: u64, modified: u64, value: &[u8], count: u64) -> io::Result<()> {
        self.frame.object(key, created, modified, value);
        if self.frame.bytes.len() >= FRAME_BYTES {
            self.put(FrameKind::Objects, self.before)?;
            self.before = count + 1;
        }
        Ok(())
    }

    /// Adds the end.
    pub fn finish(&mut self, objects: u64) -> io::Result<()> {
        if self.before < objects {
            self.put(FrameKind::Objects, self.before)?;
        }
        self.put(FrameKind::Sealed, objects)
    }

    fn put(&mut self, kind: FrameKind, sequence: u64) -> io::Result<()> {
        let bytes = self.frame.finish(&self.salt, kind, sequence);
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.frame.clear();
        Ok(())
    }
}
