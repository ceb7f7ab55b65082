use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kind::{Registry, fixture};

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

fn custom(text: &str, mode: FieldValidation) -> Result<Decoded, Status> {
    decode(&fixture::kind(&fixture::version()), text.as_bytes(), Format::Json, mode)
}

#[test]
fn custom_objects_are_pruned_by_their_own_schema() {
    let text = r#"{"kind": "CronTab", "metadata": {"name": "a", "labels": {"a": null}, "bogus": 1, "creationTimestamp": null},
        "spec": {"more": 1, "image": "x", "image": "y", "ports": [{"port": 80.0, "why": 1}], "note": null, "steps": null,
            "free": {"a": 1, "a": {"deep": null}, "list": [{"b": 1, "b": 2}]},
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "unknown": 1}, "spec": {"any": 1}}},
        "other": {}}"#;
    let told = custom(text, FieldValidation::Warn).expect("an object");
    assert_eq!(
        told.warnings,
        [
            "duplicate field \"spec.image\"",
            "duplicate field \"spec.free.a\"",
            "duplicate field \"spec.free.list[0].b\"",
            "unknown field \"metadata.bogus\"",
            "unknown field \"other\"",
            "unknown field \"spec.more\"",
            "unknown field \"spec.ports[0].why\"",
            "unknown field \"spec.template.metadata.unknown\"",
        ]
    );
    let spec = json!({"image": "y", "ports": [{"port": 80}], "note": null, "steps": null,
        "free": {"a": {"deep": null}, "list": [{"b": 2}]},
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"any": 1}}});
    let metadata = json!({"name": "a", "labels": {"a": ""}});
    let left = json!({"apiVersion": "example.com/v1", "kind": "CronTab", "metadata": metadata, "spec": spec});
    assert_eq!(told.object, left);
    let quiet = custom(text, FieldValidation::Ignore).expect("an object");
    assert_eq!((quiet.object, quiet.warnings.len()), (left, 0));
    let refused = custom(text, FieldValidation::Strict).expect_err("refused");
    let begins = "CronTab in version \"v1\" cannot be handled as a CronTab: strict decoding error: duplicate field \"spec.image\", duplicate field \"spec.free.a\", ";
    assert!(refused.message.contains(begins) && refused.code() == 400, "{refused}");
    assert!(refused.message.contains("unknown field \"spec.template.metadata.unknown\""), "{refused}");
}

#[test]
fn of_custom_objects_metadata_has_its_types() {
    for (text, what) in [
        (r#"{"metadata": {"labels": {"a": 1}}}"#, "metadata.labels.a: expected a string, found number 1"),
        (r#"{"metadata": []}"#, "metadata: expected an object, found a list"),
        (r#"{"kind": "Other"}"#, "does not match the expected kind (CronTab)"),
        (r#"{"apiVersion": "example.com/v2"}"#, "(example.com/v2) does not match"),
        (
            r#"{"spec": {"template": {"kind": "Pod", "metadata": {"labels": 1}}}}"#,
            "spec.template.metadata.labels: Invalid value: 1: must be an object of strings",
        ),
    ] {
        let error = custom(text, FieldValidation::Ignore).expect_err("refused");
        assert!(error.message.contains(what) && error.code() == 400, "{error}\n{what}");
    }
    // What its own schema says of types, validation tells.
    assert!(custom(r#"{"spec": {"replicas": "many"}}"#, FieldValidation::Strict).is_ok());
}

#[test]
fn what_is_applied_names_only_known_fields_and_each_once() {
    let kind = fixture::kind(&fixture::version());
    let told = |body: &str, mode| applied(&kind, body.as_bytes(), mode).map(|d| d.warnings).map_err(|e| e.message);
    let head = "\napiVersion: example.com/v1\nkind: CronTab\nmetadata:\n  name: a\n  namespace: home\n";
    for mode in [FieldValidation::Ignore, FieldValidation::Warn, FieldValidation::Strict] {
        assert_eq!(
            told(&format!("{head}surplus: 1\n"), mode),
            Err("failed to create typed patch object (home/a; example.com/v1, Kind=CronTab): .surplus: field not declared in \
                 schema"
                .to_owned())
        );
    }
    let both = format!("{head}surplus: 1\nspec: {{template: {{metadata: {{odd: 1}}}}}}\n");
    let error = told(&both, FieldValidation::Warn).expect_err("refused");
    assert!(
        error.ends_with(
            "errors:\n  .spec.template.metadata.odd: field not declared in schema\n  .surplus: field not declared in schema"
        ),
        "{error}"
    );
    let twice = format!("{head}spec:\n  free:\n    foo: foo1\n    foo: foo2\n");
    let error = told(&twice, FieldValidation::Strict).expect_err("refused");
    assert!(error.starts_with("error strict decoding YAML: "), "{error}");
    assert!(error.ends_with("line 10: key \"foo\" already set in map"), "{error}");
    assert_eq!(told(&twice, FieldValidation::Warn), Ok(vec!["duplicate field \"spec.free.foo\"".to_owned()]));
    assert_eq!(told(&format!("{head}spec: {{free: {{foo: 1}}}}\n"), FieldValidation::Strict), Ok(Vec::new()));
}

#[test]
fn a_type_that_is_no_object_takes_any_value() {
    let definition = crate::schema::Schema::builtin(
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    );
    assert!(definition.is_some());
    let kind = Kind::new(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        crate::kind::SchemaRef::Builtin(
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition".into(),
        ),
    );
    let schema = json!({"type": "object", "additionalProperties": true, "properties": {
        "a": {"default": 1, "enum": [1, "x", null]}, "b": {"items": {"type": "string"}, "default": ["y"]}}});
    let text = json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}).to_string();
    let decoded = decode(&kind, text.as_bytes(), Format::Json, FieldValidation::Strict).expect("a definition");
    assert_eq!(decoded.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"], schema);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..3i64).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop_oneof![
            "[a-c]",
            Just("ports".to_owned()),
            Just("free".to_owned()),
            Just("template".to_owned()),
            Just("spec".to_owned())
        ];
        let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
        let map = proptest::collection::btree_map(name, inner, 0..5);
        prop_oneof![list, map.prop_map(|map| Value::Object(map.into_iter().collect()))]
    })
}

proptest! {
    #[test]
    fn what_is_left_of_a_custom_object_is_known(spec in any_json()) {
        let kind = fixture::kind(&fixture::version());
        let object = json!({"apiVersion": "example.com/v1", "kind": "CronTab", "metadata": {"name": "a"}, "spec": spec});
        let once = value(&kind, object, FieldValidation::Warn).expect("an object").object;
        let again = value(&kind, once.clone(), FieldValidation::Strict).map(|d| d.object);
        prop_assert_eq!(again, Ok(once.clone()));
        // What is sent back as it was read is the same object.
        let sent = decode(&kind, once.to_string().as_bytes(), Format::Json, FieldValidation::Strict).map(|d| d.object);
        prop_assert_eq!(sent, Ok(once));
    }
}
