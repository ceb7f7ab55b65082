//! The objects about what this server answers itself: one for every group and version, and the ConfigMap by which further
//! servers recognise it.
//!
//! They are kept, not only made: whoever changes or removes one finds it again as it was. Those of kinds that users define
//! go with the last kind of their group and version; those of built-in kinds never do, for a newer server beside this one
//! may serve more. Refused: objects that are only made up when somebody asks for them, which nobody could watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use naru_api::{Registry, Status, meta};
use naru_store::{Key, Prefix, Revision, Snapshot, WatchEnd};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{COLLECTION, available, priority, server};
use crate::object;
use crate::state::Core;
use crate::verbs::delete::{By, DeleteOptions, delete};
use crate::verbs::update::{Part, update};
use crate::verbs::{WriteOptions, create::create};

/// The label of objects that a server keeps.
const KEPT: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Its value for built-in kinds, and for those that users define.
const BUILTIN: &str = "onstart";
const DEFINED: &str = "true";
/// The group of these objects themselves: it needs none.
const OWN: &str = "apiregistration.k8s.io";
const MAPS: &str = "configmaps";
const SYSTEM: &str = "kube-system";
/// How long to rest after a failure.
const REST: Duration = Duration::from_millis(500);

/// What is to be done to one object. Pure.
#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    /// Gives it this label and this spec again.
    Mend(Value),
    Remove(String),
    /// Says that what asks for nobody else is there.
    Tell(String),
}

/// The objects of a registry's groups and versions.
fn wanted(registry: &Registry) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (group, version) in registry.group_versions().into_iter().filter(|(group, _)| group != OWN) {
        let defined = registry.of(&group, &version).all(|kind| kind.custom().is_some());
        let (of_group, of_version) = priority::of(&group, &version);
        let mut spec = json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
        if !group.is_empty() {
            spec["group"] = group.as_str().into();
        }
        let name = format!("{version}.{group}");
        let object = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": name, "labels": {KEPT: if defined { DEFINED } else { BUILTIN }}}, "spec": spec});
        all.insert(name, object);
    }
    all
}

/// The objects of built-in kinds: made before anything is served.
pub(crate) fn builtin(registry: &Registry) -> Vec<Value> {
    wanted(registry).into_values().collect()
}

/// The names of those that are not there. Once all were, nobody looks again.
pub(crate) fn unregistered(core: &Core) -> Vec<String> {
    if core.aggregate.registered.load(Relaxed) {
        return Vec::new();
    }
    let (snapshot, serving) = (core.store.snapshot(), core.serving());
    let registry = &serving.registry;
    let mut missing = Vec::new();
    for (group, version) in registry.group_versions().into_iter().filter(|(group, _)| group != OWN) {
        let name = format!("{version}.{group}");
        let built_in = registry.of(&group, &version).any(|kind| kind.custom().is_none());
        if built_in && snapshot.get(&Key::new(COLLECTION, "", &name)).is_none() {
            missing.push(name);
        }
    }
    core.aggregate.registered.fetch_or(missing.is_empty(), Relaxed);
    missing
}

/// The ConfigMap by which further servers recognise this one.
pub(crate) fn introduction(core: &Core) -> Option<Value> {
    Some(core.aggregate.front.get()?.introduction(core.authority.certificate()))
}

/// What leads from the present objects to the wanted ones. An object that a user made for a group and version is left to
/// them; it has no effect where this server answers. `complete`: every kind that users define is known.
fn plan(wanted: &BTreeMap<String, Value>, present: &BTreeMap<String, Value>, complete: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, object) in wanted {
        match present.get(name) {
            None => steps.push(Step::Create(object.clone())),
            Some(there) if meta::is_deleting(there) => {}
            Some(there) => {
                let label = |object: &Value| object["metadata"]["labels"][KEPT].clone();
                let (has, kept) = (label(there), label(object));
                let same = has == kept && there["spec"] == object["spec"];
                // One that lost its label has become its user's, where users may have one.
                if !same && (has.is_string() || kept == BUILTIN) {
                    steps.push(Step::Mend(object.clone()));
                }
            }
        }
    }
    let gone = present.iter().filter(|(name, there)| {
        complete && !wanted.contains_key(*name) && there["metadata"]["labels"][KEPT] == DEFINED
    });
    steps.extend(gone.map(|(name, _)| Step::Remove(name.clone())));
    let untold = present.iter().filter(|(_, there)| there["spec"]["service"].is_null() && !available::is_local(there));
    steps.extend(untold.map(|(name, _)| Step::Tell(name.clone())));
    steps
}

