//! Builds JSON values along a schema, from any serde format.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::context::{Context, Oddity};
use crate::meta;
use crate::quantity::Quantity;
use crate::schema::{Shape, TypeId};

/// Reads one value of a shape.
#[derive(Clone, Copy)]
pub(super) struct TypeSeed<'c, 't> {
    context: &'c Context<'t>,
    shape: &'c Shape,
}

/// The shape of a whole object; shapes are borrowed from the table except this one.
const ROOTS: Shape = Shape::Object(TypeId::OPEN);

/// A whole object.
pub(super) struct RootSeed<'c, 't> {
    context: &'c Context<'t>,
    root: TypeId,
}

impl<'c, 't> TypeSeed<'c, 't> {
    pub(super) fn root(context: &'c Context<'t>, root: TypeId) -> RootSeed<'c, 't> {
        RootSeed { context, root }
    }

    fn wrong<E: Error>(&self, found: &str) -> E {
        self.context.fail(&format!("expected {}, found {found}", expected(self.shape)));
        E::custom("wrong type")
    }

    fn whole<E: Error>(&self, number: i64) -> Result<Value, E> {
        match self.shape {
            Shape::Int64 | Shape::Number | Shape::IntOrString | Shape::Any => Ok(number.into()),
            Shape::Int32 if i32::try_from(number).is_ok() => Ok(number.into()),
            Shape::Quantity => Ok(Quantity::from_units(number).to_string().into()),
            _ => Err(self.wrong(&format!("number {number}"))),
        }
    }

    fn text<E: Error>(&self, text: &str) -> Result<Value, E> {
        match self.shape {
            Shape::String | Shape::IntOrString | Shape::Any => Ok(text.into()),
            Shape::Bytes => match base64_problem(text) {
                None => Ok(text.into()),
                Some(at) => {
                    self.context.fail(&format!("illegal base64 data at input byte {at}"));
                    Err(E::custom("base64"))
                }
            },
            Shape::Quantity => match Quantity::parse(text.trim()) {
                Ok(quantity) => Ok(quantity.to_string().into()),
                Err(error) => {
                    self.context.fail(&format!("{text:?} is no quantity: {error}"));
                    Err(E::custom("quantity"))
                }
            },
            Shape::Time | Shape::MicroTime => match text.parse() {
                Ok(at) if *self.shape == Shape::Time => Ok(meta::time(at).into()),
                Ok(at) => Ok(meta::micro_time(at).into()),
                Err(_) => {
                    self.context.fail(&format!("{text:?} is no time stamp such as \"2006-01-02T15:04:05Z\""));
                    Err(E::custom("time"))
                }
            },
            _ => Err(self.wrong(&format!("string {text:?}"))),
        }
    }
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Any => "any value",
        Shape::Open | Shape::Object(_) | Shape::Map(_) => "an object",
        Shape::String => "a string",
        Shape::Bytes => "base64 text",
        Shape::Int32 => "a whole number of 32 bits",
        Shape::Int64 => "a whole number",
        Shape::Number => "a number",
        Shape::Bool => "true or false",
        Shape::Quantity => "a quantity",
        Shape::Time | Shape::MicroTime => "a time stamp",
        Shape::IntOrString => "a whole number or a string",
        Shape::List(_) => "a list",
    }
}

/// The place of the first byte that is no base64 of the standard alphabet with padding.
fn base64_problem(text: &str) -> Option<usize> {
    let clean: Vec<(usize, u8)> = text.bytes().enumerate().filter(|(_, b)| !matches!(b, b'\n' | b'\r')).collect();
    let padding = clean.iter().rev().take_while(|(_, b)| *b == b'=').count();
    let data = clean.len() - padding;
    let bad = clean[..data].iter().find(|(_, b)| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')));
    if let Some((at, _)) = bad {
        return Some(*at);
    }
    let fine = clean.len().is_multiple_of(4) && padding <= 2 && data % 4 != 1;
    if fine { None } else { Some(text.len()) }
}

/// What a null in a list or map stands for: the zero value, as in Go.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::String | Shape::Bytes => "".into(),
        Shape::Int32 | Shape::Int64 | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::Bool => false.into(),
        Shape::Quantity => "0".into(),
        Shape::Object(_) | Shape::Map(_) => Value::Object(Map::new()),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Any | Shape::Open | Shape::Time | Shape::MicroTime => Value::Null,
    }
}

impl<'de> DeserializeSeed<'de> for RootSeed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let shape = if self.root == TypeId::OPEN { ROOTS } else { Shape::Object(self.root) };
        deserializer.deserialize_any(TypeSeed { context: self.context, shape: &shape })
    }
}

