//! A folder of the file system, held by one process at a time.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::OpenError;
use crate::disk::{Disk, File};

/// The file that is locked, and names the process that did.
const LOCK: &str = "lock";

/// A folder of the file system.
#[derive(Clone)]
pub(crate) struct Folder(PathBuf);

/// Keeps other processes out of a folder while it lives. The kernel lets go of it when the process dies, however.
#[derive(Debug)]
pub(crate) struct Holder(#[expect(dead_code, reason = "held, not used")] fs::File);

impl Folder {
    /// Makes the folder if needed and takes its lock.
    pub fn hold(path: &Path) -> Result<(Folder, Holder), OpenError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { doing, path, source }
        };
        if !path.is_dir() {
            fs::create_dir_all(path).map_err(io("create", path))?;
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                sync_folder(parent).map_err(io("sync", parent))?;
            }
        }
        let name = path.join(LOCK);
        let mut lock = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&name)
            .map_err(io("open", &name))?;
        let deadline = Instant::now() + INHERITED;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let holder = fs::read_to_string(&name).unwrap_or_default().trim().to_owned();
                    if holder.is_empty() || lives(&holder) || Instant::now() >= deadline {
                        let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
                        return Err(OpenError::Locked { folder: path.to_owned(), holder });
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(errno) => return Err(io("lock", &name)(errno.into())),
            }
        }
        let pid = std::process::id().to_string();
        lock.set_len(0).and_then(|()| lock.write_all(pid.as_bytes())).map_err(io("write", &name))?;
        Ok((Folder(path.to_owned()), Holder(lock)))
    }
}

/// How long the lock of a holder that has ended is waited for: a process that it had just forked holds a copy of the
/// descriptor until it executes its program.
const INHERITED: Duration = Duration::from_secs(5);

/// Whether a process is there and has not ended.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        let names: io::Result<Vec<Option<String>>> = names.collect();
        Ok(names?.into_iter().flatten().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::OpenOptions::new().read(true).write(true).open(self.0.join(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Box::new(options.open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_folder(&self.0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn concurrent(&self) -> bool {
        true
    }
}

impl File for fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lock as a fork of a process that was killed leaves it: held, and named after a process that is no more.
    #[test]
    fn what_a_holder_that_ended_still_holds_is_waited_for() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let lock = fs::File::create(dir.path().join(LOCK)).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        (&lock).write_all(ended.id().to_string().as_bytes()).unwrap();
        let fork = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(lock);
        });
        assert!(Folder::hold(dir.path()).is_ok());
        fork.join().unwrap();
    }
}
