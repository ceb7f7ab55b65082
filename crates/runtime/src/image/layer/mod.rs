//! Unpacking a layer's archive into a folder that overlayfs can use as a lower one.
//!
//! Archives come from strangers and are unpacked by root, so every path is resolved by the kernel below the layer's
//! own folder (`openat2` with `RESOLVE_BENEATH`): what climbs or links out of it is refused, not clamped, because a
//! clamped entry lands where nobody meant it. Changing root, as other engines do, was refused: it needs a process of
//! its own and hides the attempt.
//!
//! A layer is unpacked knowing the layers below it: folders that it implies but does not describe take their owner and
//! mode from there, and hard links may name files of lower layers.

mod apply;
mod pack;
mod root;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use apply::Writer;
pub(crate) use pack::pack;
use root::Root;

use super::compression::decoder;
use super::digest::{Digest, HashingReader};
use super::error::is_full;
use super::tarball::TarReader;

/// Bounds of one layer; what is beyond is taken for a decompression bomb.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the uncompressed archive.
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 64 << 30, entries: 4_000_000 }
    }
}

/// What was unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Bytes of file contents.
    pub bytes: u64,
}

/// Why a layer was not unpacked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An entry would touch something outside, or makes no sense.
    Refused { entry: String, problem: String },
    /// The archive cannot be read.
    Unreadable(io::Error),
    /// The system failed while writing an entry.
    Write { entry: String, source: io::Error },
    /// The disk is full; the whole layer needs this many bytes.
    Full { needed: u64 },
    /// More than allowed.
    TooLarge { limit: u64, why: &'static str },
}

/// Why one entry was not written.
#[derive(Debug)]
enum EntryError {
    Refused(String),
    Read(io::Error),
    Write(io::Error),
}

impl From<rustix::io::Errno> for EntryError {
    fn from(errno: rustix::io::Errno) -> EntryError {
        EntryError::Write(errno.into())
    }
}

/// Unpacks the archive `reader` (plain, gzip or zstd) into the existing folder `target`. `lowers` are the unpacked
/// layers below it, nearest first. On failure `target` holds a part, for the caller to remove.
pub(crate) fn unpack(
    reader: impl Read + Send,
    target: &Path,
    lowers: &[PathBuf],
    limits: Limits,
) -> Result<Unpacked, Failure> {
    let (decoder, _) = decoder(reader).map_err(Failure::Unreadable)?;
    let mut archive = TarReader::new(HashingReader::new(decoder));
    let open = |source| Failure::Write { entry: ".".into(), source };
    let mut writer = Writer::new(Root::open(target, lowers).map_err(open)?);
    let result = write_all(&mut writer, &mut archive, limits);
    let bytes = writer.bytes();
    drop(writer);
    match result {
        Err(Failure::Write { source, .. }) if is_full(&source) => {
            // Make room for the others first, then find out what the layer needs.
            let _ = std::fs::remove_dir_all(target);
            let _ = archive.drain_all(limits.bytes);
            Err(Failure::Full { needed: archive.inner().count() })
        }
        Err(failure) => Err(failure),
        Ok(()) => {
            archive.drain_all(limits.bytes).map_err(Failure::Unreadable)?;
            let (diff_id, read) = archive.into_inner().finish();
            if read > limits.bytes {
                return Err(too_large(limits));
            }
            Ok(Unpacked { diff_id, bytes })
        }
    }
}

fn write_all<R: Read>(
    writer: &mut Writer,
    archive: &mut TarReader<HashingReader<R>>,
    limits: Limits,
) -> Result<(), Failure> {
    let mut entries = 0;
    while let Some(entry) = archive.next().map_err(Failure::Unreadable)? {
        entries += 1;
        if archive.inner().count().saturating_add(entry.size) > limits.bytes {
            return Err(too_large(limits));
        }
        if entries > limits.entries {
            return Err(Failure::TooLarge {
                limit: limits.entries,
                why: "the greatest number of entries a layer may have",
            });
        }
        writer.apply(&entry, archive).map_err(|error| match error {
            EntryError::Refused(problem) => Failure::Refused { entry: entry.name(), problem },
            EntryError::Read(source) => Failure::Unreadable(source),
            EntryError::Write(source) => Failure::Write { entry: entry.name(), source },
        })?;
    }
    writer.finish().map_err(|source| Failure::Write { entry: ".".into(), source })
}

fn too_large(limits: Limits) -> Failure {
    Failure::TooLarge { limit: limits.bytes, why: "the greatest size a layer may have" }
}
