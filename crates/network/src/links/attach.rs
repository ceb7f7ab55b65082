//! One pod's veth: made, addressed, routed, listed, deleted.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::PodUid;
use crate::netlink::{NetlinkError, Socket};
use crate::sysctl;

use super::message::{self, Link, VethEnd};
use super::{
    Attached, HOST_MAC, LinkConfig, LinkError, LinkRecord, POD_GATEWAY, POD_GATEWAY6, POD_INTERFACE, PodAddress,
    PodAttach, interface_name, route_socket,
};

/// Links waiting to be deleted together are gathered in this interface group ("naru").
const TRASH_GROUP: u32 = 0x6e61_7275;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;

pub(super) fn attach(pod: &PodAttach, config: &LinkConfig, mtu: u32) -> Result<Attached, LinkError> {
    let name = interface_name(&pod.uid);
    let netns = File::open(&pod.netns).map_err(|source| LinkError::Namespace {
        pod: pod.uid.clone(),
        path: pod.netns.clone(),
        source,
    })?;
    // A machine without IPv6 has pods without, whatever the cluster gives them.
    let second = pod.address.v6.zip(config.six).filter(|_| sysctl::has_ipv6());
    let (inside, second) = Socket::within(netns.as_fd(), || {
        let second = second.filter(|_| prepare_ipv6());
        Ok((Socket::route()?, second))
    })
    .map_err(LinkError::kernel(format!("enter the network namespace of pod {}", pod.uid)))?;
    let address = PodAddress { v4: pod.address.v4, v6: second.map(|(address, _)| address) };
    let host = route_socket()?;
    let mac = pod_mac(pod.address.v4);
    let step = |what: &str| format!("{what} of pod {} ({name})", pod.uid);

    let peer = make_pair(&host, &inside, &name, mac, netns.as_raw_fd(), mtu)
        .map_err(LinkError::kernel(step("make the veth")))?;
    configure_inside(&inside, peer, address).map_err(LinkError::kernel(step("configure the inside")))?;

    let outer = find(&host, &name).map_err(LinkError::kernel(step("find the veth")))?;
    let mut messages = Vec::with_capacity(7);
    if sysctl::has_ipv6() {
        messages.push(message::without_ipv6_autoconf(outer));
    }
    messages.push(message::set_alias(outer, pod.uid.as_str()));
    messages.push(message::set_up(outer));
    messages.push(message::permanent_neighbour(outer, pod.address.v4.into(), mac));
    let to = Ipv4Net::from(pod.address.v4).into();
    messages.push(message::route_to_link(to, outer, Some(config.gateway.into())));
    if let Some((address, six)) = second {
        sysctl::enable_ipv6(&name)?;
        messages.push(message::permanent_neighbour(outer, address.into(), mac));
        messages.push(message::route_to_link(Ipv6Net::from(address).into(), outer, Some(six.gateway.into())));
    }
    host.request_all(messages).map_err(LinkError::kernel(step("route to the veth")))?;
    // Lets connections to 127.0.0.1 be translated to this pod. Packets *from* the pod towards 127.0.0.0/8 are dropped
    // by the rules before routing sees them.
    sysctl::write(&format!("net.ipv4.conf.{name}.route_localnet"), "1")?;
    Ok(Attached { interface: name, address })
}

/// Prepares the calling thread's namespace for a link with IPv6 that nobody may announce anything on; `false` where the
/// pod's own parameters turn IPv6 off.
fn prepare_ipv6() -> bool {
    let read = |name: &str| sysctl::read(&format!("net.ipv6.conf.{name}"));
    if read("all.disable_ipv6").as_deref() == Some("1") {
        return false;
    }
    for interface in ["default", POD_INTERFACE] {
        for (parameter, value) in [("disable_ipv6", "0"), ("accept_ra", "0")] {
            let name = format!("{interface}.{parameter}");
            // The interface is there when this is done again, and else has what is the default as it is made.
            if read(&name).is_some_and(|now| now != value)
                && sysctl::write(&format!("net.ipv6.conf.{name}"), value).is_err()
            {
                return false;
            }
        }
    }
    true
}

