//! What one container is made of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Capabilities, ContainerName, Resources, Rlimit};

/// A container to be started. [`ContainerConfig::new`] gives the defaults of an ordinary, confined container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerConfig {
    /// Name within the pod.
    pub name: ContainerName,
    /// Counts the starts of this name; every start needs a higher one than the last.
    pub attempt: u32,
    /// The root filesystem.
    pub root: Overlay,
    /// Mounts, done in this order after the standard ones (`/proc`, `/sys`, `/dev`, `/dev/shm`, `/sys/fs/cgroup`).
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Program and arguments, never empty. A name without `/` is looked for in the `PATH` of `env` inside the container.
    pub args: Vec<String>,
    /// `KEY=value` in order; a later one overrides. `HOME` is added from `/etc/passwd` and `HOSTNAME` left to the caller.
    #[serde(default)]
    pub env: Vec<String>,
    /// Working directory, made when missing; empty: `/`.
    #[serde(default)]
    pub cwd: PathBuf,
    /// User and groups.
    #[serde(default)]
    pub user: RunAs,
    /// Capabilities, seccomp and the like; what later processes (exec) of this container get too.
    #[serde(default)]
    pub policy: ProcessPolicy,
    /// Mount the root read-only.
    #[serde(default)]
    pub readonly_root: bool,
    /// Paths that appear empty.
    #[serde(default)]
    pub masked_paths: Vec<PathBuf>,
    /// Paths that are made read-only.
    #[serde(default)]
    pub readonly_paths: Vec<PathBuf>,
    /// `/sys` and `/sys/fs/cgroup` writable (privileged containers).
    #[serde(default)]
    pub writable_sys: bool,
    /// Device nodes and rules.
    #[serde(default)]
    pub devices: Devices,
    /// Limits.
    #[serde(default)]
    pub resources: Resources,
    /// −1000 to 1000. A value below the daemon's own needs CAP_SYS_RESOURCE; where it is missing the start only warns.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    /// A terminal on stdin, stdout and stderr.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
    /// Keep stdin open for attaching; otherwise it is `/dev/null`.
    #[serde(default)]
    pub stdin: bool,
    /// Close stdin for good when the first attached client closes its own.
    #[serde(default)]
    pub stdin_once: bool,
    /// Where output goes. `None`: it is thrown away (attached clients still get it).
    #[serde(default)]
    pub log: Option<LogConfig>,
    /// Which process namespace it lives in.
    #[serde(default)]
    pub join: Join,
    /// `/dev/shm`.
    #[serde(default)]
    pub shm: Shm,
    /// Put a small reaper in front as process 1, which forwards signals and collects orphans (Docker's `--init`).
    #[serde(default)]
    pub init: bool,
    /// How it is ended when the machine goes down. A supervisor that does not know the field sends TERM and waits 10 s.
    #[serde(default)]
    pub stop: Stop,
}

/// How a container is asked to end, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// The signal.
    pub signal: i32,
    /// Seconds from the signal to the kill.
    pub grace: u32,
}

impl Default for Stop {
    /// Docker's.
    fn default() -> Self {
        Self { signal: libc::SIGTERM, grace: 10 }
    }
}

/// An overlay root. Folders may have any name; the number of lower ones is limited by the kernel alone (500).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overlay {
    /// Read-only layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// The container's own layer; made when missing. Kept by [`super::Runtime::remove`], so that the next attempt finds it.
    pub upper: PathBuf,
    /// Scratch folder on the same filesystem as `upper`; made when missing.
    pub work: PathBuf,
}

/// One mount inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Absolute path inside the container; made when missing (a file if a file is bound). Links never lead out of the root.
    pub target: PathBuf,
    /// What appears there.
    pub source: MountSource,
    /// Read-only. Binds become so recursively where the kernel can (5.12), else at their top.
    #[serde(default)]
    pub read_only: bool,
    /// Refuse to execute files from it.
    #[serde(default)]
    pub noexec: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MountSource {
    /// A host file or folder, with the mounts below it.
    Bind {
        /// Absolute host path; must exist.
        path: PathBuf,
        /// A path below it, resolved without following links out of it (Kubernetes' `subPath`); made as a folder when
        /// missing, but never where a link in the volume leads to nothing.
        #[serde(default)]
        subpath: Option<PathBuf>,
        /// What later mounts do.
        #[serde(default)]
        propagation: Propagation,
    },
    /// A memory filesystem of the container's own.
    Tmpfs {
        /// Bytes; `None`: half of the memory.
        #[serde(default)]
        size: Option<u64>,
        /// Permissions; `None`: 01777, as Docker.
        #[serde(default)]
        mode: Option<u32>,
        /// Start with a copy of what the image has there (Docker's `tmpcopyup`).
        #[serde(default)]
        copy_up: bool,
    },
}

/// Propagation of mounts made later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Propagation {
    /// None either way (Kubernetes `None`).
    #[default]
    Private,
    /// From the host into the container.
    HostToContainer,
    /// Both ways; the source must be on a shared mount.
    Bidirectional,
}

