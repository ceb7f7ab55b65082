//! The route messages used, each as one constructor. Numbers are those of `<linux/if_link.h>` and `<linux/rtnetlink.h>`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::netlink::route::*;
use crate::netlink::{Message, Reply, attributes, flag};

use super::ROUTE_PROTOCOL;

const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;

const SCOPE_LINK: u8 = 253;
const TYPE_UNICAST: u8 = 1;
const TYPE_UNREACHABLE: u8 = 7;

/// One end of a veth to be made.
pub(super) struct VethEnd<'a> {
    pub name: &'a str,
    pub mac: [u8; 6],
}

/// Makes a veth whose `inner` end appears in the namespace behind `netns` (a file descriptor of this process).
pub(super) fn new_veth(outer: VethEnd<'_>, inner: VethEnd<'_>, netns: i32, mtu: u32) -> Message {
    Message::new(NEWLINK, flag::CREATE | flag::EXCL, &link_header(0, 0, 0))
        .string(IFLA_IFNAME, outer.name)
        .bytes(IFLA_ADDRESS, &outer.mac)
        .u32(IFLA_MTU, mtu)
        .nest(IFLA_LINKINFO, |m| {
            m.string(1, "veth").nest(2, |m| {
                m.nest_with(1, &link_header(0, 0, 0), |m| {
                    m.string(IFLA_IFNAME, inner.name)
                        .bytes(IFLA_ADDRESS, &inner.mac)
                        .u32(IFLA_MTU, mtu)
                        .u32(IFLA_NET_NS_FD, netns as u32)
                })
            })
        })
}

/// Makes a veth with both ends in this namespace.
pub(super) fn new_pair(name: &str, peer: &str) -> Message {
    Message::new(NEWLINK, flag::CREATE | flag::EXCL, &link_header(0, 0, 0))
        .string(IFLA_IFNAME, name)
        .nest(IFLA_LINKINFO, |m| {
            m.string(1, "veth").nest(2, |m| m.nest_with(1, &link_header(0, 0, 0), |m| m.string(IFLA_IFNAME, peer)))
        })
}

/// Keeps the kernel from giving the interface an IPv6 address of its own choice.
pub(super) fn without_ipv6_autoconf(index: u32) -> Message {
    const ADDR_GEN_MODE: u16 = 8;
    const NONE: u8 = 1;
    Message::new(NEWLINK, 0, &link_header(index, 0, 0))
        .nest(IFLA_AF_SPEC, |m| m.nest(AF_INET6.into(), |m| m.bytes(ADDR_GEN_MODE, &[NONE])))
}

/// Writes the owner into the interface's alias, which `ip link` shows.
pub(super) fn set_alias(index: u32, alias: &str) -> Message {
    Message::new(NEWLINK, 0, &link_header(index, 0, 0)).bytes(IFLA_IFALIAS, alias.as_bytes())
}

pub(super) fn set_up(index: u32) -> Message {
    Message::new(NEWLINK, 0, &link_header(index, IFF_UP, IFF_UP))
}

pub(super) fn set_group(name: &str, group: u32) -> Message {
    Message::new(NEWLINK, 0, &link_header(0, 0, 0)).string(IFLA_IFNAME, name).u32(IFLA_GROUP, group)
}

/// Deletes all links of a group at once: one grace period for all of them instead of one each.
pub(super) fn delete_group(group: u32) -> Message {
    Message::new(DELLINK, 0, &link_header(0, 0, 0)).u32(IFLA_GROUP, group)
}

pub(super) fn delete_link(name: &str) -> Message {
    Message::new(DELLINK, 0, &link_header(0, 0, 0)).string(IFLA_IFNAME, name)
}

pub(super) fn get_link(name: &str) -> Message {
    Message::new(GETLINK, 0, &link_header(0, 0, 0)).string(IFLA_IFNAME, name)
}

pub(super) fn get_link_at(index: u32) -> Message {
    Message::new(GETLINK, 0, &link_header(index, 0, 0))
}

pub(super) fn list_links() -> Message {
    Message::new(GETLINK, flag::DUMP, &link_header(0, 0, 0))
}

pub(super) fn list_routes() -> Message {
    let mut header = [0u8; 12];
    header[0] = AF_INET;
    Message::new(GETROUTE, flag::DUMP, &header)
}

