//! What goes when something goes.

use naru_client::{DeleteOptions, PatchKind, Propagation, Resource};
use serde_json::{Value, json};

use crate::support::{World, deployments, replica_sets, resource};
use crate::workloads::web;

async fn with_web(replicas: i32) -> World {
    let world = World::start().await;
    world.create(deployments(), web(replicas)).await;
    world.until(&deployments(), "default", "web", |object| object["status"]["availableReplicas"] == replicas).await;
    world
}

async fn delete(world: &World, propagation: Propagation) {
    let options = DeleteOptions::default().propagation(propagation);
    world.client.dynamic(deployments(), Some("default")).delete("web", &options).await.unwrap();
}

async fn sets(world: &World) -> Vec<Value> {
    world.client.dynamic(replica_sets(), Some("default")).list(&Default::default()).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deployment_owns_goes_after_it() {
    let world = with_web(3).await;
    delete(&world, Propagation::Background).await;
    world.until_pods(<[Value]>::is_empty).await;
    assert!(sets(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deployment_owns_goes_before_it() {
    let world = with_web(3).await;
    delete(&world, Propagation::Foreground).await;
    world.until(&deployments(), "default", "web", Value::is_null).await;
    assert!(sets(&world).await.is_empty());
    world.until_pods(<[Value]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_stay_and_are_adopted_by_a_successor() {
    let world = with_web(2).await;
    let set = sets(&world).await.remove(0);
    delete(&world, Propagation::Orphan).await;
    world.until(&deployments(), "default", "web", Value::is_null).await;
    let name = set["metadata"]["name"].as_str().unwrap();
    world.until(&replica_sets(), "default", name, |set| set["metadata"].get("ownerReferences").is_none()).await;
    let before: Vec<_> = world.pods.list().iter().map(|pod| pod.uid.clone()).collect();
    let new = world.create(deployments(), web(2)).await;
    let uid = &new["metadata"]["uid"];
    world.until(&replica_sets(), "default", name, |set| set["metadata"]["ownerReferences"][0]["uid"] == *uid).await;
    world.until(&deployments(), "default", "web", |object| object["status"]["availableReplicas"] == 2).await;
    let after: Vec<_> = world.pods.list().iter().map(|pod| pod.uid.clone()).collect();
    assert_eq!(after, before, "the same pods serve on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_with_everything_in_it() {
    let world = World::start().await;
    let namespaces = resource("", "Namespace", "namespaces", false);
    world
        .create(namespaces.clone(), json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }))
        .await;
    let maps = resource("", "ConfigMap", "configmaps", true);
    let certificate = world.until(&maps, "shop", "kube-root-ca.crt", |map| !map.is_null()).await;
    assert!(certificate["data"]["ca.crt"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
    world
        .until(&resource("", "ServiceAccount", "serviceaccounts", true), "shop", "default", |account| {
            !account.is_null()
        })
        .await;
    let networks = resource("naru.io", "Network", "networks", false);
    let network = |name: &str, namespace: &str| {
        let spec = json!({ "title": name, "namespace": namespace });
        json!({ "apiVersion": "naru.io/v1", "kind": "Network", "metadata": { "name": name }, "spec": spec })
    };
    world.create(networks.clone(), network("shop-default", "shop")).await;
    world.create(networks.clone(), network("other-default", "other")).await;
    let mut web = web(3);
    web["metadata"]["namespace"] = "shop".into();
    world.create(deployments(), web).await;
    world.until(&deployments(), "shop", "web", |object| object["status"]["availableReplicas"] == 3).await;
    world.client.dynamic(namespaces.clone(), None).delete("shop", &DeleteOptions::default()).await.unwrap();
    world.until(&namespaces, "", "shop", Value::is_null).await;
    assert!(world.pods.is_empty());
    world.until(&networks, "", "shop-default", Value::is_null).await;
    world.until(&networks, "", "other-default", |network| !network.is_null()).await;
    for resource in [deployments(), replica_sets(), maps, resource("", "Event", "events", true)] {
        let left = world.client.dynamic(resource.clone(), Some("shop")).list(&Default::default()).await.unwrap();
        assert!(left.items.is_empty(), "{} is left: {:?}", resource.plural, left.items);
    }
}

/// Defines widgets, of which the controllers learn while they run.
async fn widgets(world: &World) -> Resource {
    let definitions = resource("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false);
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let version = json!({ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } });
    let spec = json!({ "group": "example.com", "scope": "Namespaced", "versions": [version],
        "names": { "plural": "widgets", "kind": "Widget" } });
    let definition = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" }, "spec": spec });
    world.create(definitions, definition).await;
    resource("example.com", "Widget", "widgets", true)
}

fn widget(namespace: &str, name: &str, owner: &Value) -> Value {
    let mut metadata = json!({ "name": name, "namespace": namespace });
    if !owner.is_null() {
        metadata["ownerReferences"] = json!([{ "apiVersion": owner["apiVersion"], "kind": owner["kind"],
            "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"] }]);
    }
    json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_defined_kinds_own_and_are_owned() {
    let world = World::start().await;
    let widgets = widgets(&world).await;
    let maps = resource("", "ConfigMap", "configmaps", true);
    let first = world.create(widgets.clone(), widget("default", "first", &Value::Null)).await;
    let mut map = widget("default", "map", &first);
    (map["apiVersion"], map["kind"]) = ("v1".into(), "ConfigMap".into());
    let map = world.create(maps.clone(), map).await;
    world.create(widgets.clone(), widget("default", "last", &map)).await;
    world.create(widgets.clone(), widget("default", "other", &Value::Null)).await;
    world.client.dynamic(widgets.clone(), Some("default")).delete("first", &DeleteOptions::default()).await.unwrap();
    world.until(&maps, "default", "map", Value::is_null).await;
    world.until(&widgets, "default", "last", Value::is_null).await;
    world.until(&widgets, "default", "other", Value::is_object).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_takes_objects_of_defined_kinds_with_it() {
    let world = World::start().await;
    let widgets = widgets(&world).await;
    let namespaces = resource("", "Namespace", "namespaces", false);
    let shop = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
    world.create(namespaces.clone(), shop.clone()).await;
    let mut held = widget("shop", "held", &Value::Null);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.create(widgets.clone(), held).await;
    world.client.dynamic(namespaces.clone(), None).delete("shop", &DeleteOptions::default()).await.unwrap();
    world.until(&widgets, "shop", "held", |held| held["metadata"]["deletionTimestamp"].is_string()).await;
    let remaining = |namespace: &Value| {
        namespace["status"]["conditions"].to_string().contains("widgets.example.com has 1 resource")
    };
    world.until(&namespaces, "", "shop", remaining).await;
    let free = json!({ "metadata": { "finalizers": null } });
    world.client.dynamic(widgets, Some("shop")).patch("held", PatchKind::Merge, &free).await.unwrap();
    world.until(&namespaces, "", "shop", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_with_a_token_goes_with_its_account() {
    let world = World::start().await;
    let (accounts, secrets) =
        (resource("", "ServiceAccount", "serviceaccounts", true), resource("", "Secret", "secrets", true));
    world.create(accounts.clone(), json!({ "metadata": { "name": "robot", "namespace": "default" } })).await;
    let secret = |name: &str, account: &str| {
        json!({ "metadata": { "name": name, "namespace": "default",
            "annotations": { "kubernetes.io/service-account.name": account } },
            "type": "kubernetes.io/service-account-token" })
    };
    let made = world.create(secrets.clone(), secret("token", "robot")).await;
    assert!(made["data"]["token"].is_string());
    world.create(secrets.clone(), secret("nobodys", "nobody")).await;
    world.until(&secrets, "default", "nobodys", Value::is_null).await;
    world.client.dynamic(secrets.clone(), Some("default")).get("token").await.expect("its account is there");
    let delete = DeleteOptions::default();
    world.client.dynamic(accounts, Some("default")).delete("robot", &delete).await.expect("deleted");
    world.until(&secrets, "default", "token", Value::is_null).await;
}
