//! Rules of Services and their endpoints.

use std::net::IpAddr;

use serde_json::Value;

use super::super::error::FieldError;
use super::super::metadata;
use super::super::names;
use super::super::spot::Spot;
use super::check;
use crate::meta;
use crate::naru::names as words;

/// A Service as a whole: it has ports unless it needs none.
pub(in super::super) fn service(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let spec = root.field("spec");
    let headless = spec.field("clusterIP").text() == "None";
    let external = spec.field("type").text() == "ExternalName";
    let every_port = meta::annotation(root.value, words::ALL_PORTS) == Some("true");
    if spec.field("ports").is_empty() && !headless && !external && !every_port {
        errors.push(spec.field("ports").required(""));
    }
}

/// A Service's spec.
pub(in super::super) fn spec(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    metadata::labels(&spec.field("selector"), errors);
    let kind = spec.field("type").text();
    let address = spec.field("clusterIP");
    match kind {
        "ExternalName" => {
            let name = spec.field("externalName");
            if name.is_empty() {
                errors.push(name.required(""));
            } else if let Err(why) = names::dns_subdomain(name.text().trim_end_matches('.')) {
                errors.push(name.invalid(why));
            }
            if !address.is_empty() {
                errors.push(address.forbidden("may not be set when `type` is 'ExternalName'"));
            }
        }
        "NodePort" | "LoadBalancer" if address.text() == "None" => {
            errors.push(address.invalid(format!("may not be set to 'None' for {kind} services")));
        }
        _ => {}
    }
    if !address.is_empty() && address.text() != "None" {
        check::ip(&address, errors);
    }
    families(spec, errors);
    spec.field("externalIPs").items().for_each(|ip| check::ip(&ip, errors));
    check::cidrs(&spec.field("loadBalancerSourceRanges"), errors);
    ports(spec, kind, errors);
}

/// The addresses and their families by themselves; what the cluster has is another question.
fn families(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (addresses, families) = (spec.field("clusterIPs"), spec.field("ipFamilies"));
    for field in [&addresses, &families] {
        if field.items().count() > 2 {
            errors.push(field.invalid("may only hold up to 2 values"));
        }
    }
    let mut seen = Vec::new();
    for family in families.items() {
        if seen.contains(&family.text()) {
            errors.push(family.duplicate());
        }
        seen.push(family.text());
    }
    let several = addresses.items().count() > 1;
    for address in addresses.items() {
        match address.text() {
            "None" if several => errors.push(address.invalid("must be a valid IP address")),
            "None" | "" => {}
            _ => check::ip(&address, errors),
        }
    }
}

fn ports(spec: &Spot<'_>, kind: &str, errors: &mut Vec<FieldError>) {
    let ports = spec.field("ports");
    let several = ports.items().count() > 1;
    check::unique(&ports, "name", errors);
    let (mut seen, mut nodes) = (Vec::new(), Vec::new());
    for port in ports.items() {
        let name = port.field("name");
        if name.is_empty() && several {
            errors.push(name.required(""));
        }
        check::label(&name, errors);
        check::port(&port.field("port"), errors);
        check::port_or_name(&port.field("targetPort"), errors);
        let key = (port.field("port").number(), port.field("protocol").text().to_owned());
        if seen.contains(&key) {
            errors.push(port.duplicate());
        }
        let node = port.field("nodePort");
        if let Some(number) = node.number().filter(|n| *n != 0) {
            if kind == "ClusterIP" {
                errors.push(node.forbidden("may not be used when `type` is 'ClusterIP'"));
            }
            check::port(&node, errors);
            let key = (number, key.1.clone());
            if nodes.contains(&key) {
                errors.push(node.duplicate());
            }
            nodes.push(key);
        }
        seen.push(key);
    }
}

/// A subset of Endpoints.
pub(in super::super) fn subset(subset: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (ready, waiting) = (subset.field("addresses"), subset.field("notReadyAddresses"));
    if ready.is_empty() && waiting.is_empty() {
        errors.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
    }
    for address in ready.items().chain(waiting.items()) {
        check::ip(&address.field("ip"), errors);
    }
    for port in subset.field("ports").items() {
        check::port(&port.field("port"), errors);
        check::label(&port.field("name"), errors);
    }
}

/// An EndpointSlice.
pub(in super::super) fn slice(slice: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let kind = slice.field("addressType").text();
    let endpoints = slice.field("endpoints");
    let count = endpoints.items().count();
    if count > 1000 {
        errors.push(FieldError::too_many("endpoints", count, 1000));
    }
    for endpoint in endpoints.items() {
        let addresses = endpoint.field("addresses");
        if addresses.value.as_array().is_some_and(Vec::is_empty) {
            errors.push(addresses.required("must contain at least 1 address"));
        }
        for address in addresses.items() {
            match (kind, address.text().parse::<IpAddr>()) {
                ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => {}
                ("IPv4", _) => errors.push(address.invalid("must be a valid IPv4 address")),
                ("IPv6", _) => errors.push(address.invalid("must be a valid IPv6 address")),
                _ => check::subdomain(&address, errors),
            }
        }
    }
    let mut seen: Vec<&Value> = Vec::new();
    for port in slice.field("ports").items() {
        check::port(&port.field("port"), errors);
        check::label(&port.field("name"), errors);
        if let Some(name) = port.value.get("name") {
            if seen.contains(&name) {
                errors.push(port.field("name").duplicate());
            }
            seen.push(name);
        }
    }
}
