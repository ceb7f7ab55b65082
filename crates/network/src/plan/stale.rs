//! Which connections the kernel still remembers although nobody answers them any more.
//!
//! Rules only see a connection's first packet; afterwards connection tracking sends every packet where the first one
//! went. So what leaves the plan must be forgotten there too, or a client that keeps its source port (every UDP client,
//! and a TCP client that retries its first packet) keeps talking to the dead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{Desired, EndpointState, Pod, Protocol, Service};

/// A kind of tracked connection to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// Everything to or from an address that nobody has any more.
    Address(IpAddr),
    /// UDP flows translated to an endpoint that lives but must get no more.
    UdpEndpoint(IpAddr, u16),
    /// UDP flows towards a port of this host that was nobody's until now.
    UdpHostPort(u16),
    /// TCP connections translated to an endpoint, which has not answered any packet of theirs.
    Unanswered(IpAddr),
}

/// What must be forgotten when `next` follows `previous`.
pub fn stale(previous: &Desired, next: &Desired) -> BTreeSet<Stale> {
    let mut stale: BTreeSet<Stale> = gone(previous, next).map(Stale::Address).collect();
    let udp = udp_endpoints(next);
    for (address, port) in udp_endpoints(previous) {
        if !udp.contains(&(address, port)) && !stale.contains(&Stale::Address(address)) {
            stale.insert(Stale::UdpEndpoint(address, port));
        }
    }
    let ports = udp_host_ports(previous);
    stale.extend(udp_host_ports(next).difference(&ports).map(|port| Stale::UdpHostPort(*port)));
    stale
}

/// Connections that a lost endpoint leaves behind when `next` follows `previous`: to be forgotten a moment later, because
/// an endpoint that only takes nothing new may be about to answer.
///
/// Clients repeat their first packet for minutes, and use a port again within minutes: either would go where the first packet
/// went. Once that is forgotten it goes to somebody who is there.
pub fn unanswered(previous: &Desired, next: &Desired) -> BTreeSet<Stale> {
    let known: BTreeMap<_, _> = next.services.iter().map(|service| (name(service), service)).collect();
    let mut left = BTreeSet::new();
    for service in &previous.services {
        let now = known.get(&name(service));
        if now.is_some_and(|now| *now == service) {
            continue;
        }
        let ready = now.map(|now| ready_endpoints(now)).unwrap_or_default();
        left.extend(ready_endpoints(service).difference(&ready).map(|address| Stale::Unanswered(*address)));
    }
    left
}

fn name(service: &Service) -> (&str, &str) {
    (&service.namespace, &service.name)
}

fn ready_endpoints(service: &Service) -> BTreeSet<IpAddr> {
    let backends = service.ports.iter().flat_map(|port| &port.backends).map(|backend| &backend.endpoint);
    let all = service.endpoints.iter().chain(backends);
    all.filter(|endpoint| endpoint.state == EndpointState::Ready).map(|endpoint| endpoint.address).collect()
}

/// Addresses that no pod has any more. Sorted lists, not trees: there may be a hundred thousand, and the model has most of
/// them in order already.
fn gone(previous: &Desired, next: &Desired) -> impl Iterator<Item = IpAddr> {
    let addresses = |desired: &Desired| {
        let mut all: Vec<IpAddr> = desired.pods.iter().flat_map(Pod::addresses).collect();
        all.sort();
        all
    };
    let known = addresses(next);
    addresses(previous).into_iter().filter(move |address| known.binary_search(address).is_err())
}

fn udp_endpoints(desired: &Desired) -> BTreeSet<(IpAddr, u16)> {
    let ready = |state| state == EndpointState::Ready;
    let mut all = BTreeSet::new();
    for service in &desired.services {
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
            let backends = port.backends.iter().filter(|backend| ready(backend.endpoint.state));
            all.extend(backends.map(|backend| (backend.endpoint.address, backend.port)));
        }
        for port in service.published.iter().filter(|port| port.protocol == Protocol::Udp) {
            let endpoints = service.endpoints.iter().filter(|endpoint| ready(endpoint.state));
            all.extend(endpoints.map(|endpoint| (endpoint.address, port.target_port)));
        }
        if service.all_ports {
            // Port 0 stands for every port.
            all.extend(service.endpoints.iter().filter(|e| ready(e.state)).map(|e| (e.address, 0)));
        }
    }
    all
}

fn udp_host_ports(desired: &Desired) -> BTreeSet<u16> {
    let mut all = BTreeSet::new();
    for service in &desired.services {
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp && !port.backends.is_empty()) {
            all.extend(port.node_port);
            all.extend(service.load_balancer.then_some(port.port));
        }
        if !service.endpoints.is_empty() {
            let published = service.published.iter().filter(|port| port.protocol == Protocol::Udp);
            all.extend(published.map(|port| port.host_port));
        }
    }
    let host_ports = desired.pods.iter().flat_map(|pod| &pod.host_ports);
    all.extend(host_ports.filter(|port| port.protocol == Protocol::Udp).map(|port| port.host_port));
    all
}
