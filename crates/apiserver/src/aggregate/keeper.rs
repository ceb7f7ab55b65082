//! Looking after further servers: each is asked whether it answers, again when its Service or endpoints change, and every
//! now and then; what it says of itself is fetched anew each time.
//!
//! One task a server, so that one that hangs holds nobody up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use naru_api::{Status, meta};
use naru_store::{Batch, Key, Prefix, Snapshot, Watch, WatchEnd};
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::available::{self, Fault, SILENT};
use super::remote::Spec;
use super::{documents, fetch, server};
use crate::object;
use crate::state::Core;
use crate::verbs::WriteOptions;
use crate::verbs::update::{Part, update};

/// How long to wait before asking again a server that did not answer, at first and at most, and one that did.
const FIRST: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(30);
const SLICES: &str = "endpointslices.discovery.k8s.io";
/// The label by which slices name their Service.
const OF_SERVICE: &str = "kubernetes.io/service-name";

/// A task that ends with this value.
struct Task {
    spec: Arc<Spec>,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Looks after all servers until `ended`.
pub(super) fn start(core: &Arc<Core>, ended: &CancellationToken) {
    let (core, ended) = (core.clone(), ended.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            () = supervise(&core) => {}
        }
    });
}

async fn supervise(core: &Arc<Core>) {
    let mut changed = core.aggregate.changed.subscribe();
    let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
    loop {
        changed.mark_unchanged();
        let remotes = core.aggregate.remotes.load_full();
        let asked: BTreeMap<&str, &Arc<Spec>> =
            remotes.iter().map(|remote| (remote.spec.name.as_str(), &remote.spec)).collect();
        tasks.retain(|name, task| asked.get(name.as_str()).is_some_and(|spec| **spec == task.spec));
        for (name, spec) in &asked {
            if !tasks.contains_key(*name) {
                let handle = tokio::spawn(look_after(core.clone(), (*spec).clone())).abort_handle();
                tasks.insert((*name).to_owned(), Task { spec: (*spec).clone(), handle });
            }
        }
        core.aggregate.retain(|name| asked.contains_key(name));
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn look_after(core: Arc<Core>, spec: Arc<Spec>) {
    let mut rest = FIRST;
    loop {
        // Opened before anything is looked at: what changes from here on is news.
        let mut news = News::open(&core, &spec);
        let found = check(&core, &spec).await;
        if let Err(error) = write(&core, &spec, found.as_ref().err()).await {
            tracing::warn!(%error, service = spec.name, "whether a further server is there cannot be written");
        }
        match &found {
            Ok(()) => documents::refresh(&core, &spec).await,
            Err(_) => documents::outdate(&core, &spec),
        }
        let wait = match &found {
            Err(fault) if fault.reason == SILENT => {
                let wait = rest;
                rest = AGAIN.min(rest * 2);
                wait
            }
            _ => {
                rest = FIRST;
                AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = news.next(&spec) => rest = FIRST,
        }
    }
}

/// Whether a server is there.
async fn check(core: &Core, spec: &Spec) -> Result<(), Fault> {
    let (service, slices) = objects(&core.store.snapshot(), spec);
    available::judge(spec, service.as_ref(), &slices)?;
    fetch::probe(core, spec).await.map_err(|message| Fault { reason: SILENT, message })
}

/// A server's Service, and the slices of its endpoints.
fn objects(snapshot: &Snapshot, spec: &Spec) -> (Option<Value>, Vec<Value>) {
    let service = snapshot.get(&Key::new("services", &spec.namespace, &spec.service));
    let prefix = Prefix::namespace(SLICES, &spec.namespace);
    let slices = snapshot.range(&prefix).filter(|entry| is_of(&entry.served, &spec.service));
    (service.map(|entry| object::parse(&entry.served)), slices.map(|entry| object::parse(&entry.served)).collect())
}

fn is_of(slice: &[u8], service: &str) -> bool {
    object::labels(slice).is_some_and(|labels| labels.get(OF_SERVICE).is_some_and(|of| of == service))
}

/// Writes down what was found, unless the object asks for something else by now.
async fn write(core: &Core, spec: &Spec, fault: Option<&Fault>) -> Result<(), Status> {
    let route = core.route("apiregistration.k8s.io", "v1", "apiservices")?;
    let change = |present: &Value| {
        let mut new = present.clone();
        meta::unset(&mut new, "resourceVersion");
        if Spec::read(present).as_ref() == Some(spec) {
            available::set(&mut new, fault, &meta::time(Timestamp::now()));
        }
        Ok(new)
    };
    let options = WriteOptions { subresource: "status", ..WriteOptions::default() };
    match update(core, &server(), &route, ("", &spec.name), Part::Trusted, &change, options).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

/// What happens to a server's Service and endpoints.
struct News {
    services: Option<Watch>,
    slices: Option<Watch>,
}

// === impl News ===

impl News {
    fn open(core: &Core, spec: &Spec) -> News {
        let at = core.store.snapshot().revision();
        let open = |collection| core.store.watch(Prefix::namespace(collection, &spec.namespace), at).ok();
        News { services: open("services"), slices: open(SLICES) }
    }

    /// Returns when something changed, or may have.
    async fn next(&mut self, spec: &Spec) {
        let (Some(services), Some(slices)) = (&mut self.services, &mut self.slices) else { return };
        loop {
            let (news, of_service) = tokio::select! {
                batch = services.next() => (batch, true),
                batch = slices.next() => (batch, false),
            };
            match news {
                Ok(batch) if !matters(&batch, of_service, spec) => {}
                Ok(_) | Err(WatchEnd::Lagged) => return,
                Err(WatchEnd::Closed) => std::future::pending().await,
            }
        }
    }
}

fn matters(batch: &Batch, of_service: bool, spec: &Spec) -> bool {
    batch.changes.iter().any(|change| {
        if of_service {
            return change.key.name() == spec.service;
        }
        let either = [change.before.as_ref(), change.after.as_ref()];
        either.into_iter().flatten().any(|entry| is_of(&entry.served, &spec.service))
    })
}
