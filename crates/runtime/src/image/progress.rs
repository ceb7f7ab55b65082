//! What a long operation says while it works.
//!
//! A callback, not a channel: the caller decides about buffering and drops what nobody watches. It is called from
//! several tasks and threads at once and must be quick.

use std::fmt;
use std::sync::Arc;

/// One step of one layer (or of the whole image, when `item` is a reference).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressEvent {
    /// The 12 first digits of a layer's digest, or the image's reference.
    pub item: String,
    /// What happens to it.
    pub step: Step,
}

/// What happens to an item; sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Known, not begun.
    Waiting,
    /// Already in the store or the registry.
    Exists,
    /// Read from an archive, a registry or an engine.
    Downloading {
        /// Received so far.
        done: u64,
        /// Expected, when known.
        total: Option<u64>,
    },
    /// Sent to a registry.
    Uploading {
        /// Sent so far.
        done: u64,
        /// To be sent.
        total: u64,
    },
    /// Written out as a root file system layer.
    Unpacking {
        /// Compressed bytes consumed.
        done: u64,
        /// Compressed bytes in all.
        total: u64,
    },
    /// An attempt failed and another one follows.
    Retrying {
        /// The attempt that follows, from 2.
        attempt: u32,
        /// Why the last one failed.
        reason: String,
    },
    /// Finished.
    Done,
}

/// Where progress goes; cheap to clone.
#[derive(Clone)]
pub struct Progress(Option<Arc<dyn Fn(ProgressEvent) + Send + Sync>>);

impl Progress {
    /// Nobody watches.
    pub fn none() -> Progress {
        Progress(None)
    }

    /// `callback` is told of every step.
    pub fn to(callback: impl Fn(ProgressEvent) + Send + Sync + 'static) -> Progress {
        Progress(Some(Arc::new(callback)))
    }

    pub(crate) fn tell(&self, item: &str, step: Step) {
        if let Some(callback) = &self.0 {
            callback(ProgressEvent { item: item.to_owned(), step });
        }
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::none()
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(to)" } else { "Progress(none)" })
    }
}
