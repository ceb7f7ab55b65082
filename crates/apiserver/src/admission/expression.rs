//! Expressions about requests: the conditions of webhooks and policies, and what they may name.

mod scope;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use naru_api::{FieldError, Kind};
use naru_cel::{Bindings, Budget, Env, EvalError, Key as CelKey, Map as CelMap, Program, Question, Type, Value as Cel};
use naru_store::Key;
use serde_json::{Value, json};

use super::chain::{Review, Seen};
use super::rights::Rights;
use crate::object;

pub(super) use scope::{VARIABLES, composed, scope};

/// What all conditions of one webhook or policy may cost.
const CONDITIONS_COST: u64 = 2_500_000;
/// The most conditions that one may have.
const CONDITIONS: usize = 64;

/// An expression, or why it cannot be used.
pub(super) type Compiled = Result<Program, String>;

/// Compiles an expression in an environment; it gives one of `types`, or anything where none is named.
pub(super) fn compile(text: &str, env: &Env, types: &[Type]) -> Compiled {
    let program = env.compile(text).map_err(|error| format!("compilation failed: {error}"))?;
    let result = program.result();
    if types.is_empty() || types.iter().any(|of| of.accepts(result)) {
        return Ok(program);
    }
    let wanted: Vec<String> = types.iter().map(ToString::to_string).collect();
    Err(match wanted.as_slice() {
        [one] => format!("must evaluate to {one} but got {result}"),
        several => format!("must evaluate to one of [{}] but got {result}", several.join(" ")),
    })
}

/// A condition under which somebody is asked.
#[derive(Debug)]
pub(super) struct Condition {
    name: String,
    program: Compiled,
}

// === impl Condition ===

impl Condition {
    /// Reads a list of conditions, which may name `more`.
    pub(super) fn read(list: &Value, more: &[&str]) -> Vec<Condition> {
        let env = scope(more);
        let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().trim().to_owned();
        let one = |condition: &Value| Condition {
            name: text(condition, "name"),
            program: compile(&text(condition, "expression"), &env, &[Type::Bool]),
        };
        list.as_array().into_iter().flatten().map(one).collect()
    }

    /// What is wrong with a list of conditions at `path`.
    pub(super) fn faults(list: &Value, path: &str, more: &[&str]) -> Vec<FieldError> {
        let (mut faults, env) = (Vec::new(), scope(more));
        let conditions = list.as_array().into_iter().flatten();
        let count = conditions.clone().count();
        if count > CONDITIONS {
            faults.push(FieldError::too_many(path, count, CONDITIONS));
        }
        let mut names: Vec<&str> = Vec::new();
        for (at, condition) in conditions.enumerate() {
            let path = format!("{path}[{at}]");
            match condition["name"].as_str().filter(|name| !name.is_empty()) {
                None => faults.push(FieldError::required(format!("{path}.name"), "")),
                Some(name) if names.contains(&name) => {
                    faults.push(FieldError::duplicate(format!("{path}.name"), &condition["name"]));
                }
                Some(name) => names.push(name),
            }
            faults.extend(fault(&condition["expression"], &format!("{path}.expression"), &env, &[Type::Bool]));
        }
        faults
    }
}

/// What is wrong with an expression at `path`.
pub(super) fn fault(expression: &Value, path: &str, env: &Env, types: &[Type]) -> Option<FieldError> {
    let text = expression.as_str().unwrap_or_default();
    if text.trim().is_empty() {
        return Some(FieldError::required(path, ""));
    }
    compile(text, env, types).err().map(|why| FieldError::invalid(path, expression, why))
}

