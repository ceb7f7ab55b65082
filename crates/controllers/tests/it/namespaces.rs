//! The end of a namespace: in which order, and what is told of what keeps it.

use std::collections::BTreeMap;

use naru_client::{DeleteOptions, PatchKind, Resource};
use serde_json::{Value, json};

use crate::support::{World, config_maps, is_leaving, namespaces, pods, services};

async fn namespace(world: &World, name: &str) {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    world.create(namespaces(), namespace).await;
}

async fn end(world: &World, name: &str) {
    world.client.dynamic(namespaces(), None).delete(name, &DeleteOptions::default()).await.unwrap();
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
        "spec": { "containers": [{ "name": "c", "image": "v1" }] } })
}

fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

/// Each condition's status and reason.
fn conditions(namespace: &Value) -> BTreeMap<String, String> {
    let all = namespace["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.iter().map(|c| (text(&c["type"]), format!("{} {}", text(&c["status"]), text(&c["reason"])))).collect()
}

fn message(namespace: &Value, kind: &str) -> String {
    let mut all = namespace["status"]["conditions"].as_array().into_iter().flatten();
    let found = all.find(|condition| condition["type"] == kind).unwrap_or(&Value::Null);
    found["message"].as_str().unwrap_or_default().to_owned()
}

async fn left(world: &World, resource: Resource, namespace: &str) -> usize {
    world.client.dynamic(resource, Some(namespace)).list(&Default::default()).await.unwrap().items.len()
}

async fn free(world: &World, resource: Resource, namespace: &str, name: &str) {
    let patch = json!({ "metadata": { "finalizers": null } });
    world.client.dynamic(resource, Some(namespace)).patch(name, PatchKind::Merge, &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_go_before_everything_else() {
    let world = World::start().await;
    namespace(&world, "shop").await;
    let mut held = pod("shop", "held");
    held["metadata"]["finalizers"] = json!(["e2e.example.com/finalizer"]);
    world.create(pods(), held).await;
    world.until(&pods(), "shop", "held", is_running).await;
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "map", "namespace": "shop" } });
    world.create(config_maps(), map).await;
    end(&world, "shop").await;
    let looked_at = |namespace: &Value| conditions(namespace).contains_key("NamespaceDeletionContentFailure");
    let told = world.until(&namespaces(), "", "shop", looked_at).await;
    assert_eq!(told["status"]["phase"], "Terminating");
    let map = world.until(&config_maps(), "shop", "map", Value::is_object).await;
    assert!(!is_leaving(&map), "{map}");
    assert!(is_leaving(&world.until(&pods(), "shop", "held", Value::is_object).await));
    let told = conditions(&told);
    let expected = [
        ("NamespaceContentRemaining", "True SomeResourcesRemain"),
        ("NamespaceDeletionContentFailure", "False ContentDeleted"),
        ("NamespaceDeletionDiscoveryFailure", "False ResourcesDiscovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False ParsedGroupVersions"),
        ("NamespaceFinalizersRemaining", "True SomeFinalizersRemain"),
    ];
    assert_eq!(told.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    free(&world, pods(), "shop", "held").await;
    world.until(&namespaces(), "", "shop", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pod_and_service_is_gone_with_its_namespace() {
    let world = World::start().await;
    namespace(&world, "shop").await;
    world.create(pods(), pod("shop", "web")).await;
    world.until(&pods(), "shop", "web", is_running).await;
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } });
    world.create(services(), service).await;
    end(&world, "shop").await;
    world.until(&namespaces(), "", "shop", Value::is_null).await;
    namespace(&world, "shop").await;
    assert_eq!((left(&world, pods(), "shop").await, left(&world, services(), "shop").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_namespace_is_told_until_it_is_gone() {
    let world = World::start().await;
    namespace(&world, "shop").await;
    let mut map =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "map", "namespace": "shop" } });
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.create(config_maps(), map).await;
    let api = world.client.dynamic(namespaces(), None);
    let own = json!({ "status": { "conditions": [{ "type": "Own", "status": "True", "reason": "R" }] } });
    api.patch_subresource("shop", "status", PatchKind::Merge, &own).await.unwrap();
    let mut shop = api.get("shop").await.unwrap();
    shop["spec"]["finalizers"] = json!(["kubernetes", "example.com/last"]);
    api.replace_subresource("shop", "finalize", &shop).await.unwrap();
    end(&world, "shop").await;
    let says = |namespace: &Value| {
        message(namespace, "NamespaceContentRemaining")
            == "Some resources are remaining: configmaps. has 1 resource instances"
    };
    let told = world.until(&namespaces(), "", "shop", says).await;
    assert_eq!(
        message(&told, "NamespaceFinalizersRemaining"),
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    );
    free(&world, config_maps(), "shop", "map").await;
    let ours_is_done = |namespace: &Value| namespace["spec"]["finalizers"] == json!(["example.com/last"]);
    let told = world.until(&namespaces(), "", "shop", ours_is_done).await;
    let told = conditions(&told);
    assert_eq!(told["NamespaceContentRemaining"], "False ContentRemoved");
    assert_eq!(told["NamespaceFinalizersRemaining"], "False ContentHasNoFinalizers");
    assert_eq!(told["Own"], "True R", "what others say stays");
    let mut shop = api.get("shop").await.unwrap();
    shop["spec"]["finalizers"] = json!([]);
    api.replace_subresource("shop", "finalize", &shop).await.unwrap();
    world.until(&namespaces(), "", "shop", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_deleted_is_told() {
    let world = World::start().await;
    namespace(&world, "shop").await;
    // A policy that nobody passes: only a deletion is judged by it.
    let admission = |kind: &'static str, plural: &'static str| {
        crate::support::resource("admissionregistration.k8s.io", kind, plural, false)
    };
    let rule =
        json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"] });
    let policy = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": "keep" },
        "spec": { "matchConstraints": { "resourceRules": [rule] },
            "validations": [{ "expression": "oldObject.metadata.name != 'kept'", "message": "it is to be kept" }] } });
    let binding = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": "keep" }, "spec": { "policyName": "keep", "validationActions": ["Deny"] } });
    let policies = admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies");
    let bindings = admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings");
    world.create(policies, policy).await;
    world.create(bindings.clone(), binding).await;
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "kept", "namespace": "shop" } });
    world.create(config_maps(), map).await;
    end(&world, "shop").await;
    let failed = |namespace: &Value| {
        conditions(namespace).get("NamespaceDeletionContentFailure").is_some_and(|c| c == "True ContentDeletionFailed")
    };
    let told = world.until(&namespaces(), "", "shop", failed).await;
    let why = message(&told, "NamespaceDeletionContentFailure");
    assert!(why.starts_with("Failed to delete all resource types") && why.contains("it is to be kept"), "{why}");
    world.client.dynamic(bindings, None).delete("keep", &DeleteOptions::default()).await.unwrap();
    world.until(&namespaces(), "", "shop", Value::is_null).await;
}

