//! Structural schemas: what the objects of one version look like.
//!
//! A schema is read once into a tree whose nodes hold only what walks over objects need; prose, titles and examples stay in
//! the definition's own JSON, from which clients are told. The walks (pruning, defaults, validation, rules) ask each
//! node whether there is anything for them below, so that a large schema costs a small object little.

mod fields;
mod read;

use std::sync::Arc;

use serde_json::{Number, Value};

use crate::pattern::Pattern;
use crate::rules::Rule;

pub use fields::Fields;

/// A JSON type that a schema asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// An object.
    Object,
    /// A list.
    Array,
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// One node of a structural schema.
#[derive(Debug, Default)]
pub struct Schema {
    /// The type; none for values of any type, and for numbers or text ([`Schema::int_or_string`]).
    pub kind: Option<Type>,
    /// The fields of an object.
    pub properties: Fields,
    /// Entries of a map.
    pub additional: Additional,
    /// Items of a list.
    pub items: Option<Box<Schema>>,
    /// Whether it may be null.
    pub nullable: bool,
    /// What an absent value is.
    pub default: Option<Box<Value>>,
    /// Whether fields without a schema are kept.
    pub preserves_unknown: bool,
    /// Whether it is a whole object of some kind, with metadata.
    pub embedded: bool,
    /// Whether it is a whole number or text.
    pub int_or_string: bool,
    /// What a list is to its writers.
    pub list: ListType,
    /// Whether writers replace the object as a whole.
    pub atomic_map: bool,
    /// The format of text or numbers.
    pub(crate) format: Option<Box<str>>,
    /// What values must keep besides.
    pub(crate) limits: Option<Box<Limits>>,
    /// Rules in the expression language.
    pub(crate) rules: Box<[Rule]>,
    /// What there is here and below.
    pub(crate) below: Below,
}

/// Entries of a map.
#[derive(Debug, Default)]
pub enum Additional {
    /// There are none.
    #[default]
    None,
    /// Any.
    Any,
    /// Those that follow a schema.
    Of(Box<Schema>),
}

/// What a list is to its writers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// It is replaced as a whole.
    #[default]
    Atomic,
    /// Plain values, each once.
    Set,
    /// Objects that are told apart by these fields.
    Map(Arc<[String]>),
}

/// What values must keep.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) maximum: Option<Bound>,
    pub(crate) minimum: Option<Bound>,
    pub(crate) multiple_of: Option<Number>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) required: Vec<Box<str>>,
    pub(crate) one_of_values: Vec<Value>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

/// A bound of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) value: Number,
    /// Whether the bound itself is out.
    pub(crate) exclusive: bool,
}

/// What a node and those below it have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Below {
    pub(crate) rules: bool,
    pub(crate) keyed_lists: bool,
    pub(crate) embedded: bool,
}

/// How writers share a value: the unit of ownership in server-side apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// As a whole.
    Whole,
    /// Field by field, or key by key.
    Fields,
    /// Item by item; each is its own key.
    Set,
    /// Item by item, told apart by these fields.
    Items(Arc<[String]>),
}

// === impl Type ===

impl Type {
    /// The type of a name.
    pub fn parse(name: &str) -> Option<Type> {
        Some(match name {
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            _ => return None,
        })
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
        }
    }
}

/// The name of a value's type.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if is_whole(number) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether a number is whole, however it is written.
pub(crate) fn is_whole(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0 && n.abs() < 9.0e15)
}

// === impl Schema ===

impl Schema {
    /// The schema of a field or an entry of a map.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        match (self.properties.get(name), &self.additional) {
            (Some(schema), _) => Some(schema),
            (None, Additional::Of(schema)) => Some(schema),
            _ => None,
        }
    }

    /// How writers share values of this schema.
    pub fn sharing(&self) -> Sharing {
        match (self.kind, &self.list) {
            (Some(Type::Array), ListType::Set) => Sharing::Set,
            (Some(Type::Array), ListType::Map(keys)) => Sharing::Items(keys.clone()),
            (Some(Type::Object), _) if !self.atomic_map => Sharing::Fields,
            // Nothing is said about it, so it is what it looks like.
            (None, _) if self.preserves_unknown => Sharing::Fields,
            _ => Sharing::Whole,
        }
    }

    /// How writers share a value of which no schema says anything.
    pub fn unknown(value: &Value) -> Sharing {
        if value.is_object() { Sharing::Fields } else { Sharing::Whole }
    }

    /// The words of the type in messages about values.
    pub(crate) fn shown_type(&self) -> Value {
        self.kind.map_or("", Type::name).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writers_share_what_the_schema_says() {
        let of = |raw: serde_json::Value| Schema::read(&raw).sharing();
        let object = json!({"type": "object", "properties": {"n": {"type": "string"}}});
        assert_eq!(of(object.clone()), Sharing::Fields);
        assert_eq!(of(json!({"type": "object", "x-kubernetes-map-type": "atomic"})), Sharing::Whole);
        assert_eq!(of(json!({"x-kubernetes-preserve-unknown-fields": true})), Sharing::Fields);
        assert_eq!(of(json!({"type": "string"})), Sharing::Whole);
        assert_eq!(of(json!({"x-kubernetes-int-or-string": true})), Sharing::Whole);
        assert_eq!(of(json!({"type": "array", "items": object})), Sharing::Whole);
        assert_eq!(
            of(json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}})),
            Sharing::Set
        );
        let keyed = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": object});
        assert_eq!(of(keyed), Sharing::Items(["n".to_owned()].into()));
        assert_eq!(Schema::unknown(&json!({})), Sharing::Fields);
        assert_eq!(Schema::unknown(&json!([1])), Sharing::Whole);
    }

    #[test]
    fn a_node_is_small() {
        // Large definitions have ten thousand of them.
        assert!(size_of::<Schema>() <= 144, "{} bytes", size_of::<Schema>());
    }

    #[test]
    fn fields_are_found_by_name() {
        let schema = Schema::read(&json!({"properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}));
        assert_eq!(schema.properties.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((schema.properties.len(), schema.properties.get("b").and_then(|b| b.kind)), (2, Some(Type::String)));
        assert!(schema.properties.get("c").is_none() && !schema.properties.is_empty());
        let map = Schema::read(&json!({"additionalProperties": {"type": "integer"}}));
        assert_eq!(map.field("anything").and_then(|f| f.kind), Some(Type::Integer));
    }
}
