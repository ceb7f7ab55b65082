//! Watches: what changes, in order, for as long as anyone looks.

use bytes::BytesMut;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use naru_apiserver::User;
use naru_client::{Body, Delta, Follow, Frame};
use serde_json::{Value, json};

use crate::support::{Caller, MAPS, NoNodes, World, config_map, within};
use naru_store::History;
use std::sync::Arc;

/// The events of a watch, one after the other.
pub struct Events {
    body: Body,
    read: BytesMut,
}

impl Events {
    pub async fn open(caller: &Caller, path: &str) -> Events {
        let response = caller.open(path).await;
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), read: BytesMut::new() }
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(at) = self.read.iter().position(|b| *b == b'\n') {
                let line = self.read.split_to(at + 1);
                return Some(serde_json::from_slice(&line).expect("JSON"));
            }
            let frame = within(self.body.frame()).await?.expect("a frame");
            self.read.extend_from_slice(&frame.into_data().expect("data"));
        }
    }

    /// Type and name of the next event.
    pub async fn step(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (event["type"].as_str().expect("a type").to_owned(), name)
    }
}

fn step(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

fn labelled(name: &str, label: &str) -> Value {
    let mut map = config_map(name, &[]);
    map["metadata"]["labels"] = json!({"l": label});
    map
}

#[tokio::test]
async fn a_watch_continues_where_a_list_ended() {
    let world = World::start().await;
    for root in
        [world.root(), world.user("admin", &["system:masters"]), world.inside(User::new("in", &["system:masters"]))]
    {
        let list = root.get(MAPS).await.expect(200);
        let version = list["metadata"]["resourceVersion"].as_str().expect("a version");
        root.post(MAPS, &config_map("a", &[])).await.expect(201);
        let mut events = Events::open(&root, &format!("{MAPS}?watch=true&resourceVersion={version}")).await;
        root.put(&format!("{MAPS}/a"), &config_map("a", &[("k", "v")])).await.expect(200);
        root.delete(&format!("{MAPS}/a")).await.expect(200);
        let added = events.next().await.expect("an event");
        assert_eq!(added["type"], "ADDED");
        let modified = events.next().await.expect("an event");
        assert_eq!((&modified["type"], &modified["object"]["data"]["k"]), (&json!("MODIFIED"), &json!("v")));
        let deleted = events.next().await.expect("an event");
        assert_eq!((&deleted["type"], &deleted["object"]["data"]["k"]), (&json!("DELETED"), &json!("v")));
        let number = |e: &Value| {
            e["object"]["metadata"]["resourceVersion"].as_str().expect("a version").parse::<u64>().expect("a number")
        };
        assert!(number(&added) < number(&modified) && number(&modified) < number(&deleted));
    }
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_what_is_there() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    let mut events = Events::open(&root, &format!("{MAPS}?watch=1")).await;
    assert_eq!(events.step().await, step("ADDED", "a"));
    assert_eq!(events.step().await, step("ADDED", "kube-root-ca.crt"));
    root.post(MAPS, &config_map("b", &[])).await.expect(201);
    assert_eq!(events.step().await, step("ADDED", "b"));
}

#[tokio::test]
async fn the_old_watch_paths_lead_to_the_same() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    let mut all = Events::open(&root, "/api/v1/watch/namespaces/default/configmaps").await;
    assert_eq!([all.step().await, all.step().await], [step("ADDED", "a"), step("ADDED", "kube-root-ca.crt")]);
    let mut one = Events::open(&root, "/api/v1/watch/namespaces/default/configmaps/b").await;
    root.post(MAPS, &config_map("c", &[])).await.expect(201);
    root.post(MAPS, &config_map("b", &[])).await.expect(201);
    assert_eq!(one.step().await, step("ADDED", "b"));
    let viewer = world.user("viewer", &[]);
    viewer.get("/api/v1/watch/namespaces/default/configmaps").await.refused(403);
}

