//! Admission policies: rules about objects, and changes to them, in the expression language, written once and bound to
//! what they are about.
//!
//! Policies and their bindings are read and compiled when one of them changes. A policy without a binding does nothing.
//! Parameters are objects like any other, read from the state that is judged. Here stands what policies judge
//! (ValidatingAdmissionPolicies); what they change stands in [`mutate`].

mod changes;
mod check;
mod faults;
mod mutate;
mod params;
mod read;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_api::{Kind, Reason, Status};
use naru_cel::{Budget, Value as Cel};
use serde_json::{Value, json};

use super::chain::{Review, Seen};
use super::expression::{Asked, Variables, all_hold, evaluate};
use super::webhook::converted;

pub(super) use check::check;
pub(crate) use faults::faults;
pub(super) use mutate::{Progress, mutate};
use params::Params;
use read::{Binding, Bound, Policy};
pub(crate) use read::{Cache, Policies};
use rules::{Rules, Validation};

/// What all expressions of one policy may cost for one object: Kubernetes' limit.
const COST: u64 = 10_000_000;
/// The longest message that an expression may make, in bytes.
const LONGEST_MESSAGE: usize = 5 << 10;
/// The longest annotation of the audit log that an expression may make, in bytes.
const LONGEST_ANNOTATION: usize = 10 << 10;
/// Where the audit log says what was found.
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// What a policy found, for one of its bindings.
struct Finding {
    message: String,
    reason: Reason,
    /// Which of its rules, in order.
    rule: usize,
    /// It denies whatever the binding says: the policy could not do its work.
    broken: bool,
}

/// What a policy wants the audit log to say: by key, each word once.
type Said = BTreeMap<String, Vec<String>>;

/// Judges an object by every policy that is bound to requests like this one.
///
/// # Errors
/// With what the first policy says that denies it.
pub(super) async fn judge(review: &Review<'_>, policies: &Policies, seen: Seen<'_>) -> Result<(), Status> {
    let mut chosen = Vec::new();
    for Bound { policy, bindings } in &policies.validating {
        let Some(found) = policy.constraints.matches(review, seen.new) else { continue };
        let mut meant = Vec::new();
        for binding in bindings.iter().filter(|binding| binding.constraints.matches(review, seen.new).is_some()) {
            meant.push((binding, params::of(review, policy.params.as_ref(), binding).await));
        }
        chosen.push(Chosen { policy, form: found.form(review), bindings: meant });
    }
    let mut forms: Vec<Form> = Vec::new();
    for other in chosen.iter().filter_map(|chosen| chosen.form.as_ref()) {
        if forms.iter().all(|form| !Arc::ptr_eq(&form.kind, other)) {
            let (old, new) = (formed(review, other, seen.old).await?, formed(review, other, seen.new).await?);
            forms.push(Form { kind: other.clone(), old, new });
        }
    }
    judged(review, &chosen, seen, &forms)
}

/// A policy that is to judge.
struct Chosen<'p> {
    policy: &'p Policy<Rules>,
    /// The version in which it knows the object, if it is another one than the request names.
    form: Option<Arc<Kind>>,
    bindings: Vec<(&'p Binding, Params)>,
}

/// An object in another version than the request names.
struct Form {
    kind: Arc<Kind>,
    old: Option<Value>,
    new: Option<Value>,
}

async fn formed(review: &Review<'_>, kind: &Kind, object: Option<&Value>) -> Result<Option<Value>, Status> {
    match object {
        Some(object) => converted(review, &review.route.kind, kind, object.clone()).await.map(Some),
        None => Ok(None),
    }
}

/// Judges an object by policies, some of which know it in other forms only.
fn judged(review: &Review<'_>, chosen: &[Chosen<'_>], seen: Seen<'_>, forms: &[Form]) -> Result<(), Status> {
    let own = Asked::new(review, seen);
    let others: Vec<(&Form, Asked<'_>)> = forms
        .iter()
        .map(|form| {
            let seen = Seen { old: form.old.as_ref(), new: form.new.as_ref() };
            (form, Asked::of_kind(review, &form.kind, seen))
        })
        .collect();
    let mut denied = None;
    for Chosen { policy, form, bindings } in chosen {
        let known = form.as_ref().and_then(|other| others.iter().find(|(form, _)| Arc::ptr_eq(&form.kind, other)));
        let asked = known.map_or(&own, |(_, asked)| asked);
        let mut said = Said::new();
        for (binding, params) in bindings {
            for finding in bound(asked, policy, params, &mut said) {
                let refused = act(review, policy, binding, &finding);
                denied = denied.or(refused);
            }
        }
        for (key, words) in said {
            if let Some(notes) = review.notes {
                notes.annotate(format!("{}/{key}", policy.name), words.join(", "));
            }
        }
    }
    denied.map_or(Ok(()), Err)
}

