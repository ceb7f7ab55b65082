//! Clients that hold connections and say nothing, or half of something.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::support::{World, within};

/// Reads until the server closes.
async fn ended(mut stream: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut answer = Vec::new();
    // Closed in good order or not, it is closed.
    let _ = within(stream.read_to_end(&mut answer)).await;
    answer
}

/// Half a head, its end in pieces that never come to an end.
async fn half_a_head(socket: PathBuf) {
    let mut stream = UnixStream::connect(socket).await.expect("a connection");
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: naru\r\nx-slow: ").await.expect("written");
    let (read, mut write) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while write.write_all(b"a").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    });
    assert_eq!(String::from_utf8_lossy(&ended(read).await), "", "nothing was asked");
    trickle.abort();
}

/// A connection that never begins to shake hands.
async fn no_handshake(address: SocketAddr) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    assert!(ended(stream).await.is_empty());
}

/// A connection that asks, waits for longer than a head may take, and asks again.
async fn a_pooled_one(socket: PathBuf, others: impl Future<Output = ()>) {
    let mut stream = UnixStream::connect(socket).await.expect("a connection");
    let request = b"GET /readyz HTTP/1.1\r\nhost: naru\r\n\r\n";
    let mut buffer = [0; 1024];
    stream.write_all(request).await.expect("written");
    let read = within(stream.read(&mut buffer)).await.expect("an answer");
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
    others.await;
    stream.write_all(request).await.expect("it is still open");
    let read = within(stream.read(&mut buffer)).await.expect("an answer");
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
}

/// HTTP/2 over TLS, where frames come and go also while nothing is asked.
async fn second_version(world: &World) -> SendRequest<Empty<Bytes>> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(world.authority.certificate().as_bytes()).expect("a certificate");
    roots.add(root).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(world.address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn healthy(sender: &mut SendRequest<Empty<Bytes>>) -> bool {
    let request = Request::get("https://localhost/readyz").body(Empty::new()).expect("a request");
    within(sender.send_request(request)).await.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test]
async fn who_dawdles_is_cut_off_and_who_waits_is_not() {
    let world = World::start().await;
    let slow = async {
        tokio::join!(half_a_head(world.socket()), no_handshake(world.address));
    };
    let mut second = second_version(&world).await;
    assert!(healthy(&mut second).await);
    a_pooled_one(world.socket(), slow).await;
    assert!(healthy(&mut second).await, "a connection with many streams has no heads of its own");
}

#[tokio::test]
async fn a_head_may_be_as_large_in_either_version_of_http() {
    let world = World::start().await;
    let mut second = second_version(&world).await;
    // What one read brings beyond the limit is taken over HTTP/1.
    for (length, taken) in [(100 << 10, true), (300 << 10, false)] {
        let token = "x".repeat(length);
        let mut stream = UnixStream::connect(world.socket()).await.expect("a connection");
        let head = format!("GET /readyz HTTP/1.1\r\nhost: naru\r\nconnection: close\r\nx-token: {token}\r\n\r\n");
        // Who is refused is not listened to until the end.
        let _ = within(stream.write_all(head.as_bytes())).await;
        let answer = String::from_utf8_lossy(&ended(stream).await).into_owned();
        assert_eq!(answer.starts_with("HTTP/1.1 200"), taken, "{length}: {answer}");
        let request = Request::get("https://localhost/readyz").header("x-token", token).body(Empty::new());
        let answer = within(second.send_request(request.expect("a request"))).await;
        assert_eq!(answer.is_ok_and(|answer| answer.status() == 200), taken, "{length}");
    }
}
