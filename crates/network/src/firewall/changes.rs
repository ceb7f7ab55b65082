//! Telling when somebody else's rules changed.
//!
//! ufw and Docker make their chains anew when they are started or reloaded, and our exceptions in them are gone until
//! somebody looks. The kernel tells everybody of changes to nf_tables; only the older `iptables` must be looked at by the
//! clock.

#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::FirewallError;
use crate::netlink::{NetlinkError, Reply, attributes, replies};

/// NFNLGRP_NFTABLES of `<linux/netfilter/nfnetlink.h>`, the seventh group.
const GROUP: u32 = 1 << 6;
/// NFNL_SUBSYS_NFTABLES of the same, and the messages of `<linux/netfilter/nf_tables.h>` that make or take away tables,
/// chains and rules.
const SUBSYSTEM: u16 = 10;
const KINDS: [u16; 6] = [0, 2, 3, 5, 6, 8];
/// The family header before the attributes; the table's name is the first of those in every such message.
const HEADER: usize = 4;
const TABLE: u16 = 1;

/// A subscription to the kernel's news of tables, chains and rules that are not ours.
#[derive(Debug)]
pub struct Changes {
    fd: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Subscribes, in the calling thread's namespace and on its tokio runtime.
    pub fn open() -> Result<Self, FirewallError> {
        let open = || -> Result<AsyncFd<OwnedFd>, NetlinkError> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let protocol = Some(netlink::NETFILTER);
            let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
            rustix::net::bind(&fd, &SocketAddrNetlink::new(0, GROUP))?;
            // SAFETY: an `OwnedFd` keeps its one descriptor open until it is dropped, and nobody reaches it here to
            // replace it.
            let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
            registered.map_err(|error| NetlinkError::Socket(error.into()))
        };
        Ok(Self { fd: open().map_err(|error| FirewallError::Changes(Box::new(error)))? })
    }

    /// Returns when somebody else's rules changed. Cancel safe: at worst a change is told once more.
    pub async fn changed(&mut self) {
        let mut buffer = vec![0u8; 64 * 1024];
        loop {
            let Ok(mut ready) = self.fd.readable().await else {
                return std::future::pending().await;
            };
            match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((read, _)) if replies(&buffer[..read]).iter().any(is_foreign) => return,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                // News were lost (ENOBUFS): whatever they were, it is time to look.
                Err(_) => return,
            }
        }
    }
}

fn is_foreign(news: &Reply) -> bool {
    let [message, subsystem] = news.kind.to_le_bytes();
    let of =
        |(kind, value): (u16, &[u8])| (kind == TABLE).then(|| value.strip_suffix(b"\0").unwrap_or(value) != b"naru");
    u16::from(subsystem) == SUBSYSTEM
        && KINDS.contains(&u16::from(message))
        && attributes(news.body.get(HEADER..).unwrap_or_default()).find_map(of).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_others_are_foreign() {
        let news = |kind: u16, table: &str| {
            let length = u16::try_from(table.len() + 5).unwrap().to_ne_bytes();
            let mut body = vec![2, 0, 0, 0];
            body.extend([length, TABLE.to_ne_bytes()].concat());
            body.extend(table.as_bytes());
            body.resize(body.len().next_multiple_of(4).max(body.len() + 1), 0);
            is_foreign(&Reply { kind, body })
        };
        assert!(news(0x0a06, "filter") && news(0x0a03, "filter"));
        assert!(!news(0x0a06, "naru"), "what we change ourselves is no news");
        assert!(!news(0x0a0c, "filter"), "elements of sets make no rules");
        assert!(!news(0x0106, "filter"), "another subsystem");
    }
}
