//! Tables of nodes, namespaces and plain objects.

use serde_json::{Map, Value};

use super::cell::{created, items, joined, name, number, plain, text};
use super::{Table, table};
use crate::meta;

/// Kinds without a table of their own.
pub(super) const PLAIN: Table = table(&["Name", "Age"], |object, now| vec![name(object), created(object, now)]);

pub(super) const NAMESPACE: Table = table(&["Name", "Status", "Age"], |object, now| {
    vec![name(object), text(object, "status.phase", ""), created(object, now)]
});

pub(super) const CONFIG_MAP: Table = table(&["Name", "Data", "Age"], |object, now| {
    let count = |key: &str| object.get(key).and_then(Value::as_object).map_or(0, Map::len);
    vec![name(object), (count("data") + count("binaryData")).into(), created(object, now)]
});

pub(super) const LEASE: Table = table(&["Name", "Holder", "Age"], |object, now| {
    vec![name(object), text(object, "spec.holderIdentity", ""), created(object, now)]
});

pub(super) const PRIORITY_CLASS: Table =
    table(&["Name", "Value", "Global-Default", "Age", "PreemptionPolicy"], |object, now| {
        vec![
            name(object),
            number(object, "value").into(),
            plain(meta::at(object, "globalDefault"), "false").into(),
            created(object, now),
            text(object, "preemptionPolicy", ""),
        ]
    });

pub(super) const RESOURCE_QUOTA: Table = table(&["Name", "Request", "Limit", "Age"], |object, now| {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let hard = meta::at(object, "status.hard").as_object().or_else(|| meta::at(object, "spec.hard").as_object());
    for (resource, amount) in hard.into_iter().flatten() {
        let used = meta::at(object, "status.used").get(resource).map_or_else(|| "0".to_owned(), |u| plain(u, "0"));
        let entry = format!("{resource}: {used}/{}", plain(amount, "0"));
        if resource.starts_with("limits.") { limits.push(entry) } else { requests.push(entry) }
    }
    vec![name(object), requests.join(", ").into(), limits.join(", ").into(), created(object, now)]
});

pub(super) const PROJECT: Table = table(&["Name", "Title", "Objects", "Age", "+Files"], |object, now| {
    vec![
        name(object),
        text(object, "spec.title", meta::name(object)),
        items(object, "status.objects").count().to_string().into(),
        created(object, now),
        joined(items(object, "spec.files").map(|f| meta::text(f, "path")), "<none>"),
    ]
});

pub(super) const NODE: Table = table(
    &[
        "Name",
        "Status",
        "Roles",
        "Age",
        "Version",
        "+Internal-IP",
        "+External-IP",
        "+OS-Image",
        "+Kernel-Version",
        "+Container-Runtime",
    ],
    |object, now| {
        let address = |of: &str| {
            let found = items(object, "status.addresses").find(|a| meta::text(a, "type") == of);
            found.map_or("<none>", |a| meta::text(a, "address")).to_owned()
        };
        vec![
            name(object),
            node_status(object).into(),
            roles(object).into(),
            created(object, now),
            text(object, "status.nodeInfo.kubeletVersion", ""),
            address("InternalIP").into(),
            address("ExternalIP").into(),
            text(object, "status.nodeInfo.osImage", "<unknown>"),
            text(object, "status.nodeInfo.kernelVersion", "<unknown>"),
            text(object, "status.nodeInfo.containerRuntimeVersion", "<unknown>"),
        ]
    },
);

fn node_status(node: &Value) -> String {
    let ready = items(node, "status.conditions").find(|c| meta::text(c, "type") == "Ready");
    let mut status = match ready.map(|c| meta::text(c, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if meta::at(node, "spec.unschedulable") == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in meta::labels(node).into_iter().flatten() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            roles.push(role);
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str());
        }
    }
    roles.retain(|r| !r.is_empty());
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}
