//! Rules that objects must keep.
//!
//! Most rules belong to a type, not to a kind: a container obeys the same rules in a Pod and inside a CronJob's template.
//! So one walk along the schema checks required fields, possible values and label selectors of everything, and calls the
//! rules of each type where it meets one; kinds add what concerns them as a whole, and what may not change. Every broken
//! rule is told, with its path and in the words that users of Kubernetes know.

mod custom;
mod enums;
mod error;
mod fixed;
mod metadata;
pub mod names;
mod rules;
mod spot;
mod update;
mod walk;

pub use error::{FieldError, FieldReason};
pub use update::{ephemeral_containers, resize, update};

use serde_json::Value;

use crate::kind::Kind;
use spot::Spot;

/// What is wrong with a new object.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if kind.is_stored() {
        metadata::create(kind, object, &mut errors);
    }
    whole(kind, object, None, &mut errors);
    errors
}

/// What is wrong with a new object in the form in which it is served, where the stored form demands less.
pub fn served(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if kind.is("events.k8s.io", "Event") {
        rules::newer_event(&Spot::root(object), &mut errors);
    }
    errors
}

/// What is wrong with a change through the form in which the object is served, where the stored form allows more. Both
/// objects are in the stored form.
pub fn served_change(kind: &Kind, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if kind.is("events.k8s.io", "Event") {
        rules::newer_event_change(old, new, &mut errors);
    }
    errors
}

/// What is wrong with a changed status: what concerns the object's metadata, and what would keep readers from reading it.
/// The desired part stays as it was, whatever rules came after it was written.
pub fn status(kind: &Kind, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::update(old, new, &mut errors);
    if let Some(version) = kind.custom() {
        custom::status(version, old, new, &mut errors);
        return errors;
    }
    walk::status(&kind.schema(), &Spot::root(new), &mut errors);
    rules::status(kind, &Spot::root(new), &mut errors);
    fixed::status(kind, old, new, &mut errors);
    if kind.is_definition() {
        custom::definition_status(new, &mut errors);
    }
    errors
}

/// What is wrong with a decision about a certificate request.
pub fn approval(kind: &Kind, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::update(old, new, &mut errors);
    walk::status(&kind.schema(), &Spot::root(new), &mut errors);
    rules::certificate_status(&Spot::root(new), old, &mut errors);
    rules::certificate_changes(old, new, rules::Through::Approval, &mut errors);
    errors
}

/// The rules that hold for an object at any time. What `old` broke before, an object of a kind that was added at run time
/// may go on breaking.
fn whole(kind: &Kind, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if let Some(version) = kind.custom() {
        custom::object(version, object, old, errors);
        return;
    }
    if kind.is_definition() {
        custom::definition(object, old, errors);
        return;
    }
    let root = Spot::root(object);
    let schema = kind.schema();
    walk::object(&schema, &root, errors);
    walk::status(&schema, &root, errors);
    rules::kind(kind, &root, errors);
    if kind.is("apps", "StatefulSet") {
        claimed(object, errors);
    }
}

/// The claims of a StatefulSet are volumes of its pods: mounts of theirs lead somewhere, though the template alone does
/// not show it.
fn claimed(set: &Value, errors: &mut Vec<FieldError>) {
    let templates = set.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    let names: Vec<&str> =
        templates.into_iter().flatten().filter_map(|claim| claim.pointer("/metadata/name")?.as_str()).collect();
    errors.retain(|error| {
        let of_mount = error.path.contains(".volumeMounts[") || error.path.contains(".volumeDevices[");
        let name = set.pointer(&pointer(&error.path)).and_then(Value::as_str).unwrap_or_default();
        !(of_mount && error.reason == FieldReason::NotFound && names.contains(&name))
    });
}

/// A field's path as a JSON pointer.
fn pointer(path: &str) -> String {
    format!("/{}", path.replace(']', "").replace(['.', '['], "/"))
}

#[cfg(test)]
mod tests;
