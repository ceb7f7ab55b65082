//! Service addresses, node ports and published ports, each a key in a verdict map that leads to a chain of endpoints.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::{Backend, Desired, Endpoint, EndpointState, NodeConfig, Protocol, Published, Service};

use super::base::{HAIRPIN, HOST_PORTS, REFUSED, REMOTE, SERVICE_ALL, SERVICE_PORTS};
use super::{Table, named};

/// How many slots clients are hashed into when they must always meet the same endpoint.
const AFFINITY_SLOTS: u32 = 256;

/// Which endpoints a way in may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Everywhere,
    ThisNode,
}

impl Scope {
    fn of(local_only: bool) -> Self {
        if local_only { Self::ThisNode } else { Self::Everywhere }
    }
}

/// Where connections go: an address, and a port unless the one asked for is kept.
type Target = (Ipv4Addr, Option<u16>);

pub(super) fn compile(table: &mut Table, node: &NodeConfig, desired: &Desired) {
    for pod in desired.pods.iter().filter(|pod| pod.local) {
        table.element(HAIRPIN, format!("{0} . {0}", pod.address));
        for port in &pod.host_ports {
            let chain = endpoints_chain(
                table,
                &format!("pod/{}/{}/{}", pod.uid, port.protocol.name(), port.target_port),
                Some(port.protocol),
                &[(pod.address, Some(port.target_port))],
                false,
            );
            publish(table, node, port, chain);
        }
    }
    for service in &desired.services {
        compile_service(table, node, service);
    }
}

fn compile_service(table: &mut Table, node: &NodeConfig, service: &Service) {
    let identity = format!("{}/{}", service.namespace, service.name);
    for endpoint in
        service.endpoints.iter().chain(service.ports.iter().flat_map(|p| p.backends.iter().map(|b| &b.endpoint)))
    {
        // Pods of other nodes know the way back.
        if !endpoint.local && !node.cluster_cidr.contains(&endpoint.address) {
            table.element(REMOTE, endpoint.address.to_string());
        }
    }
    for port in &service.ports {
        let way = |table: &mut Table, scope| {
            let targets = usable_backends(&port.backends, scope);
            let key = format!("{identity}/{}/{}/{scope:?}", port.protocol.name(), port.port);
            endpoints_chain(table, &key, Some(port.protocol), &targets, service.affinity)
        };
        let inside = way(table, Scope::of(service.internal_local));
        for address in &service.cluster_ips {
            lead(
                table,
                SERVICE_PORTS,
                format!("{address} . {} . {}", port.protocol.name(), port.port),
                inside.as_ref(),
            );
        }
        if service.external_ips.is_empty() && port.node_port.is_none() && !service.load_balancer {
            continue;
        }
        let outside = way(table, Scope::of(service.external_local));
        for address in &service.external_ips {
            let key = format!("{address} . {} . {}", port.protocol.name(), port.port);
            match &outside {
                Some(_) => lead(table, SERVICE_PORTS, key, outside.as_ref()),
                None => table.element(REFUSED, key),
            }
        }
        let host_port = |number| format!("{} . {number}", port.protocol.name());
        if let Some(number) = port.node_port {
            lead(table, HOST_PORTS, host_port(number), outside.as_ref());
        }
        if service.load_balancer {
            let admitted = outside.map(|chain| admit(table, chain, &service.source_ranges));
            lead(table, HOST_PORTS, host_port(port.port), admitted.as_ref());
        }
    }
    if service.all_ports {
        let targets = usable_endpoints(&service.endpoints, Scope::of(service.internal_local), None);
        let chain = endpoints_chain(table, &format!("{identity}/all"), None, &targets, service.affinity);
        for address in &service.cluster_ips {
            lead(table, SERVICE_ALL, address.to_string(), chain.as_ref());
        }
    }
    for port in &service.published {
        let targets = usable_endpoints(&service.endpoints, Scope::of(service.external_local), Some(port.target_port));
        let key = format!("{identity}/published/{}/{}", port.protocol.name(), port.target_port);
        let chain = endpoints_chain(table, &key, Some(port.protocol), &targets, service.affinity);
        publish(table, node, port, chain);
    }
}

/// The chain that leads on to `chain` only who comes from `ranges` or is this host; others are told nothing.
fn admit(table: &mut Table, chain: String, ranges: &[Ipv4Net]) -> String {
    if ranges.is_empty() {
        return chain;
    }
    let name = named("from", &format!("{chain}/{ranges:?}"));
    let mut rules = vec![format!("fib saddr type local goto {chain}")];
    rules.extend(ranges.iter().map(|range| format!("ip saddr {range} goto {chain}")));
    rules.push("drop".into());
    table.chain(&name, rules);
    name
}

