//! Services' addresses over time: ranges that come and go, and IPAddresses that somebody takes away.

use naru_client::{DeleteOptions, PatchKind, Resource};
use serde_json::{Value, json};

use crate::support::{World, is_leaving, resource, services};

fn ranges() -> Resource {
    resource("networking.k8s.io", "ServiceCIDR", "servicecidrs", false)
}

fn addresses() -> Resource {
    resource("networking.k8s.io", "IPAddress", "ipaddresses", false)
}

fn range(name: &str, range: &str) -> Value {
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": name },
        "spec": { "cidrs": [range] } })
}

fn service(name: &str, address: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "default" },
        "spec": { "clusterIP": address, "ports": [{ "port": 80 }] } })
}

fn ready(object: &Value) -> (&str, &str) {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap_or(&Value::Null);
    (found["status"].as_str().unwrap_or_default(), found["reason"].as_str().unwrap_or_default())
}

fn is_protected(object: &Value) -> bool {
    object["metadata"]["finalizers"] == json!(["networking.k8s.io/service-cidr-finalizer"])
}

async fn delete(world: &World, resource: Resource, name: &str) {
    let scope = resource.namespaced.then_some("default");
    world.client.dynamic(resource, scope).delete(name, &DeleteOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_stays_until_nobody_has_an_address_of_it() {
    let world = World::start().await;
    world.until(&ranges(), "", "kubernetes", |own| is_protected(own) && ready(own) == ("True", "")).await;
    world.create(ranges(), range("more", "192.0.2.0/24")).await;
    world.until(&ranges(), "", "more", |more| is_protected(more) && ready(more) == ("True", "")).await;
    world.create(services(), service("web", "192.0.2.10")).await;
    delete(&world, ranges(), "more").await;
    let kept = world.until(&ranges(), "", "more", |more| ready(more) == ("False", "Terminating")).await;
    assert!(is_leaving(&kept) && is_protected(&kept), "{kept}");
    delete(&world, services(), "web").await;
    world.until(&ranges(), "", "more", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_goes_when_another_one_holds_its_addresses() {
    let world = World::start().await;
    world.create(ranges(), range("more", "192.0.2.0/24")).await;
    world.until(&ranges(), "", "more", is_protected).await;
    world.create(services(), service("web", "192.0.2.10")).await;
    delete(&world, ranges(), "more").await;
    world.until(&ranges(), "", "more", |more| ready(more) == ("False", "Terminating")).await;
    world.create(ranges(), range("wide", "192.0.0.0/16")).await;
    world.until(&ranges(), "", "more", Value::is_null).await;
    // The cluster's own is needed for ever: its own service is there.
    delete(&world, ranges(), "kubernetes").await;
    world.until(&ranges(), "", "kubernetes", |own| ready(own) == ("False", "Terminating")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_of_a_service_is_shown_again_when_somebody_takes_it_away() {
    let world = World::start().await;
    world.create(services(), service("web", "10.43.0.77")).await;
    let first = world.until(&addresses(), "", "10.43.0.77", Value::is_object).await;
    delete(&world, addresses(), "10.43.0.77").await;
    let again = world.until(&addresses(), "", "10.43.0.77", Value::is_object).await;
    assert_ne!(first["metadata"]["uid"], again["metadata"]["uid"]);
    assert_eq!((&first["spec"], &first["metadata"]["labels"]), (&again["spec"], &again["metadata"]["labels"]));
    let api = world.client.dynamic(addresses(), None);
    api.patch("10.43.0.77", PatchKind::Merge, &json!({ "metadata": { "labels": null } })).await.unwrap();
    let labelled = |object: &Value| object["metadata"]["labels"] == first["metadata"]["labels"];
    world.until(&addresses(), "", "10.43.0.77", labelled).await;
    // One that looks like the server's but is of no service goes.
    let mut stray = first.clone();
    stray["metadata"] = json!({ "name": "10.43.0.78", "labels": first["metadata"]["labels"] });
    world.create(addresses(), stray).await;
    world.until(&addresses(), "", "10.43.0.78", Value::is_null).await;
    world.until(&services(), "default", "web", |web| web["spec"]["clusterIP"] == "10.43.0.77").await;
}
