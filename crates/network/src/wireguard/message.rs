//! The messages of the kernel's WireGuard: generic netlink, family `wireguard`, version 1. Numbers are those of
//! `<linux/wireguard.h>` and `<linux/genetlink.h>`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use crate::netlink::route::{AF_INET, IFLA_IFNAME, IFLA_LINKINFO, IFLA_MTU, NEWLINK, link_header};
use crate::netlink::{Message, Reply, attributes, flag};

use super::{INTERFACE, PeerConfig, PrivateKey, PublicKey, SeenDevice, SeenPeer};

const FAMILY: &str = "wireguard";
const VERSION: u8 = 1;

/// The family that knows the others, and its one question.
const CONTROL: u16 = 0x10;
const CTRL_GET_FAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;

const GET_DEVICE: u8 = 0;
const SET_DEVICE: u8 = 1;

const DEVICE_NAME: u16 = 2;
const DEVICE_PRIVATE_KEY: u16 = 3;
const DEVICE_PUBLIC_KEY: u16 = 4;
const DEVICE_PORT: u16 = 6;
const DEVICE_PEERS: u16 = 8;

const PEER_KEY: u16 = 1;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_KEEPALIVE: u16 = 5;
const PEER_HANDSHAKE: u16 = 6;
const PEER_RECEIVED: u16 = 7;
const PEER_SENT: u16 = 8;
const PEER_ALLOWED: u16 = 9;
const REMOVE: u32 = 1;
const REPLACE_ALLOWED: u32 = 2;

const ALLOWED_FAMILY: u16 = 1;
const ALLOWED_ADDRESS: u16 = 2;
const ALLOWED_PREFIX: u16 = 3;

const AF_INET6: u8 = 10;

pub(super) fn find_family() -> Message {
    Message::new(CONTROL, 0, &[CTRL_GET_FAMILY, 1, 0, 0]).string(CTRL_FAMILY_NAME, FAMILY)
}

pub(super) fn parse_family(reply: &Reply) -> Option<u16> {
    let (_, id) = attributes(reply.body.get(4..)?).find(|(kind, _)| *kind == CTRL_FAMILY_ID)?;
    Some(u16::from_ne_bytes(id.try_into().ok()?))
}

pub(super) fn new_link(mtu: u32) -> Message {
    const INFO_KIND: u16 = 1;
    Message::new(NEWLINK, flag::CREATE | flag::EXCL, &link_header(0, 0, 0))
        .string(IFLA_IFNAME, INTERFACE)
        .u32(IFLA_MTU, mtu)
        .nest(IFLA_LINKINFO, |m| m.string(INFO_KIND, "wireguard"))
}

fn set(family: u16) -> Message {
    Message::new(family, 0, &[SET_DEVICE, VERSION, 0, 0]).string(DEVICE_NAME, INTERFACE)
}

pub(super) fn set_device(family: u16, key: &PrivateKey, port: u16) -> Message {
    set(family).bytes(DEVICE_PRIVATE_KEY, key.bytes()).bytes(DEVICE_PORT, &port.to_ne_bytes())
}

