//! Kubernetes' quantities: `500m`, `1Gi`. Kept exactly, in billionths, as their text allows no smaller part.

use std::any::Any;
use std::sync::Arc;

use super::{Function, Outcome, one, walk};
use crate::error::EvalError;
use crate::types::Sig;
use crate::types::Sig::{Bool, Double, Int, Opaque as Of, String as Str};
use crate::value::{Opaque, Value};

const NAME: &str = "kubernetes.Quantity";
const QUANTITY: Sig = Of(NAME);
const BILLION: i128 = 1_000_000_000;
const SEMVER: Sig = Of(super::semver::NAME);
const COMPARED: &[(&[Sig], Sig)] = &[(&[QUANTITY, QUANTITY], Bool), (&[SEMVER, SEMVER], Bool)];
const COMBINED: &[(&[Sig], Sig)] = &[(&[QUANTITY, QUANTITY], QUANTITY), (&[QUANTITY, Int], QUANTITY)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "quantity", member: false, overloads: &[(&[Str], QUANTITY)], call: quantity, cost: walk },
    Function { name: "isQuantity", member: false, overloads: &[(&[Str], Bool)], call: is_quantity, cost: walk },
    Function {
        name: "isInteger",
        member: true,
        overloads: &[(&[QUANTITY], Bool)],
        call: |args| Ok(Value::Bool(whole(amount(&args[0])?).is_some())),
        cost: one,
    },
    Function {
        name: "asInteger",
        member: true,
        overloads: &[(&[QUANTITY], Int)],
        call: |args| {
            whole(amount(&args[0])?).map(Value::Int).ok_or_else(|| EvalError::new("cannot convert value to integer"))
        },
        cost: one,
    },
    Function {
        name: "asApproximateFloat",
        member: true,
        overloads: &[(&[QUANTITY], Double)],
        call: |args| Ok(Value::Double(amount(&args[0])? as f64 / 1e9)),
        cost: one,
    },
    Function {
        name: "sign",
        member: true,
        overloads: &[(&[QUANTITY], Int)],
        call: |args| Ok(Value::Int(amount(&args[0])?.signum() as i64)),
        cost: one,
    },
    Function {
        name: "add",
        member: true,
        overloads: COMBINED,
        call: |args| combine(args, i128::saturating_add),
        cost: one,
    },
    Function {
        name: "sub",
        member: true,
        overloads: COMBINED,
        call: |args| combine(args, i128::saturating_sub),
        cost: one,
    },
    Function {
        name: "isGreaterThan",
        member: true,
        overloads: COMPARED,
        call: |args| Ok(Value::Bool(order(args)?.is_gt())),
        cost: one,
    },
    Function {
        name: "isLessThan",
        member: true,
        overloads: COMPARED,
        call: |args| Ok(Value::Bool(order(args)?.is_lt())),
        cost: one,
    },
    Function {
        name: "compareTo",
        member: true,
        overloads: &[(&[QUANTITY, QUANTITY], Int), (&[SEMVER, SEMVER], Int)],
        call: |args| Ok(Value::Int(order(args)? as i64)),
        cost: one,
    },
];

#[derive(Debug)]
struct Quantity(i128);

impl Opaque for Quantity {
    fn type_name(&self) -> &'static str {
        NAME
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.as_any().downcast_ref::<Quantity>().is_some_and(|other| other.0 == self.0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn made(amount: i128) -> Value {
    Value::Opaque(Arc::new(Quantity(amount)))
}

fn amount(value: &Value) -> Result<i128, EvalError> {
    match value {
        Value::Opaque(value) => value.as_any().downcast_ref::<Quantity>().map(|quantity| quantity.0),
        _ => None,
    }
    .ok_or_else(EvalError::no_overload)
}

fn whole(amount: i128) -> Option<i64> {
    (amount % BILLION == 0).then(|| i64::try_from(amount / BILLION).ok())?
}

fn order(args: &[Value]) -> Result<std::cmp::Ordering, EvalError> {
    match super::semver::order(&args[0], &args[1]) {
        Some(order) => Ok(order),
        None => Ok(amount(&args[0])?.cmp(&amount(&args[1])?)),
    }
}

fn combine(args: &[Value], with: fn(i128, i128) -> i128) -> Outcome {
    let other = match &args[1] {
        Value::Int(value) => i128::from(*value) * BILLION,
        other => amount(other)?,
    };
    Ok(made(with(amount(&args[0])?, other)))
}

fn quantity(args: &[Value]) -> Outcome {
    let Value::String(text) = &args[0] else { return Err(EvalError::no_overload()) };
    parse(text).map(made).ok_or_else(|| {
        EvalError::new("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    })
}

fn is_quantity(args: &[Value]) -> Outcome {
    let Value::String(text) = &args[0] else { return Err(EvalError::no_overload()) };
    Ok(Value::Bool(parse(text).is_some()))
}

/// In billionths, rounded away from zero.
fn parse(text: &str) -> Option<i128> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
    let (digits, suffix) = rest.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') || whole.len() + fraction.len() > 30 {
        return None;
    }
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()?;
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|name| *name == suffix);
    let (factor, power) = match (suffix, binary) {
        (_, Some(at)) => (1_i128 << (10 * (at + 1)), 0),
        ("n", _) => (1, -9),
        ("u", _) => (1, -6),
        ("m", _) => (1, -3),
        ("", _) => (1, 0),
        ("k", _) => (1, 3),
        ("M", _) => (1, 6),
        ("G", _) => (1, 9),
        ("T", _) => (1, 12),
        ("P", _) => (1, 15),
        ("E", _) => (1, 18),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok().filter(|power| power.abs() < 40)?),
    };
    let exponent = 9 + power - scale;
    let number = number.checked_mul(factor)?;
    let amount = if exponent >= 0 {
        number.checked_mul(10_i128.checked_pow(exponent.unsigned_abs())?)?
    } else {
        let by = 10_i128.checked_pow(exponent.unsigned_abs())?;
        (number + by - 1) / by
    };
    Some(if negative { -amount } else { amount })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        for (text, expected) in [
            ("1", Some(BILLION)),
            ("500m", Some(BILLION / 2)),
            ("1Gi", Some((1 << 30) * BILLION)),
            ("1.5k", Some(1500 * BILLION)),
            ("1e3", Some(1000 * BILLION)),
            ("-2", Some(-2 * BILLION)),
            ("0.1n", Some(1)),
            (".5", Some(BILLION / 2)),
            ("", None),
            ("Mi", None),
            ("1.2.3", None),
            ("1Xi", None),
            ("1 Gi", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
