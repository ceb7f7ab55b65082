//! Device nodes in a container's `/dev`.

use std::{
    fs, io,
    os::{
        fd::BorrowedFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode, major, makedev, minor, mknodat, symlinkat};

use super::{
    failure::{At, Outcome},
    target::{self, Make, relative},
};
use crate::pod::{DeviceSpec, Devices, StartStep};

/// One node to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    path: PathBuf,
    block: bool,
    device: u64,
    mode: u32,
    owner: (u32, u32),
    access: String,
}

const STANDARD: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// The nodes of every container. `dev` is its `/dev`.
pub(super) fn standard(dev: BorrowedFd<'_>) -> Outcome {
    // The process's mask must not narrow them.
    let mask = rustix::process::umask(Mode::empty());
    for (name, major, minor) in STANDARD {
        mknodat(dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))
            .at(StartStep::Device, || format!("making /dev/{name}"))?;
    }
    for (name, to) in LINKS {
        symlinkat(to, dev, name).at(StartStep::Device, || format!("linking /dev/{name}"))?;
    }
    rustix::process::umask(mask);
    Ok(())
}

/// Finds the host's nodes that a configuration names.
pub(super) fn collect(devices: &Devices) -> Outcome<Vec<Node>> {
    let mut nodes = Vec::new();
    for spec in &devices.list {
        let what = || format!("looking at device {}", spec.host_path.display());
        let inside = if spec.container_path.as_os_str().is_empty() { &spec.host_path } else { &spec.container_path };
        // Links such as /dev/cdrom name the node they lead to.
        let host = spec.host_path.canonicalize().at(StartStep::Device, what)?;
        add(&host, inside, spec, &mut nodes).at(StartStep::Device, what)?;
        if nodes.is_empty() {
            return super::failure::refuse(
                StartStep::Device,
                format!("{} is neither a device node nor a folder with one", spec.host_path.display()),
            );
        }
    }
    if devices.host {
        let all = DeviceSpec { host_path: "/dev".into(), container_path: PathBuf::new(), access: "rwm".into() };
        add(Path::new("/dev"), Path::new("/dev"), &all, &mut nodes).at(StartStep::Device, || "listing /dev")?;
    }
    Ok(nodes)
}

fn add(host: &Path, inside: &Path, spec: &DeviceSpec, nodes: &mut Vec<Node>) -> io::Result<()> {
    let facts = fs::symlink_metadata(host)?;
    let kind = facts.file_type();
    if kind.is_dir() {
        // These are filesystems of their own in every container.
        if host.parent() == Some(Path::new("/dev")) && ["pts", "shm", "mqueue"].iter().any(|n| host.ends_with(n)) {
            return Ok(());
        }
        for entry in fs::read_dir(host)?.flatten() {
            add(&entry.path(), &inside.join(entry.file_name()), spec, nodes)?;
        }
    } else if kind.is_block_device() || kind.is_char_device() {
        nodes.push(Node {
            path: inside.to_owned(),
            block: kind.is_block_device(),
            device: facts.rdev(),
            mode: facts.mode() & 0o7777,
            owner: (facts.uid(), facts.gid()),
            access: spec.access.clone(),
        });
    }
    Ok(())
}

/// The cgroup rules that let them be opened.
pub(super) fn rules(nodes: &[Node]) -> Vec<String> {
    let rule = |n: &Node| {
        let access = if n.access.is_empty() { "rwm" } else { &n.access };
        format!("{} {}:{} {access}", if n.block { 'b' } else { 'c' }, major(n.device), minor(n.device))
    };
    nodes.iter().map(rule).collect()
}

/// Makes them; standard nodes stay as they are.
pub(super) fn make(root: BorrowedFd<'_>, nodes: &[Node]) -> Outcome {
    for node in nodes {
        let what = || format!("making device {}", node.path.display());
        let folder = node.path.parent().unwrap_or(Path::new("/"));
        let Some(name) = node.path.file_name() else { continue };
        let folder = target::ensure(root, relative(folder), Make::Folder).at(StartStep::Device, what)?;
        let kind = if node.block { FileType::BlockDevice } else { FileType::CharacterDevice };
        match mknodat(&folder, name, kind, Mode::from_raw_mode(node.mode), node.device) {
            Err(rustix::io::Errno::EXIST) => continue,
            made => made.at(StartStep::Device, what)?,
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(node.owner.0), rustix::fs::Gid::from_raw(node.owner.1));
        rustix::fs::chownat(&folder, name, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .at(StartStep::Device, what)?;
        // The mask of the process narrowed the mode that mknod was given.
        rustix::fs::chmodat(&folder, name, Mode::from_raw_mode(node.mode), rustix::fs::AtFlags::empty())
            .at(StartStep::Device, what)?;
    }
    Ok(())
}
