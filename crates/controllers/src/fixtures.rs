//! Objects for tests.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A moment all tests agree on.
pub(crate) fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time stamp")
}

/// A number of seconds after noon, as objects write it.
pub(crate) fn at(seconds: i64) -> String {
    naru_api::meta::time(noon() + jiff::SignedDuration::from_secs(seconds))
}

/// Reads a view.
pub(crate) fn view<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a view")
}

/// Applies a merge patch.
pub(crate) fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return into.clone_from(patch) };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().expect("an object").remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}
