//! Defaults of namespaces, nodes, storage, secrets and access.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::edit::{Object, child, each, make, set, text};
use crate::naru::names;

const RBAC: &str = "rbac.authorization.k8s.io";

/// A Namespace carries its own name as a label, so that selectors can name it.
pub(super) fn namespace(object: &mut Object) {
    make(object, "metadata", |metadata| {
        let name = text(metadata, "name").to_owned();
        if !name.is_empty() {
            make(metadata, "labels", |labels| drop(labels.insert(names::NAMESPACE_NAME.to_owned(), name.into())));
        }
    });
}

/// A Node can give what it has, unless it says less.
pub(super) fn node(object: &mut Object) {
    child(object, "status", |status| {
        if let Some(capacity) = status.get("capacity").cloned() {
            make(status, "allocatable", |allocatable| {
                for (name, amount) in capacity.as_object().into_iter().flatten() {
                    allocatable.entry(name.clone()).or_insert_with(|| amount.clone());
                }
            });
        }
    });
}

/// A Secret. Plain text is turned into data and not kept beside it.
pub(super) fn secret(object: &mut Object) {
    set(object, "type", "Opaque");
    if let Some(Value::Object(plain)) = object.remove("stringData") {
        make(object, "data", |data| {
            for (key, value) in plain {
                data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
            }
        });
    }
}

/// A LimitRange: the default of a container is its maximum, the default request its default or minimum.
pub(super) fn limit_range(object: &mut Object) {
    make(object, "spec", |spec| {
        each(spec, "limits", |limit| {
            if text(limit, "type") != "Container" {
                return;
            }
            for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
                if let Some(Value::Object(amounts)) = limit.get(from).cloned() {
                    make(limit, to, |to| {
                        for (name, amount) in amounts {
                            to.entry(name).or_insert(amount);
                        }
                    });
                }
            }
        });
    });
}

/// A PersistentVolume.
pub(super) fn persistent_volume(object: &mut Object) {
    make(object, "spec", |spec| {
        set(spec, "volumeMode", "Filesystem");
        set(spec, "persistentVolumeReclaimPolicy", "Retain");
        child(spec, "hostPath", |path| {
            if !path.contains_key("type") {
                path.insert("type".to_owned(), "".into());
            }
        });
    });
    make(object, "status", |status| set(status, "phase", "Pending"));
}

/// A PersistentVolumeClaim.
pub(super) fn claim(object: &mut Object) {
    make(object, "spec", |spec| set(spec, "volumeMode", "Filesystem"));
    make(object, "status", |status| set(status, "phase", "Pending"));
}

/// A StorageClass.
pub(super) fn storage_class(object: &mut Object) {
    set(object, "reclaimPolicy", "Delete");
    set(object, "volumeBindingMode", "Immediate");
}

/// A CSIDriver: what a driver says that has nothing to say.
pub(super) fn csi_driver(object: &mut Object) {
    make(object, "spec", |spec| {
        set(spec, "attachRequired", true);
        set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            set(spec, field, false);
        }
        if spec.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
        }
    });
}

/// A RoleBinding or ClusterRoleBinding.
pub(super) fn role_binding(object: &mut Object) {
    child(object, "roleRef", |role| set(role, "apiGroup", RBAC));
    each(object, "subjects", |subject| match text(subject, "kind") {
        "User" | "Group" => set(subject, "apiGroup", RBAC),
        _ => {}
    });
}

/// A PriorityClass.
pub(super) fn priority_class(object: &mut Object) {
    set(object, "preemptionPolicy", "PreemptLowerPriority");
}

/// A CertificateSigningRequest.
pub(super) fn signing_request(object: &mut Object) {
    make(object, "spec", |spec| {
        if spec.get("usages").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            spec.insert("usages".to_owned(), json!(["digital signature", "key encipherment"]));
        }
    });
}

/// A TokenRequest: an hour.
pub(super) fn token_request(object: &mut Object) {
    make(object, "spec", |spec| set(spec, "expirationSeconds", 3600));
}
