//! Patches: a change told as a document.
//!
//! Every patch works on the JSON of the object; the caller checks and prunes the result with
//! [`decode::value`](crate::decode::value) afterwards, so that no patch can smuggle in what a write could not.

mod bounds;
mod strategic;

use serde_json::{Map, Value};

use crate::kind::Kind;
use crate::status::{Reason, Status};

/// The patch languages that objects of kinds that users define understand: their schemas do not say how lists merge.
pub const CUSTOM_LANGUAGES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// A JSON patch with more operations is refused.
const MAX_OPERATIONS: usize = 10_000;

/// Applies a JSON patch (RFC 6902). On an error the object is as it was.
pub fn json(object: &mut Value, patch: &[u8]) -> Result<(), Status> {
    let patch: json_patch::Patch = serde_json::from_slice(patch)
        .map_err(|e| Status::bad_request(format!("the body of the request is no JSON patch: {e}")))?;
    if patch.0.len() > MAX_OPERATIONS {
        return Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!("a JSON patch may have {MAX_OPERATIONS} operations, this one has {}", patch.0.len()),
        ));
    }
    let mut changed = object.clone();
    let mut room = bounds::Room::default();
    for operation in &patch.0 {
        // That nothing is there is tested with a null (libraries do so before they add the first finalizer).
        if let json_patch::PatchOperation::Test(test) = operation
            && test.value.is_null()
            && changed.pointer(test.path.as_str()).is_none()
            && parent(&changed, test.path.as_str()).is_some_and(Value::is_object)
        {
            continue;
        }
        bounds::check(&changed, operation, &mut room)?;
        json_patch::patch(&mut changed, std::slice::from_ref(operation)).map_err(|e| {
            Status::new(Reason::Invalid, format!("the server rejected our request due to an error in our request: {e}"))
        })?;
    }
    *object = changed;
    Ok(())
}

/// Applies the operations of a JSON patch one after another, as admission policies do: a `replace` adds what is not there,
/// and a `test` that does not hold ends it without a change (`false`). On an error the object is as it was.
///
/// # Errors
/// With the first operation that cannot be done.
pub fn operations(object: &mut Value, operations: &[Value]) -> Result<bool, String> {
    let mut changed = object.clone();
    let mut room = bounds::Room::default();
    for operation in operations {
        let mut operation = operation.clone();
        let path = operation["path"].as_str().unwrap_or_default().to_owned();
        let absent = changed.pointer(&path).is_none() && parent(&changed, &path).is_some_and(Value::is_object);
        match operation["op"].as_str() {
            Some("replace") if absent => operation["op"] = "add".into(),
            Some("test") if absent && operation["value"].is_null() => continue,
            Some("test") if absent => return Ok(false),
            _ => {}
        }
        // What has no value sets none.
        if matches!(operation["op"].as_str(), Some("add" | "replace" | "test")) && operation.get("value").is_none() {
            operation["value"] = Value::Null;
        }
        let step: json_patch::PatchOperation = serde_json::from_value(operation).map_err(|error| error.to_string())?;
        bounds::check(&changed, &step, &mut room).map_err(|refusal| refusal.message)?;
        match json_patch::patch(&mut changed, std::slice::from_ref(&step)) {
            Ok(()) => {}
            Err(error) if matches!(error.kind, json_patch::PatchErrorKind::TestFailed) => return Ok(false),
            Err(error) => return Err(error.to_string()),
        }
    }
    *object = changed;
    Ok(true)
}

/// What a path leads into.
fn parent<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    object.pointer(path.rsplit_once('/')?.0)
}

/// Applies a merge patch (RFC 7386).
pub fn merge(object: &mut Value, patch: &Value) -> Result<(), Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("a merge patch must be a JSON object"));
    }
    json_patch::merge(object, patch);
    Ok(())
}

/// The merge patch that turns `from` into `to`, provided that `to` holds no nulls. `None` when they are equal.
pub fn merge_diff(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Some(before), Some(after)) = (from.as_object(), to.as_object()) else { return Some(to.clone()) };
    let mut patch = Map::new();
    for key in before.keys().filter(|k| !after.contains_key(*k)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        match before.get(key) {
            // An object in place of something else would be merged into it.
            Some(old) if old.is_object() || !value.is_object() => {
                if let Some(change) = merge_diff(old, value) {
                    patch.insert(key.clone(), change);
                }
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Some(Value::Object(patch))
}

/// Applies a strategic merge patch: lists merge by the keys that the kind's schema names. On an error the object may be
/// changed in part; the caller throws it away. Kinds that users define have no such patches (415).
pub fn strategic(kind: &Kind, object: &mut Value, patch: &Value) -> Result<(), Status> {
    if kind.custom().is_some() {
        return Err(Status::unsupported_media_type(&CUSTOM_LANGUAGES));
    }
    let Some(patch) = patch.as_object() else {
        return Err(Status::bad_request("a strategic merge patch must be a JSON object"));
    };
    let schema = kind.schema();
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(map) = object.as_object_mut() {
        strategic::apply(schema.types(), schema.root(), map, patch).map_err(Status::bad_request)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
