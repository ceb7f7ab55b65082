//! Rules in the expression language (`x-kubernetes-validations`).
//!
//! They are compiled once, with the types that the schema declares, when the definition is read, and evaluated for every
//! write. What they may cost is bounded for each and for all of an object together. A rule that compares with the former
//! value (`oldSelf`) holds for every change; another that fails where nothing changed is passed over (ratcheting).

mod eval;
mod types;
mod values;

use naru_cel::{Env, Program, Type};
use serde_json::Value;

use crate::fault::{Fault, Reason};
use crate::jsonpath::field_path;
use crate::path::Path;
use crate::schema::{Additional, ListType, Schema};

/// What one evaluation may cost.
const ONE: u64 = 1_000_000;
/// What all evaluations for one object may cost.
const ALL: u64 = 10_000_000;
/// The longest message that an expression may make, in bytes.
const LONGEST_MESSAGE: usize = 5 << 10;

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    text: Box<str>,
    /// The program, or why there is none: it was valid when its definition was written.
    program: Result<Program, Box<str>>,
    uses_old: bool,
    /// `oldSelf` may be missing, and the rule says what then.
    optional_old: bool,
    message: Option<Box<str>>,
    message_program: Option<Program>,
    reason: Reason,
    /// Where below the value the fault is; may be empty.
    at: Box<str>,
}

/// Where compiling stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path<'a>,
    /// How types below here are named.
    name: &'a str,
    root: bool,
    /// The nearest place above in which values cannot be compared with former ones.
    uncorrelated: Option<&'a str>,
}

/// Compiles the rules of a schema, which was read from `raw`; tells what is wrong with them.
pub(crate) fn compile(schema: &mut Schema, raw: &Value, path: &Path<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    walk(schema, raw, Place { path, name: "self", root: true, uncorrelated: None }, &mut faults);
    faults
}

fn walk(schema: &mut Schema, raw: &Value, place: Place<'_>, faults: &mut Vec<Fault>) {
    if !schema.below.rules {
        return;
    }
    if let Some(rules) = raw.get("x-kubernetes-validations").and_then(Value::as_array).filter(|r| !r.is_empty()) {
        here(schema, rules, place, faults);
    }
    let at = place.path.to_string();
    let uncorrelated =
        |correlates: bool| if correlates { place.uncorrelated } else { place.uncorrelated.or(Some(&at)) };
    let properties = place.path.field("properties");
    let correlates = uncorrelated(!schema.atomic_map);
    for (name, inner) in schema.properties.iter_mut() {
        let (path, type_name) = (properties.key(name), format!("{}.{name}", place.name));
        let root = inner.embedded;
        let below = Place { path: &path, name: &type_name, root, uncorrelated: correlates };
        walk(inner, raw.pointer(&format!("/properties/{}", escaped(name))).unwrap_or(&Value::Null), below, faults);
    }
    if let Additional::Of(inner) = &mut schema.additional {
        let (path, type_name) = (place.path.field("additionalProperties"), format!("{}.@elem", place.name));
        let below = Place { path: &path, name: &type_name, root: inner.embedded, uncorrelated: correlates };
        walk(inner, raw.get("additionalProperties").unwrap_or(&Value::Null), below, faults);
    }
    let keyed = matches!(schema.list, ListType::Map(_));
    if let Some(inner) = &mut schema.items {
        let (path, type_name) = (place.path.field("items"), format!("{}.@idx", place.name));
        let below = Place { path: &path, name: &type_name, root: inner.embedded, uncorrelated: uncorrelated(keyed) };
        walk(inner, raw.get("items").unwrap_or(&Value::Null), below, faults);
    }
}

/// A name as a step of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn here(schema: &mut Schema, rules: &[Value], place: Place<'_>, faults: &mut Vec<Fault>) {
    let all = place.path.field("x-kubernetes-validations");
    let Some(of) = types::declared(schema, place.name, place.root) else {
        let kind = schema.kind.map_or("", crate::schema::Type::name);
        let keeps = schema.preserves_unknown;
        let text = format!(
            "rule declared on schema that does not support validation rules type: '{kind}' \
             x-kubernetes-preserve-unknown-fields: '{keeps}'"
        );
        faults.push(Fault::invalid(all, kind, text));
        return;
    };
    schema.rules = rules
        .iter()
        .enumerate()
        .map(|(index, raw)| one(schema, raw, &of, &all.item(index), place.uncorrelated, faults))
        .collect();
}

fn one(
    schema: &Schema,
    raw: &Value,
    of: &Type,
    path: &Path<'_>,
    uncorrelated: Option<&str>,
    faults: &mut Vec<Fault>,
) -> Rule {
    let text = |key: &str| raw.get(key).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
    let source = text("rule").unwrap_or_default();
    let asked = raw.get("optionalOldSelf").and_then(Value::as_bool);
    let plain = Env::new().with("self", of.clone());
    let old = if asked == Some(true) { Type::optional(of.clone()) } else { of.clone() };
    let with_old = plain.clone().with("oldSelf", old);
    // Whoever does without the former value does not use it.
    let (program, uses_old) = match plain.compile(source) {
        Ok(program) => (Ok(program), false),
        Err(_) => (with_old.compile(source), true),
    };
    let program = match program {
        Ok(program) if *program.result() == Type::Bool => Ok(program),
        Ok(_) => Err("cel expression must evaluate to a bool".to_owned()),
        Err(error) => Err(format!("compilation failed: {error}")),
    };
    match &program {
        Err(why) => faults.push(Fault::invalid(path.field("rule"), raw.clone(), why.as_str())),
        Ok(_) if uses_old => {
            if let Some(above) = uncorrelated {
                let text = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {above}");
                faults.push(Fault::invalid(path.field("rule"), source, text));
            }
        }
        Ok(_) => {
            if let Some(asked) = asked {
                let text = "may not be set if oldSelf is not used in rule";
                faults.push(Fault::invalid(path.field("optionalOldSelf"), asked, text));
            }
        }
    }
    let message_program = text("messageExpression").and_then(|message| {
        let problem = match with_old.compile(message) {
            Ok(program) if *program.result() == Type::String => return Some(program),
            Ok(_) => "messageExpression must evaluate to a string".to_owned(),
            Err(error) => format!("messageExpression compilation failed: {error}"),
        };
        faults.push(Fault::invalid(path.field("messageExpression"), raw.clone(), problem));
        None
    });
    Rule {
        text: source.into(),
        program: program.map_err(Into::into),
        uses_old,
        optional_old: asked == Some(true),
        message: text("message").map(Into::into),
        message_program,
        reason: reason(text("reason")),
        at: text("fieldPath")
            .and_then(|path| field_path(schema, path).ok())
            .map(|(at, _)| at.into())
            .unwrap_or_default(),
    }
}

/// The sort of mistake that a rule says it is about.
fn reason(word: Option<&str>) -> Reason {
    match word {
        Some("FieldValueForbidden") => Reason::Forbidden,
        Some("FieldValueRequired") => Reason::Required,
        Some("FieldValueDuplicate") => Reason::Duplicate,
        _ => Reason::Invalid,
    }
}

impl Rule {
    /// The rule as messages call it.
    fn name(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.text)
    }
}

#[cfg(test)]
mod tests;
