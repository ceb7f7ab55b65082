//! Many who wait, and those who never read.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use naru_store::History;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::unharmed;
use crate::support::{MAPS, NoNodes, World, config_map, within};

/// Watches on one connection; the server lets a thousand run at once.
const STREAMS: usize = 900;

/// An administrator's HTTP/2 connection.
async fn connection(world: &World) -> SendRequest<Empty<Bytes>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(world.authority.certificate().as_bytes()).expect("a root"))
        .expect("a root");
    let issued = world.authority.client_certificate("admin", &["system:masters"]).expect("a certificate");
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(world.address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn watch(sender: &mut SendRequest<Empty<Bytes>>, version: &str) -> Incoming {
    let url = format!("https://localhost{MAPS}?watch=1&labelSelector=idle%3Dno&resourceVersion={version}");
    let request = Request::get(url).body(Empty::new()).expect("a request");
    within(sender.ready()).await.expect("room for a request");
    let answer = within(sender.send_request(request)).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_watch_and_nobody_notices() {
    let count = if std::env::var_os("NARU_LONG").is_some() { 10_000 } else { 1_000 };
    let world = World::start().await;
    let root = world.root();
    let list = root.get(MAPS).await.expect(200);
    let version = list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let mut watches = Vec::new();
    while watches.len() < count {
        let mut sender = connection(&world).await;
        for _ in 0..STREAMS.min(count - watches.len()) {
            watches.push((watch(&mut sender, &version).await, sender.clone()));
        }
    }
    unharmed(&world).await;
    // Nothing of that was theirs; this is, and each of them hears of it.
    let mut awaited = config_map("awaited", &[]);
    awaited["metadata"]["labels"] = json!({"idle": "no"});
    root.post(MAPS, &awaited).await.expect(201);
    for (watch, _) in &mut watches {
        let frame = within(watch.frame()).await.expect("a frame").expect("a frame").into_data().expect("data");
        let event: serde_json::Value = serde_json::from_slice(&frame).expect("one event");
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("awaited")));
    }
    drop(watches);
    unharmed(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_holds_nothing() {
    let history = History { transactions: 50, ..History::default() };
    let world = World::with(Arc::new(NoNodes), history).await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    let mut silent = Vec::new();
    for _ in 0..10 {
        let mut stream = UnixStream::connect(world.socket()).await.expect("a connection");
        let request = format!("GET {MAPS}?watch=1 HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut first = [0; 15];
        within(stream.read_exact(&mut first)).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        silent.push(stream);
    }
    const CHANGES: usize = 400;
    let text = "x".repeat(100_000);
    for n in 0..CHANGES {
        let map = config_map("a", &[("n", &n.to_string()), ("text", &text)]);
        root.put(&format!("{MAPS}/a"), &map).await.expect(200);
    }
    unharmed(&world).await;
    for mut stream in silent {
        // Forty megabytes were written; what waits for this one is what a socket and one piece hold, then its end.
        let mut rest = Vec::new();
        within(stream.read_to_end(&mut rest)).await.expect("the end");
        assert!(rest.len() < CHANGES * text.len() / 4, "{} bytes were kept for it", rest.len());
        let tail = String::from_utf8_lossy(&rest[rest.len().saturating_sub(2_000)..]).into_owned();
        assert!(tail.contains("\"code\":410"), "{tail}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_delays_nobody() {
    let world = World::start().await;
    let root = world.root();
    let text = "x".repeat(200_000);
    for n in 0..25 {
        root.post(MAPS, &config_map(&format!("m{n}"), &[("text", &text)])).await.expect(201);
    }
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = UnixStream::connect(world.socket()).await.expect("a connection");
        let request = format!("GET {MAPS} HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut first = [0; 15];
        within(stream.read_exact(&mut first)).await.expect("an answer");
        slow.push(stream);
    }
    for _ in 0..5 {
        unharmed(&world).await;
    }
    // It is all there for whoever takes it after all.
    let mut rest = Vec::new();
    within(slow.remove(0).read_to_end(&mut rest)).await.expect("the rest");
    assert!(rest.len() > 25 * text.len(), "{}", rest.len());
}
