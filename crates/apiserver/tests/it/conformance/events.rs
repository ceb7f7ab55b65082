//! Events of both groups: written, counted on, found and removed together.

use serde_json::{Value, json};

use crate::support::World;

const CORE: &str = "/api/v1/namespaces/default/events";
const NEWER: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn core(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "labels": {"testevent-set": "true"}},
        "message": format!("This is {name}"), "reason": "Test", "type": "Normal", "count": 1,
        "involvedObject": {"kind": "Event", "namespace": "default", "name": name}})
}

fn newer(name: &str) -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name, "labels": {"testevent-set": "true"}},
        "regarding": {"kind": "Pod", "namespace": "default", "name": "pod-1"}, "eventTime": "2026-01-02T03:04:05.000006Z",
        "note": format!("This is {name}"), "action": "Do", "reason": "Test", "type": "Normal",
        "reportingController": "test-controller", "reportingInstance": "test-node"})
}

/// A series, in the words of both groups.
fn series() -> Value {
    json!({"count": 100, "lastObservedTime": "2026-01-02T03:05:05.000006Z"})
}

#[tokio::test]
async fn an_event_lives_in_the_core_group() {
    let world = World::start().await;
    let root = world.root();
    root.post(CORE, &core("event-test")).await.expect(201);
    let everywhere = "/api/v1/events?labelSelector=testevent-set%3Dtrue";
    let found = root.get(everywhere).await.expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    let path = format!("{CORE}/event-test");
    let patch = json!({"message": "This is a test event - patched"});
    root.patch(&path, "strategic-merge-patch", &patch).await.expect(200);
    let mut event = root.get(&path).await.expect(200);
    assert_eq!(event["message"], "This is a test event - patched");
    event["series"] = series();
    root.put(&path, &event).await.expect(200);
    let read = root.get(&path).await.expect(200);
    assert_eq!((&read["series"], &read["message"]), (&series(), &event["message"]));
    root.delete(&path).await.expect(200);
    assert_eq!(root.get(everywhere).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn an_event_lives_in_its_own_group() {
    let world = World::start().await;
    let root = world.root();
    let made = root.post(NEWER, &newer("event-test")).await.expect(201);
    assert_eq!(made["eventTime"], "2026-01-02T03:04:05.000006Z");
    let path = format!("{NEWER}/event-test");
    for list in [NEWER, "/apis/events.k8s.io/v1/events"] {
        let found = root.get(list).await.expect(200);
        assert!(
            found["items"].as_array().expect("items").iter().any(|e| e["metadata"]["name"] == "event-test"),
            "{list}"
        );
    }
    root.patch(&path, "strategic-merge-patch", &json!({"series": series()})).await.expect(200);
    let mut event = root.get(&path).await.expect(200);
    assert_eq!(event["series"], series());
    event["series"]["count"] = 101.into();
    root.put(&path, &event).await.expect(200);
    assert_eq!(root.get(&path).await.expect(200)["series"]["count"], 101);
    // Nothing else of it changes here; in the core group it does.
    for (field, value, told) in [
        ("note", json!("other"), "message: Invalid value: \"other\": field is immutable"),
        ("reason", json!("Other"), "reason: Invalid value: \"Other\": field is immutable"),
        ("type", json!("Warning"), "type: Invalid value"),
        ("action", json!("Other"), "action: Invalid value"),
        ("reportingController", json!("other"), "reportingController: Invalid value: \"other\""),
        ("reportingInstance", json!("other"), "reportingInstance: Invalid value"),
        ("regarding", json!({"kind": "Node", "name": "n"}), "involvedObject: Invalid value"),
        ("related", json!({"kind": "Node", "name": "n"}), "related: Invalid value"),
        ("eventTime", json!("2026-01-02T03:04:06.000000Z"), "eventTime: Invalid value"),
        ("series", json!({"count": 1, "lastObservedTime": null}), "series.count: Invalid value"),
    ] {
        let mut other = event.clone();
        (other[field], other["metadata"]["resourceVersion"]) = (value, json!(null));
        let refused = root.put(&path, &other).await.refused(422);
        assert!(refused.contains(told), "{field}: {refused}");
    }
    let labelled = json!({"metadata": {"labels": {"testevent-set": "still"}}});
    root.patch(&path, "merge-patch", &labelled).await.expect(200);
    let reworded = json!({"message": "other", "reason": "Other"});
    let reworded = root.patch(&format!("{CORE}/event-test"), "merge-patch", &reworded).await.expect(200);
    assert_eq!((&reworded["message"], &reworded["reason"]), (&json!("other"), &json!("Other")));
    root.delete(&path).await.expect(200);
    let left = root.get(NEWER).await.expect(200);
    assert!(left["items"].as_array().expect("items").iter().all(|e| e["metadata"]["name"] != "event-test"));
}

#[tokio::test]
async fn events_are_removed_together_by_their_label() {
    let world = World::start().await;
    let root = world.root();
    for (collection, event) in [(CORE, core as fn(&str) -> Value), (NEWER, newer)] {
        for n in 1..=3 {
            root.post(collection, &event(&format!("test-event-{n}"))).await.expect(201);
        }
        let mut other = event("another");
        other["metadata"]["labels"] = json!({"testevent-set": "false"});
        root.post(collection, &other).await.expect(201);
        let selected = format!("{collection}?labelSelector=testevent-set%3Dtrue");
        assert_eq!(root.get(&selected).await.expect(200)["items"].as_array().map(Vec::len), Some(3));
        root.delete(&selected).await.expect(200);
        assert_eq!(root.get(&selected).await.expect(200)["items"], json!([]));
        root.get(&format!("{collection}/another")).await.expect(200);
        root.delete(&format!("{collection}/another")).await.expect(200);
    }
}
