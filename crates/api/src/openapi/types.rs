//! Types as OpenAPI schemas.

use std::collections::BTreeSet;

use naru_crd::publish;
use serde_json::{Map, Value, json};

use super::Dialect;
use super::prose::Prose;
use crate::kind::Kind;
use crate::schema::{Field, ListKind, Schema, Shape, Type, TypeId};

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Types that are one JSON value.
pub(super) fn scalars(dialect: Dialect) -> Vec<(&'static str, Value)> {
    let stamp = json!({"type": "string", "format": "date-time"});
    let (quantity, port) = match dialect {
        Dialect::V2 => (json!({"type": "string"}), json!({"type": "string", "format": "int-or-string"})),
        Dialect::V3 => (
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        ),
    };
    let patch = json!({"type": "object"});
    vec![(QUANTITY, quantity), (TIME, stamp.clone()), (MICRO_TIME, stamp), (INT_OR_STRING, port), (PATCH, patch)]
}

/// The name of a type's schema.
pub(super) fn component(schema: &Schema, id: TypeId) -> String {
    schema.types().get(id).name.to_string()
}

/// A reference to a schema by name.
pub(super) fn reference(name: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}

/// Group, version and kind as the extension says it.
pub(super) fn gvk(kind: &Kind, name: &str) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": name})
}

/// The name of the schema of a kind's objects.
pub(super) fn root_name(kind: &Kind) -> String {
    if kind.custom().is_some() {
        return publish::component(&kind.group, &kind.version, &kind.kind);
    }
    let schema = kind.schema();
    component(&schema, schema.root_id())
}

/// The name of the schema of a kind's lists.
pub(super) fn list_name(kind: &Kind) -> String {
    if kind.custom().is_some() {
        return publish::component(&kind.group, &kind.version, &kind.list_kind());
    }
    format!("{}List", root_name(kind))
}

/// The schema of a kind's lists.
pub(super) fn list(kind: &Kind, dialect: Dialect) -> Value {
    json!({
        "description": format!("{} is a list of {}.", kind.list_kind(), kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": embedded(reference(LIST_META, dialect), dialect),
            "items": {"type": "array", "items": embedded(reference(&root_name(kind), dialect), dialect)},
        },
        "x-kubernetes-group-version-kind": [gvk(kind, &kind.list_kind())],
    })
}

/// The type and every type that it uses, in the order of the table.
pub(super) fn closure(schema: &Schema) -> BTreeSet<TypeId> {
    let mut seen = BTreeSet::new();
    let mut open = vec![schema.root_id()];
    while let Some(id) = open.pop() {
        if id != TypeId::OPEN && seen.insert(id) {
            open.extend(schema.types().get(id).fields.iter().filter_map(|f| target(&f.shape)));
        }
    }
    seen
}

fn target(shape: &Shape) -> Option<TypeId> {
    match shape {
        Shape::Object(id) => Some(*id),
        Shape::List(inner) | Shape::Map(inner) => target(inner),
        _ => None,
    }
}

/// The schema of one type.
pub(super) fn describe(schema: &Schema, of: &Type, gvk: Vec<Value>, prose: &Prose, dialect: Dialect) -> Value {
    let mut out = Map::new();
    if let Some(text) = prose.about(&of.name) {
        out.insert("description".to_owned(), text.into());
    }
    if of.any {
        return Value::Object(out);
    }
    out.insert("type".to_owned(), "object".into());
    let mut properties = Map::new();
    for field in &of.fields {
        properties.insert(field.name.to_string(), describe_field(schema, of, field, prose, dialect));
    }
    if !properties.is_empty() {
        out.insert("properties".to_owned(), Value::Object(properties));
    }
    let required: Vec<&str> = of.fields.iter().filter(|f| f.required).map(|f| f.name.as_ref()).collect();
    if !required.is_empty() {
        out.insert("required".to_owned(), json!(required));
    }
    if of.atomic {
        out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    if of.open {
        out.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
    }
    if !gvk.is_empty() {
        out.insert("x-kubernetes-group-version-kind".to_owned(), Value::Array(gvk));
    }
    Value::Object(out)
}

fn describe_field(schema: &Schema, of: &Type, field: &Field, prose: &Prose, dialect: Dialect) -> Value {
    let mut out = match describe_shape(schema, &field.shape, dialect) {
        reference @ Value::Object(_) if reference.get("$ref").is_some() => wrapped(reference, dialect),
        Value::Object(map) => map,
        _ => Map::new(),
    };
    if let Some(text) = prose.about_field(&of.name, &field.name) {
        out.insert("description".to_owned(), text.into());
    }
    match &field.default {
        Some(default) => drop(out.insert("default".to_owned(), (**default).clone())),
        None if field.fill && dialect == Dialect::V3 => drop(out.insert("default".to_owned(), json!({}))),
        None => {}
    }
    let list = matches!(field.shape, Shape::List(_));
    let kind = if list { "x-kubernetes-list-type" } else { "x-kubernetes-map-type" };
    match &field.list {
        ListKind::Plain => {}
        ListKind::Atomic => drop(out.insert(kind.to_owned(), "atomic".into())),
        ListKind::Set => drop(out.insert(kind.to_owned(), "set".into())),
        ListKind::Map(keys) => {
            out.insert(kind.to_owned(), "map".into());
            out.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
        }
    }
    let strategies = [(field.patch.merge, "merge"), (field.patch.retain_keys, "retainKeys")];
    let strategy: Vec<&str> = strategies.iter().filter(|s| s.0).map(|s| s.1).collect();
    if !strategy.is_empty() {
        out.insert("x-kubernetes-patch-strategy".to_owned(), strategy.join(",").into());
    }
    if let Some(key) = &field.patch.key {
        out.insert("x-kubernetes-patch-merge-key".to_owned(), json!(key));
    }
    Value::Object(out)
}

/// In version 3, nothing may stand beside a reference, so it is wrapped.
fn wrapped(reference: Value, dialect: Dialect) -> Map<String, Value> {
    match (dialect, reference) {
        (Dialect::V2, Value::Object(map)) => map,
        (_, reference) => Map::from_iter([("allOf".to_owned(), Value::Array(vec![reference]))]),
    }
}

fn embedded(reference: Value, dialect: Dialect) -> Value {
    let mut out = wrapped(reference, dialect);
    if dialect == Dialect::V3 {
        out.insert("default".to_owned(), json!({}));
    }
    Value::Object(out)
}

fn describe_shape(schema: &Schema, shape: &Shape, dialect: Dialect) -> Value {
    match shape {
        Shape::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
        Shape::Open | Shape::Object(TypeId::OPEN) => {
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
        }
        Shape::String => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Number => json!({"type": "number", "format": "double"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Quantity => reference(QUANTITY, dialect),
        Shape::Time => reference(TIME, dialect),
        Shape::MicroTime => reference(MICRO_TIME, dialect),
        Shape::IntOrString => reference(INT_OR_STRING, dialect),
        Shape::Object(id) => reference(&component(schema, *id), dialect),
        Shape::List(inner) => {
            let mut item = describe_shape(schema, inner, dialect);
            if item.get("$ref").is_some() {
                item = embedded(item, dialect);
            }
            json!({"type": "array", "items": item})
        }
        Shape::Map(inner) => {
            json!({"type": "object", "additionalProperties": describe_shape(schema, inner, dialect)})
        }
    }
}
