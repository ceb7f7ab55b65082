//! The end of a namespace: everything in it is deleted, and when the server itself says that nothing is left, its
//! finalizer is taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use naru_client::{DeleteOptions, ListOptions, ObjectRef};
use serde_json::json;

use crate::catalog::{Catalog, Collection, Held, Listener};
use crate::cluster::{ApplyError, BY_NETWORK, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::resources::{EVENTS, LEASES, NAMESPACES, NETWORKS};
use crate::views::{Condition, Namespace};

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
            self.cluster.apply(plan.writes, plan.notices).await
        })
    }
}

impl Namespaces {
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
    let namespace = &*view.namespace;
    let name = ObjectRef::cluster(&namespace.metadata.name);
    if view.contents.is_empty() {
        let left: Vec<_> = namespace.spec.finalizers.iter().filter(|finalizer| *finalizer != OURS).collect();
        if left.len() == namespace.spec.finalizers.len() {
            return Plan::nothing("waits for other finalizers");
        }
        let mut plan = Plan::nothing("empty: ending it");
        plan.push(Write::Put {
            resource: NAMESPACES,
            key: name,
            subresource: "finalize",
            body: json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": { "name": namespace.metadata.name, "uid": namespace.metadata.uid },
                "spec": { "finalizers": left },
            }),
        });
        return plan;
    }
    let mut plan = Plan::nothing(format!("{} objects are left", view.contents.len()));
    for held in view.contents.iter().filter(|held| !held.deleting) {
        plan.push(Write::delete(held.resource.clone(), held.key.clone(), &held.uid));
    }
    explain(&mut plan, view, now);
    plan.again_at(now.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX));
    plan
}

/// Says what holds the end up, once everything has been told to go.
fn explain(plan: &mut Plan, view: &View, now: Timestamp) {
    if !plan.writes.is_empty() {
        return;
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for held in &view.contents {
        *kinds.entry(held.resource.plural.to_string()).or_default() += 1;
        held.finalizers.iter().for_each(|name| *finalizers.entry(name).or_default() += 1);
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} has {count} resource instances")).collect();
    let holders: Vec<_> =
        finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    let mut wanted = vec![(
        "NamespaceContentRemaining",
        "SomeResourcesRemain",
        format!("Some resources are remaining: {}", kinds.join(", ")),
    )];
    if !holders.is_empty() {
        let message = format!("Some content in the namespace has finalizers remaining: {}", holders.join(", "));
        wanted.push(("NamespaceFinalizersRemaining", "SomeFinalizersRemain", message));
    }
    let known = &view.namespace.status.conditions;
    let told = |(kind, _, message): &(&str, &str, String)| {
        Condition::find(known, kind).is_some_and(|condition| condition.is_true() && condition.message == *message)
    };
    if wanted.iter().all(told) && wanted.len() == known.len() {
        return;
    }
    let conditions: Vec<_> = wanted
        .into_iter()
        .map(|(kind, reason, message)| Condition {
            kind: kind.into(),
            status: "True".into(),
            reason: reason.into(),
            message,
            last_transition_time: Condition::find(known, kind).and_then(|c| c.last_transition_time).or(Some(now)),
            ..Condition::default()
        })
        .collect();
    let meta = &view.namespace.metadata;
    let patch = json!({ "metadata": { "uid": meta.uid }, "status": { "conditions": conditions } });
    plan.push(Write::status(NAMESPACES, ObjectRef::cluster(&meta.name), patch));
}
