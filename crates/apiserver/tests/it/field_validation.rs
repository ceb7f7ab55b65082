//! What becomes of fields that no schema knows, and of those that stand there twice, in objects of kinds that users define.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, World};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NOXUS: &str = "/apis/fields.example.com/v1/noxus";

/// The definition of noxus with this schema.
fn definition(schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "noxus.fields.example.com"},
        "spec": {"group": "fields.example.com", "scope": "Cluster", "names": {"plural": "noxus", "kind": "Noxu"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
    })
}

/// A schema whose `spec` keeps fields that it does not know, or not.
fn schema(keeps: bool) -> Value {
    let port = json!({"type": "object", "required": ["containerPort", "protocol"], "properties": {
        "containerPort": {"type": "integer", "format": "int32"}, "name": {"type": "string"}, "protocol": {"type": "string"}}});
    let mut spec = json!({"type": "object", "properties": {
        "foo": {"type": "string"},
        "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
        "ports": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "items": port},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true,
            "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string"}}}, "spec": {"type": "object"}}},
    }});
    if keeps {
        spec["x-kubernetes-preserve-unknown-fields"] = json!(true);
    }
    json!({"type": "object", "properties": {"spec": spec}})
}

async fn served(world: &World, schema: Value) -> Caller {
    let root = world.root();
    root.post(DEFINITIONS, &definition(schema)).await.expect(201);
    root
}

async fn applied(root: &Caller, rest: &str) -> Answer {
    let body = format!(
        "\napiVersion: fields.example.com/v1\nkind: Noxu\nmetadata:\n  name: mytest\n{rest}  cronSpec: \"* * * * */5\"\n  ports:\n  \
         - name: x\n    containerPort: 80\n    protocol: TCP"
    );
    let root = root.with("content-type", "application/apply-patch+yaml");
    root.send(Method::PATCH, &format!("{NOXUS}/mytest?fieldManager=me&fieldValidation=Strict"), body).await
}

#[tokio::test]
async fn valid_objects_are_applied() {
    let world = World::start().await;
    let root = served(&world, schema(false)).await;
    let made = applied(&root, "  finalizers:\n  - test-finalizer\nspec:\n  foo: foo1\n").await.expect(201);
    assert_eq!((&made["spec"]["foo"], &made["metadata"]["generation"]), (&json!("foo1"), &json!(1)));
}

#[tokio::test]
async fn where_nothing_is_said_anything_is_applied() {
    let world = World::start().await;
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let root = served(&world, anything).await;
    let made = applied(&root, "spec:\n  unknown: uk1\n").await.expect(201);
    assert_eq!(made["spec"]["unknown"], "uk1");
}

#[tokio::test]
async fn unknown_fields_are_not_applied() {
    let world = World::start().await;
    let root = served(&world, schema(false)).await;
    let message = applied(&root, "unknownField: unknown\nspec:\n  foo: foo1\n").await.refused(400);
    assert!(message.contains(".unknownField: field not declared in schema"), "{message}");
    root.get(&format!("{NOXUS}/mytest")).await.refused(404);
}

#[tokio::test]
async fn unknown_metadata_is_not_applied_wherever_it_stands() {
    let world = World::start().await;
    let root = served(&world, schema(true)).await;
    let template =
        "    kind: Sub\n    apiVersion: foo/v1\n    metadata:\n      unknownSubMeta: unknown\n      name: sub\n";
    let rest = format!("  unknownMeta: unknown\nspec:\n  template:\n{template}  foo: foo1\n");
    let message = applied(&root, &rest).await.refused(400);
    for path in [".metadata.unknownMeta", ".spec.template.metadata.unknownSubMeta"] {
        assert!(message.contains(&format!("{path}: field not declared in schema")), "{message}");
    }
}

#[tokio::test]
async fn repeated_fields_are_told_by_their_line_also_where_unknown_ones_are_kept() {
    let world = World::start().await;
    let root = served(&world, schema(true)).await;
    let rest = "  finalizers:\n  - test-finalizer\nspec:\n  unknown: uk1\n  foo: foo1\n  foo: foo2\n";
    let message = applied(&root, rest).await.refused(400);
    assert!(message.contains("line 11: key \"foo\" already set in map"), "{message}");
}

/// What is odd about an object that is written with JSON.
const ODD: [&str; 4] = [
    "duplicate field \"spec.foo\"",
    "unknown field \"metadata.unknownMeta\"",
    "unknown field \"spec.surplus\"",
    "unknown field \"spec.template.metadata.unknownSubMeta\"",
];

fn odd(name: &str, version: &str) -> String {
    format!(
        "{{\"apiVersion\": \"fields.example.com/v1\", \"kind\": \"Noxu\", \"metadata\": {{\"name\": \"{name}\", \"unknownMeta\": 1, \
         \"resourceVersion\": \"{version}\"}}, \"spec\": {{\"foo\": \"a\", \"foo\": \"b\", \"surplus\": 1, \"template\": {{\
         \"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"p\", \"unknownSubMeta\": 1}}}}}}}}"
    )
}

