//! What is wrong with the expressions of a ValidatingAdmissionPolicy for the kinds that it is about, in its status.
//!
//! It is written together with the policy: who reads the policy knows that it was checked. Refused: a controller that
//! writes it afterwards, as upstream has it, whose clients wait for it. It only tells: a kind may change, or come later.

use std::collections::BTreeSet;
use std::sync::Arc;

use naru_api::{Kind, cel, meta};
use naru_cel::{Env, Type};
use serde_json::{Value, json};

use super::read::{JUDGING, names};
use crate::admission::chain::Review;
use crate::admission::expression::{composed, scope};

/// How many kinds are looked at.
const KINDS: usize = 10;

/// Writes into the status of a policy what is wrong with its expressions, unless that was done for its present form.
pub(in crate::admission) fn check(review: &Review<'_>, policy: &mut Value) {
    if &*review.route.collection != JUDGING || !review.subresource.is_empty() {
        return;
    }
    let generation = meta::generation(policy);
    if policy["status"]["observedGeneration"] == generation {
        return;
    }
    let serving = review.core.serving();
    let all: Vec<Arc<Kind>> = serving.registry.iter().cloned().collect();
    let params = &policy["spec"]["paramKind"];
    let params = params["apiVersion"].as_str().zip(params["kind"].as_str());
    let params =
        params.and_then(|(version, kind)| serving.registry.by_api_version(version, kind)).map(|k| cel::declared(k));
    let warnings = warnings(&policy["spec"], &all, params);
    let checked = if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
    policy["status"]["observedGeneration"] = generation.into();
    policy["status"]["typeChecking"] = checked;
}

/// What is wrong with each expression, for all kinds that a policy names.
fn warnings(spec: &Value, all: &[Arc<Kind>], params: Option<Type>) -> Vec<Value> {
    let scopes: Vec<(String, Env)> = named(spec, all)
        .into_iter()
        .map(|kind| {
            let (of, mut env) = (cel::declared(kind), scope(names(spec)));
            if let Some(params) = params.clone() {
                env = env.with("params", params);
            }
            let env = env.with("object", of.clone()).with("oldObject", of);
            let name = format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind);
            (name, composed(env, &spec["variables"]).0)
        })
        .collect();
    let mut warnings = Vec::new();
    for (at, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let Some(text) = validation[field].as_str().filter(|text| !text.is_empty()) else { continue };
            let faults = scopes.iter().filter_map(|(kind, env)| {
                let error = env.compile(text).err()?;
                Some(format!("{kind}: {error}\n"))
            });
            let faults: Vec<String> = faults.collect();
            if !faults.is_empty() {
                let place = format!("spec.validations[{at}].{field}");
                warnings.push(json!({"fieldRef": place, "warning": faults.join("\n")}));
            }
        }
    }
    warnings
}

/// The kinds that a policy names: where it means all of something, it names none.
fn named<'k>(spec: &Value, all: &'k [Arc<Kind>]) -> Vec<&'k Arc<Kind>> {
    let mut found = BTreeSet::new();
    for rule in spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten() {
        let (groups, versions) = (words(rule, "apiGroups"), words(rule, "apiVersions"));
        if groups.iter().chain(&versions).any(|word| word.contains('*')) {
            continue;
        }
        let resources = words(rule, "resources");
        let means = |kind: &Kind| {
            groups.contains(&&*kind.group) && versions.contains(&&*kind.version) && resources.contains(&&*kind.plural)
        };
        found.extend((0..all.len()).filter(|at| means(&all[*at])));
    }
    let mut kinds: Vec<&Arc<Kind>> = found.into_iter().map(|at| &all[at]).collect();
    kinds.sort_by(|a, b| (&a.group, &a.version, &a.kind).cmp(&(&b.group, &b.version, &b.kind)));
    kinds.truncate(KINDS);
    kinds
}

fn words<'r>(rule: &'r Value, field: &str) -> Vec<&'r str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use naru_api::Registry;

    use super::*;

    fn spec(resources: &[&str], expressions: &[&str]) -> Value {
        let rule =
            json!({"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": resources});
        let validations: Vec<Value> = expressions.iter().map(|text| json!({"expression": text})).collect();
        json!({"matchConstraints": {"resourceRules": [rule]}, "validations": validations,
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}]})
    }

    fn found(spec: &Value) -> Vec<Value> {
        let all: Vec<Arc<Kind>> = Registry::builtin().iter().cloned().collect();
        warnings(spec, &all, None)
    }

    #[test]
    fn what_a_kind_does_not_have_is_told_with_its_place() {
        let wrong =
            spec(&["deployments"], &["object.spec.replicas > 1", "variables.replicas == 'a'", "object.foo > 1"]);
        let found = found(&wrong);
        let places: Vec<&str> = found.iter().filter_map(|warning| warning["fieldRef"].as_str()).collect();
        assert_eq!(places, ["spec.validations[1].expression", "spec.validations[2].expression"]);
        assert_eq!(
            found[1]["warning"],
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'foo'\n | object.foo > 1\n | ......^\n"
        );
    }

    #[test]
    fn only_kinds_that_are_named_are_looked_at() {
        let several = spec(&["pods", "deployments", "pods/status"], &["object.spec.replicas > 1"]);
        let told = found(&several);
        let text = told[0]["warning"].as_str().expect("a text");
        assert!(text.starts_with("/v1, Kind=Pod: ") && !text.contains("Deployment"), "{text}");
        assert!(found(&spec(&["*"], &["object.foo"])).is_empty());
        let mut any = spec(&["pods"], &["object.foo"]);
        any["matchConstraints"]["resourceRules"][0]["apiGroups"] = json!(["*"]);
        assert!(found(&any).is_empty());
    }
}
