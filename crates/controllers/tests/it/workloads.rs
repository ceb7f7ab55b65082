//! Workloads from their creation to their pods and endpoints.

use std::time::Instant;

use naru_client::{DeleteOptions, PatchKind};
use serde_json::{Value, json};

use crate::support::{World, deployments, is_leaving, is_ready, pods, replica_sets, resource};

pub fn web(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "v1", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
            },
        },
    })
}

fn available(count: i64) -> impl Fn(&Value) -> bool {
    move |object| {
        object["status"]["availableReplicas"] == count
            && object["status"]["replicas"] == count
            && object["status"]["observedGeneration"] == object["metadata"]["generation"]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_scales_heals_and_rolls() {
    let world = World::start().await;
    world.create(deployments(), web(1)).await;
    world.until(&deployments(), "default", "web", available(1)).await;

    let began = Instant::now();
    let api = world.client.dynamic(deployments(), Some("default"));
    api.patch("web", PatchKind::Merge, &json!({ "spec": { "replicas": 50 } })).await.unwrap();
    let pods_now = world.until_pods(|pods| pods.iter().filter(|pod| is_ready(pod)).count() == 50).await;
    eprintln!("1 -> 50 ready: {:?}", began.elapsed());
    world.until(&deployments(), "default", "web", available(50)).await;
    let mut numbers: Vec<u32> = pods_now
        .iter()
        .map(|pod| pod["metadata"]["labels"]["naru.io/ordinal"].as_str().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>(), "every number once: nothing was created twice");

    let victim = pods_now[7]["metadata"]["name"].as_str().unwrap();
    let began = Instant::now();
    world.client.dynamic(pods(), Some("default")).delete(victim, &DeleteOptions::default().grace(0)).await.unwrap();
    world
        .until_pods(|pods| {
            pods.iter().filter(|pod| is_ready(pod)).count() == 50
                && pods.iter().all(|pod| pod["metadata"]["name"] != victim)
        })
        .await;
    eprintln!("deleted pod replaced: {:?}", began.elapsed());

    api.patch("web", PatchKind::Merge, &json!({ "spec": { "replicas": 5 } })).await.unwrap();
    world.until_pods(|pods| pods.len() == 5).await;
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": "v2" }] } } } });
    api.patch("web", PatchKind::Strategic, &image).await.unwrap();
    world
        .until_pods(|pods| {
            pods.len() == 5 && pods.iter().all(|pod| is_ready(pod) && pod["spec"]["containers"][0]["image"] == "v2")
        })
        .await;
    // The counts alone were the same before the roll: the condition tells that it is over.
    let rolled = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        object["status"]["updatedReplicas"] == 5
            && conditions.iter().any(|condition| condition["reason"] == "NewReplicaSetAvailable")
    };
    let done = world.until(&deployments(), "default", "web", |it| available(5)(it) && rolled(it)).await;
    assert_eq!(done["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    let sets = world.client.dynamic(replica_sets(), Some("default")).list(&Default::default()).await.unwrap();
    assert_eq!(sets.items.len(), 2, "the former template is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_leads_to_its_ready_pods() {
    let world = World::start().await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "default" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": "http" }] },
    });
    world.create(resource("", "Service", "services", true), service).await;
    world.create(deployments(), web(3)).await;
    let endpoints = resource("", "Endpoints", "endpoints", true);
    let ready = |count: usize| {
        move |object: &Value| object["subsets"][0]["addresses"].as_array().is_some_and(|list| list.len() == count)
    };
    let full = world.until(&endpoints, "default", "web", ready(3)).await;
    assert_eq!(full["subsets"][0]["ports"][0]["port"], 8080);
    let slices =
        world.client.dynamic(resource("discovery.k8s.io", "EndpointSlice", "endpointslices", true), Some("default"));
    let of_web = naru_client::ListOptions::labels("kubernetes.io/service-name=web");
    let list = slices.list(&of_web).await.unwrap().items;
    assert_eq!(list.len(), 1, "one slice for three pods");
    let name = list[0]["metadata"]["name"].as_str().unwrap();
    let holds =
        |count: usize| move |slice: &Value| slice["endpoints"].as_array().is_some_and(|list| list.len() == count);
    world.until(slices.resource(), "default", name, holds(3)).await;
    let api = world.client.dynamic(deployments(), Some("default"));
    api.patch("web", PatchKind::Merge, &json!({ "spec": { "replicas": 1 } })).await.unwrap();
    world.until(&endpoints, "default", "web", ready(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_not_ready_holds_a_rollout_up() {
    let world = World::start().await;
    world.create(deployments(), web(3)).await;
    world.until(&deployments(), "default", "web", available(3)).await;
    let api = world.client.dynamic(deployments(), Some("default"));
    let held = json!({ "spec": { "template": { "metadata": { "annotations": { "test/hold": "yes" } } } } });
    api.patch("web", PatchKind::Merge, &held).await.unwrap();
    let stuck = world.until(&deployments(), "default", "web", |object| object["status"]["updatedReplicas"] == 1).await;
    assert_eq!(stuck["status"]["availableReplicas"], 3, "a quarter of three rounds down: none may be missing");
    let undo = json!({ "spec": { "template": { "metadata": { "annotations": null } } } });
    api.patch("web", PatchKind::Merge, &undo).await.unwrap();
    world.until_pods(|pods| pods.len() == 3 && pods.iter().all(|pod| is_ready(pod) && !is_leaving(pod))).await;
    let back = world.until(&deployments(), "default", "web", |object| object["status"]["updatedReplicas"] == 3).await;
    assert_eq!(back["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_counts_what_succeeds_and_completes() {
    let world = World::start().await;
    let jobs = resource("batch", "Job", "jobs", true);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "sum", "namespace": "default" },
        "spec": { "completions": 6, "parallelism": 3, "template": {
            "metadata": { "annotations": { "test/outcome": "Succeeded" } },
            "spec": { "containers": [{ "name": "c", "image": "v1" }], "restartPolicy": "Never" },
        } },
    });
    world.create(jobs.clone(), job).await;
    let complete = |job: &Value| {
        let conditions = job["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Complete" && condition["status"] == "True")
    };
    let done = world.until(&jobs, "default", "sum", complete).await;
    assert_eq!((&done["status"]["succeeded"], done["status"].get("active")), (&json!(6), None));
    assert_eq!(world.pods.len(), 6, "each completion ran once");
    world.client.dynamic(jobs.clone(), Some("default")).delete("sum", &DeleteOptions::default()).await.unwrap();
    world.until(&jobs, "default", "sum", Value::is_null).await;
    world.until_pods(<[Value]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_runs_on_the_node_and_a_stateful_set_has_its_volumes() {
    let world = World::start().await;
    let template =
        json!({ "metadata": { "labels": { "app": "x" } }, "spec": { "containers": [{ "name": "c", "image": "v1" }] } });
    let selector = json!({ "matchLabels": { "app": "x" } });
    let daemons = resource("apps", "DaemonSet", "daemonsets", true);
    world
        .create(
            daemons.clone(),
            json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "ds", "namespace": "default" },
                "spec": { "selector": selector, "template": template },
            }),
        )
        .await;
    world.until(&daemons, "default", "ds", |set| set["status"]["numberAvailable"] == 1).await;
    let sets = resource("apps", "StatefulSet", "statefulsets", true);
    world.create(sets.clone(), json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "db", "namespace": "default" },
        "spec": {
            "replicas": 2, "serviceName": "db", "selector": selector, "template": template,
            "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } }],
        },
    })).await;
    world.until(&sets, "default", "db", |set| set["status"]["readyReplicas"] == 2).await;
    let claims = resource("", "PersistentVolumeClaim", "persistentvolumeclaims", true);
    let claim = world.until(&claims, "default", "data-db-1", |claim| claim["status"]["phase"] == "Bound").await;
    let volumes = resource("", "PersistentVolume", "persistentvolumes", false);
    let name = claim["spec"]["volumeName"].as_str().unwrap();
    let volume = world.until(&volumes, "", name, |volume| volume["status"]["phase"] == "Bound").await;
    assert_eq!(volume["metadata"]["finalizers"], json!(["naru.io/local-data"]));
    let api = world.client.dynamic(claims.clone(), Some("default"));
    api.delete("data-db-1", &DeleteOptions::default()).await.unwrap();
    let held = api.get("data-db-1").await.unwrap();
    assert!(is_leaving(&held), "a pod uses it");
    world.client.dynamic(sets, Some("default")).delete("db", &DeleteOptions::default()).await.unwrap();
    // It stays until its node has said that the data is erased.
    let on = |volume: &Value| volume["metadata"]["labels"]["naru.io/erase-on"] == "n1" && is_leaving(volume);
    world.until(&volumes, "", name, on).await;
    let erased = json!({ "metadata": { "finalizers": null } });
    world.client.dynamic(volumes.clone(), None).patch(name, PatchKind::Merge, &erased).await.unwrap();
    world.until(&volumes, "", name, Value::is_null).await;
    let claim = world.until(&claims, "default", "data-db-0", |claim| claim["status"]["phase"] == "Bound").await;
    // A node that is removed has no duty any more.
    let name = claim["spec"]["volumeName"].as_str().unwrap();
    api.delete("data-db-0", &DeleteOptions::default()).await.unwrap();
    world.until(&volumes, "", name, on).await;
    let nodes = world.client.dynamic(resource("", "Node", "nodes", false), None);
    nodes.delete("n1", &DeleteOptions::default()).await.unwrap();
    world.until(&volumes, "", name, Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_why_until_there_is_room() {
    let world = World::start().await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "big", "namespace": "default" },
        "spec": { "containers": [{ "name": "c", "image": "v1", "resources": { "requests": { "cpu": "100" } } }] },
    });
    world.create(pods(), pod).await;
    let scheduled = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        conditions.iter().find(|condition| condition["type"] == "PodScheduled").cloned().unwrap_or_default()
    };
    let waiting = world.until(&pods(), "default", "big", |pod| scheduled(pod)["reason"] == "Unschedulable").await;
    let message = scheduled(&waiting)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("0/1 nodes are available") && message.contains("Insufficient cpu"), "{message}");
    let more = json!({ "status": { "allocatable": { "cpu": "128" } } });
    let nodes = world.client.dynamic(resource("", "Node", "nodes", false), None);
    nodes.patch_subresource("n1", "status", PatchKind::Merge, &more).await.unwrap();
    world.until(&pods(), "default", "big", |pod| pod["spec"]["nodeName"] == "n1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_created_is_told_beside_its_owner() {
    let world = World::start().await;
    let mut broken = web(1);
    // Valid in a template, but not as a pod: the service account does not exist.
    broken["spec"]["template"]["spec"]["serviceAccountName"] = "nobody".into();
    world.create(deployments(), broken).await;
    let events = world.client.dynamic(resource("", "Event", "events", true), Some("default"));
    let told = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            let list = events.list(&Default::default()).await.unwrap().items;
            if let Some(event) = list.into_iter().find(|event| event["reason"] == "FailedCreate") {
                return event;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("an event");
    let failing = |web: &Value| {
        let conditions = web["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True")
    };
    world.until(&deployments(), "default", "web", failing).await;
    assert_eq!(told["involvedObject"]["kind"], "ReplicaSet");
    assert!(told["message"].as_str().unwrap().contains("nobody"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_allows_what_it_can_spare() {
    let world = World::start().await;
    let budgets = resource("policy", "PodDisruptionBudget", "poddisruptionbudgets", true);
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web", "namespace": "default" },
        "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "web" } } },
    });
    world.create(budgets.clone(), budget).await;
    world.create(deployments(), web(3)).await;
    let allowed = |count: i64| move |budget: &Value| budget["status"]["disruptionsAllowed"] == count;
    world.until(&budgets, "default", "web", allowed(1)).await;
    let api = world.client.dynamic(deployments(), Some("default"));
    api.patch("web", PatchKind::Merge, &json!({ "spec": { "replicas": 2 } })).await.unwrap();
    world.until(&budgets, "default", "web", allowed(0)).await;
    let victim = world.pods.list()[0].key.name.to_string();
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": victim, "namespace": "default" } });
    let pods = world.client.dynamic(pods(), Some("default"));
    let refused = pods.create_subresource(&victim, "eviction", &eviction).await.unwrap_err();
    assert_eq!(refused.code(), Some(429), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_count_their_pods() {
    let world = World::start().await;
    let networks = resource("naru.io", "Network", "networks", false);
    let network =
        json!({ "apiVersion": "naru.io/v1", "kind": "Network", "metadata": { "name": "shop-default" }, "spec": {} });
    world.create(networks.clone(), network).await;
    let mut web = web(2);
    web["spec"]["template"]["metadata"]["annotations"] = json!({ "naru.io/networks": r#"[{"name":"shop-default"}]"# });
    world.create(deployments(), web).await;
    world.until(&networks, "", "shop-default", |network| network["status"]["members"] == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_that_stopped_are_told() {
    let world = World::start().await;
    let pulse = world.controllers.pulse();
    assert!(pulse.stopped(true).is_empty() && pulse.stopped(false).is_empty());
    world.stop();
    let all = world.controllers.status().len();
    let ended = async {
        while pulse.stopped(true) != ["scheduler"] || pulse.stopped(false).len() != all - 1 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.expect("all end");
}
