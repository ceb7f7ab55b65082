//! What the host itself needs before pods can be attached: forwarding, one interface for the node's own addresses, and
//! two routes.

use std::fs;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::netlink::Socket;
use crate::sysctl;

use super::{LinkConfig, LinkError, NODE_INTERFACE, message, route_socket};

/// The other end of [`NODE_INTERFACE`].
const NODE_PEER: &str = "naru-dns-end";
/// Whether packets of IPv6 pass between interfaces.
pub(crate) const FORWARDING6: &str = "net.ipv6.conf.all.forwarding";
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const ESRCH: i32 = 3;

/// The host's part of the pod network.
#[derive(Debug, Clone, Copy)]
pub struct HostLinks;

impl HostLinks {
    /// Makes the host ready; idempotent. Returns the uplink's largest packet size.
    ///
    /// - `net.ipv4.ip_forward` is set to 1 (machines without containers have it off). Whoever cares about the value
    ///   from before reads it with [`HostLinks::forwarding`] first.
    /// - The interface [`NODE_INTERFACE`] carries the DNS service's address and the node's address towards pods. It is a
    ///   veth whose other end leads nowhere: pods need veths anyway, while dummy interfaces are a module that small
    ///   kernels lack.
    /// - The service addresses are routed to it, so that the host's own connections have a route *before* they are
    ///   translated, and never leave the machine when they are not.
    /// - With a second family, `net.ipv6.conf.all.forwarding` is 1 as well. The kernel then no longer listens to routers'
    ///   announcements, except where `accept_ra` is 2: interfaces that listened go on listening.
    /// - Pod addresses that nobody has are unreachable instead of following the default route out of the machine.
    pub fn ensure(config: &LinkConfig) -> Result<u32, LinkError> {
        if !Self::forwarding() {
            sysctl::write("net.ipv4.ip_forward", "1")?;
        }
        let second = config.six.filter(|_| sysctl::has_ipv6());
        if second.is_some() {
            forward_ipv6()?;
        }
        let socket = route_socket()?;
        match socket.request(message::new_pair(NODE_INTERFACE, NODE_PEER)) {
            Err(error) if error.errno() != Some(EEXIST) => {
                return Err(LinkError::kernel(format!("make the interface {NODE_INTERFACE} (module veth)"))(error));
            }
            _ => {}
        }
        let step = || format!("configure the interface {NODE_INTERFACE}");
        let index = super::attach::find(&socket, NODE_INTERFACE).map_err(LinkError::kernel(step()))?;
        let peer = super::attach::find(&socket, NODE_PEER).map_err(LinkError::kernel(step()))?;
        let mut messages = Vec::with_capacity(12);
        if sysctl::has_ipv6() {
            messages.push(message::without_ipv6_autoconf(index));
            messages.push(message::without_ipv6_autoconf(peer));
        }
        messages.push(message::set_up(peer));
        messages.push(message::add_address(index, config.gateway.into()));
        messages.push(message::add_address(index, config.dns.into()));
        messages.push(message::set_up(index));
        messages.push(message::route_to_link(config.service_cidr.into(), index, Some(config.gateway.into())));
        messages.push(message::unreachable(config.pod_subnet.into()));
        if let Some(six) = second {
            sysctl::enable_ipv6(NODE_INTERFACE)?;
            messages.push(message::add_address(index, six.gateway.into()));
            messages.push(message::route_to_link(six.service_cidr.into(), index, Some(six.gateway.into())));
            messages.push(message::unreachable(six.pod_subnet.into()));
        }
        socket.request_all(messages).map_err(LinkError::kernel(step()))?;
        Ok(uplink_mtu(&socket))
    }

    /// Whether this host forwards packets between its interfaces.
    pub fn forwarding() -> bool {
        fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim() == "1")
    }

    /// Removes the node's interface (its routes go with it) and the catch-all route. Forwarding is left as it is: the
    /// caller knows whether it was on before.
    pub fn remove(pod_subnet: Ipv4Net, second: Option<Ipv6Net>) -> Result<(), LinkError> {
        let socket = route_socket()?;
        let subnets = std::iter::once(pod_subnet.into()).chain(second.map(Into::into));
        let routes = subnets.map(|subnet| (message::delete_unreachable(subnet), "remove the pod subnet's route"));
        let interface = (message::delete_link(NODE_INTERFACE), "remove the node's interface");
        for (message, step) in std::iter::once(interface).chain(routes) {
            match socket.request(message) {
                Err(error) if !matches!(error.errno(), Some(ENODEV | ESRCH)) => {
                    return Err(LinkError::kernel(step)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Lets packets of IPv6 pass, and lets interfaces that live by routers' announcements go on so.
fn forward_ipv6() -> Result<(), LinkError> {
    if sysctl::read(FORWARDING6).as_deref() == Some("1") {
        return Ok(());
    }
    for interface in sysctl::listening_to_routers() {
        sysctl::write_at(&["ipv6", "conf", &interface, "accept_ra"], "2")?;
    }
    sysctl::write(FORWARDING6, "1")
}

/// The packet size of the interface that holds the default route; Ethernet's when there is none.
fn uplink_mtu(socket: &Socket) -> u32 {
    const ETHERNET: u32 = 1500;
    let find = || {
        let routes = socket.dump(message::list_routes()).ok()?;
        let index = routes.iter().find_map(message::parse_default_route)?;
        let links = socket.dump(message::get_link_at(index)).ok()?;
        links.iter().find_map(message::parse_link).map(|link| link.mtu)
    };
    find().filter(|mtu| *mtu >= 576).unwrap_or(ETHERNET)
}
