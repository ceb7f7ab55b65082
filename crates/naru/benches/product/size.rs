//! What a large cluster's objects cost the server: 100,000 pods as Deployments make them on 1,000 nodes, held by the
//! whole program with its controllers; the first byte of a list of them all; watches on which nothing happens.
//!
//! Nobody runs the nodes. Their pods tolerate that for ever, so nothing is moved and only the holding is measured.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::api::connection::{Connection, Credentials, Endpoint, answer, request};
use crate::api::server::Server;
use crate::host::Bench;
use crate::kubernetes::Kubernetes;
use crate::report;

const CONNECTIONS: usize = 64;
const NODES: usize = 1_000;
const LISTS: usize = 11;
const WATCHES: usize = 5_000;
/// After which controllers have seen everything.
const CALM: Duration = Duration::from_secs(15);

pub fn run() -> Option<()> {
    let bench = Bench::idle()?;
    bench.host.start_server();
    let credentials = Credentials::of(&bench);
    let server = Server(vec![bench.host.server_pid()?]);
    bench.host.inside(|| measure(Endpoint::of(&credentials), &server));
    drop(bench);
    let peer = Kubernetes::start(&credentials)?;
    report::note("kube-apiserver and etcd, in this run, with no controllers:");
    measure(peer.endpoint(), &peer.server());
    Some(())
}

fn measure(endpoint: Endpoint, server: &Server) {
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    executor.expect("an executor").block_on(weigh(&Arc::new(endpoint), server));
}

async fn weigh(endpoint: &Arc<Endpoint>, server: &Server) {
    own(endpoint).await;
    let pods = pods();
    report::value("resident, nothing in it", server.resident(), "MB", None);
    post(endpoint, NODES, "/api/v1/nodes", node).await;
    let begin = Instant::now();
    post(endpoint, pods, PODS_PATH, pod).await;
    report::rate("durable creates/s of such pods", pods as f64 / begin.elapsed().as_secs_f64(), "/s", None);
    let begin = Instant::now();
    settle(endpoint, pods).await;
    report::rate("durable patches/s of their status", pods as f64 / begin.elapsed().as_secs_f64(), "/s", None);
    report::value("resident, right after", server.resident(), "MB", None);
    tokio::time::sleep(CALM).await;
    report::value(&format!("resident, {pods} pods held"), server.resident(), "MB", Some(1_000.0));
    lists(endpoint, pods).await;
    report::value("resident, after the lists", server.resident(), "MB", Some(1_000.0));
    watches(endpoint, server).await;
}

/// How many pods there are: 100,000 unless `NARU_SIZE_PODS` says.
fn pods() -> usize {
    std::env::var("NARU_SIZE_PODS").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000)
}

const PODS_PATH: &str = "/api/v1/namespaces/default/pods";
const OWNER_PATH: &str = "/api/v1/namespaces/default/configmaps";

/// The identifier of what owns the pods: something that no controller counts, and that is there.
static OWNER: OnceLock<String> = OnceLock::new();

fn node(number: usize) -> Value {
    let resources = json!({"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "250"});
    json!({"kind": "Node", "apiVersion": "v1",
        "metadata": {"name": format!("n{number}"), "labels": {"kubernetes.io/hostname": format!("n{number}"),
            "topology.kubernetes.io/zone": format!("z{}", number % 3)}},
        "status": {"capacity": resources, "allocatable": resources}})
}

/// As a Deployment of a team makes them, bound to a node.
fn pod(number: usize) -> Value {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": 10});
    let app = format!("app-{}", number / 100);
    let owner =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "shop", "uid": OWNER.get(), "controller": true});
    let container = json!({"name": "main", "image": format!("registry.example.com/team/{app}:1.42.0"),
        "args": ["serve", "--listen=0.0.0.0:8080", "--log-format=json"],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "env": [{"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": app, "key": "database-url"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "RUST_LOG", "value": "info"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": probe("/ready"), "livenessProbe": probe("/live"),
        "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}]});
    let tolerate = |key: &str| json!({"key": key, "operator": "Exists"});
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": format!("{app}-6d4b75cb6d-{number:06}"), "ownerReferences": [owner],
            "labels": {"app.kubernetes.io/name": app, "app.kubernetes.io/part-of": "shop", "pod-template-hash": "6d4b75cb6d"}},
        "spec": {"nodeName": format!("n{}", number % NODES), "containers": [container],
            "tolerations": [tolerate("node.kubernetes.io/not-ready"), tolerate("node.kubernetes.io/unreachable")],
            "volumes": [{"name": "config", "configMap": {"name": app}}]}})
}

/// As a node tells it once the pod runs.
fn status(number: usize) -> Value {
    let time = "2026-01-02T03:04:05Z";
    let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": time});
    let conditions: Vec<Value> =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition).into();
    let address = format!("10.{}.{}.{}", 42 + number / 65_536, number / 256 % 256, number % 256);
    let digest = format!("{number:064x}");
    json!({"status": {"phase": "Running", "startTime": time, "podIP": address, "podIPs": [{"ip": address}],
        "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}], "qosClass": "Burstable", "conditions": conditions,
        "containerStatuses": [{"name": "main", "ready": true, "started": true, "restartCount": 0,
            "image": "registry.example.com/team/app:1.42.0", "imageID": format!("registry.example.com/team/app@sha256:{digest}"),
            "containerID": format!("naru://{digest}"), "state": {"running": {"startedAt": time}}, "lastState": {}}]}})
}

