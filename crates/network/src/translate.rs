//! From API objects to the data plane and the names, purely.
//!
//! Principle: each object is reduced *once*, when it arrives, to the few facts the network needs ([`facts`]); putting
//! all facts together ([`translate`]) is then a function of plain values that knows selectors, defaults and
//! annotations. The alternative refused is reading typed objects at every change: a typed Pod costs several times its
//! JSON, and the rules about defaults would be spread over everybody who reads one.

pub mod facts;
mod nodes;
mod parse;
mod policies;
mod services;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::dns::Zone;
use crate::helper::Relay;
use crate::model::{Desired, Ipv6Config, Network, Pod, Protocol, Published};

use facts::{HostPort, NamespaceFacts, NetworkFacts, NodeFacts, PodFacts, PolicyFacts, ServiceFacts, SliceFacts};

/// Everything known of the cluster, in any order.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Services.
    pub services: Vec<Arc<ServiceFacts>>,
    /// Their endpoints.
    pub slices: Vec<Arc<SliceFacts>>,
    /// Pods.
    pub pods: Vec<Arc<PodFacts>>,
    /// Namespaces.
    pub namespaces: Vec<Arc<NamespaceFacts>>,
    /// Network policies.
    pub policies: Vec<Arc<PolicyFacts>>,
    /// Networks.
    pub networks: Vec<Arc<NetworkFacts>>,
    /// Nodes.
    pub nodes: Vec<Arc<NodeFacts>>,
}

/// The node for which the cluster is translated.
#[derive(Debug, Clone)]
pub struct Viewpoint {
    /// Its name.
    pub node: String,
    /// The addresses its pods get; says which endpoints are local when they do not say so themselves.
    pub pod_subnet: Ipv4Net,
    /// Its own address towards its pods.
    pub gateway: Ipv4Addr,
    /// The same of the second family.
    pub six: Option<Ipv6Config>,
    /// The cluster's domain.
    pub domain: String,
}

impl Viewpoint {
    /// Whether an address is one that pods of this node get.
    pub fn is_here(&self, address: &IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.pod_subnet.contains(address),
            IpAddr::V6(address) => self.six.is_some_and(|six| six.pod_subnet.contains(address)),
        }
    }

    /// The IPv4 address of the pod of this node that has `address`: itself, or what its IPv6 address ends with.
    pub fn pod_at(&self, address: &IpAddr) -> Option<Ipv4Addr> {
        match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(six) => self.is_here(address).then(|| Ipv4Addr::from(u128::from(*six) as u32)),
        }
    }
}

/// What the network of a node should be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Translation {
    /// The data plane.
    pub desired: Desired,
    /// The names.
    pub zone: Zone,
    /// The ports carried from IPv6 to IPv4.
    pub relays: Vec<Relay>,
    /// What could not be honoured, worded for people.
    pub problems: Vec<String>,
}

/// Says what the network of `viewpoint` should be.
pub fn translate(cluster: &Cluster, viewpoint: &Viewpoint) -> Translation {
    let mut relays = BTreeSet::new();
    let mut services = services::translate(cluster, viewpoint, &mut relays);
    let mut pods = pods(cluster, viewpoint, &mut relays);
    let mut problems = Vec::new();
    drop_taken_ports(&mut services, &mut pods, &mut problems);
    let mut networks: Vec<Network> = cluster
        .networks
        .iter()
        .map(|network| Network { name: network.name.clone(), internal: network.internal })
        .collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    Translation {
        desired: Desired {
            services,
            pods,
            networks,
            policies: policies::translate(cluster, viewpoint),
            nodes: nodes::translate(cluster, viewpoint),
            tunnel: Some(nodes::cluster_network(&cluster.nodes).tunnel()),
        },
        zone: zone::translate(cluster, viewpoint),
        relays: relays.into_iter().collect(),
        problems,
    }
}

