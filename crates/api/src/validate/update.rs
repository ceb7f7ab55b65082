//! What may not change.

use serde_json::{Map, Value, json};

use super::error::FieldError;
use super::{metadata, rules, whole};
use crate::kind::Kind;
use crate::meta;

const IMMUTABLE: &str = "field is immutable";

/// What is wrong with a changed object.
pub fn update(kind: &Kind, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::update(old, new, &mut errors);
    whole(kind, new, Some(old), &mut errors);
    changes(kind, old, new, &mut errors);
    errors
}

/// What is wrong with a change through `pods/ephemeralcontainers`: containers may only be added there.
pub fn ephemeral_containers(kind: &Kind, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    whole(kind, new, Some(old), &mut errors);
    let path = "spec.ephemeralContainers";
    let list = |v: &Value| meta::at(v, path).as_array().cloned().unwrap_or_default();
    let (before, after) = (list(old), list(new));
    if before.iter().any(|c| !after.contains(c)) {
        errors.push(FieldError::forbidden(path, "existing ephemeral containers may not be removed or changed"));
    }
    let without = |v: &Value| {
        let mut spec = v.get("spec").cloned().unwrap_or_default();
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("ephemeralContainers");
        }
        spec
    };
    if without(old) != without(new) {
        errors.push(FieldError::forbidden("spec", "only ephemeralContainers may change through this path"));
    }
    errors
}

/// What is wrong with a change through `pods/resize`: only resources may change there.
pub fn resize(kind: &Kind, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    whole(kind, new, Some(old), &mut errors);
    let without = |v: &Value| {
        let mut spec = v.get("spec").cloned().unwrap_or_default();
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    container.remove("resources");
                    container.remove("resizePolicy");
                }
            }
        }
        spec
    };
    if without(old) != without(new) {
        errors.push(FieldError::forbidden("spec", "only cpu and memory resources may change through this path"));
    }
    errors
}

fn changes(kind: &Kind, old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let mut fixed = |paths: &[&str], why: &str| {
        for path in paths {
            same(old, new, path, why, errors);
        }
    };
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "Pod") => pod(old, new, errors),
        ("", "Service") => service(old, new, errors),
        ("", "ConfigMap") => sealed(old, new, &["data", "binaryData"], errors),
        ("", "Secret") => {
            fixed(&["type"], IMMUTABLE);
            sealed(old, new, &["data"], errors);
        }
        ("", "PersistentVolumeClaim") => claim(old, new, errors),
        ("", "PersistentVolume") => volume(old, new, errors),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => fixed(&["spec.selector"], IMMUTABLE),
        ("apps", "StatefulSet") => stateful_set(old, new, errors),
        ("apps", "ControllerRevision") => fixed(&["data"], IMMUTABLE),
        ("batch", "Job") => job(old, new, errors),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            fixed(&["roleRef"], "cannot change roleRef");
        }
        ("storage.k8s.io", "StorageClass") => {
            for path in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                if meta::at(old, path) != meta::at(new, path) {
                    errors.push(FieldError::forbidden(path, format!("updates to {path} are forbidden.")));
                }
            }
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            for path in ["value", "preemptionPolicy"] {
                if meta::at(old, path) != meta::at(new, path) {
                    errors.push(FieldError::forbidden(path, "may not be changed in an update."));
                }
            }
        }
        ("discovery.k8s.io", "EndpointSlice") => fixed(&["addressType"], IMMUTABLE),
        ("networking.k8s.io", "IngressClass") => fixed(&["spec.controller"], IMMUTABLE),
        _ => super::fixed::changes(kind, old, new, errors),
    }
}

fn same(old: &Value, new: &Value, path: &str, why: &str, errors: &mut Vec<FieldError>) {
    let value = meta::at(new, path);
    if meta::at(old, path) != value {
        errors.push(FieldError::invalid(path, value, why));
    }
}

/// An immutable ConfigMap or Secret stays so.
fn sealed(old: &Value, new: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    if meta::at(old, "immutable") != true {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    for field in fields.iter().chain(&["immutable"]) {
        if old.get(field).filter(|v| !v.is_null()) != new.get(field).filter(|v| !v.is_null()) {
            errors.push(FieldError::forbidden(*field, why));
        }
    }
}

/// Of a pod's spec, images, the deadline (down), and additional tolerations may change.
fn pod(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let mut allowed = new.get("spec").cloned().unwrap_or_default();
    let before = old.get("spec").cloned().unwrap_or_default();
    for list in ["containers", "initContainers"] {
        let (Some(then), Some(now)) =
            (before.get(list).and_then(Value::as_array), allowed.get_mut(list).and_then(Value::as_array_mut))
        else {
            continue;
        };
        if then.len() != now.len() {
            errors.push(FieldError::forbidden(format!("spec.{list}"), "pod updates may not add or remove containers"));
            return;
        }
        for (then, now) in then.iter().zip(now) {
            carry(then, now, "image");
        }
    }
    let deadline = |v: &Value| v.get("activeDeadlineSeconds").and_then(Value::as_i64);
    match (deadline(&before), deadline(&allowed)) {
        (Some(_), None) => {
            let text = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid("spec.activeDeadlineSeconds", &Value::Null, text));
        }
        (Some(then), Some(now)) if now > then => {
            let text = format!("must be less than or equal to previous value {then}");
            errors.push(FieldError::invalid("spec.activeDeadlineSeconds", &json!(now), text));
        }
        _ => {}
    }
    let tolerations = |v: &Value| v.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    let (then, now) = (tolerations(&before), tolerations(&allowed));
    if then.iter().any(|t| !now.contains(t) && !now.iter().any(|n| only_seconds_differ(t, n))) {
        let text = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", text));
        return;
    }
    for field in ["activeDeadlineSeconds", "tolerations"] {
        carry(&before, &mut allowed, field);
    }
    if allowed != before {
        let text = "pod updates may not change fields other than `spec.containers[*].image`, \
                    `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions \
                    to existing tolerations)";
        let changed: Vec<String> = changed_fields(&before, &allowed);
        errors.push(FieldError::forbidden("spec", format!("{text}; changed: {}", changed.join(", "))));
    }
}