/// A definition of two versions, between which only a webhook converts that is not there.
fn unconvertible() -> Value {
    let version = |name: &str| {
        json!({ "name": name, "served": true, "storage": name == "v1",
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } })
    };
    let nobody = json!({ "url": "https://127.0.0.1:9/convert" });
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": { "group": "example.com", "scope": "Namespaced", "names": { "plural": "widgets", "kind": "Widget" },
            "versions": [version("v1"), version("v2")], "conversion": { "strategy": "Webhook",
                "webhook": { "conversionReviewVersions": ["v1"], "clientConfig": nobody } } } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_conversion_webhook_keeps_no_namespace() {
    let world = World::start().await;
    namespace(&world, "shop").await;
    let definitions = crate::support::resource(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
    );
    world.create(definitions, unconvertible()).await;
    let widgets = crate::support::resource("example.com", "Widget", "widgets", true);
    let widget = |name: &str, finalizers: Value| {
        json!({ "apiVersion": "example.com/v1", "kind": "Widget",
            "metadata": { "name": name, "namespace": "shop", "finalizers": finalizers } })
    };
    world.create(widgets.clone(), widget("free", json!([]))).await;
    world.create(widgets.clone(), widget("held", json!(["example.com/hold"]))).await;
    let newer = Resource { version: "v2".into(), ..widgets.clone() };
    let newer = world.client.dynamic(newer, Some("shop"));
    newer.get("free").await.expect_err("nobody converts it");
    end(&world, "shop").await;
    // What is held is told, whoever may not be there to convert it; the rest goes.
    let says = |namespace: &Value| {
        message(namespace, "NamespaceContentRemaining")
            == "Some resources are remaining: widgets.example.com has 1 resource instances"
    };
    let told = world.until(&namespaces(), "", "shop", says).await;
    assert_eq!(
        message(&told, "NamespaceFinalizersRemaining"),
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    );
    free(&world, widgets, "shop", "held").await;
    world.until(&namespaces(), "", "shop", Value::is_null).await;
}