fn warnings(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("warning").iter().map(|v| v.to_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn every_way_of_writing_tells_what_is_odd() {
    let world = World::start().await;
    let root = served(&world, schema(false)).await;
    let json_body = root.with("content-type", "application/json");
    let refused =
        json_body.send(Method::POST, &format!("{NOXUS}?fieldValidation=Strict"), odd("a", "")).await.refused(400);
    let expected =
        format!("Noxu in version \"v1\" cannot be handled as a Noxu: strict decoding error: {}", ODD.join(", "));
    assert_eq!(refused, expected);
    let warned = json_body.send(Method::POST, NOXUS, odd("a", "")).await;
    let told = warnings(&warned);
    assert!(ODD.iter().zip(&told).all(|(odd, told)| told.contains(&odd.replace('"', "\\\""))), "{told:?}");
    let made = warned.expect(201);
    assert_eq!(
        made["spec"],
        json!({"foo": "b", "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}})
    );
    let one = format!("{NOXUS}/a");
    let version = made["metadata"]["resourceVersion"].as_str().expect("a version");
    let quiet = json_body.send(Method::PUT, &format!("{one}?fieldValidation=Ignore"), odd("a", version)).await;
    assert_eq!(warnings(&quiet), Vec::<String>::new());
    assert_eq!(quiet.expect(200)["metadata"]["resourceVersion"], version, "nothing changed");
    let strict = format!("{one}?fieldValidation=Strict");
    assert_eq!(json_body.send(Method::PUT, &strict, odd("a", version)).await.refused(400), expected);
    let surplus = json!({"spec": {"surplus": 1}});
    let message = root.patch(&strict, "merge-patch", &surplus).await.refused(400);
    assert!(message.ends_with("strict decoding error: unknown field \"spec.surplus\""), "{message}");
    let told = warnings(&root.patch(&one, "merge-patch", &surplus).await);
    assert!(told.len() == 1 && told[0].contains("unknown field \\\"spec.surplus\\\""), "{told:?}");
    let operation = json!([{"op": "add", "path": "/spec/surplus", "value": 1}]);
    root.patch(&strict, "json-patch", &operation).await.refused(400);
    assert_eq!(root.get(&one).await.expect(200)["spec"]["surplus"], json!(null));
}

#[tokio::test]
async fn only_a_state_that_was_seen_is_replaced() {
    let world = World::start().await;
    let root = served(&world, schema(false)).await;
    let object =
        json!({"apiVersion": "fields.example.com/v1", "kind": "Noxu", "metadata": {"name": "a"}, "spec": {"foo": "a"}});
    let one = format!("{NOXUS}/a");
    root.put(&one, &object).await.refused(404);
    let mut made = root.post(NOXUS, &object).await.expect(201);
    let message = root.put(&one, &object).await.refused(422);
    let why = "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update";
    assert_eq!(message, format!("noxus.fields.example.com \"a\" is invalid: {why}"));
    made["spec"]["foo"] = json!("b");
    root.put(&one, &made).await.expect(200);
    root.patch(&one, "merge-patch", &json!({"spec": {"foo": "c"}})).await.expect(200);
    let message =
        root.put(&format!("{DEFINITIONS}/noxus.fields.example.com"), &definition(schema(true))).await.refused(422);
    assert!(message.ends_with(why), "{message}");
}

#[tokio::test]
async fn an_object_keeps_the_rules_of_the_version_it_is_written_in() {
    let world = World::start().await;
    let root = world.root();
    let text = |most: usize| {
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "foo": {"type": "string", "maxLength": most}}}}})
    };
    let mut both = definition(text(2));
    let mut newer = both["spec"]["versions"][0].clone();
    (newer["name"], newer["storage"]) = (json!("v2"), json!(false));
    newer["schema"]["openAPIV3Schema"] = text(4);
    both["spec"]["versions"].as_array_mut().expect("versions").push(newer);
    root.post(DEFINITIONS, &both).await.expect(201);
    let noxus = NOXUS.replace("v1", "v2");
    let object = |foo: &str| json!({"kind": "Noxu", "metadata": {"name": "a"}, "spec": {"foo": foo}});
    root.post(NOXUS, &object("abc")).await.refused(422);
    let message = root.post(&noxus, &object("abcde")).await.refused(422);
    assert!(message.contains("may not be more than 4 bytes"), "{message}");
    root.post(&noxus, &object("abc")).await.expect(201);
    let change = |foo: &str| json!({"spec": {"foo": foo}});
    root.patch(&format!("{noxus}/a"), "merge-patch", &change("abcd")).await.expect(200);
    let message = root.patch(&format!("{NOXUS}/a"), "merge-patch", &change("xyz")).await.refused(422);
    assert!(message.contains("may not be more than 2 bytes"), "{message}");
    root.patch(&format!("{NOXUS}/a"), "merge-patch", &change("xy")).await.expect(200);
}
