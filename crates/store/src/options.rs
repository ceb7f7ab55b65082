//! How to open a store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Codec, EtcdConfig, Revision};

/// The largest value an engine takes, in bytes (1.5 MiB, etcd's default, so that moving engines never meets one too
/// large).
pub const MAX_VALUE: usize = 1_572_864;

/// How to open a store.
#[derive(Clone)]
pub struct Options {
    /// Where it is kept.
    pub engine: EngineConfig,
    /// What values are.
    pub codec: Arc<dyn Codec>,
    /// How much of the past is kept in memory.
    pub history: History,
    /// Makes every revision from now on lie above this one. Given once after restoring a backup or moving engines,
    /// with the highest revision that may ever have been issued; watchers from before then get [`Compacted`], and
    /// writers with an object read before get a conflict. Objects' revisions all rise with it. Giving it again, or a
    /// lower one, does nothing.
    ///
    /// [`Compacted`]: crate::Compacted
    pub raise_above: Option<Revision>,
}

impl Options {
    /// A store that forgets everything when closed.
    pub fn memory(codec: Arc<dyn Codec>) -> Options {
        Options { engine: EngineConfig::Memory, codec, history: History::default(), raise_above: None }
    }

    /// A durable store in a folder, which is created if needed.
    pub fn embedded(dir: impl Into<PathBuf>, codec: Arc<dyn Codec>) -> Options {
        Options { engine: EngineConfig::Embedded { dir: dir.into() }, ..Options::memory(codec) }
    }
}

impl Options {
    /// A store in etcd.
    pub fn etcd(config: EtcdConfig, codec: Arc<dyn Codec>) -> Options {
        Options { engine: EngineConfig::Etcd(config), ..Options::memory(codec) }
    }
}

/// Where a store is kept.
#[derive(Clone, Debug)]
pub enum EngineConfig {
    /// Nowhere: for tests and simulations. Commits do not leave the calling thread.
    Memory,
    /// In a checksummed log with checkpoints in this folder.
    Embedded {
        /// The folder; only one process can use it.
        dir: PathBuf,
    },
    /// In etcd, which other servers use as well.
    Etcd(EtcdConfig),
}

/// How much of the past is kept in memory, for reading old revisions and for watchers that resume or are slow. The
/// first limit met wins; what is kept is always a bit less than a limit plus an eighth.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Older changes are forgotten (when the next ones come).
    pub age: Duration,
    /// At most so many transactions.
    pub transactions: usize,
    /// At most about so many bytes of replaced, deleted and new values.
    pub bytes: usize,
}

impl Default for History {
    fn default() -> History {
        History { age: Duration::from_secs(300), transactions: 100_000, bytes: 64 << 20 }
    }
}