/// Keeps these objects until `ended`.
pub(super) fn start(core: &Arc<Core>, ended: &CancellationToken) {
    // Seen from before the objects were made: what happens in between is not missed.
    let after = core.store.snapshot().revision();
    let (services, maps) = (core.clone(), core.clone());
    let (first, second) = (ended.clone(), ended.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = first.cancelled() => {}
            () = keep_services(&services, after) => {}
        }
    });
    tokio::spawn(async move {
        tokio::select! {
            () = second.cancelled() => {}
            () = keep_introduction(&maps, after) => {}
        }
    });
}

async fn keep_services(core: &Core, after: Revision) {
    let (mut kinds, mut after) = (core.kinds.subscribe(), after);
    loop {
        let registry = kinds.borrow_and_update().clone();
        if let Err(error) = settle(core, &registry).await {
            tracing::warn!(%error, "the objects of served groups cannot be kept; trying again");
            tokio::time::sleep(REST).await;
            continue;
        }
        match next(core, Prefix::collection(COLLECTION), after, |_| true, changed(kinds.clone())).await {
            Some(revision) => after = revision,
            None => return,
        }
    }
}

async fn changed(mut kinds: watch::Receiver<Arc<Registry>>) {
    let _ = kinds.changed().await;
}

/// Waits until something of interest changes; answers from where to go on, `None` when the store is closed.
async fn next(
    core: &Core,
    prefix: Prefix,
    after: Revision,
    is_of_interest: impl Fn(&Key) -> bool,
    otherwise: impl Future<Output = ()>,
) -> Option<Revision> {
    let Ok(mut watch) = core.store.watch(prefix, after) else { return Some(core.store.snapshot().revision()) };
    tokio::pin!(otherwise);
    let mut at = after;
    loop {
        tokio::select! {
            () = &mut otherwise => return Some(at),
            batch = watch.next() => match batch {
                Ok(batch) => {
                    at = batch.revision;
                    if batch.changes.iter().any(|change| is_of_interest(&change.key)) {
                        return Some(at);
                    }
                }
                Err(WatchEnd::Lagged) => return Some(core.store.snapshot().revision()),
                Err(WatchEnd::Closed) => return None,
            }
        }
    }
}

async fn settle(core: &Core, registry: &Registry) -> Result<(), Status> {
    let present = present(&core.store.snapshot());
    let route = core.route(OWN, "v1", "apiservices")?;
    let user = server();
    for step in plan(&wanted(registry), &present, core.extensions.is_following()) {
        let done = match step {
            Step::Create(object) => create(core, &user, &route, "", object, WriteOptions::default()).await.map(drop),
            Step::Mend(object) => {
                let change = |present: &Value| Ok(mended(present, &object));
                let place = ("", meta::name(&object));
                update(core, &user, &route, place, Part::Main, &change, WriteOptions::default()).await.map(drop)
            }
            Step::Remove(name) => {
                let by = By { user: &user, notes: None };
                delete(core, by, &route, ("", &name), &DeleteOptions::default()).await.map(drop)
            }
            Step::Tell(name) => {
                let change = |present: &Value| Ok(told(present));
                let options = WriteOptions { subresource: "status", ..WriteOptions::default() };
                update(core, &user, &route, ("", &name), Part::Trusted, &change, options).await.map(drop)
            }
        };
        match done {
            // Another server was faster: it does the same.
            Err(status) if status.is_already_exists() || status.is_not_found() => {}
            done => done?,
        }
    }
    Ok(())
}

fn present(snapshot: &Snapshot) -> BTreeMap<String, Value> {
    let prefix = Prefix::collection(COLLECTION);
    snapshot.range(&prefix).map(|entry| (entry.key.name().to_owned(), object::parse(&entry.served))).collect()
}

fn told(present: &Value) -> Value {
    let mut new = present.clone();
    meta::unset(&mut new, "resourceVersion");
    if present["spec"]["service"].is_null() {
        available::set_local(&mut new, &meta::time(Timestamp::now()));
    }
    new
}

fn mended(present: &Value, wanted: &Value) -> Value {
    let mut new = present.clone();
    meta::unset(&mut new, "resourceVersion");
    new["spec"] = wanted["spec"].clone();
    if let Some(label) = wanted["metadata"]["labels"][KEPT].as_str() {
        meta::set_label(&mut new, KEPT, label);
    }
    new
}

