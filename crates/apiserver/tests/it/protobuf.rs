//! What Go clients prefer: built-in kinds in protobuf, both ways.

use std::sync::Arc;

use bytes::BytesMut;
use http::Method;
use http_body_util::BodyExt;
use naru_api::{Kind, Registry, Subresource};
use naru_apiserver::User;
use naru_client::Body;
use naru_store::History;
use serde_json::{Value, json};

use crate::audit::Log;
use crate::custom::{DEFINITIONS, WIDGETS, definition, widget};
use crate::kinds::path;
use crate::kinds::samples::sample;
use crate::support::{Answer, Caller, MAPS, NoNodes, PODS, World, config_map, pod, within};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// As client-go asks for typed objects.
const TYPED: &str = "application/vnd.kubernetes.protobuf, */*";
/// As controller-runtime asks for metadata alone.
const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// What protobuf does not tell from nothing: left out of both sides.
fn lean(value: &Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    };
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), lean(value))).filter(|(_, value)| !empty(value)).collect()
        }
        Value::Array(list) => list.iter().map(lean).collect(),
        other => other.clone(),
    }
}

#[track_caller]
fn read(answer: &Answer, code: u16) -> Value {
    assert_eq!(answer.code.as_u16(), code, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], PROTOBUF, "{}", answer.text());
    naru_protobuf::decode(None, &answer.bytes).expect("a document")
}

/// The events of a watch in protobuf, one after the other.
struct Frames {
    body: Body,
    read: BytesMut,
}

impl Frames {
    async fn open(caller: &Caller, path: &str) -> Frames {
        let response = caller.open(path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
        Frames { body: response.into_body(), read: BytesMut::new() }
    }

    /// The name and the object of the next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(head) = self.read.first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if self.read.len() >= length + 4 {
                    let frame = self.read.split_to(length + 4);
                    let (name, object) = (field(&frame[4..], 1), field(&frame[4..], 2));
                    let object = naru_protobuf::decode(None, field(object, 1)).expect("a document");
                    return Some((String::from_utf8_lossy(name).into_owned(), object));
                }
            }
            let frame = within(self.body.frame()).await?.expect("a frame");
            self.read.extend_from_slice(&frame.into_data().expect("data"));
        }
    }

    /// Event and name of the next one.
    async fn step(&mut self) -> (String, String) {
        let (event, object) = self.next().await.expect("an event");
        (event, object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    }
}

/// The bytes of a field of a message that has nothing but such.
fn field(mut message: &[u8], wanted: u8) -> &[u8] {
    while let Some((key, rest)) = message.split_first() {
        assert_eq!(key & 7, 2, "bytes");
        let (mut length, mut shift, mut rest) = (0, 0, rest);
        while let Some((byte, after)) = rest.split_first() {
            length |= usize::from(byte & 0x7f) << shift;
            (shift, rest) = (shift + 7, after);
            if byte & 0x80 == 0 {
                break;
            }
        }
        if key >> 3 == wanted {
            return &rest[..length];
        }
        message = &rest[length..];
    }
    panic!("no field {wanted}")
}

fn step(event: &str, name: &str) -> (String, String) {
    (event.to_owned(), name.to_owned())
}

#[tokio::test]
async fn every_kind_is_the_same_in_protobuf() {
    let world = World::start().await;
    let mut owned = 0;
    for kind in Registry::builtin().iter().filter(|kind| kind.is_stored() && kind.group != "naru.io") {
        owned += usize::from(same(&world.root(), kind).await);
    }
    assert!(owned > 40, "only {owned} say who owns their fields");
}

