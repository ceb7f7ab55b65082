use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::plan;
use super::*;
use crate::fixtures::{at, noon, view};
use crate::plan::Write;

fn set(replicas: i32, extra: Value) -> Arc<ReplicaSet> {
    let mut set = json!({
        "metadata": { "name": "web-x", "namespace": "shop", "uid": "set", "generation": 2, "resourceVersion": "7" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c" }] } },
        },
    });
    merge(&mut set, extra);
    Arc::new(view(set))
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            patch.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, patch) => *into = patch,
    }
}

/// A running, ready pod of the set, but for what `extra` says.
fn pod(name: &str, extra: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("u-{name}"), "resourceVersion": "3",
            "labels": { "app": "web" }, "creationTimestamp": at(0),
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-x", "uid": "set", "controller": true }],
        },
        "spec": { "nodeName": "n1" },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": at(0) }] },
    });
    merge(&mut pod, extra);
    Arc::new(view(pod))
}

fn unready() -> Value {
    json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } })
}

fn deleting() -> Value {
    json!({ "metadata": { "deletionTimestamp": at(30) } })
}

fn view_of(set: Arc<ReplicaSet>, owned: Vec<Arc<Pod>>) -> View {
    let mut crowd = BTreeMap::new();
    for pod in owned.iter().filter(|pod| pod.is_active()) {
        *crowd.entry(pod.spec.node_name.clone()).or_default() += 1;
    }
    View { set, owned, crowd, ..View::default() }
}

fn deleted(plan: &Plan) -> Vec<String> {
    let name = |write: &Write| match write {
        Write::Delete { key, options, .. } => {
            assert_eq!(options.uid.as_deref(), Some(&*format!("u-{}", key.name)), "only what was seen is deleted");
            Some(key.name.to_string())
        }
        _ => None,
    };
    plan.writes.iter().filter_map(name).collect()
}

fn created(plan: &Plan) -> Vec<&Value> {
    fn object(write: &Write) -> Option<&Value> {
        match write {
            Write::Create { object, .. } => Some(object),
            _ => None,
        }
    }
    plan.writes.iter().filter_map(object).collect()
}

fn status(plan: &Plan) -> Option<&Value> {
    plan.writes.iter().find_map(|write| match write {
        Write::Patch { subresource: Some("status"), patch, .. } => Some(&patch["status"]),
        _ => None,
    })
}

#[test]
fn missing_pods_are_all_created_at_once_with_the_lowest_free_numbers() {
    let numbered = |name, number: &str| pod(name, json!({ "metadata": { "labels": { "naru.io/ordinal": number } } }));
    let plan = plan(&view_of(set(5, json!({})), vec![numbered("a", "2"), numbered("b", "4")]), noon());
    let numbers: Vec<_> =
        created(&plan).iter().map(|pod| pod["metadata"]["labels"]["naru.io/ordinal"].clone()).collect();
    assert_eq!(numbers, ["1", "3", "5"]);
    let first = created(&plan)[0];
    assert_eq!(first["metadata"]["generateName"], "web-x-");
    assert_eq!(first["metadata"]["namespace"], "shop");
    assert_eq!(first["metadata"]["labels"]["app"], "web");
    assert!(first["metadata"]["labels"].get("com.docker.compose.container-number").is_none());
    assert_eq!(first["spec"], json!({ "containers": [{ "name": "c" }] }));
    let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-x", "uid": "set",
        "controller": true, "blockOwnerDeletion": true });
    assert_eq!(first["metadata"]["ownerReferences"], json!([owner]));
}

#[test]
fn compose_services_number_their_containers() {
    let labels = json!({ "app": "web", "naru.io/service": "web" });
    let plan =
        plan(&view_of(set(1, json!({ "spec": { "template": { "metadata": { "labels": labels } } } })), vec![]), noon());
    assert_eq!(created(&plan)[0]["metadata"]["labels"]["com.docker.compose.container-number"], "1");
}

#[test]
fn finished_pods_are_replaced_unless_their_rule_lets_them_end() {
    let failed = pod("a", json!({ "status": { "phase": "Failed" } }));
    assert_eq!(created(&plan(&view_of(set(1, json!({})), vec![failed]), noon())).len(), 1);
    for rule in ["no", "on-failure:3"] {
        let annotations = json!({ "metadata": { "annotations": { "naru.io/restart": rule } } });
        let mut extra = json!({ "status": { "phase": "Succeeded", "conditions": [] } });
        merge(&mut extra, annotations);
        let plan = plan(&view_of(set(1, json!({})), vec![pod("a", extra)]), noon());
        assert!(created(&plan).is_empty(), "{rule}");
        let status = status(&plan).unwrap();
        assert_eq!(
            (&status["replicas"], &status["availableReplicas"], &status["readyReplicas"]),
            (&json!(1), &json!(1), &Value::Null)
        );
    }
}

