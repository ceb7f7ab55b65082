//! ValidatingAdmissionPolicies: rules about objects in the expression language, written once and bound to what they are
//! about.
//!
//! Policies and their bindings are read and compiled when one of them changes. A policy without a binding judges nothing.
//! Parameters are objects like any other, read from the state that is judged.

mod params;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_api::{Reason, Status};
use naru_cel::{Budget, Key, Value as Cel};
use serde_json::{Value, json};

use super::chain::Review;
use super::expression::{Asked, Compiled, Variables, all_hold, evaluate};

use read::{Binding, Policy, Validation};
pub(crate) use read::{Cache, Policies, faults};

/// What all expressions of one policy may cost for one object: Kubernetes' limit.
const COST: u64 = 10_000_000;
/// The longest message that an expression may make, in bytes.
const LONGEST_MESSAGE: usize = 5 << 10;

/// What a policy found, for one of its bindings.
struct Finding {
    message: String,
    reason: Reason,
}

/// Judges an object by every policy that is bound to requests like this one.
///
/// # Errors
/// With what the first policy says that denies it.
pub(super) fn judge(review: &Review<'_>, policies: &Policies, object: Option<&Value>) -> Result<(), Status> {
    let asked = Asked::new(review, object);
    for (policy, bindings) in &policies.all {
        if bindings.is_empty() || policy.constraints.matches(review, object).is_none() {
            continue;
        }
        for binding in bindings.iter().filter(|binding| binding.constraints.matches(review, object).is_some()) {
            bound(&asked, policy, binding)?;
        }
    }
    Ok(())
}

/// Judges an object by a policy for one of its bindings: once for each parameter.
fn bound(asked: &Asked<'_>, policy: &Policy, binding: &Binding) -> Result<(), Status> {
    let found = match params::of(asked.review, policy, binding) {
        Ok(params) => {
            let mut found = Vec::new();
            for param in params {
                found.extend(with(asked, policy, param.as_ref()));
            }
            found
        }
        Err(why) => policy.failed(why).into_iter().collect(),
    };
    for finding in found {
        act(asked.review, policy, binding, &finding)?;
    }
    Ok(())
}

/// What a policy finds with one parameter.
fn with(asked: &Asked<'_>, policy: &Policy, param: Option<&Value>) -> Vec<Finding> {
    let mut variables = Variables::of(asked);
    if policy.params.is_some() {
        variables.own.insert("params", param.map_or(Cel::Null, Cel::from_json));
    }
    match all_hold(&policy.conditions, &variables) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(why) => return policy.failed(why).into_iter().collect(),
    }
    let mut budget = Budget::new(COST);
    compose(policy, &mut variables, &mut budget);
    let mut found = Vec::new();
    for validation in &policy.validations {
        match evaluate(&validation.program, &variables, &mut budget) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => {
                found.push(Finding { message: validation.says(&variables, &mut budget), reason: validation.reason })
            }
            Err(why) => {
                let why = format!("expression '{}' resulted in error: {why}", validation.text);
                found.extend(policy.failed(why));
            }
        }
    }
    for (key, program) in &policy.annotations {
        let said = evaluate(program, &variables, &mut budget);
        if let (Ok(Cel::String(text)), Some(notes)) = (said, asked.review.notes) {
            notes.annotate(format!("{}/{key}", policy.name), &*text);
        }
    }
    found
}

/// Gives expressions the policy's own variables: each may name those before it. One that fails is missing, so that only
/// expressions that need it fail with it.
fn compose(policy: &Policy, variables: &mut Variables<'_>, budget: &mut Budget) {
    let mut known = BTreeMap::new();
    for (name, program) in &policy.variables {
        variables.own.insert("variables", Cel::Map(Arc::new(known.clone())));
        if let Ok(value) = evaluate(program, variables, budget) {
            known.insert(Key::String(name.as_str().into()), value);
        }
    }
    variables.own.insert("variables", Cel::Map(Arc::new(known)));
}

/// Does what the binding says is to be done about a finding.
fn act(review: &Review<'_>, policy: &Policy, binding: &Binding, finding: &Finding) -> Result<(), Status> {
    let (name, bound) = (&policy.name, &binding.name);
    if binding.warns {
        let message = &finding.message;
        review.warn(format!(
            "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': {message}"
        ));
    }
    if let (true, Some(notes)) = (binding.audits, review.notes) {
        let said = json!([{"message": finding.message, "policy": name, "binding": bound,
            "validationActions": binding.actions()}]);
        notes.annotate("validation.policy.admission.k8s.io/validation_failure", said.to_string());
    }
    if !binding.denies {
        return Ok(());
    }
    let why = format!("ValidatingAdmissionPolicy '{name}' with binding '{bound}' denied request: {}", finding.message);
    let mut status = Status::forbidden(&review.route.kind, review.name, &why);
    status.reason = finding.reason;
    status.code = finding.reason.code();
    if let Some(details) = &mut status.details {
        details.causes.push(naru_api::status::Cause {
            reason: String::new(),
            message: finding.message.clone(),
            field: String::new(),
        });
    }
    Err(status)
}

impl Policy {
    /// What it comes to that an expression, or a parameter, failed: a denial, unless the policy says to go on.
    fn failed(&self, why: String) -> Option<Finding> {
        if self.required {
            return Some(Finding { message: why, reason: Reason::Invalid });
        }
        tracing::warn!(policy = self.name, why, "a policy failed and is passed over");
        None
    }
}

impl Validation {
    /// What it says of an object that breaks it.
    fn says(&self, variables: &Variables<'_>, budget: &mut Budget) -> String {
        let made = self.message_program.as_ref().map(|program: &Compiled| evaluate(program, variables, budget));
        if let Some(Ok(Cel::String(text))) = made {
            let text = text.trim();
            if !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n') {
                return text.to_owned();
            }
        }
        self.message.clone().unwrap_or_else(|| format!("failed expression: {}", self.text))
    }
}
