//! Whether a schema is structural.

use serde_json::{Value, json};

use super::{flag, inner, is_zero, list, map, text};
use crate::fault::Fault;
use crate::path::Path;
use crate::pattern::Pattern;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Fields that alternatives may not have, with what they must be instead.
const NOT_INSIDE: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
];

/// Tells why a schema is not structural.
pub(super) fn check(raw: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    invariants(raw, Level::Root, path, faults);
    complete(raw, path, faults);
}

fn invariants(raw: &Value, level: Level, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let kind = text(raw, "type");
    let embedded = flag(raw, "x-kubernetes-embedded-resource");
    let keeps = flag(raw, "x-kubernetes-preserve-unknown-fields");
    let int_or_string = flag(raw, "x-kubernetes-int-or-string");
    match inner(raw, "items") {
        Some(items) => invariants(items, Level::Item, &path.field("items"), faults),
        None if kind == "array" && raw.get("items").is_none_or(is_zero) => {
            faults.push(Fault::required(path.field("items"), "must be specified"));
        }
        None => {}
    }
    let properties = path.field("properties");
    for (name, inner) in map(raw, "properties") {
        invariants(inner, Level::Field, &properties.key(name), faults);
    }
    let additional = raw.get("additionalProperties").filter(|a| !a.is_null());
    if let Some(additional) = additional {
        let path = path.field("additionalProperties");
        if level == Level::Root {
            faults.push(Fault::forbidden(path, "must not be used at the root"));
        }
        if embedded {
            faults.push(Fault::forbidden(path, "must not be used if x-kubernetes-embedded-resource is set"));
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &path, faults);
        }
    }
    if int_or_string && keeps {
        let why = "must be false if x-kubernetes-int-or-string is true";
        faults.push(Fault::invalid(path.field("x-kubernetes-preserve-unknown-fields"), true, why));
    }
    if int_or_string && embedded {
        let why = "must be false if x-kubernetes-int-or-string is true";
        faults.push(Fault::invalid(path.field("x-kubernetes-embedded-resource"), true, why));
    }
    alternatives(raw, path, either(raw), list(raw, "allOf").first().is_some_and(either), faults);
    typed(raw, level, path, faults);
    described_metadata(raw, level, path, faults);
}

/// Whether the alternatives are just a number or text, which is how clients without the extension read it.
fn either(raw: &Value) -> bool {
    raw.get("anyOf") == Some(&json!([{"type": "integer"}, {"type": "string"}]))
}

fn typed(raw: &Value, level: Level, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let kind = text(raw, "type");
    let embedded = flag(raw, "x-kubernetes-embedded-resource");
    let keeps = flag(raw, "x-kubernetes-preserve-unknown-fields");
    let at = path.field("type");
    if embedded && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        faults.push(if kind.is_empty() { Fault::required(at, why) } else { Fault::invalid(at, kind, why) });
    } else if kind.is_empty() && !flag(raw, "x-kubernetes-int-or-string") && !keeps {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        faults.push(Fault::required(at, why));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        faults.push(Fault::invalid(at, kind, "must be object at the root"));
    }
    if embedded && !keeps && map(raw, "properties").next().is_none() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                   x-kubernetes-preserve-unknown-fields";
        faults.push(Fault::required(path.field("properties"), why));
    }
}

/// What a schema may say of what every object has.
fn described_metadata(raw: &Value, level: Level, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let whole = level == Level::Root || flag(raw, "x-kubernetes-embedded-resource");
    if !whole {
        return;
    }
    let properties = path.field("properties");
    for (name, inner) in map(raw, "properties") {
        let at = properties.key(name);
        let kind = text(inner, "type");
        match name {
            "apiVersion" | "kind" if kind != "string" => {
                faults.push(Fault::invalid(at.field("type"), kind, "must be string"));
            }
            "metadata" => {
                if kind != "object" {
                    faults.push(Fault::invalid(at.field("type"), kind, "must be object"));
                }
                if level == Level::Root && !names_only(inner) {
                    let why = "must not specify anything other than name and generateName, but metadata is implicitly \
                               specified";
                    faults.push(Fault::forbidden(at, why));
                }
            }
            _ => {}
        }
    }
}

