//! The ways to the pods of other nodes.
//!
//! Principle: each node has a block of pod addresses, and every other node has one route to it. Where the other node is
//! on the same wire the route simply names it; where routers lie between, the route leads into one VXLAN device whose
//! tables (who has which hardware address, behind which host) are filled from the same list of peers. Nothing is ever
//! learned from packets, nobody is asked, and pods keep their addresses all the way. The alternatives refused: flooding
//! and learning (a wrong packet then changes where others go), and tunnels everywhere (a third of the speed on a wire
//! that needs none).
//!
//! - [`plan`] (pure) says from the peers and from what this machine's own networks are what must exist.
//! - The second family goes through the tunnel, whatever the first does: a plain route needs a next hop of its own
//!   family (Linux has none for IPv6 behind IPv4), and wires between nodes often have IPv4 addresses alone.
//! - `delta` (pure) says which steps lead there from whatever the kernel has: a crash in the middle, an entry that
//!   somebody removed and a device of an earlier run are all the same case.
//! - [`converge`] reads, plans and steps. What is not ours (no device of our name, no route of our protocol) is never
//!   changed, even when it is in the way: then it is named.
//! - [`Events`] tells when it may be time to look again.
//!
//! - What is encrypted goes through a device of its own ([`wireguard`]), made before any route leads into it; whoever is to
//!   be encrypted and cannot be has no way.
//! - [`probe`] asks the other nodes through these ways whether they are there.
//!
//! Who may use these ways is the firewall's business: a source address must lie behind the interface it came through,
//! which the routes made here decide (`plan::base`), and tunnel packets are taken from peers only.

mod apply;
mod delta;
mod encrypted;
mod events;
mod message;
mod overlap;
mod plan;
mod probe;
mod settings;
mod underlay;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::model::Ipv6Config;
use crate::netlink::NetlinkError;
use crate::wireguard::{self, Preference, PublicKey};

pub use apply::{Converged, converge, converge_from, remove, remove_recorded};
pub use encrypted::{EncryptedDevice, EncryptedPeer, Expected};
pub use events::Events;
pub use overlap::{OverlapError, check_overlap, check_second_overlap};
pub use plan::{Device, Path, Plan, Route, plan};
pub use probe::{accepting, probe};
pub use settings::ClusterNetwork;
pub use underlay::{HostNetwork, Interface, Underlay, Way};

/// The tunnel device.
pub const VXLAN_INTERFACE: &str = "naru-vx";
/// What an outer IPv4 header, UDP, VXLAN and the inner Ethernet header take of a packet.
pub const VXLAN_OVERHEAD: u32 = 50;

/// How the way to a peer is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wish {
    /// A plain route when the peer is on the same wire, the tunnel when it is not.
    #[default]
    Automatic,
    /// A plain route: by the peer itself, or by the router that leads to it, which must know the pods' addresses.
    Route,
    /// The tunnel.
    Vxlan,
    /// Encryption. It counts more than every other wish, whoever has it.
    Wireguard,
    /// Something that this version does not know. Such a peer gets no way at all: it may have asked for encryption.
    Unknown(String),
}

impl Wish {
    /// Reads what people write on a node; nothing means [`Wish::Automatic`].
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "" | "auto" => Self::Automatic,
            "route" => Self::Route,
            "vxlan" => Self::Vxlan,
            "wireguard" => Self::Wireguard,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// The way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A plain route.
    Route,
    /// Through [`VXLAN_INTERFACE`].
    Vxlan,
    /// Encrypted, through [`wireguard::INTERFACE`].
    Wireguard,
}

impl Mode {
    /// The word that people use for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Vxlan => "vxlan",
            Self::Wireguard => "wireguard",
        }
    }
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name; its tunnel's hardware address follows from it.
    pub name: String,
    /// The addresses of its pods.
    pub pod_cidr: Ipv4Net,
    /// Their IPv6 addresses, when it has such.
    pub pod_cidr6: Option<Ipv6Net>,
    /// Where it is reached.
    pub address: Ipv4Addr,
    /// What was asked for on its side.
    pub wish: Wish,
    /// What encryption needs to know of it.
    pub encryption: PeerEncryption,
}

/// What encryption needs to know of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerEncryption {
    /// Its key; none until it has told.
    pub key: Option<PublicKey>,
    /// Where its encrypted packets are taken, when that is not its address and the cluster's port.
    pub endpoint: Option<SocketAddr>,
    /// Whether its address is hidden behind a translator, so that it has to come by itself.
    pub behind_nat: bool,
}

/// What is the same for all peers of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayConfig {
    /// The node's own name.
    pub node: String,
    /// Where the other nodes reach it; unknown until it is registered, and there are no tunnels until then.
    pub address: Option<Ipv4Addr>,
    /// What was asked for on this side.
    pub wish: Wish,
    /// The addresses of its own pods.
    pub pod_subnet: Ipv4Net,
    /// The addresses of all pods.
    pub cluster_cidr: Ipv4Net,
    /// The virtual addresses of services.
    pub service_cidr: Ipv4Net,
    /// The node's own address towards pods, everywhere.
    pub gateway: Ipv4Addr,
    /// The same of the second family.
    pub six: Option<Ipv6Config>,
    /// The tunnel's number; the same on every node.
    pub vni: u32,
    /// The tunnel's UDP port; the same on every node.
    pub port: u16,
    /// The largest packet that pods may have, whatever would pass; the same on every node.
    pub mtu: Option<u32>,
    /// Encryption.
    pub encryption: Encryption,
}

/// How this node encrypts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// Whether everything is encrypted, whatever single nodes wish.
    pub everywhere: bool,
    /// The UDP port; the same on every node.
    pub port: u16,
    /// The file of this node's keys, and the one in use; without it nothing is encrypted, and what must be has no way.
    pub keys: Option<(PathBuf, PublicKey)>,
    /// What others know of this node.
    pub own: PeerEncryption,
    /// The socket of the node's helper, which encrypts where the kernel cannot.
    pub helper: PathBuf,
    /// Who is to do it.
    pub preference: Preference,
}

impl Default for Encryption {
    fn default() -> Self {
        Self {
            everywhere: false,
            port: wireguard::DEFAULT_PORT,
            keys: None,
            own: PeerEncryption::default(),
            helper: PathBuf::new(),
            preference: Preference::Automatic,
        }
    }
}

/// Why the ways could not be looked at or changed at all. What concerns single peers is in [`Converged::problems`].
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}; root with CAP_NET_ADMIN is needed")]
pub struct OverlayError {
    step: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl OverlayError {
    fn at(step: &'static str) -> impl FnOnce(NetlinkError) -> Self {
        move |source| Self { step, source: Box::new(source) }
    }
}

/// The hardware address of a node's tunnel: it follows from the name, so nobody has to be told. Locally administered.
pub fn tunnel_mac(node: &str) -> [u8; 6] {
    let [.., a, b, c, d, e] = crate::hash::fnv64(node.as_bytes()).to_be_bytes();
    [0x0a, a, b, c, d, e]
}

#[cfg(test)]
mod tests;
