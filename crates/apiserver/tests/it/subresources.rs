//! Requests below objects.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::support::{PODS, World, pod};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{DEPLOYMENTS}/web");
    root.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 3}});
    let status = root.patch(&format!("{path}/status"), "merge-patch", &both).await.expect(200);
    assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(2), &json!(3)));
    assert_eq!(status["metadata"]["generation"], 1);
    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 9}});
    let main = root.patch(&path, "merge-patch", &both).await.expect(200);
    assert_eq!((&main["spec"]["replicas"], &main["status"]["replicas"]), (&json!(7), &json!(3)));
    assert_eq!(main["metadata"]["generation"], 2);
    assert_eq!(root.get(&format!("{path}/status")).await.expect(200)["status"]["replicas"], 3);
    root.get(&format!("{path}/nothing")).await.refused(404);
    root.get(&format!("{PODS}/p/scale")).await.refused(404);
}

#[tokio::test]
async fn leaving_out_what_is_the_default_is_no_change() {
    let world = World::start().await;
    let root = world.root();
    let made = root.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let mut bare = deployment("web");
    bare["metadata"]["name"] = "web".into();
    let again = root.put(&format!("{DEPLOYMENTS}/web"), &bare).await.expect(200);
    assert_eq!(again["metadata"]["generation"], 1);
    assert_eq!(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_scale_is_seen_and_set_whatever_the_kind() {
    let world = World::start().await;
    let root = world.root();
    root.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web/scale");
    let scale = root.get(&path).await.expect(200);
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!("Scale"), &json!(2), &json!("app=web"))
    );
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = 5.into();
    assert_eq!(root.put(&path, &wanted).await.expect(200)["spec"]["replicas"], 5);
    root.put(&path, &wanted).await.refused(409);
    let patched = root.patch(&path, "merge-patch", &json!({"spec": {"replicas": 0}})).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 0);
    let read = root.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!((&read["spec"]["replicas"], &read["metadata"]["generation"]), (&json!(0), &json!(3)));
    root.patch(&path, "merge-patch", &json!({"spec": {"replicas": -1}})).await.refused(422);
    root.patch(&path, "merge-patch", &json!({"spec": {"replicas": 5_000_000_000_i64}})).await.refused(422);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let world = World::start().await;
    let root = world.root();
    root.post(PODS, &pod("p")).await.expect(201);
    let bind = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    let path = format!("{PODS}/p/binding");
    root.post(&path, &bind("n1")).await.expect(201);
    let bound = root.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert!(root.post(&path, &bind("n2")).await.refused(409).contains("already assigned"));
}

#[tokio::test]
async fn a_running_pod_goes_when_its_node_says_so() {
    let world = World::start().await;
    let root = world.root();
    let mut running = pod("p");
    running["spec"]["nodeName"] = "n1".into();
    root.post(PODS, &running).await.expect(201);
    let path = format!("{PODS}/p");
    let marked = root.delete(&path).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    root.get(&path).await.expect(200);
    let options = json!({"gracePeriodSeconds": 0});
    root.send(http::Method::DELETE, &path, options.to_string()).await.expect(200);
    root.get(&path).await.refused(404);
}

