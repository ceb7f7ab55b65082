//! Connections of the load: HTTP/1.1 over TLS with the administrator's certificate.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::host::Bench;

/// A request's body.
pub type Body = Full<Bytes>;
/// One connection: a request after the other.
pub type Connection = SendRequest<Body>;

/// Where an API is, and how to be let in.
pub struct Endpoint {
    tls: TlsConnector,
    address: String,
}

/// What a kubeconfig file says of an administrator, each in PEM.
pub struct Credentials {
    pub address: String,
    pub root: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl Credentials {
    /// As the host's kubeconfig says.
    pub fn of(bench: &Bench) -> Self {
        let text = std::fs::read_to_string(bench.host.kubeconfig()).expect("the kubeconfig file");
        let value =
            |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).expect(key).trim().to_owned();
        let pem = |key: &str| BASE64.decode(value(key)).expect("base64");
        Self {
            address: value("server: https://"),
            root: pem("certificate-authority-data:"),
            certificate: pem("client-certificate-data:"),
            key: pem("client-key-data:"),
        }
    }
}

impl Endpoint {
    /// The server that these belong to.
    pub fn of(credentials: &Credentials) -> Self {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&credentials.root) {
            // A file may begin with a server's own certificate, which is nobody's root.
            let _ = roots.add(root.expect("a certificate"));
        }
        let chain = vec![CertificateDer::from_pem_slice(&credentials.certificate).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(&credentials.key).expect("a key");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a TLS client");
        Self { tls: TlsConnector::from(Arc::new(config)), address: credentials.address.clone() }
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Connection {
        self.open().await.expect("a connection")
    }

    /// Whether it answers that it is ready.
    pub async fn is_ready(&self) -> bool {
        match self.open().await {
            Ok(mut connection) => answer(&mut connection, request(Method::GET, "/readyz", Bytes::new())).await.0 == 200,
            Err(_) => false,
        }
    }

    async fn open(&self) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = self.tls.connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// A request.
pub fn request(method: Method, path: &str, body: Bytes) -> Request<Body> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse::<Uri>().expect("a path");
    request.headers_mut().insert("host", "localhost".parse().expect("a header"));
    request.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    request
}

/// Status code and length of the answer to a request.
pub async fn answer(connection: &mut Connection, request: Request<Body>) -> (u16, usize) {
    connection.ready().await.expect("a connection");
    let response = connection.send_request(request).await.expect("an answer");
    let code = response.status().as_u16();
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.expect("a body").into_data().map_or(0, |data| data.len());
    }
    (code, length)
}
