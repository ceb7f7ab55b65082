//! What this machine's own networks are: interfaces, addresses, routes, and the way to each peer's host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::links::{NODE_INTERFACE, ROUTE_PROTOCOL, is_pod_link};
use crate::netlink::route::AF_INET;
use crate::netlink::{NetlinkError, Socket};
use crate::wireguard;

use super::message::{self, RouteType};
use super::{OverlayError, VXLAN_INTERFACE};

/// Ethernet's packet size, assumed where nothing is known.
const ETHERNET_MTU: u32 = 1500;
const SMALLEST_MTU: u32 = 576;

/// An interface that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its largest packet.
    pub mtu: u32,
    /// Whether it has hardware addresses, as Ethernet has: otherwise nobody can be named as the next hop on it.
    pub ethernet: bool,
}

/// The kernel's way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is this machine's own.
    Local,
    /// Out of an interface.
    Out {
        /// The interface's number.
        interface: u32,
        /// The router; `None` when the address is on the same wire.
        gateway: Option<Ipv4Addr>,
    },
}

/// A network of this machine that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNetwork {
    /// Its addresses.
    pub range: Ipv4Net,
    /// The interface it is behind, or what else is known of it.
    pub behind: String,
    /// Whether this machine has an address in it.
    pub connected: bool,
}

/// This machine's own networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underlay {
    /// Interfaces by number.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The way to each peer's host; none where there is no route.
    pub ways: BTreeMap<Ipv4Addr, Way>,
    /// Networks that are not ours.
    pub networks: Vec<HostNetwork>,
    /// The interface of the default route.
    pub uplink: Option<u32>,
}

impl Underlay {
    /// Reads it, with the ways to `hosts`. Blocks for some ten microseconds a host.
    pub fn read(hosts: impl Iterator<Item = Ipv4Addr>) -> Result<Self, OverlayError> {
        let socket = Socket::route().map_err(OverlayError::at("open a route socket"))?;
        let step = "read this machine's networks";
        read(&socket, hosts).map_err(OverlayError::at(step))
    }

    /// The largest packet that leaves through `interface`.
    pub(super) fn mtu(&self, interface: Option<u32>) -> u32 {
        let known = interface.or(self.uplink).and_then(|index| self.interfaces.get(&index));
        known.map(|interface| interface.mtu).filter(|mtu| *mtu >= SMALLEST_MTU).unwrap_or(ETHERNET_MTU)
    }
}

/// Whether an interface is of our making.
pub(super) fn is_ours(name: &str) -> bool {
    is_pod_link(name) || name == VXLAN_INTERFACE || name == wireguard::INTERFACE || name.starts_with(NODE_INTERFACE)
}

fn read(socket: &Socket, hosts: impl Iterator<Item = Ipv4Addr>) -> Result<Underlay, NetlinkError> {
    let mut underlay = Underlay::default();
    let mut ours = Vec::new();
    for link in socket.dump(message::list_links())?.iter().filter_map(message::parse_link) {
        if is_ours(&link.name) {
            ours.push(link.index);
        } else {
            let interface = Interface { name: link.name, mtu: link.mtu, ethernet: link.ethernet };
            underlay.interfaces.insert(link.index, interface);
        }
    }
    let name = |underlay: &Underlay, index: u32| {
        underlay.interfaces.get(&index).map_or_else(|| "a route".to_owned(), |interface| interface.name.clone())
    };
    for (index, range) in socket.dump(message::list_addresses())?.iter().filter_map(message::parse_address) {
        if !ours.contains(&index) && !range.addr().is_loopback() {
            let behind = name(&underlay, index);
            underlay.networks.push(HostNetwork { range: range.trunc(), behind, connected: true });
        }
    }
    for route in socket.dump(message::list_routes(AF_INET))?.iter().filter_map(message::parse_route) {
        if !route.in_main_table() || route.protocol == ROUTE_PROTOCOL {
            continue;
        }
        let IpNet::V4(to) = route.to else { continue };
        if route.to.prefix_len() == 0 {
            if route.kind == RouteType::Unicast && underlay.uplink.is_none() {
                underlay.uplink = route.interface;
            }
            continue;
        }
        let behind = route.interface.map_or_else(|| "a route".to_owned(), |index| name(&underlay, index));
        if !underlay.networks.iter().any(|known| known.range == to) {
            underlay.networks.push(HostNetwork { range: to, behind, connected: false });
        }
    }
    for host in hosts {
        match socket.dump(message::way_to(host)) {
            Ok(replies) => {
                if let Some(way) = replies.iter().filter_map(message::parse_route).find_map(|route| route.way()) {
                    underlay.ways.insert(host, way);
                }
            }
            // No route, or one that says "unreachable": every errno here is an answer.
            Err(NetlinkError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(underlay)
}