/// A host port of every host address, or of one.
fn publish(table: &mut Table, node: &NodeConfig, port: &Published, chain: Option<String>) {
    let protocol = port.protocol.name();
    match port.host_ip.filter(|ip| !ip.is_unspecified()) {
        None => lead(table, HOST_PORTS, format!("{protocol} . {}", port.host_port), chain.as_ref()),
        // A service address can never be a host's: it would capture the service.
        Some(ip) if node.service_cidr.contains(&ip) => {}
        Some(ip) => lead(table, SERVICE_PORTS, format!("{ip} . {protocol} . {}", port.host_port), chain.as_ref()),
    }
}

/// Leads a key to a chain. Without one (nobody answers) there is no element: service addresses are then refused by
/// the filter chains, host addresses by the host itself.
fn lead(table: &mut Table, map: &str, key: String, chain: Option<&String>) {
    if let Some(chain) = chain {
        table.verdict(map, key, format!("goto {chain}"));
    }
}

/// Adds the chain that spreads connections over `targets`; `None` when there are none.
fn endpoints_chain(
    table: &mut Table,
    key: &str,
    protocol: Option<Protocol>,
    targets: &[Target],
    affinity: bool,
) -> Option<String> {
    let name = named("to", key);
    if table.has_chain(&name) || targets.is_empty() {
        return table.has_chain(&name).then_some(name);
    }
    let matched = protocol.map(|protocol| format!("meta l4proto {} ", protocol.name())).unwrap_or_default();
    let rule = match targets {
        [(address, Some(port))] => format!("{matched}dnat ip to {address}:{port}"),
        [(address, None)] => format!("{matched}dnat ip to {address}"),
        _ => {
            let form = if targets[0].1.is_some() { "dnat ip addr . port to" } else { "dnat ip to" };
            let (choose, slots) = if affinity { by_client(targets) } else { at_random(targets) };
            format!("{matched}{form} {choose} map {{ {} }}", slots.join(", "))
        }
    };
    table.chain(&name, vec![rule]);
    Some(name)
}

fn at_random(targets: &[Target]) -> (String, Vec<String>) {
    let slots = targets.iter().enumerate().map(|(slot, target)| format!("{slot} : {}", written(target))).collect();
    (format!("numgen random mod {}", targets.len()), slots)
}

/// Clients are hashed into slots, and every slot goes to the target that weighs most for it (rendezvous hashing): a
/// target that comes or goes moves only its own share of the clients, and no state has to be kept or restored.
fn by_client(targets: &[Target]) -> (String, Vec<String>) {
    let weight = |slot: u32, target: &Target| crate::hash::fnv64(format!("{slot}/{}", written(target)).as_bytes());
    let slots = (0..AFFINITY_SLOTS)
        .filter_map(|slot| {
            let target = targets.iter().max_by_key(|target| weight(slot, target))?;
            Some(format!("{slot} : {}", written(target)))
        })
        .collect();
    (format!("jhash ip saddr mod {AFFINITY_SLOTS} seed 0x6e617275"), slots)
}

fn written(target: &Target) -> String {
    match target {
        (address, Some(port)) => format!("{address} . {port}"),
        (address, None) => address.to_string(),
    }
}

/// The ready endpoints; those that still serve while they terminate when none is ready.
fn usable(endpoints: impl Iterator<Item = (Endpoint, Option<u16>)> + Clone, scope: Scope) -> Vec<Target> {
    let of = |state| {
        let chosen: BTreeSet<Target> = endpoints
            .clone()
            .filter(|(endpoint, _)| endpoint.state == state && (scope == Scope::Everywhere || endpoint.local))
            .map(|(endpoint, port)| (endpoint.address, port))
            .collect();
        Vec::from_iter(chosen)
    };
    let ready = of(EndpointState::Ready);
    if ready.is_empty() { of(EndpointState::Draining) } else { ready }
}

fn usable_backends(backends: &[Backend], scope: Scope) -> Vec<Target> {
    usable(backends.iter().map(|backend| (backend.endpoint, Some(backend.port))), scope)
}

fn usable_endpoints(endpoints: &[Endpoint], scope: Scope, port: Option<u16>) -> Vec<Target> {
    usable(endpoints.iter().map(|endpoint| (*endpoint, port)), scope)
}
