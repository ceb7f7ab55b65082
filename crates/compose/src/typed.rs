//! From the checked, canonical tree to JSON values of the types that the table names.

use serde_json::{Map, Number, Value};

use crate::check::matches;
use crate::spec::Type;
use crate::yaml::{Node, Style, Tree};

/// `node` as JSON; it was checked against `ty`.
pub(crate) fn value(node: &Node, ty: &Type) -> Value {
    if node.is_null() {
        return Value::Null;
    }
    match ty {
        Type::Flag => node.as_bool().map_or(Value::Null, Value::Bool),
        Type::Int => node.as_int().map_or(Value::Null, Into::into),
        Type::Mode => node.as_mode().map_or(Value::Null, Into::into),
        Type::Number => node.as_float().and_then(Number::from_f64).map_or(Value::Null, Value::Number),
        Type::Text | Type::Bytes | Type::Duration | Type::Word(_) => text(node),
        Type::TextOrList | Type::Command | Type::HealthTest => list(node, &Type::Text),
        Type::List(inner) => list(node, inner),
        Type::Map(inner) => map(node, |_| Some(**inner)),
        Type::MapOrAssignments => map(node, |_| Some(Type::Text)),
        Type::Object(keys) => map(node, |name| keys.iter().find(|key| key.name == name).map(|key| key.ty)),
        Type::Either(short, long) => {
            let (long_fits, short_fits) = (matches(node, long), matches(node, short));
            value(node, if long_fits || !short_fits { long } else { short })
        }
        Type::Any => any(node),
    }
}

fn text(node: &Node) -> Value {
    node.as_text().map_or(Value::Null, Into::into)
}

fn list(node: &Node, ty: &Type) -> Value {
    match node.as_list() {
        Some(items) => items.iter().map(|item| value(item, ty)).collect(),
        None => Value::Array(vec![value(node, ty)]),
    }
}

fn map(node: &Node, ty: impl Fn(&str) -> Option<Type>) -> Value {
    let entries = node.as_map().unwrap_or_default();
    let convert = |(name, inner): &(crate::yaml::Name, Node)| {
        let converted = match ty(&name.text) {
            Some(ty) if !name.text.starts_with("x-") => value(inner, &ty),
            _ => any(inner),
        };
        (name.text.clone(), converted)
    };
    Value::Object(entries.iter().map(convert).collect::<Map<_, _>>())
}

/// Of a key whose type nobody knows: plain scalars as YAML's core schema reads them.
fn any(node: &Node) -> Value {
    match &node.tree {
        Tree::List(items) => items.iter().map(any).collect(),
        Tree::Map(entries) => entries.iter().map(|(name, inner)| (name.text.clone(), any(inner))).collect(),
        Tree::Scalar(_, Style::Quoted) => text(node),
        Tree::Scalar(raw, Style::Plain) => match raw.as_str() {
            _ if node.is_null() => Value::Null,
            "true" | "True" | "TRUE" => true.into(),
            "false" | "False" | "FALSE" => false.into(),
            _ => node
                .as_int()
                .map(Value::from)
                .or_else(|| node.as_float().and_then(Number::from_f64).map(Value::Number))
                .unwrap_or_else(|| text(node)),
        },
    }
}
