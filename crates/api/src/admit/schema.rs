//! The defaults that the schema itself names.

use serde_json::{Map, Value};

use crate::schema::{Schema, Shape, TypeId, Types};

/// Writes the schema's defaults into `object`, and empty objects where the schema says that they are always written.
pub(super) fn defaults(schema: &Schema, object: &mut Value) {
    if let Some(map) = object.as_object_mut() {
        fields(schema.types(), schema.root_id(), map);
    }
}

fn fields(types: &Types, id: TypeId, object: &mut Map<String, Value>) {
    for field in &types.get(id).fields {
        let nested = matches!(field.shape, Shape::Object(_) | Shape::List(_) | Shape::Map(_));
        if !nested && field.default.is_none() {
            continue;
        }
        match object.get_mut(field.name.as_ref()) {
            Some(value) => walk(types, &field.shape, value),
            None => {
                let mut value = match &field.default {
                    Some(default) => (**default).clone(),
                    None if field.fill => Value::Object(Map::new()),
                    None => continue,
                };
                walk(types, &field.shape, &mut value);
                object.insert(field.name.to_string(), value);
            }
        }
    }
}

fn walk(types: &Types, shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Object(id), Value::Object(map)) => fields(types, *id, map),
        (Shape::List(inner), Value::Array(list)) => list.iter_mut().for_each(|v| walk(types, inner, v)),
        (Shape::Map(inner), Value::Object(map)) => map.values_mut().for_each(|v| walk(types, inner, v)),
        _ => {}
    }
}
