//! Writing one entry of a layer's archive.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::EntryError;
use super::root::{self, Root};
use crate::image::tarball::{Entry, Kind};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// Holes are made of whole file system blocks.
const HOLE: usize = 4096;

/// Writes entries into a layer's folder.
pub(super) struct Writer {
    root: Root,
    /// Times of folders are set at the end: adding a file changes them.
    folders: Vec<(Vec<u8>, (i64, u32))>,
    buffer: Vec<u8>,
    bytes: u64,
}

impl Writer {
    pub(super) fn new(root: Root) -> Writer {
        Writer { root, folders: Vec::new(), buffer: vec![0; 32 * HOLE], bytes: 0 }
    }

    /// Bytes of file contents written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes `entry`, whose contents `archive` gives.
    pub(super) fn apply(&mut self, entry: &Entry, archive: &mut impl Read) -> Result<(), EntryError> {
        let components = root::components(&entry.path)?;
        let Some((name, above)) = components.split_last() else {
            return match entry.kind {
                Kind::Folder => self.folder_metadata(&self.root.top(), b".", entry),
                _ => Err(EntryError::Refused("names the layer's root, which is a folder".into())),
            };
        };
        if name.starts_with(WHITEOUT) {
            return self.whiteout(above, name);
        }
        let source = match entry.kind {
            Kind::HardLink => match self.link_source(entry, &components)? {
                Some(source) => Some(source),
                None => return Ok(()),
            },
            _ => None,
        };
        let parent = self.root.folder(above)?;
        let existed = self.make_way(&parent, name, entry.kind)?;
        let os_name = OsStr::from_bytes(name);
        match entry.kind {
            Kind::Folder => {
                if existed != Existed::Folder {
                    fs::mkdirat(&parent, os_name, Mode::from_raw_mode(0o700))?;
                }
                let folder = root::own_folder(&parent, name)?;
                if existed == Existed::Whiteout {
                    root::make_opaque(&folder)?;
                }
                self.folder_metadata(&folder, &components.join(&b'/'), entry)
            }
            Kind::File => self.file(&parent, os_name, entry, archive),
            Kind::Symlink => {
                fs::symlinkat(OsStr::from_bytes(&entry.link), &parent, os_name)?;
                owner_and_time(&parent, os_name, entry)
            }
            Kind::HardLink => match source {
                Some((folder, name)) => hard_link(&folder, &name, &parent, os_name, entry),
                None => Ok(()),
            },
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => node(&parent, os_name, entry),
        }
    }

