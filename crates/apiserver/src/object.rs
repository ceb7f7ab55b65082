//! Reading a few facts out of served bytes without building the whole object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct WithUid<'a> {
    #[serde(borrow)]
    metadata: Uid<'a>,
}

#[derive(Deserialize)]
struct Uid<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WithLabels {
    metadata: Labels,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    labels: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct WithMetadata<'a> {
    #[serde(borrow)]
    metadata: &'a serde_json::value::RawValue,
}

/// `metadata.uid`.
pub(crate) fn uid(served: &[u8]) -> Option<String> {
    serde_json::from_slice::<WithUid<'_>>(served).ok().map(|o| o.metadata.uid.into_owned())
}

/// `metadata.labels`.
pub(crate) fn labels(served: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice::<WithLabels>(served).ok().and_then(|o| o.metadata.labels)
}

/// The bytes of `metadata`.
pub(crate) fn metadata(served: &[u8]) -> Option<&str> {
    serde_json::from_slice::<WithMetadata<'_>>(served).ok().map(|o| o.metadata.get())
}

/// The whole object. Served bytes always are one: the store's codec let them in.
pub(crate) fn parse(served: &[u8]) -> Value {
    serde_json::from_slice(served).unwrap_or(Value::Null)
}

/// Takes away metadata that is empty: to say that there are no labels is to say nothing.
pub(crate) fn tidy(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = match metadata.get(field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            _ => false,
        };
        if empty {
            metadata.remove(field);
        }
    }
}

/// A map of text to text, empty where there is none.
pub(crate) fn strings(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}