/// Whether all conditions hold. One that does not is enough, whatever became of the others.
///
/// # Errors
/// With what went wrong, where none says no.
pub(super) fn all_hold(conditions: &[Condition], variables: &Variables<'_>) -> Result<bool, String> {
    let mut budget = Budget::new(CONDITIONS_COST);
    let mut failed = None;
    for Condition { name, program } in conditions {
        match evaluate(program, variables, &mut budget) {
            Ok(Cel::Bool(false)) => return Ok(false),
            Ok(Cel::Bool(true)) => {}
            Ok(other) => failed = Some(format!("condition {name:?} gave {} instead of a bool", other.type_name())),
            Err(why) => failed = Some(format!("condition {name:?} failed: {why}")),
        }
    }
    failed.map_or(Ok(true), Err)
}

/// Evaluates an expression.
pub(super) fn evaluate(program: &Compiled, variables: &Variables<'_>, budget: &mut Budget) -> Result<Cel, String> {
    match program {
        Ok(program) => program.eval(variables, budget).map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    }
}

/// A request as expressions see it. What they name is made once, for all webhooks and policies that name it.
pub(super) struct Asked<'a> {
    pub(super) review: &'a Review<'a>,
    /// The form in which it is seen, which may be another than the request names.
    kind: &'a Kind,
    pub(super) seen: Seen<'a>,
    made: [OnceCell<Cel>; 6],
}

/// What expressions may name.
pub(super) struct Variables<'a> {
    asked: &'a Asked<'a>,
    /// The parameters, for those who have any.
    pub(super) params: Option<Cel>,
    /// Named expressions. Each may name those before it, and is evaluated when it is named.
    pub(super) composed: &'a [(String, Compiled)],
    known: RefCell<BTreeMap<usize, Result<Cel, EvalError>>>,
}

// === impl Asked ===

impl<'a> Asked<'a> {
    pub(super) fn new(review: &'a Review<'a>, seen: Seen<'a>) -> Asked<'a> {
        Asked::of_kind(review, &review.route.kind, seen)
    }

    /// As [`Asked::new`], seen as an object of another version.
    pub(super) fn of_kind(review: &'a Review<'a>, kind: &'a Kind, seen: Seen<'a>) -> Asked<'a> {
        Asked { review, kind, seen, made: Default::default() }
    }

    /// What everybody may name.
    fn get(&self, name: &str) -> Option<Cel> {
        let Asked { review, kind, seen, made } = self;
        let json = |value: Option<&Value>| value.map_or(Cel::Null, Cel::from_json);
        let once = |at: usize, make: &dyn Fn() -> Cel| Some(made[at].get_or_init(make).clone());
        match name {
            "object" => once(0, &|| json(seen.new)),
            "oldObject" => once(1, &|| json(seen.old)),
            "request" => once(2, &|| Cel::from_json(&request(review, kind, seen.new))),
            "namespaceObject" => once(3, &|| {
                let key = Key::new("namespaces", "", review.namespace);
                let entry = review.snapshot.get(&key).filter(|_| !review.namespace.is_empty());
                entry.map_or(Cel::Null, |entry| scope::namespace(object::parse(&entry.served)))
            }),
            "authorizer" => once(4, &|| Cel::authorizer(Arc::new(Rights::of(review)))),
            "authorizer.requestResource" => once(5, &|| {
                let question = Question {
                    group: review.route.kind.group.to_string(),
                    resource: review.route.kind.plural.to_string(),
                    subresource: review.subresource.to_owned(),
                    namespace: review.namespace.to_owned(),
                    name: review.name.to_owned(),
                    ..Question::default()
                };
                Cel::resource_check(Arc::new(Rights::of(review)), question)
            }),
            _ => None,
        }
    }
}

// === impl Variables ===

