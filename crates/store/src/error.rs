//! What can go wrong, each error naming what, where and what to do next.

use std::io;
use std::path::PathBuf;

use crate::{CodecError, Key, Revision};

/// The asked revision is not, or no longer, or not yet known: the caller must read again from a fresh snapshot
/// (`410 Gone` to an API client).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {requested} is not in the history kept, which reaches from {oldest} to {newest}: list again")]
pub struct Compacted {
    /// What was asked for.
    pub requested: Revision,
    /// The oldest revision that can be read.
    pub oldest: Revision,
    /// The newest.
    pub newest: Revision,
}

/// Why a transaction did not happen. Nothing of it was or will be applied.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<E> {
    /// The transaction's closure refused.
    #[error("the transaction was refused")]
    Rejected(#[source] E),
    /// A value is larger than [`MAX_VALUE`](crate::MAX_VALUE).
    #[error("{key} is {size} bytes, the limit is {limit}: make it smaller or keep the data elsewhere")]
    TooLarge {
        /// The object.
        key: Key,
        /// Its stored size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A value that the codec does not understand.
    #[error("the value put at {key} cannot be served")]
    Codec {
        /// The object.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
    /// The store could not make it durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store cannot do its work now.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Reading goes on; writing works again when there is room.
    #[error("the store's disk is full, nothing was changed: free space in {folder}")]
    Full {
        /// Where.
        folder: PathBuf,
        /// The system's error.
        #[source]
        source: std::sync::Arc<io::Error>,
    },
    /// Writing failed. Reading goes on.
    #[error("writing {file} failed, nothing was changed")]
    Write {
        /// Where.
        file: PathBuf,
        /// The system's error.
        #[source]
        source: std::sync::Arc<io::Error>,
    },
    /// etcd cannot be reached, or cannot agree with itself. Nothing was changed; it works again when it is back.
    #[error("the store in etcd cannot be reached, nothing was changed")]
    Unavailable {
        /// What is known.
        #[source]
        source: naru_etcd::Error,
    },
    /// etcd refused. Nothing was changed.
    #[error("the store was refused, nothing was changed")]
    Refused {
        /// Its words.
        #[source]
        source: naru_etcd::Error,
    },
    /// A change was sent and never answered.
    #[error("nobody knows whether the change was made ({why}): read again before you repeat it")]
    Unknown {
        /// What is known.
        why: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the folder.
    #[error("{folder} is in use by process {holder}: stop it first, or give this one another folder")]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process id its lock file names, `unknown` if it names none.
        holder: String,
    },
    /// The log or the checkpoint is damaged where it had been written safely.
    #[error(
        "{file} is damaged at byte {offset}: {what}. Nothing was changed. Restore a backup with `naru backup restore`{fallback}"
    )]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: String,
        /// Another way out, when there is one: a sentence's end that starts with a comma.
        fallback: String,
    },
    /// A file that must be there is not.
    #[error("{file} is missing: {why}. Put it back, or restore a backup with `naru backup restore`")]
    Missing {
        /// The file.
        file: PathBuf,
        /// How that is known.
        why: String,
    },
    /// The files were written by a newer version.
    #[error("{file} has format version {found}, this naru knows up to {known}: use a newer naru")]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// A stored value that the codec does not understand.
    #[error("the stored value of {key} cannot be served")]
    Codec {
        /// The object.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
    /// The settings for etcd cannot work.
    #[error("the store in etcd cannot be set up")]
    EtcdConfig {
        /// What is wrong with them.
        #[source]
        source: naru_etcd::ConfigError,
    },
    /// etcd does not do what it is asked.
    #[error("the store in etcd cannot be opened")]
    Etcd {
        /// What is known.
        #[source]
        source: naru_etcd::Error,
    },
    /// What is in etcd is not a store.
    #[error(
        "etcd holds keys under {prefix} that are no whole store, perhaps of an import that was cut off: choose another \
         prefix, or delete them with `etcdctl del --prefix {prefix}`"
    )]
    Foreign {
        /// What the keys begin with.
        prefix: String,
    },
    /// The system refused.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried, a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}
