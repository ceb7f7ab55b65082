//! Who holds a port of this host.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::Protocol;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// The address it listens on.
    pub address: IpAddr,
    /// The process, when it could be found (root sees all of them).
    pub pid: Option<u32>,
    /// Its name.
    pub name: Option<String>,
}

/// Who listens on `port` in a way that publishing it on `host_ip` (every address when `None`) would take away from.
///
/// IPv6 listeners count when they listen on every address, because most of them take IPv4 too; relays of the node's
/// helper (`own_pid`) do not.
pub fn port_holders(protocol: Protocol, host_ip: Option<IpAddr>, port: u16, own_pid: Option<u32>) -> Vec<PortHolder> {
    let (v4, v6) = match protocol {
        Protocol::Tcp => ("/proc/net/tcp", "/proc/net/tcp6"),
        Protocol::Udp => ("/proc/net/udp", "/proc/net/udp6"),
        Protocol::Sctp => return Vec::new(),
    };
    let mut sockets = Vec::new();
    for table in [v4, v6] {
        sockets.extend(parse_sockets(&fs::read_to_string(table).unwrap_or_default(), protocol));
    }
    sockets.retain(|socket| socket.port == port && overlaps(socket.address, host_ip));
    let inodes: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let owners = if inodes.is_empty() { Vec::new() } else { owners(&inodes) };
    let mut holders: Vec<PortHolder> = sockets
        .into_iter()
        .map(|socket| {
            let pid = owners.iter().find(|(inode, _)| *inode == socket.inode).map(|(_, pid)| *pid);
            let name = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
            PortHolder { address: socket.address, pid, name: name.map(|name| name.trim().to_owned()) }
        })
        .filter(|holder| holder.pid.is_none() || holder.pid != own_pid)
        .collect();
    holders.dedup();
    holders
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

fn overlaps(held: IpAddr, wanted: Option<IpAddr>) -> bool {
    match (held, wanted) {
        (_, None) => true,
        (held, Some(wanted)) => held == wanted || held.is_unspecified() || wanted.is_unspecified(),
    }
}

/// Reads `/proc/net/{tcp,udp}[6]`: listening sockets of TCP, unconnected ones of UDP.
fn parse_sockets(table: &str, protocol: Protocol) -> Vec<Socket> {
    const LISTEN: &str = "0A";
    const UNCONNECTED: &str = "07";
    let state = if protocol == Protocol::Tcp { LISTEN } else { UNCONNECTED };
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if *fields.get(3)? != state {
                return None;
            }
            let (address, port) = fields.get(1)?.split_once(':')?;
            Some(Socket {
                address: parse_address(address)?,
                port: u16::from_str_radix(port, 16).ok()?,
                inode: fields.get(9)?.parse().ok()?,
            })
        })
        .collect()
}

/// Addresses are printed as 32-bit words in the machine's own byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = (0..text.len() / 8)
        .map(|n| u32::from_str_radix(text.get(n * 8..n * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [v4] => Some(Ipv4Addr::from(*v4).into()),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Which process has each socket open.
fn owners(inodes: &HashSet<u64>) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else { return found };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                found.push((inode, pid));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_process_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let holders = port_holders(Protocol::Tcp, None, port, None);
        assert_eq!(holders[0].pid, Some(std::process::id()));
        assert!(holders[0].name.as_ref().is_some_and(|name| !name.is_empty()));
        let at = |ip: &str| port_holders(Protocol::Tcp, Some(ip.parse().unwrap()), port, None).len();
        assert_eq!((at("127.0.0.1"), at("127.0.0.2"), at("0.0.0.0")), (1, 0, 1));
        assert!(port_holders(Protocol::Tcp, None, port, Some(std::process::id())).is_empty());
        assert!(port_holders(Protocol::Udp, None, port, None).is_empty());
        drop(listener);
        assert!(port_holders(Protocol::Tcp, None, port, None).is_empty());
    }

    #[test]
    fn addresses_are_read_in_the_machines_order() {
        let written = |ip: Ipv4Addr| format!("{:08X}", u32::from_ne_bytes(ip.octets()));
        assert_eq!(parse_address(&written(Ipv4Addr::new(192, 0, 2, 7))), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(parse_address(&"0".repeat(32)), Some("::".parse().unwrap()));
        assert_eq!(parse_address("nonsense"), None);
    }
}
