use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::view;
use crate::views::Endpoint;

fn service(spec: Value) -> Option<Arc<Service>> {
    let mut service = json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "s", "labels": { "team": "a" } },
        "spec": { "selector": { "app": "web" }, "clusterIP": "10.43.0.9" },
    });
    for (key, value) in spec.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    Some(Arc::new(view(service)))
}

fn http() -> Value {
    json!({ "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] })
}

fn pod(name: &str, ip: &str, ready: bool, meta: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "shop", "uid": format!("u-{name}"), "labels": { "app": "web" } },
        "spec": { "nodeName": "n1", "hostname": name, "subdomain": "web", "containers": [{ "name": "c", "ports": [{ "name": "admin", "containerPort": 9000 }] }] },
        "status": { "phase": "Running", "podIP": ip, "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
    });
    for (key, value) in meta.as_object().unwrap() {
        pod["metadata"][key] = value.clone();
    }
    Arc::new(view(pod))
}

/// Applies a plan to a view's slices and Endpoints.
fn carry_out(view_: &mut View, plan: &Plan) {
    for write in &plan.writes {
        match write {
            Write::Create { resource, object, .. } if resource.kind == "EndpointSlice" => {
                let mut slice: EndpointSlice = view(object.clone());
                slice.metadata.name = format!("web-{}", view_.slices.len());
                slice.metadata.uid = format!("slice-{}", view_.slices.len());
                view_.slices.push(Arc::new(slice));
            }
            Write::Create { object, .. } => view_.endpoints = Some(Arc::new(view(object.clone()))),
            Write::Patch { resource, key, patch, .. } if resource.kind == "EndpointSlice" => {
                let slice = view_.slices.iter_mut().find(|slice| slice.metadata.name == *key.name).unwrap();
                let slice = Arc::make_mut(slice);
                slice.endpoints = view(patch["endpoints"].clone());
                slice.ports = view(patch["ports"].clone());
            }
            Write::Patch { patch, .. } => {
                let endpoints = Arc::make_mut(view_.endpoints.as_mut().unwrap());
                endpoints.subsets = view(patch["subsets"].clone());
                for (name, value) in patch["metadata"]["labels"].as_object().unwrap() {
                    match value.as_str() {
                        Some(value) => drop(endpoints.metadata.labels.insert(name.clone(), value.into())),
                        None => drop(endpoints.metadata.labels.remove(name)),
                    }
                }
            }
            Write::Delete { resource, key, .. } if resource.kind == "EndpointSlice" => {
                view_.slices.retain(|slice| slice.metadata.name != *key.name);
            }
            Write::Delete { .. } => view_.endpoints = None,
            Write::Post { .. } | Write::Put { .. } => unreachable!("nothing is posted"),
        }
    }
}

fn settle(view: &mut View) -> usize {
    let first = plan(view);
    carry_out(view, &first);
    let again = plan(view);
    assert!(again.writes.is_empty(), "a second look changes nothing: {again}");
    first.writes.len()
}

fn conditions(endpoint: &Endpoint) -> [Option<bool>; 3] {
    [endpoint.conditions.ready, endpoint.conditions.serving, endpoint.conditions.terminating]
}

#[test]
fn pods_become_endpoints_with_their_conditions() {
    let gone = json!({ "deletionTimestamp": "2026-03-01T12:00:30Z" });
    let mut finished = (*pod("e", "10.42.0.9", true, json!({}))).clone();
    finished.status.phase = crate::views::Phase::Succeeded;
    let pods = vec![
        pod("a", "10.42.0.1", true, json!({})),
        pod("b", "10.42.0.2", false, json!({})),
        pod("c", "10.42.0.3", true, gone),
        pod("d", "", true, json!({})),
        Arc::new(finished),
    ];
    let mut world = View { service: service(http()), pods, ..View::default() };
    settle(&mut world);
    let slice = &world.slices[0];
    let got: Vec<_> = slice.endpoints.iter().map(|e| (e.addresses[0].as_str(), conditions(e))).collect();
    let (yes, no) = (Some(true), Some(false));
    let expected = [("10.42.0.1", [yes, yes, no]), ("10.42.0.2", [no, no, no]), ("10.42.0.3", [no, yes, yes])];
    assert_eq!(got, expected);
    assert_eq!(slice.endpoints[0].hostname.as_deref(), Some("a"));
    assert_eq!((slice.ports[0].port, slice.ports[0].protocol.as_str()), (Some(8080), "TCP"));
    assert_eq!(slice.metadata.label("kubernetes.io/service-name"), Some("web"));
    assert_eq!(slice.metadata.label("team"), Some("a"));
    assert_eq!(slice.metadata.controller().map(|owner| owner.uid.as_str()), Some("s"));
    let subset = &world.endpoints.as_ref().unwrap().subsets[0];
    let addresses = |list: &[crate::views::EndpointsAddress]| list.iter().map(|a| a.ip.clone()).collect::<Vec<_>>();
    assert_eq!(
        (addresses(&subset.addresses), addresses(&subset.not_ready_addresses)),
        (vec!["10.42.0.1".into()], vec!["10.42.0.2".into()])
    );

    world.service = service(json!({ "ports": [{ "port": 80 }], "publishNotReadyAddresses": true }));
    settle(&mut world);
    assert!(
        world.slices[0].endpoints.iter().all(|endpoint| endpoint.conditions.ready == yes),
        "published whatever their state"
    );
    assert_eq!(world.slices[0].ports[0].port, Some(80), "without a target the same number");
}

