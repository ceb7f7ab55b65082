use serde_json::{Value, json};

use crate::fixtures::{object, version};

fn filled(schema: &Value, spec: &Value) -> Value {
    let version = version(schema);
    let mut object = object(spec);
    version.schema.fill(&mut object);
    let mut again = object.clone();
    version.schema.fill(&mut again);
    assert_eq!(object, again, "twice is once");
    object["spec"].take()
}

#[test]
fn absent_values_become_their_defaults() {
    let schema = json!({"type": "object", "default": {}, "properties": {
        "replicas": {"type": "integer", "default": 1},
        "template": {"type": "object", "default": {"image": "a"}, "properties": {
            "image": {"type": "string"}, "pull": {"type": "string", "default": "Always"}}},
        "ports": {"type": "array", "items": {"type": "object", "properties": {"protocol": {"type": "string", "default": "TCP"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "default": "none"}},
        "plain": {"type": "string"},
    }});
    assert_eq!(filled(&schema, &json!({})), json!({"replicas": 1, "template": {"image": "a", "pull": "Always"}}));
    let given =
        json!({"replicas": 0, "template": {}, "ports": [{}, {"protocol": "UDP"}], "labels": {"a": null, "b": "c"}});
    let expected = json!({"replicas": 0, "template": {"pull": "Always"}, "ports": [{"protocol": "TCP"}, {"protocol": "UDP"}],
        "labels": {"a": "none", "b": "c"}});
    assert_eq!(filled(&schema, &given), expected);
    // The object itself has a default, too.
    let mut bare = json!({"kind": "CronTab"});
    version(&schema).schema.fill(&mut bare);
    assert_eq!(bare["spec"]["replicas"], 1);
}

#[test]
fn a_null_is_absent_where_none_may_be() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "x"}, "b": {"type": "string"}, "c": {"type": "string", "nullable": true},
        "d": {"type": "string", "nullable": true, "default": "y"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"e": {"type": "string"}}}},
    }});
    let given = json!({"a": null, "b": null, "c": null, "d": null, "list": [{"e": null}]});
    assert_eq!(filled(&schema, &given), json!({"a": "x", "c": null, "d": null, "list": [{}]}));
}
