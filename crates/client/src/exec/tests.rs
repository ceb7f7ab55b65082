//! Against a peer that speaks the node's side of the protocol over an in-memory stream.

use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::{Request, Response, StatusCode};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::{Body, BoxedIo, Client, Transport, UpgradeError, full_body};

type Peer = WebSocketStream<DuplexStream>;
type Script = fn(String, Peer) -> BoxFuture<'static, ()>;

struct Node {
    protocol: &'static str,
    script: Script,
}

impl Transport for Node {
    fn call(&self, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TransportError>> {
        Box::pin(async { Err(TransportError::Closed) })
    }

    fn upgrade(&self, request: Request<Body>) -> BoxFuture<'static, Result<(Response<()>, BoxedIo), UpgradeError>> {
        let (protocol, script) = (self.protocol, self.script);
        Box::pin(async move {
            if protocol.is_empty() {
                let body =
                    r#"{"kind":"Status","status":"Failure","message":"no such pod","reason":"NotFound","code":404}"#;
                let response = Response::builder().status(StatusCode::NOT_FOUND).body(full_body(body)).unwrap();
                return Err(UpgradeError::Refused(Box::new(response)));
            }
            let (near, far) = tokio::io::duplex(1 << 16);
            let uri = request.uri().to_string();
            tokio::spawn(async move {
                script(uri, WebSocketStream::from_raw_socket(far, Role::Server, None).await).await;
            });
            let response = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(request.headers()[SEC_WEBSOCKET_KEY].as_bytes()))
                .header(SEC_WEBSOCKET_PROTOCOL, protocol)
                .body(())
                .unwrap();
            Ok((response, Box::new(near) as BoxedIo))
        })
    }
}

fn client(protocol: &'static str, script: Script) -> Client {
    Client::new(Arc::new(Node { protocol, script }))
}

async fn say(peer: &mut Peer, channel: u8, data: &[u8]) {
    peer.send(Message::Binary(session::frame(channel, data))).await.unwrap();
}

/// Reads input until its end is told, returning it and the sizes told meanwhile.
async fn input(peer: &mut Peer) -> (Vec<u8>, Vec<String>) {
    let (mut all, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let Message::Binary(data) = peer.next().await.unwrap().unwrap() else { continue };
        match data[0] {
            0 => all.extend_from_slice(&data[1..]),
            4 => sizes.push(String::from_utf8(data[1..].to_vec()).unwrap()),
            255 => return (all, sizes),
            other => panic!("unexpected channel {other}"),
        }
    }
}

fn everything() -> StreamOptions {
    StreamOptions {
        command: vec!["sh".into(), "-c".into(), "a b&".into(), "".into()],
        stdin: true,
        stdout: true,
        stderr: true,
        ..StreamOptions::default()
    }
}

#[tokio::test]
async fn exec_carries_all_streams_the_end_of_input_and_the_exit_code() {
    let client = client("v5.channel.k8s.io", |uri, mut peer| {
        Box::pin(async move {
            assert_eq!(
                uri,
                "/api/v1/namespaces/shop/pods/web/exec?stdin=true&stdout=true&stderr=true\
                 &command=sh&command=-c&command=a%20b%26&command="
            );
            let (input, _) = input(&mut peer).await;
            say(&mut peer, 1, &input).await;
            say(&mut peer, 2, b"warning").await;
            let status = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
            say(&mut peer, 3, status).await;
            peer.close(None).await.unwrap();
        })
    });
    let mut session = exec(&client, "shop", "web", &everything()).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let text = vec![b'x'; 200_000];
    let sent = text.clone();
    tokio::spawn(async move {
        stdin.write_all(&sent).await.unwrap();
    });
    let mut output = Vec::new();
    session.stdout.read_to_end(&mut output).await.unwrap();
    assert!(output == text, "output is the input, whole");
    let mut errors = String::new();
    session.stderr.read_to_string(&mut errors).await.unwrap();
    assert_eq!(errors, "warning");
    assert_eq!(session.wait().await.unwrap(), Exit { code: 3 });
}

#[tokio::test]
async fn sizes_are_told() {
    let client = client("v5.channel.k8s.io", |_, mut peer| {
        Box::pin(async move {
            let size = loop {
                if let Message::Binary(data) = peer.next().await.unwrap().unwrap() {
                    break data;
                }
            };
            say(&mut peer, 1, &size).await;
            say(&mut peer, 3, br#"{"status":"Success"}"#).await;
            peer.close(None).await.unwrap();
        })
    });
    let mut session = attach(&client, "a", "b", &StreamOptions { tty: true, ..everything() }).await.unwrap();
    session.resize(TerminalSize { width: 120, height: 40 });
    let mut output = Vec::new();
    session.stdout.read_to_end(&mut output).await.unwrap();
    assert_eq!(output, [&[4], &br#"{"Height":40,"Width":120}"#[..]].concat());
    assert_eq!(session.wait().await.unwrap(), Exit { code: 0 });
}

#[tokio::test]
async fn a_connection_that_breaks_is_not_an_exit() {
    let client = client("v4.channel.k8s.io", |_, mut peer| {
        Box::pin(async move {
            say(&mut peer, 1, b"half").await;
            peer.close(None).await.unwrap();
        })
    });
    let mut session = exec(&client, "a", "b", &everything()).await.unwrap();
    let mut output = String::new();
    session.stdout.read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "half");
    assert!(matches!(session.wait().await, Err(StreamError::Cut)));
}

#[tokio::test]
async fn a_refusal_carries_the_servers_words() {
    let client = client("", |_, _| Box::pin(async {}));
    match exec(&client, "a", "b", &everything()).await {
        Err(StreamError::Refused(status)) => assert!(status.is_not_found() && status.message == "no such pod"),
        _ => panic!("expected a refusal"),
    }
}

#[tokio::test]
async fn a_forwarded_connection_carries_both_directions_and_half_closes() {
    let client = client("v5.channel.k8s.io", |uri, mut peer| {
        Box::pin(async move {
            assert_eq!(uri, "/api/v1/namespaces/a/pods/b/portforward?ports=80");
            for channel in [0, 1] {
                say(&mut peer, channel, &80_u16.to_le_bytes()).await;
            }
            let (request, _) = input(&mut peer).await;
            say(&mut peer, 0, &[b"got ", &request[..]].concat()).await;
            say(&mut peer, 255, &[0]).await;
            peer.close(None).await.unwrap();
        })
    });
    let mut forward = port_forward(&client, "a", "b", 80).await.unwrap();
    forward.stream.write_all(b"GET").await.unwrap();
    forward.stream.shutdown().await.unwrap();
    let mut answer = String::new();
    forward.stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "got GET");
    forward.wait().await.unwrap();
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_told() {
    let client = client("v4.channel.k8s.io", |_, mut peer| {
        Box::pin(async move {
            for channel in [0, 1] {
                say(&mut peer, channel, &80_u16.to_le_bytes()).await;
            }
            say(&mut peer, 1, b"connection refused").await;
            peer.close(None).await.unwrap();
        })
    });
    let mut forward = port_forward(&client, "a", "b", 80).await.unwrap();
    match forward.wait().await {
        Err(StreamError::Protocol(error)) => assert_eq!(error.to_string(), "connection refused"),
        other => panic!("expected the node's words, got {other:?}"),
    }
}
