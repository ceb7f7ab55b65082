//! Which request goes where.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use naru_api::{View, k8s::api::core::v1::Pod};
use naru_client::{Body, BoxedIo, full_body};
use naru_runtime::pod::{ContainerName, PodUid};
use serde_json::json;

use super::{
    archive, dataplane, forward, images, logs,
    query::{Query, decode},
    reply::{Refusal, Reply, json_reply, typed},
    session, signal, stats,
};
use crate::{
    NodeProgram,
    fleet::Fleet,
    machine::Observed,
    pod::{Executor, Input, Node},
};

/// Serves one byte stream until it ends.
pub(crate) async fn serve(fleet: Fleet, program: Option<Arc<dyn NodeProgram>>, stream: BoxedIo) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (fleet, program) = (fleet.clone(), program.clone());
        async move {
            let response = match program.filter(|_| request.uri().path() == "/program") {
                Some(program) => program.answer(request).await,
                None => answer(fleet, request).await,
            };
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!(%error, "a connection to this node's interface ended");
    }
}

/// A request, taken apart.
pub(super) struct Call {
    pub fleet: Fleet,
    pub path: Vec<String>,
    pub query: Query,
    pub request: Request<Incoming>,
}

/// One pod of this node.
#[derive(Clone)]
pub(super) struct Found {
    pub pod: Arc<Pod>,
    pub executor: Arc<Executor>,
    pub observed: Arc<Observed>,
    pub view: tokio::sync::watch::Receiver<Arc<Observed>>,
    pub inbox: tokio::sync::mpsc::UnboundedSender<Input>,
}

async fn answer(fleet: Fleet, request: Request<Incoming>) -> Response<Body> {
    let path: Vec<String> = request.uri().path().split('/').filter(|part| !part.is_empty()).map(decode).collect();
    let query = Query::parse(request.uri().query());
    route(Call { fleet, path, query, request }).await.unwrap_or_else(Refusal::response)
}

async fn route(call: Call) -> Reply {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let method = call.request.method().clone();
    let reads = method == Method::GET || method == Method::HEAD;
    match path.as_slice() {
        ["healthz"] if reads => Ok(typed("text/plain", full_body("ok"))),
        ["pods"] if reads => Ok(pods(&call.fleet)),
        ["dataplane"] if reads => dataplane::progress(&call),
        ["containerLogs", namespace, pod, container] if reads => logs::logs(&call, namespace, pod, container),
        ["exec", ..] | ["attach", ..] | ["portForward", ..] if reads || method == Method::POST => stream(call).await,
        ["stats", rest @ ..] if reads => stats::stats(&call, rest).await,
        ["top", namespace, pod, container] if reads => stats::top(&call, namespace, pod, container).await,
        ["signal", namespace, pod, container] if method == Method::POST => {
            signal::signal(&call, namespace, pod, container).await
        }
        ["archive", _, _, _] => archive::archive(call).await,
        ["images", ..] => images::images(call).await,
        _ => {
            let text = format!("this node does not serve {method} /{}", call.path.join("/"));
            Err(Refusal::new(StatusCode::NOT_FOUND, text))
        }
    }
}

async fn stream(call: Call) -> Reply {
    let path = call.path.clone();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        // A uid may stand between pod and container.
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            session::exec(call, namespace, pod, container).await
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            session::attach(call, namespace, pod, container).await
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => forward::forward(call, namespace, pod),
        _ => Err(Refusal::absent(format!("expected /{}/<namespace>/<pod>/<container>", path[0]))),
    }
}

fn pods(fleet: &Fleet) -> Response<Body> {
    let items: Vec<_> = fleet.workers().values().map(|worker| worker.pod().to_value()).collect();
    json_reply(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

impl Call {
    pub fn node(&self) -> &Arc<Node> {
        &self.fleet.node
    }

    /// A pod by name; of two with the same name the one that is not on its way out.
    pub fn pod(&self, namespace: &str, name: &str) -> Result<Found, Refusal> {
        let workers = self.fleet.workers();
        let mut fitting: Vec<_> = workers
            .values()
            .filter(|worker| {
                let pod = worker.pod();
                pod.name() == name && pod.namespace() == namespace && !worker.is_finished()
            })
            .collect();
        fitting.sort_by_key(|worker| worker.pod().metadata.deletion_timestamp.is_some());
        let worker = fitting.first().ok_or_else(|| Refusal::absent(format!("pods {name:?} not found on this node")))?;
        let observed = worker.view.borrow().clone();
        let (view, inbox) = (worker.view.clone(), worker.inbox.clone());
        Ok(Found { pod: worker.pod(), executor: worker.executor.clone(), observed, view, inbox })
    }
}

impl Found {
    /// A container that runs, in the runtime's words.
    pub fn running(&self, container: &str) -> Result<(PodUid, ContainerName), Refusal> {
        let seen = self.observed.containers.get(container);
        let seen = seen.ok_or_else(|| {
            Refusal::absent(format!("container {container:?} not found in pod {:?}", self.pod.name()))
        })?;
        if !seen.is_running() {
            let text = format!("container {container:?} of pod {:?} is not running", self.pod.name());
            return Err(Refusal::new(StatusCode::CONFLICT, text));
        }
        let name = ContainerName::new(container).map_err(|error| Refusal::failed(&error))?;
        Ok((self.executor.uid.clone(), name))
    }
}
