//! What one program tells the next.

use std::{collections::BTreeMap, os::fd::RawFd};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    pod::{ContainerName, PodCreated, protocol::Boot},
    supervisor::{connection::ConnectionRecord, container::ContainerRecord, exec::ExecRecord, job::JobRecord},
};

/// The version of the records that this program writes.
pub(super) const VERSION: u32 = 1;
/// The oldest reader that understands them.
pub(super) const SINCE: u32 = 1;
/// The oldest records that this program understands.
const OLDEST: u32 = 1;

/// The number of a descriptor that is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::supervisor) struct Fd(pub(super) RawFd);

/// Bytes that need not be text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) struct Bytes(pub(in crate::supervisor) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// The versions of a record: read before the rest of it, which may be of a form that is not known here.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Versions {
    pub(super) version: u32,
    pub(super) since: u32,
}

impl Versions {
    /// Why a record of these versions cannot be read.
    pub(super) fn refusal(&self) -> Option<String> {
        if self.since > VERSION {
            return Some(format!(
                "its state needs a program that reads hand-overs of version {}, this one reads {VERSION}",
                self.since
            ));
        }
        (self.version < OLDEST).then(|| {
            format!("its state is a hand-over of version {}, this program reads {OLDEST} and newer", self.version)
        })
    }
}

/// Everything a supervisor knows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    #[serde(flatten)]
    pub(super) versions: Versions,
    pub(super) boot: Boot,
    pub(super) created: PodCreated,
    pub(super) lock: Fd,
    pub(super) listener: Fd,
    pub(super) pause: Option<(i32, Fd)>,
    pub(super) next_connection: u64,
    pub(super) connections: BTreeMap<u64, ConnectionRecord>,
    pub(super) containers: BTreeMap<ContainerName, ContainerRecord>,
    pub(super) execs: BTreeMap<i32, ExecRecord>,
    pub(super) jobs: Vec<JobRecord>,
    /// The client that asked for it, and is told when it is done.
    pub(super) client: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_refused_only_when_it_cannot_be_understood() {
        let refusal = |version, since| Versions { version, since }.refusal();
        assert_eq!(refusal(VERSION, SINCE), None);
        assert_eq!(refusal(VERSION + 1, SINCE), None, "the next version's, with more fields");
        assert!(refusal(VERSION + 1, VERSION + 1).is_some_and(|why| why.contains("needs a program")));
        assert!(refusal(OLDEST - 1, 0).is_some_and(|why| why.contains("and newer")));
    }

    #[test]
    fn bytes_are_kept_whatever_they_are() {
        let bytes = Bytes((0..=255).collect());
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), bytes);
        assert!(serde_json::from_str::<Bytes>("\"%\"").is_err());
    }
}