/// Whether it is told who owns the fields of the kind's sample: not where it has none.
async fn same(root: &Caller, kind: &Kind) -> bool {
    let of = format!("{} {}", kind.api_version(), kind.plural);
    let spoken = root.with("accept", TYPED).with("content-type", PROTOBUF);
    let (sample, collection) = (sample(kind), path(kind));
    let one = format!("{collection}/{}", sample.name);
    let mut object = sample.object.clone();
    (object["apiVersion"], object["kind"]) = (kind.api_version().into(), kind.kind.as_ref().into());
    let body = naru_protobuf::encode(&object).unwrap_or_else(|error| panic!("{of}: {error}"));
    let answer = spoken.send(Method::POST, &collection, body).await;
    assert_eq!(answer.code, 201, "{of}: {}", answer.text());
    let made = read(&answer, 201);
    assert_eq!((&made["apiVersion"], &made["kind"]), (&json!(kind.api_version()), &json!(kind.kind)), "{of}");
    if kind.has(Subresource::Status) {
        let state = json!({"status": sample.status});
        let patched = root.with("accept", TYPED).patch(&format!("{one}/status"), "merge-patch", &state).await;
        assert_eq!(read(&patched, 200)["kind"], kind.kind.as_ref(), "{of}");
    }
    let (plain, seen) = (root.get(&one).await.expect(200), read(&spoken.get(&one).await, 200));
    assert_eq!(lean(&plain), lean(&seen), "{of}");
    let owned = seen["metadata"]["managedFields"][0]["fieldsV1"].is_object();
    let (plain, seen) = (root.get(&collection).await.expect(200), read(&spoken.get(&collection).await, 200));
    assert_eq!(lean(&plain), lean(&seen), "{of}");
    let alone = read(&root.with("accept", METADATA).get(&one).await, 200);
    assert_eq!(alone["kind"], "PartialObjectMetadata", "{of}");
    assert_eq!(lean(&alone["metadata"]), lean(&metadata(root, &one).await), "{of}");
    let gone = spoken.delete(&one).await;
    assert_eq!(gone.code, 200, "{of}");
    assert!(["Status", &kind.kind].contains(&read(&gone, 200)["kind"].as_str().expect("a kind")), "{of}");
    owned
}

/// The metadata of an object, alone.
async fn metadata(root: &Caller, path: &str) -> Value {
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    root.with("accept", accept).get(path).await.expect(200)["metadata"].clone()
}

#[tokio::test]
async fn an_object_is_made_changed_and_deleted() {
    let world = World::start().await;
    let (root, spoken) = (world.root(), world.root().with("accept", TYPED).with("content-type", PROTOBUF));
    let mut object = read(&spoken.send(Method::POST, MAPS, document(&config_map("a", &[("k", "v")]))).await, 201);
    object["data"]["k"] = "w".into();
    let put = read(&spoken.send(Method::PUT, &format!("{MAPS}/a"), document(&object)).await, 200);
    assert_eq!(put["data"]["k"], "w");
    let change = json!({"data": {"l": "x"}});
    let patched = root.with("accept", PROTOBUF).patch(&format!("{MAPS}/a"), "merge-patch", &change).await;
    assert_eq!(read(&patched, 200)["data"], json!({"k": "w", "l": "x"}));
    let stale = read(&spoken.send(Method::PUT, &format!("{MAPS}/a"), document(&object)).await, 409);
    assert_eq!((&stale["kind"], &stale["reason"]), (&json!("Status"), &json!("Conflict")));
    let gone = read(&spoken.delete(&format!("{MAPS}/a")).await, 200);
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"]["name"], "a");
    root.post(MAPS, &config_map("b", &[])).await.expect(201);
    let all = read(&spoken.delete(MAPS).await, 200);
    assert_eq!((&all["kind"], &all["items"][0]["metadata"]["name"]), (&json!("ConfigMapList"), &json!("b")));
}

fn document(object: &Value) -> bytes::Bytes {
    naru_protobuf::encode(object).expect("a document")
}

