//! What a namespace may hold, what its pods may ask for, and which standard they keep.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, MAPS, PATIENCE, PODS, World, config_map, pod};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";

fn quota(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec})
}

/// Waits until the quota's status says that this is used.
async fn used(root: &Caller, name: &str, used: Value) {
    let path = format!("{QUOTAS}/{name}");
    let told = async {
        loop {
            let quota = root.get(&path).await.expect(200);
            if quota["status"]["used"] == used {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, told).await.is_err() {
        panic!("{used} was expected, seen last: {}", root.get(&path).await.text());
    }
}

fn asking(name: &str, cpu: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    pod
}

#[tokio::test]
async fn a_quota_is_never_overshot_and_gets_back_what_goes() {
    let world = World::start().await;
    let root = world.root();
    root.post(PODS, &asking("before", "1")).await.expect(201);
    root.post(QUOTAS, &quota("q", json!({"hard": {"pods": "4", "requests.cpu": "10"}}))).await.expect(201);
    used(&root, "q", json!({"pods": "1", "requests.cpu": "1"})).await;

    // Twenty at once, and three places.
    let made = join_all((0..20).map(|n| {
        let root = root.clone();
        async move { root.post(PODS, &asking(&format!("p{n}"), "1")).await }
    }))
    .await;
    let of = |code: u16| made.iter().filter(|answer: &&Answer| answer.code == code).count();
    assert_eq!((of(201), of(403)), (3, 17));
    let refused = made.iter().find(|answer| answer.code == 403).unwrap().refused(403);
    assert!(refused.contains("exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4"), "{refused}");
    used(&root, "q", json!({"pods": "4", "requests.cpu": "4"})).await;

    // A dry run is judged and pays nothing.
    root.post(&format!("{PODS}?dryRun=All"), &asking("more", "1")).await.refused(403);
    root.delete(&format!("{PODS}/before")).await.expect(200);
    used(&root, "q", json!({"pods": "3", "requests.cpu": "3"})).await;
    root.post(&format!("{PODS}?dryRun=All"), &asking("more", "1")).await.expect(201);
    let refused = root.post(PODS, &asking("large", "8")).await.refused(403);
    assert!(refused.contains("requested: requests.cpu=8, used: requests.cpu=3, limited: requests.cpu=10"), "{refused}");
    let refused = root.post(PODS, &pod("silent")).await.refused(403);
    assert!(refused.contains("failed quota: q: must specify requests.cpu for: web"), "{refused}");

    // What has ended takes no place.
    let ended = json!({"status": {"phase": "Succeeded"}});
    let running = root.get(PODS).await.expect(200);
    let name = running["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    root.patch(&format!("{PODS}/{name}/status"), "merge-patch", &ended).await.expect(200);
    used(&root, "q", json!({"pods": "2", "requests.cpu": "2"})).await;

    // Another limit holds at once; no quota, no limit.
    root.patch(&format!("{QUOTAS}/q"), "merge-patch", &json!({"spec": {"hard": {"pods": "2"}}})).await.expect(200);
    root.post(PODS, &asking("third", "1")).await.refused(403);
    root.delete(&format!("{QUOTAS}/q")).await.expect(200);
    root.post(PODS, &asking("third", "1")).await.expect(201);
}

#[tokio::test]
async fn everything_can_be_counted() {
    let world = World::start().await;
    let root = world.root();
    let hard =
        json!({"hard": {"configmaps": "3", "count/deployments.apps": "1", "services.nodeports": "1", "services": "5"}});
    root.post(QUOTAS, &quota("q", hard)).await.expect(201);
    // Every namespace has the cluster's certificate, and default the API's own service.
    let base = json!({"configmaps": "1", "count/deployments.apps": "0", "services": "1", "services.nodeports": "0"});
    used(&root, "q", base).await;
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    root.post(MAPS, &config_map("b", &[])).await.expect(201);
    root.post(MAPS, &config_map("c", &[])).await.refused(403);
    let service = |name: &str, kind: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": kind, "ports": [{"port": 80}]}})
    };
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    root.post(SERVICES, &service("one", "NodePort")).await.expect(201);
    root.post(SERVICES, &service("two", "ClusterIP")).await.expect(201);
    // A change may take more, too.
    let ports = json!({"spec": {"type": "NodePort"}});
    let refused = root.patch(&format!("{SERVICES}/two"), "merge-patch", &ports).await.refused(403);
    assert!(refused.contains("requested: services.nodeports=1, used: services.nodeports=1"), "{refused}");
    root.delete(&format!("{SERVICES}/one")).await.expect(200);
    let left = json!({"configmaps": "3", "count/deployments.apps": "0", "services": "2", "services.nodeports": "0"});
    used(&root, "q", left).await;
    root.patch(&format!("{SERVICES}/two"), "merge-patch", &ports).await.expect(200);
}

#[tokio::test]
async fn a_scoped_quota_is_about_some_pods() {
    let world = World::start().await;
    let root = world.root();
    root.post(QUOTAS, &quota("best", json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]}))).await.expect(201);
    root.post(QUOTAS, &quota("rest", json!({"hard": {"pods": "1"}, "scopes": ["NotBestEffort"]}))).await.expect(201);
    root.post(PODS, &pod("a")).await.expect(201);
    used(&root, "best", json!({"pods": "1"})).await;
    used(&root, "rest", json!({"pods": "0"})).await;
    root.post(PODS, &pod("b")).await.refused(403);
    root.post(PODS, &asking("b", "1")).await.expect(201);
    root.post(PODS, &asking("c", "1")).await.refused(403);
}