async fn own(endpoint: &Endpoint) {
    let mut connection = endpoint.connect().await;
    let owner = json!({"metadata": {"name": "shop"}}).to_string();
    let answer = connection.send_request(request(Method::POST, OWNER_PATH, owner.into())).await.expect("an answer");
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    let owner: Value = serde_json::from_slice(&body).expect("JSON");
    let _ = OWNER.set(owner["metadata"]["uid"].as_str().expect("an identifier").to_owned());
}

async fn post(endpoint: &Arc<Endpoint>, count: usize, path: &'static str, object: fn(usize) -> Value) {
    let make = move |number: usize| request(Method::POST, path, object(number).to_string().into());
    crowd(endpoint, count, make, 201).await;
}

async fn settle(endpoint: &Arc<Endpoint>, pods: usize) {
    let make = |number: usize| {
        let name = pod(number)["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let body = status(number).to_string().into();
        let mut request = request(Method::PATCH, &format!("{PODS_PATH}/{name}/status"), body);
        request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/merge-patch+json"));
        request
    };
    crowd(endpoint, pods, make, 200).await;
}

/// Sends so many requests over all connections.
async fn crowd<F>(endpoint: &Arc<Endpoint>, count: usize, make: F, expected: u16)
where
    F: Fn(usize) -> http::Request<crate::api::connection::Body> + Send + Sync + Copy + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let (mut connection, next) = (endpoint.connect().await, next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    return;
                }
                let request = make(number);
                let path = request.uri().clone();
                assert_eq!(answer(&mut connection, request).await.0, expected, "{path}");
            }
        }));
    }
    for task in tasks {
        task.await.expect("a connection's requests");
    }
}

async fn lists(endpoint: &Arc<Endpoint>, pods: usize) {
    let mut connection = endpoint.connect().await;
    let (mut first, mut whole, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..LISTS {
        let begin = Instant::now();
        let response = connection.send_request(request(Method::GET, PODS_PATH, Bytes::new())).await.expect("a list");
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.expect("a body").into_data().unwrap_or_default();
            if length == 0 && !data.is_empty() {
                first.push(begin.elapsed());
            }
            length += data.len();
        }
        whole.push(begin.elapsed());
        bytes = length;
        connection.ready().await.expect("a connection");
    }
    report::value("first byte of a list of them all, median", report::at(&first, 50), "ms", Some(20.0));
    let most = report::at(&first, 100);
    let note = format!("most {most:.1} ms of {LISTS}; the whole list {:.0} ms", report::at(&whole, 50));
    report::note(&format!("{note}, {:.0} MB, {} bytes a pod", bytes as f64 / 1e6, bytes / pods));
}

/// Watches of a collection in which nothing happens, each on a connection of its own.
async fn watches(endpoint: &Arc<Endpoint>, server: &Server) {
    let before = server.resident();
    let mut held = Vec::new();
    for _ in 0..WATCHES {
        held.push(idle(endpoint.connect().await).await);
    }
    tokio::time::sleep(CALM).await;
    let each = (server.resident() - before) * 1_048.576 / WATCHES as f64;
    report::value("an idle watch on a connection of its own", each, "kB", Some(20.0));
    drop(held);
}

async fn idle(mut connection: Connection) -> (Connection, hyper::body::Incoming) {
    let path = "/api/v1/namespaces/kube-public/configmaps?watch=1";
    let response = connection.send_request(request(Method::GET, path, Bytes::new())).await.expect("a watch");
    assert_eq!(response.status(), 200);
    (connection, response.into_body())
}
