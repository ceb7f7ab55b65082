//! Reading request bodies in Kubernetes' protobuf form, which Go clients (kubectl among them) send for typed objects
//! without asking first whether it is understood.
//!
//! One pass along the kind's schema makes the same JSON that the client would have sent; what follows (pruning, type
//! checks, defaults) is the same. The schema lacks only the fields' numbers: `numbers.txt` lists them, per type in the
//! form `<number><field>`, with `?` where Go has a pointer (so that a zero was meant) and `*` where the fields of another
//! type are part of this one. Refused: generated messages of every type, a second model of all objects. Answers are
//! always JSON, which those clients accept.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use naru_api::schema::{Shape, TypeId, Types};
use naru_api::{Kind, Status, meta};
use serde_json::{Map, Value, json};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may nest.
const DEPTH: usize = 64;

static NUMBERS: LazyLock<HashMap<String, Message>> = LazyLock::new(|| parse(include_str!("protobuf/numbers.txt")));

type Message = HashMap<u64, Slot>;

/// What a field's number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// A field; `true` if a zero in it was meant.
    Field(&'static str, bool),
    /// The fields of this type (in the same package) belong to the object itself.
    Inline(&'static str),
}

/// A body that is no such message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Malformed {
    #[error("it does not begin as a Kubernetes protobuf message")]
    Head,
    #[error("it ends in the middle of a field")]
    Short,
    #[error("its messages are nested more than {DEPTH} deep")]
    Depth,
    #[error("text in it is not UTF-8")]
    Text,
    #[error("a field has a form that its type does not have")]
    Form,
}

/// Reads an object of `kind`, or the document whose schema is `of` when a subresource takes another one.
///
/// # Errors
/// 400 for a body that is malformed.
pub(crate) fn decode(kind: Option<&Kind>, body: &[u8]) -> Result<Value, Status> {
    envelope(body)
        .and_then(|(api_version, name, raw)| {
            let mut object = Map::new();
            if let Some(id) = kind.map(|k| k.schema().root_id()).or_else(|| type_of(&api_version, &name)) {
                let types = Types::builtin();
                object = Reader { types: &types }.message(id, &types.get(id).name, raw, 0)?;
            }
            object.insert("apiVersion".to_owned(), api_version.into());
            object.insert("kind".to_owned(), name.into());
            let mut object = Value::Object(object);
            if meta::at(&object, "metadata").is_null() {
                object["metadata"] = json!({});
            }
            Ok(object)
        })
        .map_err(|e| Status::bad_request(format!("the protobuf body is not readable: {e}")))
}

/// The schema of a document that is no served kind of its own (`policy/v1 Eviction`, `v1 Binding`).
fn type_of(api_version: &str, kind: &str) -> Option<TypeId> {
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let package = match group {
        "meta.k8s.io" => format!("io.k8s.apimachinery.pkg.apis.meta.{version}"),
        group => format!("io.k8s.api.{}.{version}", group.split('.').next().unwrap_or_default()),
    };
    let types = Types::builtin();
    let found = types.find(&format!("{package}.{kind}"));
    // Options travel under the version of the object they are for.
    found.or_else(|| types.find(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")))
}

/// `runtime.Unknown`: the type's name and its bytes.
fn envelope(body: &[u8]) -> Result<(String, String, &[u8]), Malformed> {
    let body = body.strip_prefix(MAGIC).ok_or(Malformed::Head)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in fields(body) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in fields(meta) {
                    match field? {
                        (1, Wire::Bytes(t)) => api_version = text(t)?,
                        (2, Wire::Bytes(t)) => kind = text(t)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    Ok((api_version, kind, raw))
}

/// A field's value as it lies in the message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message in order.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>), Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Wire<'a>), Malformed> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Wire::Varint(varint(rest)?),
        1 => Wire::Fixed64(u64::from_le_bytes(take(rest, 8)?.try_into().map_err(|_| Malformed::Short)?)),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Malformed::Short)?;
            Wire::Bytes(take(rest, length)?)
        }
        5 => Wire::Fixed32(u32::from_le_bytes(take(rest, 4)?.try_into().map_err(|_| Malformed::Short)?)),
        _ => return Err(Malformed::Form),
    };
    Ok((key >> 3, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, left) = rest.split_at_checked(length).ok_or(Malformed::Short)?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first().ok_or(Malformed::Short)?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed::Form)
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::Text)
}