impl<'de> DeserializeSeed<'de> for TypeSeed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        // A type that is no object takes whatever stands there.
        let any = matches!(self.shape, Shape::Object(id) if self.context.types.get(*id).any);
        deserializer.deserialize_any(if any { TypeSeed { shape: &Shape::Any, ..self } } else { self })
    }
}

impl<'de> Visitor<'de> for TypeSeed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(expected(self.shape))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        match self.shape {
            Shape::Bool | Shape::Any => Ok(flag.into()),
            _ => Err(self.wrong(&format!("{flag}"))),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        self.whole(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.whole(number),
            Err(_) if matches!(self.shape, Shape::Any | Shape::Number) => Ok(number.into()),
            Err(_) => Err(self.wrong(&format!("number {number}"))),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        let whole = number.fract() == 0.0 && number.abs() < 9.0e15;
        match self.shape {
            // A reader would see it whole anyway.
            Shape::Any if whole && self.context.custom => Ok((number as i64).into()),
            Shape::Any | Shape::Number => match Number::from_f64(number) {
                Some(number) => Ok(Value::Number(number)),
                None => Err(self.wrong(&format!("number {number}"))),
            },
            // A whole number that was written as 1.0 or 1e3. The cast is exact below 9e15.
            Shape::Int32 | Shape::Int64 | Shape::IntOrString if whole => self.whole(number as i64),
            Shape::Quantity => self.text(&number.to_string()),
            _ => Err(self.wrong(&format!("number {number}"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.text(text)
    }

    /// From an object that is in memory already: plain text is taken over as it is.
    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        match self.shape {
            Shape::String | Shape::IntOrString | Shape::Any => Ok(text.into()),
            _ => self.text(&text),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = match self.shape {
            Shape::List(inner) => inner,
            Shape::Any => &Shape::Any,
            _ => return Err(self.wrong("a list")),
        };
        let mut list = Vec::with_capacity(items.size_hint().unwrap_or(0).min(1024));
        loop {
            let back = self.context.item(list.len());
            let Some(item) = items.next_element_seed(TypeSeed { context: self.context, shape: inner })? else {
                self.context.leave(back);
                return Ok(Value::Array(list));
            };
            list.push(if item.is_null() { self.zero(inner) } else { item });
            self.context.leave(back);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        match self.shape {
            Shape::Object(id) => self.object(*id, entries),
            Shape::Map(inner) => {
                let mut map = Map::new();
                while let Some(key) = entries.next_key::<String>()? {
                    let back = self.context.enter(&key);
                    let value = entries.next_value_seed(TypeSeed { context: self.context, shape: inner })?;
                    self.context.leave(back);
                    let value = if value.is_null() { self.zero(inner) } else { value };
                    if map.contains_key(&key) {
                        self.context.note(Oddity::Duplicate, &key);
                    }
                    map.insert(key, value);
                }
                Ok(Value::Object(map))
            }
            Shape::Open | Shape::Any if self.context.custom => self.free(entries),
            Shape::Open | Shape::Any => {
                let mut map = Map::new();
                while let Some(key) = entries.next_key::<String>()? {
                    let value = entries.next_value_seed(TypeSeed { context: self.context, shape: &Shape::Any })?;
                    map.insert(key, value);
                }
                Ok(Value::Object(map))
            }
            _ => Err(self.wrong("an object")),
        }
    }
}

impl TypeSeed<'_, '_> {
    fn object<'de, A: MapAccess<'de>>(self, id: TypeId, mut entries: A) -> Result<Value, A::Error> {
        let of = self.context.types.get(id);
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let (shape, told) = match of.field(&key) {
                Some(field) => (&field.shape, true),
                None if of.open => (&Shape::Any, false),
                None => {
                    self.context.note(Oddity::Unknown, &key);
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let back = self.context.enter(&key);
            let value = entries.next_value_seed(TypeSeed { context: self.context, shape })?;
            self.context.leave(back);
            if map.contains_key(&key) {
                self.context.note(Oddity::Duplicate, &key);
            }
            // What a null means where the table says nothing, it does not know.
            if value.is_null() && told {
                map.remove(&key);
            } else {
                map.insert(key, value);
            }
        }
        Ok(Value::Object(map))
    }

    /// What a null in a list or map stands for.
    fn zero(&self, shape: &Shape) -> Value {
        match shape {
            Shape::Object(id) if self.context.types.get(*id).any => Value::Null,
            shape => zero(shape),
        }
    }

    /// An object of which the table says nothing: repeated fields are told here too.
    fn free<'de, A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let back = self.context.enter(&key);
            let value = entries.next_value_seed(TypeSeed { context: self.context, shape: &Shape::Any })?;
            self.context.leave(back);
            if map.contains_key(&key) {
                self.context.note(Oddity::Duplicate, &key);
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
