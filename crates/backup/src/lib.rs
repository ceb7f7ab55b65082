//! Backups of a cluster: one file each, sealed, kept in a folder or a bucket.
//!
//! Principle: whoever has a backup and its key has the cluster, for the cluster's authority is in it. So a backup is
//! encrypted where it is made, every byte of it is authenticated, and half of one is never mistaken for a whole. Refused:
//! an archive of a general form with a signature beside it, which can be unpacked without being checked.
//!
//! | module | what it holds |
//! |---|---|
//! | `key` | what seals a backup: a random key, a passphrase, or nothing |
//! | `header` | what anyone may read of a backup |
//! | `seal` | the rest: chunks, each encrypted and in its place |
//! | `contents` | what is inside: keys and settings, then all objects |
//! | `name` | what backups are called, and which of them go |
//! | `depot`, `folder`, `bucket` | where they are kept |
//! | `pipe` | between code that waits and code that blocks |
//!
//! This crate knows no object, no store and no server; it moves bytes that these give it.

mod bucket;
mod contents;
mod depot;
mod error;
mod folder;
mod header;
mod key;
mod name;
mod pipe;
mod seal;

pub use contents::{Contents, KeptFile, Restored, ServerSettings};
pub use depot::{Depot, Put, Stored};
pub use error::{BackupError, DepotError, KeyError};
pub use folder::{NoRoom, room};
pub use header::{About, Header, VERSION};
pub use key::BackupKey;
pub use name::{BackupName, outdated};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use seal::{Opening, Sealing, is_whole};
