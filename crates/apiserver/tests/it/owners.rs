//! Owners of fields over HTTP: who they are, where they are shown, and what clients make of them.

use http::Method;
use naru_apiserver::User;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, MAPS, PODS, World, config_map, pod};
use crate::watching::Events;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const NAMESPACES: &str = "/api/v1/namespaces";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// `manager operation version subresource`, sorted.
fn owners(object: &Value) -> Vec<String> {
    assert!(object["metadata"].get("fieldOwners").is_none(), "{object}");
    let list = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |entry: &Value| {
        assert_eq!(entry["fieldsType"], "FieldsV1");
        let words =
            ["manager", "operation", "apiVersion", "subresource"].map(|key| entry[key].as_str().unwrap_or_default());
        words.join(" ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = list.iter().map(line).collect();
    lines.sort_unstable();
    lines
}

fn owned(object: &Value, manager: &str) -> Value {
    let list = object["metadata"]["managedFields"].as_array().expect("owners");
    list.iter().find(|entry| entry["manager"] == manager).unwrap_or_else(|| panic!("{manager} owns nothing"))["fieldsV1"].clone()
}

async fn apply(caller: &Caller, path: &str, config: &Value) -> Answer {
    let caller = caller.with("content-type", "application/apply-patch+yaml");
    caller.send(Method::PATCH, path, config.to_string()).await
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[tokio::test]
async fn whatever_is_made_has_an_owner_and_every_form_shows_it() {
    let world = World::start().await;
    let root = world.root().with("user-agent", "kubectl/v1.36.0 (linux/amd64) kubernetes/abc");
    let mut watch = Events::open(&root, &format!("{MAPS}?watch=true&resourceVersion=0")).await;
    let made = root.post(MAPS, &config_map("a", &[("k", "v")])).await.expect(201);
    assert_eq!(owners(&made), ["kubectl Update v1"]);
    assert_eq!(owned(&made, "kubectl"), json!({"f:data": {".": {}, "f:k": {}}}));
    let path = format!("{MAPS}/a");
    assert_eq!(root.get(&path).await.expect(200), made);
    let list = root.get(MAPS).await;
    let items = list.expect(200)["items"].as_array().expect("items").clone();
    assert!(items.contains(&made));
    assert_eq!(list.headers["content-length"], list.bytes.len().to_string());
    let seen = loop {
        let event = watch.next().await.expect("an event");
        if event["object"]["metadata"]["name"] == "a" {
            break event;
        }
    };
    assert_eq!(seen["object"], made);
    let partial = root.with("accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    assert_eq!(partial.get(&path).await.expect(200)["metadata"], made["metadata"]);
    let partials = root.with("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let partials = partials.get(MAPS).await.expect(200);
    assert!(partials["items"].as_array().expect("items").iter().any(|item| item["metadata"] == made["metadata"]));
    for (path, rows) in [(path.as_str(), 1), (MAPS, items.len())] {
        let table = root.with("accept", "application/json;as=Table;g=meta.k8s.io;v=v1").get(path).await.expect(200);
        let rows_there = table["rows"].as_array().expect("rows");
        assert_eq!(rows_there.len(), rows);
        assert!(rows_there.iter().any(|row| row["object"]["metadata"] == made["metadata"]));
    }
    // Who does not look at them need not get them.
    let bare = root.with("accept", "application/json;owners=none");
    let mut without = made.clone();
    without["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    assert_eq!(bare.get(&path).await.expect(200), without);
    let items = bare.get(MAPS).await.expect(200)["items"].as_array().expect("items").clone();
    assert!(items.contains(&without));
    let mut watch = Events::open(&bare, &format!("{MAPS}?watch=true&fieldSelector=metadata.name=a")).await;
    assert_eq!(watch.next().await.expect("an event")["object"], without);
    // Deleting shows the last of it.
    let gone = root.send(Method::DELETE, &format!("{MAPS}?fieldSelector=metadata.name=a"), "").await.expect(200);
    assert_eq!(owners(&gone["items"][0]), ["kubectl Update v1"]);
}

#[tokio::test]
async fn writers_are_named_by_what_they_say_or_by_their_program() {
    let world = World::start().await;
    let own = "naru/0.9.0";
    let inside = |name: &str| world.inside(User::new(name, &["system:masters"])).with("user-agent", own);
    let rows = [
        (world.root(), "", "unknown"),
        (world.root().with("user-agent", "curl/8.0"), "", "curl"),
        (world.root().with("user-agent", "curl/8.0"), "?fieldManager=me", "me"),
        (world.root().with("user-agent", own), "", "naru"),
        (inside("system:controllers"), "", "kube-controller-manager"),
        (inside("system:controllers"), "?fieldManager=special", "special"),
    ];
    for (n, (caller, query, name)) in rows.into_iter().enumerate() {
        let made =
            caller.post(&format!("{MAPS}{query}"), &config_map(&format!("m{n}"), &[("k", "v")])).await.expect(201);
        assert_eq!(owners(&made), [format!("{name} Update v1")]);
    }
    // What the server makes by itself is its own.
    let namespace = world.root().get(&format!("{NAMESPACES}/default")).await.expect(200);
    assert_eq!(owners(&namespace), ["kube-apiserver Update v1"]);
    let authority = world.root().get(&format!("{MAPS}/kube-root-ca.crt")).await.expect(200);
    assert_eq!(owners(&authority), ["kube-controller-manager Update v1"]);
}

#[tokio::test]
async fn clients_send_back_what_they_read() {
    let world = World::start().await;
    let root = world.root().with("user-agent", "one/1");
    let two = world.root().with("user-agent", "two/1");
    let path = format!("{MAPS}/a");
    let made = root.post(MAPS, &config_map("a", &[("k", "v"), ("l", "v")])).await.expect(201);
    assert_eq!(two.put(&path, &made).await.expect(200), made, "nothing is written");
    let mut changed = made.clone();
    changed["data"] = json!({"k": "w", "m": "v"});
    let put = two.put(&path, &changed).await.expect(200);
    assert_eq!(owners(&put), ["one Update v1", "two Update v1"]);
    assert_eq!(owned(&put, "one"), json!({"f:data": {}}), "one field was taken over, one is gone");
    assert_eq!(owned(&put, "two"), json!({"f:data": {"f:k": {}, "f:m": {}}}));
    // A patch can reach into them, and a replaced list is the list.
    let rename = json!([{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "three"}]);
    let renamed = root.patch(&path, "json-patch", &rename).await.expect(200);
    assert_eq!(owners(&renamed), ["three Update v1", "two Update v1"]);
    let kept = json!({"metadata": {"managedFields": [renamed["metadata"]["managedFields"][1]]}});
    let replaced = root.patch(&path, "merge-patch", &kept).await.expect(200);
    assert_eq!(owners(&replaced), ["two Update v1"]);
    // None is no list: clients that know nothing of owners erase none.
    let none = json!({"metadata": {"managedFields": []}});
    assert_eq!(owners(&root.patch(&path, "merge-patch", &none).await.expect(200)), ["two Update v1"]);
    let reset = json!({"metadata": {"managedFields": [{}]}});
    let reset = root.patch(&path, "merge-patch", &reset).await.expect(200);
    assert!(owners(&reset).is_empty());
    let strict = format!("{path}?fieldValidation=Strict");
    let untracked = root.patch(&strict, "merge-patch", &json!({"data": {"k": "x"}})).await.expect(200);
    assert!(owners(&untracked).is_empty(), "until it is applied");
}

#[tokio::test]
async fn strict_writers_are_not_told_of_fields_that_they_did_not_send() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{PODS}/p");
    root.post(&format!("{PODS}?fieldValidation=Strict"), &pod("p")).await.expect(201);
    for (language, patch) in [
        ("merge-patch", json!({"metadata": {"labels": {"a": "b"}}})),
        ("strategic-merge-patch", json!({"metadata": {"labels": {"c": "d"}}})),
        ("json-patch", json!([{"op": "add", "path": "/metadata/labels/e", "value": "f"}])),
    ] {
        let answer = root.patch(&format!("{path}?fieldValidation=Strict"), language, &patch).await;
        answer.expect(200);
        assert!(!answer.headers.contains_key("warning"), "{language}");
    }
    let again = world.again().await;
    let read = root.get(&path).await.expect(200);
    drop(again);
    assert_eq!(owners(&read), ["unknown Update v1"]);
    assert_eq!(owned(&read, "unknown")["f:metadata"]["f:labels"], json!({".": {}, "f:a": {}, "f:c": {}, "f:e": {}}));
}

#[tokio::test]
async fn what_binds_a_pod_owns_nothing_of_it() {
    let world = World::start().await;
    let root = world.root().with("user-agent", "one/1");
    root.post(PODS, &pod("p")).await.expect(201);
    let bind = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    world.root().with("user-agent", "scheduler/1").post(&format!("{PODS}/p/binding"), &bind).await.expect(201);
    let bound = root.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "n");
    assert_eq!(owners(&bound), ["one Update v1"]);
    let status = json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}});
    let kubelet = world.root().with("user-agent", "kubelet/v1.36.0");
    let told = kubelet.patch(&format!("{PODS}/p/status"), "strategic-merge-patch", &status).await.expect(200);
    assert_eq!(owners(&told), ["kubelet Update v1 status", "one Update v1"]);
    let addresses = json!({".": {}, "k:{\"ip\":\"10.0.0.1\"}": {".": {}, "f:ip": {}}});
    assert_eq!(owned(&told, "kubelet")["f:status"]["f:podIPs"], addresses);
}

#[tokio::test]
async fn every_version_of_an_object_has_its_owners() {
    let world = World::start().await;
    let root = world.root();
    let of = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 50,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    let old = root.with("user-agent", "old/1").post(&of("v1"), &scaler).await.expect(201);
    assert_eq!(owners(&old), ["old Update autoscaling/v1"]);
    assert_eq!(owned(&old, "old")["f:spec"]["f:targetCPUUtilizationPercentage"], json!({}));
    let new = root.with("user-agent", "new/1");
    let shown =
        new.patch(&format!("{}/h", of("v2")), "merge-patch", &json!({"spec": {"maxReplicas": 7}})).await.expect(200);
    assert_eq!(owners(&shown), ["new Update autoscaling/v2", "old Update autoscaling/v1"]);
    assert_eq!(owned(&shown, "old")["f:spec"].get("f:maxReplicas"), None);
    let list = root.get(&of("v1")).await.expect(200);
    assert_eq!(list["items"][0]["metadata"]["managedFields"], shown["metadata"]["managedFields"]);
    // Metadata alone is that of the version, too.
    let partial = |list: &str| format!("application/json;as=PartialObjectMetadata{list};v=v1;g=meta.k8s.io");
    let metric = json!({"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "5"}}});
    let more = json!({"spec": {"metrics": [metric]}});
    root.patch(&format!("{}/h", of("v2")), "merge-patch", &more).await.expect(200);
    let whole = root.get(&format!("{}/h", of("v1"))).await.expect(200);
    assert!(whole["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].is_string(), "{whole}");
    let alone = root.with("accept", &partial("")).get(&format!("{}/h", of("v1"))).await.expect(200);
    assert_eq!((&alone["kind"], &alone["metadata"]), (&json!("PartialObjectMetadata"), &whole["metadata"]));
    let all = root.with("accept", &partial("List")).get(&of("v1")).await.expect(200);
    assert_eq!(all["items"][0]["metadata"], whole["metadata"]);
    // Who applies is in conflict with a writer of another version too.
    let config = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"}}});
    let message = apply(&root, &format!("{}/h?fieldManager=me", of("v2")), &config).await.refused(409);
    assert!(message.contains("conflicts with \"old\" using autoscaling/v1:\n- .spec.scaleTargetRef"), "{message}");
    assert!(message.contains("conflicts with \"new\" using autoscaling/v2:\n- .spec.maxReplicas"), "{message}");
}

#[tokio::test]
async fn a_scale_is_applied() {
    let world = World::start().await;
    let root = world.root();
    root.post(&format!("{DEPLOYMENTS}?fieldManager=maker"), &deployment()).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web/scale?fieldManager=scaler");
    let scale = |replicas: u32| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
    let message = apply(&root, &path, &scale(5)).await.refused(409);
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"maker\" using apps/v1: .spec.replicas");
    let scaled = apply(&root, &format!("{path}&force=true"), &scale(5)).await.expect(200);
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    let read = root.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!(owners(&read), ["maker Update apps/v1", "scaler Apply apps/v1 scale"]);
    assert_eq!(owned(&read, "scaler"), json!({"f:spec": {"f:replicas": {}}}));
    apply(&root, &format!("{DEPLOYMENTS}/none/scale?fieldManager=scaler"), &with_name(&scale(5), "none"))
        .await
        .refused(404);
    apply(&root, &path, &deployment()).await.refused(400);
}

fn with_name(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["name"] = name.into();
    object
}

#[tokio::test]
async fn narrow_parts_are_applied_and_nothing_beside_them() {
    let world = World::start().await;
    let root = world.root();
    root.post(&format!("{PODS}?fieldManager=maker"), &pod("p")).await.expect(201);
    let mut config = pod("p");
    config["metadata"]["labels"] = json!({"a": "b"});
    config["spec"]["containers"][0]["image"] = "other:1".into();
    config["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    let resized = apply(&root, &format!("{PODS}/p/resize?fieldManager=me"), &config).await.expect(200);
    let container = &resized["spec"]["containers"][0];
    assert_eq!((&container["resources"]["requests"]["cpu"], &container["image"]), (&json!("100m"), &json!("web:1")));
    let item = json!({".": {}, "f:name": {}, "f:resources": {"f:requests": {"f:cpu": {}}}});
    assert_eq!(owned(&resized, "me"), json!({"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": item}}}));
    assert_eq!(owners(&resized), ["maker Update v1", "me Apply v1 resize"]);

    config["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "tools:1"}]);
    let added = apply(&root, &format!("{PODS}/p/ephemeralcontainers?fieldManager=me"), &config).await.expect(200);
    assert_eq!(added["spec"]["ephemeralContainers"][0]["name"], "debug");
    assert_eq!((&added["spec"]["containers"][0]["image"], added["metadata"].get("labels")), (&json!("web:1"), None));
    assert_eq!(owners(&added), ["maker Update v1", "me Apply v1 ephemeralcontainers", "me Apply v1 resize"]);

    root.post(NAMESPACES, &json!({"metadata": {"name": "n"}})).await.expect(201);
    let config = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"a": "b"}},
        "spec": {"finalizers": ["example.com/held"]}});
    let path = format!("{NAMESPACES}/n/finalize?fieldManager=me&force=true");
    let held = apply(&root, &path, &config).await.expect(200);
    assert!(held["spec"]["finalizers"].as_array().expect("finalizers").contains(&json!("example.com/held")), "{held}");
    assert_eq!(held["metadata"]["labels"].get("a"), None);
    assert!(owners(&held).contains(&"me Apply v1 finalize".to_owned()));

    let csr = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, include_str!("../data/kim.csr"));
    let request = json!({"metadata": {"name": "r"}, "spec": {"signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"], "request": csr}});
    root.post(REQUESTS, &request).await.expect(201);
    let config = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"},
        "status": {"conditions": [{"type": "Denied", "status": "True", "reason": "No", "message": ""}]}});
    let path = format!("{REQUESTS}/r/approval?fieldManager=me");
    let denied = apply(&root, &path, &config).await.expect(200);
    assert_eq!(denied["status"]["conditions"][0]["type"], "Denied");
    assert!(owners(&denied).contains(&"me Apply certificates.k8s.io/v1 approval".to_owned()), "{denied}");
}
