//! Requests that a node answers: logs, exec, attach, port-forward, its own pages; and pods' and services' HTTP.
//!
//! The server judges the right, finds who answers, and from then on only copies: bytes of bodies, and after an upgrade
//! bytes in both directions. WebSocket and SPDY are the node's business.

mod frames;
mod options;

use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use naru_api::{Status, Subresource, meta};
use naru_client::{Body, BoxedIo};
use naru_store::Snapshot;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::admission::chain::{self, Operation, Options, Review};
use crate::call::Call;
use crate::object;
use crate::passage::Held;
use crate::wire::body::RequestBody;
use crate::wire::payload::Payload;
use crate::wire::query::Query;

/// How long reaching the other side may take.
const DIAL: Duration = Duration::from_secs(10);

/// Headers about one connection, and such as are for this server only.
pub(crate) const NOT_FORWARDED: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
];

/// Who answers, and under which path.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// For messages: `pod shop/web`.
    what: String,
    to: To,
    path: String,
}

#[derive(Debug, PartialEq, Eq)]
enum To {
    Node(String),
    Address(String),
}

/// Forwards a request.
///
/// # Errors
/// 404 and 400 when there is nobody to forward to; 503 when that one is away.
pub(crate) async fn answer(
    call: &Call<'_>,
    subresource: Subresource,
    body: RequestBody,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Payload>, Status> {
    let key = call.route.key(call.namespace(), object_name(call, subresource));
    let snapshot = call.core.store.snapshot();
    let entry = snapshot.get(&key).ok_or_else(|| Status::not_found(&call.route.kind, key.name()))?;
    let changed = admit(call, subresource, &snapshot).await?;
    let query = Query::parse(changed.as_deref())?;
    let asked = match &changed {
        Some(changed) => Asked { query: &query, raw: Some(changed.as_str()) },
        None => Asked { query: call.query, raw: call.raw_query },
    };
    let target = target(call, &asked, subresource, &object::parse(&entry.served))?;
    let io = dial(call, &target).await?;
    forward(call, target, io, body, upgrade).await
}

/// What is asked of the other side, by the client or by those whom admission let change it.
struct Asked<'q> {
    query: &'q Query<'q>,
    raw: Option<&'q str>,
}

/// Asks admission about a stream into a pod, or a proxied request. Reading a log is no such thing. The answer is the
/// query, if it was changed.
async fn admit(call: &Call<'_>, subresource: Subresource, snapshot: &Snapshot) -> Result<Option<String>, Status> {
    let read = options::read(subresource, &call.route.collection, call.query, call.path.rest)?;
    let Some(mut options) = read else { return Ok(None) };
    let review = Review {
        core: call.core,
        snapshot,
        user: call.user,
        route: call.route,
        operation: Operation::Connect,
        subresource: subresource.path(),
        namespace: call.namespace(),
        name: object_name(call, subresource),
        old: None,
        options: Options::None,
        notes: Some(&call.notes),
    };
    let before = options.clone();
    chain::mutate(&review, &mut options).await?;
    chain::validate(&review, Some(&options)).await?;
    if options == before {
        return Ok(None);
    }
    let refuse = || Status::forbidden(&call.route.kind, review.name, "its options cannot be changed by admission");
    options::written(call.raw_query, &options).map(Some).ok_or_else(refuse)
}

/// In a proxied request the name may be `scheme:name:port`.
fn object_name<'a>(call: &'a Call<'_>, subresource: Subresource) -> &'a str {
    if subresource == Subresource::Proxy { split_name(call.name()).0 } else { call.name() }
}

fn split_name(name: &str) -> (&str, &str) {
    match name.split(':').collect::<Vec<_>>().as_slice() {
        [_, name, port] => (name, port),
        [name, port] => (name, port),
        _ => (name, ""),
    }
}

fn target(call: &Call<'_>, asked: &Asked<'_>, subresource: Subresource, object: &Value) -> Result<Target, Status> {
    let rest = format!("/{}", call.path.rest);
    match (&*call.route.collection, subresource) {
        ("nodes", _) => {
            let name = meta::name(object).to_owned();
            Ok(Target { what: format!("node {name}"), to: To::Node(name), path: with_query(rest, call.raw_query) })
        }
        ("services", _) => service(call, object, rest),
        (_, Subresource::Proxy) => pod_address(call, object, rest),
        _ => pod(call, asked, subresource, object),
    }
}

