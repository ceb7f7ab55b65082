//! Paths that are no resources: health, version, discovery, OpenAPI, metrics.

mod health;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use naru_api::{Registry, Status, discovery};
use serde_json::{Value, json};

use crate::aggregate;
use crate::authentication::Peer;
use crate::config::Build;
use crate::metrics;
use crate::openapi;
use crate::state::Core;
use crate::wire::negotiate::{Accepted, Offer, Shape};
use crate::wire::payload::Payload;
use crate::wire::query::Query;
use crate::wire::respond;

/// The Kubernetes version whose API is presented.
pub const KUBERNETES_VERSION: (&str, &str) = ("1", "36");

/// Whether nobody in particular may ask for this path: it tells that the server lives and which version it is.
pub(crate) fn is_public(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "healthz" | "livez" | "readyz" | "version")
}

/// Whether a method only reads.
pub(crate) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Answers a plain path.
///
/// # Errors
/// 404 where nothing is, 405 for anything but reading.
pub(crate) async fn serve(
    core: &Core,
    peer: &Peer,
    method: &Method,
    path: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Response<Payload>, Status> {
    if !is_read(method) {
        let mut status = Status::no_such_path();
        (status.code, status.message) = (405, format!("{method} is not supported on {path}: it can only be read"));
        return Err(status);
    }
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let serving = core.serving();
    let registry = &serving.registry;
    match segments.as_slice() {
        [which @ ("healthz" | "livez" | "readyz"), check @ ..] => health::answer(core, which, check, query).await,
        ["version"] => reply(headers, &version(&core.settings.build)),
        ["metrics"] => Ok(metrics(core)),
        ["naru", "v1", "cluster"] => reply(headers, &crate::membership::describe(core, peer)),
        [".well-known", "openid-configuration"] => Ok(issuer(core)),
        ["openid", "v1", "jwks"] => Ok(cacheable("application/jwk-set+json", &core.tokens.key_set())),
        ["openapi", ..] => openapi::serve(core, path, query, headers),
        ["api"] => discover(
            headers,
            || discovery::aggregated(registry, true),
            || discovery::api_versions(registry, &server(core)),
        ),
        ["apis"] => discover(headers, || aggregate::list(core, &serving), || aggregate::groups(core, &serving)),
        ["api", version] => found(headers, discovery::api_resource_list(registry, "", version)),
        ["apis", group] => found(headers, aggregate::group(core, &serving, group)),
        ["apis", group, version] => found(headers, discovery::api_resource_list(registry, group, version)),
        [] => reply(headers, &json!({ "paths": paths(registry) })),
        _ => Err(Status::no_such_path()),
    }
}

/// How programs elsewhere recognise service accounts' tokens (OpenID Connect Discovery 1.0).
fn issuer(core: &Core) -> Response<Payload> {
    let issuer = &core.settings.issuer;
    let base = core.settings.advertise.map_or_else(|| issuer.clone(), |address| format!("https://{address}"));
    let document = json!({
        "issuer": issuer, "jwks_uri": format!("{base}/openid/v1/jwks"), "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": [naru_identity::TOKEN_ALGORITHM],
    });
    cacheable("application/json", &document)
}

/// A document that changes with the cluster's keys at most.
fn cacheable(kind: &'static str, document: &Value) -> Response<Payload> {
    let mut response = respond::typed(StatusCode::OK, HeaderValue::from_static(kind), document.to_string().into());
    response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

fn server(core: &Core) -> String {
    core.settings.advertise.map(|a| a.to_string()).unwrap_or_default()
}

fn reply(headers: &HeaderMap, value: &Value) -> Result<Response<Payload>, Status> {
    Ok(respond::value(StatusCode::OK, Accepted::of(headers, Offer::DOCUMENTS)?.media, value))
}

fn found(headers: &HeaderMap, value: Option<Value>) -> Result<Response<Payload>, Status> {
    reply(headers, &value.ok_or_else(respond::nothing_there)?)
}

fn discover(
    headers: &HeaderMap,
    aggregated: impl FnOnce() -> Value,
    plain: impl FnOnce() -> Value,
) -> Result<Response<Payload>, Status> {
    let accepted = Accepted::of(headers, Offer::DOCUMENTS)?;
    if accepted.shape != Shape::Discovery {
        return reply(headers, &plain());
    }
    let mut response = respond::value(StatusCode::OK, accepted.media, &aggregated());
    let kind = HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    Ok(response)
}

fn version(build: &Build) -> Value {
    let (major, minor) = KUBERNETES_VERSION;
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": format!("v{major}.{minor}.0+naru.{}", naru_api::version()),
        "gitCommit": build.commit, "gitTreeState": build.tree, "buildDate": build.date,
        // Clients take no empty version of the language; that it is another language the version itself says.
        "goVersion": build.compiler, "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// The processor's name as images and Kubernetes call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn metrics(core: &Core) -> Response<Payload> {
    let mut body = metrics::text(core);
    core.fairness.write(&mut body);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    respond::typed(StatusCode::OK, kind, body.into())
}

fn paths(registry: &Registry) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for (group, version) in registry.group_versions() {
        paths.push(if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") });
    }
    paths.sort();
    paths
}