#[tokio::test]
async fn a_limit_range_fills_in_and_refuses() {
    let world = World::start().await;
    let root = world.root();
    let limits = json!([
        {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
    ]);
    let range =
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": limits}});
    root.post(RANGES, &range).await.expect(201);
    let made = root.post(PODS, &pod("plain")).await.expect(201);
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}}));
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container web; cpu limit for container web"
    );
    let mut large = asking("large", "2");
    large["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "2"});
    let refused = root.post(PODS, &large).await.refused(403);
    assert_eq!(refused, "pods \"large\" is forbidden: maximum cpu usage per Container is 1, but limit is 2");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}});
    let refused = root.post("/api/v1/namespaces/default/persistentvolumeclaims", &claim).await.refused(403);
    assert!(
        refused.contains("maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"),
        "{refused}"
    );
}

#[tokio::test]
async fn namespaces_say_which_standard_pods_keep() {
    let world = World::start().await;
    let root = world.root();
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    let namespace = "/api/v1/namespaces/default";
    let wrong = labels(json!({"pod-security.kubernetes.io/enforce": "strict"}));
    let refused = root.patch(namespace, "merge-patch", &wrong).await.refused(422);
    assert!(refused.contains("must be one of privileged, baseline, restricted"), "{refused}");

    let mut host = pod("host");
    host["spec"]["hostPID"] = true.into();
    root.post(PODS, &host).await.expect(201);
    let baseline = labels(
        json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}),
    );
    let changed = root.patch(namespace, "merge-patch", &baseline).await;
    changed.expect(200);
    let warning = changed.headers["warning"].to_str().unwrap();
    assert!(warning.contains("existing pods in namespace") && warning.contains("host"), "{warning}");

    host["metadata"]["name"] = "other".into();
    let refused = root.post(PODS, &host).await.refused(403);
    assert_eq!(
        refused,
        "pods \"other\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
    );
    let plain = root.post(PODS, &pod("plain")).await;
    plain.expect(201);
    assert!(plain.headers["warning"].to_str().unwrap().contains("would violate PodSecurity"));
    // A workload that makes such pods is told of, and made.
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": host["spec"]});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let made = root.post("/apis/apps/v1/namespaces/default/deployments", &deployment).await;
    made.expect(201);
    assert!(made.headers["warning"].to_str().unwrap().contains("host namespaces"));
    // What is there may still be labelled.
    root.patch(&format!("{PODS}/host"), "merge-patch", &labels(json!({"x": "y"}))).await.expect(200);
}
