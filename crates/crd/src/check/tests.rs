use serde_json::{Value, json};

use crate::fault::Fault;
use crate::path::Path;

fn faults(schema: &Value) -> Vec<String> {
    super::schema(schema, &Path::start("s"), false).iter().map(Fault::to_string).collect()
}

/// A schema of one field.
fn field(schema: Value) -> Value {
    json!({"type": "object", "properties": {"f": schema}})
}

#[track_caller]
fn refused(schema: &Value, expected: &str) {
    let found = faults(schema);
    assert!(found.iter().any(|fault| fault == expected), "{schema}\n{}", found.join("\n"));
}

#[test]
fn a_schema_must_be_structural() {
    for (schema, expected) in [
        (json!({}), "s.type: Required value: must not be empty at the root"),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            "s.type: Invalid value: \"array\": must be object at the root",
        ),
        (json!({"type": "object", "nullable": true}), "s.nullable: Forbidden: nullable cannot be true at the root"),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            "s.additionalProperties: Forbidden: must not be used at the root",
        ),
        (field(json!({})), "s.properties[f].type: Required value: must not be empty for specified object fields"),
        (field(json!({"type": "array"})), "s.properties[f].items: Required value: must be specified"),
        (
            field(json!({"type": "array", "items": {}})),
            "s.properties[f].items.type: Required value: must not be empty for specified array items",
        ),
        (
            field(json!({"type": "string", "x-kubernetes-embedded-resource": true})),
            "s.properties[f].type: Invalid value: \"string\": must be object if x-kubernetes-embedded-resource is true",
        ),
        (
            field(json!({"type": "object", "x-kubernetes-embedded-resource": true})),
            "s.properties[f].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ),
        (
            field(json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true})),
            "s.properties[f].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
        (
            json!({"type": "object", "properties": {"kind": {"type": "integer"}}}),
            "s.properties[kind].type: Invalid value: \"integer\": must be string",
        ),
        (
            field(json!({"type": "string", "anyOf": [{"type": "string"}]})),
            "s.properties[f].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            field(json!({"type": "object", "allOf": [{"additionalProperties": {}}]})),
            "s.properties[f].allOf[0].additionalProperties: Forbidden: must be undefined to be structural",
        ),
        (
            field(json!({"type": "object", "not": {"nullable": true, "default": 1}})),
            "s.properties[f].not.default: Forbidden: must be undefined to be structural",
        ),
        (
            field(json!({"type": "object", "oneOf": [{"x-kubernetes-validations": [{"rule": "true"}]}]})),
            "s.properties[f].oneOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"metadata": {}}}]}),
            "s.anyOf[0].properties[metadata]: Forbidden: must not be specified in a nested context",
        ),
        (
            field(json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]})),
            "s.properties[f].properties[a]: Required value: because it is defined in s.properties[f].anyOf[0].properties[a]",
        ),
        (
            field(json!({"type": "object", "not": {"items": {"minimum": 1}}})),
            "s.properties[f].items: Required value: because it is defined in s.properties[f].not.items",
        ),
    ] {
        refused(&schema, expected);
    }
}

#[test]
fn a_schema_says_only_what_is_understood() {
    for (schema, expected) in [
        (
            field(json!({"type": "text"})),
            "s.properties[f].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (field(json!({"type": "object", "$ref": "x"})), "s.properties[f].$ref: Forbidden: $ref is not supported"),
        (
            field(json!({"type": "object", "patternProperties": {"a": {}}})),
            "s.properties[f].patternProperties: Forbidden: patternProperties is not supported",
        ),
        (
            field(json!({"type": "array", "items": [{"type": "string"}]})),
            "s.properties[f].items: Forbidden: items must be a schema object and not an array",
        ),
        (
            field(json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})),
            "s.properties[f].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            field(
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            ),
            "s.properties[f].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            field(json!({"type": "string", "pattern": "("})),
            "s.properties[f].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: unclosed group: `(`",
        ),
        (
            field(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false})),
            "s.properties[f].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
        (
            field(json!({"type": "string", "x-kubernetes-map-type": "atomic"})),
            "s.properties[f].type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified",
        ),
        (
            field(json!({"type": "object", "x-kubernetes-map-type": "other"})),
            "s.properties[f].x-kubernetes-map-type: Unsupported value: \"other\": supported values: \"atomic\", \"granular\"",
        ),
        (
            field(json!({"type": "object", "x-kubernetes-list-type": "set"})),
            "s.properties[f].type: Invalid value: \"object\": must be array if x-kubernetes-list-type is specified",
        ),
        (
            field(json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"})),
            "s.properties[f].items.x-kubernetes-map-type: Invalid value: \"\": must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        (
            field(
                json!({"type": "array", "items": {"type": "string", "nullable": true}, "x-kubernetes-list-type": "set"}),
            ),
            "s.properties[f].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set",
        ),
        (
            field(json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-map-keys": ["a"]})),
            "s.properties[f].x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty",
        ),
        (
            field(json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"})),
            "s.properties[f].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            field(
                json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]}),
            ),
            "s.properties[f].x-kubernetes-list-map-keys: Invalid value: [\"a\"]: entries must all be names of item properties",
        ),
        (
            field(
                json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]}),
            ),
            "s.properties[f].items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
    ] {
        refused(&schema, expected);
    }
}

