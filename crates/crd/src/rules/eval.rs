//! Evaluating rules.

use std::cell::OnceCell;
use std::sync::Arc;

use naru_cel::{Bindings, Budget, EvalError, Program, Value as CelValue};
use serde_json::Value;

use super::{ALL, LONGEST_MESSAGE, ONE, Rule, values};
use crate::fault::{Fault, Reason};
use crate::path::Path;
use crate::schema::{Schema, Type};
use crate::validate::Correlation;

impl Schema {
    /// What rules say is wrong with an object. With `old` also those that compare with it; what is as it was is not
    /// judged again.
    pub fn evaluate(&self, object: &Value, old: Option<&Value>) -> Vec<Fault> {
        self.evaluate_at("", object, old, true)
    }

    /// As [`Schema::evaluate`], for the value at a path; `root` says that it is a whole object.
    pub(crate) fn evaluate_at(&self, path: &str, value: &Value, old: Option<&Value>, root: bool) -> Vec<Fault> {
        let mut evaluation = Evaluation { left: ALL, over: false, faults: Vec::new() };
        evaluation.walk(self, &Path::start(path), value, old, root, false);
        evaluation.faults
    }
}

struct Evaluation {
    /// What may still be spent.
    left: u64,
    /// Nothing more is evaluated.
    over: bool,
    faults: Vec<Fault>,
}

/// The variables of one place.
struct Scope<'a> {
    schema: &'a Schema,
    new: &'a Value,
    old: Option<&'a Value>,
    root: bool,
    optional: bool,
    this: &'a OnceCell<CelValue>,
    before: &'a OnceCell<CelValue>,
}

impl Bindings for Scope<'_> {
    fn get(&self, name: &str) -> Option<CelValue> {
        let convert = |json: &Value| values::value(self.schema, json, self.root);
        match name {
            "self" => Some(self.this.get_or_init(|| convert(self.new)).clone()),
            "oldSelf" => {
                let old = self.old.map(|old| self.before.get_or_init(|| convert(old)).clone());
                if self.optional { Some(CelValue::Optional(old.map(Arc::new))) } else { old }
            }
            _ => None,
        }
    }
}

/// What came of one rule.
enum Outcome {
    Kept,
    Broken(String),
    /// It could not be judged.
    Failed(String),
    /// It could not be judged, and nothing after it may be.
    Exhausted(String),
}

impl Evaluation {
    /// `unchanged`: the value is part of one that is as it was.
    fn walk(
        &mut self,
        schema: &Schema,
        path: &Path<'_>,
        value: &Value,
        old: Option<&Value>,
        root: bool,
        unchanged: bool,
    ) {
        if self.over || !schema.below.rules || value.is_null() {
            return;
        }
        let unchanged = old.map_or(unchanged, |old| old == value);
        self.here(schema, path, value, old, root, unchanged);
        match value {
            Value::Object(map) => {
                let old = old.and_then(Value::as_object).filter(|_| !schema.atomic_map);
                for (name, value) in map {
                    let before = old.and_then(|o| o.get(name));
                    if let Some(inner) = schema.properties.get(name) {
                        self.walk(inner, &path.field(name), value, before, inner.embedded, unchanged);
                    } else if let Some(inner) = schema.field(name) {
                        self.walk(inner, &path.key(name), value, before, inner.embedded, unchanged);
                    }
                }
            }
            Value::Array(list) => {
                let Some(inner) = &schema.items else { return };
                let correlation = Correlation::of(schema, old);
                for (index, item) in list.iter().enumerate() {
                    let before = correlation.find(item);
                    self.walk(inner, &path.item(index), item, before, inner.embedded, unchanged);
                }
            }
            _ => {}
        }
    }

