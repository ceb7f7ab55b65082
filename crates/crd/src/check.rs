//! Whether a schema is one that can be served.
//!
//! A schema that says too little, or contradicts itself, is refused when its definition is written, with every fault and
//! its place, so that nothing that comes later has to ask: it must be structural (every field has a type, and alternatives
//! only restrict what stands outside of them), its defaults must keep its own rules, and its expressions must compile.

mod defaults;
mod expressions;
mod standard;
mod structure;

use serde_json::Value;

use crate::fault::Fault;
use crate::path::Path;
use crate::rules;
use crate::schema::Schema;

/// What may stand at the root of a schema whose objects have a status of their own: what still holds for a part.
const WITH_STATUS: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// What is wrong with a schema at a path. `status` says that objects have a status of their own.
pub(crate) fn schema(raw: &Value, path: &Path<'_>, status: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    if status {
        root_with_status(raw, path, &mut faults);
    }
    if flag(raw, "nullable") {
        faults.push(Fault::forbidden(path.field("nullable"), "nullable cannot be true at the root"));
    }
    structure::check(raw, path, &mut faults);
    let mut read = Schema::read(raw);
    if faults.is_empty() {
        defaults::check(&read, path, &mut faults);
    }
    standard::check(raw, path, &mut faults);
    // Expressions over a schema with faults would be told faults of its own making.
    if faults.is_empty() {
        faults.extend(rules::compile(&mut read, raw, path));
        if faults.is_empty() {
            defaults::check_rules(&read, path, &mut faults);
        }
    }
    faults
}

fn root_with_status(raw: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let kind = text(raw, "type");
    if !kind.is_empty() && kind != "object" {
        let why =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        faults.push(Fault::invalid(path.field("type"), kind, why));
        return;
    }
    let others = raw.as_object().into_iter().flatten();
    if others.into_iter().any(|(key, value)| !is_zero(value) && !WITH_STATUS.contains(&key.as_str())) {
        let listed = WITH_STATUS.join(" ");
        let why = format!(
            "only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled"
        );
        faults.push(Fault::invalid(path, "", why));
    }
}

/// Whether a value says nothing.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

// What checks ask of the JSON of a schema.

fn flag(raw: &Value, key: &str) -> bool {
    raw.get(key) == Some(&Value::Bool(true))
}

fn text<'r>(raw: &'r Value, key: &str) -> &'r str {
    raw.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'r>(raw: &'r Value, key: &str) -> &'r [Value] {
    raw.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn map<'r>(raw: &'r Value, key: &str) -> impl Iterator<Item = (&'r str, &'r Value)> {
    raw.get(key).and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// A schema in a field, if there is one.
fn inner<'r>(raw: &'r Value, key: &str) -> Option<&'r Value> {
    raw.get(key).filter(|inner| inner.is_object())
}

#[cfg(test)]
mod tests;
