//! Versions that only a webhook can convert: a real HTTPS server is asked, as seldom as possible.

use http::Method;
use serde_json::{Value, json};

use super::{DEFINITIONS, TABLE, until};
use crate::support::{Caller, World};
use crate::watching::Events;
use crate::webhooks::{Hook, patched};

const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/servers.example.com";
const ONE: &str = "/apis/example.com/v1/namespaces/default/servers";
const TWO: &str = "/apis/example.com/v2/namespaces/default/servers";

/// The versions: the first has an address in one field, the second in two, and says in which zone.
fn versions(stored: &str) -> Value {
    let version = |name: &str, fields: Value, field: &str| {
        let mut spec = json!({"copies": {"type": "integer", "minimum": 0}, "zone": {"type": "string"}});
        for (name, schema) in fields.as_object().into_iter().flatten() {
            spec[name] = schema.clone();
        }
        json!({"name": name, "served": true, "storage": name == stored,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.copies", "statusReplicasPath": ".status.copies"}},
            "additionalPrinterColumns": [{"name": "At", "type": "string", "jsonPath": format!(".spec.{field}")}],
            "selectableFields": [{"jsonPath": format!(".spec.{field}")}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": spec},
                "status": {"type": "object", "properties": {"copies": {"type": "integer"}}}}}}})
    };
    let text = json!({"type": "string"});
    json!([
        version("v1", json!({"hostPort": text}), "hostPort"),
        version("v2", json!({"host": text, "port": text, "zone": {"type": "string", "default": "here"}}), "host"),
    ])
}

fn definition(hook: &Hook, stored: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "servers.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "servers", "kind": "Server"},
            "versions": versions(stored), "conversion": {"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1", "v1beta1"], "clientConfig": hook.client()}}},
    })
}

fn one(name: &str, address: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Server", "metadata": {"name": name}, "spec": {"hostPort": address}})
}

fn two(name: &str, host: &str, port: &str) -> Value {
    json!({"apiVersion": "example.com/v2", "kind": "Server", "metadata": {"name": name},
        "spec": {"host": host, "port": port}})
}

/// Converts an object, and labels it with the version that it has.
fn converted(object: &Value, wanted: &str) -> Value {
    let mut new = object.clone();
    new["apiVersion"] = wanted.into();
    new["metadata"]["labels"]["shown-as"] = wanted.trim_start_matches("example.com/").into();
    let Some(spec) = new["spec"].as_object_mut() else { return new };
    if wanted.ends_with("v2") {
        let address = spec.remove("hostPort").unwrap_or_default();
        let (host, port) = address.as_str().and_then(|address| address.split_once(':')).unwrap_or_default();
        spec.insert("host".to_owned(), host.into());
        spec.insert("port".to_owned(), port.into());
    } else {
        let mut part = |name: &str| spec.remove(name).unwrap_or_default().as_str().unwrap_or_default().to_owned();
        let address = format!("{}:{}", part("host"), part("port"));
        spec.insert("hostPort".to_owned(), address.into());
    }
    // What this version does not know is pruned, and whose it is cannot be changed.
    spec.insert("nobodyKnows".to_owned(), true.into());
    new["metadata"]["finalizers"] = json!(["example.com/forged"]);
    new
}

fn converts(request: &Value) -> Value {
    let wanted = request["desiredAPIVersion"].as_str().expect("a version");
    let objects = request["objects"].as_array().into_iter().flatten();
    let objects: Vec<Value> = objects.map(|object| converted(object, wanted)).collect();
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}

async fn served(world: &World, stored: &str) -> Hook {
    let hook = Hook::start(world, converts).await;
    world.root().post(DEFINITIONS, &definition(&hook, stored)).await.expect(201);
    hook
}

async fn items(caller: &Caller, path: &str) -> Vec<Value> {
    caller.get(path).await.expect(200)["items"].as_array().expect("items").clone()
}

