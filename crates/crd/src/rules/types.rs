//! The types that a schema declares for expressions.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_cel::{ObjectType, Type as CelType, escape};

use crate::schema::{Additional, Schema, Type};

impl Schema {
    /// The type of whole objects of this schema, as expressions know it; none when the schema says too little. `name` names
    /// it, and those of its fields below.
    pub fn declared(&self, name: &str) -> Option<CelType> {
        declared(self, name, true)
    }
}

/// The type of values of a schema; none for values of which the schema says too little. `name` names its object types,
/// `root` says that it is a whole object, whose kind and name are known.
pub(super) fn declared(schema: &Schema, name: &str, root: bool) -> Option<CelType> {
    if schema.int_or_string {
        return Some(CelType::Dyn);
    }
    match schema.kind? {
        Type::Array => {
            let items = schema.items.as_deref()?;
            declared(items, &format!("{name}.@idx"), items.embedded).map(CelType::list)
        }
        Type::Object => match &schema.additional {
            Additional::Of(inner) => {
                let inner = declared(inner, &format!("{name}.@elem"), inner.embedded)?;
                Some(CelType::map(CelType::String, inner))
            }
            _ => Some(object(schema, name, root)),
        },
        Type::String => Some(match schema.format.as_deref() {
            Some("byte") => CelType::Bytes,
            Some("duration") => CelType::Duration,
            Some("date" | "date-time" | "datetime") => CelType::Timestamp,
            _ => CelType::String,
        }),
        Type::Integer => Some(CelType::Int),
        Type::Number => Some(CelType::Double),
        Type::Boolean => Some(CelType::Bool),
    }
}

fn object(schema: &Schema, name: &str, root: bool) -> CelType {
    let mut fields = BTreeMap::new();
    for (field, inner) in schema.properties.iter() {
        let type_name = format!("{name}.{field}");
        if let (Some(escaped), Some(of)) = (escape(field), declared(inner, &type_name, inner.embedded)) {
            fields.insert(escaped, of);
        }
    }
    if root {
        let text = || CelType::String;
        let metadata = BTreeMap::from([("name".to_owned(), text()), ("generateName".to_owned(), text())]);
        let metadata = ObjectType { name: format!("{name}.metadata"), fields: metadata };
        fields.insert("apiVersion".to_owned(), text());
        fields.insert("kind".to_owned(), text());
        fields.insert("metadata".to_owned(), CelType::Object(Arc::new(metadata)));
    }
    CelType::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}
