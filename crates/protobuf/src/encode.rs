//! From JSON to messages, along the schema.
//!
//! Only what an object has is written: readers take a field that is missing for one that is empty, as Go's own do.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use naru_api::schema::{Shape, TypeId, Types};
use serde_json::{Map, Value};

use crate::decode::SCHEMA;
use crate::numbers::{Message, Slot};
use crate::scalar::{self, Choice};
use crate::wire::{put_bytes, put_double, put_message, put_number};
use crate::{DEPTH, Unwritable};

/// Writes messages along a table of types.
pub(crate) struct Writer<'t> {
    pub(crate) types: &'t Types,
}

impl Writer<'_> {
    /// The fields of an object of the type `id`.
    pub(crate) fn object(
        &self,
        out: &mut Vec<u8>,
        id: TypeId,
        object: &Map<String, Value>,
        depth: usize,
    ) -> Result<(), Unwritable> {
        let name = &self.types.get(id).name;
        let message = Message::of(name).ok_or_else(|| Unwritable(format!("{name} has no form in protobuf")))?;
        self.message(out, id, message, object, depth)
    }

    fn message(
        &self,
        out: &mut Vec<u8>,
        id: TypeId,
        message: &Message,
        object: &Map<String, Value>,
        depth: usize,
    ) -> Result<(), Unwritable> {
        let of = self.types.get(id);
        if depth > DEPTH {
            return Err(Unwritable(format!("{} is nested more than {DEPTH} deep", of.name)));
        }
        for (number, slot) in message.iter() {
            match slot {
                Slot::Field(field, _) => {
                    let (Some(value), Some(schema)) = (object.get(field), of.field(field)) else { continue };
                    if !self.put(out, number, &schema.shape, value, depth)? {
                        return Err(Unwritable(format!("{}.{field} cannot be {value}", of.name)));
                    }
                }
                Slot::Inline(part) => {
                    let Some(part) = Message::beside(&of.name, part) else { continue };
                    let before = out.len();
                    put_message(out, number, |out| self.message(out, id, part, object, depth + 1))?;
                    // A part of which nothing is there: one byte of key and one of length, or two of key.
                    if out[before..].ends_with(&[0]) && out.len() - before <= 3 {
                        out.truncate(before);
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a field; false for a value that its shape does not have.
    fn put(
        &self,
        out: &mut Vec<u8>,
        number: u64,
        shape: &Shape,
        value: &Value,
        depth: usize,
    ) -> Result<bool, Unwritable> {
        match (shape, value) {
            (Shape::Any | Shape::Open, value) => raw(out, number, value),
            (_, Value::Null) => {}
            (Shape::List(item), Value::Array(list)) => {
                for value in list {
                    if !self.put(out, number, item, value, depth)? {
                        return Ok(false);
                    }
                }
            }
            (Shape::Map(item), Value::Object(map)) => {
                for (key, value) in map {
                    put_message(out, number, |out| {
                        put_bytes(out, 1, key.as_bytes());
                        self.entry(out, item, value, depth)
                    })?;
                }
            }
            (Shape::String, Value::String(text)) => put_bytes(out, number, text.as_bytes()),
            (Shape::Bytes, Value::String(text)) => match BASE64.decode(text) {
                Ok(bytes) => put_bytes(out, number, &bytes),
                Err(_) => return Ok(false),
            },
            (Shape::Int32 | Shape::Int64, Value::Number(n)) => match n.as_i64() {
                Some(n) => put_number(out, number, n),
                None => return Ok(false),
            },
            (Shape::Bool, Value::Bool(flag)) => put_number(out, number, i64::from(*flag)),
            (Shape::Number, Value::Number(n)) => put_double(out, number, n.as_f64().unwrap_or_default()),
            (Shape::Quantity, Value::String(text)) => put_message(out, number, |out| {
                put_bytes(out, 1, text.as_bytes());
                Ok(())
            })?,
            (Shape::Time | Shape::MicroTime, Value::String(text)) => match text.parse::<Timestamp>() {
                Ok(time) => put_message(out, number, |out| {
                    scalar::put_time(out, time);
                    Ok(())
                })?,
                Err(_) => return Ok(false),
            },
            (Shape::IntOrString, value) => {
                let mut fits = false;
                put_message(out, number, |out| {
                    fits = scalar::put_int_or_string(out, value);
                    Ok(())
                })?;
                return Ok(fits);
            }
            (Shape::Object(id), value) if self.types.get(*id).any => self.choice(out, number, *id, value, depth)?,
            (Shape::Object(id), Value::Object(map)) => {
                put_message(out, number, |out| self.object(out, *id, map, depth + 1))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The value of a map's entry, under 2.
    fn entry(&self, out: &mut Vec<u8>, shape: &Shape, value: &Value, depth: usize) -> Result<(), Unwritable> {
        let fits = match shape {
            // A list as a map's value is a message of its own, with the items under 1.
            Shape::List(_) => {
                let mut fits = true;
                put_message(out, 2, |out| {
                    fits = self.put(out, 1, shape, value, depth)?;
                    Ok(())
                })?;
                fits
            }
            _ => self.put(out, 2, shape, value, depth)?,
        };
        if fits { Ok(()) } else { Err(Unwritable(format!("an entry of a map cannot be {value}"))) }
    }

    /// A value with several forms.
    fn choice(
        &self,
        out: &mut Vec<u8>,
        number: u64,
        id: TypeId,
        value: &Value,
        depth: usize,
    ) -> Result<(), Unwritable> {
        let choice = Choice::of(self.types.get(id));
        if choice == Choice::Json {
            raw(out, number, value);
            return Ok(());
        }
        let schema = Shape::Object(self.types.find(SCHEMA).unwrap_or(TypeId::OPEN));
        let (under, shape) = match (choice, value) {
            (Choice::SchemaOrBool, Value::Bool(_)) => (1, &Shape::Bool),
            (Choice::SchemaOrBool, _) => (2, &schema),
            (Choice::Schemas, Value::Array(_)) => (2, &Shape::List(Box::new(schema.clone()))),
            (Choice::SchemaOrNames, Value::Array(_)) => (2, &Shape::List(Box::new(Shape::String))),
            _ => (1, &schema),
        };
        put_message(out, number, |out| {
            if self.put(out, under, shape, value, depth)? {
                return Ok(());
            }
            Err(Unwritable(format!("{} cannot be {value}", self.types.get(id).name)))
        })
    }
}

/// Raw JSON, in a message with the bytes under 1.
fn raw(out: &mut Vec<u8>, number: u64, value: &Value) {
    let written: Result<(), std::convert::Infallible> = put_message(out, number, |out| {
        put_bytes(out, 1, value.to_string().as_bytes());
        Ok(())
    });
    match written {
        Ok(()) => {}
        Err(never) => match never {},
    }
}
