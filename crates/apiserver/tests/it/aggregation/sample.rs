//! A server that extends the API, as small as one can be: it believes only who shows the front proxy's certificate, asks
//! back whether the user may, and keeps flunders in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use naru_apiserver::User;
use naru_identity::subject_of;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::support::{Caller, World};

pub const GROUP: &str = "wardle.example.com";
pub const HOME: &str = "/apis/wardle.example.com/v1alpha1";
pub const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";
pub const OBJECTS: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
pub const OBJECT: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.wardle.example.com";
const RECOGNISED_BY: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The server.
pub struct Sample {
    pub port: u16,
    /// Who vouches for it, as objects take it.
    pub authority: String,
    state: Arc<State>,
    serving: AbortHandle,
}

struct State {
    /// Names that the front proxy's certificate may have.
    names: Vec<String>,
    /// By which it asks who may what.
    delegator: Caller,
    flunders: Mutex<BTreeMap<String, Value>>,
    heard: Mutex<Vec<HeaderMap>>,
}

impl Drop for Sample {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Sample {
    pub async fn start(world: &World) -> Sample {
        let root = world.root();
        let delegator = User::service_account("wardle", "default", "u");
        let subject = json!({"kind": "ServiceAccount", "namespace": "wardle", "name": "default"});
        let reference =
            |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        let delegates = json!({"metadata": {"name": "wardle"}, "subjects": [subject],
            "roleRef": reference("ClusterRole", "system:auth-delegator")});
        root.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &delegates).await.expect(201);
        let reads = json!({"metadata": {"name": "wardle"}, "subjects": [subject],
            "roleRef": reference("Role", "extension-apiserver-authentication-reader")});
        root.post("/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings", &reads).await.expect(201);
        let delegator = world.inside(delegator);
        let recognised_by = delegator.get(RECOGNISED_BY).await.expect(200)["data"].clone();
        let text = |key: &str| recognised_by[key].as_str().expect("text").to_owned();
        assert!(text("client-ca-file").contains("BEGIN CERTIFICATE"));
        assert_eq!(text("requestheader-username-headers"), r#"["X-Remote-User"]"#);
        let names = serde_json::from_str(&text("requestheader-allowed-names")).expect("a list");
        let state = State { names, delegator, flunders: Mutex::default(), heard: Mutex::default() };
        let tls = tls(world, &text("requestheader-client-ca-file"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (port, state) = (listener.local_addr().expect("an address").port(), Arc::new(state));
        let theirs = state.clone();
        let serving = tokio::spawn(async move {
            // They end with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (TlsAcceptor::from(tls.clone()), theirs.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let shown = stream.get_ref().1.peer_certificates().and_then(|all| subject_of(all.first()?));
                    let shown = shown.map(|subject| subject.user);
                    let serve = service_fn(move |request| {
                        let (state, shown) = (state.clone(), shown.clone());
                        async move { Ok::<_, std::convert::Infallible>(state.answer(request, shown).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), serve).with_upgrades().await;
                });
            }
        });
        let authority = STANDARD.encode(world.authority.certificate());
        Sample { port, authority, state, serving: serving.abort_handle() }
    }

    /// The Service of the server and where it leads.
    pub async fn is_reached(&self, root: &Caller) {
        let service = json!({"metadata": {"name": "api"}, "spec": {"ports": [{"name": "web", "port": 7443}]}});
        root.post("/api/v1/namespaces/wardle/services", &service).await.expect(201);
        self.has_endpoint(root).await;
    }

    pub async fn has_endpoint(&self, root: &Caller) {
        let slice = json!({"addressType": "IPv4", "ports": [{"name": "web", "port": self.port, "protocol": "TCP"}],
            "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]});
        root.post("/apis/discovery.k8s.io/v1/namespaces/wardle/endpointslices", &slice).await.expect(201);
    }

    /// The object that puts it behind the API server.
    pub fn object(&self) -> Value {
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("v1alpha1.{GROUP}")},
            "spec": {"group": GROUP, "version": "v1alpha1", "groupPriorityMinimum": 17_750, "versionPriority": 200,
                "service": {"namespace": "wardle", "name": "api", "port": 7443}, "caBundle": self.authority}})
    }

    /// The headers of the requests about flunders since the last time.
    pub fn heard(&self) -> Vec<HeaderMap> {
        std::mem::take(&mut *self.state.heard.lock())
    }
}

/// For whoever reaches it as `api.wardle.svc`; certificates of clients must be the front proxy's, and may be missing.
fn tls(world: &World, front_proxy: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(front_proxy.as_bytes()).expect("PEM")).expect("an authority");
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let clients = clients.allow_unauthenticated().build().expect("a verifier");
    let issued = world.authority.server_certificate(&["api.wardle.svc".to_owned()]).expect("a certificate");
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    Arc::new(config.with_client_cert_verifier(clients).with_single_cert(chain, key).expect("a certificate"))
}