async fn keep_introduction(core: &Core, mut after: Revision) {
    let Some(wanted) = introduction(core) else { return };
    let (name, prefix) = (meta::name(&wanted).to_owned(), Prefix::namespace(MAPS, SYSTEM));
    loop {
        if let Err(error) = introduce(core, &wanted).await {
            tracing::warn!(%error, "the ConfigMap by which further servers recognise this one cannot be kept");
            tokio::time::sleep(REST).await;
            continue;
        }
        match next(core, prefix.clone(), after, |key| key.name() == name, std::future::pending()).await {
            Some(revision) => after = revision,
            None => return,
        }
    }
}

/// Writes the ConfigMap where it is missing or says something else.
async fn introduce(core: &Core, wanted: &Value) -> Result<(), Status> {
    let route = core.route("", "v1", MAPS)?;
    let (user, name) = (server(), meta::name(wanted));
    let there = core.store.snapshot().get(&route.key(SYSTEM, name)).map(|entry| object::parse(&entry.served));
    let done = match there {
        Some(there) if there["data"] == wanted["data"] => return Ok(()),
        Some(_) => {
            let change = |present: &Value| {
                let mut new = present.clone();
                meta::unset(&mut new, "resourceVersion");
                new["data"] = wanted["data"].clone();
                Ok(new)
            };
            update(core, &user, &route, (SYSTEM, name), Part::Main, &change, WriteOptions::default()).await
        }
        None => create(core, &user, &route, SYSTEM, wanted.clone(), WriteOptions::default()).await,
    };
    match done {
        Err(status) if status.is_already_exists() || status.is_not_found() => Ok(()),
        done => done.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::fixture;

    #[test]
    fn every_group_and_version_has_an_object_but_their_own() {
        let registry = Registry::builtin();
        let all = wanted(&registry);
        assert_eq!(all.len(), registry.group_versions().len() - 1);
        assert!(all.contains_key("v1.") && !all.contains_key("v1.apiregistration.k8s.io"));
        assert_eq!(all["v2.autoscaling"]["spec"]["versionPriority"], 30);
        assert_eq!(all["v1."]["spec"].get("group"), None);
        assert!(all.values().all(|object| object["metadata"]["labels"][KEPT] == BUILTIN));
        let (kinds, _) = fixture::served("v1");
        let with = wanted(&registry.with(kinds[0].clone()).expect("free"));
        let object = &with["v1.example.com"];
        assert_eq!(
            (&object["metadata"]["labels"][KEPT], &object["spec"]["groupPriorityMinimum"]),
            (&json!(DEFINED), &json!(1000))
        );
    }

    #[test]
    fn what_is_changed_is_mended_and_what_is_gone_is_removed() {
        let (kinds, _) = fixture::served("v1");
        let mut builtin = wanted(&Registry::builtin());
        let mut more = wanted(&Registry::builtin().with(kinds[0].clone()).expect("free"));
        let steps = plan(&more, &more, true);
        assert_eq!((steps.len(), &steps[0]), (more.len(), &Step::Tell("v1.".to_owned())), "none says that it is there");
        more.values_mut().for_each(|object| *object = told(object));
        assert_eq!(plan(&more, &more, true), []);
        builtin.values_mut().for_each(|object| *object = told(object));
        assert_eq!(plan(&more, &builtin, true), [Step::Create(more["v1.example.com"].clone())]);
        assert_eq!(plan(&builtin, &more, true), [Step::Remove("v1.example.com".to_owned())]);
        assert_eq!(plan(&builtin, &more, false), [], "not every definition is read yet");
        let mut taken = more.clone();
        let service = json!({"namespace": "far", "name": "api"});
        taken.get_mut("v1.apps").expect("there")["spec"]["service"] = service.clone();
        assert_eq!(plan(&more, &taken, true), [Step::Mend(more["v1.apps"].clone())]);
        let there = taken.get_mut("v1.apps").expect("there");
        there["metadata"]["labels"] = json!({});
        assert_eq!(plan(&more, &taken, true), [Step::Mend(more["v1.apps"].clone())], "nor by taking the label away");
        assert_eq!(mended(&taken["v1.apps"], &more["v1.apps"]), more["v1.apps"]);
        let mut users = more.clone();
        let there = users.get_mut("v1.example.com").expect("there");
        (there["metadata"]["labels"], there["spec"]["service"]) = (json!({}), service);
        assert_eq!(plan(&more, &users, true), [], "it is its user's");
    }
}