impl<'a> Variables<'a> {
    pub(super) fn of(asked: &'a Asked<'a>) -> Variables<'a> {
        Variables { asked, params: None, composed: &[], known: RefCell::default() }
    }

    /// Evaluates a named expression, once.
    fn compose(&self, at: usize, budget: &mut Budget) -> Result<Cel, EvalError> {
        if let Some(known) = self.known.borrow().get(&at) {
            return known.clone();
        }
        let (name, program) = &self.composed[at];
        let made = match program {
            Ok(program) => program.eval(self, budget).map_err(|error| match error {
                EvalError::TooExpensive => error,
                error => EvalError::Failed(format!("composited variable {name:?} fails to evaluate: {error}")),
            }),
            Err(why) => Err(EvalError::Failed(format!("composited variable {name:?} fails to compile: {why}"))),
        };
        self.known.borrow_mut().insert(at, made.clone());
        made
    }
}

impl Bindings for Variables<'_> {
    fn get(&self, name: &str) -> Option<Cel> {
        match name {
            "params" => self.params.clone(),
            // Only asked for what it has: its fields are variables of their own.
            VARIABLES => {
                let names = self.composed.iter().map(|(name, _)| (CelKey::String(name.as_str().into()), Cel::Null));
                Some(Cel::Map(Arc::new(names.collect::<CelMap>())))
            }
            name => self.asked.get(name),
        }
    }

    fn make(&self, name: &str, budget: &mut Budget) -> Result<Option<Cel>, EvalError> {
        let composed = name.strip_prefix(VARIABLES).and_then(|rest| rest.strip_prefix('.'));
        let Some(composed) = composed else { return Ok(self.get(name)) };
        let at = self.composed.iter().position(|(name, _)| name == composed);
        at.map(|at| self.compose(at, budget)).transpose()
    }
}

/// The request as webhooks and expressions see it, without the objects themselves.
pub(super) fn request(review: &Review<'_>, shown: &Kind, object: Option<&Value>) -> Value {
    let asked = &review.route.kind;
    let group_version_kind = |kind: &Kind| {
        // Subresources take objects of other kinds: what is sent says of which.
        let own = object.filter(|_| !review.subresource.is_empty()).map(|object| {
            let version = object["apiVersion"].as_str().unwrap_or_default();
            let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
            json!({"group": group, "version": version, "kind": object["kind"]})
        });
        own.unwrap_or_else(|| json!({"group": kind.group, "version": kind.version, "kind": kind.kind}))
    };
    let resource = |kind: &Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    let mut user = json!({"username": review.user.name, "groups": review.user.groups});
    if !review.user.uid.is_empty() {
        user["uid"] = review.user.uid.as_str().into();
    }
    if !review.user.extra.is_empty() {
        user["extra"] = json!(review.user.extra);
    }
    let mut request = json!({
        "kind": group_version_kind(shown), "resource": resource(shown),
        "requestKind": group_version_kind(asked), "requestResource": resource(asked),
        "operation": review.operation.as_str(), "userInfo": user, "dryRun": review.options.dry_run(),
        "options": review.options.to_json(review.operation),
    });
    for (field, value) in [("name", review.name), ("namespace", review.namespace)] {
        if !value.is_empty() {
            request[field] = value.into();
        }
    }
    // A namespace is in itself, as far as this is concerned.
    if &*review.route.collection == "namespaces" && !review.name.is_empty() {
        request["namespace"] = review.name.into();
    }
    if !review.subresource.is_empty() {
        request["subResource"] = review.subresource.into();
        request["requestSubResource"] = review.subresource.into();
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_mean_nothing_are_refused() {
        let with = |conditions: Value| Condition::faults(&conditions, "conditions", &["params"]);
        assert!(with(json!([{"name": "a", "expression": "object.metadata.name == params.name"}])).is_empty());
        let wrong = with(json!([
            {"name": "a", "expression": "object.metadata.name =="},
            {"name": "a", "expression": "1 + 1"},
            {"name": "", "expression": ""},
            {"name": "b", "expression": "nobody == 1"},
        ]));
        let paths: Vec<&str> = wrong.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "conditions[0].expression",
                "conditions[1].name",
                "conditions[1].expression",
                "conditions[2].name",
                "conditions[2].expression",
                "conditions[3].expression",
            ]
        );
    }
}
