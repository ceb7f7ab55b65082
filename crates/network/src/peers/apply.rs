//! Reading what the kernel has, and taking the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};

use ipnet::IpNet;

use crate::netlink::{NetlinkError, Socket};
use crate::wireguard;

use super::delta::{Seen, SeenDevice, Step, steps};
use super::encrypted::{self, EncryptedPeer, Expected};
use super::message::Devices;
use super::{OverlayConfig, OverlayError, Peer, Plan, Underlay, VXLAN_INTERFACE, message, plan};

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EADDRINUSE: i32 = 98;
const EADDRNOTAVAIL: i32 = 99;
const EOPNOTSUPP: i32 = 95;

/// What came of looking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converged {
    /// What must exist.
    pub plan: Plan,
    /// How many things were changed.
    pub changed: usize,
    /// What could not be done and why, worded for people; those of the plan among them.
    pub problems: Vec<String>,
    /// Whether a step failed that may succeed later.
    pub incomplete: bool,
    /// How the encrypted peers are, by name.
    pub encrypted: BTreeMap<String, EncryptedPeer>,
}

/// Makes the ways to `peers` what they must be, from whatever there is. Blocks: milliseconds for tens of peers.
///
/// Loopback clients of this machine reach endpoints on other nodes through interfaces that must be allowed to carry
/// their packets (`route_localnet`); which ones were changed for it is noted in `dir`, for [`remove_recorded`]. So the
/// rules that keep others from 127.0.0.0/8 must be in force *before* this is called.
pub fn converge(config: &OverlayConfig, peers: &[Peer], dir: &FilePath) -> Result<Converged, OverlayError> {
    converge_from(config, peers, dir, &mut Expected::new())
}

/// As [`converge`], for who looks again and again: `expected` is what the last look left.
pub fn converge_from(
    config: &OverlayConfig,
    peers: &[Peer],
    dir: &FilePath,
    expected: &mut Expected,
) -> Result<Converged, OverlayError> {
    let underlay = Underlay::read(peers.iter().map(|peer| peer.address))?;
    let plan = plan(config, &underlay, peers);
    let socket = Socket::route().map_err(OverlayError::at("open a route socket"))?;
    let mut outcome = Converged { problems: plan.problems.clone(), ..Converged::default() };
    let prepared = encrypted::prepare(&socket, &config.encryption, &plan, expected);
    let possible = match &prepared {
        Ok(rest) => {
            outcome.changed += rest.changed;
            plan.clone()
        }
        Err(error) => {
            outcome.incomplete = true;
            outcome.problems.push(format!(
                "no way to the pods of nodes that are to be encrypted: the interface {} cannot be made: {}",
                wireguard::INTERFACE,
                crate::chain(error)
            ));
            encrypted::without(&plan)
        }
    };
    let (seen, mut devices) =
        look(&socket, &own_blocks(config)).map_err(OverlayError::at("read the ways to other nodes"))?;
    lead(&socket, config, &possible, &seen, &mut devices, &mut outcome);
    if let Ok(rest) = &prepared {
        if let Err(error) = rest.finish(&socket) {
            outcome.incomplete = true;
            outcome.problems.push(format!("encrypted peers that are gone are not forgotten: {}", crate::chain(&error)));
        } else if plan.encrypted.is_none() {
            devices.encrypted = None;
        }
        outcome.encrypted = rest.peers(&plan);
    }
    if let Err(error) = carry_loopback(&possible, devices, dir) {
        outcome.problems.push(format!("clients on 127.0.0.1 may not reach pods of other nodes: {error}"));
    }
    outcome.plan = plan;
    Ok(outcome)
}

/// Takes the steps that lead to the plan.
fn lead(
    socket: &Socket,
    config: &OverlayConfig,
    plan: &Plan,
    seen: &Seen,
    devices: &mut Devices,
    outcome: &mut Converged,
) {
    let second = config.six.is_some();
    for (name, device) in [(VXLAN_INTERFACE, devices.tunnel), (wireguard::INTERFACE, devices.encrypted)] {
        if second && device.is_some() {
            carry_ipv6(name);
        }
    }
    for step in steps(plan, seen) {
        match take(socket, &step, devices) {
            Ok(()) => {
                outcome.changed += 1;
                if second && matches!(step, Step::AddDevice(_)) {
                    carry_ipv6(VXLAN_INTERFACE);
                }
            }
            // Without the device there is nothing to put entries into; that it is missing was said.
            Err(error) if outcome.incomplete && devices.tunnel.is_none() && error.errno() == Some(ENODEV) => {}
            Err(error) => {
                outcome.incomplete = true;
                outcome.problems.push(explain(&step, &error));
                if let Step::ReplaceRoute(route) = &step
                    && matches!(route.path, super::Path::Encrypted { .. })
                {
                    // Rather none than the plain one that was to be replaced.
                    for plain in seen.routes.iter().filter(|plain| plain.to == route.to) {
                        let _ = take(socket, &Step::RemoveRoute(*plain), devices);
                    }
                }
            }
        }
    }
}

