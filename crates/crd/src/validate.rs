//! What values must keep.
//!
//! One walk along the schema finds every broken rule and names it as other servers do. A value that is as it was
//! before is not judged again: rules that came later do not make it impossible to change something else (ratcheting).
//! Expressions have a walk of their own ([`crate::rules`]).

mod compose;
pub(crate) mod format;
mod lists;
mod scalar;

use serde_json::{Map, Value};

use crate::fault::{Fault, Reason};
use crate::metadata;
use crate::path::Path;
use crate::schema::{Additional, Limits, ListType, Schema, Type, type_name};

pub(crate) use lists::duplicates;

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) faults: Vec<Fault>,
    /// How many values kept all their rules: of several failed alternatives the one that fits best is told.
    pub(crate) kept: usize,
}

impl Schema {
    /// What is wrong with an object, besides expressions. With `old` only what is wrong with what changed.
    pub fn check(&self, object: &Value, old: Option<&Value>) -> Vec<Fault> {
        self.check_at("", object, old)
    }

    /// As [`Schema::check`], for the value at a path.
    pub(crate) fn check_at(&self, path: &str, value: &Value, old: Option<&Value>) -> Vec<Fault> {
        let start = Path::start(path);
        let mut findings = Findings::default();
        walk(self, &start, value, old, &mut findings);
        if self.below.embedded {
            embedded(self, &start, value, old, true, &mut findings.faults);
        }
        if self.below.keyed_lists {
            let mut found = Vec::new();
            duplicates(self, &start, value, &mut found);
            // What was so before may stay so.
            let before = |old: &Value| {
                let mut faults = Vec::new();
                duplicates(self, &start, old, &mut faults);
                !faults.is_empty()
            };
            if !found.is_empty() && !old.is_some_and(before) {
                findings.faults.append(&mut found);
            }
        }
        findings.faults
    }
}

/// Judges one value.
pub(crate) fn walk(schema: &Schema, path: &Path<'_>, value: &Value, old: Option<&Value>, out: &mut Findings) {
    if old == Some(value) {
        return;
    }
    let before = out.faults.len();
    shape(schema, path, value, out);
    if let Some(limits) = &schema.limits {
        if !value.is_null() {
            compose::judge(limits, path, value, out);
            scalar::judge(limits, path, value, &mut out.faults);
        }
        if !limits.one_of_values.is_empty() && !limits.one_of_values.contains(value) {
            out.faults.push(unlisted(path, value, &limits.one_of_values));
        }
    }
    match value {
        Value::String(text) => {
            if let Some(name) = schema.format.as_deref().filter(|name| !format::holds(name, text)) {
                out.faults.push(wrong_type(path, name, text));
            }
        }
        Value::Number(number) => scalar::in_range(schema, path, number, &mut out.faults),
        Value::Object(map) => fields(schema, path, map, old, out),
        Value::Array(list) => items(schema, path, list, old, out),
        _ => {}
    }
    if out.faults.len() == before {
        out.kept += 1;
    }
}

/// Judges a value's type.
fn shape(schema: &Schema, path: &Path<'_>, value: &Value, out: &mut Findings) {
    if value.is_null() && schema.nullable {
        return;
    }
    let found = type_name(value);
    if schema.int_or_string && schema.kind.is_none() {
        if !matches!(found, "integer" | "string") {
            let text = format!("{:?} must validate at least one schema (anyOf)", path.to_string());
            out.faults.push(Fault::invalid("", "", text));
            out.faults.push(wrong_type(path, "integer", found));
        }
        return;
    }
    let Some(kind) = schema.kind else { return };
    let fits = kind.name() == found || (kind == Type::Number && found == "integer");
    if !fits {
        out.faults.push(wrong_type(path, kind.name(), found));
    }
}

/// The value (or its type) is no `expected`.
fn wrong_type(path: &Path<'_>, expected: &str, found: &str) -> Fault {
    Fault {
        path: path.to_string(),
        reason: Reason::TypeInvalid,
        value: Some(found.into()),
        detail: format!("{path} in body must be of type {expected}: {found:?}"),
    }
}

