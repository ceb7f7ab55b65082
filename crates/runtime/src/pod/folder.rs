//! A pod's files, from the daemon's side: finding, spawning and sweeping supervisors. All of it blocks.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    PodError, PodUid,
    protocol::{Boot, Folders},
};
use crate::{cgroup::Cgroup, sys};

/// For `map_err`.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PodError {
    let path = path.to_owned();
    move |source| PodError::Io { action, path, source }
}

/// Writes what the supervisor starts from, durably enough to be found after a crash.
pub(super) fn write_boot(boot: &Boot) -> Result<(), PodError> {
    let (folders, path) = (&boot.folders, boot.folders.boot());
    for folder in [&folders.state, &folders.run, &folders.attempts()] {
        fs::create_dir_all(folder).map_err(io_error("making", folder))?;
    }
    let text = serde_json::to_vec(boot).map_err(io::Error::from).map_err(io_error("writing", &path))?;
    let new = path.with_extension("new");
    fs::write(&new, text).map_err(io_error("writing", &new))?;
    fs::rename(&new, &path).map_err(io_error("writing", &path))
}

/// What a pod was created from; `None` when the file is not there or damaged.
pub(super) fn read_boot(folders: &Folders) -> Option<Boot> {
    serde_json::from_slice(&fs::read(folders.boot()).ok()?).ok()
}

/// Pods with a folder. What is no folder is nobody's pod, and left alone.
pub(super) fn list(pods: &Path) -> Vec<PodUid> {
    let entries = fs::read_dir(pods).into_iter().flatten().flatten();
    let entries = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found: Vec<_> =
        entries.filter_map(|e| PodUid::new(e.file_name().to_string_lossy().into_owned()).ok()).collect();
    found.sort();
    found
}

/// The supervisor's process, if it lives.
pub(super) fn holder(folders: &Folders) -> Option<i32> {
    let file = OpenOptions::new().write(true).open(folders.lock()).ok()?;
    sys::lock_holder(&file).ok().flatten()
}

/// Mounts at or below a folder, innermost first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let place = |line: &str| line.split(' ').nth(4).map(|p| PathBuf::from(p.replace("\\040", " ")));
    let mut found: Vec<_> = table.lines().filter_map(place).filter(|p| p.starts_with(folder)).collect();
    found.reverse();
    found
}

/// Kills the supervisor, if it lives; also one that is stopped or hangs.
pub(super) fn kill_holder(uid: &PodUid, folders: &Folders) -> Result<(), PodError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Some(pid) = holder(folders) {
        // It holds the lock, so this number is its; the handle is checked against the lock once more.
        if let Ok(handle) = sys::open_pidfd(pid)
            && holder(folders) == Some(pid)
        {
            let _ = sys::signal_by_pidfd(rustix::fd::AsFd::as_fd(&handle), libc::SIGKILL);
        }
        if Instant::now() > deadline {
            let message = format!("its supervisor (process {pid}) cannot be killed");
            return Err(PodError::Failed { uid: uid.clone(), operation: "ending its supervisor", message });
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Ends whatever is left of a pod and removes it, without its supervisor's help.
pub(super) fn sweep(uid: &PodUid, folders: &Folders, cgroup: Option<&Cgroup>) -> Result<(), PodError> {
    kill_holder(uid, folders)?;
    if let Some(cgroup) = cgroup {
        cgroup.kill();
        cgroup.remove().map_err(|error| PodError::Failed {
            uid: uid.clone(),
            operation: "sweep",
            message: format!("{error}: {}", error.source),
        })?;
    }
    remove(folders)
}

/// Removes a pod's mounts and folders.
pub(super) fn remove(folders: &Folders) -> Result<(), PodError> {
    for folder in [&folders.run, &folders.state] {
        if !folder.exists() {
            continue;
        }
        for mount in mounts_below(folder) {
            let _ = sys::unmount(&mount, libc::MNT_DETACH);
        }
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("removing", folder)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Interfaces of a process's network namespace.
pub(super) fn interfaces(pid: i32) -> Vec<super::InterfaceUsage> {
    let table = File::open(format!("/proc/{pid}/net/dev")).and_then(io::read_to_string).unwrap_or_default();
    let row = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let n: Vec<u64> = counters.split_whitespace().map(|c| c.parse().unwrap_or(0)).collect();
        let at = |index: usize| n.get(index).copied().unwrap_or(0);
        Some(super::InterfaceUsage {
            name: name.trim().to_owned(),
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
        })
    };
    table.lines().skip(2).filter_map(row).collect()
}
