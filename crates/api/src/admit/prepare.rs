//! What of a written object counts.

use serde_json::{Map, Value, json};

use super::edit::{Object, text};
use crate::kind::{Kind, Subresource};
use crate::meta;

/// Metadata that only the server writes.
const SERVERS: &[&str] =
    &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"];

/// Makes a new object ready: forgets what only the server writes, begins the generation and the status.
/// The caller gives identity and time with [`stamp`](super::stamp) afterwards.
pub fn prepare_create(kind: &Kind, object: &mut Value) {
    if let Some(metadata) = meta::metadata_mut(object) {
        for key in SERVERS {
            metadata.remove(*key);
        }
        if !kind.is_namespaced() {
            metadata.remove("namespace");
        }
        if counts_generations(kind) {
            metadata.insert("generation".to_owned(), 1.into());
        }
    }
    let first = first_status(kind, object);
    let Some(map) = object.as_object_mut() else { return };
    if kind.has(Subresource::Status) && !keeps_status(kind) {
        match first {
            Some(status) => drop(map.insert("status".to_owned(), status)),
            None => drop(map.remove("status")),
        }
    }
    if kind.is("", "Namespace") {
        let spec = map.entry("spec").or_insert_with(|| json!({}));
        spec["finalizers"] = json!(["kubernetes"]);
    }
    if kind.is_definition() {
        naru_crd::prepare(None, object);
    }
}

/// Makes a changed object ready: keeps the status (where it is written apart) and what only the server writes, and raises
/// the generation when the desired part differs.
pub fn prepare_update(kind: &Kind, old: &Value, new: &mut Value) {
    let empty = Map::new();
    let before = old.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    if let Some(metadata) = meta::metadata_mut(new) {
        for key in SERVERS {
            // Another identifier than the present one is an error that validation tells.
            let given = *key == "uid" && !text(metadata, key).is_empty();
            if !given {
                keep(before, metadata, key);
            }
        }
        // Ownership is written by `apply`; a writer that leaves it out does not mean to erase it.
        if metadata.get("managedFields").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            keep(before, metadata, "managedFields");
        }
        for key in ["name", "namespace", "generateName"] {
            if text(metadata, key).is_empty() {
                keep(before, metadata, key);
            }
        }
    }
    let (Some(before), Some(after)) = (old.as_object(), new.as_object_mut()) else { return };
    if kind.has(Subresource::Status) {
        keep(before, after, "status");
    }
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "Service") => keep_addresses(old, after),
        ("", "Namespace") => {
            let finalizers = meta::at(old, "spec.finalizers").clone();
            if !finalizers.is_null() {
                after.entry("spec").or_insert_with(|| json!({}))["finalizers"] = finalizers;
            }
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => keep(before, after, "spec"),
        ("", "Secret") if text(after, "type").is_empty() => keep(before, after, "type"),
        _ => {}
    }
    if kind.is_definition() {
        naru_crd::prepare(Some(old), new);
    }
    if counts_generations(kind) && desired_differs(kind, old, new) {
        meta::set(new, "generation", meta::generation(old) + 1);
    }
}

/// Makes a changed status ready: everything but the status, annotations and labels (and what it was written against)
/// stays. Controllers write what they have seen into annotations together with the status; a Deployment's labels stay,
/// as its own rules say, and of objects of kinds that users define both do.
pub fn prepare_status(kind: &Kind, old: &Value, new: &mut Value) {
    let status = new.get_mut("status").map(Value::take);
    let mut given = new.get_mut("metadata").map(Value::take).unwrap_or_default();
    *new = old.clone();
    let own: &[&str] = match kind.custom() {
        Some(_) => &[],
        None if kind.is("apps", "Deployment") => &["annotations"],
        None => &["annotations", "labels"],
    };
    if let (Some(metadata), Some(given)) = (meta::metadata_mut(new), given.as_object_mut()) {
        for key in own {
            match given.remove(*key) {
                Some(value) => drop(metadata.insert((*key).to_owned(), value)),
                None => drop(metadata.remove(*key)),
            }
        }
        for key in ["resourceVersion", "uid"] {
            if !text(given, key).is_empty() {
                metadata.insert(key.to_owned(), given.remove(key).unwrap_or_default());
            }
        }
    }
    if let Some(map) = new.as_object_mut() {
        match status {
            Some(status) => drop(map.insert("status".to_owned(), status)),
            None => drop(map.remove("status")),
        }
        if kind.is("", "Node") {
            super::cluster::node(map);
        }
    }
}

