//! The connection that this node keeps to one server, of those there are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{CONNECTION, UPGRADE, USER_AGENT};
use http::{Method, Request};
use http_body_util::BodyExt;
use naru_agent::Agent;
use naru_client::{
    BoxedIo, HttpTransport, TUNNEL_PATH, TUNNEL_PROTOCOL, Transport, UpgradeError, empty_body, serve_tunnel,
};

use super::Worker;
use crate::cluster::{clock, reported};

/// The first pause after a failure; each doubles, and is cut by up to half so that nodes do not come all at once.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The head start of each server before the next one is tried beside it: one that swallows packets holds up nobody.
const STAGGER: Duration = Duration::from_millis(500);

/// Why no server takes the connection.
struct Refusal {
    why: String,
    /// A server of the cluster says that this node is no member any more.
    removed: bool,
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Refusal { why, removed: false }
    }
}

/// Connects, serves, and connects again, for as long as this node is a member.
pub(super) async fn keep(worker: Arc<Worker>, agent: Arc<Agent>) {
    if let Some(why) = worker.membership.lock().cluster.removed.clone() {
        return tracing::error!(
            why,
            "this node was removed and stays away; its containers go on until `sudo naru leave`"
        );
    }
    let mut pause = FIRST;
    let mut told = String::new();
    // The server that took the last connection is asked first.
    let mut last = 0;
    loop {
        match dial(&worker, last).await {
            Ok((io, server)) => {
                tracing::info!(server, "connected");
                (pause, last) = (FIRST, server);
                told.clear();
                tokio::spawn(learn(worker.clone()));
                let agent = agent.clone();
                worker.heard.send_replace(true);
                let ended = serve_tunnel(io, move |stream: BoxedIo| {
                    let agent = agent.clone();
                    Box::pin(async move { agent.serve(stream).await })
                });
                let ended = ended.await;
                worker.heard.send_replace(false);
                match ended {
                    Ok(()) => tracing::info!("the server ended the connection"),
                    Err(error) => tracing::warn!(error, "the connection to the server is lost"),
                }
                // At once: most often it was one connection that broke, or a server that starts again.
                continue;
            }
            Err(Refusal { why, removed: true }) => {
                tracing::error!(
                    why,
                    "this node was removed and stays away; its containers go on until `sudo naru leave`"
                );
                worker.was_removed(why);
                return;
            }
            Err(Refusal { why, .. }) => {
                if why != told {
                    tracing::warn!(why, "no server takes this node's connection");
                    told = why;
                }
            }
        }
        tokio::time::sleep(pause.mul_f64(1.0 - rand::random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Connects to the first server that answers, beginning with the one at `first` of the list; requests go there too from
/// then on.
async fn dial(worker: &Worker, first: usize) -> Result<(BoxedIo, usize), Refusal> {
    let servers = worker.membership.lock().transports().map_err(|error| Refusal::from(format!("{error:#}")))?;
    let mut asked: FuturesUnordered<_> = (0..servers.len())
        .map(|turn| {
            let at = (first + turn) % servers.len();
            let server = servers[at].clone();
            async move {
                tokio::time::sleep(STAGGER * u32::try_from(turn).unwrap_or(0)).await;
                ask(&server).await.map(|io| (io, at))
            }
        })
        .collect();
    let mut why = Refusal::from("no server is known".to_owned());
    while let Some(answer) = asked.next().await {
        match answer {
            Ok((io, at)) => {
                worker.transport.replace(servers, at);
                return Ok((io, at));
            }
            // Of several that refuse, the one that knows best is believed.
            Err(refusal) if why.removed && !refusal.removed => {}
            Err(refusal) => why = refusal,
        }
    }
    Err(why)
}

async fn ask(server: &HttpTransport) -> Result<BoxedIo, Refusal> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(TUNNEL_PATH)
        .header(UPGRADE, TUNNEL_PROTOCOL)
        .header(CONNECTION, "Upgrade")
        // By which the server judges whether the two work together.
        .header(USER_AGENT, format!("naru/{}", naru_api::version()))
        .body(empty_body())
        .map_err(|error| Refusal::from(error.to_string()))?;
    match server.upgrade(request).await {
        Ok((_, io)) => Ok(io),
        Err(UpgradeError::Refused(response)) => {
            let code = response.status();
            let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let why = status["message"].as_str().unwrap_or_default();
            // The answer came over a connection that the cluster's authority vouches for.
            let removed = code == http::StatusCode::UNAUTHORIZED && status["details"]["kind"] == "nodes";
            let why = if removed { why.to_owned() } else { format!("the server answers {code}: {why}") };
            Err(Refusal { why, removed })
        }
        Err(error) => Err(naru_network::chain(&error).into()),
    }
}

/// Asks where servers are by now, and keeps it.
async fn learn(worker: Arc<Worker>) {
    let Ok(about) = worker.client.json(Method::GET, "/naru/v1/cluster", "application/json", None).await else { return };
    if let Some(how) = clock::difference_to(&about, clock::TOLD) {
        tracing::warn!("this machine's clock is {how} the server's: set it right (`timedatectl set-ntp true`)");
    }
    let reported = reported(&about);
    let mut membership = worker.membership.lock();
    if reported.is_empty() || membership.cluster.reported == reported {
        return;
    }
    membership.cluster.reported = reported;
    if let Err(error) = membership.save(&worker.place) {
        tracing::warn!(error = format!("{error:#}"), "the servers' addresses were not kept");
    }
}