fn only_seconds_differ(a: &Value, b: &Value) -> bool {
    let without = |v: &Value| {
        let mut map = v.as_object().cloned().unwrap_or_default();
        map.remove("tolerationSeconds");
        map
    };
    without(a) == without(b)
}

fn carry(from: &Value, to: &mut Value, field: &str) {
    let Some(map) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => drop(map.insert(field.to_owned(), value.clone())),
        None => drop(map.remove(field)),
    }
}

fn changed_fields(old: &Value, new: &Value) -> Vec<String> {
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut names: Vec<String> = old.keys().chain(new.keys()).filter(|k| old.get(*k) != new.get(*k)).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A Service's address stays while it has one.
fn service(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let external = |v: &Value| meta::text(v, "spec.type") == "ExternalName";
    let before = meta::text(old, "spec.clusterIP");
    if external(old) || external(new) || before.is_empty() {
        return;
    }
    if meta::text(new, "spec.clusterIP") != before {
        let shown = json!([meta::text(new, "spec.clusterIP")]);
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &shown, "may not change once set"));
    }
}

/// A claim's spec stays, except that a bound claim may ask for more.
fn claim(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let mut allowed = new.get("spec").cloned().unwrap_or_default();
    let before = old.get("spec").cloned().unwrap_or_default();
    // Binding is what gives a claim its volume, and a class where it had none.
    if meta::text(old, "spec.volumeName").is_empty() {
        carry(&before, &mut allowed, "volumeName");
    }
    if before.get("storageClassName").is_none() {
        carry(&before, &mut allowed, "storageClassName");
    }
    carry(&before, &mut allowed, "volumeAttributesClassName");
    let amount = |v: &Value| {
        let text = v.pointer("/resources/requests/storage").and_then(Value::as_str).unwrap_or_default();
        crate::quantity::Quantity::parse(text).unwrap_or_default()
    };
    let path = "spec.resources.requests.storage";
    if amount(&allowed) < amount(&before) {
        errors.push(FieldError::forbidden(path, "field can not be less than previous value"));
    }
    if meta::text(old, "status.phase") == "Bound" {
        carry(&before, &mut allowed, "resources");
    }
    if allowed != before {
        let text =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden(
            "spec",
            format!("{text}; changed: {}", changed_fields(&before, &allowed).join(", ")),
        ));
    }
}

/// Where a volume's data lies stays.
fn volume(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let differs = |source: &String| {
        let path = format!("spec.{source}");
        meta::at(old, &path) != meta::at(new, &path)
    };
    if rules::volume_sources().iter().any(differs) {
        errors.push(FieldError::forbidden("spec.persistentvolumesource", "is immutable after creation"));
    }
    same(old, new, "spec.volumeMode", IMMUTABLE, errors);
}

fn stateful_set(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    const FREE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let mut allowed = new.get("spec").cloned().unwrap_or_default();
    let before = old.get("spec").cloned().unwrap_or_default();
    for field in FREE {
        carry(&before, &mut allowed, field);
    }
    if allowed != before {
        let list: Vec<String> = FREE.iter().map(|f| format!("'{f}'")).collect();
        let text = format!("updates to statefulset spec for fields other than {} are forbidden", list.join(", "));
        errors.push(FieldError::forbidden("spec", text));
    }
}

fn job(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    const FIXED: [&str; 6] = [
        "spec.selector",
        "spec.completionMode",
        "spec.podFailurePolicy",
        "spec.backoffLimitPerIndex",
        "spec.managedBy",
        "spec.successPolicy",
    ];
    for path in FIXED {
        same(old, new, path, IMMUTABLE, errors);
    }
    let indexed = meta::text(new, "spec.completionMode") == "Indexed";
    let follows = meta::at(new, "spec.completions") == meta::at(new, "spec.parallelism");
    if !(indexed && follows) {
        same(old, new, "spec.completions", IMMUTABLE, errors);
    }
    // A suspended Job that never started may still be sent elsewhere.
    let movable = meta::at(old, "spec.suspend") == true && meta::at(old, "status.startTime").is_null();
    if !movable {
        same(old, new, "spec.template", IMMUTABLE, errors);
    }
}
