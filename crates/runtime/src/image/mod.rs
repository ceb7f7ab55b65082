//! Images: a content-addressed store of blobs, an atomically replaced list of names, and unpacked layers.
//!
//! Everything is named by its digest and written to a temporary name, checked, flushed and renamed; the one file that
//! changes is the list of images. So a crash at any instant leaves either the old or the new state, plus leftovers
//! that the next start removes. A containerd-like database of leases and snapshots was refused: digests and one list
//! say the same with nothing to repair.

mod archive;
mod bridge;
mod compression;
mod config;
mod digest;
mod engine;
mod error;
mod images;
mod layer;
mod manifest;
mod options;
mod peer;
mod platform;
mod progress;
mod record;
mod reference;
mod registry;
mod store;
mod tarball;

pub use config::{Healthcheck, HistoryEntry, ImageConfig};
pub use digest::Digest;
pub use error::ImageError;
pub use images::Images;
pub use options::{Auth, BoxedReader, BoxedWriter, PruneOptions, PullOptions, PullPolicy, PushOptions, Source};
pub use peer::{BlobStream, Copied, Holder, Offer, Peer};
pub use platform::Platform;
pub use progress::{Progress, ProgressEvent, Step};
pub use record::{ImageId, ImageRecord, PullOutcome, Pulled, Removed, Rootfs, Usage};
pub use reference::{DEFAULT_REGISTRY, Reference};