#[test]
fn replacements_do_not_wait_for_what_is_stopping_but_for_services_that_stop_first() {
    let stopping = || vec![pod("a", deleting())];
    assert_eq!(created(&plan(&view_of(set(1, json!({})), stopping()), noon())).len(), 1);
    let rule = |stop_first: &str| json!({ "metadata": { "annotations": { "naru.io/stop-first": stop_first } } });
    let waiting = plan(&view_of(set(1, rule("true")), stopping()), noon());
    assert!(created(&waiting).is_empty());
    assert_eq!(waiting.reason, "waiting for 1 pods to stop");
    assert_eq!(created(&plan(&view_of(set(1, rule("")), stopping()), noon())).len(), 1);
}

#[test]
fn the_least_missed_pods_are_deleted_first() {
    let cost =
        |cost: &str| json!({ "metadata": { "annotations": { "controller.kubernetes.io/pod-deletion-cost": cost } } });
    let later =
        json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": at(60) }] } });
    let order = [
        pod("unbound", json!({ "spec": { "nodeName": "" }, "status": { "phase": "Pending" } })),
        pod("pending", json!({ "status": { "phase": "Pending" } })),
        pod("unready", unready()),
        pod("cheap", cost("-5")),
        pod("crowded", json!({ "spec": { "nodeName": "n2" } })),
        pod("crowded2", json!({ "spec": { "nodeName": "n2" } })),
        pod("ready-later", later),
        pod("restarted", json!({ "status": { "containerStatuses": [{ "restartCount": 2 }] } })),
        pod("newer", json!({ "metadata": { "creationTimestamp": at(9) } })),
        pod("oldest", json!({})),
        pod("dear", cost("7")),
    ];
    let mut shuffled = order.to_vec();
    shuffled.reverse();
    let mut view = view_of(set(0, json!({})), shuffled);
    view.crowd = BTreeMap::from([("n1".into(), 1), ("n2".into(), 2)]);
    let expected: Vec<_> = order.iter().map(|pod| pod.metadata.name.clone()).collect();
    let mut got = deleted(&plan(&view, noon()));
    // The two crowded ones differ in their names only.
    got[4..6].sort();
    assert_eq!(got, expected);
}

#[test]
fn services_lose_their_highest_numbers() {
    let numbered = |name, number: &str, ready: i64| {
        pod(
            name,
            json!({
                "metadata": { "labels": { "naru.io/ordinal": number, "naru.io/service": "web" } },
                "status": { "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": at(ready) }] },
            }),
        )
    };
    let pods = vec![numbered("a", "1", 50), numbered("b", "10", 1), numbered("c", "9", 20)];
    assert_eq!(deleted(&plan(&view_of(set(1, json!({})), pods), noon())), ["b", "c"]);
}

