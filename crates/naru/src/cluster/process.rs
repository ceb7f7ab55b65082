//! The worker's process: one a state folder, found by the lock that it holds.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::Place;

/// Held for as long as a worker runs.
pub(crate) struct Lock {
    _file: File,
}

fn path(place: &Place) -> PathBuf {
    place.state_dir.join("node.lock")
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// When another worker runs over the same folder.
    pub fn take(place: &Place) -> anyhow::Result<Lock> {
        let path = path(place);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.with_context(|| format!("cannot use {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!("a worker runs here already (process {}): it serves {}", holder.trim(), place.state_dir.display());
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Lock { _file: file })
    }
}

/// The process of the worker that runs, if one does.
pub(crate) fn running(place: &Place) -> Option<i32> {
    let mut file = OpenOptions::new().read(true).open(path(place)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None; // nobody holds it
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Ends the worker that runs, and waits for it. Containers go on.
///
/// # Errors
/// When it does not end.
pub(crate) async fn stop_worker(place: &Place) -> anyhow::Result<()> {
    let Some(pid) = running(place) else { return Ok(()) };
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + Duration::from_secs(15);
    while running(place).is_some() {
        if Instant::now() > deadline {
            bail!("the worker (process {pid}) does not end");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
