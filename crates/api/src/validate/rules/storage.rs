//! Rules of persistent storage.

use std::sync::LazyLock;

use super::super::error::FieldError;
use super::super::spot::Spot;
use super::pod;

/// Fields of a volume's spec that say where the data lies.
pub(in super::super) static SOURCES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let all = pod::sources("io.k8s.api.core.v1.PersistentVolumeSpec");
    let plain = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    all.into_iter().filter(|n| !plain.contains(&n.as_str())).collect()
});

/// A PersistentVolume.
pub(in super::super) fn volume(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    modes(spec, errors);
    let capacity = spec.field("capacity");
    if capacity.field("storage").is_empty() {
        errors.push(capacity.required("storage is required"));
    }
    let present: Vec<&String> =
        SOURCES.iter().filter(|s| spec.value.get(s.as_str()).is_some_and(|v| !v.is_null())).collect();
    if present.is_empty() {
        errors.push(spec.required("must specify a volume type"));
    }
    for extra in present.iter().skip(1) {
        errors.push(spec.field(extra).forbidden("may not specify more than 1 volume type"));
    }
    let local = spec.field("local");
    if local.exists() {
        if local.field("path").is_empty() {
            errors.push(local.field("path").required(""));
        }
        if !spec.field("nodeAffinity").exists() {
            errors.push(spec.field("nodeAffinity").required("Local volume requires node affinity"));
        }
    }
}

/// A PersistentVolumeClaim's spec.
pub(in super::super) fn claim(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    modes(spec, errors);
    let resources = spec.field("resources");
    let requests = resources.field("requests");
    let storage = requests.field("storage");
    if storage.is_empty() {
        errors.push(storage.required(""));
    }
}

fn modes(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let modes = spec.field("accessModes");
    if modes.is_empty() {
        errors.push(modes.required("at least 1 access mode is required"));
    }
    let alone = modes.items().any(|m| m.text() == "ReadWriteOncePod");
    if alone && modes.items().count() > 1 {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}
