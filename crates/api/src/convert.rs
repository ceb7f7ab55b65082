//! One object in several versions: which form it has in each.
//!
//! Objects are stored in one form, the one that can say the most. Whatever another form cannot say is kept where that
//! form has room for it (annotations), so that an object that goes there and back is the same. Refused: one stored form
//! a version, which would be two truths of one object.

mod autoscaling;
mod event;

pub(crate) use autoscaling::is_note;

use serde_json::Value;

use crate::kind::Kind;

/// The object, which is of kind `from`, as `to` shows it: another version or group of the same objects.
pub fn convert(from: &Kind, to: &Kind, mut object: Value) -> Value {
    if from.group == to.group && from.version == to.version {
        return object;
    }
    match (to.group.as_ref(), to.version.as_ref(), to.kind.as_ref()) {
        ("", _, "Event") => event::to_core(&mut object),
        ("events.k8s.io", _, "Event") => event::to_newer(&mut object),
        ("autoscaling", "v1", _) => autoscaling::to_v1(&mut object),
        ("autoscaling", "v2", _) => autoscaling::to_v2(to, &mut object),
        // Versions that differ in nothing but their name.
        _ => {}
    }
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), to.api_version().into());
        fields.insert("kind".to_owned(), to.kind.as_ref().into());
    }
    object
}

#[cfg(test)]
mod tests;
