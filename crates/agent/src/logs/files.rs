//! Which log files there are.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Attempts of which logs exist, the oldest first. `dir` is the container's log folder.
pub(crate) fn attempts(dir: &Path) -> Vec<u32> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut found: Vec<u32> = names.filter_map(|name| name.to_str()?.strip_suffix(".log")?.parse().ok()).collect();
    found.sort_unstable();
    found
}

/// One attempt's files, the oldest first: rotated ones end in `.1`, `.2`, …, the higher the older.
pub(super) fn files(dir: &Path, attempt: u32) -> Vec<PathBuf> {
    let current = format!("{attempt}.log");
    let prefix = format!("{current}.");
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut rotated: Vec<u32> = names.filter_map(|name| name.to_str()?.strip_prefix(&prefix)?.parse().ok()).collect();
    rotated.sort_unstable_by(|left, right| right.cmp(left));
    let rotated = rotated.into_iter().map(|number| dir.join(format!("{prefix}{number}")));
    rotated.chain([dir.join(current)]).filter(|path| path.exists()).collect()
}
