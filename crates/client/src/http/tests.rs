//! Against a real hyper server on a real socket.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::{Client, full_body};

/// Answers with what it saw; echoes what comes after an upgrade.
async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.headers().contains_key(UPGRADE) && request.uri().path() == "/upgrade" {
        tokio::spawn(async move {
            let io = hyper::upgrade::on(&mut request).await.unwrap();
            let (mut read, mut write) = tokio::io::split(TokioIo::new(io));
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("echo"));
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        return Ok(response);
    }
    let token = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let seen = format!(
        "{:?} {} {} {}",
        request.version(),
        request.method(),
        request.uri().path_and_query().unwrap(),
        token.unwrap_or_default()
    );
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut response = Response::new(Full::from(format!("{seen}|{}", String::from_utf8_lossy(&body))));
    if seen.contains("/missing") {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

fn serve(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    tokio::spawn(async move {
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection_with_upgrades(TokioIo::new(io), service_fn(answer)).await;
    });
}

async fn text(transport: &HttpTransport, path: &str, body: &'static str) -> String {
    let client = Client::new(Arc::new(transport.clone()));
    let answer = client.send(Method::POST, path, Some("text/plain"), full_body(body)).await.unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

/// Answers at a unix socket, for ever.
pub(super) fn answering(path: &std::path::Path) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            serve(io);
        }
    });
}

fn upgrade_request(path: &str) -> Request<Body> {
    Request::builder()
        .uri(path)
        .header(UPGRADE, "echo")
        .header(CONNECTION, "Upgrade")
        .body(crate::empty_body())
        .unwrap()
}

async fn echoes(transport: &HttpTransport) {
    let (_, mut io) = transport.upgrade(upgrade_request("/upgrade")).await.unwrap();
    io.write_all(b"ferry").await.unwrap();
    let mut back = [0; 5];
    io.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ferry");
}

#[tokio::test]
async fn a_unix_socket_carries_requests_over_one_kept_connection_and_upgrades() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            serve(io);
        }
    });
    let transport = HttpTransport::unix(&path);
    for _ in 0..3 {
        assert_eq!(text(&transport, "/a?b=c", "hi").await, "HTTP/1.1 POST /a?b=c |hi");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1, "requests one after another share a connection");
    echoes(&transport).await;
    match transport.upgrade(upgrade_request("/missing")).await {
        Err(UpgradeError::Refused(response)) => assert_eq!(response.status(), StatusCode::NOT_FOUND),
        _ => panic!("an answer other than 101 is a refusal"),
    }
}

#[tokio::test]
async fn tls_negotiates_http2_authenticates_both_sides_and_still_upgrades() {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca_params = rcgen::CertificateParams::new(vec![]).unwrap();
    ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca_params, ca_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (server_certificate, server_key) = issue("localhost");
    let (client_certificate, client_key) = issue("client");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(server_certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(server_key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            if let Ok(io) = acceptor.accept(io).await {
                serve(io);
            }
        }
    });

    let url = format!("https://127.0.0.1:{port}");
    let mut tls = TlsSettings {
        authorities: ca.pem().into_bytes(),
        client: Some(ClientCertificate { certificate: client_certificate.into(), key: client_key.into() }),
        server_name: Some("localhost".into()),
        verifier: None,
    };
    let transport = HttpTransport::tcp(&url, &tls).unwrap().with_token("secret\n").unwrap();
    assert_eq!(text(&transport, "/a", "hi").await, "HTTP/2.0 POST /a Bearer secret|hi");
    echoes(&transport).await;

    tls.server_name = Some("elsewhere".into());
    let stranger = HttpTransport::tcp(&url, &tls).unwrap();
    let refused = stranger.call(Request::new(crate::empty_body())).await;
    assert!(matches!(refused, Err(TransportError::Connect { .. })), "a certificate for another name is refused");
}

#[tokio::test]
async fn a_dead_address_is_named() {
    let transport = HttpTransport::unix("/nonexistent/naru.sock");
    let error = transport.call(Request::new(crate::empty_body())).await.unwrap_err();
    assert!(matches!(&error, TransportError::Connect { address, .. } if address == "unix:/nonexistent/naru.sock"));
}

#[test]
fn unusable_addresses_are_refused() {
    for url in ["localhost", "ftp://x", "https://"] {
        let refused = HttpTransport::tcp(url, &TlsSettings::default());
        assert!(matches!(refused, Err(TransportError::Settings { .. })), "{url}");
    }
}
