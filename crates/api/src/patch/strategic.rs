//! Strategic merge.
//!
//! Maps merge key by key; null removes. Lists are replaced unless the schema says that they merge: lists of objects by
//! their merge key, lists of plain values as sets. Directives inside the patch change this: `$patch: replace|delete|merge`,
//! `$retainKeys`, `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::schema::{Field, Shape, Type, TypeId, Types};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// Merges `patch` into `object`, a value of type `of`.
pub(super) fn apply(types: &Types, of: &Type, object: &mut Object, patch: &Object) -> Result<(), String> {
    match directive(patch)? {
        Some("replace") => {
            *object = cleaned(patch);
            return Ok(());
        }
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        _ => {}
    }
    retain(object, patch)?;
    for (key, value) in patch {
        if key == PATCH || key == RETAIN {
            continue;
        }
        if let Some(field) = key.strip_prefix(ORDER) {
            if !patch.contains_key(field) {
                reorder(of.field(field), object, field, list_of(key, value)?);
            }
        } else if let Some(field) = key.strip_prefix(DELETE_FROM) {
            delete_from(object, field, list_of(key, value)?);
            if let Some(order) = patch.get(&format!("{ORDER}{field}")) {
                reorder(of.field(field), object, field, list_of(key, order)?);
            }
        } else {
            let order = patch.get(&format!("{ORDER}{key}"));
            let order = order.map(|o| list_of(key, o)).transpose()?;
            field(types, of.field(key), object, key, value, order)?;
        }
    }
    Ok(())
}

fn directive(patch: &Object) -> Result<Option<&str>, String> {
    match patch.get(PATCH) {
        None => Ok(None),
        Some(Value::String(word)) if matches!(word.as_str(), "replace" | "delete" | "merge") => Ok(Some(word)),
        Some(other) => Err(format!("unknown patch type {other}: $patch takes replace, delete or merge")),
    }
}

fn list_of<'a>(key: &str, value: &'a Value) -> Result<&'a [Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| format!("{key} must be a list"))
}

fn retain(object: &mut Object, patch: &Object) -> Result<(), String> {
    let Some(keys) = patch.get(RETAIN) else { return Ok(()) };
    let keys = list_of(RETAIN, keys)?;
    let named = |key: &str| keys.iter().any(|k| k == key);
    if let Some(extra) = patch.keys().find(|k| !k.starts_with('$') && !named(k)) {
        return Err(format!("{RETAIN} must name every field of the patch, but {extra} is missing"));
    }
    object.retain(|key, _| named(key));
    Ok(())
}

fn field(
    types: &Types,
    schema: Option<&Field>,
    object: &mut Object,
    key: &str,
    value: &Value,
    order: Option<&[Value]>,
) -> Result<(), String> {
    if value.is_null() {
        object.remove(key);
        return Ok(());
    }
    let merges = schema.is_some_and(|f| f.patch.merge);
    match (object.get_mut(key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let inner = type_of(types, schema.map(|f| &f.shape));
            apply(types, inner, old, new)
        }
        (Some(Value::Array(old)), Value::Array(new)) if merges => {
            let merge_key = schema.and_then(|f| f.patch.key.as_deref());
            let merged = match merge_key {
                Some(merge_key) => objects(types, schema, std::mem::take(old), new, merge_key, order)?,
                None => plain(std::mem::take(old), new, order),
            };
            *old = merged;
            Ok(())
        }
        (None, Value::Object(new)) => {
            if directive(new)? != Some("delete") {
                object.insert(key.to_owned(), Value::Object(cleaned(new)));
            }
            Ok(())
        }
        _ => {
            object.insert(key.to_owned(), clean(value));
            Ok(())
        }
    }
}

/// The type that a map of this shape merges along.
fn type_of<'t>(types: &'t Types, shape: Option<&Shape>) -> &'t Type {
    match shape {
        Some(Shape::Object(id)) => types.get(*id),
        _ => types.get(TypeId::OPEN),
    }
}

fn cleaned(map: &Object) -> Object {
    let kept = map.iter().filter(|(k, v)| !is_directive(k) && !v.is_null());
    kept.map(|(k, v)| (k.clone(), clean(v))).collect()
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN || key.starts_with(DELETE_FROM) || key.starts_with(ORDER)
}

