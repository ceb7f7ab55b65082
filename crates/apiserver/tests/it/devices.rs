//! Devices: what selects them, and since when they are tainted.

use serde_json::{Value, json};

use crate::support::World;

const CLASSES: &str = "/apis/resource.k8s.io/v1/deviceclasses";
const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";

fn class(name: &str, expression: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
}

fn claim(name: &str, request: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}})
}

#[tokio::test]
async fn expressions_that_select_devices_are_checked_when_they_are_written() {
    let world = World::start().await;
    let root = world.root();
    for (at, expression) in [
        "device.driver == 'gpu.example.com'",
        "device.attributes['gpu.example.com'].model == 'a100' && device.attributes['gpu.example.com'].cores > 4",
        "device.capacity['gpu.example.com'].memory.compareTo(quantity('16Gi')) >= 0",
        "cel.bind(gpu, device.attributes['gpu.example.com'], gpu.fast && gpu.version.isGreaterThan(semver('1.2.0')))",
        "device.attributes['gpu.example.com'].fast",
    ]
    .iter()
    .enumerate()
    {
        root.post(CLASSES, &class(&format!("c{at}"), expression)).await.expect(201);
    }
    let selectors = |expression: &str| json!([{"cel": {"expression": expression}}]);
    for (expression, why) in [
        ("device.driver == ", "compilation failed: ERROR: "),
        ("device.name == 'a'", "compilation failed: ERROR: "),
        ("object.driver == 'a'", "compilation failed: ERROR: "),
        ("device.driver", "must evaluate to bool or the unknown type, not string"),
    ] {
        let message = root.post(CLASSES, &class("wrong", expression)).await.refused(422);
        let told = format!("spec.selectors[0].cel.expression: Invalid value: {expression:?}: {why}");
        assert!(message.contains(&told), "{message}");
        for (field, request) in [
            ("exactly", json!({"name": "r", "exactly": {"deviceClassName": "c0", "selectors": selectors(expression)}})),
            (
                "firstAvailable[0]",
                json!({"name": "r", "firstAvailable": [{"name": "s", "deviceClassName": "c0", "selectors": selectors(expression)}]}),
            ),
        ] {
            let message = root.post(CLAIMS, &claim("wrong", request)).await.refused(422);
            assert!(
                message.contains(&format!("spec.devices.requests[0].{field}.selectors[0].cel.expression")),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn a_taint_of_a_device_knows_since_when_it_is_there() {
    let world = World::start().await;
    let root = world.root();
    let taint = |key: &str| json!({"key": key, "effect": "NoSchedule"});
    let device = |taints: Value| json!([{"name": "gpu-0", "taints": taints}]);
    let mut said = taint("example.com/said");
    said["timeAdded"] = "2026-01-01T00:00:00Z".into();
    let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "gpu.example.com", "nodeName": "n",
        "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1},
        "devices": device(json!([taint("example.com/first"), said]))}});
    let made = root.post(SLICES, &slice).await.expect(201);
    let since = |slice: &Value, at: usize| {
        let text = slice["spec"]["devices"][0]["taints"][at]["timeAdded"].as_str().expect("a time").to_owned();
        text.parse::<jiff::Timestamp>().expect("a time stamp")
    };
    let first = since(&made, 0);
    let created: jiff::Timestamp =
        made["metadata"]["creationTimestamp"].as_str().and_then(|t| t.parse().ok()).expect("a time");
    assert!(first >= created, "{made}");
    assert_eq!(since(&made, 1).to_string(), "2026-01-01T00:00:00Z");
    // Who leaves the time out means the taint that is there.
    let again = json!({"spec": {"devices": device(json!([taint("example.com/said"), taint("example.com/more")]))}});
    let changed = root.patch(&format!("{SLICES}/s"), "merge-patch", &again).await.expect(200);
    assert_eq!(since(&changed, 0).to_string(), "2026-01-01T00:00:00Z");
    assert!(since(&changed, 1) >= first);
    let same = root.patch(&format!("{SLICES}/s"), "merge-patch", &again).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"], "nothing changes");
}
