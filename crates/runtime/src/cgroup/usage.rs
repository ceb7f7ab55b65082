//! Counters of a group.

use std::{fs, path::Path};

use super::{Cgroup, Hierarchy};
use crate::pod::Usage;

fn number(folder: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

/// A value of a `key value` file.
fn keyed(folder: &Path, file: &str, key: &str) -> Option<u64> {
    keyed_text(&fs::read_to_string(folder.join(file)).ok()?, key)
}

fn keyed_text(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// v1 says "no limit" as the largest number of pages.
fn limit(value: u64) -> Option<u64> {
    (value < i64::MAX as u64 - 65_535).then_some(value)
}

impl Cgroup {
    /// How many processes of this group the kernel has killed for lack of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(folder) = self.folder("memory") else { return 0 };
        let file = match self.hierarchy {
            Hierarchy::V1(_) => "memory.oom_control",
            Hierarchy::V2(_) => "memory.events",
        };
        keyed(&folder, file, "oom_kill").unwrap_or(0)
    }

    /// Reads every counter; what cannot be read is 0.
    pub(crate) fn usage(&self) -> Usage {
        match self.hierarchy {
            Hierarchy::V1(_) => self.usage_v1(),
            Hierarchy::V2(_) => self.usage_v2(),
        }
    }

    fn usage_v1(&self) -> Usage {
        let mut usage = Usage { oom_kills: self.oom_kills(), ..Usage::default() };
        if let Some(f) = self.folder("cpuacct") {
            usage.cpu_ns = number(&f, "cpuacct.usage").unwrap_or(0);
            usage.cpu_user_ns = number(&f, "cpuacct.usage_user").unwrap_or(0);
            usage.cpu_system_ns = number(&f, "cpuacct.usage_sys").unwrap_or(0);
        }
        if let Some(f) = self.folder("cpu") {
            usage.throttled_ns = keyed(&f, "cpu.stat", "throttled_time").unwrap_or(0);
        }
        if let Some(f) = self.folder("memory") {
            let stat = fs::read_to_string(f.join("memory.stat")).unwrap_or_default();
            usage.memory = number(&f, "memory.usage_in_bytes").unwrap_or(0);
            usage.rss = keyed_text(&stat, "total_rss").unwrap_or(0);
            let inactive = keyed_text(&stat, "total_inactive_file").unwrap_or(0);
            usage.working_set = usage.memory.saturating_sub(inactive);
            usage.memory_limit = number(&f, "memory.limit_in_bytes").and_then(limit);
        }
        self.pids(&mut usage);
        if let Some(f) = self.folder("blkio") {
            let text = fs::read_to_string(f.join("blkio.throttle.io_service_bytes_recursive")).unwrap_or_default();
            for line in text.lines() {
                let mut parts = line.split(' ').skip(1);
                let (kind, bytes) = (parts.next(), parts.next().and_then(|b| b.parse().ok()).unwrap_or(0u64));
                match kind {
                    Some("Read") => usage.read_bytes += bytes,
                    Some("Write") => usage.write_bytes += bytes,
                    _ => {}
                }
            }
        }
        usage
    }

    fn usage_v2(&self) -> Usage {
        let mut usage = Usage { oom_kills: self.oom_kills(), ..Usage::default() };
        let Some(f) = self.folder("memory") else { return usage };
        let cpu = fs::read_to_string(f.join("cpu.stat")).unwrap_or_default();
        let micros = |key| keyed_text(&cpu, key).unwrap_or(0) * 1000;
        usage.cpu_ns = micros("usage_usec");
        usage.cpu_user_ns = micros("user_usec");
        usage.cpu_system_ns = micros("system_usec");
        usage.throttled_ns = micros("throttled_usec");
        let stat = fs::read_to_string(f.join("memory.stat")).unwrap_or_default();
        usage.memory = number(&f, "memory.current").unwrap_or(0);
        usage.rss = keyed_text(&stat, "anon").unwrap_or(0);
        usage.working_set = usage.memory.saturating_sub(keyed_text(&stat, "inactive_file").unwrap_or(0));
        usage.memory_limit = number(&f, "memory.max");
        self.pids(&mut usage);
        let io = fs::read_to_string(f.join("io.stat")).unwrap_or_default();
        for part in io.split_whitespace() {
            let bytes = |p: &str| p.parse::<u64>().unwrap_or(0);
            usage.read_bytes += part.strip_prefix("rbytes=").map_or(0, bytes);
            usage.write_bytes += part.strip_prefix("wbytes=").map_or(0, bytes);
        }
        usage
    }

    fn pids(&self, usage: &mut Usage) {
        if let Some(f) = self.folder("pids") {
            usage.pids = number(&f, "pids.current").unwrap_or(0);
            usage.pids_limit = number(&f, "pids.max");
        }
    }
}
