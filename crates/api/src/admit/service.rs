//! Defaults of what leads traffic.

use serde_json::{Value, json};

use super::edit::{Object, child, each, is_unset, make, set, text};

/// A Service. Addresses and node ports are given later by whoever holds the pools.
pub(super) fn service(object: &mut Object) {
    make(object, "spec", |spec| {
        set(spec, "type", "ClusterIP");
        set(spec, "sessionAffinity", "None");
        if text(spec, "sessionAffinity") == "ClientIP" {
            make(spec, "sessionAffinityConfig", |config| {
                make(config, "clientIP", |client| set(client, "timeoutSeconds", 10_800));
            });
        }
        each(spec, "ports", |port| {
            set(port, "protocol", "TCP");
            if is_unset(port, "targetPort") || port.get("targetPort").is_some_and(|p| *p == 0) {
                let same = port.get("port").cloned().unwrap_or_default();
                port.insert("targetPort".to_owned(), same);
            }
        });
        let kind = text(spec, "type").to_owned();
        let outside = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && outside) {
            set(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            set(spec, "allocateLoadBalancerNodePorts", true);
        }
        if kind != "ExternalName" {
            set(spec, "internalTrafficPolicy", "Cluster");
            families(spec);
        }
    });
}

/// The two forms of the address are one. Which families there are is for whoever holds the pools to say.
fn families(spec: &mut Object) {
    let address = text(spec, "clusterIP").to_owned();
    let listed = spec.get("clusterIPs").and_then(Value::as_array).and_then(|l| l.first()).cloned();
    match (address.is_empty(), listed) {
        (false, None) => drop(spec.insert("clusterIPs".to_owned(), json!([address]))),
        (true, Some(first)) => drop(spec.insert("clusterIP".to_owned(), first)),
        _ => {}
    }
}

/// Endpoints.
pub(super) fn endpoints(object: &mut Object) {
    each(object, "subsets", |subset| each(subset, "ports", |port| set(port, "protocol", "TCP")));
}

/// An EndpointSlice.
pub(super) fn endpoint_slice(object: &mut Object) {
    each(object, "ports", |port| {
        if !port.contains_key("name") {
            port.insert("name".to_owned(), "".into());
        }
        set(port, "protocol", "TCP");
    });
}

/// A NetworkPolicy.
pub(super) fn network_policy(object: &mut Object) {
    make(object, "spec", |spec| {
        for rules in ["ingress", "egress"] {
            each(spec, rules, |rule| each(rule, "ports", |port| set(port, "protocol", "TCP")));
        }
        if spec.get("policyTypes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
            let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            spec.insert("policyTypes".to_owned(), types);
        }
        make(spec, "podSelector", |_| {});
    });
}

/// An IngressClass.
pub(super) fn ingress_class(object: &mut Object) {
    child(object, "spec", |spec| child(spec, "parameters", |p| set(p, "scope", "Cluster")));
}
