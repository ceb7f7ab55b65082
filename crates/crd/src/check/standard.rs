//! What a schema may say at all.

use serde_json::Value;

use super::{expressions, flag, inner, list, map, text};
use crate::fault::Fault;
use crate::path::Path;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Words of JSON schemas that are not understood.
const UNSUPPORTED: [&str; 6] = ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// What holds for everything below some place.
#[derive(Clone, Copy, Default)]
struct Context {
    /// Why there may be no defaults.
    no_defaults: Option<&'static str>,
    /// Inside what every object has.
    metadata: bool,
    root: bool,
}

/// Tells what a schema says that it may not.
pub(super) fn check(raw: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    walk(raw, path, Context { root: true, ..Context::default() }, faults);
}

fn walk(raw: &Value, path: &Path<'_>, context: Context, faults: &mut Vec<Fault>) {
    words(raw, path, context, faults);
    let below = Context { root: false, ..context };
    if let Some(additional) = raw.get("additionalProperties").filter(|a| !a.is_null()) {
        let at = path.field("additionalProperties");
        if map(raw, "properties").next().is_some() && *additional != Value::Bool(true) {
            faults.push(Fault::forbidden(at, "additionalProperties and properties are mutual exclusive"));
        }
        if additional.is_object() {
            // What is pruned from them would depend on their names.
            let reason = "inside additionalProperties applying to object metadata";
            let no_defaults = if context.metadata { Some(reason) } else { context.no_defaults };
            walk(additional, &at, Context { no_defaults, ..below }, faults);
        }
    }
    let properties = path.field("properties");
    for (name, inner) in map(raw, "properties") {
        let mut below = below;
        if (context.root || flag(raw, "x-kubernetes-embedded-resource")) && is_of_every_object(name) {
            below.metadata = true;
            if context.root {
                below.no_defaults = Some(match name {
                    "metadata" => "in top-level metadata",
                    "kind" => "in top-level kind",
                    _ => "in top-level apiVersion",
                });
            }
        }
        walk(inner, &properties.key(name), below, faults);
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        let at = path.field(key);
        for (index, inner) in list(raw, key).iter().enumerate() {
            walk(inner, &at.item(index), below, faults);
        }
    }
    for key in ["not", "items"] {
        if let Some(inner) = inner(raw, key) {
            walk(inner, &path.field(key), below, faults);
        }
    }
    lists_and_maps(raw, path, faults);
    expressions::check(raw, path, faults);
}

fn is_of_every_object(name: &str) -> bool {
    matches!(name, "metadata" | "kind" | "apiVersion")
}

/// Single words.
fn words(raw: &Value, path: &Path<'_>, context: Context, faults: &mut Vec<Fault>) {
    let kind = text(raw, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        faults.push(Fault::not_supported(path.field("type"), kind, TYPES));
    }
    if kind == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        faults.push(Fault::forbidden(path.field("type"), why));
    }
    if let Some(reason) = context.no_defaults
        && raw.get("default").is_some_and(|d| !d.is_null())
    {
        faults.push(Fault::forbidden(path.field("default"), format!("must not be set {reason}")));
    }
    for word in UNSUPPORTED {
        if raw.get(word).is_some_and(|value| !super::is_zero(value)) {
            faults.push(Fault::forbidden(path.field(word), format!("{word} is not supported")));
        }
    }
    if raw.get("items").is_some_and(Value::is_array) {
        faults.push(Fault::forbidden(path.field("items"), "items must be a schema object and not an array"));
    }
    if context.metadata && flag(raw, "x-kubernetes-embedded-resource") {
        let why = "must not be used inside of resource meta";
        faults.push(Fault::forbidden(path.field("x-kubernetes-embedded-resource"), why));
    }
    if flag(raw, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        faults.push(Fault::forbidden(path.field("uniqueItems"), why));
    }
    if raw.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let at = path.field("x-kubernetes-preserve-unknown-fields");
        faults.push(Fault::invalid(at, false, "must be true or undefined"));
    }
}

