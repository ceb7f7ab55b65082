//! Whether a volume can serve a claim.

use std::sync::Arc;

use naru_api::Quantity;
use serde_json::Value;

use crate::affinity;
use crate::ownership::selector;
use crate::views::{ClaimRef, Meta, Node, PersistentVolume, PersistentVolumeClaim};

/// Whether a volume is held by (or set aside for) a claim.
pub(super) fn is_for(held: &ClaimRef, claim: &Meta) -> bool {
    held.namespace == claim.namespace && held.name == claim.name && (held.uid.is_empty() || held.uid == claim.uid)
}

/// The smallest free volume that serves a claim, usable on a node where one is given.
pub(super) fn best<'a>(
    free: &'a [Arc<PersistentVolume>],
    claim: &PersistentVolumeClaim,
    node: Option<&Node>,
) -> Option<&'a PersistentVolume> {
    let fitting = free.iter().filter(|volume| serves(volume, claim) && node.is_none_or(|node| usable_on(volume, node)));
    fitting.min_by_key(|volume| (size(&volume.spec.capacity["storage"]), volume.metadata.name.clone())).map(|v| &**v)
}

fn serves(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let spec = &claim.spec;
    let mode = |mode: &str| if mode.is_empty() { "Filesystem".to_owned() } else { mode.to_owned() };
    volume.spec.storage_class_name == spec.storage_class_name.as_deref().unwrap_or_default()
        && mode(&volume.spec.volume_mode) == mode(&spec.volume_mode)
        && spec.access_modes.iter().all(|wanted| volume.spec.access_modes.contains(wanted))
        && size(&volume.spec.capacity["storage"]) >= size(&spec.resources["requests"]["storage"])
        && spec.selector.as_ref().is_none_or(|wanted| selector(wanted).matches(&volume.metadata.labels))
}

fn size(quantity: &Value) -> i64 {
    match quantity {
        Value::String(text) => Quantity::parse(text).map_or(0, |quantity| quantity.value()),
        Value::Number(number) => number.as_i64().unwrap_or(0),
        _ => 0,
    }
}

/// Whether a volume's node affinity admits a node.
pub(super) fn usable_on(volume: &PersistentVolume, node: &Node) -> bool {
    volume.spec.node_affinity.as_ref().is_none_or(|affinity| affinity::admits(&affinity["required"], node))
}
