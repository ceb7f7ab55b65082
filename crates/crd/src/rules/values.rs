//! Objects as expressions see them: only what the schema declares, in the types that it declares.

use std::sync::Arc;

use jiff::tz::TimeZone;
use naru_cel::{Key, List, ListKind, Map, Value as CelValue, escape};
use serde_json::Value;

use crate::schema::{Additional, ListType, Schema, Type};
use crate::validate::format;

/// A value of a schema. `root` says that it is a whole object.
pub(super) fn value(schema: &Schema, json: &Value, root: bool) -> CelValue {
    match json {
        Value::Null => CelValue::Null,
        Value::Object(map) => match &schema.additional {
            Additional::Of(inner) if !root => {
                let entries = map.iter().map(|(name, json)| (key(name), value(inner, json, inner.embedded)));
                CelValue::Map(Arc::new(entries.collect()))
            }
            _ => object(schema, map, root),
        },
        Value::Array(items) => {
            let inner = schema.items.as_deref();
            let item = |json| inner.map_or(CelValue::Null, |inner| value(inner, json, inner.embedded));
            let kind = match &schema.list {
                ListType::Atomic => ListKind::Atomic,
                ListType::Set => ListKind::Set,
                ListType::Map(keys) => {
                    ListKind::Map(keys.iter().map(|k| escape(k).unwrap_or_else(|| k.clone())).collect())
                }
            };
            CelValue::List(Arc::new(List { items: items.iter().map(item).collect(), kind }))
        }
        Value::String(text) => scalar(schema, text).unwrap_or_else(|| CelValue::text(text.as_str())),
        // A schema of numbers has floating-point ones only, one of whole numbers has no others.
        Value::Number(number) => match (schema.kind, number.as_i64(), number.as_f64()) {
            (Some(Type::Number), _, Some(float)) => CelValue::Double(float),
            (_, Some(whole), _) => CelValue::Int(whole),
            // The cast is exact below 9e15.
            (_, None, Some(float)) if float.fract() == 0.0 && float.abs() < 9.0e15 => CelValue::Int(float as i64),
            (_, _, Some(float)) => CelValue::Double(float),
            _ => CelValue::Null,
        },
        other => CelValue::from_json(other),
    }
}

fn key(name: &str) -> Key {
    Key::String(name.into())
}

fn object(schema: &Schema, map: &serde_json::Map<String, Value>, root: bool) -> CelValue {
    let mut fields = Map::new();
    // A field that is null is as good as absent, other than an entry of a map.
    for (name, json) in map.iter().filter(|(_, json)| !json.is_null()) {
        let inner = match schema.properties.get(name) {
            Some(inner) if inner.kind.is_some() || inner.int_or_string => inner,
            _ => continue,
        };
        // What cannot be named still counts when objects are compared.
        let escaped = escape(name).unwrap_or_else(|| name.clone());
        fields.insert(key(&escaped), value(inner, json, inner.embedded));
    }
    if root {
        for name in ["apiVersion", "kind"] {
            if let Some(json) = map.get(name) {
                fields.insert(key(name), CelValue::from_json(json));
            }
        }
        let mut metadata = Map::new();
        for name in ["name", "generateName"] {
            if let Some(json) = map.get("metadata").and_then(|m| m.get(name)) {
                metadata.insert(key(name), CelValue::from_json(json));
            }
        }
        fields.insert(key("metadata"), CelValue::Map(Arc::new(metadata)));
    }
    CelValue::Map(Arc::new(fields))
}

/// Text of a format that has a type of its own.
fn scalar(schema: &Schema, text: &str) -> Option<CelValue> {
    match schema.format.as_deref().filter(|_| schema.kind == Some(Type::String))? {
        "byte" => Some(CelValue::Bytes(format::bytes(text)?.into())),
        "duration" => format::duration(text).map(CelValue::Duration),
        "date" => {
            let midnight = format::date(text)?.to_zoned(TimeZone::UTC).ok()?;
            Some(CelValue::Timestamp(midnight.timestamp()))
        }
        "date-time" | "datetime" => format::time(text).map(CelValue::Timestamp),
        _ => None,
    }
}