/// The user that a process runs as.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunAs {
    /// `uid|name[:gid|group]` as in an image's `USER`; names are looked up in the container's `/etc/passwd` and
    /// `/etc/group`. Empty: root.
    pub user: String,
    /// Further groups (Kubernetes `supplementalGroups`, `fsGroup`).
    pub groups: Vec<u32>,
    /// Further groups by name or number, from the container's `/etc/group` (Compose `group_add`).
    pub group_names: Vec<String>,
    /// Refuse to start as uid 0 (Kubernetes `runAsNonRoot`).
    pub must_not_be_root: bool,
}

/// What a process may do; shared by a container's first process and everything started in it later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessPolicy {
    /// Bounding, permitted and effective sets. What the daemon itself lacks is left out with a warning.
    pub capabilities: Capabilities,
    /// Kept across exec by users other than root; must be within `capabilities`.
    pub ambient: Capabilities,
    /// System call filter.
    pub seccomp: Seccomp,
    /// AppArmor profile, where the host has AppArmor.
    pub apparmor: AppArmor,
    /// Programs that are set-uid or have file capabilities give no extra rights.
    pub no_new_privileges: bool,
    /// Process limits.
    pub rlimits: Vec<Rlimit>,
    /// File mode mask; `None`: 022.
    pub umask: Option<u32>,
}

impl Default for ProcessPolicy {
    fn default() -> Self {
        Self {
            capabilities: Capabilities::container_default(),
            ambient: Capabilities::NONE,
            seccomp: Seccomp::Default,
            apparmor: AppArmor::Default,
            no_new_privileges: false,
            rlimits: Vec::new(),
            umask: None,
        }
    }
}

/// The system call filter.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Seccomp {
    /// An allow-list equal in effect to Docker's default profile, adjusted to the container's capabilities.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile in Docker's/OCI's JSON form.
    Profile(String),
}

/// The AppArmor profile.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AppArmor {
    /// `naru-default` when that profile is loaded, else none.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A loaded profile; a start error when it is not loaded.
    Named(String),
}

/// Device nodes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Devices {
    /// Every node of the host, and no device rule (privileged containers).
    pub host: bool,
    /// Nodes besides the standard ones.
    pub list: Vec<DeviceSpec>,
    /// Further cgroup rules without a node, in the kernel's words: `c 10:* rwm` (Compose `device_cgroup_rules`).
    pub rules: Vec<String>,
}

/// One host device given to the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceSpec {
    /// Host path of a node, or of a folder of nodes.
    pub host_path: PathBuf,
    /// Path inside; the same as outside when empty.
    #[serde(default)]
    pub container_path: PathBuf,
    /// Some of `r`, `w` and `m`.
    pub access: String,
}

/// The process namespace of a container.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Join {
    /// As the pod says: its shared one, the host's, or one of its own.
    #[default]
    Pod,
    /// That of a running container of this pod (ephemeral containers with a target).
    Container(ContainerName),
}

/// `/dev/shm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Shm {
    /// The pod's shared one (the host's with the host's IPC namespace).
    #[default]
    Pod,
    /// One of its own, of so many bytes.
    Private(u64),
}

/// Where output is written: the file of [`LogConfig::path`] in the CRI format, one line each:
/// `<RFC 3339 with nanoseconds> <stdout|stderr> <P|F> <text>`. Rotated files get `.1`, `.2`, … appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfig {
    /// The file; its folders are made when missing.
    pub path: PathBuf,
    /// Bytes after which the file is rotated; 0: never.
    pub max_size: u64,
    /// Files kept in all, the current one included; at least 1.
    pub max_files: u32,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminalSize {
    /// Width; 0 with 0 rows leaves the kernel's default.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

/// Masked by Docker and Kubernetes by default.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Read-only by default.
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

impl ContainerConfig {
    /// A confined container: default capabilities, default seccomp profile, masked and read-only paths of `/proc`, no limit.
    pub fn new(name: ContainerName, attempt: u32, root: Overlay, args: Vec<String>) -> Self {
        Self {
            name,
            attempt,
            root,
            mounts: Vec::new(),
            args,
            env: Vec::new(),
            cwd: PathBuf::new(),
            user: RunAs::default(),
            policy: ProcessPolicy::default(),
            readonly_root: false,
            masked_paths: MASKED.iter().map(PathBuf::from).collect(),
            readonly_paths: READONLY.iter().map(PathBuf::from).collect(),
            writable_sys: false,
            devices: Devices::default(),
            resources: Resources::default(),
            oom_score_adj: None,
            terminal: None,
            stdin: false,
            stdin_once: false,
            log: None,
            join: Join::Pod,
            shm: Shm::Pod,
            init: false,
            stop: Stop::default(),
        }
    }

    /// Lifts every confinement that `privileged: true` lifts: all capabilities, no filter, nothing masked, host devices.
    pub fn make_privileged(&mut self) {
        self.policy.capabilities = Capabilities::ALL;
        self.policy.seccomp = Seccomp::Unconfined;
        self.policy.apparmor = AppArmor::Unconfined;
        self.masked_paths.clear();
        self.readonly_paths.clear();
        self.writable_sys = true;
        self.devices.host = true;
    }
}
