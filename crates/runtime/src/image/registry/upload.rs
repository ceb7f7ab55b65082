//! Sending blobs and manifests.

use futures_util::stream;
use oci_client::errors::OciDistributionError;
use tokio::io::AsyncReadExt;

use super::{Answer, Remote};
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::manifest::Descriptor;
use crate::image::progress::{Progress, Step};
use crate::image::store::Store;

/// How much is read and sent at once.
const PIECE: usize = 256 << 10;

impl Remote {
    /// Gets the right to write before anything is sent, so that a refusal comes first.
    pub(crate) async fn authorise_push(&self) -> Result<(), ImageError> {
        let theirs = self.theirs(&self.reference)?;
        let ask = || async { self.client.auth(&theirs, &self.auth, oci_client::RegistryOperation::Push).await };
        self.retried("the login", ask).await.map(|_| ())
    }

    /// Sends a blob, unless the registry has it.
    pub(crate) async fn send(&self, store: &Store, blob: &Descriptor, progress: &Progress) -> Result<(), ImageError> {
        let theirs = self.theirs(&self.reference)?;
        let (item, digest) = (blob.digest.short(), blob.digest.to_string());
        let what = format!("blob {digest}");
        let there = self.retried(&what, || async { self.client.blob_exists(&theirs, &digest).await }).await?;
        if there {
            progress.tell(item, Step::Exists);
            return Ok(());
        }
        let path = store.layout.blob(&blob.digest);
        let ask = || async {
            let file = tokio::fs::File::open(&path).await?;
            let (progress, item, total) = (progress.clone(), item.to_owned(), blob.size);
            let pieces = stream::try_unfold((file, 0), move |(mut file, done)| {
                progress.tell(&item, Step::Uploading { done, total });
                async move {
                    let mut piece = Vec::with_capacity(PIECE);
                    (&mut file).take(PIECE as u64).read_to_end(&mut piece).await?;
                    let done = done + piece.len() as u64;
                    Ok::<_, OciDistributionError>((!piece.is_empty()).then(|| (piece.into(), (file, done))))
                }
            });
            self.client.push_blob_stream(&theirs, pieces, &digest, Some(blob.size)).await
        };
        self.retried(&what, ask).await?;
        progress.tell(item, Step::Done);
        Ok(())
    }

    /// Sends the manifest under the reference's tag (or digest).
    pub(crate) async fn send_manifest(
        &self,
        digest: &Digest,
        bytes: Vec<u8>,
        media_type: &str,
    ) -> Result<(), ImageError> {
        let theirs = self.theirs(&self.reference)?;
        let refuse = |_| {
            self.failure(
                "the manifest",
                1,
                0,
                Answer::Final(format!("{digest} has the unusable media type {media_type}")),
            )
        };
        let content_type = http::HeaderValue::from_str(media_type).map_err(refuse)?;
        let ask = || async { self.client.push_manifest_raw(&theirs, bytes.clone(), content_type.clone()).await };
        self.retried("the manifest", ask).await.map(|_| ())
    }
}
