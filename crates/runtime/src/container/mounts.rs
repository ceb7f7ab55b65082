//! Everything mounted into the root.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree};

use super::{
    failure::{At, Outcome, refuse},
    target::{self, Make, by_fd},
};
use crate::{
    cgroup::Cgroup,
    pod::{ContainerConfig, Mount, MountSource, Propagation, Shm, StartStep},
    sys,
};

const NO_SUID_DEV: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV;
const NO_SUID_DEV_EXEC: libc::c_ulong = NO_SUID_DEV | libc::MS_NOEXEC;

/// Sources opened before this namespace was cut off from the host's, in the order of the configuration's mounts.
pub(super) type Sources = Vec<Option<OwnedFd>>;

/// Mounts one new filesystem at a standard place.
fn filesystem(root: BorrowedFd<'_>, path: &str, kind: &str, flags: libc::c_ulong, options: &str) -> Outcome {
    let place = target::standard(root, Path::new(path))?;
    sys::mount(Some(Path::new(kind)), &by_fd(&place), Some(kind), flags, Some(options))
        .at(StartStep::Mount, || format!("mounting {kind} on {path}"))
}

/// `/proc`, `/sys`, `/dev` and what is in them, save the device nodes and the groups.
pub(super) fn standard(root: BorrowedFd<'_>, config: &ContainerConfig, shm: &Path) -> Outcome {
    filesystem(root, "/proc", "proc", NO_SUID_DEV_EXEC, "")?;
    filesystem(root, "/dev", "tmpfs", libc::MS_NOSUID | libc::MS_STRICTATIME, "mode=755,size=65536k")?;
    filesystem(root, "/sys", "sysfs", sys_flags(config), "")?;
    let pts = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    filesystem(root, "/dev/pts", "devpts", libc::MS_NOSUID | libc::MS_NOEXEC, pts)?;
    filesystem(root, "/dev/mqueue", "mqueue", NO_SUID_DEV_EXEC, "")?;
    match config.shm {
        Shm::Private(size) => {
            filesystem(root, "/dev/shm", "tmpfs", NO_SUID_DEV_EXEC, &format!("mode=1777,size={size}"))?;
        }
        Shm::Pod => {
            let tree = clone_tree(shm).at(StartStep::Mount, || format!("opening {}", shm.display()))?;
            let place = target::standard(root, Path::new("/dev/shm"))?;
            put(&tree, &place).at(StartStep::Mount, || "binding /dev/shm")?;
        }
    }
    Ok(())
}

fn sys_flags(config: &ContainerConfig) -> libc::c_ulong {
    NO_SUID_DEV_EXEC | if config.writable_sys { 0 } else { libc::MS_RDONLY }
}

/// The container's own groups; only after it entered them and made a namespace there.
pub(super) fn cgroups(root: BorrowedFd<'_>, config: &ContainerConfig, cgroup: &Cgroup) -> Outcome {
    let flags = sys_flags(config);
    // Not every kernel has the folder: a container without it still runs.
    if sys::open_in_root(root, Path::new("sys/fs/cgroup"), libc::O_PATH).is_err() {
        return Ok(());
    }
    let Some(controllers) = cgroup.v1_mounts() else {
        return filesystem(root, "/sys/fs/cgroup", "cgroup2", flags, "");
    };
    filesystem(root, "/sys/fs/cgroup", "tmpfs", flags & !libc::MS_RDONLY, "mode=755")?;
    for (name, controllers) in controllers {
        filesystem(root, &format!("/sys/fs/cgroup/{name}"), "cgroup", flags, &controllers.join(","))?;
    }
    if flags & libc::MS_RDONLY != 0 {
        let top = sys::open_in_root(root, Path::new("sys/fs/cgroup"), libc::O_PATH)
            .at(StartStep::Mount, || "opening /sys/fs/cgroup")?;
        sys::make_read_only(top.as_fd(), false).at(StartStep::Mount, || "making /sys/fs/cgroup read-only")?;
    }
    Ok(())
}

/// A detached copy of a tree of mounts.
pub(super) fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(rustix::fs::CWD, path, flags)?)
}

/// The same of what a descriptor names.
pub(super) fn clone_open(fd: &impl AsFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(fd, "", flags)?)
}

/// Puts a detached tree on a place.
pub(super) fn put(tree: &impl AsFd, place: &impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", place, "", flags)?)
}

/// Opens the sources of binds that stay connected with the host both ways; then cuts everything else off: what the host
/// mounts later still arrives in `HostToContainer` binds, nothing of ours ever goes back.
pub(super) fn detach_from_host(config: &ContainerConfig) -> Outcome<Sources> {
    let open = |mount: &Mount| match &mount.source {
        MountSource::Bind { path, subpath, propagation: Propagation::Bidirectional } => {
            open_source(path, subpath.as_deref()).map(Some)
        }
        _ => Ok(None),
    };
    let sources = config.mounts.iter().map(open).collect::<Outcome<Vec<_>>>()?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .at(StartStep::Namespaces, || "separating the mounts from the host's")?;
    Ok(sources)
}

