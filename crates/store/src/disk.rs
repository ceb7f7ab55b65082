//! The file layer under the log: one flat folder of files.
//!
//! Small on purpose, so that a simulated disk can stand in for it that loses at a power cut whatever a real one may:
//! everything not synced, in any part and order. Nothing may be assumed durable but a file's bytes after
//! [`File::sync`] and the folder's names after [`Disk::sync_names`].

use std::io;
use std::path::{Path, PathBuf};

mod real;
#[cfg(test)]
pub(crate) mod simulated;

pub(crate) use real::{Folder, Holder};

/// A flat folder of files.
pub(crate) trait Disk: Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file to read and write.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Makes an empty file, in place of one that is there.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Renames, in place of a file that is there.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals so far durable.
    fn sync_names(&self) -> io::Result<()>;
    /// The full path of a file, for messages.
    fn path(&self, name: &str) -> PathBuf;
    /// Whether slow work may run in a thread of its own; a simulation is deterministic instead.
    fn concurrent(&self) -> bool;
}

/// An open file.
pub(crate) trait File: Send {
    fn len(&self) -> io::Result<u64>;
    /// Reads up to the buffer's length; less only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes; after an error any part of them may have been written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file's bytes and length durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// Ends the process, because a sync failed: the kernel has dropped the dirty pages then, so neither trying again nor
/// reading back tells what is on the disk. Only a fresh start that reads the disk does.
pub(crate) fn die_of_failed_sync(file: &Path, error: &io::Error) -> ! {
    tracing::error!(
        file = %file.display(),
        %error,
        "syncing failed. What is on the disk is unknown now, so naru stops instead of acknowledging writes that may be \
         lost. Check the disk, then start naru again; containers keep running"
    );
    std::process::abort()
}