/// What is to be done with a peer.
pub(super) enum PeerChange<'a> {
    Set { peer: &'a PeerConfig, aim: bool },
    Remove(&'a PublicKey),
}

pub(super) fn set_peers(family: u16, peers: &[PeerChange<'_>]) -> Message {
    set(family).nest(DEVICE_PEERS, |m| peers.iter().fold(m, |m, peer| m.nest(0, |m| change(m, peer))))
}

fn change(m: Message, change: &PeerChange<'_>) -> Message {
    match change {
        PeerChange::Remove(key) => m.bytes(PEER_KEY, &key.0).u32(PEER_FLAGS, REMOVE),
        PeerChange::Set { peer, aim } => {
            let m = m.bytes(PEER_KEY, &peer.key.0).u32(PEER_FLAGS, REPLACE_ALLOWED);
            let m = match peer.endpoint.filter(|_| *aim) {
                Some(endpoint) => m.bytes(PEER_ENDPOINT, &socket_address(endpoint)),
                None => m,
            };
            m.bytes(PEER_KEEPALIVE, &peer.keepalive.to_ne_bytes())
                .nest(PEER_ALLOWED, |m| peer.allowed.iter().fold(m, |m, block| m.nest(0, |m| allowed(m, block))))
        }
    }
}

fn allowed(m: Message, block: &IpNet) -> Message {
    let (family, octets) = match block.addr() {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    m.bytes(ALLOWED_FAMILY, &u16::from(family).to_ne_bytes())
        .bytes(ALLOWED_ADDRESS, &octets)
        .bytes(ALLOWED_PREFIX, &[block.prefix_len()])
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
fn socket_address(endpoint: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match endpoint {
        SocketAddr::V4(endpoint) => {
            bytes.extend(u16::from(AF_INET).to_ne_bytes());
            bytes.extend(endpoint.port().to_be_bytes());
            bytes.extend(endpoint.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(endpoint) => {
            bytes.extend(u16::from(AF_INET6).to_ne_bytes());
            bytes.extend(endpoint.port().to_be_bytes());
            bytes.extend(endpoint.flowinfo().to_be_bytes());
            bytes.extend(endpoint.ip().octets());
            bytes.extend(endpoint.scope_id().to_ne_bytes());
        }
    }
    bytes
}

fn parse_socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let ip: IpAddr = match u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) {
        family if family == u16::from(AF_INET) => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?).into(),
        family if family == u16::from(AF_INET6) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

pub(super) fn get_device(family: u16) -> Message {
    Message::new(family, flag::DUMP, &[GET_DEVICE, VERSION, 0, 0]).string(DEVICE_NAME, INTERFACE)
}

/// Puts the parts of an answer together: a long list of peers, and a long list of one peer's addresses, go on in the next
/// part.
pub(super) fn parse_device(replies: &[Reply], now: SystemTime) -> SeenDevice {
    let mut device = SeenDevice::default();
    for reply in replies {
        for (kind, value) in attributes(reply.body.get(4..).unwrap_or_default()) {
            match kind {
                DEVICE_PUBLIC_KEY => device.key = <[u8; 32]>::try_from(value).ok().map(PublicKey),
                DEVICE_PORT => device.port = value.try_into().map(u16::from_ne_bytes).unwrap_or(0),
                DEVICE_PEERS => {
                    for peer in attributes(value).filter_map(|(_, value)| parse_peer(value, now)) {
                        match device.peers.get_mut(&peer.config.key) {
                            Some(known) => known.config.allowed.extend(peer.config.allowed),
                            None => drop(device.peers.insert(peer.config.key, peer)),
                        }
                    }
                }
                _ => {}
            }
        }
    }
    device
}

fn parse_peer(value: &[u8], now: SystemTime) -> Option<SeenPeer> {
    let find = |wanted| attributes(value).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let number = |wanted| find(wanted).and_then(|value| value.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let config = PeerConfig {
        key: PublicKey(find(PEER_KEY)?.try_into().ok()?),
        endpoint: find(PEER_ENDPOINT).and_then(parse_socket_address),
        keepalive: find(PEER_KEEPALIVE).and_then(|value| value.try_into().ok()).map_or(0, u16::from_ne_bytes),
        allowed: find(PEER_ALLOWED)
            .map(|list| attributes(list).filter_map(|(_, value)| parse_allowed(value)).collect())
            .unwrap_or_default(),
    };
    Some(SeenPeer {
        config,
        handshake: find(PEER_HANDSHAKE).and_then(|value| age(value, now)),
        received: number(PEER_RECEIVED),
        sent: number(PEER_SENT),
    })
}

fn parse_allowed(value: &[u8]) -> Option<IpNet> {
    let find = |wanted| attributes(value).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let octets = find(ALLOWED_ADDRESS)?;
    let address: IpAddr = match octets.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into(),
    };
    IpNet::new(address, *find(ALLOWED_PREFIX)?.first()?).ok()
}

/// How long ago a `struct __kernel_timespec` was; `None` for never.
fn age(value: &[u8], now: SystemTime) -> Option<Duration> {
    let seconds = i64::from_ne_bytes(value.get(..8)?.try_into().ok()?);
    let nanoseconds = i64::from_ne_bytes(value.get(8..16)?.try_into().ok()?);
    let at = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
    (!at.is_zero()).then(|| now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn peer() -> PeerConfig {
        PeerConfig {
            key: PublicKey(KEY),
            endpoint: Some("192.0.2.9:51820".parse().unwrap()),
            keepalive: 25,
            allowed: vec!["10.42.7.0/24".parse().unwrap(), "fd00:7::/64".parse().unwrap()],
        }
    }

    /// An attribute as the header files lay it out: length, type, value, padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [((value.len() + 4) as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A whole message: netlink header (length, type, flags, sequence, port), then the generic header and the rest.
    fn message(kind: u16, flags: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + rest.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(5u32.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(rest);
        bytes
    }

    const NESTED: u16 = 0x8000;

    /// `naru-wg` with its closing zero fills eight bytes.
    const NAME: [u8; 12] = *b"\x0c\x00\x02\x00naru-wg\x00";

    #[test]
    fn the_family_is_asked_for_by_name() {
        let expected = message(0x10, 1, &[&[3, 1, 0, 0][..], b"\x0e\x00\x02\x00wireguard\x00\x00\x00"].concat());
        assert_eq!(find_family().finish(5), expected);
        let reply = Reply { kind: 0x10, body: [&[1, 2, 0, 0][..], &attribute(1, &33u16.to_ne_bytes())].concat() };
        assert_eq!(parse_family(&reply), Some(33));
    }

    #[test]
    fn the_device_gets_its_key_and_port() {
        let key = PrivateKey::generate().unwrap();
        let expected = [&[1, 1, 0, 0][..], &NAME, &[0x24, 0, 3, 0], key.bytes(), &[6, 0, 6, 0, 0x6c, 0xca, 0, 0]];
        // 51820 is 0xca6c, in the machine's own order; this machine's is the small end first.
        assert_eq!(set_device(33, &key, 51820).finish(5), message(33, 1, &expected.concat()));
    }

    #[test]
    fn a_peer_is_set_whole_and_aimed_only_when_asked() {
        let v4 = [attribute(1, &[2, 0]), attribute(2, &[10, 42, 7, 0]), attribute(3, &[24])].concat();
        let v6 = [
            attribute(1, &[10, 0]),
            attribute(2, &"fd00:7::".parse::<Ipv6Addr>().unwrap().octets()),
            attribute(3, &[64]),
        ]
        .concat();
        let blocks = [attribute(NESTED, &v4), attribute(NESTED, &v6)].concat();
        let endpoint = attribute(4, &[2, 0, 0xca, 0x6c, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
        let whole = |endpoint: &[u8]| {
            let peer = [
                &attribute(1, &KEY)[..],
                &attribute(3, &[2, 0, 0, 0]),
                endpoint,
                &attribute(5, &[25, 0]),
                &attribute(NESTED | 9, &blocks),
            ];
            let peers = attribute(NESTED | 8, &attribute(NESTED, &peer.concat()));
            message(33, 1, &[&[1, 1, 0, 0][..], &NAME, &peers].concat())
        };
        let peer = peer();
        assert_eq!(set_peers(33, &[PeerChange::Set { peer: &peer, aim: true }]).finish(5), whole(&endpoint));
        assert_eq!(set_peers(33, &[PeerChange::Set { peer: &peer, aim: false }]).finish(5), whole(&[]));
    }

    #[test]
    fn a_peer_is_removed_by_its_flag() {
        let peer = [attribute(1, &KEY), attribute(3, &[1, 0, 0, 0])].concat();
        let peers = attribute(NESTED | 8, &attribute(NESTED, &peer));
        let expected = message(33, 1, &[&[1, 1, 0, 0][..], &NAME, &peers].concat());
        assert_eq!(set_peers(33, &[PeerChange::Remove(&PublicKey(KEY))]).finish(5), expected);
    }

    #[test]
    fn an_endpoint_of_the_other_family_has_twenty_eight_bytes() {
        let bytes = socket_address("[2001:db8::9]:51820".parse().unwrap());
        assert_eq!(bytes.len(), 28);
        assert_eq!(parse_socket_address(&bytes), Some("[2001:db8::9]:51820".parse().unwrap()));
        assert_eq!(parse_socket_address(&[2, 0, 1]), None);
    }

    #[test]
    fn answers_in_parts_are_put_together() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_100);
        let block = |last: u8| {
            let block = [attribute(1, &[2, 0]), attribute(2, &[10, 42, last, 0]), attribute(3, &[24])].concat();
            attribute(NESTED | 9, &attribute(NESTED, &block))
        };
        let time = [1_000_000i64.to_ne_bytes(), 0i64.to_ne_bytes()].concat();
        let first = [
            attribute(1, &KEY),
            attribute(4, &[2, 0, 0xca, 0x6c, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0]),
            attribute(5, &[25, 0]),
            attribute(6, &time),
            attribute(7, &300u64.to_ne_bytes()),
            attribute(8, &400u64.to_ne_bytes()),
            block(7),
        ]
        .concat();
        let second = [attribute(1, &KEY), block(8)].concat();
        let body =
            |peer: &[u8], more: &[u8]| [&[0, 1, 0, 0], more, &attribute(NESTED | 8, &attribute(NESTED, peer))].concat();
        let head = [attribute(4, &[9; 32]), attribute(6, &51820u16.to_ne_bytes())].concat();
        let replies = [Reply { kind: 33, body: body(&first, &head) }, Reply { kind: 33, body: body(&second, &[]) }];
        let device = parse_device(&replies, now);
        assert_eq!((device.key, device.port), (Some(PublicKey([9; 32])), 51820));
        let peer = &device.peers[&PublicKey(KEY)];
        assert_eq!(peer.config.allowed.len(), 2);
        assert_eq!(peer.config.endpoint, Some("192.0.2.9:51820".parse().unwrap()));
        assert_eq!((peer.handshake, peer.received, peer.sent), (Some(Duration::from_secs(100)), 300, 400));
        let never = [attribute(1, &KEY), attribute(6, &[0; 16])].concat();
        let device = parse_device(&[Reply { kind: 33, body: body(&never, &head) }], now);
        assert_eq!(device.peers[&PublicKey(KEY)].handshake, None);
    }
}
