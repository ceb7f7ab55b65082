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
//! Who may use these ways is the firewall's business: a source address must lie behind the interface it came through,
//! which the routes made here decide (`plan::base`), and tunnel packets are taken from peers only.

mod apply;
mod delta;
mod events;
mod message;
mod overlap;
mod plan;
mod underlay;

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::model::Ipv6Config;
use crate::netlink::NetlinkError;

pub use apply::{Converged, converge, remove, remove_recorded};
pub use events::Events;
pub use overlap::{OverlapError, check_overlap};
pub use plan::{Device, Path, Plan, Route, plan};
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