#[tokio::test]
async fn refusals_are_told_in_protobuf() {
    let world = World::start().await;
    let spoken = world.root().with("accept", TYPED);
    let status = read(&spoken.get(&format!("{PODS}/nobody")).await, 404);
    assert_eq!(
        (&status["kind"], &status["reason"], &status["code"]),
        (&json!("Status"), &json!("NotFound"), &json!(404))
    );
    assert_eq!(status["details"], json!({"name": "nobody", "kind": "pods"}));
    let nobody = world.user("nobody", &[]).with("accept", TYPED);
    assert_eq!(read(&nobody.get(PODS).await, 403)["reason"], "Forbidden");
    let invalid = read(&spoken.post(PODS, &json!({"metadata": {"name": "A"}})).await, 422);
    assert!(invalid["details"]["causes"].as_array().is_some_and(|causes| causes.len() > 1), "{invalid}");
    // Metadata alone is no form of a refusal: the next one that is accepted is.
    let answer = world.root().with("accept", METADATA).get(&format!("{PODS}/nobody")).await;
    assert_eq!(answer.expect(404)["reason"], "NotFound");
    let path = "/apis/nowhere.example.com/v1/things";
    assert_eq!(spoken.get(path).await.text(), "404 page not found\n");
}

#[tokio::test]
async fn what_is_answered_in_protobuf_is_written_down() {
    let world = World::start().await;
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse}]}";
    let (spoken, log) = (world.root().with("accept", TYPED), Log::of(&world, policy));
    read(&spoken.post(MAPS, &config_map("a", &[("k", "v")])).await, 201);
    read(&spoken.get(MAPS).await, 200);
    read(&spoken.get(&format!("{MAPS}/b")).await, 404);
    let events = log.until(|event| event["objectRef"]["name"] == "b").await;
    let of = |verb: &str| events.iter().rfind(|event| event["verb"] == verb).expect("an event");
    assert_eq!(of("create")["responseObject"]["data"], json!({"k": "v"}));
    assert_eq!(of("list")["responseObject"]["items"][0]["data"], json!({"k": "v"}));
    assert_eq!(of("get")["responseStatus"]["reason"], "NotFound");
}

#[tokio::test]
async fn a_list_goes_on_in_protobuf() {
    let world = World::start().await;
    let (root, spoken) = (world.root(), world.root().with("accept", TYPED));
    for n in 0..5 {
        root.post(PODS, &pod(&format!("p{n}"))).await.expect(201);
    }
    let first = read(&spoken.get(&format!("{PODS}?limit=2")).await, 200);
    assert_eq!((&first["kind"], &first["apiVersion"]), (&json!("PodList"), &json!("v1")));
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&first), ["p0", "p1"]);
    let token = first["metadata"]["continue"].as_str().expect("more");
    let rest = spoken.get(&format!("{PODS}?continue={token}")).await;
    let length = rest.headers["content-length"].to_str().expect("text").parse::<usize>().expect("a number");
    assert_eq!(length, rest.bytes.len());
    let rest = read(&rest, 200);
    assert_eq!(names(&rest), ["p2", "p3", "p4"]);
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(rest["metadata"].get("continue"), None);
    let none = read(&spoken.get(&format!("{PODS}?labelSelector=a%3Db")).await, 200);
    assert_eq!(none["items"], json!([]));
    let alone = read(&root.with("accept", METADATA_LIST).get(&format!("{PODS}?limit=1")).await, 200);
    assert_eq!((&alone["kind"], &alone["apiVersion"]), (&json!("PartialObjectMetadataList"), &json!("meta.k8s.io/v1")));
    assert_eq!((alone["metadata"]["remainingItemCount"].clone(), names(&alone)), (json!(4), vec!["p0".to_owned()]));
    assert_eq!(alone["items"][0].get("spec"), None);
}

#[tokio::test]
async fn a_large_list_is_the_same_in_pieces() {
    let world = World::start().await;
    let root = world.root();
    let text = "text ".repeat(6_000);
    for n in 0..210 {
        root.post(MAPS, &config_map(&format!("m{n:03}"), &[("k", &text)])).await.expect(201);
    }
    let plain = root.get(MAPS).await.expect(200);
    assert_eq!(
        lean(&read(&root.with("accept", TYPED).get(MAPS).await, 200)),
        lean(&plain),
        "more than is kept at once"
    );
}