/// `CustomResourceConversionWebhook should be able to convert from CR v1 to CR v2`.
#[tokio::test]
async fn a_webhook_converts_from_one_version_to_another() {
    let world = World::start().await;
    let root = world.root();
    let hook = served(&world, "v1").await;
    let mut made = one("a", "localhost:8080");
    made["metadata"]["finalizers"] = json!(["example.com/own"]);
    let made = root.post(ONE, &made).await.expect(201);
    root.get(&format!("{ONE}/a")).await.expect(200);
    assert!(hook.asked().is_empty(), "it is stored in that version");
    let read = root.get(&format!("{TWO}/a")).await.expect(200);
    assert_eq!((&read["apiVersion"], &read["kind"]), (&json!("example.com/v2"), &json!("Server")));
    assert_eq!(read["spec"], json!({"host": "localhost", "port": "8080"}));
    let mut expected = made["metadata"].clone();
    expected["labels"] = json!({"shown-as": "v2"});
    assert_eq!(read["metadata"], expected, "only labels and annotations are the webhook's");
    let asked = hook.asked();
    assert_eq!((asked.len(), &asked[0]["desiredAPIVersion"]), (1, &json!("example.com/v2")));
    let mut sent = made.clone();
    sent["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    assert_eq!((&asked[0]["objects"], asked[0]["uid"].is_string()), (&json!([sent]), true));
    assert_eq!(root.get(&format!("{TWO}/b")).await.code, 404);
}

#[tokio::test]
async fn objects_are_written_in_the_version_that_is_not_stored() {
    let world = World::start().await;
    let root = world.root();
    let hook = served(&world, "v1").await;
    let path = format!("{TWO}/a");
    let made = root.post(TWO, &two("a", "one", "1")).await.expect(201);
    assert_eq!((&made["apiVersion"], &made["spec"]["host"]), (&json!("example.com/v2"), &json!("one")));
    // The request's version says what is absent; then it is converted.
    assert_eq!(made["spec"]["zone"], "here");
    let stored = async || root.get(&format!("{ONE}/a")).await.expect(200);
    assert_eq!(stored().await["spec"], json!({"hostPort": "one:1", "zone": "here"}));
    root.post(ONE, &one("b", "two:2")).await.expect(201);
    assert!(root.get(&format!("{TWO}/b")).await.expect(200)["spec"].get("zone").is_none(), "nobody wrote it in v2");

    let mut put = made.clone();
    put["spec"]["port"] = "2".into();
    hook.asked();
    let put = root.put(&path, &put).await.expect(200);
    assert_eq!((&put["spec"]["port"], &put["metadata"]["generation"]), (&json!("2"), &json!(2)));
    assert_eq!(hook.asked().len(), 3, "there, back, and for the answer");
    assert_eq!(stored().await["spec"]["hostPort"], "one:2");
    let again = root.put(&path, &put).await.expect(200);
    assert_eq!(again, put, "nothing changes");
    root.put(&path, &made).await.refused(409);
    let merged = root.patch(&path, "merge-patch", &json!({"spec": {"host": "three"}})).await.expect(200);
    assert_eq!(merged["spec"]["host"], "three");
    let patch = json!([{"op": "test", "path": "/spec/host", "value": "three"}, {"op": "replace", "path": "/spec/port", "value": "3"}]);
    assert_eq!(root.patch(&path, "json-patch", &patch).await.expect(200)["spec"]["port"], "3");
    let apply = root.with("content-type", "application/apply-patch+yaml");
    let config = "apiVersion: example.com/v2\nkind: Server\nmetadata: {name: a}\nspec: {host: four}\n";
    let applied = format!("{path}?fieldManager=me&force=true");
    let owned = apply.send(Method::PATCH, &applied, config).await.expect(200);
    assert_eq!((&owned["spec"]["host"], &owned["spec"]["port"]), (&json!("four"), &json!("3")));
    assert_eq!(stored().await["spec"]["hostPort"], "four:3");
    // What the rules of the version forbid is told in its words.
    let wrong = root.patch(&path, "merge-patch", &json!({"spec": {"copies": -1}})).await.refused(422);
    assert!(wrong.contains("spec.copies"), "{wrong}");

    let reported =
        root.patch(&format!("{path}/status"), "merge-patch", &json!({"status": {"copies": 2}})).await.expect(200);
    assert_eq!((&reported["apiVersion"], &reported["status"]["copies"]), (&json!("example.com/v2"), &json!(2)));
    let scaled =
        root.patch(&format!("{path}/scale"), "merge-patch", &json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!((&scaled["spec"]["replicas"], &scaled["status"]["replicas"]), (&json!(5), &json!(2)));
    assert_eq!(root.get(&format!("{path}/scale")).await.expect(200)["spec"]["replicas"], 5);
    assert_eq!(stored().await["spec"]["copies"], 5);
    let tried = root.patch(&format!("{path}?dryRun=All"), "merge-patch", &json!({"spec": {"host": "x"}})).await;
    assert_eq!(tried.expect(200)["spec"]["host"], "x");
    assert_eq!(stored().await["spec"]["hostPort"], "four:3");
    root.delete(&path).await.expect(200);
    root.get(&path).await.refused(404);
}

/// `CustomResourceConversionWebhook should be able to convert a non homogeneous list of CRs`.
#[tokio::test]
async fn a_list_of_several_versions_is_converted_in_one_call() {
    let world = World::start().await;
    let root = world.root();
    let hook = served(&world, "v1").await;
    for name in ["a", "b", "c"] {
        root.post(ONE, &one(name, &format!("{name}:1"))).await.expect(201);
    }
    root.patch(PATH, "merge-patch", &json!({"spec": {"versions": versions("v2")}})).await.expect(200);
    assert_eq!(root.get(PATH).await.expect(200)["status"]["storedVersions"], json!(["v1", "v2"]));
    root.post(TWO, &two("d", "d", "1")).await.expect(201);
    hook.asked();
    for (path, version, sent) in [(ONE, "v1", json!(["d"])), (TWO, "v2", json!(["a", "b", "c"]))] {
        let list = items(&root, path).await;
        let names: Vec<&Value> = list.iter().map(|item| &item["metadata"]["name"]).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        assert!(list.iter().all(|item| item["apiVersion"] == format!("example.com/{version}")), "{list:?}");
        let asked = hook.asked();
        assert_eq!(asked.len(), 1, "one call for all");
        let objects = asked[0]["objects"].as_array().expect("objects").iter();
        assert_eq!(objects.map(|object| object["metadata"]["name"].clone()).collect::<Value>(), sent);
    }
    assert_eq!(items(&root, ONE).await[3]["spec"]["hostPort"], "d:1");
    assert_eq!(items(&root, TWO).await[0]["spec"]["host"], "a");

    // Objects are moved to the version that is stored now by writing them as they are.
    for name in ["a", "b", "c"] {
        let path = format!("{ONE}/{name}");
        let read = root.get(&path).await.expect(200);
        let moved = root.put(&path, &read).await.expect(200);
        assert_ne!(moved["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"]);
        assert_eq!(moved["metadata"]["generation"], read["metadata"]["generation"]);
        // What lies there in that version has its defaults.
        assert_eq!(moved["spec"], json!({"hostPort": format!("{name}:1"), "zone": "here"}));
    }
    hook.asked();
    assert_eq!(items(&root, TWO).await.len(), 4);
    assert!(hook.asked().is_empty(), "nothing is left to convert");
}

#[tokio::test]
async fn lists_select_and_show_by_the_version_asked_for() {
    let world = World::start().await;
    let root = world.root();
    let hook = served(&world, "v1").await;
    for name in ["a", "b", "c"] {
        root.post(ONE, &one(name, &format!("host-{name}:1"))).await.expect(201);
    }
    let names = async |query: &str| -> Vec<Value> {
        items(&root, &format!("{TWO}?{query}")).await.iter().map(|item| item["metadata"]["name"].clone()).collect()
    };
    assert_eq!(names("fieldSelector=spec.host=host-b").await, ["b"]);
    assert_eq!(names("labelSelector=shown-as=v2").await, ["a", "b", "c"]);
    assert!(names("labelSelector=shown-as=v1").await.is_empty());
    root.get(&format!("{TWO}?fieldSelector=spec.hostPort=x")).await.refused(400);
    let first = root.get(&format!("{TWO}?limit=2")).await.expect(200);
    assert_eq!(
        (first["items"].as_array().map(Vec::len), &first["metadata"]["remainingItemCount"]),
        (Some(2), &json!(1))
    );
    let token = first["metadata"]["continue"].as_str().expect("more").to_owned();
    assert_eq!(names(&format!("limit=2&continue={token}")).await, ["c"]);
    let first = root.get(&format!("{TWO}?limit=2&labelSelector=shown-as=v2")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().expect("more").to_owned();
    assert_eq!(names(&format!("limit=2&labelSelector=shown-as=v2&continue={token}")).await, ["c"]);
    hook.asked();
    let table = root.with("accept", TABLE).get(TWO).await.expect(200);
    assert_eq!((&table["rows"][0]["cells"], hook.asked().len()), (&json!(["a", "host-a"]), 1));
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = root.with("accept", partial).get(TWO).await.expect(200);
    assert_eq!(list["items"][2]["metadata"]["labels"], json!({"shown-as": "v2"}));
    let gone = root.delete(&format!("{TWO}?fieldSelector=spec.host!=host-b")).await.expect(200);
    assert_eq!(gone["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(gone["items"][0]["spec"]["host"], "host-a");
    assert_eq!(names("").await, ["b"]);
}

#[tokio::test]
async fn watches_show_the_version_they_ask_for_and_share_the_calls() {
    let world = World::start().await;
    let root = world.root();
    let hook = served(&world, "v1").await;
    for name in ["a", "b"] {
        root.post(ONE, &one(name, &format!("{name}:1"))).await.expect(201);
    }
    let begin = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watches = Vec::new();
    for _ in 0..3 {
        let mut events = Events::open(&root, &format!("{TWO}?{begin}")).await;
        for name in ["a", "b"] {
            let event = events.next().await.expect("an event");
            assert_eq!((&event["type"], &event["object"]["spec"]["host"]), (&json!("ADDED"), &json!(name)));
        }
        let mark = events.next().await.expect("a bookmark");
        assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        assert_eq!(mark["object"]["apiVersion"], "example.com/v2");
        watches.push(events);
    }
    assert_eq!(hook.asked().len(), 3, "one call for what is there");
    let mut selecting = Events::open(&root, &format!("{TWO}?{begin}&fieldSelector=spec.host=new")).await;
    assert_eq!(selecting.next().await.expect("a bookmark")["type"], "BOOKMARK");
    let mut stored = Events::open(&root, &format!("{ONE}?{begin}")).await;
    for _ in 0..3 {
        stored.next().await.expect("an event");
    }
    hook.asked();
    root.patch(&format!("{ONE}/a"), "merge-patch", &json!({"spec": {"hostPort": "new:1"}})).await.expect(200);
    root.patch(&format!("{ONE}/a"), "merge-patch", &json!({"spec": {"hostPort": "newer:2"}})).await.expect(200);
    let last = root.delete(&format!("{ONE}/a")).await.expect(200);
    assert_eq!(last["status"], "Success");
    let step = |event: &Value| (event["type"].clone(), event["object"]["spec"]["host"].clone());
    let expected = [("MODIFIED", "new"), ("MODIFIED", "newer"), ("DELETED", "newer")];
    for events in &mut watches {
        let mut before = 0;
        for (kind, host) in expected {
            let event = events.next().await.expect("an event");
            assert_eq!(step(&event), (json!(kind), json!(host)));
            let revision = event["object"]["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok());
            assert!(revision > Some(before), "in order, each with the revision of its change");
            before = revision.expect("a number");
        }
    }
    for (kind, host) in [("ADDED", "new"), ("DELETED", "new")] {
        assert_eq!(step(&selecting.next().await.expect("an event")), (json!(kind), json!(host)));
    }
    for kind in ["MODIFIED", "MODIFIED", "DELETED"] {
        let event = stored.next().await.expect("an event");
        assert_eq!((&event["type"], &event["object"]["apiVersion"]), (&json!(kind), &json!("example.com/v1")));
    }
    let sent: usize = hook.asked().iter().map(|request| request["objects"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(sent, 3, "each state once, whoever watches: the one that was there, and two more");
}

#[tokio::test]
async fn a_webhook_that_fails_says_so() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, |request| match request["objects"][0]["metadata"]["name"].as_str() {
        Some("other") => {
            let mut answer = converts(request);
            answer["convertedObjects"][0]["metadata"]["name"] = "another".into();
            answer
        }
        Some("less") => json!({"result": {"status": "Success"}, "convertedObjects": []}),
        Some("dead") => json!({"result": {"status": "Failure", "message": "no idea how"}}),
        _ => converts(request),
    })
    .await;
    root.post(DEFINITIONS, &definition(&hook, "v1")).await.expect(201);
    for name in ["dead", "less", "other"] {
        root.post(ONE, &one(name, "x:1")).await.expect(201);
    }
    for (name, why) in [
        (
            "dead",
            "conversion webhook for example.com/v1, Kind=Server failed: no idea how (default/dead to example.com/v2",
        ),
        ("less", "conversion webhook for example.com/v1, Kind=Server returned 0 objects, expected 1"),
        ("other", "returned invalid converted object at index 0: must have the same name: other != another"),
    ] {
        let told = root.get(&format!("{TWO}/{name}")).await.refused(500);
        assert!(told.contains(why) && told.contains(&format!("default/{name}")), "{told}");
        assert!(told.contains(hook.client()["url"].as_str().expect("a URL")), "{told}");
        root.get(&format!("{ONE}/{name}")).await.expect(200);
    }
    let told = root.get(TWO).await.refused(500);
    assert!(told.contains("default/dead and 2 others"), "{told}");
    let version = root.get(ONE).await.expect(200)["metadata"]["resourceVersion"].clone();
    let watch = format!("{TWO}?watch=1&resourceVersion={}", version.as_str().expect("a version"));
    let mut events = Events::open(&root, &watch).await;
    root.patch(&format!("{ONE}/dead"), "merge-patch", &json!({"spec": {"hostPort": "y:1"}})).await.expect(200);
    let last = events.next().await.expect("an event");
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(500)));
    assert_eq!(events.next().await, None, "nothing is left out in silence");
    root.post(TWO, &two("dead", "x", "1")).await.refused(500);
    // What is to go needs no conversion.
    root.delete(&format!("{TWO}/dead")).await.expect(200);
    root.get(&format!("{ONE}/dead")).await.refused(404);

    let old = json!({"spec": {"conversion": {"webhook": {"conversionReviewVersions": ["v1beta1"]}}}});
    root.patch(PATH, "merge-patch", &old).await.expect(200);
    // An older webhook is asked in its own words.
    root.post(ONE, &one("fine", "x:1")).await.expect(201);
    assert_eq!(root.get(&format!("{TWO}/fine")).await.expect(200)["spec"]["host"], "x");
    // Its end needs none either.
    drop(hook);
    root.delete(PATH).await.expect(200);
    until(&root, PATH, |answer| answer.code == 404).await;
}

#[tokio::test]
async fn admission_sees_the_version_it_knows() {
    let world = World::start().await;
    let root = world.root();
    let _converter = served(&world, "v2").await;
    let hook = Hook::start(&world, |request| match request["object"]["metadata"]["name"].as_str() {
        Some("no") => json!({"allowed": false}),
        _ => patched(&json!([{"op": "replace", "path": "/spec/hostPort", "value": "patched:9"}])),
    })
    .await;
    let rules =
        json!([{"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["servers"]}]);
    hook.changes(&world, "old", &json!({"rules": rules})).await;
    let made = root.post(TWO, &two("a", "x", "1")).await.expect(201);
    assert_eq!(made["spec"], json!({"host": "patched", "port": "9", "zone": "here"}));
    let asked = hook.asked();
    assert_eq!((&asked[0]["kind"]["version"], &asked[0]["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    let object = &asked[0]["object"];
    assert_eq!((&object["apiVersion"], &object["spec"]["hostPort"]), (&json!("example.com/v1"), &json!("x:1")));
    root.post(TWO, &two("no", "x", "1")).await.refused(403);
    root.patch(&format!("{TWO}/a"), "merge-patch", &json!({"spec": {"host": "y"}})).await.expect(200);
    let old = &hook.asked()[1]["oldObject"];
    assert_eq!((&old["apiVersion"], &old["spec"]["hostPort"]), (&json!("example.com/v1"), &json!("patched:9")));
}
