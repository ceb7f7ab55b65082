//! A server in a folder of its own, gone with its value.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use naru_apiserver::{ApiServer, Config, Listeners, Settings, StoreCodec, User};
use naru_client::{
    Body, BoxFuture, BoxedIo, ClientCertificate, DialError, HttpTransport, NodeDialer, TlsSettings, Transport,
    empty_body, full_body,
};
use naru_identity::{Authority, Sealer, TokenSigner};
use naru_store::{History, Options, Store};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything awaited may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server and everything that speaks to it.
pub struct World {
    pub dir: tempfile::TempDir,
    pub server: ApiServer,
    pub store: Store,
    pub authority: Arc<Authority>,
    pub address: SocketAddr,
    shutdown: CancellationToken,
    serving: Mutex<Option<JoinHandle<()>>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub code: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

/// Nodes that are all away.
pub struct NoNodes;

impl NodeDialer for NoNodes {
    fn dial(&self, node: &str) -> BoxFuture<'static, Result<BoxedIo, DialError>> {
        let node = node.to_owned();
        Box::pin(async move { Err(DialError::NotConnected { node }) })
    }
}

impl World {
    pub async fn start() -> World {
        World::with(Arc::new(NoNodes), History::default()).await
    }

    pub async fn with(dialer: Arc<dyn NodeDialer>, history: History) -> World {
        Self::with_settings(dialer, history, settings()).await
    }

    /// A server of a cluster with both families of addresses.
    pub async fn of_both_families() -> World {
        Self::of_services("10.43.0.0/16,fd00:43::/112").await
    }

    /// A server of a cluster whose services have these addresses.
    pub async fn of_services(ranges: &str) -> World {
        let settings = Settings { service_network: ranges.parse().expect("ranges"), ..settings() };
        Self::with_settings(Arc::new(NoNodes), History::default(), settings).await
    }

    /// A server that works on few requests at once.
    pub async fn with_seats(at_once: u32) -> World {
        Self::with_settings(Arc::new(NoNodes), History::default(), Settings { at_once, ..settings() }).await
    }

    pub async fn with_settings(dialer: Arc<dyn NodeDialer>, history: History, settings: Settings) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Arc::new(Authority::open_or_create(&dir.path().join("pki")).expect("an authority"));
        let sealer = Arc::new(Sealer::open_or_create(&dir.path().join("pki/seal.key")).expect("a sealer"));
        let mut options = Options::memory(Arc::new(StoreCodec::new(sealer.clone())));
        options.history = history;
        let store = Store::open(options).await.expect("a store");
        let server = serve_with(dir.path(), &store, &authority, sealer, dialer, settings).await;
        let listeners = Listeners {
            tls: Some(([127, 0, 0, 1], 0).into()),
            names: vec!["localhost".into(), "127.0.0.1".into()],
            unix: Some(dir.path().join("naru.sock")),
        };
        let bound = server.bind(&listeners).await.expect("listeners");
        let address = bound.address().expect("an address");
        let shutdown = CancellationToken::new();
        let serving = Mutex::new(Some(tokio::spawn(bound.serve(shutdown.clone()))));
        World { dir, server, store, authority, address, shutdown, serving }
    }

    /// Another server over the same store, as after a restart.
    pub async fn again(&self) -> ApiServer {
        serve(self.dir.path(), &self.store, &self.authority, Arc::new(NoNodes), settings()).await
    }

    /// As [`World::again`], started with other ranges of services' addresses.
    pub async fn again_of_services(&self, ranges: &str) -> ApiServer {
        let settings = Settings { service_network: ranges.parse().expect("ranges"), ..settings() };
        serve(self.dir.path(), &self.store, &self.authority, Arc::new(NoNodes), settings).await
    }

    /// Stops serving and waits until that is done.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        let serving = self.serving.lock().take().expect("served once");
        within(serving).await.expect("ended");
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("naru.sock")
    }

    /// The all-mighty, over the unix socket.
    pub fn root(&self) -> Caller {
        Caller { transport: Arc::new(HttpTransport::unix(self.socket())), headers: vec![] }
    }

    /// A user by certificate, over TLS.
    pub fn user(&self, name: &str, groups: &[&str]) -> Caller {
        let issued = self.authority.client_certificate(name, groups).expect("a certificate");
        let client = ClientCertificate { certificate: issued.certificate.into_bytes(), key: issued.key.into_bytes() };
        self.tls(Some(client))
    }

    /// Whoever has this certificate, over TLS.
    pub fn certified(&self, certificate: ClientCertificate) -> Caller {
        self.tls(Some(certificate))
    }

    /// Somebody without certificate, over TLS.
    pub fn anyone(&self) -> Caller {
        self.tls(None)
    }

    /// Somebody with a token, over TLS.
    pub fn bearer(&self, token: &str) -> Caller {
        let mut caller = self.anyone();
        caller.headers.push(("authorization", format!("Bearer {token}")));
        caller
    }

    /// A user inside the process.
    pub fn inside(&self, user: User) -> Caller {
        Caller { transport: self.server.transport(Arc::new(user)), headers: vec![] }
    }

    fn tls(&self, client: Option<ClientCertificate>) -> Caller {
        let settings =
            TlsSettings { authorities: self.authority.certificate().into(), client, ..TlsSettings::default() };
        let transport = HttpTransport::tcp(&format!("https://{}", self.address), &settings).expect("a transport");
        Caller { transport: Arc::new(transport), headers: vec![] }
    }
}

