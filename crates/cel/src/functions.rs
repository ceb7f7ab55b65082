//! Every function and operator: what it takes and gives, what it does, what it costs. Checking and evaluating read the
//! same table, so neither knows a function that the other does not.

pub(crate) mod authorizer;
pub(crate) mod core;
mod format;
mod lists;
mod net;
mod optional;
mod quantity;
mod regexes;
mod semver;
mod strings;
pub(crate) mod time;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::error::EvalError;
use crate::types::Sig;
use crate::value::Value;

/// A function with all its overloads.
pub(crate) struct Function {
    /// Operators have names like `_+_`; functions of a library may have a dot.
    pub name: &'static str,
    /// Whether it is called on a value, which then is its first argument.
    pub member: bool,
    /// What each takes, and what it gives.
    pub overloads: &'static [(&'static [Sig], Sig)],
    pub call: fn(&[Value]) -> Result<Value, EvalError>,
    /// What a call costs, by its arguments and what it gave.
    pub cost: fn(&[Value], &Value) -> u64,
}

pub(crate) type Outcome = Result<Value, EvalError>;

static TABLE: LazyLock<HashMap<(&'static str, bool), &'static Function>> = LazyLock::new(|| {
    let all = [
        core::FUNCTIONS,
        authorizer::FUNCTIONS,
        strings::FUNCTIONS,
        time::FUNCTIONS,
        lists::FUNCTIONS,
        regexes::FUNCTIONS,
        net::FUNCTIONS,
        quantity::FUNCTIONS,
        semver::FUNCTIONS,
        format::FUNCTIONS,
        optional::FUNCTIONS,
    ];
    all.into_iter().flatten().map(|function| ((function.name, function.member), function)).collect()
});

/// The function of this name.
pub(crate) fn find(name: &str, member: bool) -> Option<&'static Function> {
    TABLE.get(&(name, member)).copied()
}

/// A pattern, or why it is none.
pub(crate) fn pattern(text: &str) -> Result<(), EvalError> {
    regexes::compile(text).map(drop)
}

// What calls cost, in the units of Kubernetes' limits: walking ten characters is one.

pub(crate) fn one(_: &[Value], _: &Value) -> u64 {
    1
}

/// A tenth of the size of something, rounded up.
pub(crate) fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

/// Walking the first argument.
pub(crate) fn walk(args: &[Value], _: &Value) -> u64 {
    args.first().map_or(1, |value| tenth(value.size()))
}

/// Walking the first argument and making as much anew.
pub(crate) fn walk_twice(args: &[Value], _: &Value) -> u64 {
    args.first().map_or(1, |value| tenth(2 * value.size()))
}

/// Walking the elements of the first argument, and their text.
pub(crate) fn traverse(args: &[Value], _: &Value) -> u64 {
    match args.first() {
        Some(Value::List(list)) => list
            .items
            .iter()
            .map(|item| match item {
                Value::String(_) | Value::Bytes(_) => 1 + tenth(item.size()),
                _ => 1,
            })
            .sum(),
        Some(value) => tenth(value.size()),
        None => 1,
    }
}

/// Matching a pattern, the second argument.
pub(crate) fn matching(args: &[Value], _: &Value) -> u64 {
    let size = |at: usize| args.get(at).map_or(0, Value::size);
    tenth(1 + size(0)) * size(1).div_ceil(4)
}