/// A word that belongs to one type.
fn only_for(raw: &Value, word: &str, wanted: &str, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let kind = text(raw, "type");
    if raw.get(word).is_none_or(Value::is_null) || kind == wanted {
        return;
    }
    let (at, why) = (path.field("type"), format!("must be {wanted} if {word} is specified"));
    faults.push(if kind.is_empty() { Fault::required(at, why) } else { Fault::invalid(at, kind, why) });
}

fn lists_and_maps(raw: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    only_for(raw, "x-kubernetes-map-type", "object", path, faults);
    only_for(raw, "x-kubernetes-list-type", "array", path, faults);
    let (list_type, map_type) = (text(raw, "x-kubernetes-list-type"), text(raw, "x-kubernetes-map-type"));
    if !matches!(map_type, "" | "atomic" | "granular") {
        let at = path.field("x-kubernetes-map-type");
        faults.push(Fault::not_supported(at, map_type, ["atomic", "granular"]));
    }
    let at = path.field("x-kubernetes-list-type");
    if !matches!(list_type, "" | "atomic" | "set" | "map") {
        faults.push(Fault::not_supported(at, list_type, ["atomic", "set", "map"]));
    }
    let keys = list(raw, "x-kubernetes-list-map-keys");
    if !keys.is_empty() && list_type != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        let fault = if list_type.is_empty() { Fault::required(at, why) } else { Fault::invalid(at, list_type, why) };
        faults.push(fault);
    }
    let items = path.field("items");
    let Some(item) = inner(raw, "items") else {
        if list_type == "map" {
            faults.push(Fault::required(items, "must have a schema if x-kubernetes-list-type is map"));
        }
        return;
    };
    if matches!(list_type, "set" | "map") && flag(item, "nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        faults.push(Fault::forbidden(items.field("nullable"), why));
    }
    match list_type {
        "set" => set_items(item, &items, faults),
        "map" => map_items(item, keys, path, faults),
        _ => {}
    }
}

/// Items of sets are compared as wholes.
fn set_items(item: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (list_type, map_type) = (text(item, "x-kubernetes-list-type"), text(item, "x-kubernetes-map-type"));
    match text(item, "type") {
        "array" if !matches!(list_type, "" | "atomic") => {
            faults.push(Fault::invalid(path.field("x-kubernetes-list-type"), list_type, why));
        }
        "object" if map_type != "atomic" => {
            faults.push(Fault::invalid(path.field("x-kubernetes-map-type"), map_type, why));
        }
        _ => {}
    }
}

/// Items of keyed lists have their keys.
fn map_items(item: &Value, keys: &[Value], path: &Path<'_>, faults: &mut Vec<Fault>) {
    let (items, at) = (path.field("items"), path.field("x-kubernetes-list-map-keys"));
    if keys.is_empty() {
        faults.push(Fault::required(at, "must not be empty if x-kubernetes-list-type is map"));
    }
    let kind = text(item, "type");
    if kind != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        faults.push(Fault::invalid(items.field("type"), kind, why));
        return;
    }
    let required = list(item, "required");
    let properties = items.field("properties");
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        if keys[..index].contains(key) {
            faults.push(Fault::invalid(at, keys.to_vec(), "must not contain duplicate entries"));
        }
        let Some((_, field)) = map(item, "properties").find(|(known, _)| *known == name) else {
            faults.push(Fault::invalid(at, keys.to_vec(), "entries must all be names of item properties"));
            continue;
        };
        let place = properties.key(name);
        if matches!(text(field, "type"), "array" | "object") {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            faults.push(Fault::invalid(place.field("type"), text(field, "type"), why));
        }
        if !required.contains(key) && field.get("default").is_none_or(Value::is_null) {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            faults.push(Fault::required(place.field("default"), why));
        }
        if flag(field, "nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            faults.push(Fault::forbidden(place.field("nullable"), why));
        }
    }
}
