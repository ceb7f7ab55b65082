use serde_json::json;

use super::*;
use crate::kind::Registry;
use crate::meta;

fn there_and_back(group: &str, stored: (&str, &str, &str), served: (&str, &str), object: &Value) -> (Value, Value) {
    let registry = Registry::builtin();
    let stored = registry.by_kind(stored.0, stored.1, stored.2).expect("stored");
    let served = registry.by_kind(group, served.0, served.1).expect("served");
    let shown = convert(stored, served, object.clone());
    let back = convert(served, stored, shown.clone());
    (shown, back)
}

#[test]
fn an_event_is_the_same_in_both_groups() {
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "count": 2,
        "involvedObject": {"kind": "Pod", "name": "web"}, "message": "hello", "reason": "Started"});
    let (newer, back) = there_and_back("events.k8s.io", ("", "v1", "Event"), ("v1", "Event"), &event);
    assert_eq!(
        (&newer["apiVersion"], &newer["note"], &newer["regarding"]["name"]),
        (&json!("events.k8s.io/v1"), &json!("hello"), &json!("web"))
    );
    assert_eq!(back, event);
}

const NEWER: (&str, &str, &str) = ("autoscaling", "v2", "HorizontalPodAutoscaler");
const OLDER: (&str, &str) = ("v1", "HorizontalPodAutoscaler");

fn autoscaler(spec: Value, status: Value) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": spec, "status": status})
}

#[test]
fn an_autoscaler_by_share_needs_no_notes() {
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization",
        "averageUtilization": 70}}});
    let spec = json!({"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "metrics": [metric]});
    let status = json!({"currentReplicas": 1, "desiredReplicas": 2});
    let hpa = autoscaler(spec, status);
    let (older, back) = there_and_back("autoscaling", NEWER, OLDER, &hpa);
    assert_eq!(older["apiVersion"], "autoscaling/v1");
    assert_eq!(older["spec"]["targetCPUUtilizationPercentage"], 70);
    assert!(older["spec"].get("metrics").is_none() && meta::annotations(&older).is_none(), "{older}");
    assert_eq!(back, hpa);
}

#[test]
fn what_the_older_version_cannot_say_stands_in_its_annotations() {
    let reference = json!({"kind": "Ingress", "name": "main", "apiVersion": "networking.k8s.io/v1"});
    let spec = json!({"maxReplicas": 9, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
        "metrics": [
            {"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "30"}}},
            {"type": "Object", "object": {"describedObject": reference, "metric": {"name": "hits",
                "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "Value", "value": "2k"}}},
            {"type": "External", "external": {"metric": {"name": "jobs"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
            {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
                "target": {"type": "Utilization", "averageUtilization": 60}}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        "behavior": {"scaleDown": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}});
    let status = json!({"currentReplicas": 1, "desiredReplicas": 2,
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40, "averageValue": "100m"}}}],
        "conditions": [{"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"}]});
    let hpa = autoscaler(spec, status);
    let (older, back) = there_and_back("autoscaling", NEWER, OLDER, &hpa);
    let note = |name: &str| -> Value {
        let text = meta::annotation(&older, &format!("autoscaling.alpha.kubernetes.io/{name}")).expect("a note");
        serde_json::from_str(text).expect("JSON")
    };
    assert_eq!(
        note("metrics")[0],
        json!({"type": "Pods", "pods": {"metricName": "queue", "targetAverageValue": "30"}})
    );
    assert_eq!(note("metrics")[1]["object"]["target"], reference);
    assert_eq!(note("metrics")[1]["object"]["targetValue"], "2k");
    assert_eq!(note("metrics")[3]["containerResource"]["targetAverageUtilization"], 60);
    assert_eq!(note("behavior")["ScaleDown"]["Policies"][0]["PeriodSeconds"], 60);
    assert_eq!(note("current-metrics")[0]["resource"]["currentAverageUtilization"], 40);
    assert_eq!(note("conditions")[0]["type"], "AbleToScale");
    assert_eq!(older["spec"]["targetCPUUtilizationPercentage"], 80);
    assert_eq!(older["status"]["currentCPUUtilizationPercentage"], 40);
    assert_eq!(back, hpa, "nothing is lost on the way");
}

#[test]
fn notes_that_make_no_sense_are_as_if_absent() {
    let registry = Registry::builtin();
    let older = registry.by_kind("autoscaling", "v1", "HorizontalPodAutoscaler").expect("served");
    let newer = registry.by_kind("autoscaling", "v2", "HorizontalPodAutoscaler").expect("stored");
    for note in ["[", "7", "[7]", "[{\"type\": 5}]", "{\"a\": 1}"] {
        let hpa = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a", "annotations": {"autoscaling.alpha.kubernetes.io/metrics": note, "mine": "x"}},
            "spec": {"maxReplicas": 2, "targetCPUUtilizationPercentage": 50}});
        let converted = convert(older, newer, hpa);
        assert_eq!(converted["metadata"]["annotations"], json!({"mine": "x"}), "{note}");
        assert_eq!(converted["spec"]["metrics"].as_array().map(Vec::len), Some(1), "{note}: {converted}");
        assert_eq!(converted["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    }
}

#[test]
fn versions_that_differ_in_nothing_change_their_name_alone() {
    let kind = |version: &'static str| {
        let schema = crate::kind::SchemaRef::Builtin("io.k8s.api.core.v1.ConfigMap".into());
        Kind::new("example.com", version, "Thing", "things", schema)
    };
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "message": "x"});
    let newer = convert(&kind("v1"), &kind("v2"), thing.clone());
    assert_eq!((&newer["apiVersion"], &newer["message"]), (&json!("example.com/v2"), &json!("x")));
    assert_eq!(convert(&kind("v2"), &kind("v1"), newer), thing);
}
