//! The end of a definition: all objects of its kind are deleted first, as their finalizers let them, then it goes.
//!
//! The server's own finalizer holds it until then; it is put on when deletion is asked for, together with the condition
//! that says so. From that moment no object of the kind is made: the write of one looks at the definition in the same
//! transaction, so that none is left over.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use naru_api::{Kind, Status, meta};
use naru_store::{Entry, Key, Prefix, Snapshot};
use serde_json::{Value, json};
use std::sync::Arc;

use super::condition::{self, Condition};
use super::{COLLECTION, server};
use crate::object;
use crate::routes::Route;
use crate::state::Core;
use crate::user::User;
use crate::verbs::WriteOptions;
use crate::verbs::delete::{By, DeleteOptions, delete};
use crate::verbs::update::{Change, Part, update};
use crate::write::unavailable;

/// Holds a definition until all objects of its kind are gone.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How long the end waits for something to happen before it looks again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it rests after a failure.
const REST: Duration = Duration::from_secs(1);
/// How many objects are deleted at once.
const AT_ONCE: usize = 32;

/// How far an end is.
enum Step {
    /// There is nothing left to do.
    Done,
    /// Objects are left, which something holds.
    Waits { left: usize, seen: Snapshot },
}

/// Prepares a definition of which deletion is asked for the first time. Objects of other kinds stay as they are.
pub(crate) fn announce(kind: &Kind, definition: &mut Value, now: Timestamp) {
    if kind.collection() != COLLECTION || meta::is_deleting(definition) {
        return;
    }
    let mut finalizers: Vec<String> = meta::finalizers(definition).into_iter().map(str::to_owned).collect();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
        meta::set(definition, "finalizers", json!(finalizers));
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    terminating(true, "InstanceDeletionPending", message).set(definition, &meta::time(now));
}

/// Whether objects of a definition's kind are to be deleted.
pub(super) fn is_due(definition: &Value) -> bool {
    meta::is_deleting(definition) && meta::finalizers(definition).contains(&FINALIZER)
}

fn terminating<'a>(holds: bool, reason: &'a str, message: &'a str) -> Condition<'a> {
    Condition { kind: "Terminating", holds, reason, message }
}

/// Brings the definition `name` to its end; answers its name when nothing is left to do.
pub(super) async fn end(core: Arc<Core>, name: String) -> String {
    let user = server();
    let ending = Ending { core: &core, user: &user, name: &name };
    let mut waited = false;
    loop {
        match ending.step(waited).await {
            Ok(Step::Done) => break,
            Ok(Step::Waits { left, seen }) => {
                tracing::debug!(definition = name, left, "objects are left");
                let Ok(mut watch) = core.store.watch(Prefix::collection(&name), seen.revision()) else { continue };
                waited = tokio::time::timeout(PATIENCE, watch.next()).await.is_err();
            }
            Err(error) => {
                tracing::warn!(definition = name, %error, "objects of a definition that ends cannot be deleted; trying again");
                tokio::time::sleep(REST).await;
            }
        }
    }
    name
}

struct Ending<'a> {
    core: &'a Core,
    user: &'a User,
    name: &'a str,
}

// === impl Ending ===