/// Removes the device and every route to other nodes: for a node that leaves.
pub fn remove() -> Result<(), OverlayError> {
    let socket = Socket::route().map_err(OverlayError::at("open a route socket"))?;
    let (seen, mut devices) = look(&socket, &[]).map_err(OverlayError::at("read the ways to other nodes"))?;
    let mut failure = Ok(());
    for step in steps(&Plan::default(), &seen) {
        if let Err(error) = take(&socket, &step, &mut devices) {
            failure = Err(OverlayError::at("remove a way to another node")(error));
        }
    }
    failure.and(encrypted::remove(&socket).map_err(OverlayError::at("remove the encrypted interface")))
}

/// As [`remove`], and takes back what was noted in `dir`, the node's key among it.
pub fn remove_recorded(dir: &FilePath) -> Result<(), OverlayError> {
    for interface in recorded(dir) {
        // An interface that is gone took its setting along.
        let _ = fs::write(route_localnet(&interface), "0");
    }
    let _ = fs::remove_file(record(dir));
    encrypted::forget_keys(dir);
    remove()
}

/// What there is of ours, and the devices' numbers. Routes to `own` are those of the pods here, and no concern of ours.
fn look(socket: &Socket, own: &[IpNet]) -> Result<(Seen, Devices), NetlinkError> {
    let mut seen = Seen::default();
    let link = match socket.dump(message::get_device()) {
        Ok(replies) => replies.iter().find_map(message::parse_link),
        Err(error) if error.errno() == Some(ENODEV) => None,
        Err(error) => return Err(error),
    };
    let index = link.as_ref().map(|link| link.index);
    let devices = Devices { tunnel: index, encrypted: encrypted::find(socket)?.map(|link| link.index) };
    seen.device = link.map(|link| SeenDevice { device: link.tunnel, up: link.up });
    for family in message::families() {
        let routes = socket.dump(message::list_routes(*family))?;
        let routes = routes.iter().filter_map(message::parse_route).filter_map(|route| route.ours(devices));
        seen.routes.extend(routes.filter(|route| !own.contains(&route.to)));
        if let Some(index) = index {
            let neighbours = socket.dump(message::list_neighbours(*family))?;
            seen.neighbours.extend(neighbours.iter().filter_map(|reply| message::parse_neighbour(reply, index)));
        }
    }
    if let Some(index) = index {
        let forwarding = socket.dump(message::list_forwarding())?;
        seen.forwarding = forwarding.iter().filter_map(|reply| message::parse_forwarding(reply, index)).collect();
    }
    Ok((seen, devices))
}

/// The blocks of this node, whose routes are those of its own pods.
fn own_blocks(config: &OverlayConfig) -> Vec<IpNet> {
    std::iter::once(config.pod_subnet.into()).chain(config.six.map(|six| six.pod_subnet.into())).collect()
}

/// Lets a device carry IPv6 also where new interfaces have it off.
fn carry_ipv6(device: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
    if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
        let _ = fs::write(path, "0");
    }
}

/// Takes a step. Removing what is gone already succeeds.
fn take(socket: &Socket, step: &Step, devices: &mut Devices) -> Result<(), NetlinkError> {
    let gone = |result: Result<(), NetlinkError>| match result {
        Err(error) if matches!(error.errno(), Some(ENOENT | ESRCH | ENODEV)) => Ok(()),
        other => other,
    };
    let tunnel = devices.tunnel;
    let device = || {
        let missing = || NetlinkError::Socket(io::Error::from_raw_os_error(ENODEV));
        tunnel.ok_or_else(missing)
    };
    match step {
        Step::RemoveDevice => {
            gone(socket.request(message::delete_device()))?;
            devices.tunnel = None;
            Ok(())
        }
        Step::AddDevice(device) => {
            socket.request(message::new_device(device))?;
            let replies = socket.dump(message::get_device())?;
            let link = replies.iter().find_map(message::parse_link);
            devices.tunnel = link.map(|link| link.index);
            // Its addresses are ours to choose, not the kernel's.
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{VXLAN_INTERFACE}/addr_gen_mode"), "1");
            socket.request(message::adjust_device(device))
        }
        Step::AdjustDevice(device) => socket.request(message::adjust_device(device)),
        Step::SetNeighbour(address, mac) => socket.request(message::set_neighbour(device()?, *address, *mac)),
        Step::SetForwarding(mac, host) => socket.request(message::set_forwarding(device()?, *mac, *host)),
        Step::AddRoute(route) => socket.request(message::add_route(route, needed(route, devices)?)),
        Step::ReplaceRoute(route) => socket.request(message::replace_route(route, needed(route, devices)?)),
        // The route of a device that is gone is gone as well.
        Step::RemoveRoute(route) => match needed(route, devices) {
            Ok(device) => gone(socket.request(message::delete_route(route, device))),
            Err(_) => Ok(()),
        },
        Step::RemoveForwarding(mac, host) => {
            gone(device().and_then(|index| socket.request(message::delete_forwarding(index, *mac, *host))))
        }
        Step::RemoveNeighbour(address) => {
            gone(device().and_then(|index| socket.request(message::delete_neighbour(index, *address))))
        }
    }
}

