//! The figures of this moment.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::Signal;
use crate::node::meminfo;

/// One signal's figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figure {
    /// What is left.
    pub available: i64,
    /// Of how much.
    pub capacity: i64,
}

/// What was read, and when by a clock that never jumps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// When reading began.
    pub at: Duration,
    /// What could be read.
    pub signals: BTreeMap<Signal, Figure>,
}

/// Reads all of them. What cannot be read is left out, and decides nothing. May block for as long as the disk does.
pub(crate) fn read(state: &Path, at: Duration) -> Figures {
    let mut signals = BTreeMap::new();
    let mut put = |signal, available: i64, capacity: i64| {
        if capacity > 0 {
            signals.insert(signal, Figure { available, capacity });
        }
    };
    put(Signal::MemoryAvailable, meminfo("MemAvailable"), meminfo("MemTotal"));
    let images = state.join("images");
    let images = if images.exists() { images.as_path() } else { state };
    for (path, bytes, inodes) in [
        (state, Signal::NodefsAvailable, Signal::NodefsInodesFree),
        (images, Signal::ImagefsAvailable, Signal::ImagefsInodesFree),
    ] {
        let Ok(stat) = rustix::fs::statvfs(path) else { continue };
        let scaled = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
        // What is set aside for root, or lies beyond a quota, is nobody's: as `df` counts, it is no part of the whole.
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        put(bytes, scaled(stat.f_bavail), scaled(used.saturating_add(stat.f_bavail)));
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        // Some filesystems have no fixed number of inodes and say 0.
        put(inodes, count(stat.f_favail), count(stat.f_files));
    }
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    // `0.52 0.58 0.59 2/1345 4242`: running and existing tasks.
    let load = text("/proc/loadavg");
    let tasks: Option<i64> = load.split_whitespace().nth(3).and_then(|word| word.split('/').nth(1)?.parse().ok());
    let limits: [Option<i64>; 2] =
        ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].map(|path| text(path).trim().parse().ok());
    if let (Some(tasks), Some(limit)) = (tasks, limits.into_iter().flatten().min()) {
        put(Signal::PidAvailable, limit - tasks, limit);
    }
    Figures { at, signals }
}
