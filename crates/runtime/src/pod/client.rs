//! The client side: one [`Pods`] a daemon.

use std::path::PathBuf;

/// How a supervisor is started: a program that calls [`crate::supervisor_main`] with the arguments that follow `args`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisorCommand {
    /// The program; usually this very one.
    pub program: PathBuf,
    /// Arguments before those of the supervisor, for example `supervisor`.
    pub args: Vec<String>,
}

/// Where pods live and how their supervisors are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodsConfig {
    /// Durable: records and exit codes below `pods/<uid>/`.
    pub state_dir: PathBuf,
    /// Gone after a reboot: sockets below `pods/`.
    pub run_dir: PathBuf,
    /// The supervisor's program.
    pub supervisor: SupervisorCommand,
    /// Name of the cgroup that all pods' cgroups are made in; usually `naru`.
    pub cgroup: String,
}

/// All pods of one daemon.
pub struct Pods {
    _config: PodsConfig,
}
