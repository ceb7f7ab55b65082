//! Objects come, change and go.

use http::Method;
use naru_store::Prefix;
use serde_json::json;

use crate::support::{MAPS, PODS, World, config_map, pod};

#[tokio::test]
async fn an_object_is_created_read_replaced_and_deleted() {
    let world = World::start().await;
    for root in [world.root(), world.user("admin", &["system:masters"])] {
        let made = root.post(MAPS, &config_map("a", &[("k", "1")])).await.expect(201);
        assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());
        let path = format!("{MAPS}/a");
        let read = root.get(&path).await.expect(200);
        assert_eq!(read, made);
        let mut next = read.clone();
        next["data"]["k"] = "2".into();
        let replaced = root.put(&path, &next).await.expect(200);
        assert_eq!(replaced["data"]["k"], "2");
        assert_ne!(replaced["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
        assert_eq!(replaced["metadata"]["uid"], made["metadata"]["uid"]);
        let status = root.delete(&path).await.expect(200);
        assert_eq!((&status["status"], &status["details"]["uid"]), (&json!("Success"), &made["metadata"]["uid"]));
        let gone = root.get(&path).await.refused(404);
        assert_eq!(gone, "configmaps \"a\" not found");
    }
}

#[tokio::test]
async fn a_writer_with_an_old_version_is_refused_and_one_without_is_not() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{MAPS}/a");
    let first = root.post(MAPS, &config_map("a", &[("k", "1")])).await.expect(201);
    let mut second = first.clone();
    second["data"]["k"] = "2".into();
    root.put(&path, &second).await.expect(200);
    second["data"]["k"] = "3".into();
    let message = root.put(&path, &second).await.refused(409);
    assert!(message.contains("the object has been modified"), "{message}");
    root.put(&path, &config_map("a", &[("k", "4")])).await.expect(200);
    let taken = root.post(MAPS, &config_map("a", &[])).await.refused(409);
    assert_eq!(taken, "configmaps \"a\" already exists");
    let mut other = config_map("a", &[]);
    other["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    root.put(&path, &other).await.refused(409);
}

#[tokio::test]
async fn writing_the_same_again_changes_nothing() {
    let world = World::start().await;
    let root = world.root();
    let made = root.post(MAPS, &config_map("a", &[("k", "1")])).await.expect(201);
    let mut same = config_map("a", &[("k", "1")]);
    same["metadata"]["annotations"] = json!({});
    same["metadata"]["finalizers"] = json!([]);
    let again = root.put(&format!("{MAPS}/a"), &same).await.expect(200);
    assert_eq!(again, made);
}

#[tokio::test]
async fn names_are_generated_until_one_is_free() {
    let world = World::start().await;
    let root = world.root();
    let mut map = config_map("", &[]);
    map["metadata"] = json!({"generateName": "web-"});
    let (one, two) = (root.post(MAPS, &map).await.expect(201), root.post(MAPS, &map).await.expect(201));
    let name = one["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);
    root.post(MAPS, &json!({"metadata": {}})).await.refused(422);
}

#[tokio::test]
async fn the_three_patch_languages_and_no_other() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[("k", "1"), ("l", "1")])).await.expect(201);
    let path = format!("{MAPS}/a");
    let merged = root.patch(&path, "merge-patch", &json!({"data": {"k": "2", "l": null}})).await.expect(200);
    assert_eq!(merged["data"], json!({"k": "2"}));
    let json = json!([{"op": "test", "path": "/data/k", "value": "2"}, {"op": "add", "path": "/data/m", "value": "3"}]);
    let patched = root.patch(&path, "json-patch", &json).await.expect(200);
    assert_eq!(patched["data"], json!({"k": "2", "m": "3"}));
    root.patch(&path, "json-patch", &json!([{"op": "test", "path": "/data/k", "value": "9"}])).await.refused(422);
    root.post(PODS, &pod("p")).await.expect(201);
    let change =
        json!({"metadata": {"labels": {"x": "y"}}, "spec": {"containers": [{"name": "web", "image": "web:2"}]}});
    let strategic = root.patch(&format!("{PODS}/p"), "strategic-merge-patch", &change).await.expect(200);
    let containers = strategic["spec"]["containers"].as_array().expect("a list");
    assert_eq!((containers.len(), &containers[0]["image"]), (1, &json!("web:2")), "merged by name");
    root.patch(&path, "apply-patch", &json!({})).await.refused(415);
    let stale = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}]);
    root.patch(&path, "json-patch", &stale).await.refused(409);
    let old = json!({"metadata": {"resourceVersion": "1"}, "data": {}});
    root.patch(&path, "merge-patch", &old).await.refused(409);
}