impl State {
    async fn answer(&self, mut request: Request<Incoming>, shown: Option<String>) -> Response<Body> {
        if !shown.is_some_and(|name| self.names.contains(&name)) {
            return text(StatusCode::UNAUTHORIZED, "who says so?");
        }
        let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
        if let Some(below) = path.strip_prefix(FLUNDERS) {
            self.heard.lock().push(headers.clone());
            if !self.may(&request).await {
                return text(StatusCode::FORBIDDEN, "not you");
            }
            let upgrade = headers.contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
            if let Some(upgrade) = upgrade {
                tokio::spawn(async move {
                    let (read, write) = tokio::io::split(TokioIo::new(upgrade.await.expect("an upgrade")));
                    let (mut read, mut write) = (read, write);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
                let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
                response.headers_mut().insert("upgrade", headers["upgrade"].clone());
                response.headers_mut().insert("connection", "upgrade".parse().expect("a header"));
                return response;
            }
            let name = below.trim_matches('/').to_owned();
            return self.flunders(request, &name).await;
        }
        let accepts = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
        document(&path, accepts.contains("APIGroupDiscoveryList"))
    }

    /// Asks the API server back.
    async fn may(&self, request: &Request<Incoming>) -> bool {
        let headers = request.headers();
        let of = |name: &str| -> Vec<String> {
            headers.get_all(name).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
        };
        let verb = if *request.method() == Method::POST { "create" } else { "get" };
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": of("x-remote-user")[0], "groups": of("x-remote-group"),
                "resourceAttributes": {"group": GROUP, "version": "v1alpha1", "resource": "flunders", "verb": verb,
                    "namespace": "default"}}});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        self.delegator.post(path, &review).await.expect(201)["status"]["allowed"] == true
    }

    async fn flunders(&self, request: Request<Incoming>, name: &str) -> Response<Body> {
        let kind = json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": "Flunder"});
        match *request.method() {
            Method::POST => {
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let mut flunder: Value = serde_json::from_slice(&body).expect("JSON");
                (flunder["apiVersion"], flunder["kind"]) = (kind["apiVersion"].clone(), kind["kind"].clone());
                let name = flunder["metadata"]["name"].as_str().expect("a name").to_owned();
                self.flunders.lock().insert(name, flunder.clone());
                json_response(StatusCode::CREATED, &flunder)
            }
            Method::GET if request.uri().query().is_some_and(|query| query.contains("watch=true")) => {
                let events: Vec<Value> =
                    self.flunders.lock().values().map(|f| json!({"type": "ADDED", "object": f})).collect();
                let events = futures_util::stream::iter(
                    events
                        .into_iter()
                        .map(|event| Ok::<_, std::io::Error>(Frame::data(Bytes::from(format!("{event}\n"))))),
                );
                Response::new(StreamBody::new(events.chain(futures_util::stream::pending())).boxed_unsync())
            }
            Method::GET if name.is_empty() => {
                let items: Vec<Value> = self.flunders.lock().values().cloned().collect();
                let list =
                    json!({"apiVersion": kind["apiVersion"], "kind": "FlunderList", "metadata": {}, "items": items});
                json_response(StatusCode::OK, &list)
            }
            Method::GET => match self.flunders.lock().get(name) {
                Some(flunder) => json_response(StatusCode::OK, flunder),
                None => text(StatusCode::NOT_FOUND, "no such flunder"),
            },
            Method::DELETE => {
                self.flunders.lock().remove(name);
                json_response(StatusCode::OK, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "no"),
        }
    }
}

fn document(path: &str, aggregated: bool) -> Response<Body> {
    let verbs = json!(["create", "delete", "get", "list", "watch"]);
    let of_kind = json!({"group": GROUP, "version": "v1alpha1", "kind": "Flunder"});
    let value = match path {
        "/apis" if aggregated => json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
            "items": [{"metadata": {"name": GROUP}, "versions": [{"version": "v1alpha1", "resources": [
                {"resource": "flunders", "responseKind": of_kind, "scope": "Namespaced", "singularResource": "flunder",
                    "verbs": verbs}]}]}]}),
        HOME => json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/v1alpha1"),
            "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                "verbs": verbs}]}),
        "/openapi/v3" => json!({"paths": {"apis/wardle.example.com/v1alpha1":
            {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=ABC"}}}),
        "/openapi/v3/apis/wardle.example.com/v1alpha1" => json!({"openapi": "3.0.0", "info": {"title": "wardle"}}),
        "/openapi/v2" => json!({"swagger": "2.0", "info": {"title": "wardle", "version": "1"},
            "paths": {FLUNDERS.replace("default", "{namespace}"): {"get": {"operationId": "listFlunders",
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/wardle.Flunder"}}}}},
                "/version/": {"get": {"operationId": "theirs"}}},
            "definitions": {"wardle.Flunder": {"type": "object"}, "wardle.Unused": {"type": "object"}}}),
        _ => return text(StatusCode::NOT_FOUND, "nothing there"),
    };
    json_response(StatusCode::OK, &value)
}

fn json_response(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = text(code, &value.to_string());
    response.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    response
}

fn text(code: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response
}
