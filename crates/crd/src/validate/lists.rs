//! Sets and keyed lists hold each value once.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::path::Path;
use crate::schema::{ListType, Schema};

/// The items of sets and keyed lists that stand there more than once.
pub(crate) fn duplicates(schema: &Schema, path: &Path<'_>, value: &Value, faults: &mut Vec<Fault>) {
    if !schema.below.keyed_lists {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(inner) = schema.properties.get(name) {
                    duplicates(inner, &path.field(name), value, faults);
                } else if let Some(inner) = schema.field(name) {
                    duplicates(inner, &path.key(name), value, faults);
                }
            }
        }
        Value::Array(list) => {
            match &schema.list {
                ListType::Atomic => {}
                ListType::Set => repeated(path, list, Clone::clone, faults),
                ListType::Map(keys) => repeated(path, list, |item| identity(item, keys), faults),
            }
            if let Some(inner) = &schema.items {
                for (index, item) in list.iter().enumerate() {
                    duplicates(inner, &path.item(index), item, faults);
                }
            }
        }
        _ => {}
    }
}

/// What an item is told apart by.
fn identity(item: &Value, keys: &[String]) -> Value {
    let fields = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn repeated(path: &Path<'_>, list: &[Value], of: impl Fn(&Value) -> Value, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let identity = of(item);
        if !seen.insert(identity.to_string()) {
            faults.push(Fault::duplicate(path.item(index), identity));
        }
    }
}
