//! Operators, sizes and conversions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::net::{CIDR_NAME, IP_NAME};
use super::{Function, Outcome, one, tenth};
use crate::error::EvalError;
use crate::functions::time::{duration_text, parse_duration};
use crate::types::Sig;
use crate::types::Sig::{
    Any, Bool, Bytes, Double, Duration, Dyn, Int, List, Map, Opaque, String as Str, Timestamp, Type, Uint,
};
use crate::value::Value;

const A: Sig = Any(0);
const B: Sig = Any(1);

const ORDERED: &[(&[Sig], Sig)] = &[
    (&[Bool, Bool], Bool),
    (&[Int, Int], Bool),
    (&[Uint, Uint], Bool),
    (&[Double, Double], Bool),
    (&[Int, Uint], Bool),
    (&[Int, Double], Bool),
    (&[Uint, Int], Bool),
    (&[Uint, Double], Bool),
    (&[Double, Int], Bool),
    (&[Double, Uint], Bool),
    (&[Str, Str], Bool),
    (&[Bytes, Bytes], Bool),
    (&[Timestamp, Timestamp], Bool),
    (&[Duration, Duration], Bool),
];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "_==_",
        member: false,
        overloads: &[(&[A, A], Bool)],
        call: |args| Ok(Value::Bool(args[0].equals(&args[1]))),
        cost: smaller,
    },
    Function {
        name: "_!=_",
        member: false,
        overloads: &[(&[A, A], Bool)],
        call: |args| Ok(Value::Bool(!args[0].equals(&args[1]))),
        cost: smaller,
    },
    Function {
        name: "_<_",
        member: false,
        overloads: ORDERED,
        call: |args| ordered(args, Ordering::is_lt),
        cost: smaller,
    },
    Function {
        name: "_<=_",
        member: false,
        overloads: ORDERED,
        call: |args| ordered(args, Ordering::is_le),
        cost: smaller,
    },
    Function {
        name: "_>_",
        member: false,
        overloads: ORDERED,
        call: |args| ordered(args, Ordering::is_gt),
        cost: smaller,
    },
    Function {
        name: "_>=_",
        member: false,
        overloads: ORDERED,
        call: |args| ordered(args, Ordering::is_ge),
        cost: smaller,
    },
    Function {
        name: "_+_",
        member: false,
        overloads: &[
            (&[Int, Int], Int),
            (&[Uint, Uint], Uint),
            (&[Double, Double], Double),
            (&[Str, Str], Str),
            (&[Bytes, Bytes], Bytes),
            (&[List(&A), List(&A)], List(&A)),
            (&[Timestamp, Duration], Timestamp),
            (&[Duration, Timestamp], Timestamp),
            (&[Duration, Duration], Duration),
        ],
        call: add,
        cost: |args, _| match args {
            [Value::String(_) | Value::Bytes(_), _] => tenth(args[0].size() + args[1].size()),
            _ => 1,
        },
    },
    Function {
        name: "_-_",
        member: false,
        overloads: &[
            (&[Int, Int], Int),
            (&[Uint, Uint], Uint),
            (&[Double, Double], Double),
            (&[Timestamp, Timestamp], Duration),
            (&[Timestamp, Duration], Timestamp),
            (&[Duration, Duration], Duration),
        ],
        call: subtract,
        cost: one,
    },
    Function {
        name: "_*_",
        member: false,
        overloads: &[(&[Int, Int], Int), (&[Uint, Uint], Uint), (&[Double, Double], Double)],
        call: multiply,
        cost: one,
    },
    Function {
        name: "_/_",
        member: false,
        overloads: &[(&[Int, Int], Int), (&[Uint, Uint], Uint), (&[Double, Double], Double)],
        call: divide,
        cost: one,
    },
    Function {
        name: "_%_",
        member: false,
        overloads: &[(&[Int, Int], Int), (&[Uint, Uint], Uint)],
        call: modulo,
        cost: one,
    },
    Function { name: "-_", member: false, overloads: &[(&[Int], Int), (&[Double], Double)], call: negate, cost: one },
    Function {
        name: "!_",
        member: false,
        overloads: &[(&[Bool], Bool)],
        call: |args| match args {
            [Value::Bool(value)] => Ok(Value::Bool(!value)),
            _ => Err(EvalError::no_overload()),
        },
        cost: one,
    },
    Function {
        name: "@in",
        member: false,
        overloads: &[(&[A, List(&A)], Bool), (&[A, Map(&A, &B)], Bool)],
        call: is_in,
        cost: |args, _| match &args[1] {
            Value::List(list) => list.items.len() as u64,
            _ => 1,
        },
    },
    Function { name: "size", member: false, overloads: SIZED, call: size, cost: one },
    Function { name: "size", member: true, overloads: SIZED, call: size, cost: one },
    Function { name: "dyn", member: false, overloads: &[(&[Dyn], Dyn)], call: |args| Ok(args[0].clone()), cost: one },
    Function {
        name: "type",
        member: false,
        overloads: &[(&[Dyn], Type)],
        call: |args| Ok(Value::Type(args[0].type_name().into())),
        cost: one,
    },
    Function {
        name: "int",
        member: false,
        overloads: &[
            (&[Int], Int),
            (&[Uint], Int),
            (&[Double], Int),
            (&[Str], Int),
            (&[Timestamp], Int),
            (&[Duration], Int),
        ],
        call: to_int,
        cost: one,
    },
    Function {
        name: "uint",
        member: false,
        overloads: &[(&[Uint], Uint), (&[Int], Uint), (&[Double], Uint), (&[Str], Uint)],
        call: to_uint,
        cost: one,
    },
    Function {
        name: "double",
        member: false,
        overloads: &[(&[Double], Double), (&[Int], Double), (&[Uint], Double), (&[Str], Double)],
        call: to_double,
        cost: one,
    },
    Function { name: "bool", member: false, overloads: &[(&[Bool], Bool), (&[Str], Bool)], call: to_bool, cost: one },
    Function {
        name: "string",
        member: false,
        overloads: &[
            (&[Str], Str),
            (&[Bool], Str),
            (&[Int], Str),
            (&[Uint], Str),
            (&[Double], Str),
            (&[Bytes], Str),
            (&[Timestamp], Str),
            (&[Duration], Str),
            (&[Opaque(IP_NAME)], Str),
            (&[Opaque(CIDR_NAME)], Str),
        ],
        call: to_string,
        cost: super::walk,
    },
    Function {
        name: "bytes",
        member: false,
        overloads: &[(&[Bytes], Bytes), (&[Str], Bytes)],
        call: to_bytes,
        cost: super::walk,
    },
    Function {
        name: "timestamp",
        member: false,
        overloads: &[(&[Timestamp], Timestamp), (&[Str], Timestamp), (&[Int], Timestamp)],
        call: to_timestamp,
        cost: one,
    },
    Function {
        name: "duration",
        member: false,
        overloads: &[(&[Duration], Duration), (&[Str], Duration), (&[Int], Duration)],
        call: to_duration,
        cost: one,
    },
];

