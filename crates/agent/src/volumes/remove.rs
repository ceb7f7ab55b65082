//! Taking a pod's volumes away.

use std::{
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use rustix::mount::{UnmountFlags, unmount as umount};

use super::VolumeError;
use crate::translate::Paths;

/// Unmounts everything below the pod's folder, the innermost first. May be repeated.
pub(crate) fn unmount(paths: &Paths) -> Result<(), VolumeError> {
    for mount in mounts_below(&paths.root)?.into_iter().rev() {
        match umount(&mount, UnmountFlags::NOFOLLOW) {
            // A busy mount is detached: its last user is a process that is about to go.
            Err(rustix::io::Errno::BUSY) => umount(&mount, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                .map_err(|error| VolumeError::Io { what: "unmount", path: mount, source: error.into() })?,
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) | Ok(()) => {}
            Err(error) => return Err(VolumeError::Io { what: "unmount", path: mount, source: error.into() }),
        }
    }
    Ok(())
}

/// Removes the pod's folders. Refuses while anything is mounted below them.
pub(crate) fn clean(paths: &Paths) -> Result<(), VolumeError> {
    for path in [&paths.root, &paths.logs] {
        if let Some(mount) = mounts_below(path)?.into_iter().next() {
            return Err(VolumeError::StillMounted { path: path.clone(), mount });
        }
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(VolumeError::Io { what: "remove", path: path.clone(), source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes what a pod that ended has written, but for its logs; whether there was anything. What is still mounted stays.
pub(crate) fn shed(paths: &Paths) -> bool {
    let volumes = fs::read_dir(paths.volumes()).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = [paths.root.join("layers"), paths.root.join("anonymous")].into_iter().chain(volumes);
    let mut any = false;
    for folder in folders.filter(|folder| folder.symlink_metadata().is_ok_and(|meta| meta.is_dir())) {
        if mounts_below(&folder).is_ok_and(|mounts| mounts.is_empty()) {
            any |= fs::remove_dir_all(&folder).is_ok();
        }
    }
    any
}

/// Mount points at or below a folder, outer ones first.
pub(super) fn mounts_below(path: &Path) -> Result<Vec<PathBuf>, VolumeError> {
    let table = "/proc/self/mountinfo";
    let text = fs::read(table).map_err(VolumeError::io("read", table))?;
    let points = text.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(points.map(unescape).filter(|point| point.starts_with(path)).collect())
}

/// The kernel writes blanks in paths as `\040` and so on.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let octal = text.get(at + 1..at + 4).filter(|_| text[at] == b'\\');
        let digits = octal.filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match digits {
            Some(digits) => {
                let value = digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
                at += 4;
            }
            None => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}
