//! Values that are messages of their own though they are one value in JSON.

use jiff::Timestamp;
use naru_api::schema::Type;
use serde_json::{Value, json};

use crate::Malformed;
use crate::wire::{Wire, fields, put_bytes, put_number, text};

/// A value with several forms, in the schemas of definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Any JSON.
    Json,
    /// A schema, or several.
    Schemas,
    /// A schema, or whether anything may stand there.
    SchemaOrBool,
    /// A schema, or names of fields.
    SchemaOrNames,
}

impl Choice {
    /// What a type that is any value to the table of facts really is.
    pub(crate) fn of(any: &Type) -> Choice {
        match any.name.rsplit('.').next() {
            Some("JSONSchemaPropsOrArray") => Choice::Schemas,
            Some("JSONSchemaPropsOrBool") => Choice::SchemaOrBool,
            Some("JSONSchemaPropsOrStringArray") => Choice::SchemaOrNames,
            _ => Choice::Json,
        }
    }
}

/// Text under 1; no text is none of a quantity.
pub(crate) fn quantity(bytes: &[u8]) -> Result<Value, Malformed> {
    match fields(bytes).next().transpose()? {
        Some((1, Wire::Bytes(bytes))) => Ok(text(bytes)?.into()),
        _ => Ok("0".into()),
    }
}

/// Seconds under 1, nanoseconds under 2; an empty message is no time.
pub(crate) fn time(bytes: &[u8]) -> Result<Option<Timestamp>, Malformed> {
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

/// Writes what [`time`] reads.
pub(crate) fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    // Seconds are counted downwards from the fraction, which is never negative.
    let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    put_number(out, 1, seconds);
    put_number(out, 2, nanos.into());
}

/// Which of the two under 1, the number under 2, the text under 3.
pub(crate) fn int_or_string(bytes: &[u8]) -> Result<Value, Malformed> {
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

/// Writes what [`int_or_string`] reads; false for what is neither.
pub(crate) fn put_int_or_string(out: &mut Vec<u8>, value: &Value) -> bool {
    match (value, value.as_i64()) {
        (Value::String(text), _) => {
            put_number(out, 1, 1);
            put_number(out, 2, 0);
            put_bytes(out, 3, text.as_bytes());
        }
        (_, Some(number)) => {
            put_number(out, 1, 0);
            put_number(out, 2, number);
            put_bytes(out, 3, b"");
        }
        _ => return false,
    }
    true
}

/// JSON under 1.
pub(crate) fn raw(bytes: &[u8]) -> Result<Value, Malformed> {
    match fields(bytes).next().transpose()? {
        Some((1, Wire::Bytes(json))) => serde_json::from_slice(json).map_err(|_| Malformed::Form),
        _ => Ok(json!({})),
    }
}
