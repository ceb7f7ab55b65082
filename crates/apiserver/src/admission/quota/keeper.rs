//! Keeps the status of quotas true: what is given back, what changes what it counts for, what was there before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use naru_api::quota;
use naru_store::{Prefix, Watch, WatchEnd};
use tokio_util::sync::CancellationToken;

use super::{COLLECTION, count, status};
use crate::encode;
use crate::object;
use crate::state::Core;
use crate::write::{Expect, Plan};

/// Changes gather for this long: a namespace that is emptied is hundreds of them.
const GATHER: Duration = Duration::from_millis(50);
/// How often everything is counted anew: pods whose time to end has run out change nothing by that.
const AGAIN: Duration = Duration::from_secs(60);

/// Follows quotas, and everything in namespaces that have any, until `ended`.
pub(crate) fn keep(core: &Arc<Core>, ended: &CancellationToken) {
    let (core, ended) = (core.clone(), ended.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            () = follow(&core) => {}
        }
    });
}

async fn follow(core: &Core) {
    loop {
        let snapshot = core.store.snapshot();
        let quotas = Prefix::collection(COLLECTION);
        let namespaces: BTreeSet<String> =
            snapshot.range(&quotas).map(|entry| entry.key.namespace().to_owned()).collect();
        for namespace in &namespaces {
            settle(core, namespace).await;
        }
        // Where there are no quotas, nothing but quotas is of interest.
        let prefix = if namespaces.is_empty() { quotas } else { Prefix::all() };
        let Ok(watch) = core.store.watch(prefix, snapshot.revision()) else { continue };
        match tokio::time::timeout(AGAIN, changes(core, watch, namespaces)).await {
            Ok(WatchEnd::Closed) => return,
            Ok(WatchEnd::Lagged) | Err(_) => {}
        }
    }
}

/// Settles namespaces as things change in them, until there are others with quotas.
async fn changes(core: &Core, mut watch: Watch, namespaces: BTreeSet<String>) -> WatchEnd {
    let mut due: BTreeSet<String> = BTreeSet::new();
    loop {
        let batch = if due.is_empty() {
            watch.next().await
        } else {
            match tokio::time::timeout(GATHER, watch.next()).await {
                Ok(batch) => batch,
                Err(_) => {
                    for namespace in std::mem::take(&mut due) {
                        settle(core, &namespace).await;
                    }
                    continue;
                }
            }
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(end) => return end,
        };
        for change in &batch.changes {
            let (collection, namespace, _) = change.key.parts();
            if namespaces.contains(namespace) {
                due.insert(namespace.to_owned());
            } else if collection == COLLECTION {
                return WatchEnd::Lagged; // another namespace has one now
            }
        }
    }
}

/// Counts what a namespace's quotas limit, and writes it down where it is not what they say.
async fn settle(core: &Core, namespace: &str) {
    let snapshot = core.store.snapshot();
    let prefix = Prefix::namespace(COLLECTION, namespace);
    for entry in snapshot.range(&prefix) {
        let mut quota = object::parse(&entry.served);
        let used = count(&snapshot, &quota, &quota::amounts(&quota["spec"]["hard"]));
        let wanted = status(&quota, &used);
        if quota["status"] == wanted {
            continue;
        }
        quota["status"] = wanted;
        let Ok(stored) = encode::encode(&core.sealer, &entry.key, &quota) else { continue };
        // Whoever was faster changed the quota, which is seen, and counted again.
        let _ = Plan::put(entry.key.clone(), Expect::At(entry.modified), stored).commit(core).await;
    }
}
