//! The node's certificate, renewed by itself: a new key, signed in this node's own name, before the old one ends.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use naru_identity::request_certificate;

use super::Worker;
use crate::cluster::{certificate_of, certificate_request};

/// How often the clock is looked at: it may be set, and machines sleep.
const LOOK: Duration = Duration::from_secs(60);
/// The pause after a failure.
const AGAIN: Duration = Duration::from_secs(10);

/// Renews for ever.
pub(super) async fn keep(worker: Arc<Worker>) {
    loop {
        let due = worker.membership.lock().renew_at();
        let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
        if !left.is_zero() {
            tokio::time::sleep(left.min(LOOK)).await;
            continue;
        }
        match renew(&worker).await {
            Ok(()) => tracing::info!("the certificate is renewed"),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the certificate was not renewed; trying again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn renew(worker: &Worker) -> anyhow::Result<()> {
    let name = worker.membership.lock().cluster.node_name.clone();
    let wish = request_certificate(&format!("system:node:{name}"), &["system:nodes"])?;
    let request = certificate_request(&name, &wish);
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let answer = worker.client.json(Method::POST, path, "application/json", Some(&request)).await?;
    let mut fresh = worker.membership.lock().clone();
    fresh.certificate = certificate_of(&answer)?;
    fresh.key = wish.key;
    fresh.cluster.signed = Timestamp::now();
    fresh.save(&worker.place)?;
    let servers = fresh.transports()?;
    *worker.membership.lock() = fresh;
    worker.transport.replace(servers, 0);
    Ok(())
}
