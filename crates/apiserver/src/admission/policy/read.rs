//! What policies and bindings say, read once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use naru_api::{FieldError, Reason};
use naru_cel::Type;
use naru_store::{Prefix, Revision, Snapshot};
use serde_json::Value;

use crate::admission::expression::{Compiled, Condition, compile, fault};
use crate::admission::matching::Constraints;
use crate::object;
use crate::state::Core;

const POLICIES: &str = "validatingadmissionpolicies.admissionregistration.k8s.io";
const BINDINGS: &str = "validatingadmissionpolicybindings.admissionregistration.k8s.io";

/// All policies of a state, each with its bindings.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    pub(super) all: Vec<(Policy, Vec<Binding>)>,
}

/// The newest policies that were read, and the state they were read from.
#[derive(Debug, Default)]
pub(crate) struct Cache(ArcSwap<([Revision; 2], Arc<Policies>)>);

/// One policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) constraints: Constraints,
    pub(super) conditions: Vec<Condition>,
    /// `apiVersion` and `kind` of its parameters, if it has any.
    pub(super) params: Option<(String, String)>,
    /// In the order in which they may name one another.
    pub(super) variables: Vec<(String, Compiled)>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<(String, Compiled)>,
    /// A request is refused when it cannot be judged.
    pub(super) required: bool,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) text: String,
    pub(super) program: Compiled,
    pub(super) message: Option<String>,
    pub(super) message_program: Option<Compiled>,
    pub(super) reason: Reason,
}

/// One binding.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) constraints: Constraints,
    /// Which parameters; null for none.
    pub(super) params: Value,
    pub(super) denies: bool,
    pub(super) warns: bool,
    pub(super) audits: bool,
}

// === impl Policies ===

impl Policies {
    /// The policies of a state.
    pub(crate) fn of(core: &Core, snapshot: &Snapshot) -> Arc<Policies> {
        let at = [snapshot.changed(POLICIES), snapshot.changed(BINDINGS)];
        let known = core.policies.0.load();
        if known.0 == at {
            return known.1.clone();
        }
        let policies = Arc::new(Policies::read(snapshot));
        core.policies.0.store(Arc::new((at, policies.clone())));
        policies
    }

    /// Whether nobody is bound to judge anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.iter().all(|(_, bindings)| bindings.is_empty())
    }

    fn read(snapshot: &Snapshot) -> Policies {
        let mut bindings: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
        for entry in snapshot.range(&Prefix::collection(BINDINGS)) {
            let binding = object::parse(&entry.served);
            let policy = binding["spec"]["policyName"].as_str().unwrap_or_default().to_owned();
            bindings.entry(policy).or_default().push(Binding::read(entry.key.name(), &binding["spec"]));
        }
        let prefix = Prefix::collection(POLICIES);
        let policies = snapshot.range(&prefix).map(|entry| {
            let policy = Policy::read(entry.key.name(), &object::parse(&entry.served)["spec"]);
            let bindings = bindings.remove(&policy.name).unwrap_or_default();
            (policy, bindings)
        });
        Policies { all: policies.collect() }
    }
}

/// What expressions of a policy may name besides the request.
fn names(spec: &Value) -> Vec<&'static str> {
    let mut names = vec!["namespaceObject", "variables"];
    if spec["paramKind"].is_object() {
        names.push("params");
    }
    names
}

impl Policy {
    fn read(name: &str, spec: &Value) -> Policy {
        let names = names(spec);
        let list = |field: &str| spec[field].as_array().into_iter().flatten();
        let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
        let kind = &spec["paramKind"];
        Policy {
            name: name.to_owned(),
            constraints: Constraints::read(&spec["matchConstraints"], "resourceRules"),
            conditions: Condition::read(&spec["matchConditions"], &names),
            params: kind.is_object().then(|| (text(kind, "apiVersion"), text(kind, "kind"))),
            variables: list("variables")
                .map(|variable| (text(variable, "name"), compile(&text(variable, "expression"), &names, &[])))
                .collect(),
            validations: list("validations").map(|validation| Validation::read(validation, &names)).collect(),
            annotations: list("auditAnnotations")
                .map(|said| (text(said, "key"), compile(&text(said, "valueExpression"), &names, &TEXT)))
                .collect(),
            required: spec["failurePolicy"] != "Ignore",
        }
    }
}

