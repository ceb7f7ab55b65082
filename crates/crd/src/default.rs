//! What absent values are.
//!
//! Defaults are written down when an object is written, and when it is read after its schema learned new ones, so that
//! every reader sees the same. A null where none may be is as good as absent: it becomes the default, or goes.

use serde_json::{Map, Value};

use crate::schema::{Additional, Schema};

impl Schema {
    /// Fills in defaults and takes away nulls where none may be. Doing it twice changes nothing.
    pub fn fill(&self, object: &mut Value) {
        defaults(self, object);
        nulls(self, object);
    }
}

/// Whether a value is a null that may not be one.
fn stray(schema: &Schema, value: &Value) -> bool {
    value.is_null() && !schema.nullable
}

fn defaults(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, inner) in schema.properties.iter() {
                let Some(default) = &inner.default else { continue };
                match map.get_mut(name) {
                    Some(present) if stray(inner, present) => *present = (**default).clone(),
                    Some(_) => {}
                    None => drop(map.insert(name.to_owned(), (**default).clone())),
                }
            }
            each(schema, map, |inner, value| {
                if let Some(default) = inner.default.as_deref().filter(|_| stray(inner, value)) {
                    *value = default.clone();
                }
                defaults(inner, value);
            });
        }
        Value::Array(items) => {
            let Some(inner) = &schema.items else { return };
            for item in items {
                if let Some(default) = inner.default.as_deref().filter(|_| stray(inner, item)) {
                    *item = default.clone();
                }
                defaults(inner, item);
            }
        }
        _ => {}
    }
}

fn nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| {
                value.is_null().then(|| schema.field(name)).flatten().is_none_or(|inner| !stray(inner, value))
            });
            each(schema, map, nulls);
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                items.iter_mut().for_each(|item| nulls(inner, item));
            }
        }
        _ => {}
    }
}

/// Works on every entry that a schema knows.
fn each(schema: &Schema, map: &mut Map<String, Value>, mut work: impl FnMut(&Schema, &mut Value)) {
    let anything = matches!(schema.additional, Additional::Of(_));
    if anything || map.len() < schema.properties.len() {
        for (name, value) in map.iter_mut() {
            if let Some(inner) = schema.field(name) {
                work(inner, value);
            }
        }
        return;
    }
    for (name, inner) in schema.properties.iter() {
        if let Some(value) = map.get_mut(name) {
            work(inner, value);
        }
    }
}

#[cfg(test)]
mod tests;