pub fn settings() -> Settings {
    Settings { advertise: Some(([192, 0, 2, 1], 6443).into()), ..Settings::default() }
}

async fn serve(
    dir: &Path,
    store: &Store,
    authority: &Arc<Authority>,
    dialer: Arc<dyn NodeDialer>,
    settings: Settings,
) -> ApiServer {
    let sealer = Arc::new(Sealer::open_or_create(&dir.join("pki/seal.key")).expect("a sealer"));
    serve_with(dir, store, authority, sealer, dialer, settings).await
}

/// A server that seals with what its store opens with.
async fn serve_with(
    dir: &Path,
    store: &Store,
    authority: &Arc<Authority>,
    sealer: Arc<Sealer>,
    dialer: Arc<dyn NodeDialer>,
    settings: Settings,
) -> ApiServer {
    let config = Config {
        store: store.clone(),
        registry: naru_api::Registry::builtin(),
        authority: authority.clone(),
        tokens: Arc::new(TokenSigner::open_or_create(&dir.join("pki/sa.key")).expect("a signer")),
        sealer,
        dialer,
        settings,
    };
    ApiServer::new(config).await.expect("a server")
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Sends requests as somebody.
#[derive(Clone)]
pub struct Caller {
    pub transport: Arc<dyn Transport>,
    pub headers: Vec<(&'static str, String)>,
}

impl Caller {
    pub fn with(&self, header: &'static str, value: &str) -> Caller {
        let mut caller = self.clone();
        caller.headers.retain(|(h, _)| *h != header);
        caller.headers.push((header, value.to_owned()));
        caller
    }

    pub fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a path");
        for (name, value) in &self.headers {
            request.headers_mut().append(*name, value.parse().expect("a header"));
        }
        request
    }

    pub async fn open(&self, path: &str) -> http::Response<Body> {
        let request = self.request(Method::GET, path, empty_body());
        within(self.transport.call(request)).await.expect("an answer")
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = self.request(method, path, full_body(body.into()));
        let response = within(self.transport.call(request)).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = within(body.collect()).await.expect("a body").to_bytes();
        Answer { code: parts.status, headers: parts.headers, bytes }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "").await
    }

    pub async fn patch(&self, path: &str, language: &str, body: &Value) -> Answer {
        let caller = self.with("content-type", &format!("application/{language}+json"));
        caller.send(Method::PATCH, path, body.to_string()).await
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("not JSON: {:?}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The document, if the answer has this code.
    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code.as_u16(), code, "{}", self.text());
        self.json()
    }

    /// The message of a refusal with this code.
    #[track_caller]
    pub fn refused(&self, code: u16) -> String {
        let status = self.expect(code);
        assert_eq!(status["kind"], "Status", "{status}");
        assert_eq!(status["code"], code, "{status}");
        status["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// Awaits with a deadline.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

pub fn config_map(name: &str, data: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub fn pod(name: &str) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]}})
}

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
