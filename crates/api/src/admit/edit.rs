//! Small steps on JSON objects that defaulting is written in.

use serde_json::{Map, Value};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// Whether a field is absent, null or empty text.
pub(super) fn is_unset(object: &Object, key: &str) -> bool {
    match object.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        _ => false,
    }
}

/// Sets a field that is absent or empty text.
pub(super) fn set(object: &mut Object, key: &str, value: impl Into<Value>) {
    if is_unset(object, key) {
        object.insert(key.to_owned(), value.into());
    }
}

/// The text of a field, or empty.
pub(super) fn text<'o>(object: &'o Object, key: &str) -> &'o str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Works on the object in a field, if there is one.
pub(super) fn child(object: &mut Object, key: &str, work: impl FnOnce(&mut Object)) {
    if let Some(Value::Object(inner)) = object.get_mut(key) {
        work(inner);
    }
}

/// Works on the object in a field, which is made when absent.
pub(super) fn make(object: &mut Object, key: &str, work: impl FnOnce(&mut Object)) {
    if matches!(object.get(key), None | Some(Value::Null)) {
        object.insert(key.to_owned(), Value::Object(Object::new()));
    }
    child(object, key, work);
}

/// Works on every object of the list in a field.
pub(super) fn each(object: &mut Object, key: &str, mut work: impl FnMut(&mut Object)) {
    if let Some(Value::Array(list)) = object.get_mut(key) {
        list.iter_mut().filter_map(Value::as_object_mut).for_each(&mut work);
    }
}
