//! Images from stores on other machines.
//!
//! Whatever a peer says is only a hint where to ask: bytes count once they have the digest that was asked for. How a
//! peer is reached is the caller's; a registry on every node was refused, since nodes cannot dial one another and what a
//! store has to tell is three facts and the bytes of a blob.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::record::ImageRecord;

/// Bytes of a blob, as they come.
pub type BlobStream = BoxStream<'static, io::Result<Bytes>>;

/// A store on another machine, asked about one image.
pub trait Peer: Send + Sync {
    /// For messages: the node's name.
    fn name(&self) -> &str;
    /// A blob of the image, from byte `from` on.
    ///
    /// # Errors
    /// When the peer is away or lacks it; another one is asked then.
    fn blob<'a>(&'a self, digest: &'a Digest, from: u64) -> BoxFuture<'a, io::Result<BlobStream>>;
}

/// What a store has of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Digest of the document that the name means: the one that was asked for, or the image's manifest.
    pub document: Digest,
    /// Full names with registry digests.
    #[serde(default)]
    pub digests: Vec<String>,
    /// Whether the name's tag, without its digest, means this image there.
    #[serde(default)]
    pub current: bool,
    /// RFC 3339 time when it last came into that store.
    pub stored_at: String,
}

/// A peer and what it has.
#[derive(Clone)]
pub struct Holder {
    /// The peer.
    pub peer: Arc<dyn Peer>,
    /// What it has.
    pub offer: Offer,
}

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The image.
    pub image: ImageRecord,
    /// The peers that gave something, sorted.
    pub from: Vec<String>,
}