/// Reads messages along a table of types.
struct Reader<'t> {
    types: &'t Types,
}

impl Reader<'_> {
    /// A message whose fields have the schema `id` and the numbers of the type `name`.
    fn message(&self, id: TypeId, name: &str, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Malformed> {
        if depth > DEPTH {
            return Err(Malformed::Depth);
        }
        let mut object = Map::new();
        let Some(numbers) = NUMBERS.get(name) else { return Ok(object) };
        for field in fields(bytes) {
            let (number, wire) = field?;
            match (numbers.get(&number), wire) {
                (Some(Slot::Inline(part)), Wire::Bytes(bytes)) => {
                    let package = name.rsplit_once('.').map_or("", |(package, _)| package);
                    object.extend(self.message(id, &format!("{package}.{part}"), bytes, depth + 1)?);
                }
                (Some(Slot::Field(field, meant)), wire) => {
                    let Some(schema) = self.types.get(id).field(field) else { continue };
                    self.put(&mut object, field, &schema.shape, wire, (*meant, schema.required), depth)?;
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
            (Shape::Number, Wire::Fixed64(bits)) => f64::from_bits(bits).into(),
            (Shape::Number, Wire::Fixed32(bits)) => f64::from(f32::from_bits(bits)).into(),
            (Shape::Quantity, Wire::Bytes(bytes)) => only_text(bytes)?,
            (Shape::Time, Wire::Bytes(bytes)) => time(bytes)?.map_or(Value::Null, |t| meta::time(t).into()),
            (Shape::MicroTime, Wire::Bytes(bytes)) => time(bytes)?.map_or(Value::Null, |t| meta::micro_time(t).into()),
            (Shape::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
            (Shape::Object(id), Wire::Bytes(bytes)) => {
                Value::Object(self.message(*id, &self.types.get(*id).name, bytes, depth + 1)?)
            }
            // Raw JSON, in a message with the bytes under 1.
            (Shape::Any | Shape::Open, Wire::Bytes(bytes)) => raw(bytes)?,
            _ => return Err(Malformed::Form),
        })
    }
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

fn only_text(bytes: &[u8]) -> Result<Value, Malformed> {
    match fields(bytes).next().transpose()? {
        Some((1, Wire::Bytes(bytes))) => Ok(text(bytes)?.into()),
        _ => Ok("0".into()),
    }
}

/// Seconds under 1, nanoseconds under 2; an empty message is no time.
fn time(bytes: &[u8]) -> Result<Option<Timestamp>, Malformed> {
    let (mut seconds, mut nanos) = (None, 0);
    for field in fields(bytes) {
        match field? {
            (1, Wire::Varint(n)) => seconds = Some(n.cast_signed()),
            (2, Wire::Varint(n)) => nanos = i32::try_from(n.cast_signed()).map_err(|_| Malformed::Form)?,
            _ => {}
        }
    }
    seconds.map(|s| Timestamp::new(s, nanos).map_err(|_| Malformed::Form)).transpose()
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Malformed> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    for field in fields(bytes) {
        match field? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(n)) => number = n.cast_signed(),
            (3, Wire::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { string.into() } else { number.into() })
}

fn raw(bytes: &[u8]) -> Result<Value, Malformed> {
    match fields(bytes).next().transpose()? {
        Some((1, Wire::Bytes(json))) => serde_json::from_slice(json).map_err(|_| Malformed::Form),
        _ => Ok(json!({})),
    }
}

fn parse(table: &'static str) -> HashMap<String, Message> {
    let mut messages = HashMap::new();
    let mut package = "";
    for line in table.lines() {
        let mut words = line.split(' ');
        let Some(first) = words.next() else { continue };
        if first == "package" {
            package = words.next().unwrap_or_default();
            continue;
        }
        messages.insert(format!("{package}.{first}"), words.filter_map(slot).collect());
    }
    messages
}

fn slot(word: &'static str) -> Option<(u64, Slot)> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = word.split_at(digits);
    let slot = match (rest.strip_prefix('*'), rest.strip_suffix('?')) {
        (Some(part), _) => Slot::Inline(part),
        (_, Some(field)) => Slot::Field(field, true),
        _ => Slot::Field(rest, false),
    };
    Some((number.parse().ok()?, slot))
}

#[cfg(test)]
mod tests;
