//! A container's files from outside: every path is resolved by the kernel within the container's own root, so that no
//! link of the container's leads to the host's files.

use std::{
    ffi::{CStr, OsStr},
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, chownat, linkat, mkdirat,
    mknodat, openat, openat2, readlinkat, statat, symlinkat, unlinkat, utimensat,
};
use tar::{Archive, Builder, EntryType, Header};

/// A root.
pub(super) struct Tree(OwnedFd);

/// Something in a tree: the folder it is in, its name there, and what it is.
pub(super) struct Entry {
    parent: OwnedFd,
    name: PathBuf,
    /// Its name in an archive.
    shown: PathBuf,
    stat: Stat,
}

impl Tree {
    /// The root that a process sees, with everything that is mounted there.
    pub fn of_process(pid: i32) -> io::Result<Tree> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Tree(rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())?))
    }

    #[cfg(test)]
    pub fn of_folder(path: &Path) -> io::Result<Tree> {
        Ok(Tree(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?)
    }

    /// A folder to look into or to change.
    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        self.open(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// What is at a path. A link at its end is itself, unless a slash follows.
    pub fn find(&self, path: &str) -> io::Result<Entry> {
        let clean = Path::new(path);
        let name = clean.file_name().filter(|_| !path.ends_with('/') && !path.ends_with("/."));
        let Some(name) = name else {
            let folder = self.folder(clean)?;
            let stat = statat(&folder, "", AtFlags::EMPTY_PATH)?;
            let shown = clean.file_name().map_or_else(|| PathBuf::from("."), PathBuf::from);
            return Ok(Entry { parent: folder, name: ".".into(), shown, stat });
        };
        let parent = self.folder(clean.parent().unwrap_or(Path::new("/")))?;
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Entry { parent, name: name.into(), shown: name.into(), stat })
    }
}

// === reading

/// Writes an entry and everything below it as an archive.
pub(super) fn pack(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    let mut builder = Builder::new(out);
    put(&mut builder, entry.parent.as_fd(), &entry.name, &entry.shown, &entry.stat)?;
    builder.finish()
}

fn put(
    builder: &mut Builder<&mut impl Write>,
    parent: impl AsFd + Copy,
    name: &Path,
    shown: &Path,
    stat: &Stat,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, shown, io::empty())?;
            let folder = openat(
                parent,
                name,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let mut names: Vec<PathBuf> = Vec::new();
            for item in rustix::fs::Dir::read_from(&folder)? {
                let item = item?;
                let file: &CStr = item.file_name();
                if !matches!(file.to_bytes(), b"." | b"..") {
                    names.push(OsStr::from_bytes(file.to_bytes()).into());
                }
            }
            names.sort();
            for name in names {
                // Files of a running container may go away at any moment.
                let Ok(stat) = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                put(builder, folder.as_fd(), &name, &shown.join(&name), &stat)?;
            }
            Ok(())
        }
        FileType::RegularFile => {
            let file = openat(parent, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            let length = u64::try_from(stat.st_size).unwrap_or(0);
            header.set_size(length);
            // A file that grows or shrinks meanwhile still fills exactly the length that was announced.
            builder.append_data(&mut header, shown, File::from(file).chain(io::repeat(0)).take(length))
        }
        FileType::Symlink => {
            header.set_entry_type(EntryType::Symlink);
            let target = readlinkat(parent, name, Vec::new())?;
            builder.append_link(&mut header, shown, OsStr::from_bytes(target.to_bytes()))
        }
        FileType::Fifo => {
            header.set_entry_type(EntryType::Fifo);
            builder.append_data(&mut header, shown, io::empty())
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            let block = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
            header.set_entry_type(if block { EntryType::Block } else { EntryType::Char });
            header.set_device_major(rustix::fs::major(stat.st_rdev))?;
            header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
            builder.append_data(&mut header, shown, io::empty())
        }
        // Sockets have no form in archives.
        _ => Ok(()),
    }
}

// === writing

