//! Rules of metadata.

use serde_json::Value;

use super::error::FieldError;
use super::names;
use super::spot::Spot;
use crate::kind::Kind;
use crate::meta;

/// All annotations of one object together.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Metadata of a new object.
pub(super) fn create(kind: &Kind, object: &Value, errors: &mut Vec<FieldError>) {
    let root = Spot::root(object);
    let metadata = root.field("metadata");
    let (name, base) = (metadata.field("name"), metadata.field("generateName"));
    if name.is_empty() && base.is_empty() {
        errors.push(name.required("name or generateName is required"));
    } else if !name.is_empty() {
        if let Err(why) = names::object_name(kind.names, name.text()) {
            errors.push(name.invalid(why));
        }
    } else if let Err(why) = names::object_name(kind.names, base.text().trim_end_matches(['-', '.'])) {
        errors.push(base.invalid(why));
    }
    if kind.is_namespaced() {
        namespace(&metadata.field("namespace"), errors);
    }
    if !metadata.field("resourceVersion").is_empty() {
        let text = "resourceVersion should not be set on objects to be created";
        errors.push(metadata.field("resourceVersion").forbidden(text));
    }
    common(&metadata, errors);
}

fn namespace(namespace: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if namespace.is_empty() {
        errors.push(namespace.required(""));
    } else if let Err(why) = names::dns_label(namespace.text()) {
        errors.push(namespace.invalid(why));
    }
}

/// Metadata of a changed object.
pub(super) fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    unchanged(old, new, errors);
    common(&Spot::root(new).field("metadata"), errors);
    if meta::is_deleting(old) {
        let before = meta::finalizers(old);
        let added: Vec<&str> = meta::finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            let text = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            errors.push(FieldError::forbidden("metadata.finalizers", text));
        }
    }
}

/// What makes the object the one it is.
fn unchanged(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let root = Spot::root(new);
    let metadata = root.field("metadata");
    for key in ["name", "namespace", "uid"] {
        let field = metadata.field(key);
        if field.text() != meta::text(old, &format!("metadata.{key}")) {
            errors.push(field.invalid("field is immutable"));
        }
    }
}

/// The labels of an object or a template.
pub(super) fn labels(labels: &Spot<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.entries() {
        if let Err(why) = names::label_key(key) {
            errors.push(labels.invalid_value(format!("{key:?}"), why));
        }
        if let Err(why) = names::label_value(value.text()) {
            errors.push(labels.invalid_value(format!("{:?}", value.text()), why));
        }
    }
}

/// The annotations of an object or a template.
pub(super) fn annotations(annotations: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in annotations.entries() {
        // Keys of annotations may have capitals in front of the slash's name; upstream lowers them first.
        if let Err(why) = names::label_key(&key.to_lowercase()) {
            errors.push(annotations.invalid_value(format!("{key:?}"), why));
        }
        size += key.len() + value.text().len();
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(annotations.to_string(), MAX_ANNOTATIONS));
    }
}

fn common(metadata: &Spot<'_>, errors: &mut Vec<FieldError>) {
    labels(&metadata.field("labels"), errors);
    annotations(&metadata.field("annotations"), errors);
    for finalizer in metadata.field("finalizers").items() {
        if let Err(why) = names::label_key(finalizer.text()) {
            errors.push(finalizer.invalid(why));
        }
    }
    let owners = metadata.field("ownerReferences");
    let mut controllers = 0;
    for owner in owners.items() {
        for key in ["apiVersion", "kind", "name", "uid"] {
            let field = owner.field(key);
            if field.is_empty() {
                errors.push(field.invalid(format!("{key} must not be empty")));
            }
        }
        controllers += usize::from(owner.field("controller").is_true());
    }
    if controllers > 1 {
        errors.push(owners.invalid("Only one reference can have Controller set to true"));
    }
}
