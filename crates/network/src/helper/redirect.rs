//! 127.0.0.11 inside a pod: sockets in its namespace, and the rules that lead port 53 to them.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use socket2::{Domain, Type};

use crate::netlink::{Message, NetlinkError, Socket, flag};

use super::PodResolver;

/// Where Docker's resolver is, and so where programs look for one.
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const TABLE: &str = "naru";
const CHAIN: &str = "resolver";

/// Why a pod's resolver could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedirectError {
    #[error("cannot open the network namespace {0}")]
    Namespace(String, #[source] std::io::Error),
    #[error("{0} is another network namespace by now")]
    Replaced(String),
    #[error("cannot answer on 127.0.0.11 inside the pod")]
    Kernel(#[source] NetlinkError),
}

/// Opens the sockets in the pod's namespace and puts the rules there. Doing it again replaces both.
pub(super) fn open(pod: &PodResolver) -> Result<(UdpSocket, TcpListener), RedirectError> {
    let path = pod.netns.display().to_string();
    let netns = File::open(&pod.netns).map_err(|source| RedirectError::Namespace(path.clone(), source))?;
    let inode = netns.metadata().map_err(|source| RedirectError::Namespace(path.clone(), source))?.ino();
    if pod.inode != 0 && pod.inode != inode {
        return Err(RedirectError::Replaced(path));
    }
    Socket::within(netns.as_fd(), || {
        let udp: UdpSocket = bind(Type::DGRAM).map_err(NetlinkError::Socket)?.into();
        let tcp: TcpListener = bind(Type::STREAM).map_err(NetlinkError::Socket)?.into();
        let port =
            |address: std::io::Result<std::net::SocketAddr>| address.map(|a| a.port()).map_err(NetlinkError::Socket);
        let (to_udp, to_tcp) = (port(udp.local_addr())?, port(tcp.local_addr())?);
        match Socket::netfilter()?.batch(rules(to_udp, to_tcp, false)) {
            // A table of an earlier helper. Deleting costs a grace period of the kernel, so it is not done for nothing.
            Err(error) if error.errno() == Some(EEXIST) => Socket::netfilter()?.batch(rules(to_udp, to_tcp, true))?,
            other => other?,
        }
        Ok((udp, tcp))
    })
    .map_err(RedirectError::Kernel)
}

/// A socket on the resolver's address, which need not be there yet: the loopback may come up at the same time.
fn bind(kind: Type) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::IPV4, kind, None)?;
    socket.set_freebind_v4(true)?;
    socket.bind(&SocketAddrV4::new(RESOLVER, 0).into())?;
    if kind == Type::STREAM {
        socket.listen(128)?;
    }
    Ok(socket)
}

/// The number that tells the namespace at `path` from others.
pub(super) fn inode(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map(|metadata| metadata.ino()).unwrap_or(0)
}

// nf_tables by hand: two rules that never change need no program inside the pod's namespace. Numbers are those of
// <linux/netfilter/nf_tables.h>.
const NEW_TABLE: u16 = 0x0a00;
const DELETE_TABLE: u16 = 0x0a02;
const NEW_CHAIN: u16 = 0x0a03;
const NEW_RULE: u16 = 0x0a06;
/// `nfgenmsg` for IPv4.
const HEADER: [u8; 4] = [2, 0, 0, 0];
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
const EEXIST: i32 = 17;

/// The table from nothing, or in place of the one there is.
fn rules(udp: u16, tcp: u16, replace: bool) -> Vec<Message> {
    const LOCAL_OUT: u32 = 3;
    const PRIORITY: i32 = -110;
    let table = |kind, flags| Message::new(kind, flags, &HEADER).string(1, TABLE);
    let chain = Message::new(NEW_CHAIN, flag::CREATE, &HEADER)
        .string(1, TABLE)
        .string(3, CHAIN)
        .nest(4, |m| m.be32(1, LOCAL_OUT).be32(2, PRIORITY as u32))
        .string(7, "nat");
    let mut messages = Vec::with_capacity(5);
    if replace {
        messages.push(table(DELETE_TABLE, 0));
    }
    messages.extend([table(NEW_TABLE, flag::CREATE | flag::EXCL), chain, rule(17, udp), rule(6, tcp)]);
    messages
}

/// `ip daddr 127.0.0.11 meta l4proto <protocol> th dport 53 dnat to 127.0.0.11:<port>`
fn rule(protocol: u8, port: u16) -> Message {
    const NETWORK: u32 = 1;
    const TRANSPORT: u32 = 2;
    const META_L4PROTO: u32 = 16;
    const DNAT: u32 = 1;
    const IPV4: u32 = 2;
    let payload = |base: u32, offset: u32, length: u32| {
        move |m: Message| m.be32(1, REGISTER_1).be32(2, base).be32(3, offset).be32(4, length)
    };
    let equals = |value: Vec<u8>| move |m: Message| m.be32(1, REGISTER_1).be32(2, 0).nest(3, |m| m.bytes(1, &value));
    let load = |register: u32, value: Vec<u8>| move |m: Message| m.be32(1, register).nest(2, |m| m.bytes(1, &value));
    Message::new(NEW_RULE, flag::CREATE | flag::APPEND, &HEADER).string(1, TABLE).string(2, CHAIN).nest(4, |m| {
        let m = expression(m, "payload", payload(NETWORK, 16, 4));
        let m = expression(m, "cmp", equals(RESOLVER.octets().to_vec()));
        let m = expression(m, "meta", |m| m.be32(1, REGISTER_1).be32(2, META_L4PROTO));
        let m = expression(m, "cmp", equals(vec![protocol]));
        let m = expression(m, "payload", payload(TRANSPORT, 2, 2));
        let m = expression(m, "cmp", equals(53u16.to_be_bytes().to_vec()));
        let m = expression(m, "immediate", load(REGISTER_1, RESOLVER.octets().to_vec()));
        let m = expression(m, "immediate", load(REGISTER_2, port.to_be_bytes().to_vec()));
        expression(m, "nat", |m| m.be32(1, DNAT).be32(2, IPV4).be32(3, REGISTER_1).be32(5, REGISTER_2))
    })
}

fn expression(message: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    message.nest(1, |m| m.string(1, name).nest(2, data))
}
