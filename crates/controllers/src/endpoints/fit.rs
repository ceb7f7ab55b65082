//! Fitting the wanted endpoints into the slices that exist, with as few writes as possible.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_api::naru::names;
use serde_json::{Value, json};

use super::desired::{Group, Groups};
use super::manager;
use crate::ownership::{controller_of, key};
use crate::plan::{Plan, Write};
use crate::resources::{SERVICES, SLICES};
use crate::views::{Endpoint, EndpointSlice, Service};

/// Endpoints in one slice.
const MOST: usize = 100;

/// Adds the writes that make the slices hold exactly these groups.
pub(super) fn fit(
    plan: &mut Plan,
    service: &Service,
    owner: &'static str,
    mut groups: Groups,
    slices: &[Arc<EndpointSlice>],
) {
    if groups.is_empty() && owner == super::SELECTED {
        // One empty slice says "nobody" where no slice would say "not known yet".
        let family = service.spec.ip_families.first().map_or("IPv4", String::as_str);
        groups.insert(Group { family: family.into(), ports: Vec::new() }, BTreeMap::new());
    }
    let mut spare: Vec<&EndpointSlice> = Vec::new();
    let mut held: BTreeMap<Group, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let group = Group { family: slice.address_type.clone(), ports: slice.ports.clone() };
        if manager(slice) != Some(owner) {
            plan.push(Write::delete(SLICES, key(&slice.metadata), &slice.metadata.uid));
        } else if groups.contains_key(&group) {
            held.entry(group).or_default().push(slice);
        } else {
            spare.push(slice);
        }
    }
    for (group, endpoints) in groups {
        let present = held.remove(&group).unwrap_or_default();
        fit_group(plan, service, owner, &group, endpoints, present, &mut spare);
    }
    for slice in spare {
        plan.push(Write::delete(SLICES, key(&slice.metadata), &slice.metadata.uid));
    }
}

fn fit_group(
    plan: &mut Plan,
    service: &Service,
    owner: &'static str,
    group: &Group,
    mut wanted: BTreeMap<String, Endpoint>,
    present: Vec<&EndpointSlice>,
    spare: &mut Vec<&EndpointSlice>,
) {
    let mut contents: Vec<(Option<&EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in present {
        let stay = slice.endpoints.iter().filter_map(|known| wanted.remove(known.addresses.first()?));
        contents.push((Some(slice), stay.collect()));
    }
    let mut rest = wanted.into_values();
    let mut full = false;
    while !full {
        for (_, endpoints) in &mut contents {
            let room = MOST.saturating_sub(endpoints.len());
            endpoints.extend(rest.by_ref().take(room));
        }
        full = rest.len() == 0 && !contents.is_empty();
        if !full {
            // A slice that nobody needs any more takes on the new ports rather than a new one being made.
            let reuse = spare.iter().position(|slice| slice.address_type == group.family);
            contents.push((reuse.map(|index| spare.remove(index)), Vec::new()));
        }
    }
    let some = contents.iter().any(|(_, endpoints)| !endpoints.is_empty());
    let mut kept_empty = some;
    for (slice, endpoints) in contents {
        if endpoints.is_empty() && std::mem::replace(&mut kept_empty, true) {
            if let Some(slice) = slice {
                plan.push(Write::delete(SLICES, key(&slice.metadata), &slice.metadata.uid));
            }
            continue;
        }
        match slice {
            Some(slice) => update(plan, service, owner, group, slice, endpoints),
            None => plan.push(create(service, owner, group, &endpoints)),
        }
    }
}

fn labels(service: &Service, owner: &str) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone();
    labels.insert(names::SLICE_SERVICE.into(), service.metadata.name.clone());
    labels.insert(names::SLICE_MANAGED_BY.into(), owner.into());
    if service.spec.cluster_ip == "None" {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    labels
}

fn create(service: &Service, owner: &str, group: &Group, endpoints: &[Endpoint]) -> Write {
    Write::create(
        SLICES,
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", service.metadata.name),
                "namespace": service.metadata.namespace,
                "labels": labels(service, owner),
                "ownerReferences": [controller_of(&SERVICES, &service.metadata)],
            },
            "addressType": group.family,
            "endpoints": endpoints,
            "ports": group.ports,
        }),
    )
}

fn update(
    plan: &mut Plan,
    service: &Service,
    owner: &str,
    group: &Group,
    slice: &EndpointSlice,
    endpoints: Vec<Endpoint>,
) {
    let wanted = labels(service, owner);
    let same_labels = wanted == slice.metadata.labels;
    if same_labels && slice.endpoints == endpoints && slice.ports == group.ports {
        return;
    }
    let mut patch = json!({ "metadata": { "uid": slice.metadata.uid }, "endpoints": endpoints, "ports": group.ports });
    if !same_labels {
        let gone = slice.metadata.labels.keys().filter(|name| !wanted.contains_key(*name));
        let mut labels: serde_json::Map<String, Value> = gone.map(|name| (name.clone(), Value::Null)).collect();
        labels.extend(wanted.into_iter().map(|(name, value)| (name, value.into())));
        patch["metadata"]["labels"] = labels.into();
    }
    plan.push(Write::merge(SLICES, key(&slice.metadata), patch));
}