const TEXT: [Type; 2] = [Type::String, Type::Null];

impl Validation {
    fn read(validation: &Value, names: &[&str]) -> Validation {
        let text = |field: &str| validation[field].as_str().map(str::trim).filter(|text| !text.is_empty());
        Validation {
            text: text("expression").unwrap_or_default().to_owned(),
            program: compile(text("expression").unwrap_or_default(), names, &[Type::Bool]),
            message: text("message").map(str::to_owned),
            message_program: text("messageExpression").map(|text| compile(text, names, &[Type::String])),
            reason: match text("reason") {
                Some("Unauthorized") => Reason::Unauthorized,
                Some("Forbidden") => Reason::Forbidden,
                Some("RequestEntityTooLarge") => Reason::RequestEntityTooLarge,
                _ => Reason::Invalid,
            },
        }
    }
}

impl Binding {
    fn read(name: &str, spec: &Value) -> Binding {
        let does = |word: &str| spec["validationActions"].as_array().into_iter().flatten().any(|action| action == word);
        Binding {
            name: name.to_owned(),
            constraints: Constraints::read(&spec["matchResources"], "resourceRules"),
            params: spec["paramRef"].clone(),
            denies: does("Deny"),
            warns: does("Warn"),
            audits: does("Audit"),
        }
    }

    /// What it does, in its own words.
    pub(super) fn actions(&self) -> Vec<&'static str> {
        let all = [("Deny", self.denies), ("Warn", self.warns), ("Audit", self.audits)];
        all.into_iter().filter(|(_, does)| *does).map(|(word, _)| word).collect()
    }
}

/// What is wrong with the expressions of a policy: nothing else tells before they are needed.
pub(crate) fn faults(collection: &str, policy: &Value) -> Vec<FieldError> {
    if collection != POLICIES {
        return Vec::new();
    }
    let spec = &policy["spec"];
    let names = names(spec);
    let list = |field: &str| spec[field].as_array().into_iter().flatten().enumerate();
    let mut faults = Condition::faults(&spec["matchConditions"], "spec.matchConditions", &names);
    for (at, variable) in list("variables") {
        let path = format!("spec.variables[{at}].expression");
        faults.extend(fault(&variable["expression"], &path, &names, &[]));
    }
    for (at, validation) in list("validations") {
        let path = format!("spec.validations[{at}]");
        faults.extend(fault(&validation["expression"], &format!("{path}.expression"), &names, &[Type::Bool]));
        if validation["messageExpression"].as_str().is_some_and(|text| !text.trim().is_empty()) {
            let path = format!("{path}.messageExpression");
            faults.extend(fault(&validation["messageExpression"], &path, &names, &[Type::String]));
        }
    }
    for (at, said) in list("auditAnnotations") {
        let path = format!("spec.auditAnnotations[{at}].valueExpression");
        faults.extend(fault(&said["valueExpression"], &path, &names, &TEXT));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_that_mean_nothing_are_refused() {
        let policy = json!({"spec": {
            "variables": [{"name": "names", "expression": "object.spec.containers.map(c, c.name)"}, {"name": "x", "expression": "1 +"}],
            "validations": [
                {"expression": "variables.names.all(n, n != params.name)"},
                {"expression": "size(object.metadata.name) < 5", "messageExpression": "1"},
            ],
        }});
        let paths =
            |policy: &Value| -> Vec<String> { faults(POLICIES, policy).into_iter().map(|fault| fault.path).collect() };
        assert_eq!(
            paths(&policy),
            ["spec.variables[1].expression", "spec.validations[0].expression", "spec.validations[1].messageExpression"]
        );
        let mut with = policy.clone();
        with["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        assert_eq!(
            paths(&with)[1],
            "spec.validations[1].messageExpression",
            "parameters may be named where there are any"
        );
        assert!(faults(BINDINGS, &policy).is_empty());
    }

    #[test]
    fn a_binding_says_what_is_done() {
        let binding = Binding::read("b", &json!({"validationActions": ["Warn", "Audit"]}));
        assert!(!binding.denies && binding.warns && binding.audits);
        assert_eq!(binding.actions(), ["Warn", "Audit"]);
    }
}
