//! Encryption between nodes: WireGuard, by the kernel where it has it, by this program elsewhere.
//!
//! Principle: there is one device, [`INTERFACE`], and one port to it, [`Engine`]: what it has can be read, and changes are
//! made one peer at a time, so that whoever knows what must exist needs not know who encrypts. The kernel is asked through
//! generic netlink. Where it has no WireGuard, the node's helper process carries the packets of a tun device of the same
//! name; it outlives the daemon, and remembers what it was told except for the key, which it reads from the node's own
//! file. The protocol is the same, so a node of one kind speaks with one of the other.
//!
//! The alternatives refused: IPsec (its state is the kernel's alone, and nothing of it works where the kernel was built
//! without), TLS between nodes (TCP in TCP, and every packet through a process everywhere), and one engine for all (a
//! quarter of the kernel's speed, or nothing on machines without the module).
//!
//! - [`Keys`]: the node's own key, made here, never sent.
//! - [`changes`] (pure): from what a device has to what it must have.

mod delta;
mod engine;
mod kernel;
mod keys;
mod message;
pub(crate) mod userspace;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) use delta::{Wanted, changes};
pub use engine::Ask;
pub(crate) use engine::{Engine, close_userspace};
pub use keys::{KeyError, Keys, PrivateKey, PublicKey};

/// The device.
pub const INTERFACE: &str = "naru-wg";
/// The UDP port, unless told otherwise: the one that everybody's WireGuard has.
pub const DEFAULT_PORT: u16 = 51820;
/// What encryption takes of a packet: 60 bytes with IPv4 outside, 80 with IPv6. Eighty are taken off always: pods keep
/// their packet size for life, so a node that is later reached over IPv6 must not need another one, and twenty bytes to
/// spare let packets through lines that are themselves smaller than they look (PPPoE behind home routers takes eight).
pub const OVERHEAD: u32 = 80;
/// How often a node behind address translation shows itself to others, so that their answers find back: translators
/// forget UDP after thirty seconds of silence and more.
pub const KEEPALIVE: u16 = 25;
/// After this long without a new handshake nothing is taken any more: three minutes by the protocol, and a moment.
pub const STALE: Duration = Duration::from_secs(190);

/// A peer as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerConfig {
    /// Its key.
    pub key: PublicKey,
    /// Where it is; `None` when it has to come here first, as from behind address translation.
    pub endpoint: Option<SocketAddr>,
    /// After how many silent seconds it is shown that this node is here; 0 for never.
    pub keepalive: u16,
    /// The addresses behind it.
    pub allowed: Vec<IpNet>,
}

/// A peer as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenPeer {
    /// What was set; its endpoint is where the peer was last heard from.
    pub config: PeerConfig,
    /// How long ago keys were last agreed on; never when `None`.
    pub handshake: Option<Duration>,
    /// Bytes that came from it.
    pub received: u64,
    /// Bytes that went to it.
    pub sent: u64,
}

/// A device as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenDevice {
    /// Its own public key.
    pub key: Option<PublicKey>,
    /// Its UDP port.
    pub port: u16,
    /// Its peers.
    pub peers: BTreeMap<PublicKey, SeenPeer>,
}

/// Something to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The device itself.
    Device {
        /// The file that holds the private key ([`Keys`]).
        keys: PathBuf,
        /// Which of those in the file.
        key: PublicKey,
        /// The UDP port.
        port: u16,
    },
    /// A peer that is new or has changed. Its endpoint is set only when `aim` says so: otherwise it stays where the peer
    /// was last heard from.
    Peer {
        /// What it must be.
        peer: PeerConfig,
        /// Whether to set its endpoint.
        aim: bool,
    },
    /// A peer that is gone.
    Forget(PublicKey),
}

/// Who encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineKind {
    /// The kernel.
    Kernel,
    /// The node's helper process.
    Userspace,
}

/// Which engine is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preference {
    /// The kernel where it can, the helper elsewhere.
    #[default]
    Automatic,
    /// The helper, whatever the kernel can.
    Userspace,
}

/// Whether the kernel of this machine has WireGuard; loads the module where it is one.
pub fn kernel_has_it() -> bool {
    kernel::Kernel::open().is_ok()
}

/// Whether this machine can encrypt at all: by its kernel, or by a tun device.
pub fn available() -> bool {
    kernel_has_it() || std::path::Path::new("/dev/net/tun").exists()
}
