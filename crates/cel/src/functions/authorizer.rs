//! Asking who may do what: `authorizer.group('apps').resource('deployments').check('create').allowed()`.
//!
//! A question is put together step by step, each step a value of a type of its own, and put to a [`Judge`] whom whoever
//! evaluates brings. Nothing is known here of rights themselves.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::{Function, Outcome, one};
use crate::error::EvalError;
use crate::types::Sig::{self, Bool, Opaque as Of, String as Str};
use crate::types::Type;
use crate::value::{Opaque, Value};

const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
const PATH: &str = "kubernetes.authorization.PathCheck";
const GROUP: &str = "kubernetes.authorization.GroupCheck";
const RESOURCE: &str = "kubernetes.authorization.ResourceCheck";
const DECISION: &str = "kubernetes.authorization.Decision";

/// What one check costs: few fit into the budget of an expression.
const CHECK: u64 = 350_000;
/// The longest name of a namespace, and of a service account.
const LABEL: usize = 63;
const SUBDOMAIN: usize = 253;

/// Whoever knows who may do what.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Whether what is asked for is allowed.
    fn decide(&self, question: &Question) -> Decision;
}

/// One question about rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of the service account that it is about, instead of whoever makes the request.
    pub account: Option<(String, String)>,
    /// What is to be done.
    pub verb: String,
    /// The path, where no resource is meant.
    pub path: Option<String>,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, in the plural.
    pub resource: String,
    /// The subresource; may be empty.
    pub subresource: String,
    /// The namespace; empty for the whole cluster.
    pub namespace: String,
    /// The name of one object; may be empty.
    pub name: String,
    /// The selector of fields to which the request is limited; may be empty.
    pub field_selector: String,
    /// The selector of labels to which the request is limited; may be empty.
    pub label_selector: String,
}

/// The answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why; may be empty.
    pub reason: String,
    /// What went wrong, if it could not be decided.
    pub error: Option<String>,
}

/// A question on its way.
#[derive(Debug)]
struct Step {
    /// The name of its type.
    stage: &'static str,
    judge: Arc<dyn Judge>,
    question: Question,
}

