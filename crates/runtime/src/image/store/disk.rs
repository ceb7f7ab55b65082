//! The file operations that make a change visible or durable, in one place.
//!
//! The store's promise is about the order of these few calls; tests stop the process at each of them in turn.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// The disk, or in tests one that dies after so many operations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    operations_left: Option<std::sync::Arc<std::sync::atomic::AtomicI64>>,
}

impl Disk {
    /// A disk whose every operation after the first `operations` fails, as if the process had died.
    #[cfg(test)]
    pub(crate) fn dying_after(operations: i64) -> Disk {
        Disk { operations_left: Some(std::sync::Arc::new(operations.into())) }
    }

    /// Whether the end came.
    #[cfg(test)]
    pub(crate) fn died(&self) -> bool {
        self.operations_left.as_ref().is_some_and(|left| left.load(std::sync::atomic::Ordering::SeqCst) < 0)
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        match &self.operations_left {
            Some(left) if left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) <= 0 => {
                left.store(-1, std::sync::atomic::Ordering::SeqCst);
                Err(io::Error::other("the process died here"))
            }
            _ => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the tests' disk needs it")]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_data()
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)
    }

    pub(crate) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        File::open(path)?.sync_all()
    }

    pub(crate) fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        fs::create_dir_all(path)
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        absent_is_fine(fs::remove_file(path))
    }

    /// Removes a folder with all it holds; one that is not there is fine.
    pub(crate) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        absent_is_fine(fs::remove_dir_all(path))
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
