//! What route messages of links and of tunnels have in common. Numbers are those of `<linux/if_link.h>` and
//! `<linux/rtnetlink.h>`.

use std::net::IpAddr;

pub const NEWLINK: u16 = 16;
pub const DELLINK: u16 = 17;
pub const GETLINK: u16 = 18;
pub const NEWADDR: u16 = 20;
pub const NEWROUTE: u16 = 24;
pub const DELROUTE: u16 = 25;
pub const GETROUTE: u16 = 26;
pub const NEWNEIGH: u16 = 28;

pub const AF_INET: u8 = 2;
pub const AF_INET6: u8 = 10;

pub const IFLA_ADDRESS: u16 = 1;
pub const IFLA_IFNAME: u16 = 3;
pub const IFLA_MTU: u16 = 4;
pub const IFLA_LINKINFO: u16 = 18;
pub const IFF_UP: u32 = 1;

pub const RTA_DST: u16 = 1;
pub const RTA_OIF: u16 = 4;
pub const RTA_GATEWAY: u16 = 5;
pub const RTA_PRIORITY: u16 = 6;
pub const RTA_PREFSRC: u16 = 7;
pub const TABLE_MAIN: u8 = 254;
pub const SCOPE_UNIVERSE: u8 = 0;
pub const ONLINK: u32 = 4;
/// Of routes that lead nowhere: any other route is preferred.
pub const NOWHERE_PRIORITY: u32 = 4_278_198_272;

/// The head of a message about a link; an index of 0 leaves the choice to attributes or to the kernel.
pub fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0u8; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// The family of an address.
pub fn family(address: &IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// An address as attributes have it.
pub fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
