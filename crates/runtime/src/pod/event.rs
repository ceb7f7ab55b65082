//! What the supervisor knows and tells.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContainerName, PodConfig, PodUid};

/// How a container's first process ended. On disk before anyone is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// The exit code; 128 + the signal's number when one ended it.
    pub code: i32,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Killed because its cgroup was out of memory.
    #[serde(default)]
    pub oom: bool,
    /// When its first instruction ran.
    pub started_at: Timestamp,
    /// When its end was seen.
    pub finished_at: Timestamp,
}

impl Exit {
    /// Kubernetes' word for it: `Completed`, `OOMKilled` or `Error`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self { oom: true, .. } => "OOMKilled",
            Self { code: 0, .. } => "Completed",
            _ => "Error",
        }
    }
}

/// What a pod's creation gives to the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodCreated {
    /// The supervisor, which lives in the pod's network, IPC and UTS namespaces.
    pub supervisor_pid: i32,
    /// The network namespace: `/proc/<supervisor>/ns/net`.
    pub netns: PathBuf,
    /// What could not be granted on this machine, in words.
    pub warnings: Vec<String>,
}

/// A started container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// Process id of its first process as the host counts.
    pub pid: i32,
    /// When its program was executed.
    pub started_at: Timestamp,
    /// What could not be granted on this machine, in words; worth a warning event.
    pub warnings: Vec<String>,
}

/// Where a container stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum ContainerState {
    /// Being set up.
    Starting,
    /// Its program runs.
    #[serde(rename_all = "camelCase")]
    Running {
        /// Process id as the host counts.
        pid: i32,
        /// When its program was executed.
        started_at: Timestamp,
        /// Frozen by [`super::Runtime::pause`].
        #[serde(default)]
        paused: bool,
    },
    /// Its first process ended.
    Exited {
        /// How.
        exit: Exit,
    },
    /// Its supervisor was killed with it running, so that its exit code is not known; it is dead or will be by a sweep.
    Lost,
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerRecord {
    /// The newest attempt.
    pub attempt: u32,
    /// Where it stands.
    #[serde(flatten)]
    pub state: ContainerState,
}

/// Whether a pod's supervisor is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodLiveness {
    /// It answers.
    Alive(PodCreated),
    /// It is gone: the pod must be swept. What it had written is in the record.
    SupervisorLost,
}

/// A pod as found at boot or asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRecord {
    /// What it was created from.
    pub config: PodConfig,
    /// Whether it is still held.
    pub liveness: PodLiveness,
    /// Its containers with the newest attempt of each.
    pub containers: BTreeMap<ContainerName, ContainerRecord>,
}

/// Something happened without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// A container ended; its logs are complete.
    Exited {
        /// The pod.
        uid: PodUid,
        /// The container.
        container: ContainerName,
        /// Which start of it.
        attempt: u32,
        /// How.
        exit: Exit,
    },
    /// A pod's supervisor died; its containers die with it. Sweep it, then create the pod anew.
    SupervisorLost {
        /// The pod.
        uid: PodUid,
    },
}

/// Counters of one cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// CPU time used since it was made, in nanoseconds.
    pub cpu_ns: u64,
    /// Of that, in user mode.
    pub cpu_user_ns: u64,
    /// Of that, in the kernel.
    pub cpu_system_ns: u64,
    /// Nanoseconds spent throttled by a quota.
    pub throttled_ns: u64,
    /// Bytes charged.
    pub memory: u64,
    /// Bytes charged that cannot simply be dropped: charged minus inactive file pages.
    pub working_set: u64,
    /// Anonymous bytes.
    pub rss: u64,
    /// The limit in bytes, if any.
    pub memory_limit: Option<u64>,
    /// Processes killed for lack of memory.
    pub oom_kills: u64,
    /// Processes and threads now.
    pub pids: u64,
    /// Their limit, if any.
    pub pids_limit: Option<u64>,
    /// Bytes read from block devices.
    pub read_bytes: u64,
    /// Bytes written to block devices.
    pub write_bytes: u64,
}

/// Counters of one network interface, seen from inside.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceUsage {
    /// Its name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Send errors.
    pub tx_errors: u64,
}

/// Counters of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerUsage {
    /// Which.
    pub name: ContainerName,
    /// Its counters.
    pub usage: Usage,
}

/// Counters of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStats {
    /// When they were read.
    pub at: Timestamp,
    /// The whole pod.
    pub pod: Usage,
    /// Its running containers.
    pub containers: Vec<ContainerUsage>,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceUsage>,
}