/// A single address. One of IPv6 is there at once: nobody else can have it, so nobody is asked (a second, otherwise).
pub(super) fn add_address(index: u32, address: IpAddr) -> Message {
    const NO_DETECTION: u8 = 2;
    let (bits, flags) = if address.is_ipv4() { (32, 0) } else { (128, NO_DETECTION) };
    let mut header = [family(&address), bits, flags, SCOPE_UNIVERSE, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let octets = octets(&address);
    Message::new(NEWADDR, flag::CREATE | flag::REPLACE, &header).bytes(1, &octets).bytes(2, &octets)
}

fn route_header(to: IpNet, scope: u8, kind: u8, flags: u32) -> [u8; 12] {
    let family = family(&to.addr());
    let mut header = [family, to.prefix_len(), 0, 0, TABLE_MAIN, ROUTE_PROTOCOL, scope, kind, 0, 0, 0, 0];
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// `to` is directly behind the interface; packets the host itself sends there come from `source`.
pub(super) fn route_to_link(to: IpNet, index: u32, source: Option<IpAddr>) -> Message {
    let message = Message::new(NEWROUTE, flag::CREATE | flag::REPLACE, &route_header(to, SCOPE_LINK, TYPE_UNICAST, 0))
        .bytes(RTA_DST, &octets(&to.network()))
        .u32(RTA_OIF, index);
    match source {
        Some(source) => message.bytes(RTA_PREFSRC, &octets(&source)),
        None => message,
    }
}

/// Everything else goes to `gateway`, which need not be in any known subnet.
pub(super) fn default_route(gateway: IpAddr, index: u32) -> Message {
    let everywhere = if gateway.is_ipv4() { IpNet::V4(Default::default()) } else { IpNet::V6(Default::default()) };
    let header = route_header(everywhere, SCOPE_UNIVERSE, TYPE_UNICAST, ONLINK);
    Message::new(NEWROUTE, flag::CREATE | flag::REPLACE, &header)
        .bytes(RTA_GATEWAY, &octets(&gateway))
        .u32(RTA_OIF, index)
}

/// Addresses in `to` that no pod has answer "unreachable" at once instead of leaking to the default route.
pub(super) fn unreachable(to: IpNet) -> Message {
    Message::new(NEWROUTE, flag::CREATE | flag::REPLACE, &route_header(to, SCOPE_UNIVERSE, TYPE_UNREACHABLE, 0))
        .bytes(RTA_DST, &octets(&to.network()))
        .u32(RTA_PRIORITY, NOWHERE_PRIORITY)
}

pub(super) fn delete_unreachable(to: IpNet) -> Message {
    Message::new(DELROUTE, 0, &route_header(to, SCOPE_UNIVERSE, TYPE_UNREACHABLE, 0))
        .bytes(RTA_DST, &octets(&to.network()))
        .u32(RTA_PRIORITY, NOWHERE_PRIORITY)
}

/// A neighbour that is never asked for and never forgotten.
pub(super) fn permanent_neighbour(index: u32, address: IpAddr, mac: [u8; 6]) -> Message {
    const PERMANENT: u16 = 0x80;
    let mut header = [0u8; 12];
    header[0] = family(&address);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&PERMANENT.to_ne_bytes());
    Message::new(NEWNEIGH, flag::CREATE | flag::REPLACE, &header).bytes(1, &octets(&address)).bytes(2, &mac)
}

/// What we read of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    pub alias: Option<String>,
    pub mtu: u32,
    /// Neither made by software (those say their kind) nor the loopback.
    pub physical: bool,
}

pub(super) fn parse_link(reply: &Reply) -> Option<Link> {
    if reply.kind != NEWLINK {
        return None;
    }
    let index = u32::from_ne_bytes(reply.body.get(4..8)?.try_into().ok()?);
    const ETHERNET: u16 = 1;
    let hardware = u16::from_ne_bytes(reply.body.get(2..4)?.try_into().ok()?);
    let mut link = Link { index, physical: hardware == ETHERNET, ..Link::default() };
    for (kind, value) in attributes(reply.body.get(16..)?) {
        let text = || String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        match kind {
            IFLA_IFNAME => link.name = text(),
            IFLA_IFALIAS => link.alias = Some(text()),
            IFLA_LINKINFO => link.physical = false,
            IFLA_MTU => link.mtu = u32::from_ne_bytes(value.try_into().ok()?),
            _ => {}
        }
    }
    Some(link)
}

/// The interface of a default route, if `reply` is one.
pub(super) fn parse_default_route(reply: &Reply) -> Option<u32> {
    let header = reply.body.get(..12)?;
    if reply.kind != NEWROUTE || header[1] != 0 || header[4] != TABLE_MAIN || header[7] != TYPE_UNICAST {
        return None;
    }
    attributes(&reply.body[12..])
        .find(|(kind, _)| *kind == RTA_OIF)
        .and_then(|(_, value)| value.try_into().ok().map(u32::from_ne_bytes))
}
