//! What expressions compute with.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

/// A value. Cloning is cheap.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number, such as `1u`.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Timestamp(Timestamp),
    /// A length of time.
    Duration(SignedDuration),
    /// A list.
    List(Arc<List>),
    /// A map, or an object's fields.
    Map(Arc<Map>),
    /// An object that an expression made.
    Object(Arc<Object>),
    /// The name of a type.
    Type(Arc<str>),
    /// A value that may be missing.
    Optional(Option<Arc<Value>>),
    /// A value of a library, such as a quantity.
    Opaque(Arc<dyn Opaque>),
}

/// A list, and how two of its kind are compared and joined.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Its elements.
    pub items: Vec<Value>,
    /// As `x-kubernetes-list-type` says.
    pub kind: ListKind,
}

/// As `x-kubernetes-list-type` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// A list like any other.
    #[default]
    Atomic,
    /// Order does not count, and joining keeps what is there.
    Set,
    /// Elements are found by these fields; joining replaces those that are there.
    Map(Arc<[String]>),
}

/// An object that an expression made.
#[derive(Clone, Debug)]
pub struct Object {
    /// The name of its type.
    pub name: Arc<str>,
    /// The fields that it was made with.
    pub fields: Map,
}

/// Keys in order: numbers, then text.
pub type Map = BTreeMap<Key, Value>;

/// A key of a map. Numbers of different types that are equal are one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number, of whatever type.
    Int(i128),
    /// Text.
    String(Arc<str>),
}

/// A value of a library.
pub trait Opaque: fmt::Debug + Send + Sync {
    /// The name of its type, for example `kubernetes.Quantity`.
    fn type_name(&self) -> &'static str;
    /// Whether it is equal to another of its type.
    fn equals(&self, other: &dyn Opaque) -> bool;
    /// Its text, for types that can be turned into one.
    fn text(&self) -> Option<String> {
        None
    }
    /// Itself, for its own functions.
    fn as_any(&self) -> &dyn Any;
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<Arc<str>>) -> Value {
        Value::String(text.into())
    }

    /// A list like any other.
    pub fn list(items: Vec<Value>) -> Value {
        Value::List(Arc::new(List { items, kind: ListKind::Atomic }))
    }

    /// A value of JSON as it stands, without a schema: whole numbers are signed.
    pub fn from_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Int(value),
                (None, Some(value)) => Value::Uint(value),
                (None, None) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Value::text(text.as_str()),
            serde_json::Value::Array(items) => Value::list(items.iter().map(Value::from_json).collect()),
            serde_json::Value::Object(fields) => {
                let fields =
                    fields.iter().map(|(name, value)| (Key::String(name.as_str().into()), Value::from_json(value)));
                Value::Map(Arc::new(fields.collect()))
            }
        }
    }

    /// The value as JSON; `None` for what JSON cannot say (types, opaque values, numbers that are none).
    pub fn to_json(&self) -> Option<serde_json::Value> {
        Some(match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Uint(value) => (*value).into(),
            Value::Double(value) => serde_json::Number::from_f64(*value)?.into(),
            Value::String(text) => (&**text).into(),
            Value::Bytes(bytes) => base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes).into(),
            Value::Timestamp(time) => time.to_string().into(),
            Value::Duration(length) => crate::functions::time::duration_text(*length).into(),
            Value::List(list) => list.items.iter().map(Value::to_json).collect::<Option<Vec<_>>>()?.into(),
            Value::Map(map) => json_fields(map)?,
            Value::Object(object) => json_fields(&object.fields)?,
            Value::Optional(Some(value)) => value.to_json()?,
            Value::Optional(None) | Value::Type(_) | Value::Opaque(_) => return None,
        })
    }

    /// The name of its type, as `type()` and error messages show it.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Object(object) => &object.name,
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Opaque(value) => value.type_name(),
        }
    }

    /// How large it is for what it costs to walk it: characters, bytes, elements; 1 for everything else.
    pub fn size(&self) -> u64 {
        match self {
            Value::String(text) => text.chars().count() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::List(list) => list.items.len() as u64,
            Value::Map(map) => map.len() as u64,
            _ => 1,
        }
    }

    /// Whether the two are equal: of different types they are not, numbers by their worth.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
                self.compare(other) == Some(Ordering::Equal)
            }
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::List(a), Value::List(b)) => a.equals(b),
            (Value::Map(a), Value::Map(b)) => same_fields(a, b),
            (Value::Object(a), Value::Object(b)) => a.name == b.name && same_fields(&a.fields, &b.fields),
            (Value::Type(a), Value::Type(b)) => a == b,
            (Value::Optional(a), Value::Optional(b)) => match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => a.equals(b),
                _ => false,
            },
            (Value::Opaque(a), Value::Opaque(b)) => a.type_name() == b.type_name() && a.equals(&**b),
            _ => false,
        }
    }

    /// The order of two values that have one.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Double(a), Value::Int(b)) => compare_double(*a, i128::from(*b)),
            (Value::Double(a), Value::Uint(b)) => compare_double(*a, i128::from(*b)),
            (Value::Int(a), Value::Double(b)) => compare_double(*b, i128::from(*a)).map(Ordering::reverse),
            (Value::Uint(a), Value::Double(b)) => compare_double(*b, i128::from(*a)).map(Ordering::reverse),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// The value as a map's key; `None` when it cannot be one.
    pub fn as_key(&self) -> Option<Key> {
        Some(match self {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int((*value).into()),
            Value::Uint(value) => Key::Int((*value).into()),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 2f64.powi(100) => Key::Int(*value as i128),
            Value::String(text) => Key::String(text.clone()),
            _ => return None,
        })
    }
}

