//! Tables of what leads traffic.

use serde_json::Value;

use super::cell::{created, items, joined, labels, name, number, plain, selector, text};
use super::{Table, table};
use crate::meta;

pub(super) const SERVICE: Table =
    table(&["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"], |object, now| {
        let kind = match meta::text(object, "spec.type") {
            "" => "ClusterIP",
            kind => kind,
        };
        let address = items(object, "spec.clusterIPs").next().and_then(Value::as_str).unwrap_or_default();
        let address = if address.is_empty() { meta::text(object, "spec.clusterIP") } else { address };
        vec![
            name(object),
            kind.into(),
            if address.is_empty() { "<none>".into() } else { address.into() },
            outside(object, kind),
            ports(object),
            created(object, now),
            labels(meta::at(object, "spec.selector").as_object()),
        ]
    });

fn outside(service: &Value, kind: &str) -> Value {
    let listed = || items(service, "spec.externalIPs").filter_map(Value::as_str);
    match kind {
        "ExternalName" => text(service, "spec.externalName", "<none>"),
        "LoadBalancer" => {
            let given = items(service, "status.loadBalancer.ingress").map(|i| match meta::text(i, "ip") {
                "" => meta::text(i, "hostname"),
                ip => ip,
            });
            joined(given.chain(listed()), "<pending>")
        }
        _ => joined(listed(), "<none>"),
    }
}

fn ports(service: &Value) -> Value {
    let ports: Vec<String> = items(service, "spec.ports")
        .map(|p| {
            let protocol = match meta::text(p, "protocol") {
                "" => "TCP",
                protocol => protocol,
            };
            match number(p, "nodePort") {
                0 => format!("{}/{protocol}", number(p, "port")),
                node => format!("{}:{node}/{protocol}", number(p, "port")),
            }
        })
        .collect();
    if ports.is_empty() { "<none>".into() } else { ports.join(",").into() }
}

/// At most three, and how many more there are.
fn some(all: &[String]) -> Value {
    match all {
        [] => "<none>".into(),
        [first @ .., _] if all.len() > 3 => format!("{} + {} more...", first[..3].join(","), all.len() - 3).into(),
        all => all.join(",").into(),
    }
}

pub(super) const ENDPOINTS: Table = table(&["Name", "Endpoints", "Age"], |object, now| {
    let mut all = Vec::new();
    for subset in items(object, "subsets") {
        let addresses: Vec<&str> = items(subset, "addresses").map(|a| meta::text(a, "ip")).collect();
        let ports: Vec<i64> = items(subset, "ports").map(|p| number(p, "port")).collect();
        if ports.is_empty() {
            all.extend(addresses.iter().map(ToString::to_string));
        }
        for port in ports {
            let join = |a: &&str| if a.contains(':') { format!("[{a}]:{port}") } else { format!("{a}:{port}") };
            all.extend(addresses.iter().map(join));
        }
    }
    vec![name(object), some(&all), created(object, now)]
});

pub(super) const ENDPOINT_SLICE: Table = table(&["Name", "AddressType", "Ports", "Endpoints", "Age"], |object, now| {
    let ports: Vec<String> = items(object, "ports").map(|p| plain(meta::at(p, "port"), "*")).collect();
    let addresses = items(object, "endpoints").flat_map(|e| items(e, "addresses"));
    let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    let ports = if ports.is_empty() { "<unset>".into() } else { some(&ports) };
    let addresses = if addresses.is_empty() { "<unset>".into() } else { some(&addresses) };
    vec![name(object), text(object, "addressType", ""), ports, addresses, created(object, now)]
});

pub(super) const INGRESS: Table = table(&["Name", "Class", "Hosts", "Address", "Ports", "Age"], |object, now| {
    let hosts: Vec<&str> = items(object, "spec.rules").map(|r| meta::text(r, "host")).collect();
    let given = items(object, "status.loadBalancer.ingress").map(|i| match meta::text(i, "ip") {
        "" => meta::text(i, "hostname"),
        ip => ip,
    });
    let secured = items(object, "spec.tls").next().is_some();
    vec![
        name(object),
        text(object, "spec.ingressClassName", "<none>"),
        joined(hosts.into_iter(), "*"),
        joined(given, ""),
        if secured { "80, 443".into() } else { "80".into() },
        created(object, now),
    ]
});

pub(super) const INGRESS_CLASS: Table = table(&["Name", "Controller", "Parameters", "Age"], |object, now| {
    let parameters = match meta::at(object, "spec.parameters") {
        Value::Object(_) => {
            let of = |key: &str| meta::text(object, &format!("spec.parameters.{key}"));
            let group = if of("apiGroup").is_empty() { String::new() } else { format!(".{}", of("apiGroup")) };
            format!("{}{group}/{}", of("kind"), of("name"))
        }
        _ => "<none>".to_owned(),
    };
    vec![name(object), text(object, "spec.controller", ""), parameters.into(), created(object, now)]
});

pub(super) const NETWORK_POLICY: Table = table(&["Name", "Pod-Selector", "Age"], |object, now| {
    vec![name(object), selector(meta::at(object, "spec.podSelector")), created(object, now)]
});

pub(super) const NETWORK: Table =
    table(&["Name", "Title", "Internal", "Members", "Age", "+Namespace", "+Subnets"], |object, now| {
        vec![
            name(object),
            text(object, "spec.title", meta::name(object)),
            plain(meta::at(object, "spec.internal"), "false").into(),
            number(object, "status.members").into(),
            created(object, now),
            text(object, "spec.namespace", "<none>"),
            joined(items(object, "spec.subnets").filter_map(Value::as_str), "<none>"),
        ]
    });
