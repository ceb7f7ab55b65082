//! Patterns. They are RE2's here as elsewhere: matching takes time in proportion to the text.

use regex::RegexBuilder;

use super::{Function, Outcome, matching};
use crate::error::EvalError;
use crate::types::Sig;
use crate::types::Sig::{Bool, Int, List, String as Str};
use crate::value::Value;

/// How large a compiled pattern may be, in bytes.
const LARGEST: usize = 1 << 20;

const MATCHES: &[(&[Sig], Sig)] = &[(&[Str, Str], Bool)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "matches", member: true, overloads: MATCHES, call: matches, cost: matching },
    Function { name: "matches", member: false, overloads: MATCHES, call: matches, cost: matching },
    Function { name: "find", member: true, overloads: &[(&[Str, Str], Str)], call: find, cost: matching },
    Function {
        name: "findAll",
        member: true,
        overloads: &[(&[Str, Str], List(&Str)), (&[Str, Str, Int], List(&Str))],
        call: find_all,
        cost: matching,
    },
];

/// The pattern, or why it is none.
pub(crate) fn compile(pattern: &str) -> Result<regex::Regex, EvalError> {
    let built = RegexBuilder::new(pattern).size_limit(LARGEST).build();
    built.map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
        EvalError::new(format!("error parsing regexp: {last}: `{pattern}`"))
    })
}

fn texts(args: &[Value]) -> Result<(&str, &str), EvalError> {
    match args {
        [Value::String(text), Value::String(pattern), ..] => Ok((text, pattern)),
        _ => Err(EvalError::no_overload()),
    }
}

fn matches(args: &[Value]) -> Outcome {
    let (text, pattern) = texts(args)?;
    Ok(Value::Bool(compile(pattern)?.is_match(text)))
}

fn find(args: &[Value]) -> Outcome {
    let (text, pattern) = texts(args)?;
    Ok(Value::text(compile(pattern)?.find(text).map_or("", |found| found.as_str())))
}

fn find_all(args: &[Value]) -> Outcome {
    let (text, pattern) = texts(args)?;
    let most = match args.get(2) {
        None => usize::MAX,
        // A negative number is all of them.
        Some(Value::Int(most)) => usize::try_from(*most).unwrap_or(usize::MAX),
        Some(_) => return Err(EvalError::no_overload()),
    };
    let pattern = compile(pattern)?;
    Ok(Value::list(pattern.find_iter(text).take(most).map(|found| Value::text(found.as_str())).collect()))
}
