//! Backups in a bucket that speaks S3.
//!
//! An upload in parts becomes an object when it is completed, so there is no half backup there either. The parts of one
//! that was broken off are taken back at once, where the process still can; else by the bucket's own rule for those.

use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use std::sync::Arc;
use std::time::Duration;

use crate::{DepotError, PipeReader, Stored, pipe};

/// S3 takes parts from 5 MiB on, and 10,000 of them: this allows 80 GB.
const PART: usize = 8 << 20;
/// Who waits for a bucket wants to hear soon that it cannot be reached.
const PATIENCE: Duration = Duration::from_secs(30);
/// One request, with a part of a backup, takes at most so long.
const SLOW: Duration = Duration::from_secs(300);

/// A bucket, or what lies below a prefix in one.
#[derive(Clone)]
pub struct Bucket {
    address: String,
    store: Arc<AmazonS3>,
    prefix: Path,
}

/// An object that is being written.
pub(crate) struct BucketPut {
    bucket: Bucket,
    path: Path,
    gathered: Vec<u8>,
    upload: Option<Box<dyn MultipartUpload>>,
    written: u64,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bucket").field(&self.address).finish()
    }
}

/// The setting that a variable is, as other programs that speak S3 name them.
fn key(variable: &str) -> Option<AmazonS3ConfigKey> {
    variable.strip_prefix("AWS_").and_then(|_| variable.to_ascii_lowercase().parse().ok())
}

// === impl Bucket ===

impl Bucket {
    pub(crate) fn open(
        address: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Bucket, DepotError> {
        let wrong = || DepotError::Address(address.to_owned());
        let rest = address.strip_prefix("s3://").ok_or_else(wrong)?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(wrong());
        }
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|_| wrong())?;
        let mut builder = AmazonS3Builder::new();
        let mut plain = false;
        for (name, value) in variables {
            let Some(key) = key(&name) else { continue };
            // Who names an address without TLS means it.
            plain |= name.starts_with("AWS_ENDPOINT") && value.starts_with("http://");
            builder = builder.with_config(key, value);
        }
        // A part that takes longer than this is tried again.
        let builder = builder.with_client_options(ClientOptions::new().with_allow_http(plain).with_timeout(SLOW));
        let retry = RetryConfig { max_retries: 4, retry_timeout: PATIENCE, ..RetryConfig::default() };
        // One object is removed at a time, and not every store knows how to remove many.
        let store = builder.with_bucket_name(name).with_disable_bulk_delete(true).with_retry(retry).build();
        let store = store.map_err(|source| DepotError::Setup { address: address.to_owned(), source })?;
        Ok(Bucket { address: address.trim_end_matches('/').to_owned(), store: Arc::new(store), prefix })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn path(&self, name: &str) -> Path {
        Path::from_iter(self.prefix.parts().chain([name.into()]))
    }

    fn failed(&self, doing: &'static str, name: &str) -> impl FnOnce(object_store::Error) -> DepotError {
        let address = if name.is_empty() { self.address.clone() } else { format!("{}/{name}", self.address) };
        move |source| DepotError::Bucket { doing, address, source }
    }

    pub(crate) async fn list(&self) -> Result<Vec<Stored>, DepotError> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let found = self.store.list_with_delimiter(prefix).await.map_err(self.failed("list", ""))?;
        let stored = |meta: object_store::ObjectMeta| {
            let written = Timestamp::from_second(meta.last_modified.timestamp()).unwrap_or_default();
            Some(Stored { name: meta.location.filename()?.to_owned(), size: meta.size, written })
        };
        Ok(found.objects.into_iter().filter_map(stored).collect())
    }

    pub(crate) async fn put(&self, name: &str) -> Result<BucketPut, DepotError> {
        let path = self.path(name);
        Ok(BucketPut { bucket: self.clone(), path, gathered: Vec::new(), upload: None, written: 0 })
    }

    pub(crate) async fn get(&self, name: &str) -> Result<PipeReader, DepotError> {
        let got = self.store.get(&self.path(name)).await.map_err(self.failed("read", name))?;
        let mut stream = got.into_stream();
        let (mut into, from) = pipe();
        tokio::spawn(async move {
            while let Some(piece) = stream.next().await {
                let last = piece.is_err();
                if into.send(piece.map_err(std::io::Error::other)).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(from)
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<(), DepotError> {
        self.store.delete(&self.path(name)).await.map_err(self.failed("remove", name))
    }
}

// === impl BucketPut ===

impl BucketPut {
    pub(crate) async fn write(&mut self, piece: Bytes) -> Result<(), DepotError> {
        self.written += piece.len() as u64;
        self.gathered.extend_from_slice(&piece);
        if self.gathered.len() >= PART { self.part().await } else { Ok(()) }
    }

    async fn part(&mut self) -> Result<(), DepotError> {
        let part = PutPayload::from(std::mem::take(&mut self.gathered));
        let name = self.path.filename().unwrap_or_default().to_owned();
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let begun = self.bucket.store.put_multipart(&self.path).await;
                none.insert(begun.map_err(self.bucket.failed("write", &name))?)
            }
        };
        upload.put_part(part).await.map_err(self.bucket.failed("write", &name))
    }

    pub(crate) async fn finish(mut self) -> Result<u64, DepotError> {
        let name = self.path.filename().unwrap_or_default().to_owned();
        if self.upload.is_none() {
            let all = PutPayload::from(std::mem::take(&mut self.gathered));
            let put = self.bucket.store.put(&self.path, all).await;
            put.map_err(self.bucket.failed("write", &name))?;
            return Ok(self.written);
        }
        if !self.gathered.is_empty() {
            self.part().await?;
        }
        if let Some(mut upload) = self.upload.take()
            && let Err(source) = upload.complete().await
        {
            let _ = upload.abort().await;
            return Err(self.bucket.failed("write", &name)(source));
        }
        Ok(self.written)
    }

    pub(crate) async fn abandon(mut self) {
        if let Some(mut upload) = self.upload.take() {
            let _ = upload.abort().await;
        }
    }
}