#[test]
fn defaults_keep_their_own_rules() {
    let text = json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 2}}});
    let with = |default: Value| {
        let mut schema = text.clone();
        schema["default"] = default;
        field(schema)
    };
    assert_eq!(faults(&with(json!({"a": "x"}))), [] as [&str; 0]);
    refused(&with(json!({"b": 1})), "s.properties[f].default: Invalid value: {\"b\":1}: must not have unknown fields");
    refused(&with(json!({"a": "long"})), "s.properties[f].default.a: Too long: may not be more than 2 bytes");
    let mut ruled = with(json!({"a": "x"}));
    ruled["properties"]["f"]["x-kubernetes-validations"] = json!([{"rule": "self.a != 'x'", "message": "not x"}]);
    refused(&ruled, "s.properties[f].default: Invalid value: not x");
    let name = json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}}});
    refused(&name, "s.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata");
}

#[test]
fn rules_must_be_ones() {
    let with = |rule: Value| {
        field(json!({"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [rule]}))
    };
    let at = "s.properties[f].x-kubernetes-validations[0]";
    for (rule, expected) in [
        (json!({}), "rule: Required value: rule is not specified"),
        (
            json!({"rule": "true", "message": "a\nb"}),
            "message: Invalid value: \"a\\nb\": message must not contain line breaks",
        ),
        (
            json!({"rule": "true\n&& true"}),
            "message: Required value: message must be specified if rule contains line breaks",
        ),
        (
            json!({"rule": "true", "messageExpression": " "}),
            "messageExpression: Required value: messageExpression must be non-empty if specified",
        ),
        (
            json!({"rule": "true", "reason": "Other"}),
            "reason: Unsupported value: \"Other\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
        ),
        (
            json!({"rule": "true", "fieldPath": ".b"}),
            "fieldPath: Invalid value: \".b\": fieldPath must be a valid path",
        ),
        (
            json!({"rule": "true", "fieldPath": " "}),
            "fieldPath: Invalid value: \" \": fieldPath must be non-empty if specified",
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
        ),
        (
            json!({"rule": "self.a"}),
            "rule: Invalid value: {\"rule\":\"self.a\"}: cel expression must evaluate to a bool",
        ),
        (
            json!({"rule": "true", "messageExpression": "self.a"}),
            "messageExpression: Invalid value: {\"messageExpression\":\"self.a\",\"rule\":\"true\"}: messageExpression must evaluate to a string",
        ),
    ] {
        refused(&with(rule), &format!("{at}.{expected}"));
    }
    let unknown = faults(&with(json!({"rule": "self.b > 0"}))).join("\n");
    assert!(unknown.contains("compilation failed: ERROR: <input>:1:5: undefined field 'b'"), "{unknown}");
    let mismatch = faults(&with(json!({"rule": "self.a == 'x'"}))).join("\n");
    assert!(mismatch.contains("found no matching overload for '_==_'"), "{mismatch}");
    let compared = field(
        json!({"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}),
    );
    refused(
        &compared,
        "s.properties[f].items.x-kubernetes-validations[0].rule: Invalid value: \"self >= oldSelf\": oldSelf cannot be used on the \
         uncorrelatable portion of the schema within s.properties[f]",
    );
    let untyped =
        field(json!({"x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-validations": [{"rule": "true"}]}));
    assert!(faults(&untyped).join("\n").contains("rule declared on schema that does not support validation rules"));
}

#[test]
fn a_status_that_is_written_apart_asks_for_a_plain_root() {
    let schema =
        json!({"type": "object", "anyOf": [{"required": ["spec"]}], "properties": {"spec": {"type": "object"}}});
    let told = |status| {
        super::schema(&schema, &Path::start("s"), status).iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(told(false), "");
    assert!(told(true).contains("fields are allowed at the root of the schema if the status subresource is enabled"));
}

#[test]
fn what_others_generate_is_accepted() {
    let schema = json!({"type": "object", "description": "A thing.", "required": ["spec"], "properties": {
        "apiVersion": {"type": "string", "description": "x"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
        "spec": {"type": "object", "properties": {
            "port": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true},
            "limit": {"allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}], "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+$", "x-kubernetes-int-or-string": true},
            "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": {"type": "object",
                "required": ["type"], "properties": {"type": {"type": "string", "maxLength": 316}, "lastTransitionTime": {"type": "string", "format": "date-time"}}}},
            "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        }, "oneOf": [{"required": ["port"]}, {"required": ["limit"]}]},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    assert_eq!(faults(&schema), [] as [&str; 0]);
}
