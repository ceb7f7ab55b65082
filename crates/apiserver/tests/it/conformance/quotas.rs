//! Quotas: what they count, whom they concern, and how they are changed themselves.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Caller, PODS, World, pod, within};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

fn quota(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name, "labels": {"test": name}}, "spec": spec})
}

/// Waits until the status of a quota is so.
async fn told(root: &Caller, name: &str, field: &str, wanted: Value) {
    let path = format!("{QUOTAS}/{name}");
    within(async {
        loop {
            if root.get(&path).await.expect(200)["status"][field] == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn sets_controllers_and_secrets_are_counted_while_they_live() {
    let world = World::start().await;
    let root = world.root();
    let hard = json!({"hard": {"count/replicasets.apps": "1", "replicationcontrollers": "1", "secrets": "1"}});
    root.post(QUOTAS, &quota("q", hard)).await.expect(201);
    let counts =
        |number: &str| json!({"count/replicasets.apps": number, "replicationcontrollers": number, "secrets": number});
    told(&root, "q", "used", counts("0")).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]});
    let kinds = [
        (
            "/apis/apps/v1/namespaces/default/replicasets",
            json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}),
        ),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            json!({"replicas": 0, "selector": {"a": "b"}, "template": template}),
        ),
        ("/api/v1/namespaces/default/secrets", Value::Null),
    ];
    for (path, spec) in &kinds {
        let object = |name: &str| match spec {
            Value::Null => json!({"metadata": {"name": name}, "stringData": {"top": "secret"}}),
            spec => json!({"metadata": {"name": name}, "spec": spec}),
        };
        root.post(path, &object("one")).await.expect(201);
        let refused = root.post(path, &object("two")).await.refused(403);
        assert!(refused.contains("exceeded quota: q"), "{refused}");
    }
    told(&root, "q", "used", counts("1")).await;
    for (path, _) in &kinds {
        root.delete(&format!("{path}/one")).await.expect(200);
    }
    told(&root, "q", "used", counts("0")).await;
}

#[tokio::test]
async fn a_quota_of_pods_that_end_is_not_one_of_those_that_stay() {
    let world = World::start().await;
    let root = world.root();
    let hard = json!({"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"});
    for (name, scope) in [("terminating", "Terminating"), ("staying", "NotTerminating")] {
        root.post(QUOTAS, &quota(name, json!({"hard": hard, "scopes": [scope]}))).await.expect(201);
    }
    let used = |pods: &str, amounts: [&str; 4]| {
        json!({"pods": pods, "requests.cpu": amounts[0], "requests.memory": amounts[1], "limits.cpu": amounts[2],
            "limits.memory": amounts[3]})
    };
    let (none, one) = (used("0", ["0"; 4]), used("1", ["500m", "200Mi", "1", "400Mi"]));
    let asking = |name: &str, deadline: Value| {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}});
        pod["spec"]["activeDeadlineSeconds"] = deadline;
        pod
    };
    for (deadline, counted, other) in [(Value::Null, "staying", "terminating"), (json!(3600), "terminating", "staying")]
    {
        root.post(PODS, &asking("test", deadline)).await.expect(201);
        told(&root, counted, "used", one.clone()).await;
        told(&root, other, "used", none.clone()).await;
        // What a pod asks for is settled with it.
        let more = json!({"spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "600m"}}}]}});
        root.patch(&format!("{PODS}/test"), "strategic-merge-patch", &more).await.refused(422);
        let now = json!({"gracePeriodSeconds": 0});
        root.send(Method::DELETE, &format!("{PODS}/test"), now.to_string()).await.expect(200);
        told(&root, counted, "used", none.clone()).await;
    }
}

#[tokio::test]
async fn a_quotas_status_is_written_apart_and_kept_true() {
    let world = World::start().await;
    let root = world.root();
    let hard = |cpu: &str| json!({"limits.cpu": cpu, "limits.memory": "500Mi"});
    root.post(QUOTAS, &quota("q", json!({"hard": hard("500m")}))).await.expect(201);
    told(&root, "q", "hard", hard("500m")).await;
    let (path, status) = (format!("{QUOTAS}/q"), format!("{QUOTAS}/q/status"));
    // Somebody says so, and whoever counts says what is true.
    let mut wrong = root.get(&path).await.expect(200);
    wrong["status"]["hard"] = hard("2");
    wrong["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    assert_eq!(root.put(&status, &wrong).await.expect(200)["status"]["hard"], hard("2"));
    told(&root, "q", "hard", hard("500m")).await;
    root.patch(&path, "merge-patch", &json!({"spec": {"hard": hard("1")}})).await.expect(200);
    told(&root, "q", "hard", hard("1")).await;
    let both = json!({"spec": {"hard": {"limits.cpu": "7"}}, "status": {"hard": hard("3")}});
    let patched = root.patch(&status, "merge-patch", &both).await.expect(200);
    assert_eq!((&patched["status"]["hard"], &patched["spec"]["hard"]), (&hard("3"), &hard("1")));
    told(&root, "q", "hard", hard("1")).await;
    assert_eq!(root.get(&status).await.expect(200)["spec"]["hard"], hard("1"));
}

#[tokio::test]
async fn quotas_are_found_changed_and_removed_by_their_label() {
    let world = World::start().await;
    let root = world.root();
    let spec = json!({"hard": {"cpu": "1", "memory": "500Mi"}});
    root.post(QUOTAS, &quota("mine", spec.clone())).await.expect(201);
    root.post(QUOTAS, &quota("other", spec)).await.expect(201);
    let everywhere = "/api/v1/resourcequotas?labelSelector=test%3Dmine";
    let found = root.get(everywhere).await.expect(200);
    assert_eq!(
        (found["items"].as_array().map(Vec::len), &found["items"][0]["metadata"]["name"]),
        (Some(1), &json!("mine"))
    );
    let patch = json!({"metadata": {"labels": {"seen": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}});
    let patched = root.patch(&format!("{QUOTAS}/mine"), "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(
        (&patched["metadata"]["labels"]["seen"], &patched["spec"]["hard"]["memory"]),
        (&json!("patched"), &json!("750Mi"))
    );
    root.delete(&format!("{QUOTAS}?labelSelector=seen%3Dpatched")).await.expect(200);
    assert_eq!(root.get(everywhere).await.expect(200)["items"], json!([]));
    root.get(&format!("{QUOTAS}/other")).await.expect(200);
}
