//! The names of services and pods.

use std::collections::{BTreeMap, BTreeSet};

use naru_api::naru::names;

use crate::dns::{Member, PodNames, PortName, ServiceNames, Zone};

use super::facts::{PodFacts, ServiceFacts, SliceFacts};
use super::services::slices_by_service;
use super::{Cluster, Viewpoint};

pub(super) fn translate(cluster: &Cluster, viewpoint: &Viewpoint) -> Zone {
    let slices = slices_by_service(cluster);
    let mut services: Vec<ServiceNames> = cluster
        .services
        .iter()
        .map(|facts| {
            let key = (facts.namespace.as_str(), facts.name.as_str());
            service(facts, slices.get(&key).map(Vec::as_slice).unwrap_or_default())
        })
        .collect();
    services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    // Pods say which Compose service they are of; its Service object may have another name.
    let objects: BTreeMap<(&str, &str), &str> = cluster
        .services
        .iter()
        .filter_map(|facts| Some(((facts.namespace.as_str(), facts.compose.as_deref()?), facts.name.as_str())))
        .collect();
    let mut pods: Vec<PodNames> =
        cluster.pods.iter().filter(|facts| facts.connected()).map(|facts| pod(facts, &objects)).collect();
    pods.sort_by_key(|pod| pod.address);
    Zone {
        domain: viewpoint.domain.clone(),
        host: Some(viewpoint.gateway),
        host6: viewpoint.six.map(|six| six.gateway),
        services,
        pods,
    }
}

fn service(facts: &ServiceFacts, slices: &[&SliceFacts]) -> ServiceNames {
    let headless = facts.addresses.is_empty();
    let mut ports: Vec<PortName> = facts
        .ports
        .iter()
        .filter(|port| !port.name.is_empty())
        .map(|port| {
            // Behind a headless service, clients meet the members themselves, so the members' port counts.
            let number = slices
                .iter()
                .flat_map(|slice| &slice.ports)
                .find(|p| headless && p.name == port.name && p.protocol == port.protocol)
                .map_or(port.port, |p| p.port);
            PortName { name: port.name.to_ascii_lowercase(), protocol: port.protocol, port: number }
        })
        .collect();
    ports.dedup();
    let mut members: Vec<Member> = Vec::new();
    let mut seen = BTreeSet::new();
    for endpoint in slices.iter().flat_map(|slice| &slice.endpoints) {
        for address in &endpoint.addresses {
            if seen.insert(*address) {
                members.push(Member {
                    address: *address,
                    hostname: endpoint.hostname.clone(),
                    ready: endpoint.ready,
                    terminating: endpoint.terminating,
                });
            }
        }
    }
    members.sort_by_key(|member| member.address);
    ServiceNames {
        namespace: facts.namespace.clone(),
        name: facts.name.clone(),
        addresses: facts.addresses.clone(),
        external_name: facts.external_name.clone(),
        ports,
        members,
        publish_not_ready: facts.publish_not_ready,
        compose: facts.compose.is_some(),
    }
}

fn pod(facts: &PodFacts, objects: &BTreeMap<(&str, &str), &str>) -> PodNames {
    let label = |key: &str| facts.labels.get(key).map(String::as_str);
    let compose = label(names::SERVICE).filter(|_| label(names::PROJECT).is_some());
    let mut own = Vec::new();
    if let Some(service) = compose {
        // The name other tools give the container comes first: it is also the one its address stands for.
        if let (Some(project), Some(number)) = (label(names::PROJECT), label(names::ORDINAL)) {
            own.push(format!("{project}-{service}-{number}"));
        }
        own.extend(facts.hostname.clone());
        own.push(facts.name.clone());
    }
    PodNames {
        namespace: facts.namespace.clone(),
        name: facts.name.clone(),
        address: facts.address,
        address6: facts.address6,
        service: compose.and_then(|service| objects.get(&(facts.namespace.as_str(), service))).map(|s| (*s).to_owned()),
        names: own,
        networks: facts.networks.clone(),
    }
}
