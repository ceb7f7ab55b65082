//! Service addresses, node ports and published ports, each a key in a verdict map that leads to a chain of endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{
    Backend, Desired, Endpoint, EndpointState, NodeConfig, Pod, Protocol, Published, Service, ServicePort,
};

use super::base::{HAIRPIN, HOST_PORTS, REFUSED, REMOTE, SERVICE_ALL, SERVICE_PORTS};
use super::family::{Family, Side, sides};
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
type Target = (IpAddr, Option<u16>);

pub(super) fn compile(table: &mut Table, node: &NodeConfig, desired: &Desired) {
    for side in &sides(node) {
        for pod in desired.pods.iter().filter(|pod| pod.local) {
            compile_pod(table, side, pod);
        }
        for service in &desired.services {
            compile_service(table, side, service);
        }
    }
}

fn compile_pod(table: &mut Table, side: &Side, pod: &Pod) {
    let family = side.family;
    let Some(address) = pod.addresses().find(|address| family.has(address)) else { return };
    table.element(&family.name(HAIRPIN), format!("{address} . {address}"));
    for port in &pod.host_ports {
        let key = family.key(&format!("pod/{}/{}/{}", pod.uid, port.protocol.name(), port.target_port));
        let target = (address, Some(port.target_port));
        let chain = endpoints_chain(table, family, &key, Some(port.protocol), &[target], false);
        publish(table, side, port, chain);
    }
}

fn compile_service(table: &mut Table, side: &Side, service: &Service) {
    let family = side.family;
    let identity = format!("{}/{}", service.namespace, service.name);
    let backends = service.ports.iter().flat_map(|port| port.backends.iter().map(|backend| &backend.endpoint));
    for endpoint in service.endpoints.iter().chain(backends).filter(|endpoint| family.has(&endpoint.address)) {
        // Pods of other nodes know the way back.
        if !endpoint.local && !side.cluster.contains(&endpoint.address) {
            table.element(&family.name(REMOTE), endpoint.address.to_string());
        }
    }
    for port in &service.ports {
        compile_port(table, side, service, &identity, port);
    }
    if service.all_ports {
        let targets = usable_endpoints(family, &service.endpoints, Scope::of(service.internal_local), None);
        let key = family.key(&format!("{identity}/all"));
        let chain = endpoints_chain(table, family, &key, None, &targets, service.affinity);
        for address in service.cluster_ips.iter().filter(|address| family.has(address)) {
            lead(table, &family.name(SERVICE_ALL), address.to_string(), chain.as_ref());
        }
    }
    for port in &service.published {
        let scope = Scope::of(service.external_local);
        let targets = usable_endpoints(family, &service.endpoints, scope, Some(port.target_port));
        let key = family.key(&format!("{identity}/published/{}/{}", port.protocol.name(), port.target_port));
        let chain = endpoints_chain(table, family, &key, Some(port.protocol), &targets, service.affinity);
        publish(table, side, port, chain);
    }
}

fn compile_port(table: &mut Table, side: &Side, service: &Service, identity: &str, port: &ServicePort) {
    let family = side.family;
    let protocol = port.protocol.name();
    let way = |table: &mut Table, scope| {
        let targets = usable_backends(family, &port.backends, scope);
        let key = family.key(&format!("{identity}/{protocol}/{}/{scope:?}", port.port));
        endpoints_chain(table, family, &key, Some(port.protocol), &targets, service.affinity)
    };
    let inside = way(table, Scope::of(service.internal_local));
    let by_port = family.name(SERVICE_PORTS);
    for address in service.cluster_ips.iter().filter(|address| family.has(address)) {
        lead(table, &by_port, format!("{address} . {protocol} . {}", port.port), inside.as_ref());
    }
    if service.external_ips.is_empty() && port.node_port.is_none() && !service.load_balancer {
        return;
    }
    let outside = way(table, Scope::of(service.external_local));
    for address in service.external_ips.iter().filter(|address| family.has(address)) {
        let key = format!("{address} . {protocol} . {}", port.port);
        match &outside {
            Some(_) => lead(table, &by_port, key, outside.as_ref()),
            None => table.element(&family.name(REFUSED), key),
        }
    }
    let host_ports = family.name(HOST_PORTS);
    let host_port = |number| format!("{protocol} . {number}");
    if let Some(number) = port.node_port {
        lead(table, &host_ports, host_port(number), outside.as_ref());
    }
    if service.load_balancer {
        let admitted = outside.and_then(|chain| admit(table, family, chain, &service.source_ranges));
        lead(table, &host_ports, host_port(port.port), admitted.as_ref());
    }
}