    /// Sets what had to wait until every entry was written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let implied = self.root.implied.iter().map(|(path, stat)| (path, (stat.st_mtime, stat.st_mtime_nsec as u32)));
        for (path, time) in implied.chain(self.folders.iter().map(|(path, time)| (path, *time))) {
            // An entry may have been replaced since.
            if let Ok(folder) = self.root.open_folder(path) {
                fs::futimens(&folder, &times(time))?;
            }
        }
        Ok(())
    }

    /// Clears `name` for something new; a folder stays for a folder.
    fn make_way(&mut self, parent: &OwnedFd, name: &[u8], kind: Kind) -> Result<Existed, EntryError> {
        let Some(stat) = root::kind_of(parent, name)? else { return Ok(Existed::Nothing) };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if kind == Kind::Folder {
                return Ok(Existed::Folder);
            }
            self.root.forget();
            remove_tree(parent, name)?;
            return Ok(Existed::Nothing);
        }
        let whiteout = root::is_whiteout(parent, name)?;
        self.root.forget();
        fs::unlinkat(parent, OsStr::from_bytes(name), AtFlags::empty())?;
        Ok(if whiteout { Existed::Whiteout } else { Existed::Nothing })
    }

    fn whiteout(&mut self, above: &[&[u8]], name: &[u8]) -> Result<(), EntryError> {
        let hidden = &name[WHITEOUT.len()..];
        if name != OPAQUE_MARK && matches!(hidden, b"" | b"." | b"..") {
            return Err(EntryError::Refused("hides no name".into()));
        }
        // Nothing lies below the lowest layer; other names with this prefix are notes of an old file system.
        if self.root.is_base() || (name != OPAQUE_MARK && hidden.starts_with(WHITEOUT)) {
            return Ok(());
        }
        let parent = self.root.folder(above)?;
        if name == OPAQUE_MARK {
            return Ok(root::make_opaque(&parent)?);
        }
        match root::kind_of(&parent, hidden)? {
            None => Ok(fs::mknodat(&parent, OsStr::from_bytes(hidden), FileType::CharacterDevice, Mode::empty(), 0)?),
            // What this layer itself brings replaces a file by being there; a folder would be merged.
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                Ok(root::make_opaque(&root::own_folder(&parent, hidden)?)?)
            }
            Some(_) => Ok(()),
        }
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        archive: &mut impl Read,
    ) -> Result<(), EntryError> {
        let file = create(parent, name)?;
        self.copy(archive, &file, entry.size)?;
        metadata(&file, entry)?;
        fs::futimens(&file, &times(entry.mtime))?;
        Ok(())
    }

    /// Copies `size` bytes, leaving holes where there are only zeros.
    fn copy(&mut self, from: &mut impl Read, to: &File, size: u64) -> Result<(), EntryError> {
        let mut to = to;
        let (mut left, mut hole) = (size, 0_u64);
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            from.read_exact(&mut self.buffer[..want]).map_err(EntryError::Read)?;
            for block in self.buffer[..want].chunks(HOLE) {
                if block.len() == HOLE && block.iter().all(|b| *b == 0) {
                    hole += HOLE as u64;
                    continue;
                }
                if hole > 0 {
                    to.seek(SeekFrom::Current(hole.cast_signed())).map_err(EntryError::Write)?;
                    hole = 0;
                }
                to.write_all(block).map_err(EntryError::Write)?;
            }
            left -= want as u64;
        }
        if hole > 0 {
            to.set_len(size).map_err(EntryError::Write)?;
        }
        self.bytes += size;
        Ok(())
    }

    /// The file a hard link names, brought up from a lower layer where this one lacks it; none for a link to itself.
    fn link_source(&mut self, entry: &Entry, own: &[&[u8]]) -> Result<Option<Place>, EntryError> {
        let target = root::components(&entry.link).map_err(|_| {
            EntryError::Refused(format!("is a hard link out of the layer's root, to \"{}\"", lossy(&entry.link)))
        })?;
        let Some((name, above)) = target.split_last() else {
            return Err(EntryError::Refused("is a hard link to the layer's root".into()));
        };
        if target == own {
            return Ok(None);
        }
        let folder = self.root.folder(above)?;
        if root::kind_of(&folder, name)?
            .is_none_or(|stat| stat.st_rdev == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
        {
            let missing = || {
                EntryError::Refused(format!("is a hard link to \"{}\", which is not in the image", lossy(&entry.link)))
            };
            let lower = self.root.lower_file(&target.join(&b'/'))?.ok_or_else(missing)?;
            self.bring_up(File::from(lower), &folder, name)?;
        }
        Ok(Some((folder, name.to_vec())))
    }

    fn bring_up(&mut self, mut lower: File, folder: &OwnedFd, name: &[u8]) -> Result<(), EntryError> {
        let stat = fs::fstat(&lower)?;
        let file = create(folder, OsStr::from_bytes(name))?;
        self.copy(&mut lower, &file, u64::try_from(stat.st_size).unwrap_or(0))?;
        fs::fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        let mut capability = [0; 64];
        if let Ok(length) = fs::fgetxattr(&lower, "security.capability", &mut capability[..]) {
            fs::fsetxattr(&file, "security.capability", &capability[..length], XattrFlags::empty())?;
        }
        fs::futimens(&file, &times((stat.st_mtime, stat.st_mtime_nsec as u32)))?;
        Ok(())
    }

    fn folder_metadata(&mut self, folder: &OwnedFd, path: &[u8], entry: &Entry) -> Result<(), EntryError> {
        metadata(folder, entry)?;
        self.folders.push((path.to_vec(), entry.mtime));
        Ok(())
    }
}

/// A folder and a name in it.
type Place = (Rc<OwnedFd>, Vec<u8>);

/// What stood where a new entry goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existed {
    Nothing,
    Folder,
    Whiteout,
}

fn create(parent: &OwnedFd, name: &OsStr) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?))
}

/// Owner, mode and attributes; in this order, because a change of owner clears set-id bits and capabilities.
fn metadata(fd: &impl AsFd, entry: &Entry) -> Result<(), EntryError> {
    fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    fs::fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        // These steer overlayfs itself: an image must not redirect folders or hide them behind our back.
        if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        match fs::fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            // File systems without this kind of attribute; labels of a security module that this machine lacks.
            Err(Errno::OPNOTSUPP) => {}
            Err(Errno::PERM | Errno::INVAL) if !name.starts_with(b"security.capability") => {}
            other => other?,
        }
    }
    Ok(())
}

fn owner_and_time(parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), EntryError> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn hard_link(folder: &OwnedFd, target: &[u8], parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), EntryError> {
    match fs::linkat(folder, OsStr::from_bytes(target), parent, name, AtFlags::empty()) {
        Err(Errno::PERM) => {
            Err(EntryError::Refused(format!("is a hard link to the folder \"{}\"", lossy(&entry.link))))
        }
        other => Ok(other?),
    }
}

fn node(parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), EntryError> {
    let kind = match entry.kind {
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let device = fs::makedev(entry.device.0, entry.device.1);
    match fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device) {
        // Without the right to make devices (inside a container) the image still works: pods get their own /dev.
        Err(Errno::PERM) if kind != FileType::Fifo => return Ok(()),
        other => other?,
    }
    owner_and_time(parent, name, entry)?;
    fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    Ok(())
}

fn remove_tree(parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let folder = root::own_folder(parent, name)?;
    for entry in fs::Dir::read_from(&folder)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if matches!(child, b"." | b"..") {
            continue;
        }
        match fs::unlinkat(&folder, OsStr::from_bytes(child), AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_tree(&folder, child)?,
            other => other?,
        }
    }
    fs::unlinkat(parent, OsStr::from_bytes(name), AtFlags::REMOVEDIR)
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
