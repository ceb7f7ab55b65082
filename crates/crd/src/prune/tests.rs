use serde_json::{Value, json};

use crate::fixtures::{object, version};

fn pruned(schema: &Value, spec: &Value) -> (Value, Vec<String>, Vec<String>) {
    let mut object = object(spec);
    let found = version(schema).schema.prune(&mut object);
    let faults = found.faults.iter().map(ToString::to_string).collect();
    (object["spec"].take(), found.unknown, faults)
}

#[test]
fn unknown_fields_go_and_are_named() {
    let schema = json!({"type": "object", "properties": {
        "name": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "any": {"type": "object", "additionalProperties": true},
    }});
    let spec = json!({"name": "x", "more": 1, "list": [{"a": "1", "b": 2}, {"c": {}}], "map": {"k": {"a": "1", "z": 1}},
        "any": {"plain": 1, "deep": {"gone": 1}}});
    let (left, unknown, _) = pruned(&schema, &spec);
    assert_eq!(
        left,
        json!({"name": "x", "list": [{"a": "1"}, {}], "map": {"k": {"a": "1"}}, "any": {"plain": 1, "deep": {}}})
    );
    assert_eq!(unknown, ["spec.any.deep.gone", "spec.list[0].b", "spec.list[1].c", "spec.map.k.z", "spec.more"]);
}

#[test]
fn what_is_preserved_stays_and_what_is_named_in_it_is_still_pruned() {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "known": {"type": "object", "properties": {"a": {"type": "string"}}},
    }});
    let spec = json!({"free": {"x": [{"y": null}]}, "known": {"a": "1", "b": 2}});
    let (left, unknown, _) = pruned(&schema, &spec);
    assert_eq!(left, json!({"free": {"x": [{"y": null}]}, "known": {"a": "1"}}));
    assert_eq!(unknown, ["spec.known.b"]);
}

#[test]
fn embedded_objects_keep_what_every_object_has() {
    let schema = json!({"type": "object", "properties": {"pod": {"type": "object", "x-kubernetes-embedded-resource": true,
        "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "bogus": 1},
        "spec": {"a": "1", "b": 2}, "other": true});
    let (left, unknown, faults) = pruned(&schema, &json!({"pod": pod}));
    assert_eq!(
        left["pod"],
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"a": "1"}})
    );
    assert_eq!(unknown, ["spec.pod.other", "spec.pod.spec.b", "spec.pod.metadata.bogus"]);
    assert!(faults.is_empty());
    let (_, _, faults) =
        pruned(&schema, &json!({"pod": {"apiVersion": 1, "kind": "Pod", "metadata": {"labels": {"a": 1}}}}));
    assert_eq!(
        faults,
        [
            "spec.pod.apiVersion: Invalid value: 1: must be a string",
            "spec.pod.metadata.labels: Invalid value: {\"a\":1}: must be an object of strings"
        ]
    );
}

#[test]
fn what_the_server_knows_of_every_object_stays() {
    let mut object = object(&json!({}));
    object["status"] = json!({"gone": 1});
    let version = version(&json!({"type": "object"}));
    let found = version.schema.prune(&mut object);
    assert_eq!(found.unknown, ["status"]);
    assert_eq!(object["metadata"]["name"], "one");
}