fn unlisted(path: &Path<'_>, value: &Value, listed: &[Value]) -> Fault {
    let words: Vec<String> = listed.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
    Fault::not_supported(path, value.clone(), words.iter().map(String::as_str))
}

/// Why a value breaks a rule, as a sentence with its path.
fn said(path: &Path<'_>, value: impl Into<Value>, words: &str) -> Fault {
    Fault::invalid(path, value, format!("{path} in body {words}"))
}

fn fields(schema: &Schema, path: &Path<'_>, map: &Map<String, Value>, old: Option<&Value>, out: &mut Findings) {
    if let Some(limits) = &schema.limits {
        match limits.as_ref() {
            Limits { min_properties: Some(least), .. } if (map.len() as u64) < *least => {
                let words = format!("should have at least {least} properties");
                out.faults.push(said(path, "", &words));
                return;
            }
            Limits { max_properties: Some(most), .. } if map.len() as u64 > *most => {
                out.faults.push(Fault::too_many(path, map.len(), *most));
                return;
            }
            limits => {
                let missing = limits.required.iter().filter(|name| !map.contains_key(&***name));
                out.faults.extend(missing.map(|name| Fault::required(path.field(name), "")));
            }
        }
    }
    // An object that is replaced as a whole has no fields that stayed.
    let old = old.and_then(Value::as_object).filter(|_| !schema.atomic_map);
    if schema.properties.is_empty() && matches!(schema.additional, Additional::None | Additional::Any) {
        return;
    }
    for (name, value) in map {
        if let Some(inner) = schema.field(name) {
            walk(inner, &path.field(name), value, old.and_then(|o| o.get(name)), out);
        }
    }
}

fn items(schema: &Schema, path: &Path<'_>, list: &[Value], old: Option<&Value>, out: &mut Findings) {
    if let Some(inner) = &schema.items {
        let correlation = Correlation::of(schema, old);
        for (index, item) in list.iter().enumerate() {
            walk(inner, &path.item(index), item, correlation.find(item), out);
        }
    }
    let Some(limits) = &schema.limits else { return };
    if let Some(least) = limits.min_items.filter(|least| (list.len() as u64) < *least) {
        let words = format!("should have at least {least} items");
        out.faults.push(said(path, list.len(), &words));
    }
    if let Some(most) = limits.max_items.filter(|most| list.len() as u64 > *most) {
        out.faults.push(Fault::too_many(path, list.len(), most));
    }
}

/// Which item of a former list an item was: only known where items are told apart by keys.
pub(crate) struct Correlation<'a> {
    keys: &'a [String],
    old: &'a [Value],
}

impl<'a> Correlation<'a> {
    pub(crate) fn of(schema: &'a Schema, old: Option<&'a Value>) -> Correlation<'a> {
        match (&schema.list, old.and_then(Value::as_array)) {
            (ListType::Map(keys), Some(old)) => Correlation { keys, old },
            _ => Correlation { keys: &[], old: &[] },
        }
    }

    pub(crate) fn find(&self, item: &Value) -> Option<&'a Value> {
        self.old.iter().find(|then| self.keys.iter().all(|key| then.get(key) == item.get(key)))
    }
}

/// Judges what embedded objects must have to be objects.
fn embedded(schema: &Schema, path: &Path<'_>, value: &Value, old: Option<&Value>, root: bool, faults: &mut Vec<Fault>) {
    if old == Some(value) || !schema.below.embedded {
        return;
    }
    match value {
        Value::Object(map) => {
            if schema.embedded && !root {
                metadata::check(map, &path.to_string(), faults);
            }
            for (name, value) in map {
                if let Some(inner) = schema.field(name) {
                    let old = old.and_then(|o| o.get(name));
                    embedded(inner, &path.field(name), value, old, false, faults);
                }
            }
        }
        Value::Array(list) => {
            let Some(inner) = &schema.items else { return };
            let correlation = Correlation::of(schema, old);
            for (index, item) in list.iter().enumerate() {
                embedded(inner, &path.item(index), item, correlation.find(item), false, faults);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
