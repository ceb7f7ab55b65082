//! Versions, and objects from before a definition was what it is now.

use serde_json::{Value, json};

use super::{DEFINITIONS, WIDGETS, definition, version, widget};
use crate::support::World;
use crate::watching::Events;

const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
const NEWER: &str = "/apis/example.com/v2/namespaces/default/widgets";

/// Both versions, of which `stored` is stored.
fn versions(stored: &str) -> Value {
    ["v1", "v2"]
        .map(|name| {
            let mut version = version(name);
            version["storage"] = (name == stored).into();
            version
        })
        .to_vec()
        .into()
}

#[tokio::test]
async fn defaults_come_with_requests_and_from_storage() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let first = root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    assert_eq!(first["spec"]["shape"], "round", "its default of then");
    let version = first["metadata"]["resourceVersion"].clone();
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let patch = json!([
        {"op": "add", "path": format!("{at}/copies/default"), "value": 7},
        {"op": "remove", "path": format!("{at}/shape/default")},
    ]);
    root.patch(PATH, "json-patch", &patch).await.expect(200);
    let second = root.post(WIDGETS, &widget("b", "red")).await.expect(201);
    assert_eq!((&second["spec"]["copies"], second["spec"].get("shape")), (&json!(7), None));
    let expected = json!({"color": "red", "shape": "round", "copies": 7});
    let read = root.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(read["spec"], expected, "the default of then was written, the one of now is read");
    assert_eq!(read["metadata"]["resourceVersion"], version, "nothing was written");
    let list = root.get(WIDGETS).await.expect(200);
    assert_eq!(list["items"], json!([read, second]));
    let mut events = Events::open(&root, &format!("{WIDGETS}?watch=1&resourceVersion=0")).await;
    assert_eq!(events.next().await.expect("an event")["object"], read);
    let label = json!({"metadata": {"labels": {"l": "1"}}});
    let labelled = root.patch(&format!("{WIDGETS}/a"), "merge-patch", &label).await.expect(200);
    assert_eq!(labelled["metadata"]["generation"], 1, "what was read is no change");
}

#[tokio::test]
async fn watches_end_when_it_is_defined_otherwise_and_go_on_from_there() {
    let world = World::start().await;
    let root = world.root();
    let made = root.post(DEFINITIONS, &definition()).await.expect(201);
    let from = |version: &Value| format!("{WIDGETS}?watch=1&resourceVersion={}", version.as_str().expect("a version"));
    let mut events = Events::open(&root, &from(&made["metadata"]["resourceVersion"])).await;
    let status = json!({"metadata": {"annotations": {"a": "b"}}});
    root.patch(PATH, "merge-patch", &status).await.expect(200);
    let first = root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    assert_eq!(events.next().await.expect("an event")["object"], first, "it is the same kind still");
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/copies/default";
    root.patch(PATH, "json-patch", &json!([{"op": "add", "path": at, "value": 7}])).await.expect(200);
    assert_eq!(events.next().await, None);
    let mut events = Events::open(&root, &from(&first["metadata"]["resourceVersion"])).await;
    root.post(WIDGETS, &widget("b", "red")).await.expect(201);
    let next = events.next().await.expect("an event");
    assert_eq!((&next["object"]["metadata"]["name"], &next["object"]["spec"]["copies"]), (&json!("b"), &json!(7)));
}

#[tokio::test]
async fn what_is_no_longer_known_is_no_longer_shown() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/shape";
    root.patch(PATH, "json-patch", &json!([{"op": "remove", "path": at}])).await.expect(200);
    assert_eq!(root.get(&format!("{WIDGETS}/a")).await.expect(200)["spec"], json!({"color": "red"}));
}

