//! Kinds that users define: served at once, like any other, until they go.

mod conversion;
mod ending;
mod forms;
mod names;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, World, within};
use crate::watching::Events;

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// The definition of widgets.
pub fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all", "toys"]},
            "versions": [version("v1")],
        },
    })
}

/// A version of widgets, which is served and stored.
pub fn version(name: &str) -> Value {
    json!({
        "name": name, "served": true, "storage": true,
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.copies",
            "statusReplicasPath": ".status.copies", "labelSelectorPath": ".status.selector"}},
        "additionalPrinterColumns": [
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "description": "What it looks like."},
            {"name": "Copies", "type": "integer", "jsonPath": ".spec.copies", "priority": 1},
        ],
        "selectableFields": [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.big"}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "color": {"type": "string"}, "shape": {"type": "string", "default": "round"},
                "copies": {"type": "integer", "minimum": 0}, "big": {"type": "boolean"},
            }},
            "status": {"type": "object", "properties": {
                "copies": {"type": "integer"}, "selector": {"type": "string"}, "phase": {"type": "string"},
            }},
        }}},
    })
}

pub fn widget(name: &str, color: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"color": color}})
}

/// The condition of a definition.
pub fn condition<'d>(definition: &'d Value, kind: &str) -> &'d Value {
    let conditions = definition["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

/// Asks until the answer is as wanted.
pub async fn until(caller: &Caller, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    within(async {
        loop {
            let answer = caller.get(path).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

#[tokio::test]
async fn it_is_served_the_moment_its_definition_is_made() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let made = root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    assert_eq!((&made["kind"], &made["spec"]["color"]), (&json!("Widget"), &json!("red")));
    assert_eq!((&made["spec"]["shape"], &made["metadata"]["generation"]), (&json!("round"), &json!(1)));
    assert!(made["metadata"]["uid"].is_string());
    let definition = root.get(&format!("{DEFINITIONS}/widgets.example.com")).await.expect(200);
    for kind in ["NamesAccepted", "Established"] {
        assert_eq!(condition(&definition, kind)["status"], "True", "{definition}");
    }
    let accepted = &definition["status"]["acceptedNames"];
    assert_eq!(
        (&accepted["singular"], &accepted["listKind"], &accepted["shortNames"]),
        (&json!("widget"), &json!("WidgetList"), &json!(["wd"]))
    );
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
    let list = root.get(WIDGETS).await.expect(200);
    assert_eq!((&list["kind"], &list["items"]), (&json!("WidgetList"), &json!([made])));
    assert_eq!(root.get("/apis/example.com/v1/widgets").await.expect(200)["items"], json!([made]));
}

#[tokio::test]
async fn its_objects_are_changed_in_every_way() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let mut object = root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    let path = format!("{WIDGETS}/a");
    object["spec"]["color"] = "blue".into();
    let put = root.put(&path, &object).await.expect(200);
    assert_eq!((&put["spec"]["color"], &put["metadata"]["generation"]), (&json!("blue"), &json!(2)));
    root.put(&path, &object).await.refused(409);
    let merged = root.patch(&path, "merge-patch", &json!({"spec": {"color": null, "copies": 2}})).await.expect(200);
    assert_eq!(merged["spec"], json!({"copies": 2, "shape": "round"}));
    let patch = json!([{"op": "test", "path": "/spec/copies", "value": 2}, {"op": "replace", "path": "/spec/copies", "value": 3}]);
    assert_eq!(root.patch(&path, "json-patch", &patch).await.expect(200)["spec"]["copies"], 3);
    root.patch(&path, "strategic-merge-patch", &json!({})).await.refused(415);
    let applied = |color: &str| {
        format!("apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: b}}\nspec: {{color: {color}}}\n")
    };
    let apply = root.with("content-type", "application/apply-patch+yaml");
    let other = format!("{WIDGETS}/b?fieldManager=me");
    apply.send(Method::PATCH, &other, applied("green")).await.expect(201);
    let owned = apply.send(Method::PATCH, &other, applied("gray")).await.expect(200);
    assert_eq!(owned["spec"]["color"], "gray");
    assert_eq!(owned["metadata"]["managedFields"][0]["manager"], "me");
    let mut wrong = widget("c", "red");
    wrong["spec"]["copies"] = (-1).into();
    assert!(root.post(WIDGETS, &wrong).await.refused(422).contains("spec.copies"));
    root.delete(&path).await.expect(200);
    root.get(&path).await.refused(404);
}

#[tokio::test]
async fn discovery_tells_it_in_both_forms() {
    let world = World::start().await;
    let root = world.root();
    assert_eq!(root.get("/apis/example.com/v1").await.text(), "404 page not found\n");
    let own = root.get("/apis/apiextensions.k8s.io").await.expect(200);
    assert_eq!(own["versions"], json!([{"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"}]));
    let own = root.get("/apis/apiextensions.k8s.io/v1").await.expect(200);
    assert!(own["resources"].as_array().into_iter().flatten().any(|r| r["name"] == "customresourcedefinitions"));
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let groups = root.get("/apis").await.expect(200);
    let mut groups = groups["groups"].as_array().expect("groups").iter();
    let group = groups.find(|g| g["name"] == "example.com").expect("told");
    assert_eq!(group["preferredVersion"]["groupVersion"], "example.com/v1");
    assert_eq!(root.get("/apis/example.com").await.expect(200)["versions"][0]["version"], "v1");
    let list = root.get("/apis/example.com/v1").await.expect(200);
    let resource = &list["resources"][0];
    assert_eq!((&resource["name"], &resource["singularName"]), (&json!("widgets"), &json!("widget")));
    assert_eq!((&resource["shortNames"], &resource["categories"]), (&json!(["wd"]), &json!(["all", "toys"])));
    assert_eq!(resource["verbs"].as_array().map(Vec::len), Some(8));
    let names: Vec<&str> =
        list["resources"].as_array().into_iter().flatten().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["widgets", "widgets/scale", "widgets/status"]);
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let whole = root.with("accept", aggregated).get("/apis").await.expect(200);
    let group = whole["items"].as_array().into_iter().flatten().find(|i| i["metadata"]["name"] == "example.com");
    let resource = &group.expect("told")["versions"][0]["resources"][0];
    assert_eq!(
        (&resource["resource"], &resource["responseKind"]["kind"], &resource["scope"]),
        (&json!("widgets"), &json!("Widget"), &json!("Namespaced"))
    );
    let spec = root.get("/openapi/v3").await.expect(200);
    assert!(spec["paths"]["apis/example.com/v1"].is_object(), "{spec}");
}

#[tokio::test]
async fn people_get_the_columns_of_its_definition() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    let table = root.with("accept", TABLE).get(WIDGETS).await.expect(200);
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(columns, ["Name", "Color", "Copies"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", "red", null]));
}

#[tokio::test]
async fn its_status_and_scale_are_written_apart() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let mut object = widget("a", "red");
    object["status"] = json!({"phase": "Forged"});
    let made = root.post(WIDGETS, &object).await.expect(201);
    assert!(made.get("status").is_none(), "{made}");
    let path = format!("{WIDGETS}/a");
    let broken = root.get(&format!("{path}/scale")).await.refused(500);
    assert!(broken.contains("the spec replicas field \".spec.copies\" does not exist"), "{broken}");
    let scaled =
        root.patch(&format!("{path}/scale"), "merge-patch", &json!({"spec": {"replicas": 3}})).await.expect(200);
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    let status = json!({"status": {"copies": 2, "selector": "a=b", "phase": "Growing"}, "spec": {"color": "other"}});
    let reported = root.patch(&format!("{path}/status"), "merge-patch", &status).await.expect(200);
    assert_eq!((&reported["spec"]["color"], &reported["status"]["phase"]), (&json!("red"), &json!("Growing")));
    assert_eq!(reported["metadata"]["generation"], 2, "raised by what is wanted alone");
    let mut scale = root.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=b"}));
    scale["spec"]["replicas"] = 5.into();
    root.put(&format!("{path}/scale"), &scale).await.expect(200);
    assert_eq!(root.get(&path).await.expect(200)["spec"]["copies"], 5);
    let whole = json!({"status": {"phase": "Forged"}, "spec": {"copies": 6}});
    let kept = root.patch(&path, "merge-patch", &whole).await.expect(200);
    assert_eq!((&kept["status"]["phase"], &kept["spec"]["copies"]), (&json!("Growing"), &json!(6)));
    assert!(root.get(&format!("{path}/log")).await.refused(404).contains("widgets.example.com \"a\" not found"));
}

#[tokio::test]
async fn its_objects_are_selected_by_the_fields_it_names() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let start = root.get(WIDGETS).await.expect(200)["metadata"]["resourceVersion"].clone();
    let select = format!("{WIDGETS}?fieldSelector=spec.color=red");
    let watch = format!("{select}&watch=1&resourceVersion={}", start.as_str().expect("a version"));
    let mut events = Events::open(&root, &watch).await;
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        let mut object = widget(name, color);
        object["spec"]["big"] = (name == "c").into();
        root.post(WIDGETS, &object).await.expect(201);
    }
    root.patch(&format!("{WIDGETS}/a"), "merge-patch", &json!({"spec": {"color": "blue"}})).await.expect(200);
    let mut steps = Vec::new();
    for _ in 0..3 {
        steps.push(events.step().await);
    }
    let expected = [("ADDED", "a"), ("ADDED", "c"), ("DELETED", "a")];
    assert_eq!(steps, expected.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
    let names = async |query: &str| {
        let list = root.get(&format!("{WIDGETS}?fieldSelector={query}")).await.expect(200);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|i| i["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("spec.color=blue").await, ["a", "b"]);
    assert_eq!(names("spec.color!=blue").await, ["c"]);
    assert_eq!(names("spec.big=true").await, ["c"]);
    let refused = root.get(&format!("{WIDGETS}?fieldSelector=spec.shape=round")).await.refused(400);
    assert!(refused.contains("field label not supported: spec.shape"), "{refused}");
}

#[tokio::test]
async fn a_definition_has_a_status_of_its_own() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut read = root.get(&format!("{path}/status")).await.expect(200);
    let own = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set by hand",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    read["status"]["conditions"].as_array_mut().expect("conditions").push(own.clone());
    root.put(&format!("{path}/status"), &read).await.expect(200);
    let patch = json!({"spec": {"scope": "Cluster"}});
    let patched = root.patch(&format!("{path}/status"), "merge-patch", &patch).await.expect(200);
    assert_eq!(patched["spec"]["scope"], "Namespaced");
    assert_eq!(condition(&patched, "StatusUpdate")["message"], "Set by hand");
    assert_eq!(condition(&patched, "Established")["status"], "True");
    root.get(WIDGETS).await.expect(200);
}