fn json_fields(fields: &Map) -> Option<serde_json::Value> {
    let field = |(key, value): (&Key, &Value)| Some((key.to_string(), value.to_json()?));
    Some(serde_json::Value::Object(fields.iter().map(field).collect::<Option<_>>()?))
}

fn same_fields(a: &Map, b: &Map) -> bool {
    a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| value.equals(other)))
}

/// Exactly, where a number is too large for a double to hold it.
fn compare_double(a: f64, b: i128) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    let limit = 2f64.powi(100);
    if a >= limit {
        return Some(Ordering::Greater);
    }
    if a <= -limit {
        return Some(Ordering::Less);
    }
    let whole = a.floor();
    match (whole as i128).cmp(&b) {
        Ordering::Equal if a > whole => Some(Ordering::Greater),
        order => Some(order),
    }
}

impl List {
    fn equals(&self, other: &List) -> bool {
        if self.items.len() != other.items.len() {
            return false;
        }
        match (&self.kind, &other.kind) {
            (ListKind::Set, _) | (_, ListKind::Set) => {
                self.items.iter().all(|item| other.items.iter().any(|found| item.equals(found)))
            }
            (ListKind::Map(keys), _) | (_, ListKind::Map(keys)) => self.items.iter().all(|item| {
                let same = |found: &&Value| is_same_element(item, found, keys);
                other.items.iter().find(same).is_some_and(|found| item.equals(found))
            }),
            _ => self.items.iter().zip(&other.items).all(|(a, b)| a.equals(b)),
        }
    }

    /// This list and another, joined as its kind says.
    pub fn join(&self, other: &List) -> List {
        let mut items = self.items.clone();
        match &self.kind {
            ListKind::Atomic => items.extend(other.items.iter().cloned()),
            ListKind::Set => {
                for item in &other.items {
                    if !items.iter().any(|found| found.equals(item)) {
                        items.push(item.clone());
                    }
                }
            }
            ListKind::Map(keys) => {
                for item in &other.items {
                    match items.iter_mut().find(|found| is_same_element(item, found, keys)) {
                        Some(found) => *found = item.clone(),
                        None => items.push(item.clone()),
                    }
                }
            }
        }
        List { items, kind: self.kind.clone() }
    }
}

fn is_same_element(a: &Value, b: &Value, keys: &[String]) -> bool {
    let field = |value: &Value, key: &String| match value {
        Value::Map(map) => map.get(&Key::String(key.as_str().into())).cloned(),
        _ => None,
    };
    keys.iter().all(|key| match (field(a, key), field(b, key)) {
        (Some(a), Some(b)) => a.equals(&b),
        (None, None) => true,
        _ => false,
    })
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Bool(value) => write!(f, "{value}"),
            Key::Int(value) => write!(f, "{value}"),
            Key::String(text) => f.write_str(text),
        }
    }
}

impl Key {
    /// The key as a value. A number is signed where it can be.
    pub fn value(&self) -> Value {
        match self {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => Value::Int(value),
                (_, Ok(value)) => Value::Uint(value),
                _ => Value::Double(*value as f64),
            },
            Key::String(text) => Value::String(text.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_different_types_compare_by_their_worth() {
        assert!(Value::Int(1).equals(&Value::Uint(1)));
        assert!(Value::Double(1.0).equals(&Value::Int(1)));
        assert!(!Value::Double(f64::NAN).equals(&Value::Double(f64::NAN)));
        assert_eq!(Value::Double(9007199254740992.0).compare(&Value::Int(9007199254740993)), Some(Ordering::Less));
        assert_eq!(Value::Int(-1).compare(&Value::Uint(u64::MAX)), Some(Ordering::Less));
        assert_eq!(Value::Double(-1.5).compare(&Value::Int(-2)), Some(Ordering::Greater));
        assert!(!Value::Int(1).equals(&Value::text("1")));
    }

    #[test]
    fn sets_ignore_order_and_keyed_lists_replace() {
        let list = |kind, items: &[i64]| List { items: items.iter().map(|n| Value::Int(*n)).collect(), kind };
        let set = list(ListKind::Set, &[1, 2]);
        assert!(set.equals(&list(ListKind::Set, &[2, 1])) && !set.equals(&list(ListKind::Set, &[1, 3])));
        assert_eq!(set.join(&list(ListKind::Set, &[2, 3])).items.len(), 3);
        assert!(!list(ListKind::Atomic, &[1, 2]).equals(&list(ListKind::Atomic, &[2, 1])));
        let port = |name: &str, port: i64| Value::from_json(&serde_json::json!({"name": name, "port": port}));
        let kind = ListKind::Map([String::from("name")].into());
        let ports = List { items: vec![port("a", 1), port("b", 2)], kind: kind.clone() };
        let joined = ports.join(&List { items: vec![port("b", 3), port("c", 4)], kind });
        let found: Vec<_> = joined.items.iter().map(|item| item.to_json().unwrap()["port"].clone()).collect();
        assert_eq!(found, [1, 3, 4]);
    }
}
