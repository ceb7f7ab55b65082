//! The end of a definition, and servers that come and go.

use naru_apiserver::{ApiServer, User};
use naru_store::{Key, Prefix};
use serde_json::{Value, json};

use super::{DEFINITIONS, WIDGETS, condition, definition, until, widget};
use crate::support::{Caller, World, within};
use crate::watching::Events;

const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";

#[tokio::test]
async fn it_goes_after_its_objects() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let mut held = widget("held", "red");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    root.post(WIDGETS, &held).await.expect(201);
    let version = root.post(WIDGETS, &widget("free", "red")).await.expect(201)["metadata"]["resourceVersion"].clone();
    let watch = format!("{WIDGETS}?watch=1&resourceVersion={}", version.as_str().expect("a version"));
    let mut events = Events::open(&root, &watch).await;
    let marked = root.delete(PATH).await.expect(200);
    assert_eq!(marked["metadata"]["finalizers"], json!([FINALIZER]));
    assert_eq!(condition(&marked, "Terminating")["status"], "True");
    let refused = root.post(WIDGETS, &widget("late", "red")).await.refused(405);
    assert_eq!(refused, "create not allowed while custom resource definition is terminating");
    let apply = root.with("content-type", "application/apply-patch+yaml");
    let late = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: late}\n";
    apply.send(http::Method::PATCH, &format!("{WIDGETS}/late?fieldManager=me"), late).await.refused(405);
    let mut gone = Vec::new();
    while gone.is_empty() {
        let (kind, name) = events.step().await;
        gone.extend((kind == "DELETED").then_some(name));
    }
    assert_eq!(gone, ["free"], "the other is held");
    let path = format!("{WIDGETS}/held");
    until(&root, &path, |held| held.json()["metadata"]["deletionTimestamp"].is_string()).await.expect(200);
    root.get(PATH).await.expect(200);
    root.patch(&format!("{WIDGETS}/held"), "merge-patch", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    until(&root, PATH, |answer| answer.code == 404).await;
    let nothing = root.get(WIDGETS).await;
    assert_eq!((nothing.code.as_u16(), nothing.text()), (404, "404 page not found\n".to_owned()));
    assert_eq!(root.get("/apis/example.com").await.code, 404);
    let mut last = String::new();
    while let Some(event) = events.next().await {
        last = format!(
            "{} {}",
            event["type"].as_str().unwrap_or_default(),
            event["object"]["metadata"]["name"].as_str().unwrap_or_default()
        );
    }
    assert_eq!(last, "DELETED held", "then the watch is over");
    root.post(DEFINITIONS, &definition()).await.expect(201);
    assert_eq!(root.get(WIDGETS).await.expect(200)["items"], json!([]), "it begins empty");
}

/// Another server over the same store, once both serve widgets. It lasts as long as its handle.
async fn beside(world: &World) -> (ApiServer, Caller) {
    let second = world.again().await;
    let other = Caller { transport: second.transport(User::master("root")), headers: vec![] };
    world.root().post(DEFINITIONS, &definition()).await.expect(201);
    until(&other, WIDGETS, |answer| answer.code == 200).await;
    (second, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_over_of_those_who_are_late() {
    let world = World::start().await;
    let root = world.root();
    // A request that began before has its way to the kind already: only the write itself can know better.
    let (_second, other) = beside(&world).await;
    let writers: Vec<_> = [&root, &other, &root, &other]
        .into_iter()
        .enumerate()
        .map(|(writer, caller)| {
            let caller = caller.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let answer = caller.post(WIDGETS, &widget(&format!("w{writer}-{n}"), "red")).await;
                    if answer.code != 201 {
                        return (n, answer.code.as_u16());
                    }
                    // Within the process nothing else would make it wait.
                    tokio::task::yield_now().await;
                }
                unreachable!("it is refused in the end")
            })
        })
        .collect();
    until(&root, WIDGETS, |answer| answer.json()["items"].as_array().is_some_and(|items| items.len() > 20)).await;
    root.delete(PATH).await.expect(200);
    for writer in writers {
        let (made, code) = within(writer).await.expect("it ended");
        assert!(made > 0 && matches!(code, 404 | 405), "{made} {code}");
    }
    until(&root, PATH, |answer| answer.code == 404).await;
    let snapshot = world.store.confirm().await.expect("a state");
    assert_eq!(snapshot.count(&Prefix::collection("widgets.example.com")), 0);
}

