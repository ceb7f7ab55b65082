//! Claims without a storage class get the default one.

use naru_api::meta;
use naru_store::{Prefix, Snapshot};
use serde_json::Value;

use crate::object;

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Names the default class in a claim that names none. A claim that names the empty class wants none.
pub(crate) fn admit(snapshot: &Snapshot, claim: &mut Value) {
    let named = claim["spec"].get("storageClassName").is_some_and(|c| !c.is_null())
        || meta::annotation(claim, "volume.beta.kubernetes.io/storage-class").is_some();
    if named {
        return;
    }
    if let Some(class) = default_class(snapshot) {
        claim["spec"]["storageClassName"] = class.into();
    }
}

/// The newest class that is marked as default: so that making another one the default works without a moment of none.
fn default_class(snapshot: &Snapshot) -> Option<String> {
    snapshot
        .range(&Prefix::collection("storageclasses.storage.k8s.io"))
        .filter(|e| meta::annotation(&object::parse(&e.served), DEFAULT_CLASS) == Some("true"))
        .max_by_key(|e| e.created)
        .map(|e| e.key.name().to_owned())
}
