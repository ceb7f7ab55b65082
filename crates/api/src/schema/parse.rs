//! Reads the table of facts.
//!
//! ```text
//! package io.k8s.api.core.v1
//! type Container
//!   args []string atomic
//!   name string!
//!   ports []ContainerPort map(containerPort,protocol) merge(containerPort)
//!   resources ResourceRequirements fill
//! ```
//!
//! A type is one of `string bytes int32 int64 number bool any object quantity time microtime intstr`, the name of a type
//! (with its package unless it is of the same one), or `[]` and `{}` before a type for lists and maps. `!` says that the
//! field is required. Then follow, where they apply: `atomic`, `set` or `map(keys)`; `merge` or `merge(key)`; `retain`
//! (unnamed fields go); `fill` (an absent object is written as an empty one); `default=` and JSON to the end of the line.
//! Behind the name of a type itself may stand `any` (it is no object), `open` (it also has fields that are not told) or
//! `atomic` (it is replaced as a whole).

use std::collections::HashMap;

use super::{Field, ListKind, PatchRule, Shape, Type, TypeId, Types};
use crate::kind::Str;

/// Collects files into a table.
#[derive(Default)]
pub(crate) struct Builder {
    files: Vec<&'static str>,
}

impl Builder {
    /// Adds a file.
    pub(crate) fn add(&mut self, file: &'static str) {
        self.files.push(file);
    }

    /// The table. Lines that do not follow the grammar are left out; tests hold that the built-in files have none.
    pub(crate) fn finish(self) -> Types {
        let mut places: HashMap<String, TypeId> = HashMap::new();
        let mut next = 1u16;
        for_each_type(&self.files, |package, name| {
            places.insert(format!("{package}.{name}"), TypeId(next));
            next += 1;
        });
        let mut types = vec![Type { name: "io.naru.Open".into(), open: true, ..Type::default() }];
        let mut package = "";
        for line in self.files.iter().flat_map(|f| f.lines()) {
            if let Some(name) = line.strip_prefix("package ") {
                package = name;
            } else if let Some(head) = line.strip_prefix("type ") {
                let (name, rest) = head.split_once(' ').unwrap_or((head, ""));
                let name: Str = format!("{package}.{name}").into();
                let (any, open, atomic) = (rest == "any", rest == "open", rest == "atomic");
                types.push(Type { name, any, open, atomic, ..Type::default() });
            } else if let Some(field) = line.strip_prefix("  ").and_then(|l| field(l, package, &places))
                && let Some(last) = types.last_mut()
            {
                last.fields.push(field);
            }
        }
        for t in &mut types {
            t.fields.sort_by(|a, b| a.name.cmp(&b.name));
            t.fields.shrink_to_fit();
        }
        Types::new(types)
    }
}

fn for_each_type(files: &[&'static str], mut each: impl FnMut(&'static str, &'static str)) {
    for file in files {
        let mut package = "";
        for line in file.lines() {
            if let Some(name) = line.strip_prefix("package ") {
                package = name;
            } else if let Some(head) = line.strip_prefix("type ") {
                each(package, head.split_once(' ').map_or(head, |(name, _)| name));
            }
        }
    }
}

fn field(line: &'static str, package: &str, places: &HashMap<String, TypeId>) -> Option<Field> {
    let (line, default) = match line.split_once(" default=") {
        Some((line, json)) => (line, Some(Box::new(serde_json::from_str(json).ok()?))),
        None => (line, None),
    };
    let mut words = line.split(' ');
    let name = words.next()?;
    let text = words.next()?;
    let (text, required) = match text.strip_suffix('!') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut field = Field {
        name: Str::Borrowed(name),
        shape: shape(text, package, places),
        required,
        fill: false,
        default,
        list: ListKind::Plain,
        patch: PatchRule::default(),
    };
    for word in words {
        let (word, argument) = match word.split_once('(') {
            Some((word, rest)) => (word, rest.strip_suffix(')')?),
            None => (word, ""),
        };
        match word {
            "atomic" => field.list = ListKind::Atomic,
            "set" => field.list = ListKind::Set,
            "map" => field.list = ListKind::Map(argument.split(',').map(Str::Borrowed).collect()),
            "merge" => {
                field.patch.merge = true;
                field.patch.key = (!argument.is_empty()).then_some(Str::Borrowed(argument));
            }
            "retain" => field.patch.retain_keys = true,
            "fill" => field.fill = true,
            _ => return None,
        }
    }
    Some(field)
}

fn shape(text: &str, package: &str, places: &HashMap<String, TypeId>) -> Shape {
    if let Some(inner) = text.strip_prefix("[]") {
        return Shape::List(Box::new(shape(inner, package, places)));
    }
    if let Some(inner) = text.strip_prefix("{}") {
        return Shape::Map(Box::new(shape(inner, package, places)));
    }
    match text {
        "any" => Shape::Any,
        "object" => Shape::Open,
        "string" => Shape::String,
        "bytes" => Shape::Bytes,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "number" => Shape::Number,
        "bool" => Shape::Bool,
        "quantity" => Shape::Quantity,
        "time" => Shape::Time,
        "microtime" => Shape::MicroTime,
        "intstr" => Shape::IntOrString,
        name => {
            let full = if name.contains('.') { name.to_owned() } else { format!("{package}.{name}") };
            Shape::Object(places.get(&full).copied().unwrap_or(TypeId::OPEN))
        }
    }
}
