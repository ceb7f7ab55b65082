use std::sync::Arc;

use naru_client::{Cached, Change, ObjectRef};
use serde_json::{Value, json};

use super::answer::{Answer, View, plan};
use super::mirror::Mirror;
use crate::fixtures::{noon, view};
use crate::views::{Node, Pod};

fn cached<V: serde::de::DeserializeOwned>(object: Value) -> Arc<Cached<V>> {
    let meta = &object["metadata"];
    Arc::new(Cached {
        key: ObjectRef::new(meta["namespace"].as_str().unwrap_or_default(), meta["name"].as_str().unwrap()),
        uid: meta["uid"].as_str().unwrap_or_default().into(),
        revision: 1,
        deleting: false,
        raw: object.to_string().into(),
        view: Arc::new(view(object)),
    })
}

fn node(cpu: &str) -> Change<Node> {
    let node = json!({
        "metadata": { "name": "n1" },
        "status": { "allocatable": { "cpu": cpu, "memory": "8Gi", "pods": "10" }, "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    Change { before: None, after: Some(cached(node)) }
}

fn pod(name: &str, node: &str) -> Arc<Cached<Pod>> {
    let container = json!({ "name": "c", "resources": { "requests": { "cpu": "1" } } });
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "shop", "uid": name },
        "spec": { "containers": [container] },
        "status": { "phase": "Pending" },
    });
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    cached(pod)
}

fn place(mirror: &mut Mirror, name: &str) -> Answer {
    mirror.place(&pod(name, ""), || Ok(Vec::new()), |_| None)
}

fn text(answer: Answer) -> String {
    let view = View { pod: pod("a", "").view.clone(), answer };
    plan(&view, noon()).to_string()
}

#[test]
fn a_place_is_set_aside_until_it_is_given_back() {
    let mut mirror = Mirror::default();
    mirror.take_node(&node("1"));
    assert_eq!(place(&mut mirror, "a"), Answer::Node("n1".into()));
    assert_eq!(place(&mut mirror, "a"), Answer::BeingBound, "a second look does not bind twice");
    let Answer::Nowhere(why) = place(&mut mirror, "b") else { panic!("one place cannot serve two") };
    assert!(why.contains("Insufficient cpu"), "{why}");
    assert_eq!(mirror.give_back(&ObjectRef::new("shop", "a")), [ObjectRef::new("shop", "b")], "who waits is told");
    assert_eq!(place(&mut mirror, "b"), Answer::Node("n1".into()));
}

#[test]
fn pods_that_end_make_room_and_nodes_that_grow_too() {
    let mut mirror = Mirror::default();
    mirror.take_node(&node("1"));
    mirror.take_pod(&Change { before: None, after: Some(pod("a", "n1")) });
    assert!(matches!(place(&mut mirror, "b"), Answer::Nowhere(_)));
    let told = mirror.take_pod(&Change { before: Some(pod("a", "n1")), after: None });
    assert_eq!(told, [ObjectRef::new("shop", "b")]);
    assert!(matches!(place(&mut mirror, "b"), Answer::Node(_)));
    assert!(matches!(place(&mut mirror, "c"), Answer::Nowhere(_)));
    assert_eq!(mirror.take_node(&node("2")), [ObjectRef::new("shop", "c")]);
    assert!(matches!(place(&mut mirror, "c"), Answer::Node(_)));
}

#[test]
fn who_matters_more_pushes_others_away_once() {
    let mut mirror = Mirror::default();
    mirror.take_node(&node("1"));
    mirror.take_pod(&Change { before: None, after: Some(pod("low", "n1")) });
    let mut high: Value = serde_json::from_slice(&pod("high", "").raw).unwrap();
    high["spec"]["priority"] = 100.into();
    let ask = |mirror: &mut Mirror, leaving: bool| {
        let known = move |key: &ObjectRef| Some(super::mirror::Known { uid: format!("uid-{}", key.name), leaving });
        mirror.place(&cached(high.clone()), || Ok(Vec::new()), known)
    };
    let Answer::Preempts { why, node, victims } = ask(&mut mirror, false) else { panic!("it matters more") };
    assert_eq!((node.as_str(), &victims[..]), ("n1", &[(ObjectRef::new("shop", "low"), "uid-low".to_owned())][..]));
    assert!(why.starts_with("0/1 nodes are available: 1 Insufficient cpu. preemption: "), "{why}");
    assert!(matches!(ask(&mut mirror, true), Answer::Nowhere(_)), "what leaves already is not pushed again");
    let told = text(Answer::Preempts { why, node, victims });
    assert!(told.contains("delete pods shop/low") && told.contains("nominatedNodeName"), "{told}");
    assert!(told.contains("tell Preempted: Preempted by pod a on node n1"), "{told}");
}

#[test]
fn answers_are_told() {
    let bound = text(Answer::Node("n1".into()));
    assert!(
        bound.contains("post pods/binding shop/a")
            && bound.contains("tell Scheduled: Successfully assigned shop/a to n1"),
        "{bound}"
    );
    let refused = text(Answer::Nowhere("0/1 nodes are available: 1 Insufficient cpu.".into()));
    assert!(refused.contains("patch pods/status shop/a") && refused.contains("Unschedulable"), "{refused}");
    assert!(refused.contains("tell FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu."), "{refused}");
    assert!(text(Answer::Gated).contains("SchedulingGated"));
    assert!(!text(Answer::BeingBound).contains("pods"));
}

#[test]
fn a_pod_whose_data_is_on_a_node_that_cannot_take_it_says_which() {
    let mut mirror = Mirror::default();
    mirror.take_node(&node("4"));
    let nodes = serde_json::from_value(json!({ "nodeSelectorTerms": [{ "matchExpressions": [
        { "key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"] }] }] }))
    .expect("an affinity");
    let volume = || Ok(vec![naru_scheduler::VolumeNodes { volume: "pv".into(), nodes }]);
    let Answer::Nowhere(why) = mirror.place(&pod("a", ""), volume, |_| None) else { panic!("its data is elsewhere") };
    assert!(
        why.contains("didn't match PersistentVolume's node affinity") && why.ends_with(" Its data is on node n2."),
        "{why}"
    );
}
