//! Every kind that a default Kubernetes serves, through its whole life over HTTP.

pub mod samples;

use http::Method;
use naru_api::{Kind, Registry, Subresource};
use serde_json::{Value, json};

use crate::support::{Caller, PODS, World, pod, within};
use crate::watching::Events;
use samples::{Sample, sample};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// The collection of a kind, in the default namespace.
pub fn path(kind: &Kind) -> String {
    let base = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let home = if kind.is_namespaced() { "/namespaces/default" } else { "" };
    format!("{base}/{}{home}/{}", kind.version, kind.plural)
}

#[tokio::test]
async fn every_kind_lives_its_whole_life() {
    let world = World::start().await;
    let root = world.root();
    for kind in Registry::builtin().iter().filter(|kind| kind.is_stored() && kind.group != "naru.io") {
        live(&root, kind, sample(kind)).await;
    }
}

async fn live(root: &Caller, kind: &Kind, sample: Sample) {
    let of = format!("{} {}", kind.api_version(), kind.plural);
    let collection = path(kind);
    let one = format!("{collection}/{}", sample.name);
    let list = root.get(&collection).await.expect(200);
    assert_eq!(list["kind"], kind.list_kind(), "{of}");
    let version = list["metadata"]["resourceVersion"].as_str().expect("a version");
    let watch =
        format!("{collection}?watch=true&resourceVersion={version}&fieldSelector=metadata.name%3D{}", sample.name);
    let mut events = Events::open(root, &watch).await;
    let answer = root.post(&collection, &sample.object).await;
    assert_eq!(answer.code, 201, "{of}: {}", answer.text());
    let made = answer.json();
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!(kind.kind), &json!(kind.api_version())), "{of}");
    assert_eq!(root.post(&collection, &sample.object).await.code, 409, "{of}: it is there already");
    assert_eq!(root.get(&one).await.expect(200)["metadata"]["uid"], made["metadata"]["uid"], "{of}");
    let table = root.with("accept", TABLE).get(&collection).await.expect(200);
    let shown = table["rows"].as_array().into_iter().flatten();
    let names: Vec<&Value> = shown.map(|row| &row["object"]["metadata"]["name"]).collect();
    assert!(names.contains(&&json!(sample.name)), "{of}: {table}");
    let label = json!({"metadata": {"labels": {"seen": "yes"}}});
    let patched = root.patch(&one, "merge-patch", &label).await;
    assert_eq!(patched.code, 200, "{of}: {}", patched.text());
    if kind.has(Subresource::Status) {
        let path = format!("{one}/status");
        let answer = root.patch(&path, "merge-patch", &json!({"status": sample.status})).await;
        assert_eq!(answer.code, 200, "{of}: {}", answer.text());
        let state = root.get(&path).await.expect(200)["status"].clone();
        for (field, value) in sample.status.as_object().expect("an object") {
            assert_eq!(&state[field], value, "{of}: {state}");
        }
        // The object itself is no way to its state.
        let both = json!({"metadata": {"labels": {"seen": "twice"}}, "status": {"unheard": "of"}});
        assert_eq!(root.patch(&one, "merge-patch", &both).await.expect(200)["status"], state, "{of}");
        let whole = root.get(&one).await.expect(200);
        let answer = root.put(&path, &whole).await;
        assert_eq!(answer.code, 200, "{of}: {}", answer.text());
    }
    let mut whole = root.get(&one).await.expect(200);
    whole["metadata"]["annotations"]["seen"] = "thrice".into();
    let answer = root.put(&one, &whole).await;
    assert_eq!(answer.code, 200, "{of}: {}", answer.text());
    assert_eq!(answer.json()["metadata"]["annotations"]["seen"], "thrice", "{of}");
    assert_eq!(root.put(&one, &whole).await.code, 409, "{of}: it is another one now");
    root.delete(&one).await.expect(200);
    assert_eq!(events.step().await, ("ADDED".to_owned(), sample.name.clone()), "{of}");
    if kind.is("", "Namespace") {
        return;
    }
    loop {
        let (event, name) = events.step().await;
        assert_eq!(name, sample.name, "{of}");
        match event.as_str() {
            "MODIFIED" => {}
            "DELETED" => break,
            other => panic!("{of}: {other}"),
        }
    }
    root.get(&one).await.refused(404);
    all_at_once(root, &collection, &one, &sample).await;
}

