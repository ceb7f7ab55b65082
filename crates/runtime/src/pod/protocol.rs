//! The words between a daemon and its supervisors.
//!
//! One connection carries one request and its answers; a subscription is a request whose answers do not end. A frame is a
//! little-endian `u32` length and so many bytes of JSON; descriptors travel with a frame's first byte. Both sides send
//! their version first, inside every frame. Fields may be added (unknown ones are ignored, missing ones have defaults)
//! without raising [`VERSION`]; anything else raises it, and a supervisor answers a version it does not know with its own.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    ContainerConfig, ContainerName, ContainerRecord, ExecConfig, Exit, PodConfig, PodCreated, Resources, StartFailure,
    Started,
};
use crate::cgroup::{Hierarchy, Survivors};

/// The version this program speaks.
pub(crate) const VERSION: u32 = 1;

/// No frame is longer.
pub(crate) const MAX_FRAME: usize = 8 << 20;

/// What a supervisor is started with, as a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Boot {
    pub(crate) version: u32,
    pub(crate) pod: PodConfig,
    pub(crate) folders: Folders,
    pub(crate) hierarchy: Hierarchy,
    /// Where the supervisor itself goes.
    #[serde(default)]
    pub(crate) survivors: Survivors,
}

/// Where a pod's files are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Folders {
    /// Durable; removed with the pod.
    pub(crate) state: PathBuf,
    /// Volatile; removed with the pod.
    pub(crate) run: PathBuf,
}

impl Folders {
    pub(crate) fn boot(&self) -> PathBuf {
        self.state.join("pod.json")
    }

    /// Locked by the supervisor while it lives.
    pub(crate) fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// What the supervisor says when something is wrong with itself.
    pub(crate) fn log(&self) -> PathBuf {
        self.state.join("supervisor.log")
    }

    /// One file a running or ended attempt.
    pub(crate) fn attempts(&self) -> PathBuf {
        self.state.join("attempts")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("socket")
    }

    /// Where every container of the pod mounts its root, in its own namespace.
    pub(crate) fn root(&self) -> PathBuf {
        self.run.join("root")
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.run.join("shm")
    }
}

/// A frame to a supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToSupervisor {
    pub(crate) v: u32,
    pub(crate) request: Request,
}

/// A frame from a supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FromSupervisor {
    pub(crate) v: u32,
    pub(crate) answer: Answer,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    /// With it: the seccomp program as a memory file, if any.
    Start(Box<ContainerConfig>),
    /// With it: the ends of stdin (if asked for), stdout and stderr; none with a terminal.
    Exec {
        container: ContainerName,
        config: Box<ExecConfig>,
    },
    /// With it: where a copy of stdout and of stderr goes.
    Attach {
        container: ContainerName,
    },
    /// On an attach connection: the client will send no more.
    CloseStdin,
    Signal {
        container: ContainerName,
        signal: i32,
    },
    Kill {
        container: ContainerName,
    },
    Freeze {
        container: ContainerName,
        frozen: bool,
    },
    Update {
        container: ContainerName,
        resources: Box<Resources>,
    },
    Remove {
        container: ContainerName,
    },
    State,
    /// Answered with the state, then with events.
    Subscribe,
    /// Execute this program in the supervisor's place, with these arguments before its own. Answered by the new one, or
    /// with the reason why the old one goes on.
    Renew {
        program: PathBuf,
        args: Vec<String>,
    },
    Destroy,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    Done,
    Started(Started),
    /// Followed by `Ended`. With it: the terminal's master, if any.
    Executing {
        pid: i32,
    },
    /// Followed by `Ended`. With it: the way to stdin (or the terminal's master), if any.
    Attached {
        terminal: bool,
    },
    Ended(Exit),
    State(State),
    Event {
        container: ContainerName,
        attempt: u32,
        exit: Exit,
    },
    /// The container is not in a state for it.
    WrongState {
        container: ContainerName,
        state: String,
    },
    StartFailed(StartFailure),
    Failed(String),
    /// The request's version is not spoken here.
    Version,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) created: PodCreated,
    pub(crate) containers: BTreeMap<ContainerName, ContainerRecord>,
}

/// What a new supervisor says on stdout: perhaps that it has begun, and how that went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Birth {
    /// It is the daemon's child of this number, and no longer the one that was started.
    Begun(i32),
    Created(PodCreated),
    Failed(String),
}

/// A frame's bytes.
pub(crate) fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut frame = vec![0; 4];
    // Our own types serialise into memory: there is nothing that can fail.
    let _ = serde_json::to_writer(&mut frame, message);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

/// The length of the first frame's body, once four bytes are there. `Err` with a length that no honest peer sends.
pub(crate) fn body_length(buffer: &[u8]) -> Result<Option<usize>, usize> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    match u32::from_le_bytes(*head) as usize {
        length if length > MAX_FRAME => Err(length),
        length => Ok(Some(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_their_length() {
        let frame = encode(&ToSupervisor { v: VERSION, request: Request::State });
        assert_eq!(body_length(&frame), Ok(Some(frame.len() - 4)));
        assert_eq!(body_length(&frame[..3]), Ok(None));
        assert!(body_length(&[0xff; 4]).is_err());
        let back: ToSupervisor = serde_json::from_slice(&frame[4..]).unwrap();
        assert!(matches!(back.request, Request::State));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let text = r#"{"v":1,"later":true,"request":{"signal":{"container":"a","signal":9,"why":"later"}}}"#;
        assert!(serde_json::from_str::<ToSupervisor>(text).is_ok());
    }
}