/// What a policy finds for one of its bindings, with each parameter.
fn bound(asked: &Asked<'_>, policy: &Policy<Rules>, params: &Params, said: &mut Said) -> Vec<Finding> {
    match params {
        Ok(params) => params.iter().flat_map(|param| with(asked, policy, param.as_ref(), said)).collect(),
        Err(why) => policy.failed(why.clone(), 0, true).into_iter().collect(),
    }
}

/// What a policy finds with one parameter.
fn with(asked: &Asked<'_>, policy: &Policy<Rules>, param: Option<&Value>, said: &mut Said) -> Vec<Finding> {
    let variables = policy.variables(asked, param);
    match all_hold(&policy.conditions, &variables) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(why) => return policy.failed(why, 0, false).into_iter().collect(),
    }
    let (mut found, mut budget) = (Vec::new(), Budget::new(COST));
    for (rule, validation) in policy.demands.validations.iter().enumerate() {
        match evaluate(&validation.program, &variables, &mut budget) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => {
                let message = validation.says(&variables, &mut budget);
                found.push(Finding { message, reason: validation.reason, rule, broken: false });
            }
            Err(why) => {
                let why = format!("expression '{}' resulted in error: {why}", validation.text);
                found.extend(policy.failed(why, rule, false));
            }
        }
    }
    let mut budget = Budget::new(COST);
    for annotation in &policy.demands.annotations {
        match annotation.says(&variables, &mut budget) {
            Ok(Some(word)) => {
                let words = said.entry(annotation.key.clone()).or_default();
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            Ok(None) => {}
            Err(why) => found.extend(policy.failed(why, 0, true)),
        }
    }
    found
}

/// Does what the binding says is to be done about a finding; answers with the refusal, if it is to be refused.
fn act(review: &Review<'_>, policy: &Policy<Rules>, binding: &Binding, finding: &Finding) -> Option<Status> {
    let (name, bound, message) = (&policy.name, &binding.name, &finding.message);
    if binding.warns && !finding.broken {
        review.warn(format!(
            "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': {message}"
        ));
    }
    if let (true, false, Some(notes)) = (binding.audits, finding.broken, review.notes) {
        let said = json!([{"message": message, "policy": name, "binding": bound, "expressionIndex": finding.rule,
            "validationActions": binding.actions()}]);
        notes.annotate(FAILURE, said.to_string());
    }
    if !binding.denies && !finding.broken {
        return None;
    }
    let why = format!("ValidatingAdmissionPolicy '{name}' with binding '{bound}' denied request: {message}");
    let mut status = Status::forbidden(&review.route.kind, review.name, &why);
    status.reason = finding.reason;
    status.code = finding.reason.code();
    status.details.get_or_insert_default().causes.push(cause(why));
    Some(status)
}

/// A cause that is about no field.
fn cause(message: String) -> naru_api::status::Cause {
    naru_api::status::Cause { reason: String::new(), message, field: String::new() }
}

impl<D> Policy<D> {
    /// What its expressions may name, with a parameter.
    fn variables<'a>(&'a self, asked: &'a Asked<'a>, param: Option<&Value>) -> Variables<'a> {
        let mut variables = Variables::of(asked);
        variables.params = self.params.is_some().then(|| param.map_or(Cel::Null, Cel::from_json));
        variables.composed = &self.variables;
        variables
    }

    /// What it comes to that an expression, or a parameter, failed: a denial, unless the policy says to go on.
    fn failed(&self, why: String, rule: usize, broken: bool) -> Option<Finding> {
        if self.required {
            return Some(Finding { message: why, reason: Reason::Invalid, rule, broken });
        }
        tracing::warn!(policy = self.name, why, "a policy failed and is passed over");
        None
    }
}

impl Validation {
    /// What it says of an object that breaks it.
    fn says(&self, variables: &Variables<'_>, budget: &mut Budget) -> String {
        let made = self.message_program.as_ref().map(|program| evaluate(program, variables, budget));
        if let Some(Ok(Cel::String(text))) = made {
            let text = text.trim();
            if !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n') {
                return text.to_owned();
            }
        }
        self.message.clone().unwrap_or_else(|| format!("failed expression: {}", self.text))
    }
}

impl rules::Annotation {
    /// What it wants the audit log to say; may be nothing.
    fn says(&self, variables: &Variables<'_>, budget: &mut Budget) -> Result<Option<String>, String> {
        match evaluate(&self.program, variables, budget) {
            Ok(Cel::String(text)) => {
                let text = text.trim();
                Ok((!text.is_empty()).then(|| text[..text.floor_char_boundary(LONGEST_ANNOTATION)].to_owned()))
            }
            Ok(Cel::Null) => Ok(None),
            Ok(other) => Err(format!(
                "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                self.text,
                other.type_name()
            )),
            Err(why) => Err(format!("expression '{}' resulted in error: {why}", self.text)),
        }
    }
}