#[test]
fn named_ports_are_each_pods_own() {
    let spec = json!({ "ports": [{ "name": "admin", "port": 80, "targetPort": "admin" }] });
    let mut other = (*pod("b", "10.42.0.2", true, json!({}))).clone();
    other.spec.containers[0].ports[0].container_port = 9001;
    let mut none = (*pod("c", "10.42.0.3", true, json!({}))).clone();
    none.spec.containers.clear();
    let pods = vec![pod("a", "10.42.0.1", true, json!({})), Arc::new(other), Arc::new(none)];
    let mut world = View { service: service(spec), pods, ..View::default() };
    settle(&mut world);
    let ports: Vec<_> =
        world.slices.iter().map(|slice| (slice.ports[0].port.unwrap(), slice.endpoints.len())).collect();
    assert_eq!(ports, [(9000, 1), (9001, 1)], "and a pod without such a port is none");
}

#[test]
fn a_change_of_one_pod_is_a_write_to_its_slice_alone() {
    let pods: Vec<_> = (0..250_u8).map(|n| pod(&format!("p{n}"), &format!("10.42.1.{n}"), true, json!({}))).collect();
    let mut world = View { service: service(http()), pods, ..View::default() };
    settle(&mut world);
    let sizes: Vec<_> = world.slices.iter().map(|slice| slice.endpoints.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    world.pods[0] = pod("p0", "10.42.1.0", false, json!({}));
    assert_eq!(settle(&mut world), 2, "one slice, and the Endpoints");
    world.service = service(json!({ "ports": [{ "name": "http", "port": 80, "targetPort": 9090 }] }));
    let change = plan(&world);
    assert!(
        change.writes.iter().all(|write| matches!(write, Write::Patch { .. })),
        "slices take on new ports: {change}"
    );
}

#[test]
fn a_service_without_pods_has_one_empty_slice_and_a_gone_one_none() {
    let mut world = View { service: service(http()), ..View::default() };
    settle(&mut world);
    assert_eq!((world.slices.len(), world.slices[0].endpoints.len()), (1, 0));
    world.service = None;
    settle(&mut world);
    assert!(world.slices.is_empty() && world.endpoints.is_none());
    world.endpoints = Some(Arc::new(view(json!({ "metadata": { "name": "web" } }))));
    assert!(plan(&world).writes.is_empty(), "what was made by hand stays");
}

#[test]
fn endpoints_made_by_hand_are_mirrored() {
    let subsets = json!([{ "addresses": [{ "ip": "192.0.2.1" }, { "ip": "2001:db8::1" }], "notReadyAddresses": [{ "ip": "192.0.2.2" }], "ports": [{ "port": 5432 }] }]);
    let endpoints = view(json!({ "metadata": { "name": "web", "namespace": "shop" }, "subsets": subsets }));
    let mut world =
        View { service: service(json!({ "selector": {} })), endpoints: Some(Arc::new(endpoints)), ..View::default() };
    settle(&mut world);
    let got: Vec<_> = world.slices.iter().map(|slice| (slice.address_type.as_str(), slice.endpoints.len())).collect();
    assert_eq!(got, [("IPv4", 2), ("IPv6", 1)]);
    world.endpoints = None;
    settle(&mut world);
    assert!(world.slices.is_empty());
}

proptest! {
    /// From any slices to any pods: every address once, no slice over its size, and nothing more to do afterwards.
    #[test]
    fn slices_hold_exactly_the_pods(rounds in prop::collection::vec(prop::collection::btree_set(0..255_u8, 0..200), 1..4)) {
        let mut world = View { service: service(http()), ..View::default() };
        for addresses in rounds {
            world.pods = addresses.iter().map(|n| pod(&format!("p{n}"), &format!("10.42.2.{n}"), true, json!({}))).collect();
            settle(&mut world);
            let mut seen = BTreeMap::new();
            for endpoint in world.slices.iter().flat_map(|slice| &slice.endpoints) {
                *seen.entry(endpoint.addresses[0].clone()).or_insert(0) += 1;
            }
            prop_assert!(seen.values().all(|count| *count == 1));
            prop_assert_eq!(seen.len(), addresses.len());
            prop_assert!(world.slices.iter().all(|slice| slice.endpoints.len() <= 100));
            prop_assert!(!world.slices.is_empty());
        }
    }
}
