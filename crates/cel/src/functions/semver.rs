//! Semantic versions 2.0.0.

use std::any::Any;
use std::cmp::Ordering;
use std::sync::Arc;

use super::{Function, Outcome, one, walk};
use crate::error::EvalError;
use crate::types::Sig;
use crate::types::Sig::{Bool, Int, Opaque as Of, String as Str};
use crate::value::{Opaque, Value};

pub(super) const NAME: &str = "kubernetes.Semver";
const SEMVER: Sig = Of(NAME);
const PART: &[(&[Sig], Sig)] = &[(&[SEMVER], Int)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "semver",
        member: false,
        overloads: &[(&[Str], SEMVER), (&[Str, Bool], SEMVER)],
        call: semver,
        cost: walk,
    },
    Function {
        name: "isSemver",
        member: false,
        overloads: &[(&[Str], Bool), (&[Str, Bool], Bool)],
        call: |args| Ok(Value::Bool(read(args)?.is_some())),
        cost: walk,
    },
    Function { name: "major", member: true, overloads: PART, call: |args| part(args, 0), cost: one },
    Function { name: "minor", member: true, overloads: PART, call: |args| part(args, 1), cost: one },
    Function { name: "patch", member: true, overloads: PART, call: |args| part(args, 2), cost: one },
];

#[derive(Debug, PartialEq, Eq)]
struct Semver {
    numbers: [u64; 3],
    before: Vec<Identifier>,
}

/// Numbers come before words.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl Semver {
    fn order(&self, other: &Semver) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        numbers.then_with(|| match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            // What comes before a version is less than the version.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.before.cmp(&other.before),
        })
    }
}

impl Opaque for Semver {
    fn type_name(&self) -> &'static str {
        NAME
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.as_any().downcast_ref::<Semver>().is_some_and(|other| self.order(other).is_eq())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn of(value: &Value) -> Option<&Semver> {
    match value {
        Value::Opaque(value) => value.as_any().downcast_ref(),
        _ => None,
    }
}

/// The order of two versions, when they are.
pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    Some(of(a)?.order(of(b)?))
}

fn part(args: &[Value], at: usize) -> Outcome {
    let version = of(&args[0]).ok_or_else(EvalError::no_overload)?;
    i64::try_from(version.numbers[at]).map(Value::Int).map_err(|_| EvalError::new("integer overflow"))
}

fn semver(args: &[Value]) -> Outcome {
    let version = read(args)?.ok_or_else(|| EvalError::new("No Major.Minor.Patch elements found"))?;
    Ok(Value::Opaque(Arc::new(version)))
}

fn read(args: &[Value]) -> Result<Option<Semver>, EvalError> {
    match args {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => Ok(parse(text)),
        [Value::String(text), Value::Bool(true)] => Ok(parse(&normal(text))),
        _ => Err(EvalError::no_overload()),
    }
}

/// Without a leading v and leading zeros, and with all three numbers.
fn normal(text: &str) -> String {
    let text = text.trim_start_matches('v');
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let mut parts: Vec<&str> = numbers.split('.').map(|part| part.trim_start_matches('0')).collect();
    parts.iter_mut().filter(|part| part.is_empty()).for_each(|part| *part = "0");
    while parts.len() < 3 {
        parts.push("0");
    }
    format!("{}{rest}", parts.join("."))
}

fn parse(text: &str) -> Option<Semver> {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if build.is_some_and(|build| !build.split('.').all(is_word)) {
        return None;
    }
    let (numbers, before) = text.split_once('-').map_or((text, None), |(numbers, before)| (numbers, Some(before)));
    let number = |text: &str| {
        let plain = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        plain.then(|| text.parse::<u64>().ok())?
    };
    let mut parts = numbers.split('.').map(number);
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    if parts.next().is_some() {
        return None;
    }
    let identifier = |part: &str| {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            return number(part).map(Identifier::Number);
        }
        is_word(part).then(|| Identifier::Word(part.to_owned()))
    };
    let before = before.map_or(Some(Vec::new()), |before| before.split('.').map(identifier).collect())?;
    Some(Semver { numbers, before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_their_specification_says() {
        let ordered = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.10.0",
            "2.0.0",
        ];
        let versions: Vec<_> = ordered.iter().map(|text| parse(text).unwrap()).collect();
        assert!(versions.windows(2).all(|pair| pair[0].order(&pair[1]).is_lt()));
        assert!(parse("1.0.0+a").unwrap().equals(&parse("1.0.0+b").unwrap()));
        for bad in ["1.0", "01.0.0", "v1.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(normal("v1.01"), "1.1.0");
    }
}