const SIZED: &[(&[Sig], Sig)] = &[(&[Str], Int), (&[Bytes], Int), (&[List(&A)], Int), (&[Map(&A, &B)], Int)];

/// Comparing costs no more than the smaller one.
fn smaller(args: &[Value], _: &Value) -> u64 {
    match args {
        [Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_), _] => {
            tenth(args[0].size().min(args[1].size())).max(1)
        }
        _ => 1,
    }
}

fn ordered(args: &[Value], holds: fn(Ordering) -> bool) -> Outcome {
    let is_number = |value: &Value| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
    match args[0].compare(&args[1]) {
        Some(order) => Ok(Value::Bool(holds(order))),
        None if args.iter().all(is_number) => Err(EvalError::new("NaN values cannot be ordered")),
        None => Err(EvalError::no_overload()),
    }
}

fn overflow() -> EvalError {
    EvalError::new("integer overflow")
}

fn add(args: &[Value]) -> Outcome {
    Ok(match args {
        [Value::Int(a), Value::Int(b)] => Value::Int(a.checked_add(*b).ok_or_else(overflow)?),
        [Value::Uint(a), Value::Uint(b)] => {
            Value::Uint(a.checked_add(*b).ok_or_else(|| EvalError::new("unsigned integer overflow"))?)
        }
        [Value::Double(a), Value::Double(b)] => Value::Double(a + b),
        [Value::String(a), Value::String(b)] => Value::text([&**a, b].concat()),
        [Value::Bytes(a), Value::Bytes(b)] => Value::Bytes([&**a, b].concat().into()),
        [Value::List(a), Value::List(b)] => Value::List(Arc::new(a.join(b))),
        [Value::Timestamp(time), Value::Duration(length)] | [Value::Duration(length), Value::Timestamp(time)] => {
            Value::Timestamp(time.checked_add(*length).map_err(|_| EvalError::new("timestamp overflow"))?)
        }
        [Value::Duration(a), Value::Duration(b)] => {
            Value::Duration(a.checked_add(*b).ok_or_else(|| EvalError::new("duration overflow"))?)
        }
        _ => return Err(EvalError::no_overload()),
    })
}