fn open_source(path: &Path, subpath: Option<&Path>) -> Outcome<OwnedFd> {
    let Some(subpath) = subpath.filter(|s| !s.as_os_str().is_empty()) else {
        return clone_tree(path).at(StartStep::Mount, || format!("opening {}", path.display()));
    };
    let volume = File::open(path).at(StartStep::Mount, || format!("opening {}", path.display()))?;
    // As writable as the volume: whoever may write there meant to write here too.
    let mode = rustix::fs::fstat(&volume).map_or(0o755, |found| found.st_mode & 0o7777);
    let inner = target::ensure(volume.as_fd(), subpath, Make::FolderLike(mode))
        .at(StartStep::Mount, || format!("preparing {} in {}", subpath.display(), path.display()))?;
    clone_open(&inner).at(StartStep::Mount, || format!("opening {} in {}", subpath.display(), path.display()))
}

/// The configuration's own mounts; parents before what is inside them.
pub(super) fn configured(root: BorrowedFd<'_>, config: &ContainerConfig, mut sources: Sources) -> Outcome {
    let mut order: Vec<usize> = (0..config.mounts.len()).collect();
    order.sort_by_key(|at| config.mounts[*at].target.components().count());
    for at in order {
        let mount = &config.mounts[at];
        if !mount.target.is_absolute() {
            return refuse(StartStep::Mount, format!("mount target {} is not absolute", mount.target.display()));
        }
        match &mount.source {
            MountSource::Bind { path, subpath, propagation } => {
                let tree = match sources.get_mut(at).and_then(Option::take) {
                    Some(tree) => tree,
                    None => open_source(path, subpath.as_deref())?,
                };
                bind(root, mount, &tree, *propagation, path)?;
            }
            MountSource::Tmpfs { size, mode, copy_up } => tmpfs(root, mount, *size, *mode, *copy_up)?,
        }
    }
    Ok(())
}

fn bind(root: BorrowedFd<'_>, mount: &Mount, tree: &OwnedFd, propagation: Propagation, source: &Path) -> Outcome {
    let what = || format!("binding {} to {}", source.display(), mount.target.display());
    let kind = rustix::fs::fstat(tree).at(StartStep::Mount, what)?;
    let is_folder = rustix::fs::FileType::from_raw_mode(kind.st_mode) == rustix::fs::FileType::Directory;
    let place = target::chosen(root, &mount.target, if is_folder { Make::Folder } else { Make::File })?;
    if mount.read_only {
        sys::make_read_only(tree.as_fd(), true).at(StartStep::Mount, what)?;
    }
    put(tree, &place).at(StartStep::Mount, what)?;
    if propagation == Propagation::Private {
        mount_change(by_fd(tree), MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .at(StartStep::Mount, what)?;
    }
    if mount.noexec {
        let flags =
            libc::MS_REMOUNT | libc::MS_BIND | libc::MS_NOEXEC | if mount.read_only { libc::MS_RDONLY } else { 0 };
        sys::mount(None, &by_fd(tree), None, flags, None).at(StartStep::Mount, what)?;
    }
    Ok(())
}

fn tmpfs(root: BorrowedFd<'_>, mount: &Mount, size: Option<u64>, mode: Option<u32>, copy_up: bool) -> Outcome {
    let what = || format!("mounting tmpfs on {}", mount.target.display());
    let place = target::chosen(root, &mount.target, Make::Folder)?;
    let mut options = format!("mode={:o}", mode.unwrap_or(0o1777));
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    let flags = NO_SUID_DEV | if mount.noexec { libc::MS_NOEXEC } else { 0 };
    sys::mount(Some(Path::new("tmpfs")), &by_fd(&place), Some("tmpfs"), flags, Some(&options))
        .at(StartStep::Mount, what)?;
    let top = sys::open_in_root(root, &mount.target, libc::O_PATH).at(StartStep::Mount, what)?;
    if copy_up {
        // `place` still names what the mount covers.
        copy_tree(&by_fd(&place), &by_fd(&top)).at(StartStep::Mount, what)?;
    }
    if mount.read_only {
        sys::make_read_only(top.as_fd(), false).at(StartStep::Mount, what)?;
    }
    Ok(())
}

/// Copies folders, files and links with their owners and permissions.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown, symlink};
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        let facts = entry.metadata()?;
        if facts.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&source, &target)?;
        } else if facts.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if facts.is_file() {
            fs::copy(&source, &target)?;
        } else {
            continue;
        }
        lchown(&target, Some(facts.uid()), Some(facts.gid()))?;
        if !facts.is_symlink() {
            fs::set_permissions(&target, facts.permissions())?;
        }
    }
    Ok(())
}