impl Ending<'_> {
    /// One look. `waited`: nothing happened for a while.
    async fn step(&self, waited: bool) -> Result<Step, Status> {
        let seen = self.core.store.confirm().await.map_err(|error| unavailable(&error))?;
        let Some(entry) = seen.get(&Key::new(COLLECTION, "", self.name)) else { return Ok(Step::Done) };
        let definition = object::parse(&entry.served);
        if !is_due(&definition) {
            return Ok(Step::Done);
        }
        let prefix = Prefix::collection(self.name);
        let left = seen.count(&prefix);
        if left == 0 {
            let established = condition::holds(&definition, "Established");
            return self.finish(established).await.map(|()| Step::Done);
        }
        if waited {
            let why = format!("could not confirm zero CustomResources remaining: {left} are left");
            self.say("InstanceDeletionCheck", &why).await?;
        } else if reason(&definition) == "InstanceDeletionPending" {
            self.say("InstanceDeletionInProgress", "CustomResource deletion is in progress").await?;
        }
        let objects: Vec<Arc<Entry>> = seen.range(&prefix).cloned().collect();
        if let Err(error) = self.delete(objects).await {
            self.say("InstanceDeletionFailed", &format!("could not issue all deletes: {error}")).await?;
            return Err(error);
        }
        let seen = self.core.store.confirm().await.map_err(|error| unavailable(&error))?;
        let left = seen.count(&prefix);
        Ok(Step::Waits { left, seen })
    }

    /// Deletes those that are not being deleted yet.
    async fn delete(&self, objects: Vec<Arc<Entry>>) -> Result<(), Status> {
        let route = self.route();
        let mut running = FuturesUnordered::new();
        for entry in objects {
            if meta::is_deleting(&object::parse(&entry.served)) {
                continue;
            }
            running.push(self.delete_one(&route, entry));
            if running.len() >= AT_ONCE {
                running.next().await.transpose()?;
            }
        }
        while let Some(done) = running.next().await {
            done?;
        }
        Ok(())
    }

    async fn delete_one(&self, route: &Route, entry: Arc<Entry>) -> Result<(), Status> {
        let (_, namespace, name) = entry.key.parts();
        let by = By { user: self.user, notes: None };
        match delete(self.core, by, route, (namespace, name), &DeleteOptions::default()).await {
            // Somebody else was faster: another server does the same.
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }

    /// The way to the stored objects, whatever versions are served.
    fn route(&self) -> Route {
        match self.core.extensions.definitions.lock().custom(self.name) {
            Some(custom) => Route::new(custom.storage.clone(), None, Some(custom)),
            // It is not served: nothing but its name is needed to delete what it left.
            None => {
                let (plural, group) = self.name.split_once('.').unwrap_or((self.name, ""));
                let open = naru_api::kind::SchemaRef::Builtin(Default::default());
                let kind = Kind::new(group.to_owned(), "v1", plural.to_owned(), plural.to_owned(), open);
                Route::new(Arc::new(kind), None, None)
            }
        }
    }

    /// Writes how it stands.
    async fn say(&self, reason: &str, message: &str) -> Result<(), Status> {
        let change = |present: &Value| {
            let mut new = present.clone();
            meta::unset(&mut new, "resourceVersion");
            terminating(true, reason, message).set(&mut new, &meta::time(Timestamp::now()));
            Ok(new)
        };
        self.write("status", &change).await
    }

    /// Lets the definition go.
    async fn finish(&self, established: bool) -> Result<(), Status> {
        let (reason, message) = if established {
            ("InstanceDeletionCompleted", "removed all instances")
        } else {
            ("NeverEstablished", "resource was never established")
        };
        let change = |present: &Value| {
            let mut new = present.clone();
            meta::unset(&mut new, "resourceVersion");
            let left: Vec<&str> = meta::finalizers(present).into_iter().filter(|f| *f != FINALIZER).collect();
            meta::set(&mut new, "finalizers", json!(left));
            terminating(false, reason, message).set(&mut new, &meta::time(Timestamp::now()));
            Ok(new)
        };
        self.write("", &change).await
    }

    /// Admission is asked about a status and not about the end, which the server owes to whoever deleted.
    async fn write(&self, subresource: &str, change: &Change<'_>) -> Result<(), Status> {
        let route = self.core.route("apiextensions.k8s.io", "v1", "customresourcedefinitions")?;
        let options = WriteOptions { subresource, ..WriteOptions::default() };
        match update(self.core, self.user, &route, ("", self.name), Part::Trusted, change, options).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }
}

fn reason(definition: &Value) -> &str {
    condition::find(definition, "Terminating").and_then(|c| c["reason"].as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::fixture;
    use naru_api::Registry;

    #[test]
    fn deletion_is_announced_once_and_for_definitions_only() {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let registry = Registry::builtin();
        let kind = registry.by_resource("", "v1", "configmaps").expect("served");
        let mut other = json!({"metadata": {"name": "a"}});
        announce(kind, &mut other, now);
        assert_eq!(other, json!({"metadata": {"name": "a"}}));
        let kind = registry.by_collection(COLLECTION).expect("served");
        let mut definition = fixture::definition("v1");
        meta::set(&mut definition, "finalizers", json!(["x/y"]));
        announce(kind, &mut definition, now);
        assert_eq!(meta::finalizers(&definition), ["x/y", FINALIZER]);
        assert_eq!(reason(&definition), "InstanceDeletionPending");
        assert!(!is_due(&definition), "it is not deleted yet");
        meta::set(&mut definition, "deletionTimestamp", "2026-01-01T00:00:00Z");
        assert!(is_due(&definition));
        meta::set(&mut definition, "finalizers", json!(["x/y"]));
        let before = definition.clone();
        announce(kind, &mut definition, now);
        assert_eq!(definition, before, "what is being deleted gets no new finalizer");
    }
}
