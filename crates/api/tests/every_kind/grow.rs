//! Objects that keep every rule: a small valid one grows by whatever of a generated one is accepted.
//!
//! The rules themselves decide: each part is tried as a whole, with the words that a refusal names, and else piece by
//! piece. So nothing about rules is said twice, and a new rule needs nothing here.

use naru_api::schema::{Shape, Types};
use naru_api::{FieldError, FieldReason, FieldValidation, Format, Kind, admit, decode, validate};
use serde_json::{Value, json};

use crate::generate::{NUMBERS, TEXTS};

/// An object on its way from bytes into the store.
pub struct Accepted {
    /// As it was read.
    pub decoded: Value,
    /// With defaults.
    pub complete: Value,
}

/// Takes an object in as the server does.
///
/// # Errors
/// What is wrong with it.
pub fn accept(kind: &Kind, object: &Value) -> Result<Accepted, Vec<FieldError>> {
    let bytes = object.to_string();
    let decoded = decode(kind, bytes.as_bytes(), Format::Json, FieldValidation::Strict);
    let decoded = decoded.map_err(|status| vec![FieldError::forbidden("", status.message)])?.object;
    let mut complete = decoded.clone();
    admit::default(kind, &mut complete);
    let errors = validate::create(kind, &complete);
    if errors.is_empty() { Ok(Accepted { decoded, complete }) } else { Err(errors) }
}

/// A valid object that grows.
pub struct Growing<'k> {
    pub kind: &'k Kind,
    pub types: &'k Types,
    pub object: Value,
}

impl Growing<'_> {
    /// Takes over what is accepted of `value`, which is of `shape`, at a JSON pointer.
    pub fn grow(&mut self, at: &str, shape: &Shape, value: &Value) {
        if self.object.pointer(at).is_some() {
            self.inside(at, shape, value);
        } else if !self.is_accepted_at(at, value.clone()) {
            self.piecemeal(at, shape, value);
        }
    }

    /// What is there already grows inside.
    fn inside(&mut self, at: &str, shape: &Shape, value: &Value) {
        match (shape, value) {
            (Shape::Object(id), Value::Object(map)) => {
                let types = self.types;
                for (name, value) in map {
                    if let Some(field) = types.get(*id).field(name) {
                        self.grow(&below(at, name), &field.shape, value);
                    }
                }
            }
            (Shape::List(inner), Value::Array(items)) if matches!(**inner, Shape::Object(_)) => {
                if let Some(first) = items.first() {
                    self.grow(&format!("{at}/0"), inner, first);
                }
            }
            (Shape::Map(inner), Value::Object(map)) => {
                for (key, value) in map {
                    self.grow(&below(at, key), inner, value);
                }
            }
            _ => {}
        }
    }

    /// What is refused as a whole is tried in parts.
    fn piecemeal(&mut self, at: &str, shape: &Shape, value: &Value) {
        let skeleton = self.skeleton(shape, value);
        match (shape, value) {
            (Shape::Object(_) | Shape::Map(_), Value::Object(map)) => {
                if self.is_accepted_at(at, skeleton) {
                    return self.inside(at, shape, value);
                }
                // Of several that exclude one another, one alone may do.
                for (key, value) in map {
                    if self.is_accepted_at(at, json!({ key: value })) {
                        return self.inside(at, shape, value);
                    }
                }
            }
            (Shape::List(inner), Value::Array(items)) => {
                for item in items {
                    let least = self.skeleton(inner, item);
                    for item in [item, &least] {
                        if self.is_accepted_at(at, json!([item])) {
                            return self.inside(at, shape, value);
                        }
                    }
                }
                self.any_of(at, TEXTS.iter().map(|text| json!([text])).filter(|_| **inner == Shape::String));
            }
            (Shape::String, _) => self.any_of(at, TEXTS.iter().map(|text| json!(text))),
            (Shape::Int32 | Shape::Int64 | Shape::IntOrString, _) => {
                self.any_of(at, NUMBERS.iter().map(|number| json!(number)));
            }
            _ => {}
        }
    }

    fn any_of(&mut self, at: &str, candidates: impl Iterator<Item = Value>) {
        for candidate in candidates {
            if self.is_accepted_at(at, candidate) {
                return;
            }
        }
    }

    /// The part of a value that must be there.
    fn skeleton(&self, shape: &Shape, value: &Value) -> Value {
        let (Shape::Object(id), Value::Object(map)) = (shape, value) else {
            return if matches!(shape, Shape::Map(_)) { json!({}) } else { value.clone() };
        };
        let of = self.types.get(*id);
        let required = of.fields.iter().filter(|field| field.required);
        let kept = required.filter_map(|field| {
            let value = map.get(field.name.as_ref())?;
            Some((field.name.to_string(), self.skeleton(&field.shape, value)))
        });
        Value::Object(kept.collect())
    }

    /// Sets a value, and keeps it if the object is accepted with it.
    fn is_accepted_at(&mut self, at: &str, value: Value) -> bool {
        let mut next = self.object.clone();
        set(&mut next, at, value);
        let Err(errors) = accept(self.kind, &next) else {
            self.object = next;
            return true;
        };
        // Where only certain words are possible, the refusal tells them.
        let words = errors.iter().filter(|error| error.reason == FieldReason::NotSupported);
        let mut learnt = 0;
        for error in words {
            if let (Some(word), Some(place)) = (error.detail.split('"').nth(1), next.pointer_mut(&pointer(&error.path)))
            {
                *place = word.into();
                learnt += 1;
            }
        }
        let accepted = learnt > 0 && accept(self.kind, &next).is_ok();
        if accepted {
            self.object = next;
        }
        accepted
    }
}

/// The pointer of a field or entry.
fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A field's path as a JSON pointer.
fn pointer(path: &str) -> String {
    format!("/{}", path.replace(']', "").replace(['.', '['], "/"))
}

/// Sets a value below something that is there.
fn set(object: &mut Value, at: &str, value: Value) {
    let (parent, name) = at.rsplit_once('/').expect("a pointer");
    let name = name.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.insert(name, value)),
        Some(Value::Array(list)) => {
            let index: usize = name.parse().expect("an index");
            match list.get_mut(index) {
                Some(place) => *place = value,
                None => list.push(value),
            }
        }
        _ => panic!("nothing is at {parent}"),
    }
}
