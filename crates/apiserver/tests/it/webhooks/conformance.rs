//! Webhooks as `[Conformance]` asks for them: their configurations, custom resources, definitions.

use serde_json::{Value, json};

use super::{Hook, MUTATING, VALIDATING, allowed, patched};
use crate::custom::{DEFINITIONS, WIDGETS, definition, version, widget};
use crate::support::{Caller, MAPS, PODS, World, config_map, pod};

fn of(name: &str, group: &str, resource: &str, operations: &[&str]) -> Value {
    let rules =
        json!([{"operations": operations, "apiGroups": [group], "apiVersions": ["*"], "resources": [resource]}]);
    json!({"name": format!("{name}.example.org"), "rules": rules})
}

fn refuses(words: &'static str) -> impl Fn(&Value) -> Value {
    move |_| json!({"allowed": false, "status": {"message": words}})
}

/// A hook that adds one key to whatever has data.
fn adds(key: &'static str) -> impl Fn(&Value) -> Value {
    move |request| match request["object"].get("data") {
        Some(_) => patched(&json!([{"op": "add", "path": format!("/data/{key}"), "value": "yes"}])),
        None => patched(&json!([{"op": "add", "path": "/data", "value": {key: "yes"}}])),
    }
}

fn labelled(mut configuration: Value) -> Value {
    configuration["metadata"]["labels"] = json!({"e2e": "list"});
    configuration
}

#[tokio::test]
async fn many_configurations_are_listed_and_removed_by_their_label() {
    let world = World::start().await;
    let root = world.root();
    let changing = Hook::start(&world, adds("changed")).await;
    let judging = Hook::start(
        &world,
        |request| json!({"allowed": request["object"]["data"]["bad"].is_null(), "status": {"message": "bad"}}),
    )
    .await;
    for n in 0..10 {
        let name = format!("hook-{n}");
        let object = labelled(changing.configuration("MutatingWebhookConfiguration", &name, &json!({})));
        root.post(MUTATING, &object).await.expect(201);
        let object = labelled(judging.configuration("ValidatingWebhookConfiguration", &name, &json!({})));
        root.post(VALIDATING, &object).await.expect(201);
    }
    for collection in [MUTATING, VALIDATING] {
        let list = root.get(&format!("{collection}?labelSelector=e2e%3Dlist")).await.expect(200);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(10));
    }
    let made = root.post(MAPS, &config_map("a", &[("k", "v")])).await.expect(201);
    assert_eq!(made["data"], json!({"k": "v", "changed": "yes"}));
    root.post(MAPS, &config_map("b", &[("bad", "yes")])).await.refused(403);
    for collection in [MUTATING, VALIDATING] {
        root.delete(&format!("{collection}?labelSelector=e2e%3Dlist")).await.expect(200);
        assert_eq!(root.get(collection).await.expect(200)["items"], json!([]));
    }
    let made = root.post(MAPS, &config_map("b", &[("bad", "yes")])).await.expect(201);
    assert_eq!(made["data"], json!({"bad": "yes"}));
}

