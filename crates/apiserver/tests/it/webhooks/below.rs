//! What is asked for below an object: its scale, a binding, an eviction. Webhooks are shown that, and not the object.

use serde_json::{Value, json};

use super::{Hook, allowed, patched};
use crate::support::{PODS, World, pod};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment() -> Value {
    let labels = json!({"app": "web"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
}

/// Rules about one resource.
fn rules(group: &str, resource: &str, operation: &str) -> Value {
    json!({"rules": [{"operations": [operation], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}]})
}

#[tokio::test]
async fn a_scale_is_judged_and_changed_as_such() {
    let world = World::start().await;
    let root = world.root();
    let path = DEPLOYMENTS;
    root.post(path, &deployment()).await.expect(201);
    let judge = Hook::start(&world, |request| {
        let few = request["object"]["spec"]["replicas"].as_i64().is_some_and(|replicas| replicas < 10);
        json!({"allowed": few, "status": {"message": "too many"}})
    })
    .await;
    judge.judges(&world, "judge", &rules("apps", "deployments/scale", "UPDATE")).await;
    let halves = Hook::start(&world, |request| match request["object"]["spec"]["replicas"].as_i64() {
        Some(8) => patched(&json!([{"op": "replace", "path": "/spec/replicas", "value": 4}])),
        _ => allowed(),
    })
    .await;
    halves.changes(&world, "halves", &rules("apps", "*/scale", "UPDATE")).await;
    let scale = format!("{path}/web/scale");
    let refused = root.patch(&scale, "merge-patch", &json!({"spec": {"replicas": 12}})).await.refused(403);
    assert!(refused.contains("too many"), "{refused}");
    let asked = judge.asked();
    let request = &asked[0];
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(request["resource"], json!({"group": "apps", "version": "v1", "resource": "deployments"}));
    assert_eq!((&request["subResource"], &request["object"]["spec"]), (&json!("scale"), &json!({"replicas": 12})));
    assert_eq!(
        (&request["oldObject"]["kind"], &request["oldObject"]["spec"]["replicas"]),
        (&json!("Scale"), &json!(1))
    );
    assert_eq!(request["oldObject"]["status"]["selector"], "app=web");
    let mut read = root.get(&scale).await.expect(200);
    read["spec"]["replicas"] = 8.into();
    let written = root.put(&scale, &read).await.expect(200);
    assert_eq!((&written["kind"], &written["spec"]["replicas"]), (&json!("Scale"), &json!(4)));
    assert_eq!(root.get(&format!("{path}/web")).await.expect(200)["spec"]["replicas"], 4);
    // The object itself is not its scale.
    judge.asked();
    root.patch(&format!("{path}/web"), "merge-patch", &json!({"spec": {"replicas": 20}})).await.expect(200);
    assert!(judge.asked().is_empty());
}

#[tokio::test]
async fn policies_are_shown_the_same() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEPLOYMENTS, &deployment()).await.expect(201);
    let group = "/apis/admissionregistration.k8s.io/v1";
    let rule = json!({"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]});
    let policy = json!({"metadata": {"name": "few"}, "spec": {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.kind == 'Scale' && oldObject.kind == 'Scale' && object.spec.replicas < 10",
            "message": "too many"}]}});
    root.post(&format!("{group}/validatingadmissionpolicies"), &policy).await.expect(201);
    let binding = json!({"metadata": {"name": "few"}, "spec": {"policyName": "few", "validationActions": ["Deny"]}});
    root.post(&format!("{group}/validatingadmissionpolicybindings"), &binding).await.expect(201);
    let scale = format!("{DEPLOYMENTS}/web/scale");
    let refused = root.patch(&scale, "merge-patch", &json!({"spec": {"replicas": 12}})).await.refused(422);
    assert!(refused.contains("too many"), "{refused}");
    root.patch(&scale, "merge-patch", &json!({"spec": {"replicas": 9}})).await.expect(200);
}