impl Opaque for Step {
    fn type_name(&self) -> &'static str {
        self.stage
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.as_any().downcast_ref::<Step>().is_some_and(|other| self.question == other.question)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Opaque for Decision {
    fn type_name(&self) -> &'static str {
        DECISION
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.as_any().downcast_ref::<Decision>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Type {
    /// The type of [`Value::authorizer`].
    pub const AUTHORIZER: Type = Type::Opaque(AUTHORIZER);
    /// The type of [`Value::resource_check`].
    pub const RESOURCE_CHECK: Type = Type::Opaque(RESOURCE);
}

impl Value {
    /// What questions begin with.
    pub fn authorizer(judge: Arc<dyn Judge>) -> Value {
        Value::Opaque(Arc::new(Step { stage: AUTHORIZER, judge, question: Question::default() }))
    }

    /// A question about a resource to which little is missing: the verb, and what else is to be changed.
    pub fn resource_check(judge: Arc<dyn Judge>, question: Question) -> Value {
        Value::Opaque(Arc::new(Step { stage: RESOURCE, judge, question }))
    }
}

const SET: &[(&[Sig], Sig)] = &[(&[Of(RESOURCE), Str], Of(RESOURCE))];
const TOLD: &[(&[Sig], Sig)] = &[(&[Of(DECISION)], Str)];
const IS: &[(&[Sig], Sig)] = &[(&[Of(DECISION)], Bool)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "path",
        member: true,
        overloads: &[(&[Of(AUTHORIZER), Str], Of(PATH))],
        call: |args| filled(args, AUTHORIZER, PATH, "path", |question, path| question.path = Some(path)),
        cost: one,
    },
    Function {
        name: "group",
        member: true,
        overloads: &[(&[Of(AUTHORIZER), Str], Of(GROUP))],
        call: |args| step(args, AUTHORIZER, GROUP, |question, group| question.group = group),
        cost: one,
    },
    Function {
        name: "serviceAccount",
        member: true,
        overloads: &[(&[Of(AUTHORIZER), Str, Str], Of(AUTHORIZER))],
        call: service_account,
        cost: one,
    },
    Function {
        name: "resource",
        member: true,
        overloads: &[(&[Of(GROUP), Str], Of(RESOURCE))],
        call: |args| filled(args, GROUP, RESOURCE, "resource", |question, resource| question.resource = resource),
        cost: one,
    },
    Function {
        name: "subresource",
        member: true,
        overloads: SET,
        call: |args| step(args, RESOURCE, RESOURCE, |question, subresource| question.subresource = subresource),
        cost: one,
    },
    Function {
        name: "namespace",
        member: true,
        overloads: SET,
        call: |args| step(args, RESOURCE, RESOURCE, |question, namespace| question.namespace = namespace),
        cost: one,
    },
    Function {
        name: "name",
        member: true,
        overloads: SET,
        call: |args| step(args, RESOURCE, RESOURCE, |question, name| question.name = name),
        cost: one,
    },
    Function {
        name: "fieldSelector",
        member: true,
        overloads: SET,
        call: |args| step(args, RESOURCE, RESOURCE, |question, selector| question.field_selector = selector),
        cost: one,
    },
    Function {
        name: "labelSelector",
        member: true,
        overloads: SET,
        call: |args| step(args, RESOURCE, RESOURCE, |question, selector| question.label_selector = selector),
        cost: one,
    },
    Function {
        name: "check",
        member: true,
        overloads: &[(&[Of(PATH), Str], Of(DECISION)), (&[Of(RESOURCE), Str], Of(DECISION))],
        call: check,
        cost: |_, _| CHECK,
    },
    Function {
        name: "allowed",
        member: true,
        overloads: IS,
        call: |args| Ok(Value::Bool(decision(args)?.allowed)),
        cost: one,
    },
    Function {
        name: "reason",
        member: true,
        overloads: TOLD,
        call: |args| Ok(Value::text(decision(args)?.reason.as_str())),
        cost: one,
    },
    Function {
        name: "errored",
        member: true,
        overloads: IS,
        call: |args| Ok(Value::Bool(decision(args)?.error.is_some())),
        cost: one,
    },
    Function {
        name: "error",
        member: true,
        overloads: TOLD,
        call: |args| Ok(Value::text(decision(args)?.error.as_deref().unwrap_or_default())),
        cost: one,
    },
];

fn as_step<'v>(value: &'v Value, stages: &[&str]) -> Result<&'v Step, EvalError> {
    let step = match value {
        Value::Opaque(value) => value.as_any().downcast_ref::<Step>(),
        _ => None,
    };
    step.filter(|step| stages.contains(&step.stage)).ok_or_else(EvalError::no_overload)
}

fn decision(args: &[Value]) -> Result<&Decision, EvalError> {
    let decision = match &args[0] {
        Value::Opaque(value) => value.as_any().downcast_ref(),
        _ => None,
    };
    decision.ok_or_else(EvalError::no_overload)
}

fn text(value: &Value) -> Result<&str, EvalError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(EvalError::no_overload()),
    }
}

/// The next step of a question, after a word was added to it.
fn step(args: &[Value], from: &str, to: &'static str, set: fn(&mut Question, String)) -> Outcome {
    let step = as_step(&args[0], &[from])?;
    let mut question = step.question.clone();
    set(&mut question, text(&args[1])?.to_owned());
    Ok(Value::Opaque(Arc::new(Step { stage: to, judge: step.judge.clone(), question })))
}

/// As [`step`], with a word that must not be empty.
fn filled(args: &[Value], from: &str, to: &'static str, what: &str, set: fn(&mut Question, String)) -> Outcome {
    if text(&args[1])?.trim().is_empty() {
        return Err(EvalError::new(format!("{what} must not be empty")));
    }
    step(args, from, to, set)
}

