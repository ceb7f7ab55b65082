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
        prune: Some(Prune {
            namespace: "default".into(),
            labels: "naru.io/project=shop".into(),
            kinds: vec![("v1".into(), "ConfigMap".into()), ("apps/v1".into(), "Deployment".into())],
        }),
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
