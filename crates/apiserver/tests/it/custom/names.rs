//! Names: which are accepted, and what a definition may become.

use serde_json::{Value, json};

use super::{DEFINITIONS, WIDGETS, condition, definition, until, widget};
use crate::support::{World, within};

fn named(plural: &str, names: Value) -> Value {
    let mut definition = definition();
    definition["metadata"]["name"] = format!("{plural}.example.com").into();
    definition["spec"]["names"] = names;
    definition["spec"]["names"]["plural"] = plural.into();
    definition
}

#[tokio::test]
async fn names_of_others_are_not_accepted_until_they_are_free() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let second = named("things", json!({"kind": "Thing", "shortNames": ["wd"]}));
    root.post(DEFINITIONS, &second).await.expect(201);
    let path = format!("{DEFINITIONS}/things.example.com");
    let told = root.get(&path).await.expect(200);
    let names = condition(&told, "NamesAccepted");
    assert_eq!(
        (&names["status"], &names["reason"], &names["message"]),
        (&json!("False"), &json!("ShortNamesConflict"), &json!("\"wd\" is already in use"))
    );
    assert_eq!(condition(&told, "Established")["status"], "False");
    let things = "/apis/example.com/v1/namespaces/default/things";
    assert_eq!(root.get(things).await.code, 404);
    root.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.expect(200);
    until(&root, things, |answer| answer.code == 200).await;
    let told = root.get(&path).await.expect(200);
    assert_eq!(condition(&told, "NamesAccepted")["status"], "True");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_come_at_once_each_is_served_with_its_answer() {
    let world = World::start().await;
    let root = world.root();
    let many: Vec<_> = (0..40)
        .map(|n| {
            let root = root.clone();
            tokio::spawn(async move {
                let plural = format!("kinds{n}");
                root.post(DEFINITIONS, &named(&plural, json!({"kind": format!("Kind{n}")}))).await.expect(201);
                root.get(&format!("/apis/example.com/v1/namespaces/default/{plural}")).await.expect(200);
            })
        })
        .collect();
    for one in many {
        within(one).await.expect("served");
    }
    let list = root.get("/apis/example.com/v1").await.expect(200);
    assert_eq!(list["resources"].as_array().map(Vec::len), Some(120));
}

#[tokio::test]
async fn it_is_served_as_it_was_last_defined() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let patch = json!({"spec": {"names": {"shortNames": ["gizmo"]}}});
    root.patch(&path, "merge-patch", &patch).await.expect(200);
    let list = root.get("/apis/example.com/v1").await.expect(200);
    assert_eq!(list["resources"][0]["shortNames"], json!(["gizmo"]));
    root.patch(&path, "merge-patch", &json!({"spec": {"group": "example.org"}})).await.refused(422);
    let mut unserved = definition()["spec"]["versions"].clone();
    unserved[0]["served"] = false.into();
    root.patch(&path, "merge-patch", &json!({"spec": {"versions": unserved}})).await.expect(200);
    assert_eq!(root.get(WIDGETS).await.code, 404, "stored, and no longer served");
    root.patch(&path, "merge-patch", &json!({"spec": {"versions": definition()["spec"]["versions"]}}))
        .await
        .expect(200);
    assert_eq!(root.get(&format!("{WIDGETS}/a")).await.expect(200)["spec"]["color"], "red");
}

#[tokio::test]
async fn cluster_wide_kinds_have_no_namespaces() {
    let world = World::start().await;
    let root = world.root();
    let mut wide = definition();
    wide["spec"]["scope"] = "Cluster".into();
    root.post(DEFINITIONS, &wide).await.expect(201);
    root.post("/apis/example.com/v1/widgets", &widget("a", "red")).await.expect(201);
    assert_eq!(root.get(WIDGETS).await.code, 404);
    root.get("/apis/example.com/v1/widgets/a").await.expect(200);
}
