//! From `openAPIV3Schema` to a tree. What a schema must not say was refused before, or was stored before it was a rule:
//! the reader takes what it understands and leaves out the rest.

use serde_json::{Map, Value};

use super::{Additional, Below, Bound, Fields, Limits, ListType, Schema, Type};
use crate::pattern::Pattern;

impl Schema {
    /// Reads the JSON of a schema, without compiling its rules.
    pub(crate) fn read(raw: &Value) -> Schema {
        let Some(raw) = raw.as_object() else { return Schema::default() };
        let mut schema = Schema {
            kind: text(raw, "type").and_then(Type::parse),
            properties: named(raw, "properties"),
            additional: match raw.get("additionalProperties") {
                Some(Value::Bool(true)) => Additional::Any,
                Some(inner @ Value::Object(_)) => Additional::Of(Box::new(Schema::read(inner))),
                _ => Additional::None,
            },
            items: raw.get("items").filter(|i| i.is_object()).map(|i| Box::new(Schema::read(i))),
            nullable: flag(raw, "nullable"),
            default: raw.get("default").filter(|d| !d.is_null()).map(|d| Box::new(d.clone())),
            preserves_unknown: flag(raw, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(raw, "x-kubernetes-embedded-resource"),
            int_or_string: flag(raw, "x-kubernetes-int-or-string"),
            list: list_type(raw),
            atomic_map: text(raw, "x-kubernetes-map-type") == Some("atomic"),
            format: text(raw, "format").map(Into::into),
            limits: limits(raw),
            rules: Box::default(),
            below: Below::default(),
        };
        schema.look_below(!list(raw, "x-kubernetes-validations").is_empty());
        schema
    }

    /// Notes what there is here and below.
    fn look_below(&mut self, has_rules: bool) {
        let mut below = Below { rules: has_rules, keyed_lists: self.list != ListType::Atomic, embedded: self.embedded };
        let additional = match &self.additional {
            Additional::Of(inner) => Some(&**inner),
            _ => None,
        };
        for inner in self.properties.iter().map(|(_, inner)| inner).chain(self.items.as_deref()).chain(additional) {
            below.rules |= inner.below.rules;
            below.keyed_lists |= inner.below.keyed_lists;
            below.embedded |= inner.below.embedded;
        }
        self.below = below;
    }
}

fn text<'r>(raw: &'r Map<String, Value>, key: &str) -> Option<&'r str> {
    raw.get(key)?.as_str().filter(|t| !t.is_empty())
}

fn flag(raw: &Map<String, Value>, key: &str) -> bool {
    raw.get(key) == Some(&Value::Bool(true))
}

fn list<'r>(raw: &'r Map<String, Value>, key: &str) -> &'r [Value] {
    raw.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn count(raw: &Map<String, Value>, key: &str) -> Option<u64> {
    raw.get(key)?.as_u64()
}

fn named(raw: &Map<String, Value>, key: &str) -> Fields {
    let fields = raw.get(key).and_then(Value::as_object).into_iter().flatten();
    fields.map(|(name, inner)| (name.as_str().into(), Schema::read(inner))).collect()
}

fn several(raw: &Map<String, Value>, key: &str) -> Vec<Schema> {
    list(raw, key).iter().map(Schema::read).collect()
}

fn list_type(raw: &Map<String, Value>) -> ListType {
    match text(raw, "x-kubernetes-list-type") {
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = list(raw, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str);
            ListType::Map(keys.map(str::to_owned).collect())
        }
        _ => ListType::Atomic,
    }
}

fn limits(raw: &Map<String, Value>) -> Option<Box<Limits>> {
    const KEYS: [&str; 16] = [
        "maximum",
        "minimum",
        "multipleOf",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "maxProperties",
        "minProperties",
        "required",
        "enum",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
    ];
    if !KEYS.iter().any(|key| raw.contains_key(*key)) {
        return None;
    }
    let bound = |key: &str, exclusive: &str| {
        let value = raw.get(key)?.as_number()?.clone();
        Some(Bound { value, exclusive: flag(raw, exclusive) })
    };
    Some(Box::new(Limits {
        maximum: bound("maximum", "exclusiveMaximum"),
        minimum: bound("minimum", "exclusiveMinimum"),
        multiple_of: raw.get("multipleOf").and_then(Value::as_number).cloned(),
        max_length: count(raw, "maxLength"),
        min_length: count(raw, "minLength"),
        pattern: text(raw, "pattern").and_then(|p| Pattern::compile(p).ok()),
        max_items: count(raw, "maxItems"),
        min_items: count(raw, "minItems"),
        max_properties: count(raw, "maxProperties"),
        min_properties: count(raw, "minProperties"),
        required: list(raw, "required").iter().filter_map(Value::as_str).map(Into::into).collect(),
        one_of_values: list(raw, "enum").to_vec(),
        all_of: several(raw, "allOf"),
        any_of: several(raw, "anyOf"),
        one_of: several(raw, "oneOf"),
        not: raw.get("not").filter(|n| n.is_object()).map(|n| Box::new(Schema::read(n))),
    }))
}
