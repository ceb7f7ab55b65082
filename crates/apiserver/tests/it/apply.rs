//! A set of objects applied in one call.

use naru_apiserver::{Action, ApplyOptions, Prune, User};
use serde_json::{Value, json};

use crate::support::{MAPS, World};

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": name, "namespace": "default", "labels": {"naru.io/project": "shop"}}})
}

fn deployment(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"naru.io/project": "shop"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

#[tokio::test]
async fn a_set_is_created_left_alone_changed_and_pruned() {
    let world = World::start().await;
    let user = User::new("root", &["system:masters"]);
    let options = ApplyOptions {
        dry_run: false,
        recreate: false,
        prune: vec![Prune {
            namespace: "default".into(),
            labels: "naru.io/project=shop".into(),
            kinds: vec![("v1".into(), "ConfigMap".into()), ("apps/v1".into(), "Deployment".into())],
        }],
    };
    let apply = |objects: Vec<Value>| {
        let (server, user, options) = (world.server.clone(), user.clone(), options.clone());
        async move {
            let changes = server.apply_objects(&user, objects, &options).await.expect("applied");
            changes.into_iter().map(|c| (c.name, c.action)).collect::<Vec<_>>()
        }
    };
    let pair = |name: &str, action| (name.to_owned(), action);
    let first = vec![map("a", json!({"x": "1", "y": "1"})), deployment("i:1")];
    assert_eq!(apply(first.clone()).await, [pair("a", Action::Created), pair("web", Action::Created)]);
    assert_eq!(apply(first.clone()).await, [pair("a", Action::Unchanged), pair("web", Action::Unchanged)]);
    world.root().patch(&format!("{MAPS}/a"), "merge-patch", &json!({"data": {"z": "theirs"}})).await.expect(200);
    let second = vec![map("a", json!({"x": "2"})), map("b", json!({}))];
    assert_eq!(
        apply(second).await,
        [pair("a", Action::Updated), pair("b", Action::Created), pair("web", Action::Removed)]
    );
    let a = world.root().get(&format!("{MAPS}/a")).await.expect(200);
    assert_eq!(a["data"], json!({"x": "2", "z": "theirs"}), "ours changed and gone, theirs kept");
    world.root().get(&format!("{MAPS}/kube-root-ca.crt")).await.expect(200);
}

#[tokio::test]
async fn rights_hold_for_every_object_of_a_set() {
    let world = World::start().await;
    let kim = User::new("kim", &[]);
    let refusal = world.server.apply_objects(&kim, vec![map("a", json!({}))], &ApplyOptions::default()).await;
    assert!(refusal.expect_err("no right").is_forbidden());
}

fn job(image: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": "default"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]}}}})
}

#[tokio::test]
async fn what_cannot_change_is_made_anew_only_when_asked() {
    let world = World::start().await;
    let user = User::new("root", &["system:masters"]);
    let apply = |image: &'static str, recreate: bool| {
        let (server, user) = (world.server.clone(), user.clone());
        let options = ApplyOptions { recreate, ..ApplyOptions::default() };
        async move { server.apply_objects(&user, vec![job(image)], &options).await }
    };
    let made = apply("i:1", true).await.expect("created");
    assert!(apply("i:2", false).await.expect_err("immutable").is_invalid());
    assert_eq!(apply("i:1", true).await.expect("unchanged")[0].action, Action::Unchanged);
    let again = apply("i:2", true).await.expect("made anew");
    let uid = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON")["metadata"]["uid"].clone();
    assert_eq!(again[0].action, Action::Updated);
    assert_ne!(uid(&made[0].object), uid(&again[0].object));
}

const APPLY: &str = "/apis/naru.io/v1/namespaces/shop/projects/shop/apply";

fn project(services: Value) -> Value {
    let model = json!({"name": "shop", "services": services, "networks": {"default": {"name": "shop_default"}}});
    json!({"apiVersion": "naru.io/v1", "kind": "Project", "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"title": "shop", "model": model.to_string(),
            "files": [{"path": "/x/compose.yaml", "text": "services: {}"}]}})
}

fn actions(answer: &Value, kind: &str) -> Vec<(String, String)> {
    let changes = answer["changes"].as_array().expect("changes").iter().filter(|c| c["kind"] == kind);
    let text = |v: &Value| v.as_str().expect("text").to_owned();
    changes.map(|c| (text(&c["action"]), text(&c["title"]))).collect()
}

#[tokio::test]
async fn a_compose_project_becomes_objects_in_one_call() {
    let world = World::start().await;
    let root = world.root();
    let pair = |action: &str, title: &str| (action.to_owned(), title.to_owned());
    let first = project(json!({"web": {"image": "web:1"}, "db": {"image": "db:1"}}));
    let made = root.post(APPLY, &first).await.expect(200);
    assert_eq!(actions(&made, "Deployment"), [pair("created", "db"), pair("created", "web")]);
    assert_eq!(actions(&made, "Network"), [pair("created", "shop_default")]);
    let again = root.post(APPLY, &first).await.expect(200);
    assert!(again["changes"].as_array().expect("changes").iter().all(|c| c["action"] == "unchanged"), "{again}");
    let second = project(json!({"web": {"image": "web:2"}}));
    let changed = root.post(APPLY, &second).await.expect(200);
    assert_eq!(actions(&changed, "Deployment"), [pair("updated", "web")], "the other service stays unless pruned");
    let pruned = root.post(&format!("{APPLY}?prune=true"), &second).await.expect(200);
    assert_eq!(actions(&pruned, "Deployment"), [pair("unchanged", "web"), pair("removed", "db")]);
    let kept = root.get("/apis/naru.io/v1/namespaces/shop/projects/shop").await.expect(200);
    assert_eq!(kept["spec"]["files"][0]["text"], "services: {}");
    assert!(kept["status"]["objects"].as_array().expect("objects").iter().any(|o| o["kind"] == "Deployment"));
}

#[tokio::test]
async fn a_project_that_is_wrong_changes_nothing() {
    let world = World::start().await;
    let root = world.root();
    // What a project could make: the server itself may still write others.
    let there = || {
        let kinds = ["namespaces", "deployments.apps", "services", "networks.naru.io", "projects.naru.io"];
        kinds.map(|kind| world.store.snapshot().count(&naru_store::Prefix::collection(kind)))
    };
    let before = there();
    let mut wrong = project(json!({"web": {"image": "web:1"}}));
    wrong["spec"]["model"] = "services".into();
    root.post(APPLY, &wrong).await.refused(400);
    let elsewhere = project(json!({"web": {"image": "web:1"}}));
    let theirs = project(json!({"web": {"image": "web:1"}})).to_string().replace("shop", "default");
    let path = "/apis/naru.io/v1/namespaces/default/projects/default/apply";
    assert!(root.send(http::Method::POST, path, theirs).await.refused(400).contains("is not a Compose project's"));
    root.post("/apis/naru.io/v1/namespaces/bank/projects/bank/apply", &elsewhere).await.refused(400);
    world.user("kim", &[]).post(APPLY, &elsewhere).await.refused(403);
    assert_eq!(there(), before);
    let network = json!({"metadata": {"name": "taken"}, "spec": {"namespace": "bank"}});
    root.post("/apis/naru.io/v1/networks", &network).await.expect(201);
    let model = json!({"name": "shop", "services": {}, "networks": {"n": {"name": "taken"}}});
    let mut thief = elsewhere.clone();
    thief["spec"]["model"] = model.to_string().into();
    assert!(root.post(APPLY, &thief).await.refused(409).contains("belongs to another project"));
    root.get("/api/v1/namespaces/shop").await.refused(404);
}
