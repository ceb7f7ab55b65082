//! What a write is warned about, in Kubernetes' words: it is done all the same.

use naru_api::meta;
use serde_json::Value;

use crate::admission::notes::Notes;
use crate::routes::Route;

/// Formats of text that schemas of definitions may name, without their dashes.
const FORMATS: [&str; 27] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "quantity",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Tells what is worth a warning of `new`, which replaces `old` (none: it is new).
pub(crate) fn tell(route: &Route, notes: Option<&Notes>, old: Option<&Value>, new: &Value) {
    let Some(notes) = notes else { return };
    if route.custom.is_some() {
        let known = old.map(meta::finalizers).unwrap_or_default();
        let mut added = meta::finalizers(new);
        added.retain(|finalizer| !known.contains(finalizer) && !finalizer.contains('/'));
        added.sort_unstable();
        for finalizer in added {
            notes.warn(format!(
                "metadata.finalizers: {finalizer:?}: prefer a domain-qualified finalizer name including a path (/) to \
                 avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
    if route.kind.is_definition() {
        let known = old.map(unrecognized).unwrap_or_default();
        for format in unrecognized(new).into_iter().filter(|format| !known.contains(format)) {
            notes.warn(format!("unrecognized format {format:?}"));
        }
    }
}

/// The formats that nobody knows, in all schemas of a definition.
fn unrecognized(definition: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
        collect(&version["schema"]["openAPIV3Schema"], &mut found);
    }
    found
}

fn collect<'s>(schema: &'s Value, found: &mut Vec<&'s str>) {
    let Some(fields) = schema.as_object() else { return };
    let format = schema["format"].as_str().filter(|format| !format.is_empty());
    found.extend(format.filter(|format| !is_known(schema["type"].as_str().unwrap_or_default(), format)));
    for (name, value) in fields {
        match name.as_str() {
            "items" | "additionalProperties" | "additionalItems" | "not" => collect(value, found),
            "properties" | "patternProperties" | "definitions" | "dependencies" => {
                value.as_object().into_iter().flatten().for_each(|(_, schema)| collect(schema, found));
            }
            "allOf" | "anyOf" | "oneOf" => {
                value.as_array().into_iter().flatten().for_each(|schema| collect(schema, found));
            }
            _ => {}
        }
    }
}

fn is_known(kind: &str, format: &str) -> bool {
    match kind {
        "" | "string" => FORMATS.contains(&format.replace('-', "").as_str()),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_that_nobody_knows_are_found_wherever_they_are() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "format": "date-time"},
            "b": {"type": "string", "format": "zip"},
            "c": {"type": "array", "items": {"type": "integer", "format": "int32"}},
            "d": {"type": "array", "items": {"type": "integer", "format": "int7"}},
            "e": {"additionalProperties": {"format": "k8s-short-name"}, "type": "object"},
            "f": {"anyOf": [{"type": "number", "format": "double"}, {"type": "string", "format": "uuid4"}]},
            "g": {"not": {"type": "boolean", "format": "uri"}},
            "format": {"type": "string"},
        }});
        let definition = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
        assert_eq!(unrecognized(&definition), ["zip", "int7", "uri"]);
    }
}
