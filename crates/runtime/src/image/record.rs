//! What callers are told about an image of the store.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::config::{HistoryEntry, ImageConfig};
use super::digest::Digest;
use super::error::ImageError;
use super::platform::Platform;

/// An image's identity: the digest of its configuration document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for ImageId {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<ImageId, ImageError> {
        text.parse().map(ImageId)
    }
}

/// One image of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// Its identity.
    pub id: ImageId,
    /// Full names with tags, sorted: `docker.io/library/redis:7`.
    pub tags: Vec<String>,
    /// Full names with registry digests, sorted: `docker.io/library/redis@sha256:…`.
    pub digests: Vec<String>,
    /// Digest of the manifest in the store.
    pub manifest: Digest,
    /// How its containers start.
    pub config: ImageConfig,
    /// What it runs on.
    pub platform: Platform,
    /// RFC 3339 time of its making, when the image says.
    pub created: Option<String>,
    /// Who made it, when the image says.
    pub author: Option<String>,
    /// Digests of its uncompressed layers, lowest first.
    pub layers: Vec<Digest>,
    /// The steps of its making, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Bytes of its unpacked layers where they are unpacked, else of its blobs.
    pub size: u64,
    /// RFC 3339 time when it last came into the store.
    pub stored_at: String,
}

/// The folders of an unpacked image, for an overlay mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// The folder that all layers lie in: mounting from there with relative names keeps the option string short.
    pub base: PathBuf,
    /// Layer folders as `lowerdir` wants them: absolute, **topmost first**, all directly within `base`.
    pub lower: Vec<PathBuf>,
}

/// What a pull did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub image: ImageRecord,
    /// Whether anything had to be fetched.
    pub outcome: PullOutcome,
}

/// Whether anything had to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullOutcome {
    /// The store had it and the policy asks no registry.
    Present,
    /// The registry was asked, and the store has what it names.
    UpToDate,
    /// Fetched.
    Downloaded,
}

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Names that no longer exist.
    pub untagged: Vec<String>,
    /// Images that no longer exist.
    pub deleted: Vec<ImageId>,
    /// Bytes that were freed.
    pub reclaimed: u64,
}

/// What the store takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Images.
    pub images: u64,
    /// Bytes of compressed blobs and documents.
    pub blobs: u64,
    /// Bytes of unpacked layers.
    pub layers: u64,
    /// Bytes that no image named in the call needs.
    pub reclaimable: u64,
}
