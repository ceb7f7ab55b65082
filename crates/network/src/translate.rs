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

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::dns::Zone;
use crate::helper::Relay;
use crate::model::{Desired, Network, Pod, Protocol, Published};

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
    /// The cluster's domain.
    pub domain: String,
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
        pods.push(Pod { uid: facts.uid.clone(), address, local, networks, host_ports });
    }
    pods.sort_by_key(|pod| pod.address);
    pods
}

/// A host port in the kernel's terms, and the relay that IPv6 clients need.
///
/// Where the host address is an IPv6 one, the relay needs an IPv4 door of its own: the same port of the loopback.
fn published(host: HostPort, protocol: Protocol, target_port: u16, relays: &mut BTreeSet<Relay>) -> Option<Published> {
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
            Some(make(None))
        }
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => Some(make(None)),
        Some(IpAddr::V4(ip)) => Some(make(Some(ip))),
        Some(IpAddr::V6(ip)) => {
            relays.extend(relayed.then(|| relay(ip.into())));
            relayed.then(|| make(Some(Ipv4Addr::LOCALHOST)))
        }
    }
}

/// The first of several owners of a host port keeps it; the others are told.
fn drop_taken_ports(services: &mut [crate::model::Service], pods: &mut [Pod], problems: &mut Vec<String>) {
    let mut taken: std::collections::BTreeMap<(Protocol, u16, Option<Ipv4Addr>), String> = Default::default();
    let mut claim = |who: String, port: &Published| {
        let key = (port.protocol, port.host_port, port.host_ip);
        match taken.get(&key) {
            Some(holder) if *holder != who => {
                let at = port.host_ip.map(|ip| format!("{ip}:")).unwrap_or_default();
                problems.push(format!(
                    "host port {at}{}/{} asked for by {who} belongs to {holder}; publish another port",
                    port.host_port,
                    port.protocol.name()
                ));
                false
            }
            _ => {
                taken.insert(key, who);
                true
            }
        }
    };
    for service in services {
        let who = format!("service {}/{}", service.namespace, service.name);
        service.published.retain(|port| claim(who.clone(), port));
    }
    for pod in pods {
        let who = format!("pod {}", pod.uid);
        pod.host_ports.retain(|port| claim(who.clone(), port));
    }
}

#[cfg(test)]
mod tests;
