//! Where backups are kept: a folder or a bucket, by an address.
//!
//! Both promise the same: a backup appears under its name whole or not at all.

use bytes::Bytes;
use jiff::Timestamp;

use crate::bucket::{Bucket, BucketPut};
use crate::folder::{Folder, FolderPut};
use crate::{DepotError, PipeReader};

/// A place of backups.
#[derive(Clone, Debug)]
pub enum Depot {
    /// `file:///folder`, or a path.
    Folder(Folder),
    /// `s3://bucket/prefix`.
    Bucket(Bucket),
}

/// A file at a place of backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
    /// When it was last written.
    pub written: Timestamp,
}

/// A backup on its way to its place. Dropped before [`Put::finish`], it leaves nothing.
pub struct Put(Putting);

enum Putting {
    Folder(FolderPut),
    Bucket(BucketPut),
}

// === impl Depot ===

impl Depot {
    /// The place of this address. Buckets are set up by the environment as other programs' are (`AWS_…`).
    ///
    /// # Errors
    /// When it is no address of a place, or the bucket's settings are incomplete.
    pub fn parse(address: &str) -> Result<Depot, DepotError> {
        Depot::with(
            address,
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// The same, with these variables for an environment.
    ///
    /// # Errors
    /// As [`Depot::parse`].
    pub fn with(address: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Depot, DepotError> {
        let wrong = || DepotError::Address(address.to_owned());
        if address.starts_with("s3://") {
            return Bucket::open(address, variables).map(Depot::Bucket);
        }
        let path = match address.strip_prefix("file://") {
            Some(path) if !path.starts_with('/') => return Err(wrong()),
            Some(path) => path,
            None if address.is_empty() || address.contains("://") => return Err(wrong()),
            None => address,
        };
        Ok(Depot::Folder(Folder::new(path)))
    }

    /// The files that are there, by name. A folder that does not exist yet is empty.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn list(&self) -> Result<Vec<Stored>, DepotError> {
        let mut found = match self {
            Depot::Folder(folder) => folder.list().await?,
            Depot::Bucket(bucket) => bucket.list().await?,
        };
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Begins to write a file of about `size` bytes.
    ///
    /// # Errors
    /// When it cannot be written, or there is no room for it.
    pub async fn put(&self, name: &str, size: u64) -> Result<Put, DepotError> {
        Ok(Put(match self {
            Depot::Folder(folder) => Putting::Folder(folder.put(name, size).await?),
            Depot::Bucket(bucket) => Putting::Bucket(bucket.put(name).await?),
        }))
    }

    /// Begins to read a file.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub async fn get(&self, name: &str) -> Result<PipeReader, DepotError> {
        match self {
            Depot::Folder(folder) => folder.get(name).await,
            Depot::Bucket(bucket) => bucket.get(name).await,
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn remove(&self, name: &str) -> Result<(), DepotError> {
        match self {
            Depot::Folder(folder) => folder.remove(name).await,
            Depot::Bucket(bucket) => bucket.remove(name).await,
        }
    }
}

impl std::fmt::Display for Depot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Depot::Folder(folder) => write!(f, "file://{}", folder.path().display()),
            Depot::Bucket(bucket) => f.write_str(bucket.address()),
        }
    }
}

// === impl Put ===

impl Put {
    /// Writes more.
    ///
    /// # Errors
    /// When it cannot be written, or the room there is gone.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), DepotError> {
        match &mut self.0 {
            Putting::Folder(put) => put.write(piece).await,
            Putting::Bucket(put) => put.write(piece).await,
        }
    }

    /// Ends it: from now on it is there, durably. Gives its size.
    ///
    /// # Errors
    /// When it cannot be written; nothing is there then.
    pub async fn finish(self) -> Result<u64, DepotError> {
        match self.0 {
            Putting::Folder(put) => put.finish().await,
            Putting::Bucket(put) => put.finish().await,
        }
    }

    /// Takes back what was written.
    pub async fn abandon(self) {
        if let Putting::Bucket(put) = self.0 {
            put.abandon().await;
        }
    }
}
