//! The engine port: what keeps transactions.
//!
//! Two kinds of engine fit behind [`Store`](crate::Store), and they differ in who decides the order:
//!
//! - A **local** engine ([`Engine`], this module) is written by this process alone. The store decides the order itself
//!   against its pending view (`sequencer`), the engine only makes groups of decided transactions durable.
//! - A **remote** engine (etcd) is written by other servers too, so the order is decided there. It replaces the
//!   sequencer, not this trait: see `remote`.
//!
//! Everything that is read (`root`, `history`, `topic`, `watch`, `snapshot`) is the same for both: it is fed by
//! `Published::publish` in revision order and knows no engine.
//!
//! Refused: a general key-value trait with iterators. All objects are in memory, so a local engine never reads after it
//! is opened, and a remote one must not be asked per read.

use std::path::PathBuf;

use bytes::Bytes;

use crate::{Key, OpenError, Revision, StoreError};

pub(crate) mod log;
mod memory;

pub(crate) use memory::Memory;

/// One transaction as an engine keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its place in the engine's own count, which is the revision without the offset. One more than the one before.
    pub sequence: u64,
    /// What it wrote: a value, or `None` for a deletion.
    pub mutations: Vec<(Key, Option<Bytes>)>,
}

/// An object that an engine found at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub key: Key,
    /// The sequences of the transactions that created it and wrote it last.
    pub created: u64,
    pub modified: u64,
    pub value: Bytes,
}

/// What an engine knew when it was opened.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The last transaction's sequence; a new engine begins at [`FIRST`].
    pub sequence: u64,
    /// Added to every sequence to make a revision.
    pub offset: u64,
    /// Names this cluster's data.
    pub cluster: ClusterId,
    pub objects: Vec<Stored>,
    /// What the log ended with and was dropped.
    pub torn: Option<Torn>,
}

/// A record at the end of a log that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub file: PathBuf,
    pub offset: u64,
    /// How much of it is there.
    pub bytes: u64,
}

/// The sequence of an empty engine. Not zero, because "0" has a meaning of its own as a `resourceVersion`.
pub(crate) const FIRST: u64 = 1;

/// A random name that a store gets when it is made and keeps across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A local engine. Used by one thread at a time.
pub(crate) trait Engine: Send {
    /// Makes the transactions durable, all or none, in the given order; returns when they are. After an error nothing
    /// of them may ever be seen again.
    fn append(&mut self, group: &[Record]) -> Result<(), StoreError>;

    /// Whether `append` never blocks, so that commits need no thread of their own.
    fn immediate(&self) -> bool {
        false
    }

    /// Called once before the engine is dropped; waits for work in the background.
    fn close(&mut self) {}
}

/// An engine that was opened, with what it holds.
pub(crate) type Opening = Result<(Box<dyn Engine>, Loaded), OpenError>;

impl Loaded {
    pub fn revision(&self, sequence: u64) -> Revision {
        Revision(self.offset + sequence)
    }
}
