//! Places inside a container's root, found and made without ever leaving it: the root's content is the image author's, and
//! a link in it may point anywhere.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::failure::{At, Outcome, refuse};
use crate::{pod::StartStep, sys};

const PROC_MAGIC: i64 = 0x9fa0;

/// What to make when nothing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    Folder,
    /// Every folder with this mode, whatever the process's mask; nothing that a link names.
    FolderLike(u32),
    File,
}

/// The kernel's own limit of links in one path.
const MOST_LINKS: usize = 40;

/// Opens the place `path` (links are followed inside the root), making it and its folders when missing. What a link names
/// and is not there is made too, inside the root.
pub(super) fn ensure(root: BorrowedFd<'_>, path: &Path, make: Make) -> io::Result<OwnedFd> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match sys::open_in_root(root, &path, libc::O_PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        match make_missing(root, &path, make)? {
            None => return sys::open_in_root(root, &path, libc::O_PATH),
            Some(instead) => path = instead,
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Makes what is missing of a path. A link to nothing gives the path to go on with instead.
fn make_missing(root: BorrowedFd<'_>, path: &Path, make: Make) -> io::Result<Option<PathBuf>> {
    let parts: Vec<_> =
        path.components().filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir)).collect();
    let mut so_far = PathBuf::new();
    let mut folder = sys::open_in_root(root, &so_far, libc::O_PATH | libc::O_DIRECTORY)?;
    for (index, part) in parts.iter().enumerate() {
        let above = so_far.clone();
        so_far.push(part);
        let is_last = index + 1 == parts.len();
        match sys::open_in_root(root, &so_far, libc::O_PATH) {
            Ok(found) => {
                folder = found;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let made = if is_last && make == Make::File {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            rustix::fs::openat(&folder, part.as_os_str(), flags, Mode::from_raw_mode(0o644)).map(drop)
        } else {
            rustix::fs::mkdirat(&folder, part.as_os_str(), Mode::from_raw_mode(0o755))
        };
        match made {
            Ok(()) => {
                folder = sys::open_in_root(root, &so_far, libc::O_PATH)?;
                // By descriptor: a name could have become a link to somewhere else by now.
                if let Make::FolderLike(mode) = make {
                    rustix::fs::chmod(by_fd(&folder), Mode::from_raw_mode(mode))?;
                }
            }
            // Whoever asked for the folder of a volume did not ask for what a link in it may name.
            Err(rustix::io::Errno::EXIST) if matches!(make, Make::FolderLike(_)) => {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("{} is a link to nothing", so_far.display()),
                ));
            }
            Err(rustix::io::Errno::EXIST) => {
                // There, and yet not found: a link to nothing. An absolute one replaces the path by itself.
                let link = rustix::fs::readlinkat(&folder, part.as_os_str(), Vec::new())?;
                let link = PathBuf::from(std::ffi::OsString::from_vec(link.into_bytes()));
                let rest: PathBuf = parts[index + 1..].iter().collect();
                return Ok(Some(above.join(link).join(rest)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// A place for one of the standard filesystems: it must not be a link, or the masks would cover the wrong place.
pub(super) fn standard(root: BorrowedFd<'_>, path: &Path) -> Outcome<OwnedFd> {
    let place = ensure(root, path, Make::Folder).at(StartStep::Mount, || format!("preparing {}", path.display()))?;
    let seen = rustix::fs::statat(root, relative(path), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .at(StartStep::Mount, || format!("looking at {}", path.display()))?;
    if rustix::fs::FileType::from_raw_mode(seen.st_mode) != rustix::fs::FileType::Directory {
        return refuse(
            StartStep::Mount,
            format!("{} in the image is not a folder; it must not be a link", path.display()),
        );
    }
    Ok(place)
}

/// A place for a mount of the user's. A link must not lead it into `/proc`, where it could pose as the kernel.
pub(super) fn chosen(root: BorrowedFd<'_>, path: &Path, make: Make) -> Outcome<OwnedFd> {
    let place = ensure(root, path, make).at(StartStep::Mount, || format!("preparing {}", path.display()))?;
    let filesystem = rustix::fs::fstatfs(&place).at(StartStep::Mount, || format!("looking at {}", path.display()))?;
    if filesystem.f_type as i64 == PROC_MAGIC && !path.starts_with("/proc") {
        return refuse(StartStep::Mount, format!("{} leads into /proc by a link in the image", path.display()));
    }
    Ok(place)
}

/// The path as the kernel can find it again through our descriptor.
pub(super) fn by_fd(fd: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Without the leading slash.
pub(super) fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_never_lead_out() {
        let scratch = tempfile::tempdir().unwrap();
        let (outside, inside) = (scratch.path().join("outside"), scratch.path().join("root"));
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(&inside).unwrap();
        symlink(&outside, inside.join("absolute")).unwrap();
        symlink("../outside", inside.join("relative")).unwrap();
        let root = fs::File::open(&inside).unwrap();
        for path in ["/absolute/made", "/relative/made", "/../../outside/made", "/a/b/../c"] {
            let _ = ensure(root.as_fd(), Path::new(path), Make::Folder);
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made outside of the root");
        assert!(inside.join(outside.strip_prefix("/").unwrap()).join("made").is_dir(), "the link leads nowhere");
        symlink("loop", inside.join("loop")).unwrap();
        assert!(ensure(root.as_fd(), Path::new("/loop/x"), Make::Folder).is_err());
    }

    #[test]
    fn makes_files_and_folders() {
        let scratch = tempfile::tempdir().unwrap();
        let root = fs::File::open(scratch.path()).unwrap();
        ensure(root.as_fd(), Path::new("/etc/deep/hosts"), Make::File).unwrap();
        ensure(root.as_fd(), Path::new("/data/x"), Make::Folder).unwrap();
        assert!(scratch.path().join("etc/deep/hosts").is_file() && scratch.path().join("data/x").is_dir());
        ensure(root.as_fd(), Path::new("/open/wide"), Make::FolderLike(0o2777)).unwrap();
        for made in ["open", "open/wide"] {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(fs::metadata(scratch.path().join(made)).unwrap().mode() & 0o7777, 0o2777, "{made}");
        }
    }

    #[test]
    fn folders_of_a_volume_are_not_invented_by_its_links() {
        let scratch = tempfile::tempdir().unwrap();
        let root = fs::File::open(scratch.path()).unwrap();
        fs::create_dir(scratch.path().join("real")).unwrap();
        symlink("/real", scratch.path().join("in")).unwrap();
        symlink("/var/lib/host", scratch.path().join("out")).unwrap();
        for path in ["out", "out/more"] {
            let refused = ensure(root.as_fd(), Path::new(path), Make::FolderLike(0o755)).unwrap_err();
            assert!(refused.to_string().contains("out is a link to nothing"), "{refused}");
        }
        assert!(!scratch.path().join("var").exists());
        ensure(root.as_fd(), Path::new("in/new"), Make::FolderLike(0o755)).unwrap();
        assert!(scratch.path().join("real/new").is_dir(), "a link within the volume is followed");
    }
}
