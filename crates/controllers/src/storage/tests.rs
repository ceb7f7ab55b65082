use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::fixtures::view;
use crate::plan::{Plan, Write};
use crate::views::{PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};

fn claim(meta: Value, spec: Value, phase: &str) -> Arc<PersistentVolumeClaim> {
    let mut claim = json!({
        "metadata": { "name": "data", "namespace": "shop", "uid": "c", "resourceVersion": "3", "finalizers": [PROTECTED] },
        "spec": { "storageClassName": "local", "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        "status": { "phase": phase },
    });
    for (part, more) in [("metadata", meta), ("spec", spec)] {
        more.as_object().unwrap().iter().for_each(|(key, value)| claim[part][key] = value.clone());
    }
    Arc::new(view(claim))
}

fn volume(name: &str, size: &str, spec: Value) -> Arc<PersistentVolume> {
    let mut volume = json!({
        "metadata": { "name": name, "uid": name, "resourceVersion": "9", "annotations": { PROVISIONED_BY: LOCAL } },
        "spec": { "storageClassName": "local", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": size }, "persistentVolumeReclaimPolicy": "Delete" },
    });
    spec.as_object().unwrap().iter().for_each(|(key, value)| volume["spec"][key] = value.clone());
    Arc::new(view(volume))
}

fn class(mode: &str) -> Option<Arc<StorageClass>> {
    Some(Arc::new(view(
        json!({ "metadata": { "name": "local" }, "provisioner": LOCAL, "reclaimPolicy": "Delete", "volumeBindingMode": mode }),
    )))
}

fn pod(node: &str) -> Arc<Pod> {
    Arc::new(view(
        json!({ "metadata": { "name": "p", "namespace": "shop" }, "spec": { "nodeName": node }, "status": { "phase": "Pending" } }),
    ))
}

fn look(claim: Arc<PersistentVolumeClaim>, class: Option<Arc<StorageClass>>) -> claims::View {
    let node = view(json!({ "metadata": { "name": "n1", "labels": { "kubernetes.io/hostname": "host1" } } }));
    claims::View { claim, class, nodes: vec![Arc::new(node)], folder: "/v".into(), ..claims::View::default() }
}

fn texts(plan: &Plan) -> Vec<String> {
    plan.writes.iter().map(ToString::to_string).collect()
}

fn held_by(uid: &str) -> Value {
    json!({ "claimRef": { "namespace": "shop", "name": "data", "uid": uid } })
}

#[test]
fn a_claim_waits_for_its_first_consumer_and_is_served_on_its_node() {
    let mut world = look(claim(json!({}), json!({}), "Pending"), class("WaitForFirstConsumer"));
    assert_eq!(claims::plan(&world).reason, "waiting for its first consumer");
    world.pods = vec![pod("")];
    assert!(claims::plan(&world).writes.is_empty(), "an unbound pod is no consumer yet");
    world.pods = vec![pod("n1")];
    let plan = claims::plan(&world);
    let [Write::Create { object, .. }] = &plan.writes[..] else { panic!("{plan}") };
    assert_eq!(object["metadata"]["name"], "pvc-c");
    assert_eq!(object["spec"]["local"]["path"], "/v/shop_data_c");
    assert_eq!(object["spec"]["claimRef"]["uid"], "c");
    let term = &object["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    assert_eq!(term["values"], json!(["host1"]));
    let immediate = look(claim(json!({}), json!({}), "Pending"), class("Immediate"));
    assert_eq!(texts(&claims::plan(&immediate)), ["create persistentvolumes pvc-c"]);
}

#[test]
fn binding_is_completed_whoever_began_it() {
    let mut world = look(claim(json!({}), json!({}), "Pending"), class("Immediate"));
    world.own = Some(volume("pvc-c", "1Gi", held_by("c")));
    let plan = claims::plan(&world);
    let [claimed, status] = &texts(&plan)[..] else { panic!("{plan}") };
    assert!(claimed.contains(r#""volumeName":"pvc-c""#) && claimed.contains(BOUND), "{claimed}");
    assert!(status.contains(r#""phase":"Bound""#) && status.contains("1Gi"), "{status}");
    world.claim = claim(json!({ "annotations": { BOUND: "yes" } }), json!({ "volumeName": "pvc-c" }), "Bound");
    assert!(claims::plan(&world).writes.is_empty());
    world.own = Some(volume("aside", "1Gi", held_by("")));
    assert!(
        texts(&claims::plan(&world))[0].starts_with("patch persistentvolumes aside"),
        "set aside by name: taken by uid"
    );
    world.own = None;
    assert!(texts(&claims::plan(&world))[0].contains(r#""phase":"Lost""#));
}

#[test]
fn the_smallest_fitting_volume_is_taken() {
    let affine = |host: &str| json!({ "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [host] }] }] } } });
    let mut world = look(claim(json!({}), json!({}), "Pending"), class("WaitForFirstConsumer"));
    world.pods = vec![pod("n1")];
    world.free = vec![
        volume("big", "5Gi", json!({})),
        volume("small", "500Mi", json!({})),
        volume("block", "1Gi", json!({ "volumeMode": "Block" })),
        volume("class", "1Gi", json!({ "storageClassName": "" })),
        volume("modes", "1Gi", json!({ "accessModes": ["ReadOnlyMany"] })),
        volume("elsewhere", "1Gi", affine("host2")),
        volume("fits", "2Gi", affine("host1")),
    ];
    assert!(texts(&claims::plan(&world))[0].starts_with("patch persistentvolumes fits"));
}

#[test]
fn what_cannot_be_made_is_told() {
    let block = look(claim(json!({}), json!({ "volumeMode": "Block" }), "Pending"), class("Immediate"));
    assert!(claims::plan(&block).notices[0].message.contains("volumeMode Block"));
    let classless = look(claim(json!({}), json!({}), "Pending"), None);
    assert_eq!(claims::plan(&classless).notices[0].reason, "FailedBinding");
}

#[test]
fn a_claim_in_use_stays() {
    let mut unprotected = look(claim(json!({ "finalizers": [] }), json!({}), "Pending"), class("Immediate"));
    assert!(texts(&claims::plan(&unprotected))[0].contains(PROTECTED), "protection comes first");
    unprotected.claim = claim(json!({ "deletionTimestamp": "2026-03-01T12:00:00Z" }), json!({}), "Bound");
    unprotected.pods = vec![pod("n1")];
    assert!(claims::plan(&unprotected).writes.is_empty());
    unprotected.pods.clear();
    assert!(texts(&claims::plan(&unprotected))[0].contains(r#""finalizers":null"#));
}

#[test]
fn volumes_follow_their_claims() {
    let bound = claim(json!({}), json!({ "volumeName": "v" }), "Bound");
    let look = |spec: Value, claim| {
        volumes::plan(&volumes::View { volume: volume("v", "1Gi", spec), claim, ..volumes::View::default() })
    };
    for (spec, claim, phase) in
        [(json!({}), None, "Available"), (held_by(""), None, "Available"), (held_by("c"), Some(bound.clone()), "Bound")]
    {
        let plan = look(spec, claim);
        assert!(texts(&plan)[0].contains(phase), "{plan}");
    }
    assert!(texts(&look(held_by("former"), Some(bound)))[0].contains("Released"));
    let mut kept = held_by("c");
    kept["persistentVolumeReclaimPolicy"] = "Retain".into();
    assert_eq!(texts(&look(kept, None)).len(), 1, "a retained one is only released");
}

/// A volume whose claim is gone, with more metadata.
fn released(meta: Value, policy: &str, node: Option<&str>) -> volumes::View {
    let affinity = json!({ "required": { "nodeSelectorTerms": [{ "matchExpressions": [
        { "key": "kubernetes.io/hostname", "operator": "In", "values": ["w1"] }] }] } });
    let mut object = json!({
        "metadata": { "name": "v", "uid": "u", "resourceVersion": "9", "annotations": { PROVISIONED_BY: LOCAL } },
        "spec": { "persistentVolumeReclaimPolicy": policy, "nodeAffinity": affinity,
            "claimRef": { "namespace": "shop", "name": "data", "uid": "c" } },
        "status": { "phase": "Released" },
    });
    meta.as_object().unwrap().iter().for_each(|(key, value)| object["metadata"][key] = value.clone());
    volumes::View { volume: Arc::new(view(object)), claim: None, node: node.map(str::to_owned) }
}

#[test]
fn data_is_erased_by_the_node_that_has_it_before_its_volume_goes() {
    let plan = |meta: Value, node| volumes::plan(&released(meta, "Delete", node));
    // One of an earlier version has no finalizer yet.
    let first = texts(&plan(json!({}), Some("w1")));
    assert!(
        first[0].contains(r#""finalizers":["naru.io/local-data"]"#) && first[0].contains(r#""naru.io/erase-on":"w1""#)
    );
    let noted = json!({ "finalizers": [DATA], "labels": { ERASE_ON: "w1" } });
    assert_eq!(texts(&plan(noted.clone(), Some("w1"))), ["delete persistentvolumes v"]);
    let mut going = noted;
    going["deletionTimestamp"] = "2026-03-01T12:00:00Z".into();
    let waits = plan(going.clone(), Some("w1"));
    assert!(waits.writes.is_empty() && waits.reason.contains("node w1"), "{waits}");
    // Deleted by hand: who erases is noted then.
    let by_hand = json!({ "finalizers": [DATA], "deletionTimestamp": "2026-03-01T12:00:00Z" });
    assert!(texts(&plan(by_hand.clone(), Some("w1")))[0].contains(r#""naru.io/erase-on":"w1""#));
    // A node that was removed has no duty, and people are told where the data stays.
    let gone = plan(going.clone(), None);
    assert!(texts(&gone)[0].contains(r#""finalizers":null"#), "{gone}");
    assert!(gone.notices[0].message.contains("Node w1") && gone.notices[0].message.contains("shop/data"), "{gone}");
    // What is to be kept is kept.
    let kept = volumes::plan(&released(by_hand, "Retain", Some("w1")));
    assert!(texts(&kept)[0].contains(r#""finalizers":null"#) && kept.notices.is_empty(), "{kept}");
    // While a claim has it, it stays.
    let held = claim(json!({}), json!({ "volumeName": "v" }), "Bound");
    let plan = volumes::plan(&volumes::View { claim: Some(held), ..released(going, "Delete", None) });
    assert!(plan.writes.is_empty() && plan.reason.contains("claim"), "{plan}");
}

#[test]
fn a_bound_claim_grows_where_its_class_allows_it() {
    let bound = |asked: &str| {
        let claim = claim(
            json!({ "annotations": { BOUND: "yes" } }),
            json!({ "volumeName": "v", "resources": { "requests": { "storage": asked } } }),
            "Bound",
        );
        let mut claim = PersistentVolumeClaim::clone(&claim);
        claim.status.capacity = Some(json!({ "storage": "1Gi" }));
        Arc::new(claim)
    };
    let with = |asked: &str, has: &str, grows: bool| {
        let class = class("Immediate")
            .map(|class| Arc::new(StorageClass { allow_volume_expansion: grows, ..(*class).clone() }));
        let mut world = look(bound(asked), class);
        world.own = Some(volume("v", has, held_by("c")));
        claims::plan(&world)
    };
    assert!(with("1Gi", "1Gi", true).writes.is_empty());
    assert!(with("2Gi", "1Gi", false).writes.is_empty(), "its class does not allow it");
    let first = texts(&with("2Gi", "1Gi", true));
    assert!(
        first[0].starts_with("patch persistentvolumes v") && first[0].contains(r#""capacity":{"storage":"2Gi"}"#),
        "{first:?}"
    );
    let then = with("2Gi", "2Gi", true);
    assert!(
        texts(&then)[0].contains(r#""capacity":{"storage":"2Gi"}"#)
            && then.to_string().contains("VolumeResizeSuccessful"),
        "{then}"
    );
}
