use serde_json::{Value, json};

use crate::fixtures::{object, told, version};

#[track_caller]
fn faults(schema: &Value, spec: &Value) -> Vec<String> {
    version(schema).faults(&object(spec), None).iter().map(ToString::to_string).collect()
}

/// A schema of one field.
fn field(schema: Value) -> Value {
    json!({"type": "object", "properties": {"f": schema}})
}

#[test]
fn every_broken_rule_is_told_in_known_words() {
    for (schema, value, expected) in [
        (
            json!({"type": "string"}),
            json!(1),
            "spec.f: Invalid value: \"integer\": spec.f in body must be of type string: \"integer\"",
        ),
        (
            json!({"type": "integer"}),
            json!("1"),
            "spec.f: Invalid value: \"string\": spec.f in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            "spec.f: Invalid value: \"number\": spec.f in body must be of type integer: \"number\"",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            json!([null]),
            "spec.f[0]: Invalid value: \"null\": spec.f[0] in body must be of type string: \"null\"",
        ),
        (json!({"type": "string", "maxLength": 2}), json!("äöü"), "spec.f: Too long: may not be more than 2 bytes"),
        (
            json!({"type": "string", "minLength": 2}),
            json!("ä"),
            "spec.f: Invalid value: \"ä\": spec.f in body should be at least 2 chars long",
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            "spec.f: Invalid value: \"b\": spec.f in body should match '^a+$'",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "spec.f: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "integer", "enum": [1, 2]}),
            json!(3),
            "spec.f: Unsupported value: 3: supported values: \"1\", \"2\"",
        ),
        (
            json!({"type": "integer", "maximum": 10}),
            json!(11),
            "spec.f: Invalid value: 11: spec.f in body should be less than or equal to 10",
        ),
        (
            json!({"type": "integer", "maximum": 10, "exclusiveMaximum": true}),
            json!(10),
            "spec.f: Invalid value: 10: spec.f in body should be less than 10",
        ),
        (
            json!({"type": "number", "minimum": 0.5}),
            json!(0.25),
            "spec.f: Invalid value: 0.25: spec.f in body should be greater than or equal to 0.5",
        ),
        (
            json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true}),
            json!(0),
            "spec.f: Invalid value: 0: spec.f in body should be greater than 0",
        ),
        (
            json!({"type": "integer", "multipleOf": 3}),
            json!(4),
            "spec.f: Invalid value: 4: spec.f in body should be a multiple of 3",
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_i64),
            "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.f",
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}, "maxItems": 1}),
            json!([1, 2]),
            "spec.f: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 1}),
            json!([]),
            "spec.f: Invalid value: 0: spec.f in body should have at least 1 items",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1}),
            json!({"a": 1, "b": 2}),
            "spec.f: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}),
            json!({}),
            "spec.f: Invalid value: \"\": spec.f in body should have at least 1 properties",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
            json!({}),
            "spec.f.a: Required value",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"k": "v"}),
            "spec.f.k: Invalid value: \"string\": spec.f.k in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("x"),
            "spec.f: Invalid value: \"x\": spec.f in body must be of type date-time: \"x\"",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "b", "a"]),
            "spec.f[2]: Duplicate value: \"a\"",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}}}}),
            json!([{"n": "a"}, {"n": "a"}]),
            "spec.f[1]: Duplicate value: {\"n\":\"a\"}",
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"kind": "Pod"}),
            "spec.f.apiVersion: Required value: must not be empty",
        ),
    ] {
        assert_eq!(faults(&field(schema.clone()), &json!({"f": value})), [expected], "{schema}");
    }
}

#[test]
fn what_keeps_all_rules_is_accepted() {
    for (schema, value) in [
        (json!({"type": "integer"}), json!(1.0)),
        (json!({"type": "number"}), json!(1)),
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"x-kubernetes-int-or-string": true}), json!("80%")),
        (json!({"x-kubernetes-int-or-string": true}), json!(80)),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), json!([1, {"a": null}])),
        (json!({"type": "number", "multipleOf": 0.1}), json!(0.3)),
        (json!({"type": "integer", "maximum": 9007199254740993_i64}), json!(9007199254740993_i64)),
        (json!({"type": "string", "format": "made-up"}), json!("anything")),
        (json!({"type": "array", "items": {"type": "string"}}), json!(["a", "a"])),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"apiVersion": "v1", "kind": "Pod"}),
        ),
    ] {
        assert_eq!(faults(&field(schema.clone()), &json!({"f": value})), [] as [&str; 0], "{schema}");
    }
    let either = faults(&field(json!({"x-kubernetes-int-or-string": true})), &json!({"f": true}));
    assert_eq!(either[0], "<nil>: Invalid value: \"\": \"spec.f\" must validate at least one schema (anyOf)");
}