#[tokio::test]
async fn changes_are_told_in_protobuf() {
    let world = World::start().await;
    let (root, spoken) = (world.root(), world.root().with("accept", TYPED));
    root.post(PODS, &pod("there")).await.expect(201);
    let options = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    // Two of them, and two of metadata: the second of each is told what the first was.
    let open = |caller: Caller| async move { Frames::open(&caller, &format!("{PODS}?{options}")).await };
    let mut whole = [open(spoken.clone()).await, open(spoken.clone()).await];
    let metadata = root.with("accept", METADATA);
    let mut alone = [open(metadata.clone()).await, open(metadata).await];
    for frames in whole.iter_mut().chain(&mut alone) {
        assert_eq!(frames.step().await, step("ADDED", "there"));
        let (event, object) = frames.next().await.expect("a bookmark");
        assert_eq!(event, "BOOKMARK");
        assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        assert!(object["metadata"]["resourceVersion"].is_string(), "{object}");
    }
    let made = root.post(PODS, &pod("p")).await.expect(201);
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let changed = root.patch(&format!("{PODS}/p"), "merge-patch", &label).await.expect(200);
    root.delete(&format!("{PODS}/p?gracePeriodSeconds=0")).await.expect(200);
    for frames in &mut whole {
        let (event, object) = frames.next().await.expect("an event");
        assert_eq!((event.as_str(), lean(&object)), ("ADDED", lean(&made)));
        let (event, object) = frames.next().await.expect("an event");
        assert_eq!((event.as_str(), lean(&object)), ("MODIFIED", lean(&changed)));
        let (event, object) = frames.next().await.expect("an event");
        assert_eq!((event.as_str(), lean(&object["spec"])), ("DELETED", lean(&changed["spec"])));
        assert_ne!(object["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"]);
    }
    for frames in &mut alone {
        for (event, of) in [("ADDED", &made), ("MODIFIED", &changed)] {
            let (told, object) = frames.next().await.expect("an event");
            assert_eq!((told.as_str(), &object["kind"]), (event, &json!("PartialObjectMetadata")));
            assert_eq!(lean(&object["metadata"]), lean(&of["metadata"]));
            assert_eq!(object.get("spec"), None);
        }
        assert_eq!(frames.step().await, step("DELETED", "p"));
    }
}

#[tokio::test]
async fn a_watch_that_fell_behind_is_told_in_protobuf() {
    let world = World::with(Arc::new(NoNodes), History { transactions: 20, ..History::default() }).await;
    let slow = world.inside(User::new("slow", &["system:masters"])).with("accept", TYPED);
    let mut frames = Frames::open(&slow, &format!("{MAPS}?watch=1")).await;
    assert_eq!(frames.step().await.0, "ADDED");
    let root = world.root();
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    for n in 0..60 {
        root.put(&format!("{MAPS}/a"), &config_map("a", &[("n", &n.to_string())])).await.expect(200);
    }
    let (event, status) = frames.next().await.expect("an event");
    assert_eq!((event.as_str(), &status["kind"], &status["code"]), ("ERROR", &json!("Status"), &json!(410)));
    let gone = read(&root.with("accept", TYPED).get(&format!("{MAPS}?watch=1&resourceVersion=1")).await, 410);
    assert_eq!(gone["reason"], "Expired");
}

#[tokio::test]
async fn one_object_in_two_versions_is_told_in_both() {
    let world = World::start().await;
    let (root, spoken) = (world.root(), world.root().with("accept", TYPED));
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "R", "type": "Normal", "message": "hello"});
    const NEWER: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
    let mut frames = Frames::open(&spoken, &format!("{NEWER}?watch=1")).await;
    root.post("/api/v1/namespaces/default/events", &event).await.expect(201);
    let (told, object) = frames.next().await.expect("an event");
    assert_eq!(
        (told.as_str(), &object["apiVersion"], &object["note"]),
        ("ADDED", &json!("events.k8s.io/v1"), &json!("hello"))
    );
    for path in [NEWER, "/api/v1/namespaces/default/events"] {
        let (plain, seen) = (root.get(path).await.expect(200), read(&spoken.get(path).await, 200));
        assert_eq!(lean(&plain), lean(&seen));
    }
}

