//! Making connection tracking forget flows that lead to the dead.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::netlink::{Message, NetlinkError, Reply, Socket, attributes, flag};
use crate::plan::Stale;

const NEW: u16 = 0x0100;
const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
/// `nfgenmsg` for IPv4 and for IPv6.
const FAMILIES: [[u8; 4]; 2] = [[2, 0, 0, 0], [10, 0, 0, 0]];
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ZONE: u16 = 18;
const ENOENT: i32 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// `IPS_SEEN_REPLY`: packets went both ways.
const SEEN_REPLY: u32 = 1 << 1;

/// The table of tracked connections could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot delete tracked connections; root with CAP_NET_ADMIN is needed")]
pub struct ConntrackError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl From<NetlinkError> for ConntrackError {
    fn from(error: NetlinkError) -> Self {
        Self(Box::new(error))
    }
}

/// One direction of a tracked flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
}

/// A tracked flow, and the message that deletes exactly it.
struct Flow {
    original: Tuple,
    reply: Tuple,
    answered: bool,
    key: Message,
}

/// Deletes every tracked flow that `stale` names and returns how many there were. Blocks: one dump of the table for each
/// family concerned.
pub fn forget(stale: &BTreeSet<Stale>) -> Result<usize, ConntrackError> {
    let socket = Socket::netfilter()?;
    let six = stale.iter().any(|stale| match stale {
        Stale::Address(address) | Stale::UdpEndpoint(address, _) | Stale::Unanswered(address) => address.is_ipv6(),
        Stale::UdpHostPort(_) => true,
    });
    let mut forgotten = forget_of(&socket, &FAMILIES[0], stale)?;
    if six {
        forgotten += forget_of(&socket, &FAMILIES[1], stale)?;
    }
    Ok(forgotten)
}

fn forget_of(socket: &Socket, family: &[u8; 4], stale: &BTreeSet<Stale>) -> Result<usize, ConntrackError> {
    let flows = socket.dump(Message::new(GET, flag::DUMP, family))?;
    let mut forgotten = 0;
    for flow in &flows {
        let Some(flow) = parse(flow, family) else { continue };
        if !stale.iter().any(|stale| matches(stale, &flow)) {
            continue;
        }
        match socket.request(flow.key) {
            Ok(()) => forgotten += 1,
            // It ended by itself meanwhile.
            Err(error) if error.errno() == Some(ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(forgotten)
}

fn matches(stale: &Stale, flow: &Flow) -> bool {
    let Flow { original, reply, .. } = flow;
    match *stale {
        // The reply's source is whom the flow was translated to.
        Stale::Address(address) => {
            [original.source, original.destination, reply.source, reply.destination].contains(&address)
        }
        Stale::UdpEndpoint(address, port) => {
            reply.protocol == UDP
                && reply.source == address
                && (port == 0 || reply.source_port == port)
                && original.destination != reply.source
        }
        Stale::UdpHostPort(port) => {
            original.protocol == UDP
                && original.destination_port == port
                && original.destination == reply.source
                && original.destination_port == reply.source_port
        }
        Stale::Unanswered(address) => {
            reply.protocol == TCP && reply.source == address && original.destination != address && !flow.answered
        }
    }
}

fn parse(flow: &Reply, family: &[u8; 4]) -> Option<Flow> {
    if flow.kind != NEW {
        return None;
    }
    let (mut original, mut reply, mut zone, mut status) = (None, None, None, 0);
    for (kind, value) in attributes(flow.body.get(4..)?) {
        match kind {
            TUPLE_ORIG => original = Some(value),
            TUPLE_REPLY => reply = Some(value),
            ZONE => zone = Some(value),
            STATUS => status = u32::from_be_bytes(value.try_into().ok()?),
            _ => {}
        }
    }
    const NESTED: u16 = 1 << 15;
    let mut key = Message::new(DELETE, 0, family).bytes(TUPLE_ORIG | NESTED, original?);
    if let Some(zone) = zone {
        key = key.bytes(ZONE, zone);
    }
    let answered = status & SEEN_REPLY != 0;
    Some(Flow { original: parse_tuple(original?)?, reply: parse_tuple(reply?)?, answered, key })
}

fn parse_tuple(bytes: &[u8]) -> Option<Tuple> {
    const IP: u16 = 1;
    const PROTO: u16 = 2;
    let (mut source, mut destination) = (None, None);
    let (mut protocol, mut source_port, mut destination_port) = (0, 0, 0);
    let four = |value: &[u8]| Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?));
    let six = |value: &[u8]| Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?));
    let port = |value: &[u8]| Some(u16::from_be_bytes(value.try_into().ok()?));
    for (kind, value) in attributes(bytes) {
        for (inner, value) in attributes(value) {
            match (kind, inner) {
                (IP, 1) => source = four(value),
                (IP, 2) => destination = four(value),
                (IP, 3) => source = six(value),
                (IP, 4) => destination = six(value),
                (PROTO, 1) => protocol = *value.first()?,
                (PROTO, 2) => source_port = port(value)?,
                (PROTO, 3) => destination_port = port(value)?,
                _ => {}
            }
        }
    }
    Some(Tuple { source: source?, destination: destination?, protocol, source_port, destination_port })
}
