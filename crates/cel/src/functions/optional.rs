//! Values that may be missing.

use std::sync::Arc;

use super::{Function, one};
use crate::error::EvalError;
use crate::types::Sig;
use crate::types::Sig::{Any, Bool, Optional};
use crate::value::Value;

const A: Sig = Any(0);

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "optional.of",
        member: false,
        overloads: &[(&[A], Optional(&A))],
        call: |args| Ok(Value::Optional(Some(Arc::new(args[0].clone())))),
        cost: one,
    },
    Function {
        name: "optional.none",
        member: false,
        overloads: &[(&[], Optional(&A))],
        call: |_| Ok(Value::Optional(None)),
        cost: one,
    },
    Function {
        name: "optional.ofNonZeroValue",
        member: false,
        overloads: &[(&[A], Optional(&A))],
        call: |args| Ok(Value::Optional((!is_zero(&args[0])).then(|| Arc::new(args[0].clone())))),
        cost: one,
    },
    Function {
        name: "hasValue",
        member: true,
        overloads: &[(&[Optional(&A)], Bool)],
        call: |args| Ok(Value::Bool(inner(&args[0])?.is_some())),
        cost: one,
    },
    Function {
        name: "value",
        member: true,
        overloads: &[(&[Optional(&A)], A)],
        call: |args| inner(&args[0])?.cloned().ok_or_else(|| EvalError::new("optional.none() dereference")),
        cost: one,
    },
    Function {
        name: "or",
        member: true,
        overloads: &[(&[Optional(&A), Optional(&A)], Optional(&A))],
        call: |args| Ok(if inner(&args[0])?.is_some() { args[0].clone() } else { args[1].clone() }),
        cost: one,
    },
    Function {
        name: "orValue",
        member: true,
        overloads: &[(&[Optional(&A), A], A)],
        call: |args| Ok(inner(&args[0])?.unwrap_or(&args[1]).clone()),
        cost: one,
    },
];

fn inner(value: &Value) -> Result<Option<&Value>, EvalError> {
    match value {
        Value::Optional(inner) => Ok(inner.as_deref()),
        _ => Err(EvalError::no_overload()),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.items.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Object(object) => object.fields.is_empty(),
        Value::Duration(length) => length.is_zero(),
        Value::Timestamp(time) => time.as_nanosecond() == 0,
        Value::Optional(inner) => inner.is_none(),
        Value::Type(_) | Value::Opaque(_) => false,
    }
}
