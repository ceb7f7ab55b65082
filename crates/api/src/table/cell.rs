//! Cells that many tables share.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::age::age;
use crate::meta;
use crate::select::LabelSelector;

/// The object's name.
pub(super) fn name(object: &Value) -> Value {
    meta::name(object).into()
}

/// How long ago the object was made.
pub(super) fn created(object: &Value, now: Timestamp) -> Value {
    since(meta::at(object, "metadata.creationTimestamp"), now)
}

/// How long ago a time stamp was.
pub(super) fn since(stamp: &Value, now: Timestamp) -> Value {
    match stamp.as_str().and_then(|t| t.parse().ok()) {
        Some(then) => age(then, now).into(),
        None => "<unknown>".into(),
    }
}

/// A number, 0 when absent.
pub(super) fn number(object: &Value, path: &str) -> i64 {
    meta::at(object, path).as_i64().unwrap_or(0)
}

/// A text, `missing` when absent or empty.
pub(super) fn text(object: &Value, path: &str, missing: &str) -> Value {
    match meta::text(object, path) {
        "" => missing.into(),
        text => text.into(),
    }
}

/// A number or text as text, `missing` when absent.
pub(super) fn plain(value: &Value, missing: &str) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => missing.to_owned(),
    }
}

/// The items of a list.
pub(super) fn items<'o>(object: &'o Value, path: &str) -> impl Iterator<Item = &'o Value> + use<'o> {
    meta::at(object, path).as_array().into_iter().flatten()
}

/// Texts in a row, `missing` when there are none.
pub(super) fn joined<'o>(texts: impl Iterator<Item = &'o str>, missing: &str) -> Value {
    let texts: Vec<&str> = texts.filter(|t| !t.is_empty()).collect();
    if texts.is_empty() { missing.into() } else { texts.join(",").into() }
}

/// Names and images of a template's containers.
pub(super) fn containers(object: &Value, spec: &str) -> (Value, Value) {
    let path = format!("{spec}.containers");
    let of = |key| joined(items(object, &path).map(|c| meta::text(c, key)), "");
    (of("name"), of("image"))
}

/// A label selector in its text form.
pub(super) fn selector(value: &Value) -> Value {
    match LabelSelector::from_object(value) {
        Ok(selector) if selector.is_everything() || selector.is_nothing() => "<none>".into(),
        Ok(selector) => selector.to_string().into(),
        Err(_) => "<error>".into(),
    }
}

/// A map of labels in its text form.
pub(super) fn labels(map: Option<&Map<String, Value>>) -> Value {
    let pairs: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={}", plain(v, ""))).collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",").into() }
}
