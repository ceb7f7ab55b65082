//! Making local volumes and setting volumes aside for claims.

use naru_api::naru::names;
use naru_client::ObjectRef;
use serde_json::{Value, json};

use super::{DATA, PROVISIONED_BY};
use crate::plan::Write;
use crate::resources::VOLUMES;
use crate::views::{Meta, Node, PersistentVolume, PersistentVolumeClaim, StorageClass};

/// The folder below which local volumes are.
pub(super) struct Folder<'a>(pub(super) &'a str);

/// The volume to be made for a claim on a node. Its name follows from the claim, so it is made once.
///
/// # Errors
/// Why a folder cannot serve the claim, in words for its event.
pub(super) fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &Node,
    folder: Folder<'_>,
) -> Result<Value, String> {
    let meta = &claim.metadata;
    if claim.spec.volume_mode == "Block" {
        return Err("a local volume is a folder: volumeMode Block cannot be had from this storage class".into());
    }
    let name = format!("pvc-{}", meta.uid);
    let mut annotations = json!({ PROVISIONED_BY: class.provisioner });
    // What people call it is told also when the claim is gone.
    if let Some(title) = meta.annotation(names::TITLE) {
        annotations[names::TITLE] = title.into();
    }
    // Any access mode will do: all its pods are on one node, where any number of them can share a folder.
    Ok(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": name, "annotations": annotations, "finalizers": [DATA] },
        "spec": {
            "capacity": { "storage": claim.spec.resources["requests"]["storage"] },
            "accessModes": claim.spec.access_modes,
            "persistentVolumeReclaimPolicy": if class.reclaim_policy.is_empty() { "Delete" } else { &class.reclaim_policy },
            "storageClassName": class.metadata.name,
            "volumeMode": "Filesystem",
            "claimRef": claim_ref(meta),
            // The names are there for people; the uid makes it this claim's alone.
            "local": { "path": format!("{}/{}_{}_{}", folder.0, meta.namespace, meta.name, meta.uid) },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": names::HOSTNAME, "operator": "In", "values": [host(node)] },
            ] }] } },
        },
    }))
}

fn host(node: &Node) -> &str {
    node.metadata.label(names::HOSTNAME).unwrap_or(&node.metadata.name)
}

fn claim_ref(claim: &Meta) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.namespace,
        "name": claim.name,
        "uid": claim.uid,
    })
}

/// Gives a volume to a claim, if it is still as it was seen.
pub(super) fn take(volume: &PersistentVolume, claim: &Meta) -> Write {
    let patch = json!({
        "metadata": { "resourceVersion": volume.metadata.resource_version },
        "spec": { "claimRef": claim_ref(claim) },
    });
    Write::merge(VOLUMES, ObjectRef::cluster(&volume.metadata.name), patch)
}
