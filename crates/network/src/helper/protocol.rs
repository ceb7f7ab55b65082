//! What the daemon and the helper say to each other: one JSON object a line, one answer a request.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::PodUid;
use crate::dns::Zone;
use crate::model::Protocol;
use crate::wireguard::{Ask, SeenDevice};

/// The version of the helper: the program's, and that of what is said here. A daemon with another one replaces the helper
/// instead of adopting it.
pub fn helper_version() -> String {
    format!("{}/3", naru_api::version())
}

/// What the daemon asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who are you?
    Hello,
    /// These are all the names now.
    Zone(Zone),
    /// Answer inside this pod.
    Attach(PodResolver),
    /// This pod is gone; its namespace must not be held.
    Detach(PodUid),
    /// These pods exist; forget all others.
    Retain(Vec<PodUid>),
    /// These are all the ports to relay now.
    Relays(Vec<Relay>),
    /// What concerns the encrypted tunnel to other nodes.
    Tunnel(Ask),
    /// Another helper takes over: let go of everything that only one can hold, remember nothing any more, and end when
    /// the last connection that is carried does.
    Retire,
    /// End, and forget what is on disk.
    Stop,
}

/// What the helper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Its version and process.
    Hello {
        /// Its [`helper_version`].
        version: String,
        /// Its process.
        pid: u32,
    },
    /// Done.
    Done,
    /// Done, except for these relays.
    Relays {
        /// The relays that could not be opened, each with the reason.
        failed: Vec<(Relay, String)>,
    },
    /// The encrypted tunnel as it is; none when it is not open.
    Tunnel(Option<SeenDevice>),
    /// Not done.
    Failed {
        /// Why.
        reason: String,
    },
}

impl From<Result<(), String>> for Reply {
    fn from(outcome: Result<(), String>) -> Self {
        match outcome {
            Ok(()) => Self::Done,
            Err(reason) => Self::Failed { reason },
        }
    }
}

/// A pod in whose namespace 127.0.0.11 answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodResolver {
    /// The pod.
    pub uid: PodUid,
    /// Its network namespace.
    pub netns: PathBuf,
    /// The namespace's inode: a path may come to mean another namespace, its number does not. 0 accepts any.
    #[serde(default)]
    pub inode: u64,
    /// Its address: whose questions these are.
    pub address: Ipv4Addr,
}

/// A port carried from IPv6 to IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Relay {
    /// Where to listen.
    pub listen: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where to carry it.
    pub to: SocketAddr,
}
