//! What a node answers passes through, both ways.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use naru_apiserver::User;
use naru_client::{BoxFuture, BoxedIo, DialError, NodeDialer, empty_body};
use naru_store::History;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{PODS, World, pod, within};

/// A node that answers everything with its path, and echoes after an upgrade.
#[derive(Default)]
struct Node {
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl NodeDialer for Node {
    fn dial(&self, node: &str) -> BoxFuture<'static, Result<BoxedIo, DialError>> {
        if node != "n1" {
            let node = node.to_owned();
            return Box::pin(async move { Err(DialError::NotConnected { node }) });
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        let seen = self.seen.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, seen.clone()));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
            let _ = connection.with_upgrades().await;
        });
        Box::pin(async move { Ok(Box::new(near) as BoxedIo) })
    }
}

async fn answer(
    mut request: Request<Incoming>,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    seen.lock().push((line.clone(), request.headers().clone()));
    if !request.headers().contains_key("upgrade") {
        return Ok(Response::new(Full::new(line.into())));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgraded.await.expect("an upgrade"));
        let mut word = [0; 5];
        io.read_exact(&mut word).await.expect("a word");
        io.write_all(&word.map(|b| b.to_ascii_uppercase())).await.expect("an answer");
        io.shutdown().await.expect("an end");
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("connection", "Upgrade".parse().expect("a header"));
    response.headers_mut().insert("upgrade", "websocket".parse().expect("a header"));
    Ok(response)
}

async fn world() -> (World, Arc<Mutex<Vec<(String, HeaderMap)>>>) {
    let node = Node::default();
    let seen = node.seen.clone();
    let world = World::with(Arc::new(node), History::default()).await;
    for (name, node) in [("here", "n1"), ("away", "n2"), ("nowhere", "")] {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = node.into();
        world.root().post(PODS, &pod).await.expect(201);
    }
    let node = serde_json::json!({"metadata": {"name": "n1"}});
    world.root().post("/api/v1/nodes", &node).await.expect(201);
    (world, seen)
}

#[tokio::test]
async fn logs_come_from_the_pods_node() {
    let (world, seen) = world().await;
    let kim = world.user("kim", &["system:masters"]).with("x-remote-user", "root").with("cookie", "secret");
    let log = kim.get(&format!("{PODS}/here/log?follow=true&tailLines=3")).await;
    assert_eq!(log.text(), "GET /containerLogs/default/here/web?follow=true&tailLines=3");
    let (_, headers) = seen.lock()[0].clone();
    assert!(!headers.contains_key("cookie") && !headers.contains_key("x-remote-user") && headers["host"] == "n1");
    kim.get(&format!("{PODS}/here/log?container=nothing")).await.refused(400);
    kim.get(&format!("{PODS}/nowhere/log")).await.refused(400);
    kim.get(&format!("{PODS}/nothing/log")).await.refused(404);
}

#[tokio::test]
async fn a_node_that_is_away_is_named_with_the_pod() {
    let (world, _) = world().await;
    let message = world.root().get(&format!("{PODS}/away/log")).await.refused(503);
    assert!(message.contains("pod default/away") && message.contains("node n2"), "{message}");
}

#[tokio::test]
async fn a_nodes_own_pages_pass_with_method_path_and_query() {
    let (world, _) = world().await;
    let answer = world.root().send(Method::POST, "/api/v1/nodes/n1/proxy/images/load?quiet=1", "body").await;
    assert_eq!(answer.text(), "POST /images/load?quiet=1");
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_on_every_road() {
    let (world, seen) = world().await;
    let path = format!("{PODS}/here/exec?command=sh&command=-c&stdin=true&stdout=true");
    for caller in
        [world.root(), world.user("kim", &["system:masters"]), world.inside(User::new("in", &["system:masters"]))]
    {
        let caller = caller.with("connection", "Upgrade").with("upgrade", "websocket");
        let request = caller.request(Method::GET, &path, empty_body());
        let (_, mut io) = within(caller.transport.upgrade(request)).await.expect("an upgrade");
        within(io.write_all(b"hello")).await.expect("sent");
        let mut echoed = String::new();
        within(io.read_to_string(&mut echoed)).await.expect("received");
        assert_eq!(echoed, "HELLO");
    }
    let (line, _) = seen.lock()[0].clone();
    assert_eq!(line, "GET /exec/default/here/web?command=sh&command=-c&stdin=true&stdout=true&input=1&output=1");
}

#[tokio::test]
async fn running_something_is_a_right_of_its_own() {
    let (world, seen) = world().await;
    let root = world.root();
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let rules = serde_json::json!([{"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get", "list"]}]);
    root.post(&format!("{roles}/roles"), &serde_json::json!({"metadata": {"name": "r"}, "rules": rules}))
        .await
        .expect(201);
    let binding = serde_json::json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "kim"}]});
    root.post(&format!("{roles}/rolebindings"), &binding).await.expect(201);
    let kim = world.user("kim", &[]).with("connection", "Upgrade").with("upgrade", "websocket");
    let request = kim.request(Method::GET, &format!("{PODS}/here/exec?command=sh"), empty_body());
    within(kim.transport.upgrade(request)).await.err().expect("reading is not running");
    assert!(seen.lock().is_empty(), "the node was not asked");
    let may_run = serde_json::json!({"metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["create", "get"]}]});
    root.put(&format!("{roles}/roles/r"), &may_run).await.expect(200);
    for other in ["user=0", "privileged=true"] {
        let request = kim.request(Method::GET, &format!("{PODS}/here/exec?command=sh&{other}"), empty_body());
        within(kim.transport.upgrade(request)).await.err().expect("as the pod's author chose, or not at all");
        assert!(seen.lock().is_empty(), "the node was not asked");
    }
    let request = kim.request(Method::GET, &format!("{PODS}/here/exec?command=sh"), empty_body());
    within(kim.transport.upgrade(request)).await.expect("allowed");
}
