//! Which endpoints there should be, grouped by address family and ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::views::{Endpoint, EndpointConditions, Endpoints, Pod, Service, ServicePort, SlicePort, TargetRef};

/// What all endpoints of a slice have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    /// `IPv4` or `IPv6`.
    pub(super) family: String,
    /// By name.
    pub(super) ports: Vec<SlicePort>,
}

/// Endpoints by group, each group by address.
pub(super) type Groups = BTreeMap<Group, BTreeMap<String, Endpoint>>;

/// The endpoints of a Service with a selector.
pub(super) fn selected(service: &Service, pods: &[Arc<Pod>]) -> Groups {
    let one = ["IPv4".to_owned()];
    let families = if service.spec.ip_families.is_empty() { &one[..] } else { &service.spec.ip_families[..] };
    let mut groups = Groups::new();
    for pod in pods.iter().filter(|pod| !pod.is_finished()) {
        let ports = ports_of(service, pod);
        // A pod that has none of the ports serves nothing.
        if ports.is_empty() && !service.spec.ports.is_empty() {
            continue;
        }
        for family in families {
            if let Some(address) = pod.addresses().find(|address| family_of(address) == Some(family.as_str())) {
                let group = Group { family: family.clone(), ports: ports.clone() };
                groups.entry(group).or_default().insert(address.to_owned(), endpoint(service, pod, address));
            }
        }
    }
    groups
}

/// `IPv4` or `IPv6`.
pub(super) fn family_of(address: &str) -> Option<&'static str> {
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(_) => Some("IPv4"),
        IpAddr::V6(_) => Some("IPv6"),
    }
}

/// The Service's ports as a pod has them, by name. Named ones that the pod lacks are left out.
pub(super) fn ports_of(service: &Service, pod: &Pod) -> Vec<SlicePort> {
    let mut ports: Vec<_> = service
        .spec
        .ports
        .iter()
        .filter_map(|port| {
            Some(SlicePort {
                name: port.name.clone(),
                protocol: or_tcp(&port.protocol).into(),
                port: Some(target(port, pod)?),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort();
    ports
}

fn or_tcp(protocol: &str) -> &str {
    if protocol.is_empty() { "TCP" } else { protocol }
}

fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    let name = match &port.target_port {
        Value::Number(number) => return u16::try_from(number.as_u64()?).ok(),
        Value::String(name) if !name.is_empty() => name,
        _ => return Some(port.port),
    };
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let mut ports = containers.flat_map(|container| &container.ports);
    ports
        .find(|named| named.name == *name && or_tcp(&named.protocol) == or_tcp(&port.protocol))
        .map(|named| named.container_port)
        .or_else(|| name.parse().ok())
}

fn endpoint(service: &Service, pod: &Pod, address: &str) -> Endpoint {
    let (serving, terminating) = (pod.is_ready(), pod.metadata.is_deleting());
    Endpoint {
        addresses: vec![address.into()],
        conditions: EndpointConditions {
            ready: Some(service.spec.publish_not_ready_addresses || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        hostname: hostname(service, pod),
        node_name: Some(pod.spec.node_name.clone()).filter(|node| !node.is_empty()),
        target_ref: Some(target_ref(pod)),
    }
}

/// The host name by which a pod is found under a Service that it names as its domain.
pub(super) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let named = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    named.then(|| pod.spec.hostname.clone())
}

pub(super) fn target_ref(pod: &Pod) -> TargetRef {
    let meta = &pod.metadata;
    TargetRef { kind: "Pod".into(), namespace: meta.namespace.clone(), name: meta.name.clone(), uid: meta.uid.clone() }
}

/// The endpoints of Endpoints that were made by hand.
pub(super) fn mirrored(endpoints: &Endpoints) -> Groups {
    let mut groups = Groups::new();
    if endpoints.metadata.label("endpointslice.kubernetes.io/skip-mirror") == Some("true") {
        return groups;
    }
    for subset in &endpoints.subsets {
        let mut ports: Vec<_> = subset
            .ports
            .iter()
            .map(|port| SlicePort {
                name: port.name.clone(),
                protocol: or_tcp(&port.protocol).into(),
                port: Some(port.port),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        ports.sort();
        let ready = subset.addresses.iter().map(|address| (address, true));
        for (address, ready) in ready.chain(subset.not_ready_addresses.iter().map(|address| (address, false))) {
            let Some(family) = family_of(&address.ip) else { continue };
            let endpoint = Endpoint {
                addresses: vec![address.ip.clone()],
                conditions: EndpointConditions { ready: Some(ready), serving: None, terminating: None },
                hostname: address.hostname.clone(),
                node_name: address.node_name.clone(),
                target_ref: address.target_ref.clone(),
            };
            let group = Group { family: family.into(), ports: ports.clone() };
            groups.entry(group).or_default().insert(address.ip.clone(), endpoint);
        }
    }
    groups
}