/// A value that is taken over as it stands: without directives and nulls.
fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(cleaned(map)),
        Value::Array(list) => {
            let deleted = |v: &Value| v.get(PATCH).is_some_and(|p| p == "delete");
            let only_directive = |v: &Value| v.as_object().is_some_and(|m| m.len() == 1 && m.contains_key(PATCH));
            Value::Array(list.iter().filter(|v| !deleted(v) && !only_directive(v)).map(clean).collect())
        }
        other => other.clone(),
    }
}

fn delete_from(object: &mut Object, field: &str, values: &[Value]) {
    if let Some(list) = object.get_mut(field).and_then(Value::as_array_mut) {
        list.retain(|item| !values.contains(item));
    }
}

fn plain(old: Vec<Value>, new: &[Value], order: Option<&[Value]>) -> Vec<Value> {
    let mut merged = old.clone();
    for value in new {
        if !merged.contains(value) {
            merged.push(value.clone());
        }
    }
    arrange(merged, order.unwrap_or(new), &old, |v| Some(Cow::Borrowed(v)))
}

fn objects(
    types: &Types,
    schema: Option<&Field>,
    old: Vec<Value>,
    new: &[Value],
    key: &str,
    order: Option<&[Value]>,
) -> Result<Vec<Value>, String> {
    let item = match schema.map(|f| &f.shape) {
        Some(Shape::List(inner)) => type_of(types, Some(inner)),
        _ => types.get(TypeId::OPEN),
    };
    if new.iter().any(|v| v.get(PATCH).is_some_and(|p| p == "replace")) {
        return match clean(&Value::Array(new.to_vec())) {
            Value::Array(list) => Ok(list),
            _ => Ok(Vec::new()),
        };
    }
    let before: Vec<Value> = old.iter().filter_map(|v| v.get(key).cloned()).collect();
    let mut merged = old;
    let mut patched = Vec::new();
    for entry in new {
        let entry = entry.as_object().ok_or_else(|| format!("a list that merges by {key} must hold objects"))?;
        let id = entry.get(key).ok_or_else(|| {
            format!("map: {} does not contain declared merge key: {key}", Value::Object(entry.clone()))
        })?;
        if directive(entry)? == Some("delete") {
            merged.retain(|v| v.get(key) != Some(id));
            continue;
        }
        patched.push(id.clone());
        match merged.iter_mut().find(|v| v.get(key) == Some(id)) {
            Some(Value::Object(present)) => apply(types, item, present, entry)?,
            _ => merged.push(Value::Object(cleaned(entry))),
        }
    }
    let ids: Vec<Value> = match order {
        Some(order) => order.iter().filter_map(|o| o.get(key).cloned()).collect(),
        None => patched,
    };
    Ok(arrange(merged, &ids, &before, |v| v.get(key).map(Cow::Borrowed)))
}

/// Reorders a list that the patch gives an order for without changing its items.
fn reorder(schema: Option<&Field>, object: &mut Object, field: &str, order: &[Value]) {
    let Some(list) = object.get_mut(field).and_then(Value::as_array_mut) else { return };
    let items = std::mem::take(list);
    *list = match schema.and_then(|f| f.patch.key.as_deref()) {
        Some(key) => {
            let before: Vec<Value> = items.iter().filter_map(|v| v.get(key).cloned()).collect();
            let ids: Vec<Value> = order.iter().filter_map(|o| o.get(key).cloned()).collect();
            arrange(items, &ids, &before, |v| v.get(key).map(Cow::Borrowed))
        }
        None => {
            let before = items.clone();
            arrange(items, order, &before, |v| Some(Cow::Borrowed(v)))
        }
    };
}

/// Puts the items that `order` names in that order and weaves in the others: one of these comes before a named item
/// only where both were there `before`, in that order.
fn arrange(
    items: Vec<Value>,
    order: &[Value],
    before: &[Value],
    id: impl for<'v> Fn(&'v Value) -> Option<Cow<'v, Value>>,
) -> Vec<Value> {
    let place = |list: &[Value], v: &Value| id(v).and_then(|i| list.iter().position(|x| *x == *i));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = items.into_iter().partition(|v| place(order, v).is_some());
    named.sort_by_key(|v| place(order, v));
    others.sort_by_key(|v| place(before, v));
    let mut merged = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let first = match (named.peek(), others.peek()) {
            (Some(n), Some(o)) => match (place(before, o), place(before, n)) {
                (Some(o), Some(n)) => o < n,
                _ => false,
            },
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) => return merged,
        };
        merged.extend(if first { others.next() } else { named.next() });
    }
}
