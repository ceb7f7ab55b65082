//! Limits: cgroup resources and rlimits.

use serde::{Deserialize, Serialize};

/// What a cgroup may use. `None` leaves the kernel's default (no limit). Values are those of the OCI runtime
/// specification, in cgroup v1 terms; they are converted where the host has v2.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Relative weight, 2 to 262144; 1024 is one share (v2: converted to `cpu.weight`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU time in each period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota_us: Option<u64>,
    /// Length of a period in microseconds; 100000 when only a quota is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period_us: Option<u64>,
    /// CPUs that may be used, for example `0-2,4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// Bytes of memory; beyond it the kernel kills (reported as [`super::Exit::oom`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Bytes of memory and swap together; `Some(u64::MAX)` is unlimited. Unset with a limit: no swap beyond the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap_limit: Option<u64>,
    /// Bytes protected from reclaim when memory is short (v1: soft limit; v2: `memory.low`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u64>,
    /// How readily memory is swapped out, 0 to 100. v1 only: v2 knows it for the whole machine alone, and ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<u64>,
    /// Number of processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<u64>,
    /// Relative block I/O weight, 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blkio_weight: Option<u16>,
    /// Per-device throttles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttles: Vec<Throttle>,
    /// Huge page limits: page size as the kernel names it (`2MB`) and bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hugepages: Vec<(String, u64)>,
}

/// Limits of one block device; 0 means no limit.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Throttle {
    /// Device number, major part.
    pub major: u32,
    /// Device number, minor part.
    pub minor: u32,
    /// Bytes read a second.
    pub read_bps: u64,
    /// Bytes written a second.
    pub write_bps: u64,
    /// Reads a second.
    pub read_iops: u64,
    /// Writes a second.
    pub write_iops: u64,
}

/// One `setrlimit` call. `u64::MAX` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rlimit {
    /// Lower-case name without prefix, as Compose's `ulimits` has it: `nofile`, `nproc`, `memlock`, …
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit. Raising it needs CAP_SYS_RESOURCE; where that is missing the start only warns.
    pub hard: u64,
}
