//! Telling when this machine's networks changed in a way that may matter here.

#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::links::{ROUTE_PROTOCOL, is_pod_link};
use crate::netlink::route::{DELLINK, DELROUTE, NEWADDR, NEWLINK, NEWNEIGH, NEWROUTE};
use crate::netlink::{NetlinkError, Reply, Socket, replies};

use super::message::{self, DELADDR, DELNEIGH};
use super::{OverlayError, VXLAN_INTERFACE};

/// RTMGRP_LINK, RTMGRP_NEIGH, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE of `<linux/rtnetlink.h>`.
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x400;

/// A subscription to the kernel's news of links, addresses, routes and the tunnel's tables.
#[derive(Debug)]
pub struct Events {
    fd: AsyncFd<OwnedFd>,
    tunnel: Option<u32>,
}

impl Events {
    /// Subscribes, in the calling thread's namespace and on its tokio runtime.
    pub fn open() -> Result<Self, OverlayError> {
        let open = || -> Result<AsyncFd<OwnedFd>, NetlinkError> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            rustix::net::bind(&fd, &SocketAddrNetlink::new(0, GROUPS))?;
            // SAFETY: an `OwnedFd` keeps its one descriptor open until it is dropped, and nobody reaches it here to
            // replace it.
            let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
            registered.map_err(|error| NetlinkError::Socket(error.into()))
        };
        let fd = open().map_err(OverlayError::at("subscribe to changes of this machine's networks"))?;
        let device = || Socket::route()?.dump(message::get_device());
        let tunnel =
            device().ok().and_then(|replies| replies.iter().find_map(message::parse_link)).map(|link| link.index);
        Ok(Self { fd, tunnel })
    }

    /// Returns when something changed that may matter. Cancel safe: at worst a change is told once more.
    pub async fn changed(&mut self) {
        let mut buffer = vec![0u8; 64 * 1024];
        loop {
            let Ok(mut ready) = self.fd.readable().await else {
                return std::future::pending().await;
            };
            match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((read, _)) => {
                    let news = replies(&buffer[..read]);
                    // No short cut: each message may teach the device's number.
                    let matters = news.iter().filter(|reply| self.matters(reply)).count();
                    if matters > 0 {
                        return;
                    }
                }
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                // News were lost (ENOBUFS): whatever they were, it is time to look.
                Err(_) => return,
            }
        }
    }

    fn matters(&mut self, reply: &Reply) -> bool {
        match reply.kind {
            NEWLINK | DELLINK => {
                let Some(link) = message::parse_link(reply) else { return false };
                if link.name == VXLAN_INTERFACE {
                    self.tunnel = (reply.kind == NEWLINK).then_some(link.index);
                }
                !is_pod_link(&link.name)
            }
            NEWADDR | DELADDR => true,
            // Our own routes come by our own hand; they go by anybody's.
            NEWROUTE => message::parse_route(reply)
                .is_some_and(|route| route.in_main_table() && route.protocol != ROUTE_PROTOCOL && route.is_ipv4()),
            // Foreign routes of the second family lead to nobody here.
            DELROUTE => message::parse_route(reply)
                .is_some_and(|route| route.in_main_table() && (route.protocol == ROUTE_PROTOCOL || route.is_ipv4())),
            DELNEIGH => message::neighbour_interface(reply).is_some_and(|index| Some(index) == self.tunnel),
            NEWNEIGH => false,
            _ => false,
        }
    }
}