#[tokio::test]
async fn those_without_objects_go_at_once_also_many() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    let selected = format!("{DEFINITIONS}?labelSelector=mine=yes");
    for n in 0..10 {
        let mut one = definition();
        one["metadata"] = json!({"name": format!("things{n}.example.org"), "labels": {"mine": "yes"}});
        one["spec"]["group"] = "example.org".into();
        one["spec"]["names"] = json!({"plural": format!("things{n}"), "kind": format!("Thing{n}")});
        root.post(DEFINITIONS, &one).await.expect(201);
    }
    assert_eq!(root.get(&selected).await.expect(200)["items"].as_array().map(Vec::len), Some(10));
    root.delete(&selected).await.expect(200);
    until(&root, &selected, |answer| answer.json()["items"] == json!([])).await;
    until(&root, "/apis/example.org", |answer| answer.code == 404).await;
    root.get(WIDGETS).await.expect(200);
    root.delete(PATH).await.expect(200);
    until(&root, PATH, |answer| answer.code == 404).await;
    assert_eq!(root.get(WIDGETS).await.text(), "404 page not found\n");
}

#[tokio::test]
async fn what_is_defined_is_served_from_the_start() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    root.post(WIDGETS, &widget("a", "red")).await.expect(201);
    // What no server would have let in.
    let broken = json!({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": "gadgets.example.com", "uid": "g", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": [],
            "names": {"plural": "gadgets", "kind": "Gadget", "singular": "gadget", "listKind": "GadgetList"}},
        "status": {"acceptedNames": {"plural": "gadgets", "kind": "Gadget"}, "storedVersions": ["v1"], "conditions": [
            {"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}]}});
    let text = order(&broken);
    let key = Key::new("customresourcedefinitions.apiextensions.k8s.io", "", "gadgets.example.com");
    let put = world.store.commit(move |txn| {
        txn.put(key.clone(), text.clone());
        Ok::<_, ()>(())
    });
    put.await.expect("written");
    let again = world.again().await;
    let other = Caller { transport: again.transport(User::master("root")), headers: vec![] };
    assert_eq!(other.get(&format!("{WIDGETS}/a")).await.expect(200)["spec"]["color"], "red");
    let path = format!("{DEFINITIONS}/gadgets.example.com");
    let told =
        until(&other, &path, |answer| condition(&answer.json(), "NonStructuralSchema")["status"] == "True").await;
    let why = condition(&told.json(), "NonStructuralSchema")["message"].clone();
    assert!(why.as_str().is_some_and(|why| why.contains("no version")), "{why}");
    other.delete(&path).await.expect(200);
    until(&other, &path, |answer| answer.code == 404).await;
}

/// The object as it is stored: what it is comes first.
fn order(object: &Value) -> String {
    let rest = json!({"spec": object["spec"], "status": object["status"]}).to_string();
    format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},{}",
        object["kind"],
        object["apiVersion"],
        object["metadata"],
        &rest[1..]
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_servers_say_the_same_of_it_once() {
    let world = World::start().await;
    let root = world.root();
    let (_second, other) = beside(&world).await;
    let before = root.get(PATH).await.expect(200);
    assert_eq!(condition(&before, "Established")["status"], "True");
    let mut gadgets = definition();
    gadgets["metadata"]["name"] = "gadgets.example.com".into();
    gadgets["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
    other.post(DEFINITIONS, &gadgets).await.expect(201);
    let path = "/apis/example.com/v1/namespaces/default/gadgets";
    other.get(path).await.expect(200);
    until(&root, path, |answer| answer.code == 200).await;
    assert_eq!(root.get(PATH).await.expect(200), before, "nobody wrote it again");
    other.post(WIDGETS, &widget("a", "red")).await.expect(201);
    other.delete(PATH).await.expect(200);
    for caller in [&root, &other] {
        until(caller, WIDGETS, |answer| answer.code == 404).await;
    }
    within(world.stop()).await;
}
