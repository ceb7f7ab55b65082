use std::sync::Arc;

use naru_client::{ObjectRef, PatchKind, Resource};
use serde_json::json;

use super::{conditions, end, provision};
use crate::catalog::Held;
use crate::fixtures::{noon, view};
use crate::plan::{Plan, Write};
use crate::resources::{CONFIG_MAPS, NETWORKS, PODS};
use crate::views::Namespace;

fn namespace(phase: &str) -> Arc<Namespace> {
    Arc::new(view(json!({
        "metadata": { "name": "shop", "uid": "n", "resourceVersion": "7" },
        "spec": { "finalizers": ["kubernetes", "x/y"] },
        "status": { "phase": phase },
    })))
}

fn held(resource: Resource, name: &str, deleting: bool) -> Held {
    let finalizers = if deleting { vec!["x/stuck".into()] } else { vec![] };
    Held { resource, key: ObjectRef::new("shop", name), uid: name.into(), deleting, finalizers }
}

fn look(contents: Vec<Held>) -> Plan {
    end::plan(&end::View { namespace: namespace("Terminating"), contents }, noon())
}

fn writes(plan: &Plan) -> Vec<String> {
    plan.writes.iter().map(ToString::to_string).collect()
}

#[test]
fn pods_go_first_then_everything_and_then_the_namespace() {
    let map = || held(CONFIG_MAPS, "map", false);
    let first = look(vec![map(), held(PODS, "a", false), held(PODS, "b", true)]);
    assert_eq!(writes(&first), ["delete pods shop/a"]);
    let waiting = look(vec![map(), held(PODS, "b", true)]);
    assert!(writes(&waiting).iter().all(|write| write.starts_with("patch namespaces/status shop")), "{waiting}");
    assert_eq!(writes(&look(vec![map(), held(NETWORKS, "net", false)])).len(), 2);
    let mut alone: Namespace = (*namespace("Terminating")).clone();
    alone.spec.finalizers = vec!["kubernetes".into()];
    let last = end::plan(&end::View { namespace: Arc::new(alone), contents: vec![] }, noon());
    let [Write::Put { subresource: "finalize", body, .. }] = &last.writes[..] else { panic!("{last}") };
    assert_eq!(body["spec"]["finalizers"], json!([]));
    assert_eq!(body["metadata"]["resourceVersion"], "7", "nobody's finalizer is lost");
}

#[test]
fn what_keeps_a_namespace_is_told_in_five_conditions() {
    let contents = || vec![held(PODS, "b", true), held(NETWORKS, "net", true)];
    let stuck = look(contents());
    let [Write::Patch { kind: PatchKind::Strategic, patch, .. }] = &stuck.writes[..] else { panic!("{stuck}") };
    let told = patch["status"]["conditions"].as_array().unwrap();
    let short: Vec<_> =
        told.iter().map(|c| format!("{}={} {}", c["type"], c["status"], c["reason"]).replace('"', "")).collect();
    assert_eq!(
        short,
        [
            "NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered",
            "NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions",
            "NamespaceDeletionContentFailure=False ContentDeleted",
            "NamespaceContentRemaining=True SomeResourcesRemain",
            "NamespaceFinalizersRemaining=True SomeFinalizersRemain",
        ]
    );
    assert_eq!(
        told[3]["message"],
        "Some resources are remaining: networks.naru.io has 1 resource instances, pods. has 1 resource instances"
    );
    assert_eq!(
        told[4]["message"],
        "Some content in the namespace has finalizers remaining: x/stuck in 2 resource instances"
    );
    let mut knows: Namespace = (*namespace("Terminating")).clone();
    knows.status.conditions = view(json!(told));
    let again = end::View { namespace: Arc::new(knows), contents: contents() };
    assert!(end::plan(&again, noon()).writes.is_empty(), "it is said once");
    let failed = conditions::told(&again, Some("no"), noon()).unwrap().to_string();
    assert!(failed.contains("Failed to delete all resource types, 1 remaining: no"), "{failed}");
    // What another finalizer waits for is not in the namespace.
    let empty = look(vec![]);
    assert!(empty.to_string().contains("All content-preserving finalizers finished"), "{empty}");
}

#[test]
fn others_finalizers_stay() {
    let mut told: Namespace = (*namespace("Terminating")).clone();
    let said = look(vec![]);
    let [Write::Patch { patch, .. }] = &said.writes[..] else { panic!("{said}") };
    told.status.conditions = view(patch["status"]["conditions"].clone());
    let last = end::plan(&end::View { namespace: Arc::new(told.clone()), contents: vec![] }, noon());
    let [Write::Put { subresource: "finalize", body, .. }] = &last.writes[..] else { panic!("{last}") };
    assert_eq!(body["spec"]["finalizers"], json!(["x/y"]));
    told.spec.finalizers = vec!["x/y".into()];
    assert!(end::plan(&end::View { namespace: Arc::new(told), contents: vec![] }, noon()).writes.is_empty());
}

#[test]
fn every_namespace_is_given_an_account_and_the_certificate() {
    let look = |phase: &str, has_account, certificate| {
        let view = provision::View { namespace: namespace(phase), has_account, certificate, wanted: "PEM".into() };
        provision::plan(&view).writes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        look("Active", false, None),
        ["create serviceaccounts shop/default", "create configmaps shop/kube-root-ca.crt"]
    );
    assert_eq!(
        look("Active", true, Some(false)),
        [r#"patch configmaps shop/kube-root-ca.crt {"data":{"ca.crt":"PEM"}}"#]
    );
    assert!(look("Active", true, Some(true)).is_empty());
    assert!(look("Terminating", false, None).is_empty());
}
