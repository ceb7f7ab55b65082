//! What is wrong with the expressions of a policy: nothing else tells before they are needed.

use naru_api::FieldError;
use naru_cel::{Env, Type};
use serde_json::Value;

use super::changes::{Changes, Sort};
use super::read::{CHANGING, Demands, JUDGING, names};
use super::rules::TEXT;
use crate::admission::expression::{Condition, composed, fault, scope};

/// What is wrong with the expressions of a policy; nothing with those of anything else.
pub(crate) fn faults(collection: &str, policy: &Value) -> Vec<FieldError> {
    let spec = &policy["spec"];
    match collection {
        JUDGING => {
            let (env, mut faults) = common(spec);
            judging(spec, &env, &mut faults);
            faults
        }
        CHANGING => {
            let (env, mut faults) = common(spec);
            changing(spec, &Changes::scope(env), &mut faults);
            faults
        }
        _ => Vec::new(),
    }
}

fn list<'s>(spec: &'s Value, field: &str) -> impl Iterator<Item = (usize, &'s Value)> {
    spec[field].as_array().into_iter().flatten().enumerate()
}

/// What both sorts of policies have, and what their other expressions may name.
fn common(spec: &Value) -> (Env, Vec<FieldError>) {
    let names = names(spec);
    let mut faults = Condition::faults(&spec["matchConditions"], "spec.matchConditions", names);
    let (env, compiled) = composed(scope(names), &spec["variables"]);
    for ((at, variable), (_, program)) in list(spec, "variables").zip(&compiled) {
        let (path, text) = (format!("spec.variables[{at}].expression"), &variable["expression"]);
        match program {
            _ if text.as_str().unwrap_or_default().trim().is_empty() => {
                faults.push(FieldError::required(path, "expression is not specified"));
            }
            Ok(_) => {}
            Err(why) => faults.push(FieldError::invalid(path, text, why.as_str())),
        }
    }
    (env, faults)
}

fn judging(spec: &Value, env: &Env, faults: &mut Vec<FieldError>) {
    for (at, validation) in list(spec, "validations") {
        let path = format!("spec.validations[{at}]");
        faults.extend(fault(&validation["expression"], &format!("{path}.expression"), env, &[Type::Bool]));
        if validation["messageExpression"].as_str().is_some_and(|text| !text.trim().is_empty()) {
            let path = format!("{path}.messageExpression");
            faults.extend(fault(&validation["messageExpression"], &path, env, &[Type::String]));
        }
    }
    for (at, said) in list(spec, "auditAnnotations") {
        let path = format!("spec.auditAnnotations[{at}].valueExpression");
        faults.extend(fault(&said["valueExpression"], &path, env, &TEXT));
    }
}

fn changing(spec: &Value, env: &Env, faults: &mut Vec<FieldError>) {
    for (at, mutation) in list(spec, "mutations") {
        let Some(sort) = Sort::read(mutation) else { continue };
        let path = format!("spec.mutations[{at}].{}.expression", sort.field());
        faults.extend(fault(&mutation[sort.field()]["expression"], &path, env, &[sort.of()]));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(collection: &str, policy: &Value) -> Vec<String> {
        faults(collection, policy).into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn expressions_that_mean_nothing_are_refused() {
        let policy = json!({"spec": {
            "matchConditions": [{"name": "a", "expression": "variables.names == null"}],
            "variables": [{"name": "names", "expression": "object.spec.containers.map(c, c.name)"}, {"name": "x", "expression": "1 +"}],
            "validations": [
                {"expression": "variables.names.all(n, n != params.name)"},
                {"expression": "size(object.metadata.name) < 5", "messageExpression": "1"},
                {"expression": "variables.later"},
            ],
            "auditAnnotations": [{"key": "a", "valueExpression": "1"}, {"key": "b", "valueExpression": "null"}],
        }});
        let expected = [
            "spec.matchConditions[0].expression",
            "spec.variables[1].expression",
            "spec.validations[0].expression",
            "spec.validations[1].messageExpression",
            "spec.validations[2].expression",
            "spec.auditAnnotations[0].valueExpression",
        ];
        assert_eq!(paths(JUDGING, &policy), expected);
        let mut with = policy.clone();
        with["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        let found = paths(JUDGING, &with);
        assert!(!found.contains(&expected[2].to_owned()), "parameters may be named where there are any: {found:?}");
        assert!(paths("configmaps", &policy).is_empty());
    }

    #[test]
    fn changes_have_the_type_that_is_wanted_of_them() {
        let apply = |text: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}});
        let patch = |text: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": text}});
        let good = json!({"spec": {"variables": [{"name": "n", "expression": "object.spec.replicas + 1"}], "mutations": [
            apply("Object{spec: Object.spec{replicas: variables.n}}"),
            apply("has(object.spec) ? Object{} : Object{metadata: Object.metadata{labels: {'a': 'b'}}}"),
            patch("[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]"),
            patch("has(object.spec) ? [JSONPatch{op: 'remove', path: '/spec'}] : []"),
        ]}});
        let found = faults(CHANGING, &good);
        assert!(found.is_empty(), "{found:?}");
        let bad = json!({"spec": {"variables": [{"name": "o", "expression": "Object{}"}], "mutations": [
            apply("'text'"), apply("Object.spec{}"), apply("Object{spec: }"), patch("JSONPatch{op: 'add'}"),
            patch("[Object{}]"), patch("[JSONPatch{operation: 'add'}]"),
        ]}});
        let found = faults(CHANGING, &bad);
        let says: Vec<&str> = found.iter().map(|fault| fault.detail.as_str()).collect();
        assert_eq!(found[1].path, "spec.mutations[0].applyConfiguration.expression");
        assert_eq!(found[4].path, "spec.mutations[3].jsonPatch.expression");
        assert!(says[0].contains("undeclared reference to 'Object'"), "{says:?}");
        assert_eq!(says[1], "must evaluate to Object but got string");
        assert_eq!(says[2], "must evaluate to Object but got Object.spec");
        assert!(says[3].starts_with("compilation failed: "), "{says:?}");
        assert_eq!(says[4], "must evaluate to list(JSONPatch) but got JSONPatch");
        assert_eq!(says[5], "must evaluate to list(JSONPatch) but got list(Object)");
        assert!(says[6].contains("undefined field 'operation'"), "{says:?}");
    }
}
