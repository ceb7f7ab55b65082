//! Fetching blobs, continuing where a connection was cut.
//!
//! Bytes go to a file named after the digest they must have in the end; a thread of its own hashes and writes them
//! while the next ones arrive. What a dead registry gave before it died is kept and continued from.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use oci_client::client::BlobResponse;
use oci_client::errors::{DigestError, OciDistributionError};
use tokio::sync::{mpsc, oneshot};

use super::{ATTEMPTS, Answer, Remote};
use crate::image::digest::{Digest, Hasher};
use crate::image::error::{ImageError, is_full};
use crate::image::manifest::{DOCUMENT_LIMIT, Descriptor};
use crate::image::progress::{Progress, Step};
use crate::image::store::{FileGuard, NameGuard, Store};

/// How much is told at once.
const TOLD: u64 = 256 << 10;

/// What the writing thread is told.
enum Piece {
    /// The registry starts from the beginning.
    Restart,
    Bytes(Bytes),
    /// All bytes came.
    End,
}

impl Remote {
    /// Brings a blob into the store, unless it is there.
    pub(crate) async fn fetch(
        &self,
        store: &Arc<Store>,
        gate: &Arc<FileGuard>,
        blob: &Descriptor,
        progress: &Progress,
    ) -> Result<(), ImageError> {
        let item = blob.digest.short();
        // The writing thread holds it too: it may outlive a pull that is given up.
        let lock = Arc::new(store.locks.name(&format!("blob-{}", blob.digest.hex())).await?);
        let held = (gate.clone(), lock);
        if store.has_blob(&blob.digest, blob.size) {
            progress.tell(item, Step::Exists);
            return Ok(());
        }
        let mut continued = false;
        match self.download(store, &held, blob, progress, &mut continued).await {
            // The part that an earlier run left may have been damaged since; now everything comes anew.
            Err(ImageError::DigestMismatch { .. }) if continued => {
                self.download(store, &held, blob, progress, &mut continued).await
            }
            other => other,
        }
    }

    async fn download(
        &self,
        store: &Arc<Store>,
        held: &(Arc<FileGuard>, Arc<NameGuard>),
        blob: &Descriptor,
        progress: &Progress,
        continued: &mut bool,
    ) -> Result<(), ImageError> {
        let (to_writer, pieces) = mpsc::channel(16);
        let (tell_start, start) = oneshot::channel();
        let origin = format!("layer {} from registry {}", blob.digest, self.reference.registry());
        let (store, held, wanted) = (store.clone(), held.clone(), blob.clone());
        let writer = tokio::task::spawn_blocking(move || {
            let _held = held;
            write(&store, &wanted, &origin, tell_start, pieces)
        });
        let sent = match start.await {
            Ok(start) => {
                *continued = start > 0;
                self.receive(blob, start, &to_writer, progress).await
            }
            Err(_) => Ok(()),
        };
        drop(to_writer);
        // The writer's failure explains the sender's.
        writer.await.map_err(|_| ImageError::Interrupted { what: "writing a layer" })??;
        sent?;
        progress.tell(blob.digest.short(), Step::Downloading { done: blob.size, total: Some(blob.size) });
        Ok(())
    }

    /// Passes the blob's bytes from `done` on to the writer, through as many connections as it takes.
    async fn receive(
        &self,
        blob: &Descriptor,
        mut done: u64,
        writer: &mpsc::Sender<Piece>,
        progress: &Progress,
    ) -> Result<(), ImageError> {
        let theirs = self.theirs(&self.reference)?;
        let (item, digest) = (blob.digest.short(), blob.digest.to_string());
        let what = format!("layer {}", blob.digest);
        let (mut attempt, mut told) = (1, done);
        while done < blob.size {
            let before = done;
            let problem = match self.client.pull_blob_stream_partial(&theirs, digest.as_str(), done, None).await {
                Err(error) => match Answer::of(&error) {
                    Answer::TryAgain(problem) | Answer::Unreachable(problem) | Answer::Silent(problem) => problem,
                    answer => return Err(self.failure(&what, attempt, done, answer)),
                },
                Ok(response) => {
                    let mut stream = match response {
                        BlobResponse::Partial(stream) => stream.stream,
                        BlobResponse::Full(stream) => {
                            done = 0;
                            if writer.send(Piece::Restart).await.is_err() {
                                return Ok(());
                            }
                            stream.stream
                        }
                    };
                    loop {
                        match stream.next().await {
                            Some(Ok(bytes)) => {
                                done += bytes.len() as u64;
                                if writer.send(Piece::Bytes(bytes)).await.is_err() {
                                    return Ok(());
                                }
                                if done >= told + TOLD || done < told {
                                    told = done;
                                    progress.tell(item, Step::Downloading { done, total: Some(blob.size) });
                                }
                            }
                            // All bytes came, and they are wrong: the writer says so with both digests.
                            Some(Err(error)) if is_digest_error(&error) => break String::new(),
                            Some(Err(error)) => break super::answer::chain(&error),
                            None => break "it closed the connection early".to_owned(),
                        }
                    }
                }
            };
            if done >= blob.size || problem.is_empty() {
                break;
            }
            if done > before {
                attempt = 1;
            }
            if attempt >= ATTEMPTS {
                return Err(self.failure(&what, attempt, done, Answer::TryAgain(problem)));
            }
            self.pause(item, progress, &mut attempt, problem).await;
        }
        let _ = writer.send(Piece::End).await;
        Ok(())
    }

    /// A small blob's bytes.
    pub(crate) async fn fetch_document(&self, what: &str, blob: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let theirs = self.theirs(&self.reference)?;
        let digest = blob.digest.to_string();
        let ask = || async {
            let mut stream = self.client.pull_blob_stream(&theirs, digest.as_str()).await?.stream;
            let mut bytes = Vec::new();
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => bytes.extend_from_slice(&piece),
                    Err(error) if is_digest_error(&error) => break,
                    Err(error) => return Err(OciDistributionError::IoError(error)),
                }
                if bytes.len() as u64 > DOCUMENT_LIMIT {
                    break;
                }
            }
            Ok(bytes)
        };
        let bytes = self.retried(what, ask).await?;
        let (actual, bytes_read) = (Digest::of(&bytes), bytes.len() as u64);
        if actual != blob.digest {
            let what = format!("{what} from registry {}", self.reference.registry());
            return Err(ImageError::DigestMismatch { what, expected: blob.digest.clone(), actual, bytes: bytes_read });
        }
        Ok(bytes)
    }
}

fn is_digest_error(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<DigestError>() || inner.to_string().contains("digest"))
}

/// The writing thread: continues the file, says from where, and names it when it is complete and right.
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
        // The registry went away; the part waits for the next attempt.
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
