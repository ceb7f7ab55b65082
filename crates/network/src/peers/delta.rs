//! From what the kernel has to what must exist, purely.
//!
//! Steps come in an order in which no packet is sent where nobody is: ends of the tunnel before the routes into it, new
//! routes before old ones go, entries after the routes that used them. A step that fails leaves a state like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::plan::{Device, Path, Plan, Route};
use ipnet::IpNet;

/// What the kernel has of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The device of our name.
    pub device: Option<SeenDevice>,
    /// Routes of our protocol that lead to other nodes, or nowhere. A destination may have several.
    pub routes: Vec<Route>,
    /// The device's permanent neighbours.
    pub neighbours: BTreeMap<IpAddr, [u8; 6]>,
    /// The device's forwarding entries.
    pub forwarding: BTreeSet<([u8; 6], Ipv4Addr)>,
}

/// A device as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeenDevice {
    /// What it is, when it is a tunnel as we make them.
    pub device: Option<Device>,
    /// Whether it is up.
    pub up: bool,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    RemoveDevice,
    AddDevice(Device),
    /// Sets what can be changed while it works: hardware address, packet size, up.
    AdjustDevice(Device),
    SetNeighbour(IpAddr, [u8; 6]),
    SetForwarding([u8; 6], Ipv4Addr),
    AddRoute(Route),
    ReplaceRoute(Route),
    RemoveRoute(Route),
    RemoveForwarding([u8; 6], Ipv4Addr),
    RemoveNeighbour(IpAddr),
}

/// What can only be changed by making the device anew.
fn identity(device: &Device) -> (u32, u16, Ipv4Addr) {
    (device.vni, device.port, device.local)
}

pub(super) fn steps(plan: &Plan, seen: &Seen) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut seen = seen.clone();
    let stays = match (&seen.device, &plan.device) {
        (Some(has), Some(wanted)) => has.device.is_some_and(|device| identity(&device) == identity(wanted)),
        _ => false,
    };
    match (&seen.device, &plan.device) {
        (Some(has), Some(wanted)) if stays => {
            if has.device != Some(*wanted) || !has.up {
                steps.push(Step::AdjustDevice(*wanted));
            }
        }
        (has, Some(wanted)) => {
            steps.extend(has.map(|_| Step::RemoveDevice));
            steps.push(Step::AddDevice(*wanted));
        }
        (_, None) => {}
    }
    if !stays {
        // All of these go with the device.
        if plan.device.is_some() {
            seen.routes.retain(|route| !matches!(route.path, Path::Tunnel { .. }));
        }
        seen.neighbours.clear();
        seen.forwarding.clear();
    }
    let wanted = plan.neighbours.iter().filter(|(address, mac)| seen.neighbours.get(address) != Some(mac));
    steps.extend(wanted.map(|(address, mac)| Step::SetNeighbour(*address, *mac)));
    let wanted = plan.forwarding.iter().filter(|(mac, host)| !seen.forwarding.contains(&(**mac, **host)));
    steps.extend(wanted.map(|(mac, host)| Step::SetForwarding(*mac, *host)));
    routes(plan, &seen.routes, &mut steps);
    // Setting an entry replaced what its hardware address had before: such addresses have one host each.
    let stale = seen.forwarding.iter().filter(|(mac, _)| !plan.forwarding.contains_key(mac));
    steps.extend(stale.map(|(mac, host)| Step::RemoveForwarding(*mac, *host)));
    let stale = seen.neighbours.keys().filter(|address| !plan.neighbours.contains_key(address));
    steps.extend(stale.map(|address| Step::RemoveNeighbour(*address)));
    if plan.device.is_none() && seen.device.is_some() {
        steps.push(Step::RemoveDevice);
    }
    steps
}

fn routes(plan: &Plan, seen: &[Route], steps: &mut Vec<Step>) {
    let mut by_destination: BTreeMap<IpNet, Vec<&Route>> = BTreeMap::new();
    for route in seen {
        by_destination.entry(route.to).or_default().push(route);
    }
    for (to, wanted) in &plan.routes {
        let has = by_destination.get(to).map(Vec::as_slice).unwrap_or_default();
        if has.contains(&wanted) {
            continue;
        }
        // A route that leads nowhere has another priority: it stands beside the others and replaces none of them.
        let replaces = has.iter().any(|route| (route.path == Path::Nowhere) == (wanted.path == Path::Nowhere));
        steps.push(if replaces { Step::ReplaceRoute(*wanted) } else { Step::AddRoute(*wanted) });
    }
    for route in seen {
        let wanted = plan.routes.get(&route.to);
        let replaced = wanted.is_some_and(|wanted| (wanted.path == Path::Nowhere) == (route.path == Path::Nowhere));
        if !replaced {
            steps.push(Step::RemoveRoute(*route));
        }
    }
}