#[tokio::test]
async fn a_configuration_that_changes_holds_from_its_answer_on() {
    let world = World::start().await;
    let root = world.root();
    let changing = Hook::start(&world, adds("changed")).await;
    let judging = Hook::start(&world, refuses("no")).await;
    let create = of("one", "", "configmaps", &["CREATE"]);
    changing.changes(&world, "one", &create).await;
    let path = format!("{MUTATING}/one");
    let mut configuration = root.get(&path).await.expect(200);
    configuration["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
    root.put(&path, &configuration).await.expect(200);
    let made = root.post(MAPS, &config_map("a", &[("k", "v")])).await.expect(201);
    assert_eq!(made["data"], json!({"k": "v"}));
    let again = json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
    root.patch(&path, "json-patch", &again).await.expect(200);
    let made = root.post(MAPS, &config_map("b", &[("k", "v")])).await.expect(201);
    assert_eq!(made["data"], json!({"k": "v", "changed": "yes"}));

    judging.judges(&world, "one", &create).await;
    root.post(MAPS, &config_map("c", &[])).await.refused(403);
    let path = format!("{VALIDATING}/one");
    let mut configuration = root.get(&path).await.expect(200);
    configuration["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
    root.put(&path, &configuration).await.expect(200);
    root.post(MAPS, &config_map("c", &[])).await.expect(201);
    root.patch(&path, "json-patch", &again).await.expect(200);
    root.post(MAPS, &config_map("d", &[])).await.refused(403);
}

#[tokio::test]
async fn match_conditions_are_kept_replaced_and_compiled() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, adds("changed")).await;
    let condition = |name: &str, expression: &str| json!([{"name": name, "expression": expression}]);
    let skip = json!({"matchConditions": condition("skip-me", "object.metadata.name != 'skip-me'")});
    let (first, second) = (
        condition("expression-1", "object.metadata.namespace == 'production'"),
        condition("expression-2", "object.metadata.namespace == 'staging'"),
    );
    for (kind, collection) in
        [("MutatingWebhookConfiguration", MUTATING), ("ValidatingWebhookConfiguration", VALIDATING)]
    {
        let object = hook.configuration(kind, "conditions", &json!({"matchConditions": first}));
        root.post(collection, &object).await.expect(201);
        let path = format!("{collection}/conditions");
        let mut read = root.get(&path).await.expect(200);
        assert_eq!(read["webhooks"][0]["matchConditions"], first);
        read["webhooks"][0]["matchConditions"] = second.clone();
        root.put(&path, &read).await.expect(200);
        assert_eq!(root.get(&path).await.expect(200)["webhooks"][0]["matchConditions"], second);
        root.delete(&path).await.expect(200);
        let wrong = json!({"matchConditions": condition("invalid", "... [] bad expression")});
        let refused = root.post(collection, &hook.configuration(kind, "wrong", &wrong)).await.refused(422);
        assert!(refused.contains("compilation failed"), "{refused}");
    }
    hook.changes(&world, "skips", &skip).await;
    let data = async |name: &str| root.post(MAPS, &config_map(name, &[("k", "v")])).await.expect(201)["data"].clone();
    assert_eq!(data("skip-me").await, json!({"k": "v"}));
    assert_eq!(data("not-me").await, json!({"k": "v", "changed": "yes"}));
}

#[tokio::test]
async fn pods_and_maps_that_do_not_comply_are_refused() {
    let world = World::start().await;
    let root = world.root();
    let pods = Hook::start(&world, |request| {
        let containers = request["object"]["spec"]["containers"].as_array().into_iter().flatten();
        let bad = containers.into_iter().any(|c| c["image"] == "disallowed:1");
        match request["name"] == "hangs" {
            true => Value::Null,
            false => json!({"allowed": !bad, "status": {"message": "the pod contains an unwanted image"}}),
        }
    })
    .await;
    let mut about = of("pods", "", "pods", &["CREATE"]);
    about["timeoutSeconds"] = 1.into();
    about["namespaceSelector"] =
        json!({"matchExpressions": [{"key": "skip-webhook", "operator": "NotIn", "values": ["yes"]}]});
    pods.judges(&world, "pods", &about).await;
    let disallowed = |name: &str| {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["image"] = "disallowed:1".into();
        pod
    };
    let refused = root.post(PODS, &disallowed("bad")).await.refused(403);
    assert!(refused.contains("the pod contains an unwanted image"), "{refused}");
    let refused = root.post(PODS, &pod("hangs")).await.refused(500);
    assert!(refused.contains("deadline exceeded"), "{refused}");
    root.get(&format!("{PODS}/hangs")).await.refused(404);
    root.post(PODS, &pod("good")).await.expect(201);
    let exempt = json!({"metadata": {"name": "exempt", "labels": {"skip-webhook": "yes"}}});
    root.post("/api/v1/namespaces", &exempt).await.expect(201);
    root.post("/api/v1/namespaces/exempt/pods", &disallowed("bad")).await.expect(201);
}