/// Makes the veth and returns the index of its inner end. One that is already there is kept when its inner end is in
/// this namespace, and replaced when it belongs to a namespace that is gone.
fn make_pair(
    host: &Socket,
    inside: &Socket,
    name: &str,
    mac: [u8; 6],
    netns: i32,
    mtu: u32,
) -> Result<u32, NetlinkError> {
    let make = || {
        let outer = VethEnd { name, mac: HOST_MAC };
        host.request(message::new_veth(outer, VethEnd { name: POD_INTERFACE, mac }, netns, mtu))
    };
    match make() {
        Err(error) if error.errno() == Some(EEXIST) => {
            let (outer, inner) = (find(host, name), find(inside, POD_INTERFACE));
            match (outer, inner) {
                (Ok(_), Ok(inner)) => return Ok(inner),
                (Ok(_), Err(_)) => host.request(message::delete_link(name))?,
                _ => return Err(error),
            }
            make()?;
        }
        other => other?,
    }
    find(inside, POD_INTERFACE)
}

fn configure_inside(inside: &Socket, index: u32, address: PodAddress) -> Result<(), NetlinkError> {
    const LOOPBACK: u32 = 1;
    let mut messages = Vec::with_capacity(10);
    if sysctl::has_ipv6() {
        messages.push(message::without_ipv6_autoconf(index));
    }
    messages.push(message::set_up(LOOPBACK));
    messages.push(message::set_up(index));
    messages.push(message::add_address(index, address.v4.into()));
    messages.push(message::permanent_neighbour(index, POD_GATEWAY.into(), HOST_MAC));
    messages.push(message::route_to_link(Ipv4Net::from(POD_GATEWAY).into(), index, None));
    messages.push(message::default_route(POD_GATEWAY.into(), index));
    if let Some(address) = address.v6 {
        let gateway = IpAddr::V6(POD_GATEWAY6);
        messages.push(message::add_address(index, address.into()));
        messages.push(message::permanent_neighbour(index, gateway, HOST_MAC));
        messages.push(message::default_route(gateway, index));
    }
    inside.request_all(messages)
}

/// Deletes links by name, all within one grace period. Those that are gone already are fine.
pub(super) fn delete(names: &[String]) -> Result<(), LinkError> {
    if names.is_empty() {
        return Ok(());
    }
    let socket = route_socket()?;
    let mut found = 0;
    for name in names {
        match socket.request(message::set_group(name, TRASH_GROUP)) {
            Ok(()) => found += 1,
            Err(error) if error.errno() == Some(ENODEV) => {}
            Err(error) => return Err(LinkError::kernel(format!("mark link {name} for removal"))(error)),
        }
    }
    if found == 0 {
        return Ok(());
    }
    match socket.request(message::delete_group(TRASH_GROUP)) {
        Err(error) if error.errno() != Some(ENODEV) => Err(LinkError::kernel("remove the links of gone pods")(error)),
        _ => Ok(()),
    }
}

pub(super) fn list() -> Result<Vec<LinkRecord>, LinkError> {
    let replies = route_socket()?.dump(message::list_links()).map_err(LinkError::kernel("list the links"))?;
    Ok(replies
        .iter()
        .filter_map(message::parse_link)
        .filter(|link| is_pod_link(&link.name))
        .map(|Link { name, alias, .. }| LinkRecord { interface: name, pod: alias.map(PodUid::from) })
        .collect())
}

pub(super) fn physical() -> Result<Vec<String>, LinkError> {
    let replies = route_socket()?.dump(message::list_links()).map_err(LinkError::kernel("list the links"))?;
    let links = replies.iter().filter_map(message::parse_link);
    Ok(links.filter(|link| link.physical).map(|link| link.name).collect())
}

/// `naru` and ten hexadecimal digits, and nothing else.
pub(crate) fn is_pod_link(name: &str) -> bool {
    name.strip_prefix("naru").is_some_and(|rest| rest.len() == 10 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

pub(super) fn find(socket: &Socket, name: &str) -> Result<u32, NetlinkError> {
    let replies = socket.dump(message::get_link(name))?;
    replies
        .iter()
        .find_map(message::parse_link)
        .map(|link| link.index)
        .ok_or_else(|| NetlinkError::Socket(std::io::Error::from_raw_os_error(ENODEV)))
}

/// A pod's hardware address follows from its address, so both ends know it without asking.
fn pod_mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_are_told_from_other_interfaces() {
        let name = interface_name(&PodUid::from("0f5b4a5e-6f0b-4d5c-9a39-9e1f4b0b2f11"));
        assert!(name.len() <= 15 && is_pod_link(&name), "{name}");
        for other in ["naru-dns", "naru0", "naru12345", "naruxxxxxxxxxx", "eth0"] {
            assert!(!is_pod_link(other), "{other}");
        }
    }
}