#[tokio::test]
async fn an_eviction_waits_for_the_budget() {
    let world = World::start().await;
    let root = world.root();
    for name in ["a", "b"] {
        let mut pod = pod(name);
        pod["metadata"]["labels"] = json!({"app": "web"});
        pod["spec"]["nodeName"] = "n1".into();
        root.post(PODS, &pod).await.expect(201);
        let running = json!({"status": {"phase": "Running"}});
        root.patch(&format!("{PODS}/{name}/status"), "merge-patch", &running).await.expect(200);
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget =
        json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    root.post(budgets, &budget).await.expect(201);
    let evict = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let answer = root.post(&format!("{PODS}/a/eviction"), &evict("a")).await;
    assert!(answer.refused(429).contains("disruption budget"));
    assert!(!answer.headers.contains_key("retry-after"), "client libraries would wait it out in silence");
    assert_eq!(answer.json()["details"]["causes"][0]["reason"], "DisruptionBudget");
    let status = json!({"status": {"disruptionsAllowed": 1, "observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    root.patch(&format!("{budgets}/web/status"), "merge-patch", &status).await.expect(200);
    root.post(&format!("{PODS}/a/eviction"), &evict("a")).await.expect(201);
    assert!(root.get(&format!("{PODS}/a")).await.expect(200)["metadata"]["deletionTimestamp"].is_string());
    root.post(&format!("{PODS}/b/eviction"), &evict("b")).await.refused(429);
}

#[tokio::test]
async fn resources_of_containers_change_through_resize_and_nothing_else_does() {
    let world = World::start().await;
    let root = world.root();
    root.post(PODS, &pod("p")).await.expect(201);
    let path = format!("{PODS}/p/resize");
    let change = json!({"spec": {"containers": [{"name": "web", "image": "other:1",
        "resources": {"requests": {"cpu": "100m"}}}]}});
    let resized = root.patch(&path, "strategic-merge-patch", &change).await.expect(200);
    let container = &resized["spec"]["containers"][0];
    assert_eq!((&container["resources"]["requests"]["cpu"], &container["image"]), (&json!("100m"), &json!("web:1")));
    assert_eq!(resized["metadata"]["generation"], 2);
    let wrong = json!([{"op": "replace", "path": "/spec/containers/0/resources", "value": "much"}]);
    assert!(root.patch(&path, "json-patch", &wrong).await.code.is_client_error());
    let ephemeral = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "tools:1"}], "nodeName": "n9"}});
    let path = format!("{PODS}/p/ephemeralcontainers");
    let added = root.patch(&path, "strategic-merge-patch", &ephemeral).await.expect(200);
    assert_eq!(added["spec"]["ephemeralContainers"][0]["name"], "debug");
    assert!(added["spec"].get("nodeName").is_none());
}

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn request(name: &str, csr: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"], "request": BASE64.encode(csr)}})
}

#[tokio::test]
async fn an_approved_request_of_a_client_is_signed() {
    let world = World::start().await;
    let root = world.root();
    let mut made = root.post(REQUESTS, &request("kim", include_str!("../data/kim.csr"))).await.expect(201);
    let path = format!("{REQUESTS}/kim/approval");
    made["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "Test", "message": ""}]);
    // The right to write approvals is not the right to approve for this signer.
    let role = |resource: &str, verb: &str| {
        json!({"metadata": {"name": resource.replace('/', "-")},
            "rules": [{"apiGroups": ["certificates.k8s.io"], "resources": [resource], "verbs": [verb]}]})
    };
    let kim = world.user("kim", &["approvers"]);
    for (resource, verb) in [("certificatesigningrequests/approval", "update"), ("signers", "approve")] {
        kim.put(&path, &made).await.refused(403);
        let name = resource.replace('/', "-");
        root.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role(resource, verb)).await.expect(201);
        let binding = json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "Group", "name": "approvers", "apiGroup": "rbac.authorization.k8s.io"}]});
        root.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    }
    let signed = kim.put(&path, &made).await.expect(200);
    let pem = BASE64.decode(signed["status"]["certificate"].as_str().expect("a certificate")).expect("base64");
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).expect("PEM");
    let certificate = block.parse_x509().expect("a certificate");
    assert_eq!(certificate.subject().to_string(), "O=devs, CN=kim");
    let again = kim.put(&path, &signed).await.expect(200);
    assert_eq!(again["status"]["certificate"], signed["status"]["certificate"], "signed once");
}

#[tokio::test]
async fn what_cannot_be_signed_says_why() {
    let world = World::start().await;
    let root = world.root();
    let message = root.post(REQUESTS, &request("m", include_str!("../data/masters.csr"))).await.refused(403);
    assert!(message.contains("system:masters"), "{message}");
    let mut wrong = request("wrong", include_str!("../data/kim.csr"));
    wrong["spec"]["usages"] = json!(["server auth", "client auth"]);
    let mut made = root.post(REQUESTS, &wrong).await.expect(201);
    made["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "Test", "message": ""}]);
    let failed = root.put(&format!("{REQUESTS}/wrong/approval"), &made).await.expect(200);
    assert_eq!(
        (&failed["status"]["conditions"][1]["type"], &failed["status"]["certificate"]),
        (&json!("Failed"), &Value::Null)
    );
}