#[tokio::test]
async fn subresources_and_reviews_are_answered_in_protobuf() {
    let world = World::start().await;
    let (root, spoken) = (world.root(), world.root().with("accept", TYPED).with("content-type", PROTOBUF));
    const SETS: &str = "/apis/apps/v1/namespaces/default/deployments";
    let kind = Registry::builtin().find("deployments").expect("served").clone();
    root.post(SETS, &sample(&kind).object).await.expect(201);
    let mut scale = read(&spoken.get(&format!("{SETS}/sample/scale")).await, 200);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    scale["spec"]["replicas"] = 3.into();
    let scaled = read(&spoken.send(Method::PUT, &format!("{SETS}/sample/scale"), document(&scale)).await, 200);
    assert_eq!(scaled["spec"]["replicas"], 3);
    let accounts = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let token = read(&spoken.send(Method::POST, accounts, document(&request)).await, 201);
    let token = token["status"]["token"].as_str().expect("a token").to_owned();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let judged = spoken.send(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews", document(&review)).await;
    let judged = read(&judged, 201);
    assert_eq!(judged["status"]["authenticated"], true);
    assert_eq!(judged["status"]["user"]["username"], "system:serviceaccount:default:default");
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(read(&spoken.send(Method::POST, path, document(&review)).await, 201)["status"]["allowed"], true);
    root.post(PODS, &pod("p")).await.expect(201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let bound = read(&spoken.send(Method::POST, &format!("{PODS}/p/binding"), document(&binding)).await, 201);
    assert_eq!((&bound["kind"], &bound["status"]), (&json!("Status"), &json!("Success")));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let evicted = read(&spoken.send(Method::POST, &format!("{PODS}/p/eviction"), document(&eviction)).await, 201);
    assert_eq!(evicted["status"], "Success");
    let parts = read(&spoken.get("/api/v1/componentstatuses").await, 200);
    assert_eq!((&parts["kind"], parts["items"].as_array().map(Vec::len)), (&json!("ComponentStatusList"), Some(3)));
}

#[tokio::test]
async fn what_has_no_form_in_protobuf_comes_in_the_next() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEFINITIONS, &definition()).await.expect(201);
    root.post(WIDGETS, &widget("w", "red")).await.expect(201);
    let networks = "/apis/naru.io/v1/networks";
    for path in [WIDGETS, networks] {
        let answer = root.with("accept", TYPED).get(path).await;
        assert_eq!(answer.headers["content-type"], "application/json", "{}", answer.text());
        let refused = root.with("accept", PROTOBUF).get(path).await;
        let status = read(&refused, 406);
        assert_eq!(
            status["message"],
            "only the following media types are accepted: application/json, application/yaml"
        );
        let watch = root.with("accept", PROTOBUF).get(&format!("{path}?watch=1")).await;
        assert_eq!(read(&watch, 406)["message"], "only the following media types are accepted: application/json");
    }
    // Metadata alone is the same for all kinds.
    let alone = read(&root.with("accept", METADATA_LIST).get(WIDGETS).await, 200);
    assert_eq!(alone["items"][0]["metadata"]["name"], "w");
    let mut frames = Frames::open(&root.with("accept", METADATA), &format!("{WIDGETS}?watch=1")).await;
    assert_eq!(frames.step().await, step("ADDED", "w"));
    let deleted = read(&root.with("accept", METADATA_LIST).delete(WIDGETS).await, 200);
    assert_eq!(deleted["kind"], "PartialObjectMetadataList");
    let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
    root.with("accept", table).get(PODS).await.refused(406);
    let table = format!("{table},application/json;as=Table;g=meta.k8s.io;v=v1");
    assert_eq!(root.with("accept", &table).get(PODS).await.expect(200)["kind"], "Table");
    assert_eq!(root.with("accept", TYPED).get("/version").await.expect(200)["minor"], "36");
    assert_eq!(root.with("accept", TYPED).get("/apis").await.expect(200)["kind"], "APIGroupList");
}
