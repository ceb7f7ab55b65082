//! The members of an archive by name, wherever it lies.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{Layer, Opened};
use crate::image::compression::{Compression, decoder};
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::manifest::DOCUMENT_LIMIT;
use crate::image::progress::{Progress, Step};
use crate::image::store::{Staged, Store};
use crate::image::tarball::{Kind, TarReader};

/// Links in archives of old engines point from one layer to another; longer chains are loops.
const LINKS: usize = 16;

/// An archive whose members can be asked for in any order.
pub(super) struct Bundle<'a> {
    name: String,
    store: &'a Store,
    members: Members,
}

enum Members {
    /// A tar archive, taken apart into temporary files.
    Staged(HashMap<String, Member>),
    /// A folder, read where it lies.
    Folder(OwnedFd),
}

enum Member {
    Staged(Staged),
    /// Already a blob of the store.
    Kept {
        digest: Digest,
        size: u64,
    },
    Link(String),
}

impl<'a> Bundle<'a> {
    pub(super) fn open(store: &'a Store, opened: Opened, progress: &Progress) -> Result<Bundle<'a>, ImageError> {
        match opened {
            Opened::Folder(path) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let folder = rustix::fs::open(&path, flags, Mode::empty())
                    .map_err(|e| ImageError::io("open the folder", &path)(e.into()))?;
                Ok(Bundle { name: path.display().to_string(), store, members: Members::Folder(folder) })
            }
            Opened::Tar { name, reader, size } => {
                let mut bundle = Bundle { name, store, members: Members::Staged(HashMap::new()) };
                let told = Told {
                    inner: reader,
                    done: 0,
                    told: 0,
                    size,
                    name: bundle.name.clone(),
                    progress: progress.clone(),
                };
                bundle.take_apart(told)?;
                progress.tell(&bundle.name, Step::Done);
                Ok(bundle)
            }
        }
    }

    fn take_apart(&mut self, reader: impl Read + Send) -> Result<(), ImageError> {
        let mut members = HashMap::new();
        let what = self.name.clone();
        let stream = |source| ImageError::Stream { what: what.clone(), source };
        let (decoder, _) = decoder(reader).map_err(stream)?;
        let mut archive = TarReader::new(decoder);
        while let Some(entry) = archive.next().map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => self.unusable(&error.to_string()),
            _ => stream(error),
        })? {
            let name = normal(&entry.name());
            let member = match entry.kind {
                Kind::File => {
                    let staged = self.store.stage(&format!("{name} of {what}"), &mut archive, entry.size);
                    Member::Staged(staged.map_err(|error| match error {
                        ImageError::Stream { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                            self.unusable(&source.to_string())
                        }
                        other => other,
                    })?)
                }
                Kind::HardLink => Member::Link(normal(&String::from_utf8_lossy(&entry.link))),
                Kind::Symlink => {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    Member::Link(normal(&format!("{folder}/{}", String::from_utf8_lossy(&entry.link))))
                }
                _ => continue,
            };
            members.insert(name, member);
        }
        self.members = Members::Staged(members);
        Ok(())
    }

    /// The error that this is not an image archive.
    pub(super) fn unusable(&self, problem: &str) -> ImageError {
        ImageError::Archive { archive: self.name.clone(), problem: problem.to_owned() }
    }

    /// Whether there is a member `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        match &self.members {
            Members::Staged(members) => follow(members, name).is_some(),
            Members::Folder(folder) => open_beneath(folder, name).is_ok(),
        }
    }

    /// The text of a small member, if it exists.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let (file, path) = match &self.members {
            Members::Folder(folder) => match open_beneath(folder, name) {
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                other => (other.map_err(|e| ImageError::io("open", name)(e.into()))?, PathBuf::from(name)),
            },
            Members::Staged(members) => {
                let path = match follow(members, name).and_then(|found| members.get(&found)) {
                    Some(Member::Staged(staged)) => staged.path().to_owned(),
                    Some(Member::Kept { digest, .. }) => self.store.layout.blob(digest),
                    Some(Member::Link(_)) | None => return Ok(None),
                };
                (File::open(&path).map_err(ImageError::io("open", &path))?, path)
            }
        };
        let mut bytes = Vec::new();
        file.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes).map_err(ImageError::io("read", &path))?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            let what = format!("{name} of {}", self.name);
            return Err(ImageError::TooLarge { what, limit: DOCUMENT_LIMIT, why: "the greatest size of a document" });
        }
        Ok(Some(bytes))
    }

    /// Brings the member `name` into the store as a blob, checked against `expected` when its digest is known.
    pub(super) fn take(&mut self, name: &str, expected: Option<&Digest>) -> Result<Layer, ImageError> {
        let what = format!("{name} of {}", self.name);
        let missing = self.unusable(&format!("{name} is missing"));
        let staged = match &mut self.members {
            Members::Folder(folder) => {
                let file = open_beneath(folder, name).map_err(|_| missing)?;
                let size = file.metadata().map_err(ImageError::io("read", name))?.len();
                self.store.stage(&what, file, size)?
            }
            Members::Staged(members) => {
                let found = follow(members, name).ok_or(missing)?;
                match members.remove(&found) {
                    Some(Member::Staged(staged)) => {
                        members.insert(found, Member::Kept { digest: staged.digest.clone(), size: staged.size });
                        staged
                    }
                    Some(Member::Kept { digest, size }) => {
                        members.insert(found, Member::Kept { digest: digest.clone(), size });
                        return self.kept(digest, size);
                    }
                    _ => return Err(self.unusable(&format!("{name} is missing"))),
                }
            }
        };
        let size = staged.size;
        let digest = match expected {
            Some(expected) => self.store.keep_checked(&what, staged, expected)?,
            None => self.store.keep(staged)?,
        };
        self.kept(digest, size)
    }

    fn kept(&self, digest: Digest, size: u64) -> Result<Layer, ImageError> {
        let mut start = Vec::new();
        let path = self.store.layout.blob(&digest);
        self.store.open_blob(&digest)?.take(4).read_to_end(&mut start).map_err(ImageError::io("read", &path))?;
        Ok(Layer { digest, size, compression: Compression::of(&start) })
    }
}

/// Opens a file below a folder; links may not lead out of it.
fn open_beneath(folder: &OwnedFd, name: &str) -> Result<File, rustix::io::Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut file = File::from(openat2(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?);
    // A folder opens too; it cannot be read.
    file.rewind().map_err(|_| rustix::io::Errno::ISDIR)?;
    Ok(file)
}

fn follow(members: &HashMap<String, Member>, name: &str) -> Option<String> {
    let mut name = normal(name);
    for _ in 0..LINKS {
        match members.get(&name)? {
            Member::Link(target) => name = target.clone(),
            _ => return Some(name),
        }
    }
    None
}

/// A member's name without `.`, `..` and doubled slashes.
fn normal(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Tells how much of the archive was read, once a megabyte.
struct Told {
    inner: Box<dyn Read + Send>,
    done: u64,
    told: u64,
    size: Option<u64>,
    name: String,
    progress: Progress,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        if self.done >= self.told + (1 << 20) {
            self.told = self.done;
            self.progress.tell(&self.name, Step::Downloading { done: self.done, total: self.size });
        }
        Ok(count)
    }
}