#[tokio::test]
async fn a_slow_webhook_is_waited_for_as_long_as_its_configuration_says() {
    let world = World::start().await;
    let root = world.root();
    let silent = Hook::start(&world, |_| Value::Null).await;
    for (name, policy, seconds) in [("fails", "Fail", 1), ("passes", "Ignore", 1)] {
        silent.judges(&world, name, &json!({"failurePolicy": policy, "timeoutSeconds": seconds})).await;
        let answer = root.post(MAPS, &config_map(name, &[])).await;
        assert_eq!(answer.code, if policy == "Fail" { 500 } else { 201 }, "{}", answer.text());
        root.delete(&format!("{VALIDATING}/{name}")).await.expect(200);
    }
    let prompt = Hook::start(&world, |_| allowed()).await;
    prompt.judges(&world, "in-time", &json!({"timeoutSeconds": 10})).await;
    root.post(MAPS, &config_map("in-time", &[])).await.expect(201);
    prompt.judges(&world, "unsaid", &json!({})).await;
    let read = root.get(&format!("{VALIDATING}/unsaid")).await.expect(200);
    assert_eq!(read["webhooks"][0]["timeoutSeconds"], 10, "the default is ten");
    for seconds in [0, 31] {
        let wrong = prompt.configuration("ValidatingWebhookConfiguration", "w", &json!({"timeoutSeconds": seconds}));
        root.post(VALIDATING, &wrong).await.refused(422);
    }
}

#[tokio::test]
async fn a_closed_webhook_without_a_certificate_refuses_everything() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, |_| allowed()).await;
    let without =
        json!({"clientConfig": {"url": format!("https://127.0.0.1:{}/hook", hook.port)}, "failurePolicy": "Fail"});
    hook.judges(&world, "closed", &without).await;
    let refused = root.post(MAPS, &config_map("a", &[])).await.refused(500);
    assert!(refused.contains("failed calling webhook \"closed.example.org\""), "{refused}");
    assert!(hook.asked().is_empty());
}

#[tokio::test]
async fn configurations_are_nothing_that_webhooks_change_or_keep() {
    let world = World::start().await;
    let root = world.root();
    let (judging, changing) = (Hook::start(&world, refuses("never")).await, Hook::start(&world, adds("changed")).await);
    let about = of("all", "admissionregistration.k8s.io", "*", &["*"]);
    judging.judges(&world, "all", &about).await;
    changing.changes(&world, "all", &about).await;
    for (kind, collection) in
        [("MutatingWebhookConfiguration", MUTATING), ("ValidatingWebhookConfiguration", VALIDATING)]
    {
        let made = root.post(collection, &judging.configuration(kind, "dummy", &json!({}))).await.expect(201);
        assert!(made.get("data").is_none(), "{made}");
        root.delete(&format!("{collection}/dummy")).await.expect(200);
    }
    assert!(judging.asked().is_empty() && changing.asked().is_empty());
}

/// Defines widgets whose data may hold anything, or only the first step.
async fn widgets(root: &Caller, pruned: bool) {
    let data = match pruned {
        true => json!({"type": "object", "properties": {"start": {"type": "string"}, "stage-1": {"type": "string"}}}),
        false => json!({"type": "object", "additionalProperties": {"type": "string"}}),
    };
    let mut definition = definition();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["data"] = data;
    root.post(DEFINITIONS, &definition).await.expect(201);
}

fn stages(request: &Value) -> Value {
    let data = &request["object"]["data"];
    let next = match (data["start"].is_string(), data["stage-1"].is_string()) {
        (true, false) => json!([{"op": "add", "path": "/data/stage-1", "value": "yes"}]),
        (true, true) if data["stage-2"].is_null() => json!([{"op": "add", "path": "/data/stage-2", "value": "yes"}]),
        _ => return allowed(),
    };
    patched(&next)
}

fn started(name: &str) -> Value {
    let mut widget = widget(name, "red");
    widget["data"] = json!({"start": "yes"});
    widget
}

#[tokio::test]
async fn custom_resources_are_changed_and_pruned_after_it() {
    for (pruned, expected) in [
        (false, json!({"start": "yes", "stage-1": "yes", "stage-2": "yes"})),
        (true, json!({"start": "yes", "stage-1": "yes"})),
    ] {
        let world = World::start().await;
        let root = world.root();
        widgets(&root, pruned).await;
        let (first, second) = (Hook::start(&world, stages).await, Hook::start(&world, stages).await);
        let about = |name: &str| of(name, "example.com", "widgets", &["CREATE"]);
        first.changes(&world, "a", &about("a")).await;
        second.changes(&world, "b", &about("b")).await;
        let made = root.post(WIDGETS, &started("w")).await.expect(201);
        assert_eq!(made["data"], expected);
        assert_eq!(root.get(&format!("{WIDGETS}/w")).await.expect(200)["data"], expected);
    }
}

