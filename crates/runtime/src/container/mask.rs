//! Hiding and protecting parts of `/proc` and `/sys`.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use rustix::fs::FileType;

use super::{
    failure::{At, Outcome},
    mounts,
    target::by_fd,
};
use crate::{pod::StartStep, sys};

/// Covers folders with an empty read-only one and files with `/dev/null`. What is not there needs no mask.
pub(super) fn hide(root: BorrowedFd<'_>, paths: &[PathBuf]) -> Outcome {
    for path in paths {
        let what = || format!("masking {}", path.display());
        let Some(place) = existing(root, path).at(StartStep::Mount, what)? else { continue };
        let facts = rustix::fs::fstat(&place).at(StartStep::Mount, what)?;
        if FileType::from_raw_mode(facts.st_mode) == FileType::Directory {
            let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            sys::mount(Some(Path::new("tmpfs")), &by_fd(&place), Some("tmpfs"), flags, Some("size=0,nr_inodes=2"))
                .at(StartStep::Mount, what)?;
        } else {
            let null = mounts::clone_tree(Path::new("/dev/null")).at(StartStep::Mount, what)?;
            mounts::put(&null, &place).at(StartStep::Mount, what)?;
        }
    }
    Ok(())
}

/// Binds each path to itself, read-only.
pub(super) fn protect(root: BorrowedFd<'_>, paths: &[PathBuf]) -> Outcome {
    for path in paths {
        let what = || format!("making {} read-only", path.display());
        let Some(place) = existing(root, path).at(StartStep::Mount, what)? else { continue };
        let tree = mounts::clone_open(&place).at(StartStep::Mount, what)?;
        sys::make_read_only(tree.as_fd(), true).at(StartStep::Mount, what)?;
        mounts::put(&tree, &place).at(StartStep::Mount, what)?;
    }
    Ok(())
}

fn existing(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<rustix::fd::OwnedFd>> {
    match sys::open_in_root(root, path, libc::O_PATH) {
        Ok(place) => Ok(Some(place)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(error) => Err(error),
    }
}
