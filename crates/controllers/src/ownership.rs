//! Whose an object is: adopting what matches and is nobody's, releasing what no longer matches.
//!
//! Both are patches guarded by the revision that was seen, because another controller may be about to do the same.

use naru_api::select::LabelSelector;
use naru_client::{ObjectRef, Resource};
use serde_json::{Value, json};

use crate::plan::Write;
use crate::views::{Meta, Owner};

/// A selector from an object's `spec.selector`; one that cannot be read selects nothing.
pub(crate) fn selector(value: &Value) -> LabelSelector {
    if value.is_null() {
        return LabelSelector::nothing();
    }
    LabelSelector::from_object(value).unwrap_or_else(|error| {
        tracing::warn!(%error, "a selector cannot be read and selects nothing");
        LabelSelector::nothing()
    })
}

/// The reference by which an object names its managing owner.
pub(crate) fn controller_of(resource: &Resource, meta: &Meta) -> Owner {
    Owner {
        api_version: resource.api_version(),
        kind: resource.kind.to_string(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        controller: true,
        block_owner_deletion: true,
    }
}

/// Gives an object that nobody manages an owner.
pub(crate) fn adopt(resource: Resource, meta: &Meta, owner: Owner) -> Write {
    let mut owners = meta.owner_references.clone();
    owners.push(owner);
    set_owners(resource, meta, &owners)
}

/// Takes an owner away from an object.
pub(crate) fn release(resource: Resource, meta: &Meta, uid: &str) -> Write {
    let owners: Vec<_> = meta.owner_references.iter().filter(|owner| owner.uid != uid).cloned().collect();
    set_owners(resource, meta, &owners)
}

/// Replaces an object's owners, if it is still as it was seen.
pub(crate) fn set_owners(resource: Resource, meta: &Meta, owners: &[Owner]) -> Write {
    let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
    let patch = json!({ "metadata": { "ownerReferences": owners, "resourceVersion": meta.resource_version } });
    Write::merge(resource, key(meta), patch)
}

/// Where an object is.
pub(crate) fn key(meta: &Meta) -> ObjectRef {
    ObjectRef::new(&meta.namespace, &meta.name)
}

/// Says "no longer" of a finalizer, if the object is still as it was seen.
pub(crate) fn without_finalizer(resource: Resource, meta: &Meta, finalizer: &str) -> Write {
    let left: Vec<_> = meta.finalizers.iter().filter(|known| *known != finalizer).collect();
    let left = if left.is_empty() { Value::Null } else { json!(left) };
    let patch = json!({ "metadata": { "finalizers": left, "resourceVersion": meta.resource_version } });
    Write::merge(resource, key(meta), patch)
}