fn subtract(args: &[Value]) -> Outcome {
    Ok(match args {
        [Value::Int(a), Value::Int(b)] => Value::Int(a.checked_sub(*b).ok_or_else(overflow)?),
        [Value::Uint(a), Value::Uint(b)] => {
            Value::Uint(a.checked_sub(*b).ok_or_else(|| EvalError::new("unsigned integer overflow"))?)
        }
        [Value::Double(a), Value::Double(b)] => Value::Double(a - b),
        [Value::Timestamp(a), Value::Timestamp(b)] => Value::Duration(a.duration_since(*b)),
        [Value::Timestamp(time), Value::Duration(length)] => {
            Value::Timestamp(time.checked_sub(*length).map_err(|_| EvalError::new("timestamp overflow"))?)
        }
        [Value::Duration(a), Value::Duration(b)] => {
            Value::Duration(a.checked_sub(*b).ok_or_else(|| EvalError::new("duration overflow"))?)
        }
        _ => return Err(EvalError::no_overload()),
    })
}

fn multiply(args: &[Value]) -> Outcome {
    Ok(match args {
        [Value::Int(a), Value::Int(b)] => Value::Int(a.checked_mul(*b).ok_or_else(overflow)?),
        [Value::Uint(a), Value::Uint(b)] => {
            Value::Uint(a.checked_mul(*b).ok_or_else(|| EvalError::new("unsigned integer overflow"))?)
        }
        [Value::Double(a), Value::Double(b)] => Value::Double(a * b),
        _ => return Err(EvalError::no_overload()),
    })
}

fn divide(args: &[Value]) -> Outcome {
    let by_zero = || EvalError::new("division by zero");
    Ok(match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => return Err(by_zero()),
        [Value::Int(a), Value::Int(b)] => Value::Int(a.checked_div(*b).ok_or_else(overflow)?),
        [Value::Uint(a), Value::Uint(b)] => Value::Uint(a / b),
        [Value::Double(a), Value::Double(b)] => Value::Double(a / b),
        _ => return Err(EvalError::no_overload()),
    })
}

fn modulo(args: &[Value]) -> Outcome {
    Ok(match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            return Err(EvalError::new("modulus by zero"));
        }
        [Value::Int(a), Value::Int(b)] => Value::Int(a.checked_rem(*b).ok_or_else(overflow)?),
        [Value::Uint(a), Value::Uint(b)] => Value::Uint(a % b),
        _ => return Err(EvalError::no_overload()),
    })
}

fn negate(args: &[Value]) -> Outcome {
    Ok(match args {
        [Value::Int(a)] => Value::Int(a.checked_neg().ok_or_else(overflow)?),
        [Value::Double(a)] => Value::Double(-a),
        _ => return Err(EvalError::no_overload()),
    })
}

