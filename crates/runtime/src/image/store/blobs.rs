//! Writing blobs: a temporary file, hashed while it is written, flushed when it is wanted, then renamed to its digest.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::Store;
use super::disk::Disk;
use crate::image::digest::{Digest, HashingReader, HashingWriter};
use crate::image::error::{ImageError, is_full};

/// A file of the temporary folder, removed when dropped unless it was moved away.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    path: PathBuf,
    disk: Disk,
    moved: bool,
}

/// A complete blob that has no name yet.
#[derive(Debug)]
pub(crate) struct Staged {
    file: TemporaryFile,
    pub digest: Digest,
    pub size: u64,
}

impl TemporaryFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file was renamed and is no longer ours.
    pub(crate) fn moved_away(&mut self) {
        self.moved = true;
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.moved {
            let _ = self.disk.remove_file(&self.path);
        }
    }
}

impl Staged {
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }
}

impl Store {
    /// A new file of the temporary folder.
    pub(crate) fn temporary_file(&self) -> Result<(TemporaryFile, File), ImageError> {
        let path = self.temporary_name();
        let file = self.disk.create(&path).map_err(ImageError::io("create", &path))?;
        Ok((TemporaryFile { path, disk: self.disk.clone(), moved: false }, file))
    }

    /// Writes all of `reader` to a temporary file. `what` names it in messages; more than `limit` bytes are refused.
    pub(crate) fn stage(&self, what: &str, reader: impl Read, limit: u64) -> Result<Staged, ImageError> {
        let (temporary, file) = self.temporary_file()?;
        let mut reader = HashingReader::new(reader.take(limit.saturating_add(1)));
        let mut out = BufWriter::with_capacity(128 << 10, file);
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ImageError::Stream { what: what.to_owned(), source }),
            };
            if let Err(error) = out.write_all(&buffer[..count]) {
                drop((out, temporary));
                let needed = if is_full(&error) { rest(&mut reader) } else { 0 };
                return Err(self.write_error(what, needed, error));
            }
        }
        self.finish_staging(what, temporary, out, reader, limit)
    }

    fn finish_staging<R: Read>(
        &self,
        what: &str,
        temporary: TemporaryFile,
        out: BufWriter<File>,
        reader: HashingReader<R>,
        limit: u64,
    ) -> Result<Staged, ImageError> {
        let (digest, size) = reader.finish();
        if size > limit {
            return Err(ImageError::TooLarge { what: what.to_owned(), limit, why: "the size it was announced with" });
        }
        out.into_inner().map_err(|error| self.write_error(what, size, error.into_error()))?;
        Ok(Staged { file: temporary, digest, size })
    }

    /// A document made here, as a blob.
    pub(crate) fn stage_bytes(&self, what: &str, bytes: &[u8]) -> Result<Staged, ImageError> {
        self.stage(what, bytes, bytes.len() as u64)
    }

    /// Gives a complete blob its name.
    pub(crate) fn keep(&self, mut staged: Staged) -> Result<Digest, ImageError> {
        let path = self.layout.blob(&staged.digest);
        if !path.exists() {
            let flush = || self.disk.sync(&File::open(staged.path())?);
            flush().map_err(|error| self.write_error("a blob", staged.size, error))?;
            self.disk.rename(staged.path(), &path).map_err(ImageError::io("rename to", &path))?;
            staged.file.moved = true;
            let folder = self.layout.blobs();
            self.disk.sync_folder(&folder).map_err(ImageError::io("flush", &folder))?;
        }
        Ok(staged.digest.clone())
    }

    /// As [`Store::keep`], after checking that the bytes are the promised ones.
    pub(crate) fn keep_checked(&self, what: &str, staged: Staged, expected: &Digest) -> Result<Digest, ImageError> {
        if staged.digest != *expected {
            return Err(ImageError::DigestMismatch {
                what: what.to_owned(),
                expected: expected.clone(),
                actual: staged.digest.clone(),
                bytes: staged.size,
            });
        }
        self.keep(staged)
    }

    /// Whether the store has a blob of this digest and length.
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        std::fs::metadata(self.layout.blob(digest)).is_ok_and(|meta| meta.len() == size)
    }

    /// The bytes of a small blob, checked.
    pub(crate) fn read_document(&self, what: &str, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let path = self.layout.blob(digest);
        let bytes = std::fs::read(&path).map_err(ImageError::io("read", &path))?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            let what = format!("{what} {}", path.display());
            return Err(ImageError::DigestMismatch {
                what,
                expected: digest.clone(),
                actual,
                bytes: bytes.len() as u64,
            });
        }
        Ok(bytes)
    }

    /// Opens a blob for reading.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.layout.blob(digest);
        File::open(&path).map_err(ImageError::io("open", &path))
    }

    /// What a failed write means: a full disk is said with numbers.
    pub(crate) fn write_error(&self, what: &str, needed: u64, source: io::Error) -> ImageError {
        let path = self.layout.root().to_owned();
        if is_full(&source) {
            return ImageError::DiskFull { what: what.to_owned(), needed, free: self.free(), path };
        }
        ImageError::Io { what: "write in", path, source }
    }

    /// Bytes that are free for us.
    pub(crate) fn free(&self) -> u64 {
        rustix::fs::statvfs(self.layout.root()).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// How many bytes the whole stream has, read to its end.
fn rest<R: Read>(reader: &mut HashingReader<R>) -> u64 {
    let _ = io::copy(reader, &mut io::sink());
    reader.count()
}

/// A writer that is hashed; for callers that produce bytes instead of reading them.
pub(crate) type HashedFile = HashingWriter<BufWriter<File>>;

impl Store {
    /// Lets `produce` write a blob.
    pub(crate) fn stage_with<E>(
        &self,
        what: &str,
        produce: impl FnOnce(HashedFile) -> Result<HashedFile, E>,
    ) -> Result<Staged, ImageError>
    where
        io::Error: From<E>,
    {
        let (temporary, file) = self.temporary_file()?;
        let out = HashingWriter::new(BufWriter::with_capacity(128 << 10, file));
        let out = produce(out).map_err(|e| self.write_error(what, 0, e.into()))?;
        let (out, digest, size) = out.finish();
        out.into_inner().map_err(|error| self.write_error(what, size, error.into_error()))?;
        Ok(Staged { file: temporary, digest, size })
    }
}