    fn here(
        &mut self,
        schema: &Schema,
        path: &Path<'_>,
        value: &Value,
        old: Option<&Value>,
        root: bool,
        unchanged: bool,
    ) {
        let old = old.filter(|old| !old.is_null());
        let (this, before) = (OnceCell::new(), OnceCell::new());
        for rule in &*schema.rules {
            if self.over {
                return;
            }
            // A rule that compares has nothing to say without a former value, one that does not has said it before.
            let silent = if rule.uses_old { old.is_none() && !rule.optional_old } else { unchanged };
            if silent {
                continue;
            }
            let optional = rule.optional_old;
            let scope = Scope { schema, new: value, old, root, optional, this: &this, before: &before };
            match self.judge(rule, &scope) {
                Outcome::Kept => {}
                Outcome::Broken(detail) => self.faults.push(broken(rule, schema, path, value, detail)),
                Outcome::Failed(detail) => self.faults.push(Fault::invalid(path, schema.shown_type(), detail)),
                Outcome::Exhausted(detail) => {
                    self.faults.push(Fault::invalid(path, schema.shown_type(), detail));
                    self.over = true;
                }
            }
        }
    }

    fn judge(&mut self, rule: &Rule, scope: &Scope<'_>) -> Outcome {
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => return Outcome::Failed(format!("rule compile error: {why}")),
        };
        let name = rule.name();
        match self.run(program, scope) {
            Ok(CelValue::Bool(true)) => Outcome::Kept,
            Ok(CelValue::Bool(false)) => match self.message(rule, scope) {
                Ok(message) => Outcome::Broken(message),
                Err(exhausted) => Outcome::Exhausted(exhausted),
            },
            Ok(_) => Outcome::Failed(format!("no such overload evaluating rule: {name}")),
            Err(Refusal::All) => Outcome::Exhausted(
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned(),
            ),
            Err(Refusal::One(EvalError::TooExpensive)) => Outcome::Exhausted(format!(
                "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {name}",
                EvalError::TooExpensive
            )),
            Err(Refusal::One(EvalError::Failed(why))) if why.starts_with("no such overload") => {
                Outcome::Failed(format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
                ))
            }
            Err(Refusal::One(EvalError::Failed(why))) => Outcome::Failed(format!("{why} evaluating rule: {name}")),
        }
    }

    /// What is said about a broken rule: what its own expression makes of it, if it can.
    fn message(&mut self, rule: &Rule, scope: &Scope<'_>) -> Result<String, String> {
        let otherwise = || match &rule.message {
            Some(message) => message.to_string(),
            None => format!("failed rule: {}", rule.text),
        };
        let Some(program) = &rule.message_program else { return Ok(otherwise()) };
        match self.run(program, scope) {
            Ok(CelValue::String(text)) => {
                let text = text.trim();
                let fits = !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n');
                Ok(if fits { text.to_owned() } else { otherwise() })
            }
            Err(Refusal::All) => Err("messageExpression evaluation failed due to running out of cost budget, no \
                                      further validation rules will be run"
                .to_owned()),
            Err(Refusal::One(EvalError::TooExpensive)) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                rule.name()
            )),
            _ => Ok(otherwise()),
        }
    }

    fn run(&mut self, program: &Program, scope: &Scope<'_>) -> Result<CelValue, Refusal> {
        let granted = ONE.min(self.left);
        let mut budget = Budget::new(granted);
        let result = program.eval(scope, &mut budget);
        self.left -= granted - budget.left();
        result.map_err(|error| match error {
            EvalError::TooExpensive if granted < ONE => Refusal::All,
            error => Refusal::One(error),
        })
    }
}

/// Why an evaluation has no value.
enum Refusal {
    /// Nothing is left for the object.
    All,
    One(EvalError),
}

fn broken(rule: &Rule, schema: &Schema, path: &Path<'_>, value: &Value, detail: String) -> Fault {
    let at = if rule.at.is_empty() { path.to_string() } else { path.field(&rule.at).to_string() };
    // Whole objects and lists say little and are long.
    let shown = (!matches!(schema.kind, Some(Type::Object | Type::Array))).then(|| value.clone());
    match rule.reason {
        Reason::Required => Fault::required(at, detail),
        Reason::Forbidden => Fault::forbidden(at, detail),
        Reason::Duplicate => Fault { path: at, reason: Reason::Duplicate, value: shown, detail: String::new() },
        _ => Fault { path: at, reason: Reason::Invalid, value: shown, detail },
    }
}
