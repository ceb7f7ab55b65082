//! Readers of an object's identity and metadata on its JSON.
//!
//! Absent and null fields read as empty: every answer is usable without a check. Code that needs more than metadata
//! parses a [view](crate::view).

use jiff::Timestamp;
use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// The field at a dotted path of object keys, or null.
pub fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').try_fold(object, |v, key| v.get(key)).unwrap_or(&NULL)
}

/// The text at a dotted path of object keys, or empty.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

fn meta<'a>(object: &'a Value, key: &str) -> &'a Value {
    object.get("metadata").and_then(|m| m.get(key)).unwrap_or(&NULL)
}

/// `apiVersion`.
pub fn api_version(object: &Value) -> &str {
    text(object, "apiVersion")
}

/// `kind`.
pub fn kind(object: &Value) -> &str {
    text(object, "kind")
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    meta(object, "name").as_str().unwrap_or_default()
}

/// `metadata.generateName`.
pub fn generate_name(object: &Value) -> &str {
    meta(object, "generateName").as_str().unwrap_or_default()
}

/// `metadata.namespace`; empty for cluster-wide objects.
pub fn namespace(object: &Value) -> &str {
    meta(object, "namespace").as_str().unwrap_or_default()
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    meta(object, "uid").as_str().unwrap_or_default()
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    meta(object, "resourceVersion").as_str().unwrap_or_default()
}

/// `metadata.generation`.
pub fn generation(object: &Value) -> i64 {
    meta(object, "generation").as_i64().unwrap_or(0)
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    meta(object, "labels").as_object()
}

/// The value of one label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

/// `metadata.annotations`.
pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    meta(object, "annotations").as_object()
}

/// The value of one annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

/// `metadata.creationTimestamp`.
pub fn creation_timestamp(object: &Value) -> Option<Timestamp> {
    meta(object, "creationTimestamp").as_str()?.parse().ok()
}

/// `metadata.deletionTimestamp`: set once deletion was asked for.
pub fn deletion_timestamp(object: &Value) -> Option<Timestamp> {
    meta(object, "deletionTimestamp").as_str()?.parse().ok()
}

/// Whether deletion was asked for.
pub fn is_deleting(object: &Value) -> bool {
    meta(object, "deletionTimestamp").is_string()
}

/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace_period(object: &Value) -> Option<i64> {
    meta(object, "deletionGracePeriodSeconds").as_i64()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    meta(object, "finalizers").as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerRef<'a> {
    /// The owner's `apiVersion`.
    pub api_version: &'a str,
    /// The owner's kind.
    pub kind: &'a str,
    /// The owner's name.
    pub name: &'a str,
    /// The owner's identifier.
    pub uid: &'a str,
    /// Whether the owner manages the object.
    pub controller: bool,
    /// Whether the owner waits for this object in a foreground deletion.
    pub block_owner_deletion: bool,
}

/// `metadata.ownerReferences`.
pub fn owner_refs(object: &Value) -> Vec<OwnerRef<'_>> {
    let list = meta(object, "ownerReferences").as_array();
    list.into_iter().flatten().map(owner_ref).collect()
}

/// The owner that manages the object.
pub fn controller_ref(object: &Value) -> Option<OwnerRef<'_>> {
    owner_refs(object).into_iter().find(|o| o.controller)
}

fn owner_ref(value: &Value) -> OwnerRef<'_> {
    let flag = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
    OwnerRef {
        api_version: text(value, "apiVersion"),
        kind: text(value, "kind"),
        name: text(value, "name"),
        uid: text(value, "uid"),
        controller: flag("controller"),
        block_owner_deletion: flag("blockOwnerDeletion"),
    }
}

/// The metadata of an object for writing, made when absent. `None` when the object or its metadata is no JSON object.
pub fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let map = object.as_object_mut()?;
    map.entry("metadata").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// Sets one field of the metadata.
pub fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(metadata) = metadata_mut(object) {
        metadata.insert(key.to_owned(), value.into());
    }
}

/// Removes one field of the metadata and answers it.
pub fn unset(object: &mut Value, key: &str) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove(key)
}

/// Sets one label.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    set_entry(object, "labels", key, value);
}

/// Sets one annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    set_entry(object, "annotations", key, value);
}

fn set_entry(object: &mut Value, map: &str, key: &str, value: &str) {
    let Some(metadata) = metadata_mut(object) else { return };
    let entry = metadata.entry(map).or_insert_with(|| Value::Object(Map::new()));
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    if let Some(entries) = entry.as_object_mut() {
        entries.insert(key.to_owned(), value.into());
    }
}

/// A time stamp as Kubernetes writes it: whole seconds, UTC (`2026-11-22T18:04:05Z`).
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time stamp with microseconds (`MicroTime`).
pub fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_and_writes() {
        let mut object = json!({"metadata": {"name": "a", "labels": {"x": "1"}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]}});
        assert_eq!((name(&object), label(&object, "x"), namespace(&object)), ("a", Some("1"), ""));
        assert_eq!(controller_ref(&object).map(|o| o.uid), Some("u"));
        set_label(&mut object, "y", "2");
        set_annotation(&mut object, "z", "3");
        set(&mut object, "generation", 4);
        assert_eq!((label(&object, "y"), annotation(&object, "z"), generation(&object)), (Some("2"), Some("3"), 4));
        assert_eq!(unset(&mut object, "generation"), Some(json!(4)));
        assert!(!is_deleting(&object));
        set(&mut object, "deletionTimestamp", "2026-01-01T00:00:00Z");
        assert!(is_deleting(&object) && deletion_timestamp(&object).is_some());
        assert_eq!(time(deletion_timestamp(&object).unwrap_or_default()), "2026-01-01T00:00:00Z");
        assert_eq!(micro_time(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(&object, "metadata.labels.x"), &json!("1"));
    }
}