fn pod(call: &Call<'_>, asked: &Asked<'_>, subresource: Subresource, pod: &Value) -> Result<Target, Status> {
    let (namespace, name) = call.place();
    let node = meta::text(pod, "spec.nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let verb = match subresource {
        Subresource::Log => "containerLogs",
        Subresource::Exec => "exec",
        Subresource::Attach => "attach",
        _ => "portForward",
    };
    let mut path = format!("/{verb}/{namespace}/{name}");
    if subresource != Subresource::PortForward {
        path = format!("{path}/{}", container(call, asked, pod)?);
    }
    let mut query = asked.raw.unwrap_or_default().to_owned();
    // A kubelet knows the streams by other names than the API does; it gets both.
    for (ours, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error")] {
        if matches!(subresource, Subresource::Exec | Subresource::Attach) && asked.query.flag(ours)? {
            query = format!("{query}&{theirs}=1");
        }
    }
    let query = Some(query.trim_start_matches('&')).filter(|q| !q.is_empty());
    let what = format!("pod {namespace}/{name}");
    Ok(Target { what, to: To::Node(node.to_owned()), path: with_query(path, query) })
}

fn container(call: &Call<'_>, asked: &Asked<'_>, pod: &Value) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    };
    let main = names("containers");
    if let Some(wanted) = asked.query.get("container") {
        let known =
            ["containers", "initContainers", "ephemeralContainers"].iter().flat_map(|l| names(l)).any(|n| n == wanted);
        if known {
            return Ok(wanted.to_owned());
        }
        return Err(Status::bad_request(format!("container {wanted} is not valid for pod {}", call.name())));
    }
    let preferred = meta::annotation(pod, "kubectl.kubernetes.io/default-container");
    match (main.as_slice(), preferred) {
        ([only], _) => Ok(only.clone()),
        (many, Some(preferred)) if many.iter().any(|n| n == preferred) => Ok(preferred.to_owned()),
        (many, _) => {
            let text = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                call.name(),
                many.join(" ")
            );
            Err(Status::bad_request(text))
        }
    }
}

fn pod_address(call: &Call<'_>, pod: &Value, rest: String) -> Result<Target, Status> {
    let (namespace, (name, port)) = (call.namespace(), split_name(call.name()));
    let address = meta::text(pod, "status.podIP");
    if address.is_empty() {
        return Err(Status::unavailable(format!("pod {namespace}/{name} has no address yet")));
    }
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports: Vec<&Value> = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten()).collect();
    let named = ports.iter().find(|p| p["name"] == port && !port.is_empty());
    let chosen = if port.is_empty() { ports.first() } else { named };
    let number = chosen.and_then(|p| p["containerPort"].as_u64()).or_else(|| port.parse().ok()).unwrap_or(80);
    to_address(format!("pod {namespace}/{name}"), address, number, with_query(rest, call.raw_query))
}

fn service(call: &Call<'_>, service: &Value, rest: String) -> Result<Target, Status> {
    let (namespace, (name, port)) = (call.namespace(), split_name(call.name()));
    let address = meta::text(service, "spec.clusterIP");
    if address.is_empty() || address == "None" {
        return Err(Status::unavailable(format!("service {namespace}/{name} has no virtual address to forward to")));
    }
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let matches = |p: &&Value| p["name"] == port || p["port"].as_u64() == port.parse().ok();
    let chosen = if port.is_empty() { ports.first() } else { ports.iter().find(matches) };
    let number = chosen
        .and_then(|p| p["port"].as_u64())
        .ok_or_else(|| Status::unavailable(format!("service {namespace}/{name} has no port {port:?}")))?;
    to_address(format!("service {namespace}/{name}"), address, number, with_query(rest, call.raw_query))
}

fn to_address(what: String, address: &str, port: u64, path: String) -> Result<Target, Status> {
    let port = u16::try_from(port).map_err(|_| Status::bad_request(format!("{port} is not a port")))?;
    Ok(Target { what, to: To::Address(format!("{address}:{port}")), path })
}

