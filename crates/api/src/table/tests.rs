use serde_json::json;

use super::*;
use crate::kind::{Registry, fixture};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time stamp")
}

fn shown(name: &str, object: Value) -> Vec<Value> {
    let kind = Registry::builtin().find(name).unwrap_or_else(|| panic!("{name}")).clone();
    row(&kind, &object, at("2026-01-01T01:00:00Z"))
}

#[test]
fn every_kind_has_as_many_cells_as_columns() {
    for kind in Registry::builtin().iter() {
        let columns = columns(kind);
        let cells = row(kind, &json!({"metadata": {"name": "a"}}), Timestamp::UNIX_EPOCH);
        assert_eq!(columns.len(), cells.len(), "{}", kind.group_kind());
        for (column, cell) in columns.iter().zip(&cells) {
            let of = format!("{} {}", kind.group_kind(), column.name);
            assert_eq!(column.kind == "integer", cell.is_i64() || cell.is_u64(), "{of}");
            assert_eq!(column.kind == "boolean", cell.is_boolean(), "{of}");
        }
    }
}

#[test]
fn spans() {
    for (seconds, text) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (303, "5m3s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (3 * 3600 + 120, "3h2m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (52 * 3600, "2d4h"),
        (8 * 86_400, "8d"),
        (729 * 86_400, "729d"),
        (750 * 86_400, "2y20d"),
        (10 * 365 * 86_400, "10y"),
    ] {
        assert_eq!(age::span(seconds), text, "{seconds}");
    }
}

fn pod(status: Value) -> Vec<Value> {
    shown(
        "pods",
        json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:54:57Z"},
            "spec": {"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "c"}, {"name": "d"}],
                "nodeName": "n"},
            "status": status}),
    )
}

#[test]
fn a_running_pod() {
    let ready = json!({"name": "c", "ready": true, "restartCount": 0, "state": {"running": {}}});
    let restarted = json!({"name": "d", "ready": true, "restartCount": 2, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:59:30Z"}}});
    let inits = json!([
        {"name": "i", "restartCount": 4, "state": {"terminated": {"exitCode": 0}}},
        {"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}]);
    let cells = pod(json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "initContainerStatuses": inits,
        "containerStatuses": [ready, restarted]}));
    assert_eq!(
        cells,
        [
            json!("a"),
            json!("3/3"),
            json!("Running"),
            json!("3 (30s ago)"),
            json!("5m3s"),
            json!("10.0.0.1"),
            json!("n"),
            json!("<none>"),
            json!("<none>")
        ]
    );
}

#[test]
fn the_status_of_a_pod() {
    let status = |v: Value| pod(v)[2].as_str().unwrap_or_default().to_owned();
    let one = |state: Value| status(json!({"phase": "Running", "containerStatuses": [{"name": "c", "state": state}]}));
    assert_eq!(status(json!({"phase": "Pending"})), "Pending");
    assert_eq!(status(json!({"phase": "Failed", "reason": "Evicted"})), "Evicted");
    assert_eq!(one(json!({"waiting": {"reason": "CrashLoopBackOff"}})), "CrashLoopBackOff");
    assert_eq!(one(json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}})), "OOMKilled");
    assert_eq!(one(json!({"terminated": {"exitCode": 3}})), "ExitCode:3");
    assert_eq!(one(json!({"terminated": {"exitCode": 137, "signal": 9}})), "Signal:9");
    let init =
        |state: Value| status(json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": state}]}));
    assert_eq!(init(json!({"running": {}})), "Init:0/2");
    assert_eq!(init(json!({"waiting": {"reason": "PodInitializing"}})), "Init:0/2");
    assert_eq!(init(json!({"waiting": {"reason": "ImagePullBackOff"}})), "Init:ImagePullBackOff");
    assert_eq!(init(json!({"terminated": {"exitCode": 1, "reason": "Error"}})), "Init:Error");
    let half = json!({"phase": "Running", "containerStatuses": [
        {"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
        {"name": "d", "ready": true, "state": {"running": {}}}]});
    assert_eq!(status(half.clone()), "NotReady");
    let gated = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]});
    assert_eq!(status(gated), "SchedulingGated");
    let mut leaving = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": half});
    assert_eq!(pod_status(&leaving), "Terminating");
    leaving["status"] = json!({"phase": "Succeeded"});
    assert_eq!(pod_status(&leaving), "Succeeded");
}

