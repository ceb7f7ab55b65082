//! Writing a folder as a layer's archive.
//!
//! The same folder gives the same bytes: names are sorted and nothing but the files' own metadata goes in.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Writes everything in `folder` to `out` and gives the writer back.
pub(crate) fn pack<W: Write>(folder: &Path, out: W) -> io::Result<W> {
    let mut packer = Packer { builder: tar::Builder::new(out), linked: HashMap::new() };
    packer.tree(folder, Path::new("."))?;
    packer.builder.into_inner()
}

struct Packer<W: Write> {
    builder: tar::Builder<W>,
    /// Files with several names, by device and inode.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<W> {
    fn tree(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let meta = fs::symlink_metadata(path)?;
        self.entry(path, name, &meta)?;
        if meta.is_dir() {
            let mut children = fs::read_dir(path)?.map(|e| e.map(|e| e.file_name())).collect::<io::Result<Vec<_>>>()?;
            children.sort();
            for child in children {
                self.tree(&path.join(&child), &name.join(&child))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &Path, meta: &Metadata) -> io::Result<()> {
        let kind = meta.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(meta.uid().into());
        header.set_gid(meta.gid().into());
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
        header.set_size(0);
        if !meta.is_dir() && meta.nlink() > 1 {
            if let Some(first) = self.linked.get(&(meta.dev(), meta.ino())) {
                header.set_entry_type(tar::EntryType::Link);
                return self.builder.append_link(&mut header, name, first.clone());
            }
            self.linked.insert((meta.dev(), meta.ino()), name.to_owned());
        }
        if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            return self.builder.append_link(&mut header, name, fs::read_link(path)?);
        }
        self.attributes(path)?;
        if kind.is_file() {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(meta.len());
            return self.builder.append_data(&mut header, name, File::open(path)?);
        }
        header.set_entry_type(if kind.is_dir() {
            tar::EntryType::Directory
        } else if kind.is_char_device() {
            tar::EntryType::Char
        } else if kind.is_block_device() {
            tar::EntryType::Block
        } else {
            tar::EntryType::Fifo
        });
        if kind.is_char_device() || kind.is_block_device() {
            header.set_device_major(rustix::fs::major(meta.rdev()))?;
            header.set_device_minor(rustix::fs::minor(meta.rdev()))?;
        }
        self.builder.append_data(&mut header, name, io::empty())
    }

    /// Attributes that belong to the file and not to this machine.
    fn attributes(&mut self, path: &Path) -> io::Result<()> {
        let mut names = vec![0; 64 << 10];
        let length = match rustix::fs::llistxattr(path, &mut names[..]) {
            Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
            other => other?,
        };
        let mut records = Vec::new();
        for name in names[..length].split(|b| *b == 0) {
            let of_users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            if !of_users && name != b"security.capability" {
                continue;
            }
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value[..])?;
            value.truncate(length);
            records.push((format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value));
        }
        self.builder.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
    }
}
