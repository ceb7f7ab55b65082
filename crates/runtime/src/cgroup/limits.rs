//! Limits as the files and values to write: pure, so that both versions can be checked on any machine.

use crate::pod::Resources;

/// One value for one file of one controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    pub(super) file: String,
    pub(super) value: String,
    /// The kernel may lack the file (built without it): a warning at most, never an error.
    pub(super) optional: bool,
}

fn set(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Setting {
    Setting { controller, file: file.into(), value: value.to_string(), optional: false }
}

fn try_set(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Setting {
    Setting { optional: true, ..set(controller, file, value) }
}

fn or_unlimited(value: u64, unlimited: &str) -> String {
    if value == u64::MAX { unlimited.to_owned() } else { value.to_string() }
}

/// For v1. A memory limit comes before that of memory and swap, which must not be lower.
pub(super) fn v1(r: &Resources) -> Vec<Setting> {
    let mut out = Vec::new();
    if let Some(shares) = r.cpu_shares {
        out.push(set("cpu", "cpu.shares", shares.clamp(2, 262_144)));
    }
    if r.cpu_quota_us.is_some() || r.cpu_period_us.is_some() {
        out.push(set("cpu", "cpu.cfs_period_us", r.cpu_period_us.unwrap_or(100_000)));
        if let Some(quota) = r.cpu_quota_us {
            out.push(set("cpu", "cpu.cfs_quota_us", or_unlimited(quota, "-1")));
        }
    }
    cpuset(r, &mut out);
    if let Some(limit) = r.memory_limit {
        out.push(set("memory", "memory.limit_in_bytes", or_unlimited(limit, "-1")));
        let both = r.memory_swap_limit.unwrap_or(limit);
        out.push(try_set("memory", "memory.memsw.limit_in_bytes", or_unlimited(both, "-1")));
    }
    if let Some(bytes) = r.memory_reservation {
        out.push(set("memory", "memory.soft_limit_in_bytes", bytes));
    }
    if let Some(swappiness) = r.memory_swappiness {
        out.push(try_set("memory", "memory.swappiness", swappiness));
    }
    if let Some(limit) = r.pids_limit {
        out.push(set("pids", "pids.max", or_unlimited(limit, "max")));
    }
    if let Some(weight) = r.blkio_weight {
        out.push(try_set("blkio", "blkio.weight", weight));
    }
    for t in &r.throttles {
        let device = format!("{}:{}", t.major, t.minor);
        for (file, value) in [
            ("blkio.throttle.read_bps_device", t.read_bps),
            ("blkio.throttle.write_bps_device", t.write_bps),
            ("blkio.throttle.read_iops_device", t.read_iops),
            ("blkio.throttle.write_iops_device", t.write_iops),
        ] {
            if value != 0 {
                out.push(set("blkio", file, format!("{device} {value}")));
            }
        }
    }
    for (size, bytes) in &r.hugepages {
        out.push(set("hugetlb", format!("hugetlb.{size}.limit_in_bytes"), bytes));
    }
    out
}

/// For v2. Weights are converted as container runtimes do.
pub(super) fn v2(r: &Resources) -> Vec<Setting> {
    let mut out = Vec::new();
    if let Some(shares) = r.cpu_shares {
        let shares = shares.clamp(2, 262_144);
        out.push(set("cpu", "cpu.weight", 1 + (shares - 2) * 9999 / 262_142));
    }
    if r.cpu_quota_us.is_some() || r.cpu_period_us.is_some() {
        let quota = r.cpu_quota_us.map_or("max".to_owned(), |q| or_unlimited(q, "max"));
        out.push(set("cpu", "cpu.max", format!("{quota} {}", r.cpu_period_us.unwrap_or(100_000))));
    }
    cpuset(r, &mut out);
    if let Some(limit) = r.memory_limit {
        out.push(set("memory", "memory.max", or_unlimited(limit, "max")));
        let swap = match r.memory_swap_limit {
            Some(u64::MAX) => "max".to_owned(),
            Some(both) => both.saturating_sub(limit).to_string(),
            None => "0".to_owned(),
        };
        out.push(try_set("memory", "memory.swap.max", swap));
    }
    if let Some(bytes) = r.memory_reservation {
        out.push(set("memory", "memory.low", bytes));
    }
    if let Some(limit) = r.pids_limit {
        out.push(set("pids", "pids.max", or_unlimited(limit, "max")));
    }
    if let Some(weight) = r.blkio_weight {
        let weight = u64::from(weight.clamp(10, 1000));
        out.push(try_set("io", "io.weight", 1 + (weight - 10) * 9999 / 990));
    }
    for t in &r.throttles {
        let part = |key: &str, value: u64| if value == 0 { String::new() } else { format!(" {key}={value}") };
        let line = format!(
            "{}:{}{}{}{}{}",
            t.major,
            t.minor,
            part("rbps", t.read_bps),
            part("wbps", t.write_bps),
            part("riops", t.read_iops),
            part("wiops", t.write_iops)
        );
        out.push(set("io", "io.max", line));
    }
    for (size, bytes) in &r.hugepages {
        out.push(set("hugetlb", format!("hugetlb.{size}.max"), bytes));
    }
    out
}

fn cpuset(r: &Resources, out: &mut Vec<Setting>) {
    if let Some(cpus) = &r.cpuset_cpus {
        out.push(set("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = &r.cpuset_mems {
        out.push(set("cpuset", "cpuset.mems", mems));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Throttle;

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn both_versions_say_the_same() {
        let r = Resources {
            cpu_shares: Some(1024),
            cpu_quota_us: Some(50_000),
            memory_limit: Some(1 << 20),
            memory_swappiness: Some(7),
            pids_limit: Some(u64::MAX),
            throttles: vec![Throttle { major: 8, minor: 0, read_bps: 7, ..Throttle::default() }],
            ..Resources::default()
        };
        assert_eq!(
            lines(&v1(&r)),
            [
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=1048576",
                "memory.memsw.limit_in_bytes=1048576",
                "memory.swappiness=7",
                "pids.max=max",
                "blkio.throttle.read_bps_device=8:0 7"
            ]
        );
        assert_eq!(
            lines(&v2(&r)),
            [
                "cpu.weight=39",
                "cpu.max=50000 100000",
                "memory.max=1048576",
                "memory.swap.max=0",
                "pids.max=max",
                "io.max=8:0 rbps=7"
            ]
        );
    }

    #[test]
    fn nothing_asked_nothing_written() {
        assert!(v1(&Resources::default()).is_empty() && v2(&Resources::default()).is_empty());
    }
}