fn pods(cluster: &Cluster, viewpoint: &Viewpoint, relays: &mut BTreeSet<Relay>) -> Vec<Pod> {
    let mut pods = Vec::new();
    for facts in cluster.pods.iter().filter(|pod| pod.connected()) {
        let Some(address) = facts.address else { continue };
        let local = facts.node.as_deref() == Some(&viewpoint.node);
        let host_ports: Vec<Published> = if local {
            facts
                .ports
                .iter()
                .filter_map(|port| port.host.map(|host| (port, host)))
                .flat_map(|(port, host)| published(host, port.protocol, port.number, relays))
                .collect()
        } else {
            Vec::new()
        };
        let networks = facts.networks.iter().map(|membership| membership.network.clone()).collect();
        let address6 = facts.address6;
        pods.push(Pod { uid: facts.uid.clone(), address, address6, local, networks, host_ports });
    }
    pods.sort_by_key(|pod| pod.address);
    pods
}

/// A host port in the kernel's terms, and the relay that IPv6 clients need.
///
/// The relay stands also where the kernel leads IPv6 clients to the pods themselves: it answers those of the kernel's
/// blind spot, ::1, and everybody while no pod behind the port has an IPv6 address. Where the host address is an IPv6
/// one, it needs an IPv4 door of its own: the same port of the loopback.
fn published(host: HostPort, protocol: Protocol, target_port: u16, relays: &mut BTreeSet<Relay>) -> Vec<Published> {
    let make = |host_ip| Published { host_ip, host_port: host.port, protocol, target_port };
    let relay = |listen: IpAddr| Relay {
        listen: SocketAddr::new(listen, host.port),
        protocol,
        to: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), host.port),
    };
    let relayed = protocol != Protocol::Sctp;
    match host.ip {
        None => {
            relays.extend(relayed.then(|| relay(Ipv6Addr::UNSPECIFIED.into())));
            vec![make(None)]
        }
        Some(ip @ IpAddr::V4(_)) => vec![make(Some(ip))],
        Some(ip @ IpAddr::V6(six)) => {
            relays.extend(relayed.then(|| relay(ip)));
            let door = relayed.then(|| make(Some(Ipv4Addr::LOCALHOST.into())));
            let own = (!six.is_loopback()).then(|| make(Some(ip)));
            door.into_iter().chain(own).collect()
        }
    }
}

/// The addresses that a published port stands for, all those of a family being one.
fn claims(port: &Published) -> Vec<IpAddr> {
    match port.host_ip {
        Some(ip) => vec![ip],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    }
}

/// The first of several owners of a host port keeps it; the others are told.
fn drop_taken_ports(services: &mut [crate::model::Service], pods: &mut [Pod], problems: &mut Vec<String>) {
    let mut taken: BTreeMap<(Protocol, u16, IpAddr), String> = BTreeMap::new();
    let mut claim = |who: String, port: &Published| {
        let keys: Vec<_> = claims(port).into_iter().map(|ip| (port.protocol, port.host_port, ip)).collect();
        if let Some(holder) = keys.iter().find_map(|key| taken.get(key).filter(|holder| **holder != who)) {
            let at = port.host_ip.filter(|ip| !ip.is_unspecified());
            let at = at.map(|ip| SocketAddr::new(ip, port.host_port).to_string());
            problems.push(format!(
                "host port {}/{} asked for by {who} belongs to {holder}; publish another port",
                at.unwrap_or_else(|| port.host_port.to_string()),
                port.protocol.name()
            ));
            return false;
        }
        taken.extend(keys.into_iter().map(|key| (key, who.clone())));
        true
    };
    for service in services {
        let who = format!("service {}/{}", service.namespace, service.name);
        service.published.retain(|port| claim(who.clone(), port));
    }
    for pod in pods.iter_mut().filter(|pod| !pod.host_ports.is_empty()) {
        let who = format!("pod {}", pod.uid);
        pod.host_ports.retain(|port| claim(who.clone(), port));
    }
}

/// The other address of every pod that has two.
fn siblings(cluster: &Cluster) -> BTreeMap<IpAddr, IpAddr> {
    let pods = cluster.pods.iter().filter(|pod| pod.connected());
    let pairs = pods.filter_map(|pod| Some((IpAddr::V4(pod.address?), IpAddr::V6(pod.address6?))));
    pairs.flat_map(|(four, six)| [(four, six), (six, four)]).collect()
}

#[cfg(test)]
mod tests;