fn is_in(args: &[Value]) -> Outcome {
    Ok(Value::Bool(match &args[1] {
        Value::List(list) => list.items.iter().any(|item| item.equals(&args[0])),
        Value::Map(map) => args[0].as_key().is_some_and(|key| map.contains_key(&key)),
        _ => return Err(EvalError::no_overload()),
    }))
}

fn size(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => Ok(Value::Int(args[0].size() as i64)),
        _ => Err(EvalError::no_overload()),
    }
}

fn to_int(args: &[Value]) -> Outcome {
    Ok(Value::Int(match &args[0] {
        Value::Int(value) => *value,
        Value::Uint(value) => i64::try_from(*value).map_err(|_| overflow())?,
        Value::Double(value) if value.abs() < 2f64.powi(63) => *value as i64,
        Value::Double(_) => return Err(overflow()),
        Value::String(text) => {
            text.parse().map_err(|_| EvalError::new(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?
        }
        Value::Timestamp(time) => time.as_second(),
        Value::Duration(length) => i64::try_from(length.as_nanos()).map_err(|_| overflow())?,
        _ => return Err(EvalError::no_overload()),
    }))
}

fn to_uint(args: &[Value]) -> Outcome {
    let range = || EvalError::new("unsigned integer overflow");
    Ok(Value::Uint(match &args[0] {
        Value::Uint(value) => *value,
        Value::Int(value) => u64::try_from(*value).map_err(|_| range())?,
        Value::Double(value) if *value >= 0.0 && *value < 2f64.powi(64) => *value as u64,
        Value::Double(_) => return Err(range()),
        Value::String(text) => {
            text.parse().map_err(|_| EvalError::new(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")))?
        }
        _ => return Err(EvalError::no_overload()),
    }))
}

fn to_double(args: &[Value]) -> Outcome {
    Ok(Value::Double(match &args[0] {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        Value::String(text) => {
            text.parse().map_err(|_| EvalError::new(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")))?
        }
        _ => return Err(EvalError::no_overload()),
    }))
}

fn to_bool(args: &[Value]) -> Outcome {
    Ok(Value::Bool(match &args[0] {
        Value::Bool(value) => *value,
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => return Err(EvalError::new(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
        },
        _ => return Err(EvalError::no_overload()),
    }))
}

fn to_string(args: &[Value]) -> Outcome {
    Ok(Value::text(match &args[0] {
        Value::String(text) => return Ok(Value::String(text.clone())),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))?,
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(length) => duration_text(*length),
        Value::Opaque(value) => value.text().ok_or_else(EvalError::no_overload)?,
        _ => return Err(EvalError::no_overload()),
    }))
}

/// As Go's `%g` writes it.
pub(crate) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let exponent = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    if !(-5..21).contains(&exponent) {
        let text = format!("{value:e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let power: i32 = power.parse().unwrap_or(0);
        return format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs());
    }
    format!("{value}")
}

fn to_bytes(args: &[Value]) -> Outcome {
    Ok(Value::Bytes(match &args[0] {
        Value::Bytes(bytes) => bytes.clone(),
        Value::String(text) => text.as_bytes().into(),
        _ => return Err(EvalError::no_overload()),
    }))
}

fn to_timestamp(args: &[Value]) -> Outcome {
    Ok(Value::Timestamp(match &args[0] {
        Value::Timestamp(time) => *time,
        Value::Int(seconds) => {
            jiff::Timestamp::from_second(*seconds).map_err(|_| EvalError::new("timestamp overflow"))?
        }
        Value::String(text) => {
            text.parse().map_err(|error| EvalError::new(format!("cannot parse {text:?} as a timestamp: {error}")))?
        }
        _ => return Err(EvalError::no_overload()),
    }))
}

fn to_duration(args: &[Value]) -> Outcome {
    Ok(Value::Duration(match &args[0] {
        Value::Duration(length) => *length,
        Value::Int(nanoseconds) => jiff::SignedDuration::from_nanos(*nanoseconds),
        Value::String(text) => {
            parse_duration(text).ok_or_else(|| EvalError::new(format!("time: invalid duration {text:?}")))?
        }
        _ => return Err(EvalError::no_overload()),
    }))
}