fn with_query(path: String, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

async fn dial(call: &Call<'_>, target: &Target) -> Result<BoxedIo, Status> {
    let what = &target.what;
    let away = |error: &dyn std::error::Error| {
        let cause = error.source().map(|s| format!(": {s}")).unwrap_or_default();
        Status::unavailable(format!("{what}: {error}{cause}"))
    };
    let dialled = async {
        match &target.to {
            To::Node(node) => call.core.dialer.dial(node).await.map_err(|e| away(&e)),
            To::Address(address) => {
                let stream = TcpStream::connect(address).await.map_err(|e| away(&e))?;
                Ok(Box::new(stream) as BoxedIo)
            }
        }
    };
    tokio::time::timeout(DIAL, dialled).await.unwrap_or_else(|_| {
        let at = match &target.to {
            To::Node(at) | To::Address(at) => at,
        };
        Err(Status::unavailable(format!("{what}: {at} did not answer within {} s", DIAL.as_secs())))
    })
}

async fn forward(
    call: &Call<'_>,
    target: Target,
    io: BoxedIo,
    body: RequestBody,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Payload>, Status> {
    let what = target.what.clone();
    let broken = |error: hyper::Error| Status::unavailable(format!("{what}: the connection broke: {error}"));
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(io)).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a forwarded connection ended");
        }
    });
    let request = request(call, &target, body, upgrade.is_some())?;
    let mut response = sender.send_request(request).await.map_err(broken)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else {
            return Err(Status::unavailable(format!("{what}: answered with an upgrade nobody asked for")));
        };
        let server = hyper::upgrade::on(&mut response);
        let framed =
            response.headers().get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        tokio::spawn(join(client, server, framed, what, call.passage.hold()));
        let mut answer = Response::new(Payload::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = response.headers().clone();
        return Ok(answer);
    }
    let (mut parts, body) = response.into_parts();
    // The length stays: it is true for the copied bytes as well.
    for name in NOT_FORWARDED.iter().filter(|n| **n != header::CONTENT_LENGTH) {
        parts.headers.remove(name);
    }
    let body = body.map_err(Into::into).boxed_unsync();
    // The connection lives as long as its sender: the body keeps it.
    let body = KeepAlive { body, _sender: sender };
    Ok(Response::from_parts(parts, Payload::Boxed(body.boxed_unsync())))
}

fn request(call: &Call<'_>, target: &Target, body: RequestBody, upgrade: bool) -> Result<Request<Body>, Status> {
    let mut headers = forwarded(call.headers);
    if upgrade && let Some(protocol) = call.headers.get(header::UPGRADE) {
        headers.insert(header::UPGRADE, protocol.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    let host = match &target.to {
        To::Node(host) | To::Address(host) => host,
    };
    headers.insert(header::HOST, HeaderValue::from_str(host).map_err(Status::internal)?);
    let body = if upgrade { naru_client::empty_body() } else { body.into_body() };
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = target.path.parse().map_err(|e| Status::bad_request(format!("{:?}: {e}", target.path)))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The headers of a request without those that are this server's business: a node never sees a user's credential.
pub(crate) fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let named_by_connection: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        let text = name.as_str();
        let dropped = NOT_FORWARDED.contains(name)
            || text.starts_with("impersonate-")
            || text.starts_with("x-remote-")
            || named_by_connection.iter().any(|n| n == text);
        if dropped {
            continue;
        }
        if text == "sec-websocket-protocol" && value.to_str().is_ok_and(|v| v.contains("base64url.bearer.")) {
            let protocols: Vec<&str> = value
                .to_str()
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .filter(|p| !p.starts_with("base64url.bearer."))
                .collect();
            if let Ok(value) = HeaderValue::from_str(&protocols.join(", ")) {
                kept.append(name.clone(), value);
            }
            continue;
        }
        kept.append(name.clone(), value.clone());
    }
    kept
}

/// Copies bytes both ways until both sides have ended; what clients get of a WebSocket (`framed`), frame by frame.
async fn join(client: OnUpgrade, server: OnUpgrade, framed: bool, what: String, held: Held) {
    let _held = held;
    let (client, server) = match tokio::try_join!(client, server) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, what, "an upgrade did not come about");
            return;
        }
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    let copied = match framed {
        true => frames::join(client, server).await,
        false => tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop),
    };
    if let Err(error) = copied {
        tracing::debug!(%error, what, "an upgraded connection ended");
    }
}

struct KeepAlive {
    body: Body,
    _sender: http1::SendRequest<Body>,
}

impl http_body::Body for KeepAlive {
    type Data = bytes::Bytes;
    type Error = naru_client::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_connection_headers_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("impersonate-user", "root"),
            ("connection", "upgrade, x-private"),
            ("x-private", "1"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
            ("accept", "*/*"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let kept = forwarded(&headers);
        let names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(kept["sec-websocket-protocol"], "v5.channel.k8s.io");
        assert_eq!(kept["accept"], "*/*");
    }

    #[test]
    fn a_proxied_name_may_carry_a_port() {
        assert_eq!(split_name("web"), ("web", ""));
        assert_eq!(split_name("web:80"), ("web", "80"));
        assert_eq!(split_name("http:web:metrics"), ("web", "metrics"));
    }
}
