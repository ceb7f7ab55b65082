//! What may not change of the kinds that extend the server, bring volumes and devices, or lead traffic.

use serde_json::Value;

use super::error::FieldError;
use super::rules;
use super::spot::Spot;
use crate::kind::Kind;
use crate::meta;

const IMMUTABLE: &str = "field is immutable";

/// What is wrong with a change.
pub(super) fn changes(kind: &Kind, old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let mut fixed = |paths: &[&str]| {
        for path in paths {
            same(old, new, path, errors);
        }
    };
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "ResourceQuota") => fixed(&["spec.scopes"]),
        ("networking.k8s.io", "IPAddress") => fixed(&["spec.parentRef"]),
        ("networking.k8s.io", "ServiceCIDR") => ranges(old, new, errors),
        ("node.k8s.io", "RuntimeClass") => fixed(&["handler"]),
        ("resource.k8s.io", "ResourceClaim" | "ResourceClaimTemplate") => fixed(&["spec"]),
        ("resource.k8s.io", "ResourceSlice") => fixed(&["spec.pool.name", "spec.driver", "spec.nodeName"]),
        ("storage.k8s.io", "VolumeAttachment") => fixed(&["spec"]),
        ("storage.k8s.io", "CSIStorageCapacity") => fixed(&["nodeTopology", "storageClassName"]),
        ("storage.k8s.io", "CSINode") => drivers(old, new, errors),
        ("storage.k8s.io", "CSIDriver") => {
            // The name of the first field is misspelt in what clients know.
            if meta::at(old, "spec.attachRequired") != meta::at(new, "spec.attachRequired") {
                let value = meta::at(new, "spec.attachRequired");
                errors.push(FieldError::invalid("spec.attachedRequired", value, IMMUTABLE));
            }
            same(old, new, "spec.volumeLifecycleModes", errors);
        }
        ("storage.k8s.io", "VolumeAttributesClass") => {
            for path in ["driverName", "parameters"] {
                if meta::at(old, path) != meta::at(new, path) {
                    errors.push(FieldError::forbidden(path, format!("updates to {path} are forbidden.")));
                }
            }
        }
        _ => {}
    }
}

/// What is wrong with a change of the state.
pub(super) fn status(kind: &Kind, old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if kind.is("certificates.k8s.io", "CertificateSigningRequest") {
        rules::certificate_status(&Spot::root(new), old, errors);
        rules::certificate_changes(old, new, rules::Through::Status, errors);
    }
    if kind.is("resource.k8s.io", "ResourceClaim") {
        let path = "status.allocation";
        if !meta::at(old, path).is_null() && !meta::at(new, path).is_null() {
            same(old, new, path, errors);
        }
    }
}

fn same(old: &Value, new: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let value = meta::at(new, path);
    if meta::at(old, path) != value {
        errors.push(FieldError::invalid(path, value, IMMUTABLE));
    }
}

/// The ranges of a ServiceCIDR stay; one of the other family may join the only one.
fn ranges(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.cidrs";
    let list = |object: &Value| meta::at(object, path).as_array().cloned().unwrap_or_default();
    let (before, after) = (list(old), list(new));
    if after.len() < before.len() {
        errors.push(FieldError::invalid(path, meta::at(new, path), IMMUTABLE));
        return;
    }
    for (i, (then, now)) in before.iter().zip(&after).enumerate() {
        if then != now {
            errors.push(FieldError::invalid(format!("{path}[{i}]"), now, IMMUTABLE));
        }
    }
}

/// What a driver said of itself on a node stays, but for how many volumes it can take.
fn drivers(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.drivers";
    let list = |object: &Value| meta::at(object, path).as_array().cloned().unwrap_or_default();
    let without = |driver: &Value| {
        let mut driver = driver.as_object().cloned().unwrap_or_default();
        driver.remove("allocatable");
        driver
    };
    let after = list(new);
    for then in list(old) {
        let now = after.iter().find(|now| now["name"] == then["name"]);
        if let Some(now) = now.filter(|&now| without(now) != without(&then)) {
            errors.push(FieldError::invalid(path, now, IMMUTABLE));
        }
    }
}