/// Puts an archive's entries to `path`: below it when it is a folder, else as it, where `name` is the source's name.
pub(super) fn unpack(root: &Tree, path: &str, name: &str, archive: impl Read) -> io::Result<()> {
    let target = Path::new(path);
    let folder = root.open(target, OFlags::PATH | OFlags::DIRECTORY);
    let (base, renamed) = match folder {
        Ok(_) => (target.to_owned(), None),
        Err(error) if path.ends_with('/') => return Err(error),
        Err(_) => {
            let parent = target.parent().unwrap_or(Path::new("/")).to_owned();
            root.folder(&parent)?;
            let new = target.file_name().ok_or(io::ErrorKind::NotFound)?.to_owned();
            (parent, Some(new))
        }
    };
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(inside) = inside(&entry.path()?, name, renamed.as_deref()) else { continue };
        let link = match entry.header().entry_type() {
            EntryType::Link => entry.link_name()?.and_then(|link| self::inside(&link, name, renamed.as_deref())),
            _ => entry.link_name()?.map(|link| link.into_owned()),
        };
        place(root, &base, &inside, link, &mut entry)?;
    }
    Ok(())
}

/// An entry's path below the base: plain parts only, the source's own name replaced.
fn inside(path: &Path, name: &str, renamed: Option<&OsStr>) -> Option<PathBuf> {
    let parts: Vec<&OsStr> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(part) => Some(part),
            _ => None,
        })
        .collect();
    if path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    match (renamed, parts.split_first()) {
        (Some(new), Some((first, rest))) if name.is_empty() || name == "." || *first == name => {
            // A folder's content (`name/.`) keeps its first part below the new folder.
            let keep: &[&OsStr] = if name == "." { &parts } else { rest };
            Some([new].iter().copied().chain(keep.iter().copied()).collect())
        }
        (Some(new), None) => Some(new.into()),
        (_, None) => None,
        (_, Some(_)) => Some(parts.into_iter().collect()),
    }
}

fn place(
    root: &Tree,
    base: &Path,
    inside: &Path,
    link: Option<PathBuf>,
    entry: &mut tar::Entry<'_, impl Read>,
) -> io::Result<()> {
    let full = base.join(inside);
    let (parent, name) =
        (full.parent().unwrap_or(Path::new("/")), full.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    let folder = make_folders(root, parent)?;
    let header = entry.header().clone();
    let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
    let kind = header.entry_type();
    let there = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    let is_folder = there.as_ref().is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    if there.is_some() && !is_folder {
        unlinkat(&folder, name, AtFlags::empty())?;
    } else if is_folder && kind != EntryType::Directory {
        return Err(io::Error::other(format!("{} is a folder and cannot be replaced by a file", full.display())));
    }
    match kind {
        EntryType::Directory => {
            if !is_folder {
                mkdirat(&folder, name, mode)?;
            }
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&folder, name, flags, Mode::from_raw_mode(0o600))?);
            io::copy(entry, &mut file)?;
        }
        EntryType::Symlink => {
            symlinkat(link.ok_or(io::ErrorKind::InvalidData)?, &folder, name)?;
        }
        EntryType::Link => {
            let source = base.join(link.ok_or(io::ErrorKind::InvalidData)?);
            let from = root.folder(source.parent().unwrap_or(Path::new("/")))?;
            linkat(&from, source.file_name().ok_or(io::ErrorKind::InvalidData)?, &folder, name, AtFlags::empty())?;
            return Ok(());
        }
        EntryType::Fifo => mknodat(&folder, name, FileType::Fifo, mode, 0)?,
        // Devices are not made by copying, and other entries carry no file.
        _ => return Ok(()),
    }
    let id = |id: u64| u32::try_from(id).unwrap_or(0);
    let (uid, gid) = (Uid::from_raw(id(header.uid()?)), Gid::from_raw(id(header.gid()?)));
    chownat(&folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != EntryType::Symlink {
        // Owner changes clear the set-id bits, so the mode comes after.
        rustix::fs::chmodat(&folder, name, mode, AtFlags::empty())?;
    }
    let at = Timespec { tv_sec: i64::try_from(header.mtime()?).unwrap_or(0), tv_nsec: 0 };
    utimensat(&folder, name, &Timestamps { last_access: at, last_modification: at }, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Opens a folder, making what is missing of it.
fn make_folders(root: &Tree, path: &Path) -> io::Result<OwnedFd> {
    match root.folder(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = make_folders(root, path.parent().ok_or(io::ErrorKind::NotFound)?)?;
            let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
            root.folder(path)
        }
        other => other,
    }
}
