//! What the store must be told about values, since it knows none.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Key, Revision};

/// The name of an index that the caller computes, for example `IndexName("pods.node")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexName(pub &'static str);

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A stored value made ready to be served.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// The bytes that GET, LIST and WATCH send.
    pub served: Bytes,
    /// Under which index values the object is found.
    pub indexes: Vec<(IndexName, Arc<str>)>,
}

/// A value that the codec cannot make sense of.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CodecError {
    /// What is wrong with the value.
    pub message: String,
    /// The error underneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl CodecError {
    /// An error without a deeper one.
    pub fn new(message: impl Into<String>) -> CodecError {
        CodecError { message: message.into(), source: None }
    }

    /// An error with the one that caused it.
    pub fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> CodecError {
        CodecError { message: message.into(), source: Some(source.into()) }
    }
}

/// The caller's knowledge of what values are. Values are stored without their revision (it is unknown before the
/// commit, and a remote engine's value could not contain it) and perhaps sealed; they are served with it and open.
///
/// All are pure and quick. `open` runs outside the store's locks, `restamp` inside, so restamping should
/// be a splice and not a parse.
pub trait Codec: Send + Sync + 'static {
    /// Makes the served bytes and index values of a value stored at revision `at`.
    ///
    /// # Errors
    /// When the value is not what the codec knows; a transaction that puts such a value changes nothing, and a store
    /// that holds one does not open.
    fn open(&self, key: &Key, stored: &[u8], at: Revision) -> Result<Opened, CodecError>;

    /// The same object with another revision. Deletions carry the deletion's revision this way, and an object opened
    /// before its place in the order was known gets its final one.
    fn restamp(&self, served: &Bytes, at: Revision) -> Bytes;

    /// What is stored of an object that is served as `served`: the way back from `open`, for backups. Opened at the same
    /// revision it is served with the same bytes.
    ///
    /// # Errors
    /// When it cannot be sealed, or is nothing that `open` made.
    fn close(&self, key: &Key, served: &Bytes) -> Result<Bytes, CodecError>;
}
