use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::life::View;
use super::{orphans, plan::plan, taints};
use crate::fixtures::{at, noon, view};
use crate::plan::{Plan, Write};
use crate::views::{Node, Pod, Taint, Toleration};

fn node(ready: &str, spec: Value) -> Arc<Node> {
    Arc::new(view(json!({
        "metadata": { "name": "n1", "uid": "u", "resourceVersion": "4" },
        "spec": spec,
        "status": { "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": at(-50) }] },
    })))
}

fn pod(name: &str, tolerations: Value) -> Arc<Pod> {
    Arc::new(view(json!({
        "metadata": { "name": name, "namespace": "shop", "uid": name },
        "spec": { "nodeName": "n1", "tolerations": tolerations },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
    })))
}

fn look(node: Arc<Node>, silent_for: i64, pods: Vec<Arc<Pod>>, others_ready: bool) -> Plan {
    let heard = noon() - SignedDuration::from_secs(silent_for);
    plan(&View { node, heard, grace: SignedDuration::from_secs(40), pods, others_ready, held_until: None }, noon())
}

fn texts(plan: &Plan) -> Vec<String> {
    plan.writes.iter().map(ToString::to_string).collect()
}

fn taint(key: &str, added: i64) -> Value {
    json!({ "key": key, "effect": "NoExecute", "timeAdded": at(added) })
}

#[test]
fn a_living_node_is_left_alone_until_its_silence_would_be_too_long() {
    let plan = look(node("True", json!({})), 10, vec![pod("a", json!([]))], true);
    assert_eq!((texts(&plan), plan.again), (vec![], Some(at(30).parse().unwrap())));
}

#[test]
fn a_node_whose_program_is_replaced_may_be_silent_for_a_moment() {
    let looked = |until: i64, silent_for: i64| {
        let mut node = view::<Node>(json!({
            "metadata": { "name": "n1", "uid": "u", "resourceVersion": "4",
                "annotations": { "naru.io/replacing-until": at(until) } },
            "status": { "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": at(-50) }] },
        }));
        node.spec.taints.clear();
        texts(&look(Arc::new(node), silent_for, vec![], true)).len()
    };
    assert_eq!(looked(5, 45), 0, "silent for longer than others may be, and said so");
    assert_eq!(looked(-1, 45), 1, "that time is over");
    assert_eq!(looked(3600, 45), 1, "nobody may be silent for an hour");
}

#[test]
fn a_silent_node_becomes_unknown_with_its_pods_and_is_tainted() {
    let stays = json!([{ "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 5 }]);
    let lost = look(node("True", json!({})), 40, vec![pod("a", stays.clone())], true);
    let [status, pod_status] = &texts(&lost)[..] else { panic!("{lost}") };
    assert!(status.starts_with("patch nodes/status n1") && status.contains(r#""status":"Unknown""#), "{status}");
    assert!(
        pod_status.starts_with("patch pods/status shop/a") && pod_status.contains(r#""status":"False""#),
        "{pod_status}"
    );

    let marked = look(node("Unknown", json!({})), 40, vec![pod("a", stays.clone())], true);
    let [spec] = &texts(&marked)[..] else { panic!("{marked}") };
    assert!(spec.contains("unreachable") && spec.contains("NoExecute") && spec.contains("NoSchedule"), "{spec}");
    assert_eq!(marked.again, Some(at(5).parse().unwrap()), "the pod's toleration counts from the taint");

    let tainted = node(
        "Unknown",
        json!({ "taints": [{ "key": "node.kubernetes.io/unreachable", "effect": "NoSchedule", "timeAdded": at(-5) }, taint("node.kubernetes.io/unreachable", -5)] }),
    );
    let over = look(tainted, 45, vec![pod("a", stays), pod("daemon", json!([{ "operator": "Exists" }]))], true);
    assert_eq!(texts(&over), ["delete pods shop/a"], "what tolerates for ever stays");
}

#[test]
fn where_no_node_is_ready_nobody_is_driven_out() {
    let plan = look(node("True", json!({})), 4000, vec![pod("a", json!([]))], false);
    assert!(texts(&plan).iter().all(|write| !write.contains("pods")), "{plan}");
}

#[test]
fn where_most_nodes_are_gone_at_once_nobody_is_driven_out_for_a_while() {
    let taints = json!({ "taints": [
        { "key": "node.kubernetes.io/unreachable", "effect": "NoSchedule", "timeAdded": at(-50) },
        taint("node.kubernetes.io/unreachable", -50)] });
    let mut view = View {
        node: node("Unknown", taints),
        heard: noon() - SignedDuration::from_secs(60),
        grace: SignedDuration::from_secs(1),
        pods: vec![pod("a", json!([]))],
        others_ready: true,
        held_until: Some(noon() + SignedDuration::from_secs(9)),
    };
    let held = plan(&view, noon());
    assert_eq!((texts(&held), held.again), (vec![], Some(at(9).parse().unwrap())));
    view.held_until = Some(noon());
    assert_eq!(texts(&plan(&view, noon())), ["delete pods shop/a"]);
}

#[test]
fn a_node_that_comes_back_loses_its_taints_but_not_those_of_others() {
    let taints = json!([taint("node.kubernetes.io/unreachable", -9), { "key": "mine", "effect": "NoSchedule" }]);
    let plan = look(node("True", json!({ "taints": taints, "unschedulable": true })), 1, vec![], true);
    let text = &texts(&plan)[0];
    assert!(!text.contains("unreachable") && text.contains("mine") && text.contains("unschedulable"), "{text}");
}

#[test]
fn tolerations_match_as_in_kubernetes() {
    let taint = |effect: &str| Taint { key: "k".into(), value: "v".into(), effect: effect.into(), time_added: None };
    for (toleration, borne) in [
        (json!({ "key": "k", "value": "v" }), true),
        (json!({ "key": "k", "value": "w" }), false),
        (json!({ "key": "k", "operator": "Exists" }), true),
        (json!({ "key": "k", "operator": "Exists", "effect": "NoExecute" }), false),
        (json!({ "operator": "Exists" }), true),
        (json!({ "key": "other", "operator": "Exists" }), false),
    ] {
        let toleration: Toleration = view(toleration);
        assert_eq!(taints::tolerates(&toleration, &taint("NoSchedule")), borne, "{toleration:?}");
    }
    assert!(taints::tolerates_all(&[], &[taint("PreferNoSchedule")]));
    assert!(!taints::tolerates_all(&[], &[taint("NoSchedule")]));
}

#[test]
fn pods_that_nobody_else_removes_are_collected() {
    let finished = |name: &str, created: i64| {
        let mut pod = (*pod(name, json!([]))).clone();
        pod.metadata.creation_timestamp = Some(at(created).parse().unwrap());
        Arc::new(pod)
    };
    let view = orphans::View {
        stranded: vec![pod("stranded", json!([]))],
        unbound: vec![pod("unbound", json!([]))],
        finished: vec![finished("new", 9), finished("old", 1), finished("middle", 5)],
        keep: 1,
    };
    let plan = orphans::plan(&view);
    assert_eq!(texts(&plan), ["stranded", "unbound", "old", "middle"].map(|name| format!("delete pods shop/{name}")));
    assert!(plan.writes.iter().all(|write| matches!(write, Write::Delete { options, .. } if options.grace == Some(0))));
}
