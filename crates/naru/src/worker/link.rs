//! The connection that this node keeps to one server, of those there are.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{Method, Request};
use naru_agent::Agent;
use naru_client::{BoxedIo, TUNNEL_PATH, TUNNEL_PROTOCOL, Transport, UpgradeError, empty_body, serve_tunnel};

use super::Worker;
use crate::cluster::reported;

/// The first pause after a failure; each doubles, and is cut by up to half so that nodes do not come all at once.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Connects, serves, and connects again, for ever.
pub(super) async fn keep(worker: Arc<Worker>, agent: Arc<Agent>) {
    let (mut at, mut pause) = (0, FIRST);
    let mut told = String::new();
    loop {
        match dial(&worker, at).await {
            Ok(io) => {
                tracing::info!(server = at, "connected");
                (pause, told) = (FIRST, String::new());
                tokio::spawn(learn(worker.clone()));
                let agent = agent.clone();
                let ended = serve_tunnel(io, move |stream: BoxedIo| {
                    let agent = agent.clone();
                    Box::pin(async move { agent.serve(stream).await })
                });
                match ended.await {
                    Ok(()) => tracing::info!("the server ended the connection"),
                    Err(error) => tracing::warn!(error, "the connection to the server is lost"),
                }
                // At once: most often it was one connection that broke, or a server that starts again.
                continue;
            }
            Err(why) => {
                if why != told {
                    tracing::warn!(why, "no server takes this node's connection");
                    told = why;
                }
            }
        }
        at += 1;
        tokio::time::sleep(pause.mul_f64(1.0 - rand::random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Connects to the server at this place of the list; requests go there too from then on.
async fn dial(worker: &Worker, at: usize) -> Result<BoxedIo, String> {
    let servers = worker.membership.lock().transports().map_err(|error| format!("{error:#}"))?;
    let at = at % servers.len();
    let request = Request::builder()
        .method(Method::GET)
        .uri(TUNNEL_PATH)
        .header(UPGRADE, TUNNEL_PROTOCOL)
        .header(CONNECTION, "Upgrade")
        .body(empty_body())
        .map_err(|error| error.to_string())?;
    match servers[at].upgrade(request).await {
        Ok((_, io)) => {
            worker.transport.replace(servers, at);
            Ok(io)
        }
        Err(UpgradeError::Refused(response)) => {
            use http_body_util::BodyExt;
            let code = response.status();
            let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            Err(format!("the server answers {code}: {}", status["message"].as_str().unwrap_or_default()))
        }
        Err(error) => Err(naru_network::chain(&error)),
    }
}

/// Asks where servers are by now, and keeps it.
async fn learn(worker: Arc<Worker>) {
    let Ok(about) = worker.client.json(Method::GET, "/naru/v1/cluster", "application/json", None).await else { return };
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
