//! The node's HTTP interface with real containers behind it.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{
    life::{ready, script},
    machine::{Machine, Served, machine},
};

/// One request on a connection of its own.
pub async fn ask(agent: Served, method: Method, path: &str, body: Vec<u8>) -> Response<Incoming> {
    let (near, far) = tokio::io::duplex(64 << 10);
    agent.connect(Box::new(far));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder().method(method).uri(path).header("host", "node");
    if ["/exec", "/attach", "/portForward"].iter().any(|kind| path.starts_with(kind)) {
        request = request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "MDEyMzQ1Njc4OWFiY2RlZg==")
            .header("sec-websocket-protocol", "v5.channel.k8s.io");
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    // The connection lives until the body was read.
    tokio::spawn(async move {
        tokio::time::sleep(super::api::PATIENCE).await;
        drop(sender);
    });
    response
}

pub async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn open(machine: &Machine, path: &str) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
    let response = ask(machine.agent(), Method::GET, path, Vec::new()).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let io = hyper::upgrade::on(response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Client, None).await
}

/// Runs a command in a pod's container `c`: exit code and output.
pub async fn exec(machine: &Machine, pod: &str, command: &[&str]) -> (i64, String) {
    exec_with(machine, pod, command, None).await
}

async fn exec_with(machine: &Machine, pod: &str, command: &[&str], stdin: Option<&str>) -> (i64, String) {
    let escaped = |word: &&str| word.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let words: String = command.iter().map(|word| format!("&command={}", escaped(word))).collect();
    let input = if stdin.is_some() { "&stdin=true" } else { "" };
    let mut socket = open(machine, &format!("/exec/default/{pod}/c?stdout=true&stderr=true{input}{words}")).await;
    if let Some(text) = stdin {
        socket.send(Message::Binary([b"\0", text.as_bytes()].concat().into())).await.unwrap();
        socket.send(Message::Binary(Bytes::from_static(&[255, 0]))).await.unwrap();
    }
    let (mut out, mut code) = (Vec::new(), None);
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(data) = message else { continue };
        match data[0] {
            1 | 2 => out.extend_from_slice(&data[1..]),
            3 => {
                let status: Value = serde_json::from_slice(&data[1..]).unwrap();
                let cause = status["details"]["causes"][0]["message"].as_str().and_then(|code| code.parse().ok());
                code = Some(if status["status"] == "Success" { 0 } else { cause.unwrap_or(-1) });
            }
            _ => {}
        }
    }
    (code.expect("an exit is told"), String::from_utf8_lossy(&out).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_exec_files_and_counters_of_a_running_pod() {
    let Some(machine) = machine().await else { return };
    let spec = script("echo one; echo two >&2; trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done");
    machine.api.run("web", spec, json!({}));
    machine.api.until("web", "ready", ready).await;
    assert_eq!(exec(&machine, "web", &["sh", "-c", "echo out; exit 4"]).await, (4, "out\n".into()));
    assert_eq!(exec_with(&machine, "web", &["cat"], Some("fed")).await, (0, "fed".into()));
    assert_eq!(exec(&machine, "web", &["/nope"]).await.0, -1);
    let get = async |path: &str| ask(machine.agent(), Method::GET, path, Vec::new()).await;
    assert_eq!(text(get("/containerLogs/default/web/c?tailLines=1&stream=Stdout").await).await, "one\n");
    assert_eq!(get("/containerLogs/default/none/c").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get("/containerLogs/default/web/c?previous=true").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(text(get("/healthz").await).await, "ok");
    let stats: Value = serde_json::from_str(&text(get("/stats/default/web/c").await).await).unwrap();
    assert!(stats["memoryUsage"].as_u64().unwrap() > 0 && stats["pids"].as_u64().unwrap() > 0, "{stats}");
    let top: Value = serde_json::from_str(&text(get("/top/default/web/c").await).await).unwrap();
    assert!(top["processes"].as_array().unwrap().iter().any(|row| row[7].as_str().unwrap().contains("trap")), "{top}");
    let archive = get("/archive/default/web/c?path=/data/seed").await.into_body().collect().await.unwrap().to_bytes();
    copied_in_with_padding(&machine, archive).await;
    assert_eq!(exec(&machine, "web", &["cat", "/tmp/copied"]).await, (0, "from the image\n".into()));
    let images: Value = serde_json::from_str(&text(get("/images").await).await).unwrap();
    assert_eq!(images["images"][0]["tags"][0], "docker.io/library/box:1");
    let removed = ask(machine.agent(), Method::DELETE, "/images?name=box:1", Vec::new()).await;
    assert_eq!(removed.status(), StatusCode::CONFLICT, "in use");
    let followed = tokio::spawn(text(get("/containerLogs/default/web/c?follow=true&stream=Stdout").await));
    machine.api.delete("web", 5);
    assert_eq!(followed.await.unwrap(), "one\nbye\n", "the end of a log is not lost");
    machine.api.until_gone("web").await;
}

/// Programs that pack pad the end of an archive. Whoever is still sending that must not meet a closed connection, though
/// all files are there.
async fn copied_in_with_padding(machine: &Machine, archive: Bytes) {
    let (near, far) = tokio::io::duplex(64 << 10);
    machine.agent().connect(Box::new(far));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    let (padding, body) = tokio::sync::mpsc::channel::<Bytes>(1);
    padding.send(archive).await.unwrap();
    let frames = futures_util::stream::unfold(body, |mut body| async move {
        let bytes = body.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes)), body))
    });
    let path = "/archive/default/web/c?path=/tmp/copied&name=seed";
    let request = Request::builder().method(Method::PUT).uri(path).header("host", "node");
    let answer = sender.send_request(request.body(http_body_util::StreamBody::new(Box::pin(frames))).unwrap());
    let answer = tokio::spawn(answer);
    let deadline = std::time::Instant::now() + super::api::PATIENCE;
    while exec(machine, "web", &["test", "-f", "/tmp/copied"]).await.0 != 0 {
        assert!(std::time::Instant::now() < deadline, "the file does not come");
    }
    for _ in 0..16 {
        padding.send(vec![0; 64 << 10].into()).await.expect("somebody still listens");
    }
    drop(padding);
    assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_inside_the_pod_is_reached() {
    let Some(machine) = machine().await else { return };
    // The pod has no link at all: only its own loopback leads there.
    machine.api.run("web", script("exec nc -ll -p 8080 -e echo pong"), json!({}));
    machine.api.until("web", "ready", ready).await;
    let deadline = std::time::Instant::now() + super::api::PATIENCE;
    loop {
        let mut socket = open(&machine, "/portForward/default/web?ports=8080").await;
        let (mut data, mut errors) = (Vec::new(), Vec::new());
        while let Some(Ok(message)) = socket.next().await {
            let Message::Binary(bytes) = message else { continue };
            match bytes[0] {
                0 => data.extend_from_slice(&bytes[1..]),
                1 => errors.extend_from_slice(&bytes[1..]),
                other => panic!("a port has two channels, and clients know no other than those: {other}"),
            }
        }
        assert_eq!(data[..2], 8080u16.to_le_bytes());
        if &data[2..] == b"pong\n" {
            break;
        }
        assert!(String::from_utf8_lossy(&errors).contains("8080") || errors.len() == 2, "{errors:?}");
        assert!(std::time::Instant::now() < deadline, "nothing answers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_attaches_gets_the_first_words_or_is_refused() {
    let Some(machine) = machine().await else { return };
    let mut spec = script("echo first; read line; echo got $line");
    (spec["restartPolicy"], spec["containers"][0]["stdin"]) = (json!("Never"), json!(true));
    machine.api.run("talk", spec, json!({}));
    machine.until_log("talk", "c", "first").await;
    machine.api.until("talk", "ready", ready).await;
    let path = "/attach/default/talk/c?stdin=true&stdout=true&stderr=true";
    let mut socket = open(&machine, path).await;
    socket.send(Message::Binary(Bytes::from_static(b"\0it\n"))).await.unwrap();
    let mut out = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(data) = message
            && data[0] == 1
        {
            out.extend_from_slice(&data[1..]);
        }
    }
    assert_eq!(String::from_utf8_lossy(&out), "first\ngot it\n");
    machine.api.until("talk", "succeeded", |pod| pod["status"]["phase"] == "Succeeded").await;
    let refused = ask(machine.agent(), Method::GET, path, Vec::new()).await;
    assert_eq!(refused.status(), StatusCode::CONFLICT, "before any stream is agreed on");
}