/// The device's number, for routes that lead through it; 0 for others.
fn needed(route: &super::Route, devices: &Devices) -> Result<u32, NetlinkError> {
    let missing = || NetlinkError::Socket(io::Error::from_raw_os_error(ENODEV));
    match route.path {
        super::Path::Tunnel { .. } => devices.tunnel.ok_or_else(missing),
        super::Path::Encrypted { .. } => devices.encrypted.ok_or_else(missing),
        _ => Ok(0),
    }
}

fn explain(step: &Step, error: &NetlinkError) -> String {
    let hint = |errno: Option<i32>| match (step, errno) {
        (Step::AddDevice(device), Some(EEXIST)) => {
            format!("; another tunnel with number {} uses UDP port {}", device.vni, device.port)
        }
        (Step::AddDevice(device) | Step::AdjustDevice(device), Some(EADDRINUSE)) => {
            format!("; another program listens on UDP port {} (`ss -ulpn`)", device.port)
        }
        (Step::AddDevice(device) | Step::AdjustDevice(device), Some(EADDRNOTAVAIL)) => {
            format!("; the address {} is not on this machine", device.local)
        }
        (Step::AddDevice(_), Some(EOPNOTSUPP)) => "; the kernel lacks VXLAN (module vxlan)".to_owned(),
        (Step::AddRoute(_), Some(EEXIST)) => "; somebody else has a route to the same addresses".to_owned(),
        _ => String::new(),
    };
    let what = match step {
        Step::RemoveDevice => format!("remove the interface {VXLAN_INTERFACE}"),
        Step::AddDevice(_) => format!("make the interface {VXLAN_INTERFACE}"),
        Step::AdjustDevice(_) => format!("configure the interface {VXLAN_INTERFACE}"),
        Step::SetNeighbour(address, _) | Step::RemoveNeighbour(address) => {
            format!("change the neighbour {address} on {VXLAN_INTERFACE}")
        }
        Step::SetForwarding(_, host) | Step::RemoveForwarding(_, host) => {
            format!("change the way to host {host} on {VXLAN_INTERFACE}")
        }
        Step::AddRoute(route) | Step::ReplaceRoute(route) => format!("add the route to {}", route.to),
        Step::RemoveRoute(route) => format!("remove the route to {}", route.to),
    };
    format!("cannot {what}: {}{}", crate::chain(error), hint(error.errno()))
}

/// Lets the interfaces towards other nodes carry packets from 127.0.0.1, which are given another address on the way.
fn carry_loopback(plan: &Plan, devices: Devices, dir: &FilePath) -> io::Result<()> {
    let mut noted = recorded(dir);
    let mut new = false;
    for wire in &plan.wires {
        let path = route_localnet(wire);
        if fs::read_to_string(&path)?.trim() == "0" && noted.insert(wire.clone()) {
            new = true;
        }
    }
    if new {
        fs::create_dir_all(dir)?;
        let temporary = record(dir).with_extension("tmp");
        fs::write(&temporary, serde_json::to_vec(&noted)?)?;
        fs::rename(&temporary, record(dir))?;
    }
    let tunnel = devices.tunnel.map(|_| VXLAN_INTERFACE);
    let ours = tunnel.into_iter().chain(devices.encrypted.map(|_| wireguard::INTERFACE));
    for interface in plan.wires.iter().map(String::as_str).chain(ours) {
        let path = route_localnet(interface);
        if fs::read_to_string(&path)?.trim() == "0" {
            fs::write(&path, "1")?;
        }
    }
    Ok(())
}

fn recorded(dir: &FilePath) -> BTreeSet<String> {
    fs::read(record(dir)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn record(dir: &FilePath) -> PathBuf {
    dir.join("loopback.json")
}

/// Interface names may contain dots: the path is written, not made of a parameter's dotted name.
fn route_localnet(interface: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net/ipv4/conf").join(interface).join("route_localnet")
}
