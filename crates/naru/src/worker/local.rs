//! The worker's own socket: what concerns this machine is answered here (its images), and everything else by saying who
//! would answer it.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use naru_agent::Agent;
use naru_client::{Body, full_body};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

use super::Worker;

/// An open socket.
pub(super) struct Listener(UnixListener);

impl Listener {
    /// Opens it, in place of one that was left by a worker that was killed.
    ///
    /// # Errors
    /// When somebody answers there, or the file cannot be made.
    pub async fn bind(path: &Path) -> anyhow::Result<Listener> {
        if UnixStream::connect(path).await.is_ok() {
            anyhow::bail!("another Naru answers at {}", path.display());
        }
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
        Ok(Listener(listener))
    }

    /// Answers for ever. Who may connect is the file's mode's to say.
    pub async fn serve(self, worker: Arc<Worker>, agent: Arc<Agent>) {
        loop {
            let Ok((stream, _)) = self.0.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let (worker, agent) = (worker.clone(), agent.clone());
            let service = service_fn(move |request| {
                let (worker, agent) = (worker.clone(), agent.clone());
                async move { Ok::<_, Infallible>(answer(&worker, &agent, request).await) }
            });
            tokio::spawn(async move {
                let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

async fn answer(worker: &Worker, agent: &Arc<Agent>, request: Request<Incoming>) -> Response<Body> {
    let (name, servers) = {
        let membership = worker.membership.lock();
        (membership.cluster.node_name.clone(), membership.cluster.addresses())
    };
    let own = format!("/api/v1/nodes/{name}/proxy");
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/healthz" | "/livez" | "/readyz" => text(StatusCode::OK, "ok".into()),
        "/version" => {
            let version = format!("v1.36.0+naru.{}", naru_api::version());
            text(StatusCode::OK, json!({"major": "1", "minor": "36", "gitVersion": version}).to_string())
        }
        // Which node this machine is, for those who ask for its images.
        "/naru/v1/cluster" => text(StatusCode::OK, json!({"node": name, "servers": servers}).to_string()),
        "/api/v1/nodes" => {
            let node = json!({"metadata": {"name": name}});
            text(
                StatusCode::OK,
                json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": [node]}).to_string(),
            )
        }
        path if path.starts_with(&format!("{own}/images")) => {
            let rest = request.uri().path_and_query().map_or("", |whole| whole.as_str()).trim_start_matches(&own);
            let rest = rest.to_owned();
            forward(agent, request, &rest).await.unwrap_or_else(|why| refuse(StatusCode::BAD_GATEWAY, &why))
        }
        _ => {
            let why = format!(
                "this machine is a worker (node {name}): the cluster is at {}. Run this on a server; here only \
                 `naru status`, `doctor`, `image` and `leave` answer",
                servers.join(", ")
            );
            refuse(StatusCode::SERVICE_UNAVAILABLE, &why)
        }
    }
}

async fn forward(agent: &Arc<Agent>, request: Request<Incoming>, path: &str) -> Result<Response<Body>, String> {
    let (near, far) = tokio::io::duplex(256 << 10);
    let agent = agent.clone();
    tokio::spawn(async move { agent.serve(Box::new(far)).await });
    let (mut sender, connection) =
        client::handshake::<_, Incoming>(TokioIo::new(near)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    parts.uri = path.parse::<Uri>().map_err(|error| error.to_string())?;
    let answer = sender.send_request(Request::from_parts(parts, body)).await.map_err(|error| error.to_string())?;
    // The connection lives as long as its sender.
    let (parts, body) = answer.into_parts();
    let body = body.map_frame(move |frame| {
        let _alive = &sender;
        frame
    });
    Ok(Response::from_parts(parts, body.map_err(Into::into).boxed_unsync()))
}

fn refuse(code: StatusCode, why: &str) -> Response<Body> {
    let status: Value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": why, "reason": "ServiceUnavailable", "code": code.as_u16()});
    text(code, status.to_string())
}

fn text(code: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(full_body(body));
    *response.status_mut() = code;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
