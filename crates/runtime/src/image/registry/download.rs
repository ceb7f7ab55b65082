//! Fetching blobs, continuing where a connection was cut.
//!
//! A thread of its own hashes and writes the bytes while the next ones arrive (`store/arrival.rs`). What a dead registry
//! gave before it died is kept and continued from.

use std::sync::Arc;

use futures_util::StreamExt;
use oci_client::client::BlobResponse;
use oci_client::errors::{DigestError, OciDistributionError};
use tokio::sync::{mpsc, oneshot};

use super::{ATTEMPTS, Answer, Remote};
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::manifest::{DOCUMENT_LIMIT, Descriptor};
use crate::image::progress::{Progress, Step};
use crate::image::store::{FileGuard, NameGuard, Piece, Store, TOLD};

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
            store.arrive(&wanted, &origin, tell_start, pieces)
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
