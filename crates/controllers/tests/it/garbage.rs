//! Garbage collection: what becomes of what an object owns, in each of the ways in which it can be deleted. Deployments
//! and their ReplicaSets are in `cleanup`.

use std::time::Duration;

use naru_client::{DeleteOptions, PatchKind, Propagation, Resource};
use serde_json::{Value, json};

use crate::support::{World, is_leaving, pods, resource};

fn controllers() -> Resource {
    resource("", "ReplicationController", "replicationcontrollers", true)
}

fn controller(name: &str, replicas: usize) -> Value {
    let labels = json!({ "app": name });
    let spec = json!({ "containers": [{ "name": "c", "image": "v1" }] });
    json!({ "apiVersion": "v1", "kind": "ReplicationController",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "replicas": replicas, "selector": labels, "template": { "metadata": { "labels": labels }, "spec": spec } } })
}

async fn with_controller(name: &str, replicas: usize) -> World {
    let world = World::start().await;
    world.create(controllers(), controller(name, replicas)).await;
    world.until(&controllers(), "default", name, |rc| rc["status"]["readyReplicas"] == replicas).await;
    world
}

async fn delete(world: &World, resource: Resource, name: &str, propagation: Propagation) {
    let options = DeleteOptions::default().propagation(propagation);
    world.client.dynamic(resource, Some("default")).delete(name, &options).await.unwrap();
}

async fn listed(world: &World) -> Vec<Value> {
    world.client.dynamic(pods(), Some("default")).list(&Default::default()).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_go_after_their_controller() {
    let world = with_controller("web", 2).await;
    delete(&world, controllers(), "web", Propagation::Background).await;
    world.until_pods(<[Value]>::is_empty).await;
    world.until(&controllers(), "default", "web", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_stay_when_their_controller_leaves_them() {
    let world = with_controller("web", 10).await;
    delete(&world, controllers(), "web", Propagation::Orphan).await;
    world.until(&controllers(), "default", "web", Value::is_null).await;
    let free = |pods: &[Value]| pods.iter().all(|pod| pod["metadata"].get("ownerReferences").is_none());
    world.until_pods(free).await;
    let all = listed(&world).await;
    assert!(all.len() == 10 && !all.iter().any(is_leaving), "{all:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_stays_until_its_last_pod_is_gone() {
    let world = with_controller("web", 10).await;
    let held = listed(&world).await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let api = world.client.dynamic(pods(), Some("default"));
    let hold = json!({ "metadata": { "finalizers": ["example.com/hold"] } });
    api.patch(&held, PatchKind::Merge, &hold).await.unwrap();
    delete(&world, controllers(), "web", Propagation::Foreground).await;
    world.until_pods(|pods| pods.len() == 1 && is_leaving(&pods[0])).await;
    let waiting = world.client.dynamic(controllers(), Some("default")).get("web").await.unwrap();
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    api.patch(&held, PatchKind::Merge, &json!({ "metadata": { "finalizers": null } })).await.unwrap();
    world.until(&controllers(), "default", "web", Value::is_null).await;
    assert!(listed(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_with_another_owner_stays() {
    let world = with_controller("first", 10).await;
    let second = world.create(controllers(), controller("second", 0)).await;
    let owner = json!({ "apiVersion": "v1", "kind": "ReplicationController", "name": "second",
        "uid": second["metadata"]["uid"] });
    let api = world.client.dynamic(pods(), Some("default"));
    let mut shared = Vec::new();
    for pod in listed(&world).await.iter().take(5) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let patch = json!({ "metadata": { "ownerReferences": [owner] } });
        let patched = api.patch(name, PatchKind::Strategic, &patch).await.unwrap();
        assert_eq!(patched["metadata"]["ownerReferences"].as_array().map(Vec::len), Some(2), "{patched}");
        shared.push(name.to_owned());
    }
    delete(&world, controllers(), "first", Propagation::Foreground).await;
    world.until(&controllers(), "default", "first", Value::is_null).await;
    let mut left = listed(&world).await;
    left.retain(|pod| !is_leaving(pod));
    let mut names: Vec<_> = left.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    shared.sort();
    assert_eq!(names, shared);
    for pod in &left {
        assert_eq!(pod["metadata"]["ownerReferences"], json!([owner]), "{pod}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_owners_holds_nobody_up() {
    let world = World::start().await;
    let api = world.client.dynamic(pods(), Some("default"));
    let mut made = Vec::new();
    for name in ["pod1", "pod2", "pod3"] {
        let spec = json!({ "containers": [{ "name": "c", "image": "v1" }] });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default" }, "spec": spec });
        made.push(world.create(pods(), pod).await);
    }
    // pod1 belongs to pod3, pod2 to pod1, pod3 to pod2.
    for (owned, owner) in [(0, 2), (1, 0), (2, 1)] {
        let (owned, owner) = (&made[owned], &made[owner]);
        let reference = json!({ "apiVersion": "v1", "kind": "Pod", "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true });
        let patch = json!({ "metadata": { "ownerReferences": [reference] } });
        api.patch(owned["metadata"]["name"].as_str().unwrap(), PatchKind::Strategic, &patch).await.unwrap();
    }
    world.until_pods(|pods| pods.iter().all(|pod| pod["status"]["phase"] == "Running")).await;
    delete(&world, pods(), "pod1", Propagation::Foreground).await;
    tokio::time::timeout(Duration::from_secs(30), world.until_pods(<[Value]>::is_empty)).await.unwrap();
}