#[tokio::test]
async fn all_versions_show_the_same_objects() {
    let world = World::start().await;
    let root = world.root();
    let mut both = definition();
    both["spec"]["versions"] = versions("v1");
    root.post(DEFINITIONS, &both).await.expect(201);
    let made = root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    let mut shown = root.get(&format!("{NEWER}/a")).await.expect(200);
    assert_eq!((&shown["apiVersion"], &shown["metadata"]), (&json!("example.com/v2"), &made["metadata"]));
    shown["spec"]["color"] = "blue".into();
    let put = root.put(&format!("{NEWER}/a"), &shown).await.expect(200);
    assert_eq!((&put["apiVersion"], &put["spec"]["color"]), (&json!("example.com/v2"), &json!("blue")));
    let older = root.get(WIDGETS).await.expect(200);
    assert_eq!(
        (&older["items"][0]["apiVersion"], &older["items"][0]["spec"]["color"]),
        (&json!("example.com/v1"), &json!("blue"))
    );
    // The other is stored from now on.
    root.patch(PATH, "merge-patch", &json!({"spec": {"versions": versions("v2")}})).await.expect(200);
    let definition = root.get(PATH).await.expect(200);
    assert_eq!(definition["status"]["storedVersions"], json!(["v1", "v2"]));
    root.post(NEWER, &json!({"kind": "Widget", "metadata": {"name": "b"}, "spec": {"color": "green"}}))
        .await
        .expect(201);
    for (path, version) in [(WIDGETS, "example.com/v1"), (NEWER, "example.com/v2")] {
        let list = root.get(path).await.expect(200);
        assert_eq!(list["apiVersion"], version);
        let items = list["items"].as_array().expect("items");
        assert_eq!(items.len(), 2);
        assert!(items.iter().all(|item| item["apiVersion"] == version), "{list}");
        let mut events = Events::open(&root, &format!("{path}?watch=1&resourceVersion=0")).await;
        for _ in 0..2 {
            assert_eq!(events.next().await.expect("an event")["object"]["apiVersion"], version);
        }
    }
    // Writing an object that was stored in the former version brings it to the present one, and nothing else.
    let read = root.get(&format!("{NEWER}/a")).await.expect(200);
    let moved = root.put(&format!("{NEWER}/a"), &read).await.expect(200);
    assert_ne!(moved["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"]);
    assert_eq!((&moved["spec"], &moved["metadata"]["generation"]), (&read["spec"], &read["metadata"]["generation"]));
    let again = root.put(&format!("{NEWER}/a"), &moved).await.expect(200);
    assert_eq!(again, moved, "it is there");
}

#[tokio::test]
async fn who_uses_a_deprecated_version_is_told() {
    let world = World::start().await;
    let root = world.root();
    let mut both = definition();
    both["spec"]["versions"] = versions("v2");
    both["spec"]["versions"][0]["deprecated"] = true.into();
    root.post(DEFINITIONS, &both).await.expect(201);
    let warning = |answer: &crate::support::Answer| {
        answer.headers.get("warning").map(|w| w.to_str().expect("text").to_owned()).unwrap_or_default()
    };
    let told = warning(&root.get(WIDGETS).await);
    assert_eq!(told, "299 - \"example.com/v1 Widget is deprecated\"");
    assert_eq!(warning(&root.get(&format!("{WIDGETS}/nothing")).await), told, "whatever the answer is");
    assert_eq!(warning(&root.get(NEWER).await), "");
    let own = json!([{"op": "add", "path": "/spec/versions/0/deprecationWarning", "value": "use v2"}]);
    root.patch(PATH, "json-patch", &own).await.expect(200);
    assert_eq!(warning(&root.post(WIDGETS, &widget("a", "red")).await), "299 - \"use v2\"");
}

#[tokio::test]
async fn what_goes_is_shown_by_the_present_definition() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/copies/default";
    root.patch(PATH, "json-patch", &json!([{"op": "add", "path": at, "value": 7}])).await.expect(200);
    let version = root.get(WIDGETS).await.expect(200)["metadata"]["resourceVersion"].clone();
    let watch = format!("{WIDGETS}?watch=1&resourceVersion={}", version.as_str().expect("a version"));
    let mut events = Events::open(&root, &watch).await;
    root.delete(&format!("{WIDGETS}/a")).await.expect(200);
    let event = events.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["spec"]["copies"]), (&json!("DELETED"), &json!(7)));
    let revision = |of: &Value| of.as_str().and_then(|r| r.parse::<u64>().ok()).expect("a revision");
    assert!(revision(&event["object"]["metadata"]["resourceVersion"]) > revision(&version));
}