/// Makes it again, and deletes whatever has its label.
async fn all_at_once(root: &Caller, collection: &str, one: &str, sample: &Sample) {
    let mut object = sample.object.clone();
    object["metadata"]["labels"] = json!({"seen": "again"});
    root.post(collection, &object).await.expect(201);
    let deleted = root.delete(&format!("{collection}?labelSelector=seen%3Dagain")).await.expect(200);
    assert_eq!(deleted["items"].as_array().map(Vec::len), Some(1), "{deleted}");
    // A definition goes after its objects.
    within(async {
        while root.get(one).await.code != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn discovery_tells_the_table() {
    const SERVED: &str = include_str!("../../../api/src/kind/served.txt");
    let world = World::start().await;
    let root = world.root();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let aggregated = [
        root.with("accept", accept).get("/api").await.expect(200),
        root.with("accept", accept).get("/apis").await.expect(200),
    ];
    let every = || aggregated.iter().flat_map(|list| list["items"].as_array().expect("groups"));
    for line in SERVED.lines().filter(|line| !line.starts_with(['#', ' '])) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (group, version) = words[0].split_once('/').unwrap_or(("", words[0]));
        let home = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let plain = root.get(&home).await.expect(200);
        let mut resources = plain["resources"].as_array().expect("resources").iter();
        let resource = resources.find(|r| r["name"] == words[1]).unwrap_or_else(|| panic!("{line}"));
        assert_eq!((&resource["kind"], &resource["namespaced"]), (&json!(words[2]), &json!(words[3] == "namespaced")));
        let mut groups = every();
        let group = groups.find(|g| g["metadata"]["name"].as_str().unwrap_or_default() == group).expect("a group");
        let mut versions = group["versions"].as_array().expect("versions").iter();
        let version = versions.find(|v| v["version"] == version).expect("a version");
        let mut resources = version["resources"].as_array().expect("resources").iter();
        let newer = resources.find(|r| r["resource"] == words[1]).unwrap_or_else(|| panic!("{line}"));
        for field in ["verbs", "shortNames", "categories"] {
            assert_eq!(newer[field], resource[field], "{line}");
        }
    }
    let autoscaling = root.get("/apis/autoscaling").await.expect(200);
    assert_eq!(autoscaling["preferredVersion"]["version"], "v2");
}

#[tokio::test]
async fn an_autoscaler_is_one_object_in_two_versions() {
    let world = World::start().await;
    let root = world.root();
    let (older, newer) = (
        "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
    );
    let made = json!({"metadata": {"name": "web"}, "spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 50,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    let answer = root.post(older, &made).await;
    assert_eq!(answer.expect(201)["spec"]["targetCPUUtilizationPercentage"], 50);
    assert!(answer.headers["warning"].to_str().expect("text").contains("is kept, but"), "{:?}", answer.headers);
    let seen = root.get(&format!("{newer}/web")).await.expect(200);
    assert_eq!(seen["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    assert_eq!(seen["spec"]["minReplicas"], 1);
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "5"}}});
    let change = json!({"spec": {"metrics": [pods, seen["spec"]["metrics"][0]], "behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}});
    root.patch(&format!("{newer}/web"), "merge-patch", &change).await.expect(200);
    let shown = root.get(&format!("{older}/web")).await.expect(200);
    let notes = &shown["metadata"]["annotations"];
    assert!(notes["autoscaling.alpha.kubernetes.io/metrics"].as_str().expect("a note").contains("targetAverageValue"));
    assert_eq!(shown["spec"]["targetCPUUtilizationPercentage"], 50);
    let mut replaced = shown.clone();
    replaced["spec"]["maxReplicas"] = 9.into();
    root.put(&format!("{older}/web"), &replaced).await.expect(200);
    let kept = root.get(&format!("{newer}/web")).await.expect(200);
    assert_eq!(kept["spec"]["maxReplicas"], 9);
    assert_eq!(kept["spec"]["behavior"]["scaleDown"]["selectPolicy"], "Disabled", "the older version loses nothing");
    assert_eq!(kept["spec"]["metrics"], json!([pods, seen["spec"]["metrics"][0]]));
    assert!(kept["metadata"].get("annotations").is_none(), "{kept}");
    let list = root.get(older).await.expect(200);
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["apiVersion"]),
        (&json!("autoscaling/v1"), &json!("autoscaling/v1"))
    );
    let refused = root.patch(&format!("{older}/web"), "merge-patch", &json!({"spec": {"maxReplicas": 0}})).await;
    assert!(refused.refused(422).contains("spec.maxReplicas: Invalid value: 0: must be greater than 0"));
}

/// Says how two parts are.
struct Half;

impl naru_apiserver::Components for Half {
    fn fault(&self, component: &str) -> Option<String> {
        (component == "scheduler").then(|| "stopped: scheduler".to_owned())
    }
}

#[tokio::test]
async fn the_parts_of_the_control_plane_say_how_they_are() {
    const PARTS: &str = "/api/v1/componentstatuses";
    let world = World::start().await;
    let root = world.root();
    let condition = |part: &Value| part["conditions"][0].clone();
    let unknown = root.get(&format!("{PARTS}/scheduler")).await.expect(200);
    assert_eq!(condition(&unknown)["status"], "Unknown", "nobody told");
    world.server.has_components(std::sync::Arc::new(Half));
    let answer = root.get(PARTS).await;
    assert!(answer.headers["warning"].to_str().expect("text").contains("v1 ComponentStatus is deprecated in v1.19+"));
    let list = answer.expect(200);
    assert_eq!(list["kind"], "ComponentStatusList");
    let parts: Vec<(&Value, Value)> =
        list["items"].as_array().expect("items").iter().map(|p| (&p["metadata"]["name"], condition(p))).collect();
    assert_eq!(parts.len(), 3);
    assert_eq!((parts[0].0, &parts[0].1["status"]), (&json!("controller-manager"), &json!("True")));
    assert_eq!((parts[1].0, &parts[1].1["message"]), (&json!("etcd-0"), &json!("ok")));
    assert_eq!((parts[2].0, &parts[2].1["message"]), (&json!("scheduler"), &json!("stopped: scheduler")));
    let table = root.with("accept", TABLE).get(PARTS).await.expect(200);
    assert_eq!(
        table["rows"][2]["cells"],
        json!(["scheduler", "Unhealthy", "stopped: scheduler", "stopped: scheduler"])
    );
    let one = root.with("accept", TABLE).get(&format!("{PARTS}/etcd-0")).await.expect(200);
    assert_eq!(one["rows"][0]["cells"][1], "Healthy");
    root.get(&format!("{PARTS}/moon")).await.refused(404);
    root.delete(&format!("{PARTS}/etcd-0")).await.refused(405);
    root.post(PARTS, &json!({"metadata": {"name": "x"}})).await.refused(405);
    world.user("somebody", &[]).get(PARTS).await.refused(403);
    let endpoints = root.get("/api/v1/namespaces/default/endpoints").await;
    let said = endpoints.headers["warning"].to_str().expect("text");
    assert!(said.contains("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"), "{said}");
    assert!(!root.get(PODS).await.headers.contains_key("warning"));
}

#[tokio::test]
async fn a_binding_can_be_sent_to_its_own_collection() {
    const BINDINGS: &str = "/api/v1/namespaces/default/bindings";
    let world = World::start().await;
    let root = world.root();
    root.post(PODS, &pod("web")).await.expect(201);
    let binding = json!({"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n1"}});
    root.post(BINDINGS, &binding).await.expect(201);
    assert_eq!(root.get(&format!("{PODS}/web")).await.expect(200)["spec"]["nodeName"], "n1");
    assert!(root.post(BINDINGS, &binding).await.refused(409).contains("already assigned"));
    root.post(BINDINGS, &json!({"metadata": {"name": "nobody"}, "target": {"name": "n1"}})).await.refused(404);
    root.get(BINDINGS).await.refused(405);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_its_field() {
    let world = World::start().await;
    let root = world.root();
    for (plural, pointer, value, field) in [
        ("validatingwebhookconfigurations", "/webhooks/0/sideEffects", json!("Some"), "webhooks[0].sideEffects"),
        ("flowschemas", "/spec/matchingPrecedence", json!(20_000), "spec.matchingPrecedence"),
        ("apiservices", "/spec/versionPriority", json!(0), "spec.versionPriority"),
        ("resourceclaims", "/spec/devices/requests/0/exactly", json!(null), "spec.devices.requests[0]"),
        ("servicecidrs", "/spec/cidrs", json!([]), "spec.cidrs"),
    ] {
        let kind = Registry::builtin().find(plural).expect("served").clone();
        let mut object = sample(&kind).object;
        *object.pointer_mut(pointer).unwrap_or_else(|| panic!("{plural}: {pointer}")) = value;
        let status = root.post(&path(&kind), &object).await.expect(422);
        let causes = status["details"]["causes"].as_array().expect("causes");
        assert!(causes.iter().any(|cause| cause["field"] == field), "{status}");
    }
    let webhook = Registry::builtin().find("validatingwebhookconfigurations").expect("served").clone();
    let made = sample(&webhook);
    root.post(&path(&webhook), &made.object).await.expect(201);
    let taken = root.post(&path(&webhook), &made.object).await.expect(409);
    assert_eq!(taken["reason"], "AlreadyExists");
    root.delete("/api/v1/namespaces").await.refused(405);
    let event =
        json!({"metadata": {"name": "e"}, "regarding": {"kind": "Pod", "namespace": "default"}, "type": "Normal"});
    let status = root.post("/apis/events.k8s.io/v1/namespaces/default/events", &event).await.expect(422);
    let causes = status["details"]["causes"].as_array().expect("causes");
    for field in ["eventTime", "reportingController", "action"] {
        assert!(causes.iter().any(|cause| cause["field"] == field), "{field}: {status}");
    }
}

#[tokio::test]
async fn the_newer_kinds_are_read_in_protobuf_too() {
    let world = World::start().await;
    let root = world.root().with("content-type", "application/vnd.kubernetes.protobuf");
    for (plural, pointer, value) in [
        ("prioritylevelconfigurations", "/spec/limited/limitResponse/type", "Queue"),
        ("resourceclaims", "/spec/devices/requests/0/exactly/deviceClassName", "gpu.example.com"),
    ] {
        let kind = Registry::builtin().find(plural).expect("served").clone();
        let sample = sample(&kind);
        let mut object = sample.object.clone();
        (object["apiVersion"], object["kind"]) = (kind.api_version().into(), kind.kind.as_ref().into());
        let body = naru_protobuf::encode(&object).expect("a message");
        let answer = root.send(Method::POST, &path(&kind), body).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
        let made = world.root().get(&format!("{}/{}", path(&kind), sample.name)).await.expect(200);
        assert_eq!(made.pointer(pointer), Some(&json!(value)), "{made}");
    }
}

#[tokio::test]
async fn who_edits_a_namespace_may_claim_devices_and_scale_there_and_no_more() {
    let world = World::start().await;
    let root = world.root();
    let binding = json!({"metadata": {"name": "e"}, "subjects": [{"kind": "User", "name": "eve"}],
        "roleRef": {"kind": "ClusterRole", "name": "edit"}});
    root.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding).await.expect(201);
    let eve = world.user("eve", &[]);
    for (plural, code) in [
        ("resourceclaims", 201),
        ("resourceclaimtemplates", 201),
        ("horizontalpodautoscalers", 201),
        ("csistoragecapacities", 403),
        ("validatingwebhookconfigurations", 403),
    ] {
        let kind = Registry::builtin().find(plural).expect("served").clone();
        let answer = eve.post(&path(&kind), &sample(&kind).object).await;
        assert_eq!(answer.code, code, "{plural}: {}", answer.text());
    }
}
