//! Volumes: everything that is mounted into containers besides their root.
//!
//! All of it is prepared on the host side, below the pod's own folder, and bound into containers by the supervisor; a
//! volume is therefore complete before any container sees it. Files from objects (ConfigMaps, Secrets, the downward
//! API, tokens) are written to a fresh folder and switched to by one rename of the link `..data`, so a running program
//! reads either the old set or the new one. Removal never deletes through a mount: what is mounted is unmounted first,
//! and a folder that still holds a mount is left alone and reported.

mod atomic;
mod claims;
mod copy_up;
mod erase;
mod mounts;
mod payload;
mod prepare;
mod remove;
#[cfg(test)]
mod tests;
mod usage;

use std::{collections::BTreeMap, io, path::PathBuf};

use jiff::Timestamp;

pub(crate) use atomic::{Entry, write as write_payload};
pub(crate) use copy_up::fill as copy_up;
pub(crate) use erase::{DATA, Duty, ERASE_ON, duty, erase, noted};
pub(crate) use mounts::{CopyUp, container_mounts};
pub(crate) use payload::{Payload, Sources, needs};
pub(crate) use prepare::{Prepare, claim_name, prepare};
pub(crate) use remove::{clean, shed, unmount};
pub(crate) use usage::{exceeded, has_limits};

/// A pod's prepared volumes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// Host path of each volume.
    pub paths: BTreeMap<String, PathBuf>,
    /// Volumes of which every mount is read-only.
    pub read_only: Vec<String>,
    /// When the earliest token is to be renewed.
    pub refresh_at: Option<Timestamp>,
}

/// A volume that could not be prepared, mounted or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    /// An object that the volume needs is missing or unsuitable.
    #[error("volume {volume:?}: {problem}")]
    Unusable {
        /// The volume.
        volume: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A claim that has no volume yet: the ordinary state of a new one.
    #[error("volume {volume:?}: persistentvolumeclaim {claim:?} is not bound yet: see `kubectl describe pvc {claim}`")]
    Unbound {
        /// The volume.
        volume: String,
        /// Its claim.
        claim: String,
    },
    /// The API did not answer.
    #[error("volume {volume:?}: cannot read {object}")]
    Api {
        /// The volume.
        volume: String,
        /// What was asked for.
        object: String,
        /// Why not.
        #[source]
        source: naru_client::ClientError,
    },
    /// A file operation failed.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Something is still mounted where a folder was to be removed.
    #[error("{path} still holds a mount at {mount}: unmount it; nothing was deleted")]
    StillMounted {
        /// The folder.
        path: PathBuf,
        /// The mount within.
        mount: PathBuf,
    },
}

impl VolumeError {
    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> VolumeError {
        let path = path.into();
        move |source| VolumeError::Io { what, path, source }
    }

    fn unusable(volume: &str, problem: impl Into<String>) -> VolumeError {
        VolumeError::Unusable { volume: volume.to_owned(), problem: problem.into() }
    }
}
