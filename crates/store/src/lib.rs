//! Naru's store: all objects of a cluster in memory, in an order, durable.
//!
//! A writer hands [`Store::commit`] a closure over a [`Txn`]; the `sequencer` gives the transaction its place in the
//! order, the engine makes it durable together with its neighbours, and only then `history` publishes it: to readers as
//! the next [`Snapshot`], to watchers as a [`Batch`]. Reading never waits for writing.
//!
//! | module | what it holds |
//! |---|---|
//! | `store` | the handle: open, commit, snapshot, watch, close |
//! | `sequencer` | the pending view, the order, the writer thread |
//! | `txn` | a transaction while its closure runs |
//! | `root` | all objects at one revision, in persistent maps |
//! | `history`, `topic`, `scope`, `watch` | the published past and who follows what of it |
//! | `backup` | taking everything out of a running store, and a new store of it |
//! | `remote` | in the sequencer's place where others write, too: etcd |
//! | `engine` | the port to what keeps transactions: memory, the log, and how a remote engine fits |
//! | `disk` | the file layer under the log, real and simulated |
//!
//! The store knows no kinds, no HTTP and no JSON; what it must know of values the caller's [`Codec`] tells it.

mod backup;
mod codec;
mod disk;
mod engine;
mod entry;
mod error;
mod history;
mod key;
mod options;
mod remote;
mod revision;
mod root;
mod scope;
mod sequencer;
mod snapshot;
mod store;
mod topic;
mod txn;
mod watch;

pub use backup::{Backup, ExportError, GAP, Held, ImportError};
pub use codec::{Codec, CodecError, IndexName, Opened};
pub use engine::ClusterId;
pub use entry::{Change, Entry, FrameCache};
pub use error::{CommitError, Compacted, OpenError, StoreError};
pub use key::{Key, Prefix};
pub use options::{EngineConfig, History, MAX_VALUE, Options};
pub use remote::EtcdConfig;
pub use revision::Revision;
pub use scope::Scope;
pub use snapshot::Snapshot;
pub use store::Store;
pub use txn::{Committed, Txn};
pub use watch::{Batch, Watch, WatchEnd};
