//! Lists, and lists taken for sets.

use std::cmp::Ordering;

use super::{Function, Outcome, traverse};
use crate::error::EvalError;
use crate::types::Sig;
use crate::types::Sig::{Any, Bool, Bytes, Double, Duration, Int, List, String as Str, Timestamp, Uint};
use crate::value::Value;

const A: Sig = Any(0);
const SETS: &[(&[Sig], Sig)] = &[(&[List(&A), List(&A)], Bool)];
const COMPARED: &[(&[Sig], Sig)] = &[
    (&[List(&Int)], Int),
    (&[List(&Uint)], Uint),
    (&[List(&Double)], Double),
    (&[List(&Bool)], Bool),
    (&[List(&Duration)], Duration),
    (&[List(&Timestamp)], Timestamp),
    (&[List(&Str)], Str),
    (&[List(&Bytes)], Bytes),
];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "isSorted",
        member: true,
        overloads: &[
            (&[List(&Int)], Bool),
            (&[List(&Uint)], Bool),
            (&[List(&Double)], Bool),
            (&[List(&Bool)], Bool),
            (&[List(&Duration)], Bool),
            (&[List(&Timestamp)], Bool),
            (&[List(&Str)], Bool),
            (&[List(&Bytes)], Bool),
        ],
        call: is_sorted,
        cost: traverse,
    },
    Function {
        name: "sum",
        member: true,
        overloads: &[
            (&[List(&Int)], Int),
            (&[List(&Uint)], Uint),
            (&[List(&Double)], Double),
            (&[List(&Duration)], Duration),
        ],
        call: sum,
        cost: traverse,
    },
    Function {
        name: "min",
        member: true,
        overloads: COMPARED,
        call: |args| most(args, Ordering::Less, "min"),
        cost: traverse,
    },
    Function {
        name: "max",
        member: true,
        overloads: COMPARED,
        call: |args| most(args, Ordering::Greater, "max"),
        cost: traverse,
    },
    Function {
        name: "sets.contains",
        member: false,
        overloads: SETS,
        call: |args| sets(args, |a, b| b.iter().all(|item| has(a, item))),
        cost: product,
    },
    Function {
        name: "sets.equivalent",
        member: false,
        overloads: SETS,
        call: |args| sets(args, |a, b| a.iter().all(|item| has(b, item)) && b.iter().all(|item| has(a, item))),
        cost: product,
    },
    Function {
        name: "sets.intersects",
        member: false,
        overloads: SETS,
        call: |args| sets(args, |a, b| a.iter().any(|item| has(b, item))),
        cost: product,
    },
];

fn product(args: &[Value], _: &Value) -> u64 {
    1 + args[0].size() * args[1].size()
}

fn has(items: &[Value], wanted: &Value) -> bool {
    items.iter().any(|item| item.equals(wanted))
}

fn items(value: &Value) -> Result<&[Value], EvalError> {
    match value {
        Value::List(list) => Ok(&list.items),
        _ => Err(EvalError::no_overload()),
    }
}

fn sets(args: &[Value], holds: fn(&[Value], &[Value]) -> bool) -> Outcome {
    Ok(Value::Bool(holds(items(&args[0])?, items(&args[1])?)))
}

fn is_sorted(args: &[Value]) -> Outcome {
    let items = items(&args[0])?;
    for pair in items.windows(2) {
        match pair[0].compare(&pair[1]) {
            Some(Ordering::Greater) => return Ok(Value::Bool(false)),
            Some(_) => {}
            None => return Err(EvalError::no_overload()),
        }
    }
    Ok(Value::Bool(true))
}

fn sum(args: &[Value]) -> Outcome {
    let items = items(&args[0])?;
    let Some((first, rest)) = items.split_first() else { return Ok(Value::Int(0)) };
    let Some(add) = super::find("_+_", false) else { return Err(EvalError::no_overload()) };
    rest.iter().try_fold(first.clone(), |sum, item| (add.call)(&[sum, item.clone()]))
}

fn most(args: &[Value], order: Ordering, name: &str) -> Outcome {
    let items = items(&args[0])?;
    let Some((first, rest)) = items.split_first() else {
        return Err(EvalError::new(format!("{name} called on empty list")));
    };
    rest.iter().try_fold(first.clone(), |most, item| match item.compare(&most) {
        Some(found) if found == order => Ok(item.clone()),
        Some(_) => Ok(most),
        None => Err(EvalError::no_overload()),
    })
}