#[test]
fn schemas_of_schemas() {
    let spine = |extra: Value| {
        let mut schema = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}});
        let all = schema.as_object_mut().expect("an object");
        all.extend(extra.as_object().cloned().unwrap_or_default());
        field(schema)
    };
    let (a, b) = (json!({"required": ["a"]}), json!({"required": ["b"]}));
    let one = spine(json!({"oneOf": [a, b]}));
    assert_eq!(faults(&one, &json!({"f": {"a": "x"}})), [] as [&str; 0]);
    assert_eq!(
        faults(&one, &json!({"f": {}})),
        [
            "<nil>: Invalid value: \"\": \"spec.f\" must validate one and only one schema (oneOf). Found none valid",
            "spec.f.a: Required value"
        ]
    );
    assert_eq!(
        faults(&one, &json!({"f": {"a": "x", "b": 1}})),
        [
            "<nil>: Invalid value: \"\": \"spec.f\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
        ]
    );
    let any = spine(json!({"anyOf": [a, {"properties": {"b": {"minimum": 5}}, "required": ["b"]}]}));
    assert_eq!(faults(&any, &json!({"f": {"b": 6}})), [] as [&str; 0]);
    assert_eq!(
        faults(&any, &json!({"f": {"b": 1}}))[0],
        "<nil>: Invalid value: \"\": \"spec.f\" must validate at least one schema (anyOf)"
    );
    let all = spine(json!({"allOf": [a, b]}));
    assert_eq!(
        faults(&all, &json!({"f": {"a": "x"}})),
        ["spec.f.b: Required value", "<nil>: Invalid value: \"\": \"spec.f\" must validate all the schemas (allOf)"]
    );
    let not = spine(json!({"not": {"properties": {"a": {"enum": ["no"]}}, "required": ["a"]}}));
    assert_eq!(faults(&not, &json!({"f": {"a": "yes"}})), [] as [&str; 0]);
    assert_eq!(
        faults(&not, &json!({"f": {"a": "no"}})),
        ["<nil>: Invalid value: \"\": \"spec.f\" must not validate the schema (not)"]
    );
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let schema = json!({"type": "object", "properties": {
        "old": {"type": "string", "maxLength": 1}, "new": {"type": "string", "maxLength": 1},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {"type": "object",
            "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
        "plain": {"type": "array", "items": {"type": "string", "maxLength": 1}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 1}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"v": {"type": "string", "maxLength": 1}, "w": {"type": "string"}}},
    }});
    let version = version(&schema);
    let old = json!({"old": "long", "keyed": [{"n": "a", "v": "long"}, {"n": "b", "v": "x"}], "plain": ["long", "x"], "set": ["a", "a"],
        "map": {"k": "long"}, "whole": {"v": "long", "w": "x"}});
    let judged = |change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        told(&version.faults(&object(&new), Some(&object(&old))))
    };
    assert_eq!(judged(|_| {}), "");
    assert_eq!(judged(|new| new["new"] = json!("x")), "");
    assert_eq!(judged(|new| new["new"] = json!("long")), "spec.new: Too long: may not be more than 1 bytes");
    assert_eq!(judged(|new| new["old"] = json!("longer")), "spec.old: Too long: may not be more than 1 bytes");
    // Items with keys are found again wherever they are; others are not.
    assert_eq!(judged(|new| new["keyed"] = json!([{"n": "b", "v": "y"}, {"n": "a", "v": "long"}])), "");
    assert_eq!(
        judged(|new| new["plain"] = json!(["long", "y"])),
        "spec.plain[0]: Too long: may not be more than 1 bytes"
    );
    assert_eq!(judged(|new| new["map"]["l"] = json!("y")), "");
    assert_eq!(judged(|new| new["set"] = json!(["a", "a", "b"])), "");
    assert_eq!(judged(|new| new["whole"]["w"] = json!("y")), "spec.whole.v: Too long: may not be more than 1 bytes");
}