#[tokio::test]
async fn custom_resources_are_changed_also_after_another_version_is_stored() {
    let world = World::start().await;
    let root = world.root();
    widgets(&root, false).await;
    let hook = Hook::start(&world, stages).await;
    hook.changes(&world, "a", &of("a", "example.com", "widgets", &["CREATE", "UPDATE"])).await;
    root.post(WIDGETS, &started("w")).await.expect(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut definition = root.get(&path).await.expect(200);
    let mut newer = version("v2");
    newer["schema"] = definition["spec"]["versions"][0]["schema"].clone();
    definition["spec"]["versions"][0]["storage"] = false.into();
    definition["spec"]["versions"].as_array_mut().expect("versions").push(newer);
    root.put(&path, &definition).await.expect(200);
    let patch = json!({"data": {"more": "yes"}});
    let changed = root.patch(&format!("{WIDGETS}/w"), "merge-patch", &patch).await.expect(200);
    assert_eq!(changed["data"], json!({"start": "yes", "stage-1": "yes", "stage-2": "yes", "more": "yes"}));
    assert_eq!(changed["apiVersion"], "example.com/v1");
    let newer = root.get("/apis/example.com/v2/namespaces/default/widgets/w").await.expect(200);
    assert_eq!(newer["data"], changed["data"]);
}

#[tokio::test]
async fn custom_resources_are_refused_when_they_come_change_and_go() {
    let world = World::start().await;
    let root = world.root();
    widgets(&root, false).await;
    let hook = Hook::start(&world, |request| {
        let object = if request["object"].is_null() { &request["oldObject"] } else { &request["object"] };
        json!({"allowed": object["data"]["webhook-e2e-test"] != "disallow",
            "status": {"message": "the custom resource contains unwanted data"}})
    })
    .await;
    hook.judges(&world, "cr", &of("cr", "example.com", "widgets", &["CREATE", "UPDATE", "DELETE"])).await;
    let with = |word: &str| {
        let mut widget = widget("w", "red");
        widget["data"] = json!({"webhook-e2e-test": word});
        widget
    };
    let why = "the custom resource contains unwanted data";
    assert!(root.post(WIDGETS, &with("disallow")).await.refused(403).contains(why));
    root.post(WIDGETS, &with("allow")).await.expect(201);
    let path = format!("{WIDGETS}/w");
    let bad = json!({"data": {"webhook-e2e-test": "disallow"}});
    assert!(root.patch(&path, "merge-patch", &bad).await.refused(403).contains(why));
    // One that is there all the same, and may not go.
    let configuration = format!("{VALIDATING}/cr");
    let only =
        |operations: Value| json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": operations}]);
    root.patch(&configuration, "json-patch", &only(json!(["DELETE"]))).await.expect(200);
    root.patch(&path, "merge-patch", &bad).await.expect(200);
    assert!(root.delete(&path).await.refused(403).contains(why));
    root.patch(&path, "merge-patch", &json!({"data": {"webhook-e2e-test": "allow"}})).await.expect(200);
    root.delete(&path).await.expect(200);
}

#[tokio::test]
async fn a_definition_is_refused() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, |request| {
        let denied = request["object"]["metadata"]["labels"]["webhook-e2e-test"] == "webhook-disallow";
        json!({"allowed": !denied, "status": {"message": "the crd contains unwanted label"}})
    })
    .await;
    let about = of("crd", "apiextensions.k8s.io", "customresourcedefinitions", &["CREATE"]);
    hook.judges(&world, "crd", &about).await;
    let mut unwanted = definition();
    unwanted["metadata"]["labels"] = json!({"webhook-e2e-test": "webhook-disallow"});
    let refused = root.post(DEFINITIONS, &unwanted).await.refused(403);
    assert!(refused.contains("the crd contains unwanted label"), "{refused}");
    root.get(&format!("{DEFINITIONS}/widgets.example.com")).await.refused(404);
    root.post(DEFINITIONS, &definition()).await.expect(201);
}
