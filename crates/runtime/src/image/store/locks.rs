//! Who may work on what at the same time.
//!
//! Tasks of this process queue on ordinary mutexes; processes exclude one another by `flock`, which the kernel lets go
//! when its holder dies, so that no lock is ever stale. Three kinds, always taken in this order:
//! the *gate* (whoever adds holds it shared, the garbage collection alone), a *name* (one layer or blob), the *list*.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::OwnedMutexGuard;

use crate::image::error::ImageError;

/// The locks of one store.
#[derive(Debug)]
pub(crate) struct Locks {
    folder: PathBuf,
    names: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A lock on one name; let go when dropped.
#[derive(Debug)]
pub(crate) struct NameGuard {
    _across: FileGuard,
    _within: OwnedMutexGuard<()>,
}

/// A lock between processes (and between open files of one); let go when dropped.
#[derive(Debug)]
pub(crate) struct FileGuard {
    _file: File,
}

impl Locks {
    pub(crate) fn new(folder: PathBuf) -> Locks {
        Locks { folder, names: Mutex::new(HashMap::new()) }
    }

    /// Waits until nobody else works on `name`.
    pub(crate) async fn name(self: &Arc<Locks>, name: &str) -> Result<NameGuard, ImageError> {
        let within = {
            let mut names = self.names.lock();
            names.retain(|_, lock| Arc::strong_count(lock) > 1);
            names.entry(name.to_owned()).or_default().clone()
        };
        let within = within.lock_owned().await;
        let (locks, name) = (self.clone(), name.to_owned());
        let across = tokio::task::spawn_blocking(move || locks.wait(&name, FlockOperation::LockExclusive));
        let across = across.await.map_err(|_| ImageError::Interrupted { what: "waiting for a lock" })??;
        Ok(NameGuard { _across: across, _within: within })
    }

    /// Lets others add too, and keeps the garbage collection out.
    pub(crate) fn gate(&self) -> Result<FileGuard, ImageError> {
        self.wait("gate", FlockOperation::LockShared)
    }

    /// Keeps everybody out, if nobody is adding right now.
    pub(crate) fn close_gate(&self) -> Result<Option<FileGuard>, ImageError> {
        let (file, path) = self.open("gate")?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(FileGuard { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(ImageError::io("lock", path)(errno.into())),
        }
    }

    /// The right to change the list of images.
    pub(crate) fn list(&self) -> Result<FileGuard, ImageError> {
        self.wait("list", FlockOperation::LockExclusive)
    }

    fn wait(&self, name: &str, how: FlockOperation) -> Result<FileGuard, ImageError> {
        let (file, path) = self.open(name)?;
        loop {
            match flock(&file, how) {
                Ok(()) => return Ok(FileGuard { _file: file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(ImageError::io("lock", path)(io::Error::from(errno))),
            }
        }
    }

    fn open(&self, name: &str) -> Result<(File, PathBuf), ImageError> {
        let path = self.folder.join(name);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        Ok((file.map_err(ImageError::io("open the lock", &path))?, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_closes_only_when_nobody_adds() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::new(folder.path().to_owned());
        let other_process = Locks::new(folder.path().to_owned());
        let adding = locks.gate().unwrap();
        let also = other_process.gate().unwrap();
        assert!(locks.close_gate().unwrap().is_none());
        drop((adding, also));
        let closed = other_process.close_gate().unwrap();
        assert!(closed.is_some());
        assert!(locks.close_gate().unwrap().is_none());
    }

    #[tokio::test]
    async fn a_name_is_held_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Arc::new(Locks::new(folder.path().to_owned()));
        let held = locks.name("a").await.unwrap();
        let (mut second, _other) = (Box::pin(locks.name("a")), locks.name("b").await.unwrap());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(held);
        second.await.unwrap();
    }
}
