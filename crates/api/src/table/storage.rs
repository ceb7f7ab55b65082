//! Tables of storage.

use serde_json::Value;

use super::cell::{created, items, name, plain, text};
use super::{Table, table};
use crate::meta;

fn modes(object: &Value, path: &str) -> Value {
    let short = items(object, path).filter_map(Value::as_str).map(|mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    short.collect::<Vec<_>>().join(",").into()
}

fn class(object: &Value) -> Value {
    match meta::annotation(object, "volume.beta.kubernetes.io/storage-class") {
        Some(class) => class.into(),
        None => text(object, "spec.storageClassName", ""),
    }
}

fn status(object: &Value) -> Value {
    if meta::is_deleting(object) { "Terminating".into() } else { text(object, "status.phase", "") }
}

pub(super) const VOLUME: Table = table(
    &[
        "Name",
        "Capacity",
        "Access Modes",
        "Reclaim Policy",
        "Status",
        "Claim",
        "StorageClass",
        "VolumeAttributesClass",
        "Reason",
        "Age",
        "+VolumeMode",
    ],
    |object, now| {
        let claim = match meta::text(object, "spec.claimRef.name") {
            "" => String::new(),
            claim => format!("{}/{claim}", meta::text(object, "spec.claimRef.namespace")),
        };
        vec![
            name(object),
            text(object, "spec.capacity.storage", ""),
            modes(object, "spec.accessModes"),
            text(object, "spec.persistentVolumeReclaimPolicy", ""),
            status(object),
            claim.into(),
            class(object),
            text(object, "spec.volumeAttributesClassName", "<unset>"),
            text(object, "status.reason", ""),
            created(object, now),
            text(object, "spec.volumeMode", "<unset>"),
        ]
    },
);

pub(super) const CLAIM: Table = table(
    &[
        "Name",
        "Status",
        "Volume",
        "Capacity",
        "Access Modes",
        "StorageClass",
        "VolumeAttributesClass",
        "Age",
        "+VolumeMode",
    ],
    |object, now| {
        // Only a bound claim has an amount and modes of its own.
        let bound = !meta::text(object, "spec.volumeName").is_empty();
        vec![
            name(object),
            status(object),
            text(object, "spec.volumeName", ""),
            if bound { text(object, "status.capacity.storage", "") } else { "".into() },
            if bound { modes(object, "status.accessModes") } else { "".into() },
            class(object),
            text(object, "spec.volumeAttributesClassName", "<unset>"),
            created(object, now),
            text(object, "spec.volumeMode", "<unset>"),
        ]
    },
);

pub(super) const CLASS: Table = table(
    &["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"],
    |object, now| {
        let default = meta::annotation(object, "storageclass.kubernetes.io/is-default-class") == Some("true");
        let shown = format!("{}{}", meta::name(object), if default { " (default)" } else { "" });
        vec![
            shown.into(),
            text(object, "provisioner", ""),
            text(object, "reclaimPolicy", "Delete"),
            text(object, "volumeBindingMode", "Immediate"),
            plain(meta::at(object, "allowVolumeExpansion"), "false").into(),
            created(object, now),
        ]
    },
);