/// The chain that leads on to `chain` only who comes from `ranges` or is this host; others are told nothing. Nobody of a
/// family that no range is of.
fn admit(table: &mut Table, family: &'static Family, chain: String, ranges: &[IpNet]) -> Option<String> {
    if ranges.is_empty() {
        return Some(chain);
    }
    let ranges: Vec<&IpNet> = ranges.iter().filter(|range| family.has(&range.addr())).collect();
    if ranges.is_empty() {
        return None;
    }
    let name = named("from", &format!("{chain}/{ranges:?}"));
    let mut rules = vec![format!("fib saddr type local goto {chain}")];
    rules.extend(ranges.iter().map(|range| format!("{} saddr {range} goto {chain}", family.ip)));
    rules.push("drop".into());
    table.chain(&name, rules);
    Some(name)
}

/// A host port of every host address, of every one of a family, or of one.
fn publish(table: &mut Table, side: &Side, port: &Published, chain: Option<String>) {
    let (family, protocol) = (side.family, port.protocol.name());
    match port.host_ip {
        Some(ip) if !family.has(&ip) => {}
        // A service address can never be a host's: it would capture the service.
        Some(ip) if side.service.contains(&ip) => {}
        Some(ip) if !ip.is_unspecified() => {
            let key = format!("{ip} . {protocol} . {}", port.host_port);
            lead(table, &family.name(SERVICE_PORTS), key, chain.as_ref());
        }
        _ => lead(table, &family.name(HOST_PORTS), format!("{protocol} . {}", port.host_port), chain.as_ref()),
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
    family: &Family,
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
    let ip = family.ip;
    let rule = match targets {
        [(address, Some(port))] => format!("{matched}dnat {ip} to {}", std::net::SocketAddr::new(*address, *port)),
        [(address, None)] => format!("{matched}dnat {ip} to {address}"),
        _ => {
            let form = if targets[0].1.is_some() { "addr . port to" } else { "to" };
            let (choose, slots) = if affinity { by_client(family, targets) } else { at_random(targets) };
            format!("{matched}dnat {ip} {form} {choose} map {{ {} }}", slots.join(", "))
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
fn by_client(family: &Family, targets: &[Target]) -> (String, Vec<String>) {
    let weight = |slot: u32, target: &Target| crate::hash::fnv64(format!("{slot}/{}", written(target)).as_bytes());
    let slots = (0..AFFINITY_SLOTS)
        .filter_map(|slot| {
            let target = targets.iter().max_by_key(|target| weight(slot, target))?;
            Some(format!("{slot} : {}", written(target)))
        })
        .collect();
    (format!("jhash {} saddr mod {AFFINITY_SLOTS} seed 0x6e617275", family.ip), slots)
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

fn usable_backends(family: &'static Family, backends: &[Backend], scope: Scope) -> Vec<Target> {
    let mine = backends.iter().filter(|backend| family.has(&backend.endpoint.address));
    usable(mine.map(|backend| (backend.endpoint, Some(backend.port))), scope)
}

fn usable_endpoints(family: &'static Family, endpoints: &[Endpoint], scope: Scope, port: Option<u16>) -> Vec<Target> {
    let mine = endpoints.iter().filter(|endpoint| family.has(&endpoint.address));
    usable(mine.map(|endpoint| (*endpoint, port)), scope)
}
