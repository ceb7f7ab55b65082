//! From messages to JSON: one pass along the schema makes what the client would have sent as JSON.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use naru_api::meta;
use naru_api::schema::{Shape, TypeId, Types};
use serde_json::{Map, Value, json};

use crate::numbers::{Message, Slot};
use crate::scalar::{self, Choice};
use crate::wire::{Wire, fields, text};
use crate::{DEPTH, Malformed};

/// Reads messages along a table of types.
pub(crate) struct Reader<'t> {
    pub(crate) types: &'t Types,
}

impl Reader<'_> {
    /// A message of the type `id`.
    pub(crate) fn object(&self, id: TypeId, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Malformed> {
        let name = &self.types.get(id).name;
        match Message::of(name) {
            Some(message) => self.message(id, message, bytes, depth),
            None => Ok(Map::new()),
        }
    }

    /// A message with the numbers of `message`, whose fields belong to an object of the type `id`.
    fn message(
        &self,
        id: TypeId,
        message: &Message,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Map<String, Value>, Malformed> {
        if depth > DEPTH {
            return Err(Malformed::Depth);
        }
        let mut object = Map::new();
        for field in fields(bytes) {
            let (number, wire) = field?;
            match (message.slot(number), wire) {
                (Some(Slot::Inline(part)), Wire::Bytes(bytes)) => {
                    if let Some(part) = Message::beside(&self.types.get(id).name, part) {
                        object.extend(self.message(id, part, bytes, depth + 1)?);
                    }
                }
                (Some(Slot::Field(field, meant)), wire) => {
                    let Some(schema) = self.types.get(id).field(field) else { continue };
                    self.put(&mut object, field, &schema.shape, wire, (meant, schema.required), depth)?;
                }
                // Fields of a newer version than this server's.
                _ => {}
            }
        }
        Ok(object)
    }

    fn put(
        &self,
        object: &mut Map<String, Value>,
        field: &str,
        shape: &Shape,
        wire: Wire<'_>,
        (meant, required): (bool, bool),
        depth: usize,
    ) -> Result<(), Malformed> {
        match (shape, wire) {
            (Shape::List(item), wire) => {
                let value = self.value(item, wire, depth)?;
                let list = object.entry(field).or_insert_with(|| json!([]));
                list.as_array_mut().ok_or(Malformed::Form)?.push(value);
            }
            (Shape::Map(item), Wire::Bytes(entry)) => {
                let (key, value) = self.entry(item, entry, depth)?;
                let map = object.entry(field).or_insert_with(|| json!({}));
                map.as_object_mut().ok_or(Malformed::Form)?.insert(key, value);
            }
            (shape, wire) => {
                let value = self.value(shape, wire, depth)?;
                let number = value.is_number() || value.is_boolean();
                // Go writes every field that is no pointer, also those that were never set.
                if meant || !is_zero(&value) || (required && number) {
                    object.insert(field.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    /// One entry of a map: key 1, value 2.
    fn entry(&self, shape: &Shape, bytes: &[u8], depth: usize) -> Result<(String, Value), Malformed> {
        let (mut key, mut value) = (String::new(), None);
        for field in fields(bytes) {
            match field? {
                (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                // A list as a map's value is a message of its own, with the items under 1.
                (2, Wire::Bytes(bytes)) if matches!(shape, Shape::List(_)) => {
                    let mut wrapped = Map::new();
                    for item in fields(bytes) {
                        self.put(&mut wrapped, "items", shape, item?.1, (true, true), depth)?;
                    }
                    value = Some(wrapped.remove("items").unwrap_or_else(|| json!([])));
                }
                (2, wire) => value = Some(self.value(shape, wire, depth)?),
                _ => {}
            }
        }
        let empty = || match shape {
            Shape::String | Shape::Bytes => json!(""),
            Shape::List(_) => json!([]),
            _ => Value::Null,
        };
        Ok((key, value.unwrap_or_else(empty)))
    }

    fn value(&self, shape: &Shape, wire: Wire<'_>, depth: usize) -> Result<Value, Malformed> {
        Ok(match (shape, wire) {
            (Shape::String, Wire::Bytes(bytes)) => text(bytes)?.into(),
            (Shape::Bytes, Wire::Bytes(bytes)) => BASE64.encode(bytes).into(),
            // Negative numbers travel as 64 bits in two's complement.
            (Shape::Int32 | Shape::Int64, Wire::Varint(number)) => number.cast_signed().into(),
            (Shape::Bool, Wire::Varint(number)) => (number != 0).into(),
            (Shape::Number, Wire::Fixed64(bits)) => float(f64::from_bits(bits)),
            (Shape::Number, Wire::Fixed32(bits)) => float(f64::from(f32::from_bits(bits))),
            (Shape::Quantity, Wire::Bytes(bytes)) => scalar::quantity(bytes)?,
            (Shape::Time, Wire::Bytes(bytes)) => scalar::time(bytes)?.map_or(Value::Null, |t| meta::time(t).into()),
            (Shape::MicroTime, Wire::Bytes(bytes)) => {
                scalar::time(bytes)?.map_or(Value::Null, |t| meta::micro_time(t).into())
            }
            (Shape::IntOrString, Wire::Bytes(bytes)) => scalar::int_or_string(bytes)?,
            (Shape::Object(id), Wire::Bytes(bytes)) if self.types.get(*id).any => self.choice(*id, bytes, depth)?,
            (Shape::Object(id), Wire::Bytes(bytes)) => Value::Object(self.object(*id, bytes, depth + 1)?),
            // Raw JSON, in a message with the bytes under 1.
            (Shape::Any | Shape::Open, Wire::Bytes(bytes)) => scalar::raw(bytes)?,
            _ => return Err(Malformed::Form),
        })
    }

    /// A value with several forms.
    fn choice(&self, id: TypeId, bytes: &[u8], depth: usize) -> Result<Value, Malformed> {
        let choice = Choice::of(self.types.get(id));
        if choice == Choice::Json {
            return scalar::raw(bytes);
        }
        let schema = self.types.find(SCHEMA).ok_or(Malformed::Form)?;
        let whole = |bytes| self.object(schema, bytes, depth + 1).map(Value::Object);
        let (mut one, mut several, mut allows) = (None, Vec::new(), false);
        for field in fields(bytes) {
            match (choice, field?) {
                (Choice::Schemas | Choice::SchemaOrNames, (1, Wire::Bytes(bytes))) => one = Some(whole(bytes)?),
                (Choice::Schemas, (2, Wire::Bytes(bytes))) => several.push(whole(bytes)?),
                (Choice::SchemaOrNames, (2, Wire::Bytes(bytes))) => several.push(text(bytes)?.into()),
                (Choice::SchemaOrBool, (1, Wire::Varint(flag))) => allows = flag != 0,
                (Choice::SchemaOrBool, (2, Wire::Bytes(bytes))) => one = Some(whole(bytes)?),
                _ => {}
            }
        }
        Ok(match (one, choice) {
            (Some(schema), _) => schema,
            (None, Choice::SchemaOrBool) => allows.into(),
            (None, _) => several.into(),
        })
    }
}

/// The type of schemas in definitions.
pub(crate) const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// Whole numbers as JSON writes them.
fn float(number: f64) -> Value {
    // The cast is exact below 9e15.
    if number.fract() == 0.0 && number.abs() < 9.0e15 { (number as i64).into() } else { number.into() }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}
