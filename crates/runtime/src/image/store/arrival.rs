//! A blob that arrives from elsewhere, piece by piece.
//!
//! Bytes go to a file named after the digest they must have in the end; a thread of its own hashes and writes them
//! while the next ones arrive. What came before the source went away is kept, and the next attempt continues it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::Store;
use crate::image::digest::Hasher;
use crate::image::error::{ImageError, is_full};
use crate::image::manifest::Descriptor;

/// How many bytes are worth a word of progress.
pub(crate) const TOLD: u64 = 256 << 10;

/// What the writing thread is told.
pub(crate) enum Piece {
    /// The source starts from the beginning.
    Restart,
    Bytes(Bytes),
    /// All bytes came.
    End,
}

impl Store {
    /// Continues the file, says from where, and names it when it is complete and right. `origin` names the blob and
    /// where it comes from in messages.
    pub(crate) fn arrive(
        &self,
        blob: &Descriptor,
        origin: &str,
        tell_start: oneshot::Sender<u64>,
        pieces: mpsc::Receiver<Piece>,
    ) -> Result<(), ImageError> {
        write(self, blob, origin, tell_start, pieces)
    }
}

fn write(
    store: &Store,
    blob: &Descriptor,
    origin: &str,
    tell_start: oneshot::Sender<u64>,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<(), ImageError> {
    let path = store.layout.partial(&blob.digest);
    let result = (|| {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut hasher = rehash(&mut file, blob.size)?;
        if tell_start.send(hasher.bytes()).is_err() {
            return Ok(None);
        }
        while let Some(piece) = pieces.blocking_recv() {
            match piece {
                Piece::Restart => {
                    file.set_len(0)?;
                    file.seek(SeekFrom::Start(0))?;
                    hasher = Hasher::new();
                }
                Piece::Bytes(bytes) => {
                    hasher.update(&bytes);
                    file.write_all(&bytes)?;
                    if hasher.bytes() > blob.size {
                        return Ok(Some((file, hasher)));
                    }
                }
                Piece::End => return Ok(Some((file, hasher))),
            }
        }
        Ok(None)
    })();
    let remove = || store.disk.remove_file(&path).map_err(ImageError::io("remove", &path));
    match result {
        // Whoever gave it went away; the part waits for the next attempt.
        Ok(None) => Ok(()),
        Ok(Some((_, hasher))) if hasher.bytes() > blob.size => {
            remove()?;
            Err(ImageError::TooLarge {
                what: origin.to_owned(),
                limit: blob.size,
                why: "the size its manifest announces",
            })
        }
        Ok(Some((file, hasher))) => {
            let (bytes, actual) = (hasher.bytes(), hasher.finish());
            if actual != blob.digest {
                remove()?;
                return Err(ImageError::DigestMismatch {
                    what: origin.to_owned(),
                    expected: blob.digest.clone(),
                    actual,
                    bytes,
                });
            }
            let place = store.layout.blob(&blob.digest);
            store.disk.sync(&file).map_err(ImageError::io("flush", &path))?;
            store.disk.rename(&path, &place).map_err(ImageError::io("rename to", &place))?;
            let folder = store.layout.blobs();
            store.disk.sync_folder(&folder).map_err(ImageError::io("flush", &folder))
        }
        Err(error) => {
            if is_full(&error) {
                remove()?;
            }
            Err(store.write_error(origin, blob.size, error))
        }
    }
}

/// Hashes what an earlier attempt left. A file that is already too long starts anew.
fn rehash(file: &mut File, size: u64) -> std::io::Result<Hasher> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hasher);
        }
        hasher.update(&buffer[..count]);
        if hasher.bytes() > size {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            return Ok(Hasher::new());
        }
    }
}
