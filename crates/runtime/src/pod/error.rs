//! What can go wrong between the agent and a container.

use std::{fmt, io, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ContainerName, PodUid};

/// A failed pod or container operation.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// No supervisor and no record of this pod.
    #[error("pod {0}: not found; create it first")]
    NoPod(PodUid),
    /// The pod exists already.
    #[error("pod {0}: exists already; adopt or sweep it first")]
    PodExists(PodUid),
    /// The pod has no such container, or the newest attempt does not run.
    #[error("pod {uid}: container {container} {state}")]
    WrongState {
        /// The pod.
        uid: PodUid,
        /// The container.
        container: ContainerName,
        /// What it is instead, in words: `is not running`, `is running already`, …
        state: String,
    },
    /// The supervisor is gone; sweep the pod.
    #[error("pod {0}: its supervisor is gone; the pod has to be swept and created again")]
    SupervisorLost(PodUid),
    /// The supervisor lives and says nothing: it hangs, is stopped, or the machine has no time for it.
    #[error("pod {uid}: its supervisor{} does not answer within {} s", process_text(*.process), .limit.as_secs())]
    NoAnswer {
        /// The pod.
        uid: PodUid,
        /// The supervisor's process.
        process: Option<i32>,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The supervisor could not make the pod.
    #[error("pod {uid}: cannot be created: {message}")]
    Create {
        /// The pod.
        uid: PodUid,
        /// Step, path and cause in words.
        message: String,
    },
    /// A further process of a container could not be started.
    #[error("the program cannot be started in container {container}")]
    Exec {
        /// The container, which runs on.
        container: ContainerName,
        /// Why.
        #[source]
        failure: StartFailure,
    },
    /// A container could not be started.
    #[error("container {container} cannot be started")]
    Start {
        /// The container.
        container: ContainerName,
        /// Why.
        #[source]
        failure: StartFailure,
    },
    /// The supervisor refused or failed at an operation.
    #[error("pod {uid}: {operation} failed: {message}")]
    Failed {
        /// The pod.
        uid: PodUid,
        /// What was tried.
        operation: &'static str,
        /// Cause in words.
        message: String,
    },
    /// Supervisor and daemon share no protocol version.
    #[error("pod {uid}: its supervisor speaks protocol {supervisor}, this program {ours}; restart the pod")]
    Version {
        /// The pod.
        uid: PodUid,
        /// Its version.
        supervisor: u32,
        /// Ours.
        ours: u32,
    },
    /// A file or socket operation of our own failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

fn process_text(process: Option<i32>) -> String {
    process.map(|process| format!(" (process {process})")).unwrap_or_default()
}

/// The step at which a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StartStep {
    /// Reading the request.
    Config,
    /// Log file, pipes, terminal.
    Streams,
    /// Namespaces and the clone itself.
    Namespaces,
    /// Groups and limits.
    Cgroup,
    /// The overlay root.
    Root,
    /// A mount.
    Mount,
    /// Device nodes.
    Device,
    /// Host name, kernel parameters.
    Sysctl,
    /// User and groups.
    User,
    /// Capabilities, seccomp, AppArmor, rlimits.
    Policy,
    /// Working directory.
    WorkingDirectory,
    /// The program was not found.
    ProgramNotFound,
    /// The program may not be executed.
    ProgramNotExecutable,
    /// Executing failed otherwise.
    Exec,
}

/// Why a start failed: where, on what, and the system's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartFailure {
    /// Where.
    pub step: StartStep,
    /// What was tried, on which path.
    pub action: String,
    /// The system's error number; 0 when the refusal is our own.
    pub errno: i32,
}

impl StartFailure {
    /// The exit code Docker reports for it: 127 not found, 126 not executable, 128 for everything else.
    pub fn exit_code(&self) -> i32 {
        match self.step {
            StartStep::ProgramNotFound => 127,
            StartStep::ProgramNotExecutable => 126,
            _ => 128,
        }
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.action)?;
        if self.errno != 0 {
            let text = io::Error::from_raw_os_error(self.errno).to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            write!(f, ": {}", text.to_lowercase())?;
        }
        Ok(())
    }
}

impl std::error::Error for StartFailure {}
