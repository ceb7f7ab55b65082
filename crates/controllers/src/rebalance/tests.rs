use std::sync::Arc;

use naru_scheduler::Gain;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{Verdict, plan, verdict};
use super::*;
use crate::fixtures::{at, noon, view};

fn object(name: &str, node: &str, created: i64, ready: bool, annotations: Value) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": name, "annotations": annotations, "labels": {"app": "web"},
            "creationTimestamp": at(created),
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true }],
        },
        "spec": { "nodeName": node, "containers": [{"name": "a"}] },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": at(created) }] },
    })
}

fn pod(name: &str, node: &str, created: i64, ready: bool) -> Arc<Pod> {
    Arc::new(view(object(name, node, created, ready, json!({}))))
}

fn marked(name: &str, node: &str, until: i64) -> Arc<Pod> {
    Arc::new(view(object(name, node, -100, true, json!({ MOVING: at(until) }))))
}

fn set(replicas: i32) -> Arc<ReplicaSet> {
    Arc::new(view(json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "set", "generation": 1 },
        "spec": { "replicas": replicas }, "status": { "replicas": replicas, "readyReplicas": replicas, "observedGeneration": 1 },
    })))
}

fn moving(pod: Arc<Pod>, others: Vec<Arc<Pod>>) -> Moving {
    let replicas = i32::try_from(others.len()).expect("few");
    Moving { siblings: [vec![pod.clone()], others].concat(), pod, set: Some(set(replicas)) }
}

#[test]
fn a_pod_goes_when_as_many_serve_without_it_and_stays_when_its_replacement_does_no_good() {
    let old = || marked("old", "a", 60);
    let cases = [
        ("nothing is there yet", Moving { siblings: vec![old()], pod: old(), set: Some(set(1)) }, Verdict::Wait),
        ("it is not ready", moving(old(), vec![pod("new", "b", -5, false)]), Verdict::Wait),
        ("it serves", moving(old(), vec![pod("new", "b", -5, true)]), Verdict::Evict),
        (
            "one of two serves",
            moving(old(), vec![pod("new", "b", -5, true), pod("other", "b", -50, false)]),
            Verdict::Wait,
        ),
        (
            "the same node",
            moving(old(), vec![pod("new", "a", -5, true)]),
            Verdict::GiveUp("its replacement found its place on the same node"),
        ),
        ("just made", moving(old(), vec![pod("new", "", -5, false)]), Verdict::Wait),
        (
            "no place",
            moving(old(), vec![pod("new", "", -30, false)]),
            Verdict::GiveUp("no node has room for its replacement"),
        ),
        (
            "too late",
            moving(marked("old", "a", 0), vec![pod("new", "b", -5, false)]),
            Verdict::GiveUp("its replacement was not ready in time"),
        ),
        (
            "a rollout began",
            Moving { set: None, ..moving(old(), vec![pod("new", "b", -5, true)]) },
            Verdict::GiveUp("its service is being changed"),
        ),
    ];
    for (what, moving, expected) in cases {
        assert_eq!(verdict(&moving, noon()), expected, "{what}");
    }
}

fn asked(node: &str, request: &str) -> (Arc<Node>, Request) {
    let node: Node = view(json!({ "metadata": { "name": node, "uid": node, "annotations": { REBALANCE: request } } }));
    let request = Request::of(&node.metadata).expect("a request");
    (Arc::new(node), request)
}

fn better() -> Choice {
    let better = naru_scheduler::Better { from: "a".into(), to: "b".into(), gain: Gain { crowding: 3, load: 0 } };
    Choice::Move(pod("old", "a", -100, true), better)
}

fn texts(view: &View) -> Vec<String> {
    plan(view, noon()).writes.iter().map(ToString::to_string).collect()
}