#[tokio::test]
async fn concurrent_patches_all_happen() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    let path = format!("{MAPS}/a");
    let patches = (0..20).map(|n| {
        let (root, path) = (root.clone(), path.clone());
        tokio::spawn(async move {
            let change = json!({"data": {format!("k{n}"): "v"}});
            root.patch(&path, "merge-patch", &change).await.expect(200);
        })
    });
    for patch in patches.collect::<Vec<_>>() {
        patch.await.expect("patched");
    }
    let read = root.get(&path).await.expect(200);
    assert_eq!(read["data"].as_object().map(serde_json::Map::len), Some(20));
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_writes_nothing() {
    let world = World::start().await;
    let root = world.root();
    let shown = root.post(&format!("{PODS}?dryRun=All"), &pod("p")).await.expect(201);
    assert_eq!(shown["spec"]["serviceAccountName"], "default");
    root.post(&format!("{PODS}?dryRun=All"), &json!({"metadata": {"name": "p"}, "spec": {}})).await.refused(422);
    root.post(&format!("{PODS}?dryRun=maybe"), &pod("p")).await.refused(422);
    assert_eq!(world.store.snapshot().count(&Prefix::collection("pods")), 0);
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_dropped_as_asked() {
    let world = World::start().await;
    let root = world.root();
    let mut map = config_map("a", &[]);
    map["bogus"] = 1.into();
    let message = root.post(&format!("{MAPS}?fieldValidation=Strict"), &map).await.refused(400);
    assert!(message.contains("bogus"), "{message}");
    let answer = root.post(&format!("{MAPS}?fieldValidation=Warn"), &map).await;
    assert!(answer.expect(201).get("bogus").is_none());
    let warning = answer.headers["warning"].to_str().expect("text");
    assert!(warning.starts_with("299 - \"") && warning.contains("bogus"), "{warning}");
    map["metadata"]["name"] = "b".into();
    let answer = root.post(&format!("{MAPS}?fieldValidation=Ignore"), &map).await;
    answer.expect(201);
    assert!(!answer.headers.contains_key("warning"));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_the_words_of_the_protocol() {
    let world = World::start().await;
    let root = world.root();
    for path in ["/api/v1/namespaces/default/nothings", "/apis/nobody.io/v1/things"] {
        let answer = root.get(path).await;
        assert_eq!((answer.code.as_u16(), answer.text()), (404, "404 page not found\n".to_owned()), "{path}");
    }
    for (method, path, code) in [
        (Method::GET, "/nowhere", 404),
        (Method::POST, "/api/v1/configmaps", 405),
        (Method::PUT, MAPS, 405),
        (Method::OPTIONS, MAPS, 405),
        (Method::GET, "/api/v1/namespaces/default/nodes", 404),
        (Method::GET, "/api/v1/namespaces/a%2Fb/pods", 400),
        (Method::GET, "/api/v1/namespaces/../pods", 400),
        (Method::GET, "/api/v1/pods?limit=many", 400),
        (Method::GET, "/api/v1/pods?labelSelector=a%20b%20c", 400),
        (Method::GET, "/api/v1/pods?fieldSelector=spec.bogus%3D1", 400),
        (Method::POST, MAPS, 400),
    ] {
        let answer = root.send(method.clone(), path, "").await;
        assert_eq!(answer.code.as_u16(), code, "{method} {path}: {}", answer.text());
        assert_eq!(answer.json()["kind"], "Status", "{method} {path}");
    }
    root.with("content-type", "text/plain").send(Method::POST, MAPS, "hello").await.refused(415);
    root.with("accept", "image/png").get(MAPS).await.refused(406);
    root.post(MAPS, &json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}})).await.refused(400);
    let mut elsewhere = config_map("a", &[]);
    elsewhere["metadata"]["namespace"] = "kube-system".into();
    root.post(MAPS, &elsewhere).await.refused(400);
}

#[tokio::test]
async fn bodies_that_are_too_large_or_too_deep_are_refused() {
    let world = World::start().await;
    let root = world.root();
    let large = "x".repeat((3 << 20) + 1);
    root.send(Method::POST, MAPS, large).await.refused(413);
    let mut big = pod("p");
    big["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "x".repeat(2 << 20)}]);
    let message = root.post(PODS, &big).await.refused(413);
    assert!(message.contains("pods/default/p"), "{message}");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    root.send(Method::POST, MAPS, deep).await.refused(400);
}

#[tokio::test]
async fn preconditions_of_a_deletion_are_kept() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    let path = format!("{MAPS}/a");
    let other = json!({"preconditions": {"uid": "someone-else"}});
    root.send(Method::DELETE, &path, other.to_string()).await.refused(409);
    root.get(&path).await.expect(200);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let world = World::start().await;
    let root = world.root();
    let mut map = config_map("a", &[]);
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    root.post(MAPS, &map).await.expect(201);
    let path = format!("{MAPS}/a");
    let marked = root.delete(&path).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    root.patch(&path, "merge-patch", &more).await.refused(422);
    root.patch(&path, "merge-patch", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    root.get(&path).await.refused(404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let world = World::start().await;
    let root = world.root();
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let mut map = config_map(name, &[]);
        map["metadata"]["labels"] = json!({"l": label});
        root.post(MAPS, &map).await.expect(201);
    }
    let deleted = root.delete(&format!("{MAPS}?labelSelector=l%3Dx")).await.expect(200);
    assert_eq!(deleted["items"].as_array().map(Vec::len), Some(2));
    root.get(&format!("{MAPS}/a")).await.refused(404);
    root.get(&format!("{MAPS}/c")).await.expect(200);
    root.get(&format!("{MAPS}/kube-root-ca.crt")).await.expect(200);
}

#[tokio::test]
async fn events_of_both_groups_are_the_same_objects() {
    let world = World::start().await;
    let root = world.root();
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "hello", "reason": "R",
        "type": "Normal", "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}});
    root.post("/api/v1/namespaces/default/events", &event).await.expect(201);
    let newer = root.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.expect(200);
    assert_eq!((&newer["note"], &newer["regarding"]["name"]), (&json!("hello"), &json!("p")));
    let list = root.get("/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dp").await.expect(200);
    assert_eq!(list["items"][0]["note"], "hello");
    let change = json!({"metadata": {"labels": {"seen": "yes"}}});
    root.patch("/apis/events.k8s.io/v1/namespaces/default/events/e", "merge-patch", &change).await.expect(200);
    let older = root.get("/api/v1/namespaces/default/events/e").await.expect(200);
    assert_eq!((&older["metadata"]["labels"]["seen"], &older["message"]), (&json!("yes"), &json!("hello")));
}
