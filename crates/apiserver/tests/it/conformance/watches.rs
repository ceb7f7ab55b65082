//! Watches by what they select, from where they begin, and beside each other.

use http::Method;
use serde_json::{Value, json};

use crate::custom::{self, DEFINITIONS, WIDGETS};
use crate::support::{Caller, MAPS, World, config_map};
use crate::watching::Events;

fn labelled(name: &str, label: &str) -> Value {
    let mut map = config_map(name, &[]);
    map["metadata"]["labels"] = json!({"watch": label});
    map
}

fn version(event: &Value) -> String {
    event["object"]["metadata"]["resourceVersion"].as_str().expect("a version").to_owned()
}

async fn from(root: &Caller, path: &str, version: &str) -> Events {
    Events::open(root, &format!("{path}?watch=1&resourceVersion={version}")).await
}

/// The next events, each with the name of its object.
async fn steps(events: &mut Events, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let (kind, name) = events.step().await;
        seen.push(format!("{kind} {name}"));
    }
    seen
}

#[tokio::test]
async fn several_watchers_see_what_their_labels_select() {
    let world = World::start().await;
    let root = world.root();
    let select = |selector: &str| format!("{MAPS}?watch=1&labelSelector={selector}");
    let mut first = Events::open(&root, &select("watch%3Da")).await;
    let mut second = Events::open(&root, &select("watch%3Db")).await;
    let mut both = Events::open(&root, &select("watch%20in%20(a,b)")).await;
    for label in ["a", "b"] {
        let path = format!("{MAPS}/{label}");
        root.post(MAPS, &labelled(label, label)).await.expect(201);
        root.patch(&path, "merge-patch", &json!({"data": {"mutation": "1"}})).await.expect(200);
        root.patch(&path, "merge-patch", &json!({"data": {"mutation": "2"}})).await.expect(200);
        root.delete(&path).await.expect(200);
    }
    let life = |name: &str| ["ADDED", "MODIFIED", "MODIFIED", "DELETED"].map(|kind| format!("{kind} {name}")).to_vec();
    assert_eq!(steps(&mut first, 4).await, life("a"));
    assert_eq!(steps(&mut second, 4).await, life("b"));
    assert_eq!(steps(&mut both, 8).await, [life("a"), life("b")].concat());
    // What follows is all that follows: nothing of the others came between.
    root.post(MAPS, &labelled("last", "a")).await.expect(201);
    assert_eq!(steps(&mut first, 1).await, ["ADDED last"]);
}

#[tokio::test]
async fn a_watch_begins_after_the_version_that_it_names() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    let path = format!("{MAPS}/a");
    let first = root.patch(&path, "merge-patch", &json!({"data": {"mutation": "1"}})).await.expect(200);
    root.patch(&path, "merge-patch", &json!({"data": {"mutation": "2"}})).await.expect(200);
    root.delete(&path).await.expect(200);
    let mut events = from(&root, MAPS, first["metadata"]["resourceVersion"].as_str().expect("a version")).await;
    let second = events.next().await.expect("an event");
    assert_eq!((&second["type"], &second["object"]["data"]["mutation"]), (&json!("MODIFIED"), &json!("2")));
    assert_eq!(steps(&mut events, 1).await, ["DELETED a"]);
}

#[tokio::test]
async fn a_watch_is_taken_up_where_another_ended() {
    let world = World::start().await;
    let root = world.root();
    let list = root.get(MAPS).await.expect(200);
    let mut events = from(&root, MAPS, list["metadata"]["resourceVersion"].as_str().expect("a version")).await;
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    let path = format!("{MAPS}/a");
    root.patch(&path, "merge-patch", &json!({"data": {"mutation": "1"}})).await.expect(200);
    assert_eq!(steps(&mut events, 1).await, ["ADDED a"]);
    let last = version(&events.next().await.expect("an event"));
    drop(events);
    root.patch(&path, "merge-patch", &json!({"data": {"mutation": "2"}})).await.expect(200);
    root.delete(&path).await.expect(200);
    let mut again = from(&root, MAPS, &last).await;
    let next = again.next().await.expect("an event");
    assert_eq!((&next["type"], &next["object"]["data"]["mutation"]), (&json!("MODIFIED"), &json!("2")));
    assert_eq!(steps(&mut again, 1).await, ["DELETED a"]);
}

#[tokio::test]
async fn concurrent_watches_see_everything_in_the_same_order() {
    const EVENTS: usize = 60;
    let world = World::start().await;
    let root = world.root();
    let list = root.get(MAPS).await.expect(200);
    let start = list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let writer = {
        let root = root.clone();
        tokio::spawn(async move {
            for n in 0..EVENTS / 3 {
                let name = format!("m{n}");
                root.post(MAPS, &config_map(&name, &[])).await.expect(201);
                root.put(&format!("{MAPS}/{name}"), &config_map(&name, &[("k", "v")])).await.expect(200);
                root.delete(&format!("{MAPS}/{name}")).await.expect(200);
            }
        })
    };
    let mut first = from(&root, MAPS, &start).await;
    // Each event of the first watch begins another watch, which must tell the same from there on.
    let mut others: Vec<Events> = vec![from(&root, MAPS, &start).await];
    for _ in 0..EVENTS {
        let event = first.next().await.expect("an event");
        for other in &mut others {
            let same = other.next().await.expect("an event");
            assert_eq!((version(&same), &same["type"]), (version(&event), &event["type"]));
        }
        if others.len() < 20 {
            others.push(from(&root, MAPS, &version(&event)).await);
        }
    }
    writer.await.expect("written");
}

#[tokio::test]
async fn definitions_and_their_objects_are_watched_as_they_come_change_and_go() {
    let world = World::start().await;
    let root = world.root();
    let mut definitions = Events::open(&root, &format!("{DEFINITIONS}?watch=1")).await;
    root.post(DEFINITIONS, &custom::definition()).await.expect(201);
    let mut widgets = Events::open(&root, &format!("{WIDGETS}?watch=1")).await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        root.post(WIDGETS, &custom::widget(name, color)).await.expect(201);
        let change = json!({"spec": {"color": "green"}});
        root.patch(&format!("{WIDGETS}/{name}"), "merge-patch", &change).await.expect(200);
        root.send(Method::DELETE, &format!("{WIDGETS}/{name}"), "").await.expect(200);
        let expected = ["ADDED", "MODIFIED", "DELETED"].map(|kind| format!("{kind} {name}"));
        assert_eq!(steps(&mut widgets, 3).await, expected);
    }
    let path = format!("{DEFINITIONS}/widgets.example.com");
    root.patch(&path, "merge-patch", &json!({"metadata": {"labels": {"seen": "yes"}}})).await.expect(200);
    root.delete(&path).await.expect(200);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "DELETED") {
        let event = definitions.next().await.expect("an event");
        assert_eq!(event["object"]["metadata"]["name"], "widgets.example.com");
        seen.push(event["type"].as_str().expect("a type").to_owned());
    }
    assert_eq!(seen[0], "ADDED");
    assert!(seen[1..seen.len() - 1].iter().all(|kind| kind == "MODIFIED") && seen.len() > 2, "{seen:?}");
}