#[test]
fn moves_are_counted_on_the_node_that_asked_and_end_with_their_number() {
    let look = |request: &str, choice: Choice| View { requests: vec![asked("b", request)], choice, ..View::default() };
    let said = texts(&look("true", better()));
    assert!(said[0].contains(r#""{\"atOnce\":1,\"moved\":1}""#) && said[0].contains("patch nodes b"), "{said:?}");
    assert!(said[1].contains("patch pods shop/old") && said[1].contains(MOVING), "{said:?}");
    let spent = texts(&look(r#"{"most": 2, "moved": 2}"#, better()));
    assert!(spent.len() == 1 && spent[0].contains(r#""naru.io/rebalance":null"#), "{spent:?}");
    let done = texts(&look("true", Choice::None));
    assert!(done.len() == 1 && done[0].contains(r#""naru.io/rebalance":null"#), "{done:?}");
    assert!(texts(&look("true", Choice::GoOn)).is_empty(), "not everything has been looked at");
    assert!(texts(&View { choice: better(), ..View::default() }).is_empty(), "nobody asked");
    assert_eq!(texts(&View { choice: better(), always: 1, ..View::default() }).len(), 1, "it is always wished");
}

#[test]
fn no_more_begin_at_once_than_is_asked_and_a_request_waits_for_what_is_under_way() {
    let under_way = vec![moving(marked("old", "a", 60), vec![pod("new", "b", -5, false)])];
    let view = View { requests: vec![asked("b", "true")], moving: under_way, ..View::default() };
    assert_eq!(view.room(), 0);
    assert!(texts(&view).is_empty());
    let (node, _) = asked("b", r#"{"atOnce": 3}"#);
    let request = Request::of(&node.metadata).expect("a request");
    assert_eq!(View { requests: vec![(node, request)], ..view }.room(), 2);
}

#[test]
fn what_would_lose_something_stays() {
    let stays = |labels: Value, annotations: Value, volumes: Value, replicas: usize| {
        let mut object = object("p", "a", 0, true, annotations);
        object["metadata"]["labels"] = labels;
        object["spec"]["volumes"] = volumes;
        movable::stays(&view(object.clone()), &object, replicas).is_some()
    };
    let (none, compose) = (|| json!({}), || json!({ "naru.io/service": "web" }));
    assert!(!stays(none(), none(), json!([]), 1));
    assert!(!stays(compose(), none(), json!([]), 2));
    assert!(stays(compose(), none(), json!([]), 1), "its image may have volumes");
    assert!(!stays(compose(), json!({ REBALANCE: "true" }), json!([]), 1));
    assert!(stays(none(), json!({ REBALANCE: "false" }), json!([]), 2));
    for (volume, on_its_node) in [
        (json!({ "hostPath": { "path": "/srv" } }), true),
        (json!({ "persistentVolumeClaim": { "claimName": "data" } }), true),
        (json!({ "emptyDir": {} }), true),
        (json!({ "emptyDir": { "medium": "Memory" } }), false),
        (json!({ "configMap": { "name": "c" } }), false),
        (json!({ "projected": {} }), false),
    ] {
        assert_eq!(stays(none(), none(), json!([volume]), 2), on_its_node, "{volume}");
    }
}

#[test]
fn a_set_between_two_revisions_is_left_alone() {
    let other = |replicas: i32| {
        let mut other = (*set(replicas)).clone();
        other.metadata.uid = "other".into();
        Arc::new(other)
    };
    assert!(settled(&set(2), &[other(0)]));
    assert!(!settled(&set(2), &[other(1)]) && !settled(&set(0), &[]));
    let mut stop_first = (*set(2)).clone();
    stop_first.metadata.annotations.insert(naru_api::naru::names::STOP_FIRST.into(), "true".into());
    assert!(!settled(&stop_first, &[]), "two of it at once would destroy its data");
}

fn node(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {}, "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" },
        "conditions": [{ "type": "Ready", "status": "True" }] } })
}

#[test]
fn a_rehearsal_tells_the_moves_in_their_order_and_changes_nothing() {
    let nodes = ["a", "b"].map(node);
    let pods: Vec<Value> = (0..5).map(|n| object(&format!("p{n}"), "a", n, true, json!({}))).collect();
    let set = json!({ "metadata": { "name": "web", "namespace": "shop", "uid": "set" }, "spec": { "replicas": 5 } });
    let told = |may: &dyn Fn(&str) -> bool, most| rehearse(&nodes, &pods, std::slice::from_ref(&set), may, most);
    let planned = told(&|_| true, 100);
    assert_eq!(planned.iter().map(|p| (p.pod.as_str(), p.to.as_str())).collect::<Vec<_>>(), [("p4", "b"), ("p3", "b")]);
    assert_eq!(told(&|_| true, 1).len(), 1);
    assert!(told(&|node| node == "a", 100).is_empty());
}

proptest! {
    #[test]
    fn rebalancing_ends_and_a_second_one_finds_nothing(places in prop::collection::vec((0usize..4, 0usize..4), 1..30)) {
        let nodes = ["n0", "n1", "n2", "n3"].map(node);
        let mut pods = Vec::new();
        let mut counts = [0; 4];
        for (number, (owner, at)) in places.iter().enumerate() {
            let mut pod = object(&format!("p{number}"), &format!("n{at}"), number as i64, true, json!({}));
            pod["metadata"]["ownerReferences"][0]["uid"] = format!("set{owner}").into();
            counts[*owner] += 1;
            pods.push(pod);
        }
        let sets: Vec<Value> = counts.iter().enumerate().map(|(owner, count)| json!({
            "metadata": { "name": format!("web{owner}"), "namespace": "shop", "uid": format!("set{owner}") },
            "spec": { "replicas": count } })).collect();
        let planned = rehearse(&nodes, &pods, &sets, |_| true, 10_000);
        prop_assert!(planned.len() <= places.len() * 4, "{} moves of {} pods", planned.len(), places.len());
        for planned in &planned {
            // A pod that was moved may be moved again, under the name of its replacement.
            let name = planned.pod.split('+').next().unwrap_or_default();
            let pod = pods.iter_mut().find(|pod| pod["metadata"]["name"] == name).expect("it is there");
            pod["spec"]["nodeName"] = planned.to.clone().into();
        }
        let again = rehearse(&nodes, &pods, &sets, |_| true, 10_000);
        prop_assert!(again.is_empty(), "{again:?} after {planned:?}");
    }
}