#[tokio::test]
async fn bindings_and_evictions_are_judged_as_such() {
    let world = World::start().await;
    let root = world.root();
    let judge = Hook::start(&world, |request| match request["object"]["metadata"]["annotations"]["say"].as_str() {
        Some("no") => json!({"allowed": false, "status": {"message": "not now"}}),
        Some("elsewhere") => patched(&json!([{"op": "replace", "path": "/target/name", "value": "node-2"}])),
        _ => json!({"allowed": true, "warnings": ["looked at"]}),
    })
    .await;
    let all = json!({"rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["pods/binding", "pods/eviction", "bindings"]}]});
    judge.changes(&world, "judge", &all).await;
    for name in ["a", "b", "c"] {
        root.post(PODS, &pod(name)).await.expect(201);
    }
    let binding =
        |say: &str| json!({"metadata": {"annotations": {"say": say}}, "target": {"kind": "Node", "name": "node-1"}});
    let refused = root.post(&format!("{PODS}/a/binding"), &binding("no")).await.refused(403);
    assert!(refused.contains("not now"), "{refused}");
    let asked = judge.asked();
    assert_eq!(asked.len(), 1, "nobody is asked about the pod itself: {asked:?}");
    assert_eq!((&asked[0]["operation"], &asked[0]["subResource"]), (&json!("CREATE"), &json!("binding")));
    assert_eq!(asked[0]["kind"], json!({"group": "", "version": "v1", "kind": "Binding"}));
    assert_eq!(asked[0]["object"]["metadata"]["name"], "a");
    assert_eq!((&asked[0]["name"], &asked[0]["oldObject"]), (&json!("a"), &Value::Null));
    let node = async |name: &str| root.get(&format!("{PODS}/{name}")).await.expect(200)["spec"]["nodeName"].clone();
    assert_eq!(node("a").await, Value::Null);
    root.post(&format!("{PODS}/a/binding"), &binding("elsewhere")).await.expect(201);
    assert_eq!(node("a").await, "node-2");
    judge.asked();
    let mut own = binding("fine");
    own["metadata"]["name"] = "b".into();
    let made = root.post("/api/v1/namespaces/default/bindings", &own).await;
    made.expect(201);
    assert_eq!(made.headers["warning"], "299 - \"looked at\"");
    assert_eq!(
        (node("b").await, judge.asked()[0]["resource"]["resource"].clone()),
        (json!("node-1"), json!("bindings"))
    );

    let eviction = |say: &str| {
        json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": "c", "annotations": {"say": say}}})
    };
    let path = format!("{PODS}/c/eviction");
    let refused = root.post(&path, &eviction("no")).await.refused(403);
    assert!(refused.contains("not now"), "{refused}");
    let asked = judge.asked();
    assert_eq!(asked[0]["kind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
    root.get(&format!("{PODS}/c")).await.expect(200);
    let mut other = eviction("fine");
    other["metadata"]["name"] = "a".into();
    root.post(&path, &other).await.refused(400);
    root.post(&path, &eviction("fine")).await.expect(201);
    root.get(&format!("{PODS}/c")).await.refused(404);
}

#[tokio::test]
async fn options_of_streams_are_changed() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, |request| match request["object"]["container"].as_str() {
        Some("web") => patched(&json!([{"op": "replace", "path": "/container", "value": "nobody"}])),
        Some("no") => json!({"allowed": false, "status": {"message": "not this one"}}),
        _ => patched(&json!([{"op": "add", "path": "/ports", "value": [81]}])),
    })
    .await;
    hook.changes(&world, "own", &rules("", "pods/*", "CONNECT")).await;
    let mut web = pod("web");
    web["spec"]["nodeName"] = "node-1".into();
    root.post(PODS, &web).await.expect(201);
    let send = async |path: &str| root.send(http::Method::POST, &format!("{PODS}/web/{path}"), "").await;
    let told = send("exec?command=ls&container=web").await.refused(400);
    assert!(told.contains("container nobody is not valid for pod web"), "{told}");
    let told = send("attach?container=no").await.refused(403);
    assert!(told.contains("not this one"), "{told}");
    let told = send("portforward?ports=80").await.refused(403);
    assert!(told.contains("its options cannot be changed by admission"), "{told}");
    assert_eq!(hook.asked()[2]["object"]["ports"], json!([80]));
}
