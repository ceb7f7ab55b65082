use serde_json::{Value, json};

use crate::fixtures::{object, told, version};

/// A schema with rules on a `spec` that has a bit of everything.
fn schema(rules: Value) -> Value {
    json!({"type": "object", "x-kubernetes-validations": rules, "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"}, "ratio": {"type": "number"}, "name": {"type": "string"},
        "when": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
        "data": {"type": "string", "format": "byte"}, "port": {"x-kubernetes-int-or-string": true},
        "note": {"type": "string", "nullable": true}, "x-dash": {"type": "integer"}, "namespace": {"type": "string"},
        "tags": {"type": "array", "maxItems": 50, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "plain": {"type": "array", "maxItems": 50, "items": {"type": "integer"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {"type": "object",
            "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "integer"}}}},
        "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }})
}

fn everything() -> Value {
    json!({"min": 1, "max": 3, "ratio": 2, "name": "web", "when": "2026-01-02T03:04:05Z", "wait": "90s", "data": "aGk=", "port": "80%",
        "note": null, "x-dash": 4, "namespace": "shop", "tags": ["a", "b"], "plain": [1, 2], "labels": {"k": "v"},
        "keyed": [{"n": "a", "v": 1}, {"n": "b", "v": 2}], "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}})
}

#[track_caller]
fn judged(rule: Value, spec: &Value, old: Option<&Value>) -> String {
    told(&version(&schema(json!([rule]))).faults(&object(spec), old.map(object).as_ref()))
}

#[test]
fn values_have_the_types_that_the_schema_declares() {
    for rule in [
        "self.min <= self.max && self.max + 1 == 4",
        "self.ratio == 2.0 && self.ratio / 4.0 == 0.5",
        "self.name.startsWith('w') && self.name.matches('^[a-z]+$')",
        "self.when.getFullYear() == 2026 && self.when < timestamp('2027-01-01T00:00:00Z')",
        "self.wait == duration('1m30s')",
        "self.data == b'hi'",
        "type(self.port) == string && self.port == '80%'",
        "!has(self.note) || size(self.note) > 0",
        "!has(self.note)",
        "self.x__dash__dash == 4 && self.__namespace__ == 'shop'",
        "self.tags == ['b', 'a'] && self.tags + ['b', 'c'] == ['a', 'b', 'c']",
        "self.plain.all(n, n > 0) && self.plain != [2, 1]",
        "self.labels.k == 'v' && 'k' in self.labels && !('x' in self.labels)",
        "self.keyed.exists_one(i, i.n == 'b' && i.v == 2)",
        "self.pod.kind == 'Pod' && self.pod.metadata.name == 'p'",
        "has(self.min) && !has(self.pod.metadata.generateName)",
    ] {
        assert_eq!(judged(json!({"rule": rule}), &everything(), None), "", "{rule}");
    }
    // Null is a value in lists and maps, and what cannot be named still makes objects differ.
    let mixed = json!({"type": "object", "x-kubernetes-validations": [
            {"rule": "self.m.size() == 2 && 'a' in self.m && type(self.m['a']) == null_type && type(self.l[0]) == null_type"},
            {"rule": "self.objects[0] == self.objects[1] && self.objects[0] != self.objects[2]"}],
        "properties": {"m": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
            "l": {"type": "array", "items": {"type": "string", "nullable": true}},
            "objects": {"type": "array", "items": {"type": "object", "properties": {"k!": {"type": "string"}}}}}});
    let spec =
        json!({"m": {"a": null, "b": "x"}, "l": [null, "x"], "objects": [{"k!": "a"}, {"k!": "a"}, {"k!": "b"}]});
    assert_eq!(told(&version(&mixed).faults(&object(&spec), None)), "");
    // Whole objects know what they are called.
    let mut crd = crate::fixtures::definition(&json!({"type": "object"}));
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = json!([{"rule": "self.metadata.name == 'one' && self.kind == 'CronTab'"}, {"rule": "self.metadata.name.size() > 5", "message": "short"}]);
    let version = crate::Definition::read(&crd).versions.remove(0);
    assert_eq!(told(&version.faults(&object(&json!({})), None)), "<nil>: Invalid value: short");
}

#[test]
fn a_broken_rule_says_what_it_was_told_to_say() {
    let spec = json!({"min": 5, "max": 3, "labels": {"a.b": "x"}});
    for (rule, expected) in [
        (json!({"rule": "self.min <= self.max"}), "spec: Invalid value: failed rule: self.min <= self.max"),
        (json!({"rule": "self.min <= self.max", "message": " no "}), "spec: Invalid value: no"),
        (
            json!({"rule": "self.min <= self.max", "message": "no", "messageExpression": "'min is ' + string(self.min)"}),
            "spec: Invalid value: min is 5",
        ),
        (
            json!({"rule": "self.min <= self.max", "message": "no", "messageExpression": "''"}),
            "spec: Invalid value: no",
        ),
        (json!({"rule": "self.min <= self.max", "fieldPath": ".max", "message": "no"}), "spec.max: Invalid value: no"),
        (
            json!({"rule": "self.min <= self.max", "fieldPath": ".labels['a.b']", "message": "no"}),
            "spec.labels[a.b]: Invalid value: no",
        ),
        (
            json!({"rule": "self.min <= self.max", "reason": "FieldValueForbidden", "message": "no"}),
            "spec: Forbidden: no",
        ),
        (
            json!({"rule": "self.min <= self.max", "reason": "FieldValueRequired", "fieldPath": ".name"}),
            "spec.name: Required value: failed rule: self.min <= self.max",
        ),
        (
            json!({"rule": "self.name == 'x'"}),
            "spec: Invalid value: \"object\": no such key: name evaluating rule: self.name == 'x'",
        ),
        (
            json!({"rule": "self.min / (self.max - 3) > 0"}),
            "spec: Invalid value: \"object\": division by zero evaluating rule: self.min / (self.max - 3) > 0",
        ),
    ] {
        assert_eq!(judged(rule.clone(), &spec, None), expected, "{rule}");
    }
}

#[test]
fn rules_that_compare_hold_for_changes() {
    let (old, new) = (
        json!({"min": 3, "keyed": [{"n": "a", "v": 2}]}),
        json!({"min": 2, "keyed": [{"n": "b", "v": 0}, {"n": "a", "v": 1}]}),
    );
    let grows = json!({"rule": "self.min >= oldSelf.min", "message": "shrinks"});
    assert_eq!(judged(grows.clone(), &new, None), "", "there is nothing to compare with");
    assert_eq!(judged(grows.clone(), &new, Some(&old)), "spec: Invalid value: shrinks");
    assert_eq!(judged(grows, &old, Some(&new)), "");
    let fixed = json!({"rule": "oldSelf.hasValue() ? self.min == oldSelf.value().min : self.min == 3", "optionalOldSelf": true, "message": "fixed"});
    assert_eq!(judged(fixed.clone(), &old, None), "");
    assert_eq!(judged(fixed.clone(), &new, None), "spec: Invalid value: fixed");
    assert_eq!(judged(fixed, &new, Some(&old)), "spec: Invalid value: fixed");
    // Items of keyed lists are compared with what they were.
    let mut keyed = schema(json!([]));
    keyed["properties"]["keyed"]["items"]["x-kubernetes-validations"] =
        json!([{"rule": "self.v >= oldSelf.v", "message": "shrinks"}]);
    assert_eq!(
        told(&version(&keyed).faults(&object(&new), Some(&object(&old)))),
        "spec.keyed[1]: Invalid value: shrinks"
    );
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let mut schema = schema(json!([{"rule": "self.max < 5", "message": "whole"}]));
    schema["properties"]["min"]["x-kubernetes-validations"] = json!([{"rule": "self < 5", "message": "min"}]);
    schema["properties"]["plain"]["items"]["x-kubernetes-validations"] =
        json!([{"rule": "self < 5", "message": "item"}]);
    let version = version(&schema);
    let old = json!({"min": 9, "max": 9, "plain": [9]});
    let judged = |new: &Value| told(&version.faults(&object(new), Some(&object(&old))));
    assert_eq!(judged(&old), "");
    assert_eq!(judged(&json!({"min": 9, "max": 3, "plain": [9]})), "");
    assert_eq!(judged(&json!({"min": 9, "max": 8, "plain": [9]})), "spec: Invalid value: whole");
    assert_eq!(judged(&json!({"min": 8, "max": 3, "plain": [9]})), "spec.min: Invalid value: 8: min");
    assert_eq!(judged(&json!({"min": 9, "max": 3, "plain": [9, 1]})), "spec.plain[0]: Invalid value: 9: item");
}

#[test]
fn rules_wait_for_what_they_rely_on_and_end_when_they_cost_too_much() {
    let spec = json!({"min": "many", "max": 3});
    let faults = judged(json!({"rule": "self.min <= self.max"}), &spec, None);
    assert!(faults.ends_with("<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"), "{faults}");
    let many: Vec<i64> = (0..50).collect();
    let dear = "self.plain.all(a, self.plain.all(b, self.plain.all(c, self.plain.all(d, a + b + c + d >= 0))))";
    let faults = judged(json!({"rule": dear}), &json!({"plain": many}), None);
    assert!(faults.contains("no further validation rules will be run due to call cost exceeds limit"), "{faults}");
    // All rules of an object together have a bound as well.
    let some: Vec<i64> = (0..28).collect();
    let less = "self.plain.all(a, self.plain.all(b, self.plain.all(c, a + b + c >= 0)))";
    let rules: Vec<Value> = (0..90).map(|_| json!({"rule": less})).collect();
    let version = version(&schema(json!(rules)));
    let faults = told(&version.faults(&object(&json!({"plain": some})), None));
    assert_eq!(
        faults,
        "spec: Invalid value: \"object\": validation failed due to running out of cost budget, no further validation rules will be run"
    );
}

#[test]
fn nulls_and_absent_values_are_not_asked() {
    let mut schema = schema(json!([]));
    schema["properties"]["note"]["x-kubernetes-validations"] = json!([{"rule": "size(self) > 3"}]);
    let version = version(&schema);
    for note in [json!({}), json!({"note": null}), json!({"note": "long"})] {
        assert_eq!(told(&version.faults(&object(&note), None)), "");
    }
    assert_eq!(
        told(&version.faults(&object(&json!({"note": "x"})), None)),
        "spec.note: Invalid value: \"x\": failed rule: size(self) > 3"
    );
}

#[test]
fn a_status_is_judged_by_itself() {
    let mut crd =
        crate::fixtures::definition(&json!({"type": "object", "properties": {"n": {"type": "integer", "maximum": 1}}}));
    crd["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"] = json!({"type": "object", "properties": {
        "ready": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= 0", "message": "negative"}]}}});
    let version = crate::Definition::read(&crd).versions.remove(0);
    let mut old = object(&json!({"n": 5}));
    old["status"] = json!({"ready": 0});
    let mut new = old.clone();
    new["status"] = json!({"ready": "x"});
    assert!(
        told(&version.status_faults(&new, &old))
            .starts_with("status.ready: Invalid value: \"string\": status.ready in body must be of type integer")
    );
    new["status"] = json!({"ready": -1});
    assert_eq!(told(&version.status_faults(&new, &old)), "status.ready: Invalid value: -1: negative");
    new["status"] = json!({"ready": 1});
    assert_eq!(told(&version.status_faults(&new, &old)), "");
}
