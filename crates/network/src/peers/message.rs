//! The route messages for tunnels, their tables and the routes into them. Numbers are those of `<linux/if_link.h>`,
//! `<linux/neighbour.h>` and `<linux/rtnetlink.h>`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::links::ROUTE_PROTOCOL;
use crate::netlink::route::*;
use crate::netlink::{Message, Reply, attributes, flag};

use super::VXLAN_INTERFACE;
use super::plan::{Device, Path, Route};
use super::underlay::Way;

pub(super) const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
pub(super) const DELNEIGH: u16 = 29;
const GETNEIGH: u16 = 30;

const AF_BRIDGE: u8 = 7;

const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VXLAN_ID: u16 = 1;
const VXLAN_LOCAL: u16 = 4;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PORT: u16 = 15;
const ARPHRD_ETHER: u16 = 1;

const RTA_VIA: u16 = 18;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
/// The entry is the device's own, not that of a bridge above it.
const NTF_SELF: u8 = 2;

pub(super) fn new_device(device: &Device) -> Message {
    Message::new(NEWLINK, flag::CREATE | flag::EXCL, &link_header(0, 0, 0))
        .string(IFLA_IFNAME, VXLAN_INTERFACE)
        .bytes(IFLA_ADDRESS, &device.mac)
        .u32(IFLA_MTU, device.mtu)
        .nest(IFLA_LINKINFO, |m| {
            m.string(INFO_KIND, "vxlan").nest(INFO_DATA, |m| {
                m.u32(VXLAN_ID, device.vni)
                    .bytes(VXLAN_LOCAL, &device.local.octets())
                    .bytes(VXLAN_LEARNING, &[0])
                    .bytes(VXLAN_PORT, &device.port.to_be_bytes())
            })
        })
}

pub(super) fn adjust_device(device: &Device) -> Message {
    Message::new(NEWLINK, 0, &link_header(0, IFF_UP, IFF_UP))
        .string(IFLA_IFNAME, VXLAN_INTERFACE)
        .bytes(IFLA_ADDRESS, &device.mac)
        .u32(IFLA_MTU, device.mtu)
}

pub(super) fn delete_device() -> Message {
    Message::new(DELLINK, 0, &link_header(0, 0, 0)).string(IFLA_IFNAME, VXLAN_INTERFACE)
}

pub(super) fn list_links() -> Message {
    Message::new(GETLINK, flag::DUMP, &link_header(0, 0, 0))
}

pub(super) fn get_device() -> Message {
    get_link(VXLAN_INTERFACE)
}

pub(super) fn get_link(name: &str) -> Message {
    Message::new(GETLINK, 0, &link_header(0, 0, 0)).string(IFLA_IFNAME, name)
}

pub(super) fn delete_link(name: &str) -> Message {
    Message::new(DELLINK, 0, &link_header(0, 0, 0)).string(IFLA_IFNAME, name)
}

/// Sets a link's packet size, and puts it up.
pub(super) fn adjust_link(name: &str, mtu: u32) -> Message {
    Message::new(NEWLINK, 0, &link_header(0, IFF_UP, IFF_UP)).string(IFLA_IFNAME, name).u32(IFLA_MTU, mtu)
}

/// A link, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    pub ethernet: bool,
    pub up: bool,
    /// Its kind, as `vxlan`; nothing for hardware.
    pub kind: String,
    /// What it is, when it is a tunnel that learns nothing.
    pub tunnel: Option<Device>,
}

pub(super) fn parse_link(reply: &Reply) -> Option<Link> {
    let header = reply.body.get(..16)?;
    if !matches!(reply.kind, NEWLINK | DELLINK) {
        return None;
    }
    let hardware = u16::from_ne_bytes([header[2], header[3]]);
    let index = number(&header[4..8])?;
    let up = number(&header[8..12])? & IFF_UP != 0;
    let mut link = Link { index, ethernet: hardware == ARPHRD_ETHER, up, ..Link::default() };
    let (mut mac, mut info) = (None, None);
    for (kind, value) in attributes(&reply.body[16..]) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = number(value)?,
            IFLA_ADDRESS => mac = value.try_into().ok(),
            IFLA_LINKINFO => info = Some(value),
            _ => {}
        }
    }
    let kind = info.and_then(|info| attributes(info).find(|(kind, _)| *kind == INFO_KIND));
    link.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
    link.tunnel = info.zip(mac).and_then(|(info, mac)| parse_tunnel(info, mac, link.mtu));
    Some(link)
}

