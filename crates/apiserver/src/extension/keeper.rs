//! Writing what the server has to say about definitions, and ending those that are to end.
//!
//! Both are driven by what is known ([`Progress`](super::Progress)) and not by events: whatever failed is still there to be
//! done. Writes go the way of all writes, which waits for their effects; so they are made beside the task that follows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use naru_api::{Status, meta};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{ending, judge, server};
use crate::state::Core;
use crate::user::User;
use crate::verbs::WriteOptions;
use crate::verbs::update::{Part, update};

/// How many are written at once.
const AT_ONCE: usize = 32;
/// How long to rest after a failure, or when there turned out to be nothing to write.
const REST: Duration = Duration::from_millis(500);

/// Keeps the status of definitions, and ends those that are to end, until `ended`.
pub(super) fn start(core: &Arc<Core>, ended: &CancellationToken) {
    let (settling, closing) = (core.clone(), core.clone());
    let (first, second) = (ended.clone(), ended.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = first.cancelled() => {}
            () = settle_all(&settling) => {}
        }
    });
    tokio::spawn(async move {
        tokio::select! {
            () = second.cancelled() => {}
            () = end_all(&closing) => {}
        }
    });
}

async fn settle_all(core: &Core) {
    let user = server();
    let mut progress = core.extensions.progress.subscribe();
    loop {
        let waiting = progress.wait_for(|p| !p.unsettled.is_empty()).await.map(|p| p.unsettled.clone());
        let Ok(waiting) = waiting else { return };
        let mut running = FuturesUnordered::new();
        let (mut waiting, mut rest) = (waiting.into_iter(), false);
        loop {
            while running.len() < AT_ONCE
                && let Some(name) = waiting.next()
            {
                running.push(settle(core, &user, name));
            }
            match running.next().await {
                Some(Ok(changed)) => rest |= !changed,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the status of a definition cannot be written; trying again");
                    rest = true;
                }
                None => break,
            }
        }
        if rest {
            tokio::time::sleep(REST).await;
        }
    }
}

/// Writes the status of a definition; answers whether it was another one.
async fn settle(core: &Core, user: &User, name: String) -> Result<bool, Status> {
    let route = core.route("apiextensions.k8s.io", "v1", "customresourcedefinitions")?;
    let change = |present: &Value| {
        let by = core.extensions.definitions.lock().circumstances(&name, &core.serving().registry);
        let mut new = present.clone();
        // For whatever is there: when somebody else was faster it is judged anew.
        meta::unset(&mut new, "resourceVersion");
        new["status"] = judge::status(present, &by, &meta::time(Timestamp::now()));
        Ok(new)
    };
    let options = WriteOptions { subresource: "status", ..WriteOptions::default() };
    // A definition that would no longer be let in still gets its status, which says so.
    match update(core, user, &route, ("", &name), Part::Trusted, &change, options).await {
        Ok(written) => Ok(written.changed),
        Err(status) if status.is_not_found() => Ok(false),
        Err(status) => Err(status),
    }
}

async fn end_all(core: &Arc<Core>) {
    let mut progress = core.extensions.progress.subscribe();
    let mut running: JoinSet<String> = JoinSet::new();
    let mut begun: BTreeSet<String> = BTreeSet::new();
    loop {
        let more = async {
            let new = |name: &&String| !begun.contains(*name);
            let seen = progress.wait_for(|p| p.ending.iter().any(|name| new(&name))).await;
            seen.map(|p| p.ending.iter().filter(new).cloned().collect::<Vec<_>>())
        };
        tokio::select! {
            more = more => {
                let Ok(more) = more else { return };
                for name in more {
                    begun.insert(name.clone());
                    let core = core.clone();
                    running.spawn(async move {
                        let name = ending::end(core, name).await;
                        // Until it is known that it ended.
                        tokio::time::sleep(REST).await;
                        name
                    });
                }
            }
            Some(done) = running.join_next() => {
                match done {
                    Ok(name) => drop(begun.remove(&name)),
                    // It panicked: the next look begins it again.
                    Err(_) => begun.clear(),
                }
            }
        }
    }
}