/// Whether metadata is restricted in its names only.
fn names_only(metadata: &Value) -> bool {
    let fields = metadata.as_object().into_iter().flatten();
    let others = fields.filter(|(key, value)| {
        // Defaults are judged elsewhere.
        !matches!(key.as_str(), "type" | "properties" | "default") && !is_zero(value)
    });
    others.count() == 0 && map(metadata, "properties").all(|(name, _)| matches!(name, "name" | "generateName"))
}

/// Checks what restricts values.
fn alternatives(raw: &Value, path: &Path<'_>, skip_any: bool, skip_first: bool, faults: &mut Vec<Fault>) {
    for key in ["anyOf", "allOf", "oneOf"] {
        if key == "anyOf" && skip_any {
            continue;
        }
        let at = path.field(key);
        for (index, inner) in list(raw, key).iter().enumerate() {
            nested(inner, &at.item(index), key == "allOf" && skip_first && index == 0, faults);
        }
    }
    if let Some(not) = inner(raw, "not") {
        nested(not, &path.field("not"), false, faults);
    }
    let pattern = text(raw, "pattern");
    if let Err(why) = Pattern::compile(pattern) {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        faults.push(Fault::invalid(path.field("pattern"), pattern, why));
    }
}

/// Checks one alternative: it only restricts.
fn nested(raw: &Value, path: &Path<'_>, skip_any: bool, faults: &mut Vec<Fault>) {
    alternatives(raw, path, skip_any, false, faults);
    if let Some(items) = inner(raw, "items") {
        nested(items, &path.field("items"), false, faults);
    }
    let properties = path.field("properties");
    for (name, inner) in map(raw, "properties") {
        nested(inner, &properties.key(name), false, faults);
        // It could restrict what the server itself writes.
        if name == "metadata" {
            faults.push(Fault::forbidden(properties.key(name), "must not be specified in a nested context"));
        }
    }
    for (key, why) in NOT_INSIDE {
        let given = raw.get(key).is_some_and(|value| match key {
            "additionalProperties" | "default" => !value.is_null(),
            _ => !is_zero(value),
        });
        if given {
            faults.push(Fault::forbidden(path.field(key), why));
        }
    }
    if !list(raw, "x-kubernetes-validations").is_empty() {
        faults.push(Fault::forbidden(path.field("x-kubernetes-validations"), "must be empty to be structural"));
    }
}

/// Checks that whatever alternatives speak of is specified outside of them.
fn complete(raw: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    covered(raw, raw, path, path, faults);
    if let Some(items) = inner(raw, "items") {
        complete(items, &path.field("items"), faults);
    }
    let properties = path.field("properties");
    for (name, inner) in map(raw, "properties") {
        complete(inner, &properties.key(name), faults);
    }
    if let Some(additional) = inner(raw, "additionalProperties") {
        complete(additional, &path.field("additionalProperties"), faults);
    }
}

/// `restricts` stands at `from` and speaks of `spine`, which stands at `path`.
fn covered(restricts: &Value, spine: &Value, path: &Path<'_>, from: &Path<'_>, faults: &mut Vec<Fault>) {
    for key in ["allOf", "anyOf", "oneOf"] {
        let at = from.field(key);
        for (index, inner) in list(restricts, key).iter().enumerate() {
            covered_inside(inner, spine, path, &at.item(index), faults);
        }
    }
    if let Some(not) = inner(restricts, "not") {
        covered_inside(not, spine, path, &from.field("not"), faults);
    }
}

fn covered_inside(restricts: &Value, spine: &Value, path: &Path<'_>, from: &Path<'_>, faults: &mut Vec<Fault>) {
    covered(restricts, spine, path, from, faults);
    if let Some(items) = inner(restricts, "items") {
        let (at, from) = (path.field("items"), from.field("items"));
        match inner(spine, "items") {
            Some(spine) => covered_inside(items, spine, &at, &from, faults),
            None => faults.push(Fault::required(at, format!("because it is defined in {from}"))),
        }
    }
    let (properties, sources) = (path.field("properties"), from.field("properties"));
    for (name, restricted) in map(restricts, "properties") {
        let (at, from) = (properties.key(name), sources.key(name));
        match map(spine, "properties").find(|(known, _)| *known == name) {
            Some((_, spine)) => covered_inside(restricted, spine, &at, &from, faults),
            None => faults.push(Fault::required(at, format!("because it is defined in {from}"))),
        }
    }
}
