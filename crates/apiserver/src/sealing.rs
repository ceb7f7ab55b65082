//! The keys under which the cluster keeps its secrets and signs its tokens: replaced while everything goes on.
//!
//! A new key is durable before anything is sealed with it, and every value says which key sealed it; so a crash at any
//! point leaves values that open, and which of them older keys sealed shows as the store is opened. They are sealed again in
//! the background, by ordinary writes of the same content: their revisions rise, and watchers see it. Refused: a second
//! way to write, past the order of all others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::{Method, Response, StatusCode};
use naru_api::{Reason, Status};
use naru_store::{CodecError, Key, Prefix};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::encode::{self, SEALED};
use crate::state::Core;
use crate::user::User;
use crate::wire::negotiate::Accepted;
use crate::wire::payload::Payload;
use crate::wire::query::Query;
use crate::wire::respond;

/// Where it is asked for.
pub(crate) const PATH: &str = "/naru/v1/secrets";
/// So many values are sealed again at once.
const AT_ONCE: usize = 16;
/// How long to wait after some could not be.
const AGAIN: Duration = Duration::from_secs(5);

/// Answers what is there (GET), or does something about it (POST): `do=rotate` or `drop` (sealing keys), `rotate-tokens` or
/// `drop-tokens`.
///
/// # Errors
/// 403 for all but the all-mighty, 409 where keys are still needed, 500 where the key file cannot be written.
pub(crate) fn answer(
    core: &Core,
    user: &User,
    method: &Method,
    query: &Query<'_>,
) -> Result<Response<Payload>, Status> {
    if !user.is_master() {
        let text = format!("only group system:masters looks after the cluster's keys, {} does not", user.name);
        return Err(Status::new(Reason::Forbidden, text));
    }
    match *method {
        Method::GET => {}
        Method::POST => act(core, query.get("do").unwrap_or_default())?,
        _ => {
            let text = format!("{method} is not supported on {PATH}");
            return Err(Status::new(Reason::MethodNotAllowed, text));
        }
    }
    Ok(respond::value(StatusCode::OK, Accepted::JSON.media, &describe(core)))
}

fn act(core: &Core, what: &str) -> Result<(), Status> {
    match what {
        "rotate" => {
            let key = core.sealer.rotate(places(core)).map_err(Status::internal)?;
            tracing::info!(key, "a new key seals secrets from now on");
            core.resealing.notify_one();
        }
        "drop" => {
            let gone = core.sealer.drop_old().map_err(|error| match error {
                naru_identity::SealError::Stale(_) => Status::new(Reason::Conflict, error.to_string()),
                other => Status::internal(other),
            })?;
            tracing::info!(gone, "old sealing keys were taken away");
        }
        "rotate-tokens" => {
            let key = core.tokens.rotate().map_err(Status::internal)?;
            tracing::info!(key, "a new key signs tokens from now on");
        }
        "drop-tokens" => {
            let gone = core.tokens.drop_old().map_err(Status::internal)?;
            core.authenticator.forget();
            tracing::info!(gone, "old token keys were taken away");
        }
        other => {
            let text = format!("do: expected rotate, drop, rotate-tokens or drop-tokens, got {other:?}");
            return Err(Status::bad_request(text));
        }
    }
    Ok(())
}

fn describe(core: &Core) -> Value {
    json!({
        "sealing": { "keys": core.sealer.key_names(), "stale": core.sealer.stale().len(), "values": places(core).len() },
        "tokens": { "keys": core.tokens.key_names() },
    })
}

/// Where sealed values lie.
fn places(core: &Core) -> Vec<String> {
    let snapshot = core.store.snapshot();
    let of = |collection: &str| {
        let prefix = Prefix::collection(collection);
        snapshot.range(&prefix).map(|entry| entry.key.as_str().to_owned()).collect::<Vec<_>>()
    };
    SEALED.iter().flat_map(|collection| of(collection)).collect()
}

/// Seals again what older keys sealed, whenever there is such, until `ended`.
pub(crate) fn keep(core: &Arc<Core>, ended: &CancellationToken) {
    let (core, ended) = (core.clone(), ended.clone());
    tokio::spawn(async move {
        loop {
            let done = tokio::select! {
                () = ended.cancelled() => return,
                done = renew_all(&core) => done,
            };
            tokio::select! {
                () = ended.cancelled() => return,
                () = core.resealing.notified() => {}
                () = tokio::time::sleep(AGAIN), if !done => {}
            }
        }
    });
}

/// Says whether nothing is left to do.
async fn renew_all(core: &Core) -> bool {
    let stale = core.sealer.stale();
    let count = stale.len();
    stream::iter(stale).for_each_concurrent(AT_ONCE, |place| async move { renew(core, &place).await }).await;
    let left = core.sealer.stale().len();
    if count > 0 {
        tracing::info!(sealed = count.saturating_sub(left), left, "secrets were sealed again");
    }
    left == 0
}

async fn renew(core: &Core, place: &str) {
    let newest = core.sealer.key_names().pop().unwrap_or_default();
    let Some(key) = Key::parse(place) else { return core.sealer.renewed(place, &newest) };
    let written = core.store.commit(|txn| -> Result<(), CodecError> {
        if let Some(entry) = txn.get(&key) {
            txn.put(key.clone(), encode::close(&core.sealer, &key, &entry.served)?);
        }
        Ok(())
    });
    match written.await {
        Ok(_) => core.sealer.renewed(place, &newest),
        Err(error) => tracing::warn!(place, ?error, "a value cannot be sealed again; it is tried once more later"),
    }
}
