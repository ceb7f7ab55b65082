//! Endpoints, the form before slices, which some programs still read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::desired::{family_of, hostname, ports_of, target_ref};
use crate::ownership::key;
use crate::plan::{Plan, Write};
use crate::resources::ENDPOINTS;
use crate::views::{AddressSet, Endpoints, EndpointsAddress, EndpointsPort, Pod, Service};

/// Addresses in one object; more are left out, as slices are what scales.
const MOST: usize = 1000;
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";

/// Whether Endpoints are ours and not made by hand.
pub(super) fn is_managed(endpoints: &Endpoints) -> bool {
    endpoints.metadata.label(MANAGED_BY) == Some(CONTROLLER)
}

/// Adds the write that brings a Service's Endpoints up to date.
pub(super) fn write(plan: &mut Plan, service: &Service, pods: &[Arc<Pod>], present: Option<&Endpoints>) {
    let wanted = subsets(service, pods);
    let labels = labels(service);
    let Some(present) = present else {
        plan.push(Write::create(ENDPOINTS, json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": { "name": service.metadata.name, "namespace": service.metadata.namespace, "labels": labels },
            "subsets": wanted,
        })));
        return;
    };
    if present.metadata.is_deleting() || (present.subsets == wanted && present.metadata.labels == labels) {
        return;
    }
    let gone = present.metadata.labels.keys().filter(|name| !labels.contains_key(*name));
    let mut changed: serde_json::Map<String, Value> = gone.map(|name| (name.clone(), Value::Null)).collect();
    changed.extend(labels.into_iter().map(|(name, value)| (name, value.into())));
    let patch = json!({ "metadata": { "uid": present.metadata.uid, "labels": changed }, "subsets": wanted });
    plan.push(Write::merge(ENDPOINTS, key(&present.metadata), patch));
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone();
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    if service.spec.cluster_ip == "None" {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    labels
}

fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<AddressSet> {
    let family = service.spec.ip_families.first().map_or("IPv4", String::as_str);
    let mut sets: BTreeMap<_, BTreeMap<String, (bool, EndpointsAddress)>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.is_finished()).take(MOST) {
        let ports = ports_of(service, pod);
        let Some(address) = pod.addresses().find(|address| family_of(address) == Some(family)) else { continue };
        if ports.is_empty() && !service.spec.ports.is_empty() {
            continue;
        }
        let ready = service.spec.publish_not_ready_addresses || (pod.is_ready() && !pod.metadata.is_deleting());
        // On its way out a pod is not listed at all, unless it is published whatever its state.
        if pod.metadata.is_deleting() && !service.spec.publish_not_ready_addresses {
            continue;
        }
        let entry = EndpointsAddress {
            ip: address.into(),
            hostname: hostname(service, pod),
            node_name: Some(pod.spec.node_name.clone()).filter(|node| !node.is_empty()),
            target_ref: Some(target_ref(pod)),
        };
        sets.entry(ports).or_default().insert(address.into(), (ready, entry));
    }
    let set = |(ports, addresses): (Vec<crate::views::SlicePort>, BTreeMap<String, (bool, EndpointsAddress)>)| {
        let of = |wanted: bool| {
            addresses.values().filter(|(ready, _)| *ready == wanted).map(|(_, address)| address.clone()).collect()
        };
        let ports = ports.into_iter().filter_map(|port| {
            Some(EndpointsPort {
                name: port.name,
                port: port.port?,
                protocol: port.protocol,
                app_protocol: port.app_protocol,
            })
        });
        AddressSet { addresses: of(true), not_ready_addresses: of(false), ports: ports.collect() }
    };
    sets.into_iter().map(set).collect()
}
