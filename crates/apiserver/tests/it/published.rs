//! What clients are told of kinds that users define: both versions of OpenAPI, as the definitions come, change and go.

use serde_json::{Value, json};

use crate::support::{Caller, World};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn foo() -> Value {
    json!({"type": "object", "description": "Foo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {"bars": {
            "type": "array", "description": "List of Bars and their specs.", "items": {"type": "object", "required": ["name"],
                "properties": {"name": {"type": "string", "description": "Name of Bar."}, "age": {"type": "string"},
                    "feeling": {"type": "string", "enum": ["Great", "Down"]}, "bazs": {"type": "array", "items": {"type": "string"}}}}}}},
        "status": {"type": "object", "properties": {"bars": {"type": "array", "items": {"type": "object"}}}}}})
}

fn version(name: &str, storage: bool, schema: &Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}

fn definition(group: &str, kind: &str, versions: &[Value]) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": versions}})
}

/// The definition of a name in version 2, if there is one.
async fn told(root: &Caller, name: &str) -> Option<Value> {
    root.get("/openapi/v2").await.expect(200)["definitions"].get(name).cloned()
}

/// What of a schema the definition itself says.
fn own(mut schema: Value) -> Value {
    for name in ["apiVersion", "kind", "metadata"] {
        assert!(schema["properties"][name].is_object(), "{schema}");
        schema["properties"].as_object_mut().expect("properties").remove(name);
    }
    assert!(schema["x-kubernetes-group-version-kind"].is_array());
    schema.as_object_mut().expect("a schema").remove("x-kubernetes-group-version-kind");
    schema
}

#[tokio::test]
async fn schemas_are_told_as_they_were_written() {
    let world = World::start().await;
    let root = world.root();
    let name = "com.example.pub.v1.Foo";
    assert_eq!(told(&root, name).await, None);
    let before = root.get("/openapi/v2").await.headers["etag"].clone();
    root.post(DEFINITIONS, &definition("pub.example.com", "Foo", &[version("v1", true, &foo())])).await.expect(201);
    assert_ne!(root.get("/openapi/v2").await.headers["etag"], before);
    assert_eq!(told(&root, name).await.map(own), Some(foo()));
    let document = root.get("/openapi/v3/apis/pub.example.com/v1").await.expect(200);
    assert_eq!(own(document["components"]["schemas"][name].clone()), foo());
    let path = "/apis/pub.example.com/v1/namespaces/{namespace}/foos/{name}";
    let kind = json!({"group": "pub.example.com", "version": "v1", "kind": "Foo"});
    assert_eq!(document["paths"][path]["get"]["x-kubernetes-group-version-kind"], kind);
    root.delete(&format!("{DEFINITIONS}/foos.pub.example.com")).await.expect(200);
    crate::custom::until(&root, "/openapi/v3/apis/pub.example.com/v1", |answer| answer.code == 404).await;
    assert_eq!(told(&root, name).await, None);
}

#[tokio::test]
async fn what_may_hold_anything_is_told_as_an_object() {
    let world = World::start().await;
    let root = world.root();
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let nested = json!({"type": "object", "properties": {"spec": {"type": "object", "description": "Anything.",
        "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}}}});
    for (kind, schema) in [("Open", &open), ("Nested", &nested)] {
        root.post(DEFINITIONS, &definition("any.example.com", kind, &[version("v1", true, schema)])).await.expect(201);
    }
    let told_open = told(&root, "com.example.any.v1.Open").await.expect("told");
    assert!(told_open.get("properties").is_none() && told_open["type"] == "object", "{told_open}");
    let told_nested = told(&root, "com.example.any.v1.Nested").await.expect("told");
    assert_eq!(
        told_nested["properties"]["spec"],
        json!({"description": "Anything.", "x-kubernetes-preserve-unknown-fields": true})
    );
}

#[tokio::test]
async fn kinds_versions_and_groups_are_told_apart() {
    let world = World::start().await;
    let root = world.root();
    let other =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": {"type": "integer"}}}}});
    for definition in [
        definition("one.example.com", "Foo", &[version("v1", true, &foo()), version("v2", false, &other)]),
        definition("one.example.com", "Waldo", &[version("v1", true, &other)]),
        definition("two.example.com", "Foo", &[version("v1", true, &other)]),
    ] {
        root.post(DEFINITIONS, &definition).await.expect(201);
    }
    for (name, schema) in [
        ("com.example.one.v1.Foo", foo()),
        ("com.example.one.v2.Foo", other.clone()),
        ("com.example.one.v1.Waldo", other.clone()),
        ("com.example.two.v1.Foo", other.clone()),
    ] {
        assert_eq!(told(&root, name).await.map(own), Some(schema), "{name}");
    }
    let groups = root.get("/apis/one.example.com").await.expect(200);
    assert_eq!(groups["preferredVersion"]["version"], "v2");
}

#[tokio::test]
async fn a_version_that_is_renamed_or_not_served_is_no_longer_told() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{DEFINITIONS}/foos.turn.example.com");
    let both = definition("turn.example.com", "Foo", &[version("v2", true, &foo()), version("v3", false, &foo())]);
    root.post(DEFINITIONS, &both).await.expect(201);
    let renamed = json!([{"op": "test", "path": "/spec/versions/1/name", "value": "v3"},
        {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]);
    root.patch(&path, "json-patch", &renamed).await.expect(200);
    assert_eq!(told(&root, "com.example.turn.v4.Foo").await.map(own), Some(foo()));
    assert_eq!(told(&root, "com.example.turn.v3.Foo").await, None);
    let unchanged = told(&root, "com.example.turn.v2.Foo").await;
    assert_eq!(unchanged.clone().map(own), Some(foo()));
    let hidden = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    root.patch(&path, "json-patch", &hidden).await.expect(200);
    assert_eq!(told(&root, "com.example.turn.v4.Foo").await, None);
    assert_eq!(told(&root, "com.example.turn.v2.Foo").await, unchanged);
}