fn parse_tunnel(info: &[u8], mac: [u8; 6], mtu: u32) -> Option<Device> {
    let find = |list, wanted| attributes(list).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    if text(find(info, INFO_KIND)?) != "vxlan" {
        return None;
    }
    let data = find(info, INFO_DATA)?;
    let learns = find(data, VXLAN_LEARNING)?.first().is_none_or(|flag| *flag != 0);
    (!learns).then_some(())?;
    Some(Device {
        vni: number(find(data, VXLAN_ID)?)?,
        port: u16::from_be_bytes(find(data, VXLAN_PORT)?.try_into().ok()?),
        local: ipv4(find(data, VXLAN_LOCAL)?)?,
        mac,
        mtu,
    })
}

pub(super) fn list_addresses() -> Message {
    Message::new(GETADDR, flag::DUMP, &[AF_INET, 0, 0, 0, 0, 0, 0, 0])
}

/// An interface's number and the network of one of its addresses.
pub(super) fn parse_address(reply: &Reply) -> Option<(u32, Ipv4Net)> {
    const IFA_ADDRESS: u16 = 1;
    let header = reply.body.get(..8)?;
    if !matches!(reply.kind, NEWADDR | DELADDR) || header[0] != AF_INET {
        return None;
    }
    let (_, value) = attributes(&reply.body[8..]).find(|(kind, _)| *kind == IFA_ADDRESS)?;
    Some((number(&header[4..8])?, Ipv4Net::new(ipv4(value)?, header[1]).ok()?))
}

/// The numbers of our devices, where they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Devices {
    pub tunnel: Option<u32>,
    pub encrypted: Option<u32>,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteType {
    Unicast,
    Local,
    Unreachable,
    Other,
}

/// A route, ours or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeenRoute {
    pub to: IpNet,
    pub kind: RouteType,
    pub protocol: u8,
    pub table: u8,
    pub priority: u32,
    pub interface: Option<u32>,
    pub gateway: Option<IpAddr>,
    pub source: Option<IpAddr>,
    /// The next hop has an address of another family.
    pub foreign_hop: bool,
}

impl SeenRoute {
    pub fn in_main_table(&self) -> bool {
        self.table == TABLE_MAIN
    }

    pub fn is_ipv4(&self) -> bool {
        matches!(self.to, IpNet::V4(_))
    }

    /// What an answer to [`way_to`] means.
    pub fn way(&self) -> Option<Way> {
        match self.kind {
            RouteType::Local => Some(Way::Local),
            // A next hop of another family cannot be written into a route of ours: the tunnel needs none.
            RouteType::Unicast if self.foreign_hop => None,
            RouteType::Unicast => {
                let gateway = self.gateway.and_then(|gateway| match gateway {
                    IpAddr::V4(gateway) => Some(gateway),
                    IpAddr::V6(_) => None,
                });
                Some(Way::Out { interface: self.interface?, gateway })
            }
            _ => None,
        }
    }

    /// The route as the plan would write it, when it is one of ours that leads to another node or nowhere.
    pub fn ours(&self, devices: Devices) -> Option<Route> {
        if self.protocol != ROUTE_PROTOCOL || !self.in_main_table() {
            return None;
        }
        let path = match (self.kind, self.interface, self.gateway) {
            (RouteType::Unicast, Some(interface), Some(gateway)) if Some(interface) == devices.tunnel => {
                Path::Tunnel { gateway }
            }
            (RouteType::Unicast, Some(interface), Some(gateway)) if Some(interface) == devices.encrypted => {
                Path::Encrypted { gateway }
            }
            (RouteType::Unicast, Some(interface), Some(gateway)) => Path::Wire { interface, gateway },
            (RouteType::Unreachable, ..) => Path::Nowhere,
            // Routes to this node's own pods have no gateway.
            _ => return None,
        };
        if self.priority != priority(&self.to, path) {
            return None;
        }
        Some(Route { to: self.to, path, source: self.source })
    }
}

