//! Ending what runs in a group: freezing, killing, removing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Cgroup, CgroupError, Hierarchy};
use crate::sys;

/// A frozen state is reached when every process got there; busy ones take a moment.
const FREEZE: Duration = Duration::from_secs(5);
/// Killed processes leave when the kernel has torn them down; large ones take a moment.
const EMPTY: Duration = Duration::from_secs(20);

impl Cgroup {
    /// Process ids in this group alone.
    pub(crate) fn processes(&self) -> Vec<i32> {
        self.folder(self.census()).map(|folder| processes_of(&folder)).unwrap_or_default()
    }

    /// The v1 tree that tells who is in the group: every container joins these.
    fn census(&self) -> &'static str {
        ["freezer", "pids", "memory", "cpu"].into_iter().find(|c| self.folder(c).is_some()).unwrap_or("devices")
    }

    /// Freezes or thaws and waits until it is so. Blocks.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<(), CgroupError> {
        let (path, value, settled_in, settled) = match &self.hierarchy {
            Hierarchy::V1(_) => {
                let Some(folder) = self.folder("freezer") else {
                    let source = io::Error::new(io::ErrorKind::Unsupported, "no freezer controller on this machine");
                    return Err(CgroupError { action: "freezing".into(), path: self.path.clone(), source });
                };
                let word = if frozen { "FROZEN" } else { "THAWED" };
                let path = folder.join("freezer.state");
                (path.clone(), word, path, word)
            }
            Hierarchy::V2(base) => {
                let folder = base.join(&self.path);
                let (value, line) = if frozen { ("1", "frozen 1") } else { ("0", "frozen 0") };
                (folder.join("cgroup.freeze"), value, folder.join("cgroup.events"), line)
            }
        };
        let failed = |source| CgroupError { action: format!("writing {value} to"), path: path.clone(), source };
        let deadline = Instant::now() + FREEZE;
        loop {
            fs::write(&path, value).map_err(failed)?;
            let now = fs::read_to_string(&settled_in).map_err(failed)?;
            if now.lines().any(|line| line == settled) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(failed(io::Error::new(io::ErrorKind::TimedOut, "the processes do not freeze")));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills every process in this group and those below it. Does not wait.
    pub(crate) fn kill(&self) {
        if let Hierarchy::V2(base) = &self.hierarchy {
            let folder = base.join(&self.path);
            if fs::write(folder.join("cgroup.kill"), "1").is_ok() || !folder.exists() {
                return;
            }
        }
        let Some(root) = self.folder(self.census()) else { return };
        for folder in tree(&root) {
            for pid in processes_of(&folder) {
                if let Ok(pidfd) = sys::open_pidfd(pid) {
                    let _ = sys::signal_by_pidfd(rustix::fd::AsFd::as_fd(&pidfd), libc::SIGKILL);
                }
            }
            // v1: the frozen die only when thawed; killing first means that they never run again.
            let _ = fs::write(folder.join("freezer.state"), "THAWED");
        }
    }

    /// Kills whatever is left and removes the group with those below it, in every tree. Blocks.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + EMPTY;
        let mut pause = Duration::from_micros(200);
        loop {
            let left =
                self.folders().into_iter().flat_map(|f| tree(&f)).fold(None, |left, folder| {
                    match fs::remove_dir(&folder) {
                        Ok(()) => left,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => left,
                        Err(error) => Some((folder, error)),
                    }
                });
            let Some((path, source)) = left else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(CgroupError { action: "removing".into(), path, source });
            }
            self.kill();
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

fn processes_of(folder: &Path) -> Vec<i32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

/// A folder and every one below it, deepest first.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.extend(tree(&entry.path()));
            }
        }
        found.push(folder.to_owned());
    }
    found
}
