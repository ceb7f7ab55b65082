use serde_json::json;

use super::*;
use crate::kind::Registry;

fn read(kind: &str, text: &str, format: Format, mode: FieldValidation) -> Result<Decoded, Status> {
    let kind = Registry::builtin().find(kind).expect("a kind").clone();
    decode(&kind, text.as_bytes(), format, mode)
}

fn strict(kind: &str, value: &Value) -> Result<Value, String> {
    read(kind, &value.to_string(), Format::Json, FieldValidation::Strict).map(|d| d.object).map_err(|e| e.message)
}

#[test]
fn unknown_and_repeated_fields_are_named() {
    let text = r#"{"metadata":{"name":"a","name":"b"},"spec":{"foo":{"x":1},"containers":[{"name":"c","bar":[1]}]}}"#;
    let warned = read("pods", text, Format::Json, FieldValidation::Warn).expect("an object");
    assert_eq!(
        warned.warnings,
        ["duplicate field \"metadata.name\"", "unknown field \"spec.foo\"", "unknown field \"spec.containers[0].bar\""]
    );
    let pruned =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}, "spec": {"containers": [{"name": "c"}]}});
    assert_eq!(warned.object, pruned);
    let ignored = read("pods", text, Format::Json, FieldValidation::Ignore).expect("an object");
    assert_eq!((ignored.object, ignored.warnings.len()), (pruned, 0));
    let refused = read("pods", text, Format::Json, FieldValidation::Strict).expect_err("refused");
    assert_eq!(
        refused.message,
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: duplicate field \"metadata.name\", \
         unknown field \"spec.foo\", unknown field \"spec.containers[0].bar\""
    );
    assert_eq!(refused.code(), 400);
}

#[test]
fn wrong_types_are_named() {
    for (object, what) in [
        (json!({"spec": {"replicas": "3"}}), "spec.replicas: expected a whole number of 32 bits, found string \"3\""),
        (json!({"spec": {"replicas": 3_000_000_000i64}}), "spec.replicas: expected a whole number of 32 bits"),
        (json!({"spec": {"paused": 1}}), "spec.paused: expected true or false, found number 1"),
        (json!({"spec": []}), "spec: expected an object, found a list"),
        (
            json!({"spec": {"template": {"spec": {"containers": [{}, {"env": [{"name": "a", "value": 1}]}]}}}}),
            "spec.template.spec.containers[1].env[0].value: expected a string, found number 1",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "many"}}}]}}}}),
            "spec.template.spec.containers[0].resources.limits.cpu: \"many\" is no quantity",
        ),
        (json!({"metadata": {"creationTimestamp": "today"}}), "metadata.creationTimestamp: \"today\" is no time stamp"),
        (json!({"apiVersion": "apps/v2"}), "the API version in the data (apps/v2) does not match"),
        (json!({"kind": "Pod"}), "does not match the expected kind (Deployment)"),
        (json!([]), "expected an object"),
    ] {
        let error = strict("deployments", &object).expect_err("refused");
        assert!(error.contains(what), "{error}\n{what}");
    }
    let error = strict("secrets", &json!({"data": {"a": "b*=="}})).expect_err("refused");
    assert!(error.contains("data.a: illegal base64 data at input byte 1"), "{error}");
    let error = read("pods", "{\"a\": ", Format::Json, FieldValidation::Warn).expect_err("refused");
    assert!(error.message.contains("line 1 column"), "{error}");
}

#[test]
fn values_take_their_canonical_form() {
    let object = strict(
        "pods",
        &json!({
            "metadata": {"creationTimestamp": null, "labels": {"a": null}, "deletionTimestamp": "2026-01-01T02:00:00+02:00"},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}},
                "ports": [{"containerPort": 80.0}], "livenessProbe": {"httpGet": {"port": "http"}}}]},
        }),
    )
    .expect("a pod");
    assert_eq!(object["metadata"], json!({"labels": {"a": ""}, "deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let container = &object["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"], json!({"cpu": "500m", "memory": "1Gi"}));
    assert_eq!(
        (&container["ports"][0]["containerPort"], &container["livenessProbe"]["httpGet"]["port"]),
        (&json!(80), &json!("http"))
    );
}

#[test]
fn free_objects_are_kept_whole() {
    let data = json!({"spec": {"x": [1, {"y": null}]}, "z": 1.5});
    let object = strict("controllerrevisions", &json!({"revision": 1, "data": data.clone()})).expect("an object");
    assert_eq!(object["data"], data);
}

#[test]
fn yaml_follows_the_rules_of_manifests() {
    let text = "
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  shareProcessNamespace: yes
  containers:
  - &c {name: c, image: x}
  - {<<: *c, name: d}
  volumes:
  - name: v
    secret: {secretName: s, defaultMode: 0644}
  colour: red
";
    let decoded = read("pods", text, Format::Yaml, FieldValidation::Warn).expect("a pod");
    assert_eq!(decoded.warnings, ["unknown field \"spec.colour\""]);
    let spec = &decoded.object["spec"];
    assert_eq!(spec["volumes"][0]["secret"]["defaultMode"], json!(420));
    assert_eq!(spec["containers"][1], json!({"name": "d", "image": "x"}));
    assert_eq!(spec["shareProcessNamespace"], json!(true));
    let error = read("pods", text, Format::Yaml, FieldValidation::Strict).expect_err("refused");
    assert!(error.message.contains("strict decoding error: unknown field \"spec.colour\""), "{error}");
    let twice = "metadata: {name: a}\nmetadata: {name: b}\n";
    let error = read("pods", twice, Format::Yaml, FieldValidation::Strict).expect_err("refused");
    assert!(error.message.contains("duplicate field \"metadata\""), "{error}");
    let number = "metadata: {name: 12}\n";
    let error = read("pods", number, Format::Yaml, FieldValidation::Warn).expect_err("refused");
    assert!(error.message.contains("metadata.name: expected a string, found number 12"), "{error}");
    for wrong in ["a: [", "- 1", "a: 1\n---\nb: 2\n", ""] {
        assert!(read("pods", wrong, Format::Yaml, FieldValidation::Warn).is_err(), "{wrong:?}");
    }
}

#[test]
fn depth_is_limited() {
    let deep = format!("{{\"data\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    for format in [Format::Json, Format::Yaml] {
        assert!(read("controllerrevisions", &deep, format, FieldValidation::Ignore).is_err());
        assert!(untyped(deep.as_bytes(), format).is_err());
    }
}

#[test]
fn objects_in_memory_take_the_same_path() {
    let kind = Registry::builtin().find("pods").expect("pods").clone();
    let decoded = value(&kind, json!({"spec": {"x": 1}}), FieldValidation::Warn).expect("a pod");
    assert_eq!(decoded.warnings, ["unknown field \"spec.x\""]);
    assert!(value(&kind, json!({"spec": 1}), FieldValidation::Warn).is_err());
}