fn priority(to: &IpNet, path: Path) -> u32 {
    match (path, to) {
        (Path::Nowhere, _) => NOWHERE_PRIORITY,
        (_, IpNet::V4(_)) => 0,
        // What the kernel makes of 0 there.
        (_, IpNet::V6(_)) => 1024,
    }
}

pub(super) fn parse_route(reply: &Reply) -> Option<SeenRoute> {
    let header = reply.body.get(..12)?;
    let nothing = unspecified(header[0])?;
    if !matches!(reply.kind, NEWROUTE | DELROUTE) {
        return None;
    }
    let kind = match header[7] {
        1 => RouteType::Unicast,
        2 => RouteType::Local,
        7 => RouteType::Unreachable,
        _ => RouteType::Other,
    };
    let mut route = SeenRoute {
        to: IpNet::new(nothing, header[1]).ok()?,
        kind,
        protocol: header[5],
        table: header[4],
        priority: 0,
        interface: None,
        gateway: None,
        source: None,
        foreign_hop: false,
    };
    for (kind, value) in attributes(&reply.body[12..]) {
        match kind {
            RTA_DST => route.to = IpNet::new(address(value)?, header[1]).ok()?,
            RTA_OIF => route.interface = number(value),
            RTA_GATEWAY => route.gateway = address(value),
            RTA_PRIORITY => route.priority = number(value)?,
            RTA_PREFSRC => route.source = address(value),
            RTA_VIA => route.foreign_hop = true,
            _ => {}
        }
    }
    Some(route)
}

/// The families of addresses that the kernel has.
pub(super) fn families() -> &'static [u8] {
    if crate::sysctl::has_ipv6() { &[AF_INET, AF_INET6] } else { &[AF_INET] }
}

