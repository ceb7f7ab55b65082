//! A layer's folder, and paths that cannot leave it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::EntryError;

/// overlayfs hides what lies below a folder with this attribute.
const OPAQUE: &str = "trusted.overlay.opaque";

/// The folder being filled, and the layers below it.
pub(super) struct Root {
    top: Rc<OwnedFd>,
    /// Nearest first.
    lowers: Vec<OwnedFd>,
    /// The folder of the last entry: archives name neighbours one after another.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Folders made without being described, whose times come from below.
    pub(super) implied: Vec<(Vec<u8>, Stat)>,
}

impl Root {
    pub(super) fn open(target: &Path, lowers: &[PathBuf]) -> io::Result<Root> {
        let open = |path: &Path| fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let top = Rc::new(open(target)?);
        let lowers = lowers.iter().map(|path| open(path)).collect::<Result<Vec<_>, Errno>>()?;
        let mut root = Root { top: top.clone(), lowers, last: None, implied: Vec::new() };
        fs::fchmod(&top, Mode::from_raw_mode(0o755))?;
        root.inherit(&top, b".").map_err(io::Error::from)?;
        Ok(root)
    }

    pub(super) fn top(&self) -> Rc<OwnedFd> {
        self.top.clone()
    }

    pub(super) fn is_base(&self) -> bool {
        self.lowers.is_empty()
    }

    /// To be called whenever something that may be a folder is taken away.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// The folder of `components`, made where it is missing.
    pub(super) fn folder(&mut self, components: &[&[u8]]) -> Result<Rc<OwnedFd>, EntryError> {
        if components.is_empty() {
            return Ok(self.top.clone());
        }
        let path = components.join(&b'/');
        if let Some((last, fd)) = &self.last
            && *last == path
        {
            return Ok(fd.clone());
        }
        let fd = match self.open_folder(&path) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_folders(components)?,
            other => Rc::new(other.map_err(resolution)?),
        };
        self.last = Some((path, fd.clone()));
        Ok(fd)
    }

    /// The existing folder at `path`.
    pub(super) fn open_folder(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        beneath(&self.top, path, OFlags::RDONLY | OFlags::DIRECTORY, ResolveFlags::BENEATH)
    }

    fn make_folders(&mut self, components: &[&[u8]]) -> Result<Rc<OwnedFd>, EntryError> {
        let mut parent = self.top.clone();
        for depth in 1..=components.len() {
            let (path, name) = (components[..depth].join(&b'/'), components[depth - 1]);
            parent = match self.open_folder(&path) {
                Ok(fd) => Rc::new(fd),
                Err(Errno::NOENT) => match fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                    Err(Errno::EXIST) => return Err(EntryError::Refused("leads through a link to nothing".into())),
                    made => {
                        made?;
                        let fd = Rc::new(own_folder(&parent, name)?);
                        fs::fchmod(&fd, Mode::from_raw_mode(0o755))?;
                        self.inherit(&fd, &path)?;
                        fd
                    }
                },
                Err(Errno::NOTDIR) if is_whiteout(&parent, name)? => {
                    fs::unlinkat(&parent, name, AtFlags::empty())?;
                    fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                    let fd = Rc::new(own_folder(&parent, name)?);
                    make_opaque(&fd)?;
                    fd
                }
                Err(Errno::NOTDIR) => {
                    return Err(EntryError::Refused("lies below something that is not a folder".into()));
                }
                Err(errno) => return Err(resolution(errno)),
            };
        }
        Ok(parent)
    }

    /// Gives a folder that no entry describes the owner, mode and time it has in the layers below.
    fn inherit(&mut self, folder: &OwnedFd, path: &[u8]) -> Result<(), Errno> {
        for lower in &self.lowers {
            match beneath(
                lower,
                path,
                OFlags::PATH | OFlags::NOFOLLOW,
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            ) {
                Err(Errno::NOENT) => continue,
                Err(_) => return Ok(()),
                Ok(fd) => {
                    let stat = fs::fstat(&fd)?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                        let (uid, gid) = (fs::Uid::from_raw(stat.st_uid), fs::Gid::from_raw(stat.st_gid));
                        fs::fchown(folder, Some(uid), Some(gid))?;
                        fs::fchmod(folder, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
                        self.implied.push((path.to_vec(), stat));
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The regular file that `path` is in the layers below.
    pub(super) fn lower_file(&self, path: &[u8]) -> Result<Option<OwnedFd>, EntryError> {
        let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        for lower in &self.lowers {
            match beneath(lower, path, how, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
                Err(Errno::NOENT) => continue,
                Err(_) => return Ok(None),
                Ok(fd) => {
                    let regular = FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) == FileType::RegularFile;
                    return Ok(regular.then_some(fd));
                }
            }
        }
        Ok(None)
    }
}

/// Opens `path` below `folder`; the kernel refuses every way out.
fn beneath(folder: &impl AsFd, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    loop {
        let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(folder, OsStr::from_bytes(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename elsewhere on the system raced with the resolution.
            Err(Errno::AGAIN | Errno::INTR) => continue,
            other => return other,
        }
    }
}

/// The folder `name` directly within `parent`, never through a link.
pub(super) fn own_folder(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, OsStr::from_bytes(name), flags, Mode::empty())
}

/// What `name` within `parent` is, never through a link.
pub(super) fn kind_of(parent: &OwnedFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match fs::statat(parent, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        other => other.map(Some),
    }
}

/// Whether `name` within `parent` hides something below: a character device 0:0.
pub(super) fn is_whiteout(parent: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    Ok(kind_of(parent, name)?
        .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0))
}

/// Hides the contents that a folder has in lower layers.
pub(super) fn make_opaque(folder: &OwnedFd) -> Result<(), Errno> {
    fs::fsetxattr(folder, OPAQUE, b"y", fs::XattrFlags::empty())
}

/// Components of an archive's path without `.` and empty ones; `..` is resolved and refused where it climbs out.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>, EntryError> {
    let mut out: Vec<&[u8]> = Vec::new();
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                out.pop().ok_or_else(|| EntryError::Refused("climbs out of the layer's root".into()))?;
            }
            name if name.len() > 255 => return Err(EntryError::Refused("has a name longer than 255 bytes".into())),
            name => out.push(name),
        }
    }
    Ok(out)
}

/// What the kernel's refusal to follow a path means.
pub(super) fn resolution(errno: Errno) -> EntryError {
    match errno {
        Errno::XDEV => EntryError::Refused("leads through a link out of the layer's root".into()),
        Errno::LOOP => EntryError::Refused("leads through a loop of links".into()),
        Errno::NOSYS => EntryError::Write(io::Error::other("the kernel lacks openat2: Linux 5.6 or newer is needed")),
        other => other.into(),
    }
}