fn keep(before: &Object, after: &mut Object, key: &str) {
    match before.get(key) {
        Some(value) => drop(after.insert(key.to_owned(), value.clone())),
        None => drop(after.remove(key)),
    }
}

/// Kinds whose desired part has generations.
fn counts_generations(kind: &Kind) -> bool {
    if kind.custom().is_some() {
        return true;
    }
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", name) => matches!(name, "Pod" | "ReplicationController"),
        // Kubernetes counts the changes of none of these.
        (
            "coordination.k8s.io" | "certificates.k8s.io" | "apiregistration.k8s.io" | "autoscaling" | "storage.k8s.io",
            _,
        )
        | ("networking.k8s.io", "IPAddress" | "ServiceCIDR")
        | ("resource.k8s.io", "ResourceClaim" | "ResourceClaimTemplate") => false,
        // These have no `spec`, and changes of all that they say count.
        ("admissionregistration.k8s.io", _) | ("discovery.k8s.io", "EndpointSlice") => true,
        _ => kind.is_stored() && kind.schema().root().field("spec").is_some(),
    }
}

/// Kinds that report themselves: a Node is made together with its status.
fn keeps_status(kind: &Kind) -> bool {
    kind.is("", "Node")
}

fn first_status(kind: &Kind, object: &Value) -> Option<Value> {
    let schema = kind.schema();
    let field = schema.root().field("status")?;
    Some(match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "Pod") => json!({"phase": "Pending", "qosClass": crate::view::qos_class(object)}),
        ("", "Namespace") => json!({"phase": "Active"}),
        ("", "PersistentVolume" | "PersistentVolumeClaim") => json!({"phase": "Pending"}),
        ("", "Service") | ("networking.k8s.io", "Ingress") => json!({"loadBalancer": {}}),
        ("apps", "ReplicaSet" | "StatefulSet") | ("", "ReplicationController") => json!({"replicas": 0}),
        ("autoscaling", _) => json!({"currentReplicas": 0, "desiredReplicas": 0}),
        ("storage.k8s.io", "VolumeAttachment") => json!({"attached": false}),
        ("apps", "DaemonSet") => json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        }),
        _ if field.fill => json!({}),
        _ => return None,
    })
}

/// Whether anything but metadata and a status that is written apart differs. A Deployment's annotations count too: they
/// are copied to its ReplicaSets.
fn desired_differs(kind: &Kind, old: &Value, new: &Value) -> bool {
    fn relevant(object: &Value, apart: bool) -> impl Iterator<Item = (&String, &Value)> {
        let fields = object.as_object().into_iter().flatten();
        fields.filter(move |(k, _)| match k.as_str() {
            "metadata" | "apiVersion" | "kind" => false,
            "status" => !apart,
            _ => true,
        })
    }
    // Of the kinds that users define not all have a status of its own; it is then a field like others.
    let apart = kind.custom().is_none() || kind.has(Subresource::Status);
    !relevant(old, apart).eq(relevant(new, apart))
        || (kind.is("apps", "Deployment") && meta::annotations(old) != meta::annotations(new))
}

/// A Service keeps its addresses and node ports when a writer leaves them out.
fn keep_addresses(old: &Value, new: &mut Object) {
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let Some(before) = old.get("spec").and_then(Value::as_object) else { return };
    let kind = text(spec, "type");
    if kind == "ExternalName" || text(before, "type") == "ExternalName" {
        return;
    }
    // Families and second addresses follow from the policy, which admission knows how to read.
    if text(spec, "clusterIP").is_empty() {
        keep(before, spec, "clusterIP");
        if spec.get("clusterIPs").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            keep(before, spec, "clusterIPs");
        }
    }
    if !matches!(text(spec, "type"), "NodePort" | "LoadBalancer") {
        return;
    }
    let old_ports: Vec<Value> = before.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port.get("nodePort").is_some_and(|p| *p != 0) {
            continue;
        }
        let same = |o: &&Value| o.get("port") == port.get("port") && o.get("protocol") == port.get("protocol");
        if let Some(number) = old_ports.iter().find(same).and_then(|o| o.get("nodePort")).cloned() {
            port["nodePort"] = number;
        }
    }
}
