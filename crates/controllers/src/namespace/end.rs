//! The end of a namespace: its pods are deleted, then everything else in it, and when the server itself says that nothing
//! is left, its finalizer is taken away.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use naru_client::{DeleteOptions, ListOptions, ObjectRef};
use serde_json::json;

use super::conditions;
use crate::catalog::{Catalog, Collection, Held, Listener};
use crate::cluster::{ApplyError, BY_NETWORK, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::resources::{EVENTS, LEASES, NAMESPACES, NETWORKS, PODS};
use crate::views::Namespace;

/// The finalizer that is ours.
const OURS: &str = "kubernetes";
/// How often a namespace that cannot end looks again.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

/// Ends namespaces.
pub(crate) struct Namespaces {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) catalog: Arc<Catalog>,
}

/// One namespace and what it holds.
#[derive(Debug)]
pub(crate) struct View {
    pub(super) namespace: Arc<Namespace>,
    pub(super) contents: Vec<Held>,
}

impl Controller for Namespaces {
    type View = View;

    fn name(&self) -> &'static str {
        "namespace"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.cluster.namespaces.listen(move |change| own.add(change.key()));
        let (networks, namespaces) = (keys.clone(), self.cluster.namespaces.clone());
        self.cluster.networks.listen(move |change| {
            for network in change.sides() {
                let key = ObjectRef::cluster(&network.view.spec.namespace);
                if namespaces.get_ref(&key).is_some_and(|namespace| namespace.deleting) {
                    networks.add(&key);
                }
            }
        });
        self.catalog.listen(Contents { keys: keys.clone(), cluster: self.cluster.clone() });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        let ending = self.cluster.namespaces.list();
        ending.iter().filter(|namespace| namespace.deleting).map(|namespace| namespace.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let namespace = self.cluster.namespaces.get_ref(key).filter(|namespace| namespace.deleting)?.view.clone();
        let mut contents = self.catalog.contents(&key.name);
        contents.extend(self.networks(&key.name));
        Some(View { namespace, contents })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan(view, now)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let last = plan.writes.iter().any(is_last);
            if last && !self.is_empty(&key.name).await? {
                return Err(ApplyError::Conflict { what: format!("the content of namespace {}", key.name) });
            }
            let deletes = plan.writes.iter().any(|write| matches!(write, Write::Delete { .. }));
            let outcome = self.cluster.apply(plan.writes, plan.notices).await;
            if let (Err(error @ ApplyError::Write { .. }), true) = (&outcome, deletes) {
                self.tell_failure(key, error).await;
            }
            outcome
        })
    }
}

impl Namespaces {
    /// Says in the namespace's state that something in it cannot be deleted. The failure itself is what counts.
    async fn tell_failure(&self, key: &ObjectRef, error: &ApplyError) {
        let Some(view) = self.view(key) else { return };
        let why = naru_client::chain(error);
        let Some(write) = conditions::told(&view, Some(&why), self.cluster.now()) else { return };
        if let Err(error) = self.cluster.apply(vec![write], Vec::new()).await {
            tracing::debug!(%key, %error, "what keeps a namespace could not be told");
        }
    }

    /// The Networks of the namespace's project: they are cluster-wide, and nobody would ever take them away. One that
    /// pods of other namespaces are on stays, as Docker keeps a network that is in use.
    fn networks(&self, namespace: &str) -> Vec<Held> {
        let mut own = self.cluster.networks.list();
        own.retain(|network| network.view.spec.namespace == namespace);
        let foreign = |name: &str| {
            let pods = self.cluster.pods.by_index(BY_NETWORK, name);
            pods.iter().any(|pod| *pod.key.namespace != *namespace && !pod.view.is_finished())
        };
        own.retain(|network| !foreign(&network.key.name));
        let held = own.into_iter().map(|network| Held {
            resource: NETWORKS,
            key: network.key.clone(),
            uid: network.uid.to_string(),
            deleting: network.deleting,
            finalizers: network.view.metadata.finalizers.clone(),
        });
        held.collect()
    }

    /// Asks the server for anything in the namespace, and takes away what nobody follows.
    async fn is_empty(&self, namespace: &str) -> Result<bool, ApplyError> {
        let failed = |source| ApplyError::Write { what: format!("empty namespace {namespace}"), source };
        for resource in [EVENTS, LEASES] {
            let api = self.cluster.client.dynamic(resource, Some(namespace));
            api.delete_all(&ListOptions::default(), &DeleteOptions::default()).await.map_err(failed)?;
        }
        // Objects of a kind that nobody here knows yet would be left over.
        if !self.catalog.is_current() {
            return Ok(false);
        }
        let one = ListOptions { limit: 1, ..ListOptions::default() };
        for collection in self.catalog.collections().iter().filter(|collection| collection.resource.namespaced) {
            let api = self.cluster.client.dynamic(collection.resource.clone(), Some(namespace));
            match api.list(&one).await {
                Ok(list) if list.items.is_empty() => {}
                Ok(_) => return Ok(false),
                // The kind has just gone, with all its objects.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(true)
    }
}

/// Makes a namespace that ends due when anything in it changes.
struct Contents {
    keys: Keys,
    cluster: Arc<Cluster>,
}

impl Listener for Contents {
    fn added(&self, collection: &Collection) {
        if !collection.resource.namespaced {
            return;
        }
        let (keys, namespaces) = (self.keys.clone(), self.cluster.namespaces.clone());
        collection.objects.listen(move |change| {
            let key = ObjectRef::cluster(&change.key().namespace);
            if namespaces.get_ref(&key).is_some_and(|namespace| namespace.deleting) {
                keys.add(&key);
            }
        });
    }
}

fn is_last(write: &Write) -> bool {
    matches!(write, Write::Put { subresource: "finalize", .. })
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    if view.contents.is_empty() {
        return empty(view, now);
    }
    let mut plan = Plan::nothing(format!("{} objects are left", view.contents.len()));
    // Pods first: what protects them (policies), serves them and holds their data stays until the last has ended.
    let pods = view.contents.iter().any(|held| held.resource == PODS);
    let due = view.contents.iter().filter(|held| !pods || held.resource == PODS);
    for held in due.filter(|held| !held.deleting) {
        plan.push(Write::delete(held.resource.clone(), held.key.clone(), &held.uid));
    }
    // Said once everything has been told to go: most namespaces are gone by then.
    if plan.writes.is_empty() {
        plan.writes.extend(conditions::told(view, None, now));
    }
    plan.again_at(now.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX));
    plan
}

/// Nothing is left: the finalizer is taken away.
fn empty(view: &View, now: Timestamp) -> Plan {
    let namespace = &*view.namespace;
    let left: Vec<_> = namespace.spec.finalizers.iter().filter(|finalizer| *finalizer != OURS).collect();
    let done = left.len() == namespace.spec.finalizers.len();
    // Who waits for somebody else reads there that it is not for us.
    let stays = done || !left.is_empty() || !namespace.metadata.finalizers.is_empty();
    if let Some(told) = stays.then(|| conditions::told(view, None, now)).flatten() {
        let mut plan = Plan::nothing("empty: saying so");
        plan.push(told);
        return plan;
    }
    if done {
        return Plan::nothing("waits for other finalizers");
    }
    let mut plan = Plan::nothing("empty: ending it");
    let meta = &namespace.metadata;
    plan.push(Write::Put {
        resource: NAMESPACES,
        key: ObjectRef::cluster(&meta.name),
        subresource: "finalize",
        body: json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            // Guarded: somebody may be adding a finalizer of theirs.
            "metadata": { "name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version },
            "spec": { "finalizers": left },
        }),
    });
    plan
}
