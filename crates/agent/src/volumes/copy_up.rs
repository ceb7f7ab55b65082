//! Filling an empty volume from the image's folder at the same place, as Docker does at a volume's first use.
//!
//! The image's layers are looked at through a read-only overlay of their own, so that files removed or replaced by
//! upper layers are as a container would see them. The copy goes to a sibling folder first and is switched in by
//! rename, so a crash never leaves half a copy that the next start would take for data.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink},
    },
    path::{Path, PathBuf},
};

use naru_runtime::image::Rootfs;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat2},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::{CopyUp, VolumeError};

/// Makes each folder, and fills the empty ones. `scratch` is a folder of the pod's own.
pub(crate) fn fill(rootfs: &Rootfs, copies: &[CopyUp], scratch: &Path) -> Result<(), VolumeError> {
    let mut wanted = Vec::new();
    for copy in copies {
        fs::create_dir_all(&copy.host).map_err(VolumeError::io("create", &copy.host))?;
        let mut entries = fs::read_dir(&copy.host).map_err(VolumeError::io("read", &copy.host))?;
        if entries.next().is_none() {
            wanted.push(copy);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let view = View::open(rootfs, scratch)?;
    wanted.into_iter().try_for_each(|copy| one(&view.root, copy))
}

fn one(root: &Path, copy: &CopyUp) -> Result<(), VolumeError> {
    let Some(source) = find(root, &copy.inside)? else { return Ok(()) };
    // The descriptor's path is a stable name of the folder, whatever links led there.
    let from = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&source)));
    let meta = fs::metadata(&from).map_err(VolumeError::io("read", &copy.inside))?;
    if !meta.is_dir() {
        return Ok(());
    }
    let staging = copy.host.join(".naru-copy");
    fs::remove_dir_all(&staging).or_else(absent).map_err(VolumeError::io("remove", &staging))?;
    fs::create_dir(&staging).map_err(VolumeError::io("create", &staging))?;
    copy_dir(&from, &staging).map_err(VolumeError::io("copy the image's files to", &copy.host))?;
    for entry in fs::read_dir(&staging).map_err(VolumeError::io("read", &staging))?.flatten() {
        let target = copy.host.join(entry.file_name());
        fs::rename(entry.path(), &target).map_err(VolumeError::io("move", &target))?;
    }
    fs::remove_dir(&staging).map_err(VolumeError::io("remove", &staging))?;
    chown(&copy.host, Some(meta.uid()), Some(meta.gid())).map_err(VolumeError::io("set the owner of", &copy.host))?;
    let mode = fs::Permissions::from_mode(meta.mode() & 0o7777);
    fs::set_permissions(&copy.host, mode).map_err(VolumeError::io("set permissions of", &copy.host))
}

/// Opens a folder of the image; links resolve within it.
fn find(root: &Path, inside: &Path) -> Result<Option<OwnedFd>, VolumeError> {
    let base = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| VolumeError::Io { what: "open", path: root.to_owned(), source: error.into() })?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(&base, inside, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(found) => Ok(Some(found)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(VolumeError::Io { what: "open the image's", path: inside.to_owned(), source: error.into() }),
    }
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let meta = entry.metadata()?;
        let kind = meta.file_type();
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
            lchown(&target, Some(meta.uid()), Some(meta.gid()))?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_dir(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        } else if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || kind.is_socket() {
            let node = rustix::fs::FileType::from_raw_mode(meta.mode());
            rustix::fs::mknodat(CWD, &target, node, Mode::from_raw_mode(meta.mode() & 0o7777), meta.rdev())?;
        }
        chown(&target, Some(meta.uid()), Some(meta.gid()))?;
        fs::set_permissions(&target, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        let time = |seconds, nanoseconds| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = rustix::fs::Timestamps {
            last_access: time(meta.atime(), meta.atime_nsec()),
            last_modification: time(meta.mtime(), meta.mtime_nsec()),
        };
        rustix::fs::utimensat(CWD, &target, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// A look at an image's files, gone when dropped.
struct View {
    root: PathBuf,
    mounted: bool,
}

impl View {
    fn open(rootfs: &Rootfs, scratch: &Path) -> Result<View, VolumeError> {
        if let [single] = rootfs.lower.as_slice() {
            return Ok(View { root: single.clone(), mounted: false });
        }
        let root = scratch.join("image-view");
        fs::create_dir_all(&root).map_err(VolumeError::io("create", &root))?;
        // Through descriptors every layer's name is short, so that many fit into the one page of mount options.
        let mut open = Vec::new();
        for layer in &rootfs.lower {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(layer, flags, Mode::empty());
            open.push(fd.map_err(|error| VolumeError::Io {
                what: "open",
                path: layer.clone(),
                source: error.into(),
            })?);
        }
        let names: Vec<String> =
            open.iter().map(|fd| format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd))).collect();
        let options = format!("lowerdir={}", names.join(":"));
        let options = std::ffi::CString::new(options).map_err(|error| VolumeError::Io {
            what: "name",
            path: root.clone(),
            source: error.into(),
        })?;
        mount("overlay", &root, "overlay", MountFlags::RDONLY, options.as_c_str()).map_err(|error| {
            VolumeError::Io { what: "look at the image through", path: root.clone(), source: error.into() }
        })?;
        Ok(View { root, mounted: true })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.mounted {
            let _ = unmount(&self.root, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            let _ = fs::remove_dir(&self.root);
        }
    }
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