fn service_account(args: &[Value]) -> Outcome {
    let step = as_step(&args[0], &[AUTHORIZER])?;
    let (namespace, name) = (text(&args[1])?, text(&args[2])?);
    if name.len() > SUBDOMAIN || !name.split('.').all(is_label) {
        return Err(EvalError::new("Invalid service account name"));
    }
    if namespace.len() > LABEL || !is_label(namespace) {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let question = Question { account: Some((namespace.to_owned(), name.to_owned())), ..step.question.clone() };
    Ok(Value::Opaque(Arc::new(Step { stage: AUTHORIZER, judge: step.judge.clone(), question })))
}

/// Whether a text has the letters of a DNS label, whatever its length.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn check(args: &[Value]) -> Outcome {
    let step = as_step(&args[0], &[PATH, RESOURCE])?;
    let question = Question { verb: text(&args[1])?.to_owned(), ..step.question.clone() };
    Ok(Value::Opaque(Arc::new(step.judge.decide(&question))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Budget, Env};

    /// Allows what one account may do, and tells what it was asked.
    #[derive(Debug)]
    struct Lenient;

    impl Judge for Lenient {
        fn decide(&self, question: &Question) -> Decision {
            let allowed = question.verb == "get" || question.account.is_some();
            let error = (question.namespace == "broken").then(|| "no answer".to_owned());
            Decision { allowed, reason: format!("{question:?}"), error }
        }
    }

    fn run(text: &str, budget: u64) -> Result<Value, String> {
        let env = Env::new()
            .with("authorizer", Type::AUTHORIZER)
            .with("authorizer.requestResource", Type::RESOURCE_CHECK)
            .with("object", Type::Dyn);
        let asked = Question { resource: "pods".to_owned(), namespace: "shop".to_owned(), ..Question::default() };
        let judge: Arc<dyn Judge> = Arc::new(Lenient);
        let variables = BTreeMap::from([
            ("authorizer".to_owned(), Value::authorizer(judge.clone())),
            ("authorizer.requestResource".to_owned(), Value::resource_check(judge, asked)),
            ("object".to_owned(), Value::Null),
        ]);
        let program = env.compile(text).map_err(|error| error.to_string())?;
        program.eval(&variables, &mut Budget::new(budget)).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn holds(text: &str) {
        let result = run(text, 1_000_000);
        assert!(matches!(result, Ok(Value::Bool(true))), "{text}: {result:?}");
    }

    #[test]
    fn questions_are_put_together_step_by_step() {
        holds("authorizer.path('/healthz').check('get').allowed()");
        holds("!authorizer.group('apps').resource('deployments').check('create').allowed()");
        holds("authorizer.serviceAccount('shop', 'web.1').group('').resource('pods').check('create').allowed()");
        holds(
            "authorizer.group('').resource('pods').subresource('log').namespace('a').name('b').fieldSelector('x=y') \
             .labelSelector('z').check('get').reason().matches('subresource: \"log\", namespace: \"a\", name: \"b\", \
             field_selector: \"x=y\", label_selector: \"z\"')",
        );
        holds("authorizer.requestResource.check('get').reason().contains('resource: \"pods\"')");
        holds("authorizer.requestResource.name('x').check('get').allowed()");
        holds("authorizer.requestResource.namespace('broken').check('get').errored()");
        holds("authorizer.requestResource.namespace('broken').check('get').error() == 'no answer'");
        holds("authorizer.requestResource.check('get').error() == ''");
    }

    #[test]
    fn questions_about_nothing_are_none() {
        for (text, why) in [
            ("authorizer.path(' ').check('get').allowed()", "path must not be empty"),
            ("authorizer.group('').resource('').check('get').allowed()", "resource must not be empty"),
            (
                "authorizer.serviceAccount('a.b', 'c').path('/x').check('get').allowed()",
                "Invalid service account namespace",
            ),
            ("authorizer.serviceAccount('a', 'C').path('/x').check('get').allowed()", "Invalid service account name"),
            ("authorizer.check('get').allowed()", "no matching overload"),
            ("authorizer.group('').check('get').allowed()", "no matching overload"),
            ("object.check('get').allowed()", "no such overload"),
        ] {
            let error = run(text, 1_000_000).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn checks_are_dear() {
        let twice = "authorizer.path('/a').check('x').allowed() || authorizer.path('/b').check('x').allowed()";
        assert!(run(twice, 2 * CHECK + 100).is_ok());
        assert!(run(twice, 2 * CHECK - 100).unwrap_err().contains("cost limit exceeded"));
    }
}