#[test]
fn services() {
    let cells = shown(
        "services",
        json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "selector": {"app": "a"},
            "ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
    );
    assert_eq!(
        cells,
        [
            json!("a"),
            json!("NodePort"),
            json!("10.0.0.1"),
            json!("<none>"),
            json!("80:30001/TCP,53/UDP"),
            json!("60m"),
            json!("app=a")
        ]
    );
    let pending = shown("services", json!({"spec": {"type": "LoadBalancer"}}));
    assert_eq!(pending[3], "<pending>");
    let many: Vec<Value> = (1..6).map(|i| json!({"ip": format!("10.0.0.{i}")})).collect();
    let endpoints = shown("endpoints", json!({"subsets": [{"addresses": many, "ports": [{"port": 80}]}]}));
    assert_eq!(endpoints[1], "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
}

#[test]
fn workloads_and_nodes() {
    let deployment = shown(
        "deployments",
        json!({"metadata": {"name": "a"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"x": "y"}},
        "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]}}}, "status": {"readyReplicas": 2}}),
    );
    assert_eq!(deployment[1], "2/3");
    assert_eq!(deployment[5..], [json!("c,d"), json!("i:1,j"), json!("x=y")]);
    let job = shown(
        "jobs",
        json!({"spec": {"completions": 2}, "status": {"succeeded": 2, "startTime": "2026-01-01T00:00:00Z",
        "completionTime": "2026-01-01T00:00:07Z", "conditions": [{"type": "Complete", "status": "True"}]}}),
    );
    assert_eq!(job[1..4], [json!("Complete"), json!("2/2"), json!("7s")]);
    let node = shown(
        "nodes",
        json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    assert_eq!(node[1..3], [json!("Ready,SchedulingDisabled"), json!("control-plane")]);
    let event = shown(
        "events",
        json!({"involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Started", "message": "ok\n",
        "lastTimestamp": "2026-01-01T00:59:00Z", "count": 3, "type": "Normal"}),
    );
    assert_eq!(event[..4], [json!("60s"), json!("Normal"), json!("Started"), json!("pod/p")]);
    assert_eq!((&event[6], &event[8]), (&json!("ok"), &json!(3)));
}

#[test]
fn custom_kinds_show_what_their_definition_asks_for() {
    let kind = fixture::kind(&fixture::version());
    let told: Vec<Value> = columns(&kind).iter().map(Column::to_json).collect();
    let said = |path: &str| format!("Custom resource definition column (in JSONPath format): {path}");
    assert_eq!(told[0]["format"], "name");
    assert_eq!(
        told[1..],
        [
            json!({"name": "Image", "type": "string", "format": "", "description": "What runs.", "priority": 0}),
            json!({"name": "Wanted", "type": "integer", "format": "", "description": said(".spec.replicas"), "priority": 1}),
            json!({"name": "Age", "type": "date", "format": "", "description": said(".metadata.creationTimestamp"),
                "priority": 0}),
        ]
    );
    let mut object = fixture::object(&json!({"image": "a", "replicas": 2}));
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:30:00Z");
    assert_eq!(row(&kind, &object, at("2026-01-01T01:00:00Z")), [json!("one"), json!("a"), json!(2), json!("30m")]);
    let bare = fixture::object(&json!({}));
    assert_eq!(row(&kind, &bare, at("2026-01-01T01:00:00Z")), [json!("one"), json!(null), json!(null), json!(null)]);
}

#[test]
fn custom_kinds_without_columns_show_name_and_age() {
    let kind = fixture::changed(|version| version["additionalPrinterColumns"] = json!([]));
    let names: Vec<Str> = columns(&kind).into_iter().map(|column| column.name).collect();
    assert_eq!(names, ["Name", "Age"]);
    let mut object = fixture::object(&json!({}));
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:30:00Z");
    assert_eq!(row(&kind, &object, at("2026-01-01T01:00:00Z")), [json!("one"), json!("30m")]);
}

#[test]
fn what_extends_the_server() {
    let service = json!({"service": {"namespace": "n", "name": "s"}});
    let missing = json!({"conditions": [{"type": "Available", "status": "False", "reason": "ServiceNotFound"}]});
    let cells = shown("apiservices", json!({"metadata": {"name": "v1.a.b"}, "spec": service, "status": missing}));
    assert_eq!(cells[1..3], [json!("n/s"), json!("False (ServiceNotFound)")]);
    assert_eq!(shown("apiservices", json!({"spec": {}}))[1..3], [json!("Local"), json!("Unknown")]);
    let hooks = shown("validatingwebhookconfigurations", json!({"webhooks": [{}, {}]}));
    assert_eq!(hooks[1], 2);
    let policy = json!({"spec": {"validations": [{}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}});
    assert_eq!(shown("validatingadmissionpolicies", policy)[1..3], [json!(1), json!("v1/ConfigMap")]);
    let binding = json!({"spec": {"policyName": "p", "paramRef": {"name": "m", "namespace": "n"}}});
    assert_eq!(shown("validatingadmissionpolicybindings", binding)[1..3], [json!("p"), json!("n/m")]);
    let schema = json!({"spec": {"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 900},
        "status": {"conditions": [{"type": "Dangling", "status": "False"}]}});
    assert_eq!(
        shown("flowschemas", schema)[1..],
        [json!("l"), json!("900"), json!("<none>"), json!("<unknown>"), json!("False")]
    );
    let level = json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 30,
        "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 8, "queueLengthLimit": 50}}}}});
    let cells = shown("prioritylevelconfigurations", level);
    assert_eq!(cells[1..6], [json!("Limited"), json!("30"), json!("64"), json!("8"), json!("50")]);
    let component = json!({"conditions": [{"type": "Healthy", "status": "False", "message": "m", "error": "e"}]});
    assert_eq!(shown("cs", component)[1..], [json!("Unhealthy"), json!("m"), json!("e")]);
    let address = json!({"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}});
    assert_eq!(shown("ipaddresses", address)[1], "services/n/s");
    assert_eq!(
        shown("servicecidrs", json!({"spec": {"cidrs": ["10.0.0.0/8", "fd00::/64"]}}))[1],
        "10.0.0.0/8,fd00::/64"
    );
}

#[test]
fn devices_and_drivers() {
    let claim = |status: Value| shown("resourceclaims", json!({"status": status}))[1].clone();
    assert_eq!(claim(json!({})), "pending");
    assert_eq!(claim(json!({"allocation": {}, "reservedFor": [{}]})), "allocated,reserved");
    let slice = json!({"spec": {"nodeName": "n", "driver": "d", "pool": {"name": "p"}}});
    assert_eq!(shown("resourceslices", slice)[1..4], [json!("n"), json!("d"), json!("p")]);
    let driver = json!({"spec": {"attachRequired": false, "podInfoOnMount": true, "volumeLifecycleModes": ["Persistent"],
        "tokenRequests": [{"audience": "a"}]}});
    assert_eq!(
        shown("csidrivers", driver)[1..7],
        [json!(false), json!(true), json!(false), json!("a"), json!(false), json!("Persistent")]
    );
    assert_eq!(shown("csinodes", json!({"spec": {"drivers": [{}]}}))[1], 1);
    let attachment = json!({"spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
        "status": {"attached": true}});
    assert_eq!(shown("volumeattachments", attachment)[1..5], [json!("d"), json!("v"), json!("n"), json!(true)]);
}

#[test]
fn autoscalers_by_what_they_go() {
    let metrics = json!([
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
        {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
        {"type": "External", "external": {"metric": {"name": "j"}, "target": {"type": "Value", "value": "7"}}}]);
    let seen = json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40}}}]);
    let spec = |metrics: &Value| {
        json!({"minReplicas": 1, "maxReplicas": 9, "metrics": metrics,
        "scaleTargetRef": {"kind": "Deployment", "name": "web"}})
    };
    let status = json!({"currentReplicas": 2, "currentMetrics": seen});
    let cells = shown("hpa", json!({"spec": spec(&metrics), "status": status}));
    assert_eq!(
        cells[1..6],
        [json!("Deployment/web"), json!("cpu: 40%/80%, <unknown>/5 + 1 more..."), json!("1"), json!("9"), json!("2")]
    );
    assert_eq!(shown("hpa", json!({"spec": spec(&json!([metrics[2]]))}))[2], "<unknown>/7");
    let older = json!({"apiVersion": "autoscaling/v1", "spec": {"targetCPUUtilizationPercentage": 50}});
    assert_eq!(shown("hpa", older)[2], "cpu: <unknown>/50%");
}
