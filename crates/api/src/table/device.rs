//! Tables of devices and of the drivers that bring volumes.

use serde_json::Value;

use super::cell::{created, items, joined, name, plain, text};
use super::{Table, table};
use crate::meta;

pub(super) const CLAIM: Table = table(&["Name", "State", "Age"], |object, now| {
    let deleted = meta::is_deleting(object);
    let mut states = Vec::new();
    if deleted {
        states.push("deleted");
    }
    if meta::at(object, "status.allocation").is_object() {
        states.push("allocated");
        if items(object, "status.reservedFor").next().is_some() {
            states.push("reserved");
        }
    } else if !deleted {
        states.push("pending");
    }
    vec![name(object), states.join(",").into(), created(object, now)]
});

pub(super) const SLICE: Table = table(&["Name", "Node", "Driver", "Pool", "Age"], |object, now| {
    vec![
        name(object),
        text(object, "spec.nodeName", ""),
        text(object, "spec.driver", ""),
        text(object, "spec.pool.name", ""),
        created(object, now),
    ]
});

pub(super) const CSI_DRIVER: Table = table(
    &[
        "Name",
        "AttachRequired",
        "PodInfoOnMount",
        "StorageCapacity",
        "TokenRequests",
        "RequiresRepublish",
        "Modes",
        "Age",
    ],
    |object, now| {
        let flag = |key: &str| -> Value { (*meta::at(object, &format!("spec.{key}")) == true).into() };
        // Without an attribute it is true.
        let attached: Value = (*meta::at(object, "spec.attachRequired") != false).into();
        let tokens = joined(items(object, "spec.tokenRequests").map(|t| meta::text(t, "audience")), "<unset>");
        let modes = joined(items(object, "spec.volumeLifecycleModes").filter_map(Value::as_str), "<none>");
        vec![
            name(object),
            attached,
            flag("podInfoOnMount"),
            flag("storageCapacity"),
            tokens,
            flag("requiresRepublish"),
            modes,
            created(object, now),
        ]
    },
);

pub(super) const CSI_NODE: Table = table(&["Name", "Drivers", "Age"], |object, now| {
    vec![name(object), items(object, "spec.drivers").count().into(), created(object, now)]
});

pub(super) const CAPACITY: Table = table(&["Name", "StorageClassName", "Capacity"], |object, _| {
    vec![name(object), text(object, "storageClassName", ""), plain(meta::at(object, "capacity"), "<unset>").into()]
});

pub(super) const ATTACHMENT: Table = table(&["Name", "Attacher", "PV", "Node", "Attached", "Age"], |object, now| {
    vec![
        name(object),
        text(object, "spec.attacher", ""),
        text(object, "spec.source.persistentVolumeName", ""),
        text(object, "spec.nodeName", ""),
        (*meta::at(object, "status.attached") == true).into(),
        created(object, now),
    ]
});

pub(super) const ATTRIBUTES_CLASS: Table = table(&["Name", "DriverName", "Age"], |object, now| {
    let default = meta::annotation(object, "storageclass.kubernetes.io/is-default-class") == Some("true");
    let shown = format!("{}{}", meta::name(object), if default { " (default)" } else { "" });
    vec![shown.into(), text(object, "driverName", ""), created(object, now)]
});