fn family(address: &IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn unspecified(family: u8) -> Option<IpAddr> {
    match family {
        AF_INET => Some(Ipv4Addr::UNSPECIFIED.into()),
        AF_INET6 => Some(std::net::Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

/// An address as attributes have it.
fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(super) fn list_routes(family: u8) -> Message {
    let mut header = [0u8; 12];
    header[0] = family;
    Message::new(GETROUTE, flag::DUMP, &header)
}

/// Asks which way the kernel would take.
pub(super) fn way_to(host: Ipv4Addr) -> Message {
    let mut header = [0u8; 12];
    header[0] = AF_INET;
    header[1] = 32;
    Message::new(GETROUTE, 0, &header).bytes(RTA_DST, &host.octets())
}

fn route_message(verb: u16, flags: u16, route: &Route, device: u32) -> Message {
    const UNICAST: u8 = 1;
    const UNREACHABLE: u8 = 7;
    let kind = if route.path == Path::Nowhere { UNREACHABLE } else { UNICAST };
    let on_link = if route.path == Path::Nowhere { 0 } else { ONLINK };
    let family = family(&route.to.addr());
    let mut header =
        [family, route.to.prefix_len(), 0, 0, TABLE_MAIN, ROUTE_PROTOCOL, SCOPE_UNIVERSE, kind, 0, 0, 0, 0];
    header[8..12].copy_from_slice(&on_link.to_ne_bytes());
    let message = Message::new(verb, flags, &header).bytes(RTA_DST, &octets(&route.to.network()));
    let message = match priority(&route.to, route.path) {
        0 => message,
        priority => message.u32(RTA_PRIORITY, priority),
    };
    let (interface, gateway) = match route.path {
        Path::Wire { interface, gateway } => (interface, gateway),
        Path::Tunnel { gateway } | Path::Encrypted { gateway } => (device, gateway),
        Path::Nowhere => return message,
    };
    message.bytes(RTA_GATEWAY, &octets(&gateway)).u32(RTA_OIF, interface)
}

/// Adds a route; refused when somebody else has one for the same destination.
pub(super) fn add_route(route: &Route, tunnel: u32) -> Message {
    with_source(route_message(NEWROUTE, flag::CREATE | flag::EXCL, route, tunnel), route)
}

/// Puts a route in the place of one of ours.
pub(super) fn replace_route(route: &Route, tunnel: u32) -> Message {
    with_source(route_message(NEWROUTE, flag::CREATE | flag::REPLACE, route, tunnel), route)
}

fn with_source(message: Message, route: &Route) -> Message {
    match &route.source {
        Some(source) => message.bytes(RTA_PREFSRC, &octets(source)),
        None => message,
    }
}

pub(super) fn delete_route(route: &Route, tunnel: u32) -> Message {
    route_message(DELROUTE, 0, route, tunnel)
}

fn neighbour_header(family: u8, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let mut header = [0u8; 12];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&state.to_ne_bytes());
    header[10] = flags;
    header
}

pub(super) fn set_neighbour(tunnel: u32, address: IpAddr, mac: [u8; 6]) -> Message {
    let header = neighbour_header(family(&address), tunnel, NUD_PERMANENT, 0);
    Message::new(NEWNEIGH, flag::CREATE | flag::REPLACE, &header)
        .bytes(NDA_DST, &octets(&address))
        .bytes(NDA_LLADDR, &mac)
}

pub(super) fn delete_neighbour(tunnel: u32, address: IpAddr) -> Message {
    Message::new(DELNEIGH, 0, &neighbour_header(family(&address), tunnel, 0, 0)).bytes(NDA_DST, &octets(&address))
}

pub(super) fn set_forwarding(tunnel: u32, mac: [u8; 6], host: Ipv4Addr) -> Message {
    let header = neighbour_header(AF_BRIDGE, tunnel, NUD_NOARP | NUD_PERMANENT, NTF_SELF);
    Message::new(NEWNEIGH, flag::CREATE | flag::REPLACE, &header).bytes(NDA_LLADDR, &mac).bytes(NDA_DST, &host.octets())
}

pub(super) fn delete_forwarding(tunnel: u32, mac: [u8; 6], host: Ipv4Addr) -> Message {
    Message::new(DELNEIGH, 0, &neighbour_header(AF_BRIDGE, tunnel, 0, NTF_SELF))
        .bytes(NDA_LLADDR, &mac)
        .bytes(NDA_DST, &host.octets())
}

pub(super) fn list_neighbours(family: u8) -> Message {
    Message::new(GETNEIGH, flag::DUMP, &neighbour_header(family, 0, 0, 0))
}

pub(super) fn list_forwarding() -> Message {
    Message::new(GETNEIGH, flag::DUMP, &neighbour_header(AF_BRIDGE, 0, 0, 0))
}

/// The interface of a neighbour or forwarding entry.
pub(super) fn neighbour_interface(reply: &Reply) -> Option<u32> {
    matches!(reply.kind, NEWNEIGH | DELNEIGH).then(|| number(reply.body.get(4..8)?)).flatten()
}

/// An address and its hardware address on interface `index`, when the entry is a permanent one.
pub(super) fn parse_neighbour(reply: &Reply, index: u32) -> Option<(IpAddr, [u8; 6])> {
    let header = reply.body.get(..12)?;
    let permanent = u16::from_ne_bytes([header[8], header[9]]) & NUD_PERMANENT != 0;
    if neighbour_interface(reply)? != index || unspecified(header[0]).is_none() || !permanent {
        return None;
    }
    let (host, mac) = entry(reply);
    Some((host?, mac?))
}

/// A hardware address and the host behind it on interface `index`.
pub(super) fn parse_forwarding(reply: &Reply, index: u32) -> Option<([u8; 6], Ipv4Addr)> {
    if neighbour_interface(reply)? != index || *reply.body.first()? != AF_BRIDGE {
        return None;
    }
    match entry(reply) {
        (Some(IpAddr::V4(host)), Some(mac)) => Some((mac, host)),
        _ => None,
    }
}

fn entry(reply: &Reply) -> (Option<IpAddr>, Option<[u8; 6]>) {
    let (mut host, mut mac) = (None, None);
    for (kind, value) in attributes(reply.body.get(12..).unwrap_or_default()) {
        match kind {
            NDA_DST => host = address(value),
            NDA_LLADDR => mac = value.try_into().ok(),
            _ => {}
        }
    }
    (host, mac)
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let six = || <[u8; 16]>::try_from(value).ok().map(IpAddr::from);
    ipv4(value).map(IpAddr::V4).or_else(six)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}
