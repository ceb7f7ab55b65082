//! Services and their endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::helper::Relay;
use crate::model::{Backend, Endpoint, EndpointState, Service, ServicePort};

use super::facts::{EndpointFacts, ServiceFacts, ServicePortFacts, SliceFacts};
use super::{Cluster, Viewpoint, published, siblings};

/// The slices of every service.
pub(super) type SlicesByService<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a SliceFacts>>;

pub(super) fn slices_by_service(cluster: &Cluster) -> SlicesByService<'_> {
    let mut by_service = SlicesByService::new();
    for slice in &cluster.slices {
        by_service.entry((&slice.namespace, &slice.service)).or_default().push(slice);
    }
    by_service
}

pub(super) fn translate(cluster: &Cluster, viewpoint: &Viewpoint, relays: &mut BTreeSet<Relay>) -> Vec<Service> {
    let slices = slices_by_service(cluster);
    let siblings = siblings(cluster);
    let mut services: Vec<Service> = cluster
        .services
        .iter()
        .filter(|facts| facts.external_name.is_none())
        .filter(|facts| !facts.addresses.is_empty() || !facts.external_ips.is_empty() || !facts.published.is_empty())
        .map(|facts| {
            let key = (facts.namespace.as_str(), facts.name.as_str());
            service(facts, slices.get(&key).map(Vec::as_slice).unwrap_or_default(), viewpoint, &siblings, relays)
        })
        .collect();
    services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    services
}

fn service(
    facts: &ServiceFacts,
    slices: &[&SliceFacts],
    viewpoint: &Viewpoint,
    siblings: &BTreeMap<IpAddr, IpAddr>,
    relays: &mut BTreeSet<Relay>,
) -> Service {
    let usable = |slice: &SliceFacts| {
        let endpoints = slice.endpoints.iter().filter_map(|endpoint| usable(facts, endpoint, viewpoint));
        endpoints.flatten().collect::<Vec<Endpoint>>()
    };
    let mut endpoints: BTreeSet<Endpoint> = slices.iter().flat_map(|slice| usable(slice)).collect();
    // Published ports are the host's, which has addresses of both families whatever families the service is of.
    let others =
        endpoints.iter().filter_map(|known| Some(Endpoint { address: *siblings.get(&known.address)?, ..*known }));
    endpoints.extend(others.collect::<Vec<_>>());
    let port = |port: &ServicePortFacts| {
        let mut backends = BTreeSet::new();
        for slice in slices {
            for number in slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol) {
                backends.extend(usable(slice).into_iter().map(|endpoint| Backend { endpoint, port: number.port }));
            }
        }
        ServicePort {
            protocol: port.protocol,
            port: port.port,
            node_port: port.node_port,
            backends: backends.into_iter().collect(),
        }
    };
    Service {
        namespace: facts.namespace.clone(),
        name: facts.name.clone(),
        cluster_ips: facts.addresses.clone(),
        external_ips: facts.external_ips.clone(),
        // Ranges of another family let nobody in who speaks this one.
        load_balancer: facts.load_balancer && facts.source_ranges.as_ref().is_none_or(|ranges| !ranges.is_empty()),
        source_ranges: facts.source_ranges.clone().unwrap_or_default(),
        all_ports: facts.all_ports,
        ports: facts.ports.iter().map(port).collect(),
        endpoints: endpoints.into_iter().collect(),
        published: facts
            .published
            .iter()
            .flat_map(|(target, protocol, host)| published(*host, *protocol, *target, relays))
            .collect(),
        affinity: facts.affinity,
        internal_local: facts.internal_local,
        external_local: facts.external_local,
    }
}

/// The endpoint's addresses with their state; `None` when it may not be used at all.
fn usable<'a>(
    service: &ServiceFacts,
    endpoint: &'a EndpointFacts,
    viewpoint: &'a Viewpoint,
) -> Option<impl Iterator<Item = Endpoint> + 'a> {
    let state = if endpoint.ready || service.publish_not_ready && !endpoint.terminating {
        EndpointState::Ready
    } else if endpoint.serving && endpoint.terminating {
        EndpointState::Draining
    } else {
        return None;
    };
    Some(endpoint.addresses.iter().map(move |address| {
        let local = match &endpoint.node {
            Some(node) => *node == viewpoint.node,
            None => viewpoint.is_here(address),
        };
        Endpoint { address: *address, local, state }
    }))
}
