//! What policies and bindings say, read once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use naru_cel::Env;
use naru_store::{Prefix, Revision, Snapshot};
use serde_json::Value;

use super::changes::Changes;
use super::rules::Rules;
use crate::admission::expression::{Compiled, Condition, composed, scope};
use crate::admission::matching::Constraints;
use crate::object;
use crate::state::Core;

/// Where policies lie that judge, and where those that change.
pub(super) const JUDGING: &str = "validatingadmissionpolicies.admissionregistration.k8s.io";
pub(super) const CHANGING: &str = "mutatingadmissionpolicies.admissionregistration.k8s.io";
const JUDGING_BINDINGS: &str = "validatingadmissionpolicybindings.admissionregistration.k8s.io";
const CHANGING_BINDINGS: &str = "mutatingadmissionpolicybindings.admissionregistration.k8s.io";

/// All policies of a state that are bound to anything, in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    pub(super) validating: Vec<Bound<Rules>>,
    pub(super) mutating: Vec<Bound<Changes>>,
}

/// The newest policies that were read, and the state they were read from.
#[derive(Debug, Default)]
pub(crate) struct Cache(ArcSwap<([Revision; 4], Arc<Policies>)>);

/// One policy with its bindings.
#[derive(Debug)]
pub(super) struct Bound<D> {
    pub(super) policy: Policy<D>,
    pub(super) bindings: Vec<Binding>,
}

/// One policy.
#[derive(Debug)]
pub(super) struct Policy<D> {
    pub(super) name: String,
    pub(super) constraints: Constraints,
    pub(super) conditions: Vec<Condition>,
    /// `apiVersion` and `kind` of its parameters, if it has any.
    pub(super) params: Option<(String, String)>,
    /// In the order in which they may name one another.
    pub(super) variables: Vec<(String, Compiled)>,
    /// A request is refused when the policy cannot do its work.
    pub(super) required: bool,
    pub(super) demands: D,
}

/// What a policy demands of objects.
pub(super) trait Demands: Sized {
    /// What its expressions may name and make, besides what all may.
    fn scope(env: Env) -> Env;
    /// Reads it out of the spec of a policy.
    fn read(spec: &Value, env: &Env) -> Self;
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
        let at = [JUDGING, JUDGING_BINDINGS, CHANGING, CHANGING_BINDINGS].map(|name| snapshot.changed(name));
        let known = core.policies.0.load();
        if known.0 == at {
            return known.1.clone();
        }
        let policies = Arc::new(Policies {
            validating: read(snapshot, JUDGING, JUDGING_BINDINGS),
            mutating: read(snapshot, CHANGING, CHANGING_BINDINGS),
        });
        core.policies.0.store(Arc::new((at, policies.clone())));
        policies
    }

    /// Whether nobody is bound to judge anything.
    pub(crate) fn judges_nothing(&self) -> bool {
        self.validating.is_empty()
    }

    /// Whether nobody is bound to change anything.
    pub(crate) fn changes_nothing(&self) -> bool {
        self.mutating.is_empty()
    }
}

fn read<D: Demands>(snapshot: &Snapshot, policies: &str, bindings: &str) -> Vec<Bound<D>> {
    let mut bound: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
    for entry in snapshot.range(&Prefix::collection(bindings)) {
        let binding = object::parse(&entry.served);
        let policy = binding["spec"]["policyName"].as_str().unwrap_or_default().to_owned();
        bound.entry(policy).or_default().push(Binding::read(entry.key.name(), &binding["spec"]));
    }
    let mut read = Vec::new();
    for entry in snapshot.range(&Prefix::collection(policies)) {
        let name = entry.key.name();
        if let Some(bindings) = bound.remove(name) {
            let policy = Policy::read(name, &object::parse(&entry.served)["spec"]);
            read.push(Bound { policy, bindings });
        }
    }
    read
}

/// What expressions of a policy may name besides what all may.
pub(super) fn names(spec: &Value) -> &'static [&'static str] {
    if spec["paramKind"].is_object() { &["params"] } else { &[] }
}

impl<D: Demands> Policy<D> {
    fn read(name: &str, spec: &Value) -> Policy<D> {
        let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
        let (names, kind) = (names(spec), &spec["paramKind"]);
        let (env, variables) = composed(scope(names), &spec["variables"]);
        Policy {
            name: name.to_owned(),
            constraints: Constraints::read(&spec["matchConstraints"], "resourceRules"),
            conditions: Condition::read(&spec["matchConditions"], names),
            params: kind.is_object().then(|| (text(kind, "apiVersion"), text(kind, "kind"))),
            variables,
            required: spec["failurePolicy"] != "Ignore",
            demands: D::read(spec, &D::scope(env)),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_binding_says_what_is_done() {
        let binding = Binding::read("b", &json!({"validationActions": ["Warn", "Audit"]}));
        assert!(!binding.denies && binding.warns && binding.audits);
        assert_eq!(binding.actions(), ["Warn", "Audit"]);
    }
}