#[test]
fn pods_are_adopted_and_released_by_the_selector() {
    let mut view =
        view_of(set(2, json!({})), vec![pod("stray", json!({ "metadata": { "labels": { "app": "other" } } }))]);
    view.orphans = vec![pod("found", json!({ "metadata": { "ownerReferences": [] } }))];
    let plan = plan(&view, noon());
    let text = plan.to_string();
    assert!(
        text.contains(r#"patch pods shop/stray {"metadata":{"ownerReferences":null,"resourceVersion":"3"}}"#),
        "{text}"
    );
    assert!(text.contains("patch pods shop/found") && text.contains(r#""uid":"set""#), "{text}");
    assert!(created(&plan).is_empty(), "numbers wait until it is certain whose the pods are");
}

#[test]
fn a_set_on_its_way_out_changes_no_pods() {
    let mut view = view_of(set(3, deleting()), vec![]);
    view.orphans = vec![pod("found", json!({ "metadata": { "ownerReferences": [] } }))];
    let plan = plan(&view, noon());
    assert!(plan.writes.iter().all(|write| matches!(write, Write::Patch { subresource: Some("status"), .. })));
}

#[test]
fn the_status_counts_and_waits_for_min_ready() {
    let set_of = || set(3, json!({ "spec": { "minReadySeconds": 10 } }));
    let pods =
        vec![pod("a", json!({ "metadata": { "labels": { "app": "web" } } })), pod("b", unready()), pod("c", json!({}))];
    let early = plan(&view_of(set_of(), pods.clone()), noon());
    assert_eq!(early.again, Some(at(10).parse().unwrap()));
    let expected = json!({ "observedGeneration": 2, "replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 2, "availableReplicas": null, "conditions": null });
    assert_eq!(status(&early), Some(&expected));
    let later = plan(&view_of(set_of(), pods), at(10).parse().unwrap());
    assert_eq!((status(&later).unwrap()["availableReplicas"].clone(), later.again), (json!(2), None));
}

#[test]
fn what_cannot_be_created_is_told_in_the_status_until_it_can() {
    let set_of = |status: Value| set(2, json!({ "status": status }));
    let told = super::plan::refused(Flavour::ReplicaSet, &set_of(json!({})), "too many pods", noon()).unwrap();
    let Write::Patch { patch, .. } = &told else { panic!("{told}") };
    let failure = &patch["status"]["conditions"][0];
    assert_eq!(
        (&failure["type"], &failure["reason"], &failure["message"]),
        (&json!("ReplicaFailure"), &json!("FailedCreate"), &json!("too many pods"))
    );
    let failing = || set_of(json!({ "conditions": [failure] }));
    assert_eq!(super::plan::refused(Flavour::ReplicaSet, &failing(), "again", noon()), None, "told already");
    let still = plan(&view_of(failing(), vec![pod("a", json!({}))]), noon());
    assert_eq!(status(&still).unwrap()["conditions"], json!([failure]));
    let overcome = plan(&view_of(failing(), vec![pod("a", json!({})), pod("b", json!({}))]), noon());
    assert_eq!(status(&overcome).unwrap()["conditions"], Value::Null);
}

#[test]
fn owners_are_told_of_deleted_pods() {
    let plan = plan(&view_of(set(0, json!({})), vec![pod("a", json!({}))]), noon());
    assert_eq!((plan.notices[0].reason, &*plan.notices[0].message), ("SuccessfulDelete", "Deleted pod: a"));
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let status = json!({ "observedGeneration": 2, "replicas": 1, "fullyLabeledReplicas": 1, "readyReplicas": 1, "availableReplicas": 1 });
    let plan = plan(&view_of(set(1, json!({ "status": status })), vec![pod("a", json!({}))]), noon());
    assert_eq!((plan.writes, &*plan.reason), (vec![], "in balance"));
}

proptest! {
    /// Creations and deletions lead exactly to the number asked for.
    #[test]
    fn the_number_comes_out(wanted in 0..8_i32, states in prop::collection::vec(0..5_u8, 0..10)) {
        let pods: Vec<_> = (0..).zip(&states).map(|(index, state): (usize, _)| {
            let extra = match state {
                0 => json!({}),
                1 => unready(),
                2 => json!({ "spec": { "nodeName": "" }, "status": { "phase": "Pending" } }),
                3 => json!({ "status": { "phase": "Failed" } }),
                _ => deleting(),
            };
            pod(&format!("p{index}"), extra)
        }).collect();
        let active = states.iter().filter(|state| **state < 3).count() as i32;
        let plan = plan(&view_of(set(wanted, json!({})), pods), noon());
        let change = created(&plan).len() as i32 - deleted(&plan).len() as i32;
        prop_assert_eq!(active + change, wanted);
        prop_assert!(created(&plan).is_empty() || deleted(&plan).is_empty());
    }
}

#[test]
fn a_replication_controller_is_a_set_with_a_plain_selector() {
    let object = json!({
        "metadata": { "name": "rc", "namespace": "shop", "uid": "r", "generation": 1 },
        "spec": { "replicas": 2, "selector": { "app": "web" }, "template": { "metadata": { "labels": { "app": "web" } }, "spec": {} } },
    });
    let set = crate::views::read_replication_controller(object.to_string().as_bytes()).unwrap();
    let look = View { flavour: Flavour::ReplicationController, set: Arc::new(set), ..View::default() };
    let plan = super::plan::plan(&look, noon());
    let owners: Vec<_> = plan
        .writes
        .iter()
        .filter_map(|write| match write {
            Write::Create { object, .. } => Some(object["metadata"]["ownerReferences"][0]["kind"].clone()),
            _ => None,
        })
        .collect();
    assert_eq!(owners, [json!("ReplicationController"), json!("ReplicationController")], "{plan}");
    assert!(plan.to_string().contains("patch replicationcontrollers/status shop/rc"), "{plan}");
    let orphan: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "shop", "labels": { "app": "web" } }, "status": { "phase": "Running" },
    }))
    .unwrap();
    let adopted = View { orphans: vec![Arc::new(orphan)], ..look };
    assert!(super::plan::plan(&adopted, noon()).to_string().contains("adopting pods"));
}

#[test]
fn a_pod_that_is_to_go_is_replaced_before_it_does_and_only_for_so_long() {
    let marked = |until: i64| json!({ "metadata": { "annotations": { "naru.io/moving": at(until) } } });
    let two = |until: i64| vec![pod("a", marked(until)), pod("b", json!({}))];
    let look = |set: Arc<ReplicaSet>, pods| plan(&view_of(set, pods), noon());
    let creates = |plan: &Plan| plan.writes.iter().filter(|write| matches!(write, Write::Create { .. })).count();
    let planned = look(set(2, json!({})), two(60));
    assert_eq!((creates(&planned), deleted(&planned).len()), (1, 0), "{planned}");
    assert_eq!(planned.again, Some(at(60).parse().expect("a time")), "the mark ends by itself");
    assert_eq!(creates(&look(set(2, json!({})), two(-1))), 0);
    let three = |until: i64| [two(until), vec![pod("c", json!({}))]].concat();
    assert!(deleted(&look(set(2, json!({})), three(60))).is_empty());
    assert_eq!(deleted(&look(set(2, json!({})), three(-1))).len(), 1);
    assert_eq!(deleted(&look(set(0, json!({})), two(60))).len(), 2, "none is wished, none is replaced");
    let stop_first = json!({ "metadata": { "annotations": { "naru.io/stop-first": "true" } } });
    assert_eq!(creates(&look(set(2, stop_first), two(60))), 0, "two at once would destroy its data");
}