#[tokio::test]
async fn objects_move_in_and_out_of_a_selection() {
    let world = World::start().await;
    let root = world.root();
    let mut events = Events::open(&root, &format!("{MAPS}?watch=1&labelSelector=l%3Dx")).await;
    root.post(MAPS, &labelled("a", "y")).await.expect(201);
    let path = format!("{MAPS}/a");
    root.put(&path, &labelled("a", "x")).await.expect(200);
    root.patch(&path, "merge-patch", &json!({"data": {"k": "v"}})).await.expect(200);
    let left = root.put(&path, &labelled("a", "z")).await.expect(200);
    root.delete(&path).await.expect(200);
    root.post(MAPS, &labelled("b", "x")).await.expect(201);
    assert_eq!(events.step().await, step("ADDED", "a"));
    assert_eq!(events.step().await, step("MODIFIED", "a"));
    let gone = events.next().await.expect("an event");
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["metadata"]["labels"]["l"], "x", "as it was while it was meant");
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"], "when it left");
    assert_eq!(events.step().await, step("ADDED", "b"));
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let world = World::start().await;
    let root = world.root();
    let query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = Events::open(&root, &format!("{MAPS}?{query}")).await;
    assert_eq!(events.step().await, step("ADDED", "kube-root-ca.crt"));
    let mark = events.next().await.expect("an event");
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(mark["object"]["metadata"]["resourceVersion"].is_string());
    root.get(&format!("{MAPS}?watch=1&sendInitialEvents=true")).await.refused(400);
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over_with_a_last_bookmark() {
    let world = World::start().await;
    let root = world.root();
    let mut events = Events::open(&root, &format!("{MAPS}?watch=1&timeoutSeconds=4&allowWatchBookmarks=1")).await;
    assert_eq!(events.step().await.0, "ADDED");
    // Changes elsewhere move the bookmark on, though nothing here changed.
    let made = root.post("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}})).await.expect(201);
    let mark = events.next().await.expect("an event");
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn tables_are_watched_with_columns_once() {
    let world = World::start().await;
    let root = world.root();
    let tables = root.with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let mut events = Events::open(&tables, &format!("{MAPS}?watch=1")).await;
    let first = events.next().await.expect("an event");
    assert_eq!((&first["type"], &first["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
    assert!(!first["object"]["columnDefinitions"].as_array().expect("columns").is_empty());
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    let second = events.next().await.expect("an event");
    assert_eq!(second["object"]["rows"][0]["cells"][0], "a");
    assert!(second["object"]["columnDefinitions"].as_array().expect("columns").is_empty());
}

#[tokio::test]
async fn the_process_itself_follows_the_stores_own_bytes() {
    let world = World::start().await;
    let root = world.root();
    let inside = world.inside(User::new("controller", &["system:masters"]));
    let follow = Follow {
        group: String::new(),
        version: "v1".into(),
        plural: "configmaps".into(),
        namespace: Some("default".into()),
        labels: "l=x".into(),
        fields: String::new(),
        after: None,
    };
    root.post(MAPS, &labelled("a", "x")).await.expect(201);
    let mut frames = inside.transport.follow(follow.clone()).expect("in process");
    let Some(Ok(Frame::Reset { objects, .. })) = within(frames.next()).await else { panic!("no reset") };
    assert_eq!(objects.iter().map(|(r, _)| r.to_string()).collect::<Vec<_>>(), ["default/a"]);
    root.put(&format!("{MAPS}/a"), &labelled("a", "y")).await.expect(200);
    loop {
        let Some(Ok(Frame::Changes { changes, .. })) = within(frames.next()).await else { panic!("no changes") };
        match changes.as_slice() {
            [] => {}
            [Delta::Deleted(reference)] => break assert_eq!(reference.to_string(), "default/a"),
            other => panic!("{other:?}"),
        }
    }
    let nobody = world.inside(User::new("nobody", &[]));
    assert!(nobody.transport.follow(follow).is_none(), "rights hold here too");
}

#[tokio::test]
async fn who_is_too_slow_is_told_to_list_again() {
    let world = World::with(Arc::new(NoNodes), History { transactions: 20, ..History::default() }).await;
    // In the process nothing lies between the watch and its reader: what is not read is not buffered anywhere.
    let inside = world.inside(User::new("slow", &["system:masters"]));
    let mut events = Events::open(&inside, &format!("{MAPS}?watch=1")).await;
    assert_eq!(events.step().await.0, "ADDED");
    for n in 0..200 {
        let map = config_map("a", &[("n", &n.to_string())]);
        let made = if n == 0 {
            world.root().post(MAPS, &map).await
        } else {
            world.root().put(&format!("{MAPS}/a"), &map).await
        };
        assert!(made.code.is_success());
    }
    let end = events.next().await.expect("an event");
    assert_eq!((&end["type"], &end["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_server_that_stops_ends_its_watches() {
    let world = World::start().await;
    let mut events = Events::open(&world.user("admin", &["system:masters"]), &format!("{MAPS}?watch=1")).await;
    assert_eq!(events.step().await.0, "ADDED");
    world.stop().await;
    let rest = within(events.body.frame()).await;
    assert!(rest.is_none_or(|frame| frame.is_err()), "the stream is over");
    assert!(!world.socket().exists(), "the socket's file is gone");
}
