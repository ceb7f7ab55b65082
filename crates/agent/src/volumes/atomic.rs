//! A set of files that changes as one.
//!
//! ```text
//! volume/..2026-11-22_10-00-00.123456789/key     the files
//! volume/..data -> ..2026-11-22_10-00-00.…       replaced by rename
//! volume/key -> ..data/key                       what programs open
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Component, Path},
};

use super::VolumeError;

/// One file of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The content.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// Makes `dir` show exactly these files. Returns whether anything changed.
pub(crate) fn write(dir: &Path, files: &BTreeMap<String, Entry>, group: Option<u32>) -> Result<bool, VolumeError> {
    fs::create_dir_all(dir).map_err(VolumeError::io("create", dir))?;
    let data = dir.join("..data");
    if is_current(&data, files) {
        return Ok(false);
    }
    let stamp = jiff::Timestamp::now().strftime("..%Y-%m-%d_%H-%M-%S.%9f").to_string();
    let fresh = dir.join(&stamp);
    fs::create_dir(&fresh).map_err(VolumeError::io("create", &fresh))?;
    set(&fresh, 0o755, group).map_err(VolumeError::io("set permissions of", &fresh))?;
    for (path, entry) in files {
        let path = inside(&fresh, path)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(VolumeError::io("create", parent))?;
        }
        fs::write(&path, &entry.bytes).map_err(VolumeError::io("write", &path))?;
        set(&path, entry.mode, group).map_err(VolumeError::io("set permissions of", &path))?;
    }
    let old = fs::read_link(&data).ok();
    let temporary = dir.join("..data_tmp");
    remove_link(&temporary).map_err(VolumeError::io("remove", &temporary))?;
    symlink(&stamp, &temporary).map_err(VolumeError::io("link", &temporary))?;
    fs::rename(&temporary, &data).map_err(VolumeError::io("switch", &data))?;
    links(dir, files)?;
    if let Some(old) = old.filter(|old| *old != Path::new(&stamp) && old.to_string_lossy().starts_with("..")) {
        let old = dir.join(old);
        fs::remove_dir_all(&old).or_else(absent).map_err(VolumeError::io("remove", &old))?;
    }
    Ok(true)
}

/// Adjusts the visible names: one link a top-level name.
fn links(dir: &Path, files: &BTreeMap<String, Entry>) -> Result<(), VolumeError> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = dir.join(name);
        let target = Path::new("..data").join(name);
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            continue;
        }
        symlink(&target, &link).map_err(VolumeError::io("link", &link))?;
    }
    for entry in fs::read_dir(dir).map_err(VolumeError::io("read", dir))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(name.as_str()) {
            remove_link(&entry.path()).map_err(VolumeError::io("remove", entry.path()))?;
        }
    }
    Ok(())
}

fn is_current(data: &Path, files: &BTreeMap<String, Entry>) -> bool {
    let Some(found) = list(data, Path::new("")) else { return false };
    found.len() == files.len()
        && files.iter().all(|(path, entry)| {
            let file = data.join(path);
            let mode = fs::metadata(&file).map(|meta| meta.permissions().mode() & 0o7777);
            fs::read(&file).is_ok_and(|bytes| bytes == entry.bytes) && mode.is_ok_and(|mode| mode == entry.mode)
        })
}

/// Files below `base`, by relative path.
fn list(base: &Path, relative: &Path) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(base.join(relative)).ok()?.flatten() {
        let path = relative.join(entry.file_name());
        if entry.file_type().ok()?.is_dir() {
            found.extend(list(base, &path)?);
        } else {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    Some(found)
}

/// Paths come from objects that users write.
fn inside(base: &Path, path: &str) -> Result<std::path::PathBuf, VolumeError> {
    let relative = Path::new(path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(VolumeError::unusable(
            path,
            "expected a relative path without \"..\" at its beginning or as a part",
        ));
    }
    Ok(base.join(relative))
}

fn set(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    if group.is_some() {
        chown(path, None, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn remove_link(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(absent)
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
