//! Garbage collection: what belongs to something that is gone goes too.
//!
//! A key is an object's uid. The graph of owners may lag behind, because each kind is followed on its own; so before
//! an object is deleted for want of an owner, that owner is asked for once more at the server.

mod graph;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use naru_client::{DeleteOptions, ObjectRef, Propagation};
use parking_lot::Mutex;

use crate::catalog::{Catalog, Collection, Listener};
use crate::cluster::{ApplyError, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use graph::{Graph, Node};
pub(crate) use plan::View;

/// Collects what nobody owns any more.
pub(crate) struct Garbage {
    cluster: Arc<Cluster>,
    catalog: Arc<Catalog>,
    graph: Arc<Mutex<Graph>>,
}

impl Garbage {
    pub(crate) fn new(cluster: Arc<Cluster>, catalog: Arc<Catalog>) -> Self {
        Garbage { cluster, catalog, graph: Arc::default() }
    }

    /// Whether an owner still exists, by the server's own word.
    async fn exists(&self, object: &Node, owner: &crate::views::Owner) -> Result<bool, ApplyError> {
        let what = format!("ask whether {} {} still exists", owner.kind, owner.name);
        let Some(resource) = self.catalog.resource_of(owner) else {
            return Err(ApplyError::Bug { what: format!("cannot {what}: {} is not served", owner.api_version) });
        };
        let scope = if resource.namespaced { object.key.scope() } else { None };
        let found = self.cluster.client.dynamic(resource, scope).get_opt(&owner.name).await;
        let found = found.map_err(|source| ApplyError::Write { what, source })?;
        Ok(found.is_some_and(|found| naru_api::meta::uid(&found) == owner.uid))
    }
}

impl Controller for Garbage {
    type View = View;

    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        self.catalog.listen(Following { keys: keys.clone(), graph: self.graph.clone() });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.graph.lock().uids().map(ObjectRef::cluster).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        View::of(&self.graph.lock(), &key.name)
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan::plan(view)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let mut writes = Vec::new();
            for write in plan.writes {
                let Write::Delete { resource, key: object, options } = write else {
                    writes.push(write);
                    continue;
                };
                let Some(view) = View::of(&self.graph.lock(), &key.name) else { continue };
                let mut missing = true;
                for owner in &view.absent {
                    missing &= !self.exists(&view.object, owner).await?;
                }
                if missing {
                    writes.push(Write::Delete { resource, key: object, options });
                }
            }
            self.cluster.apply(writes, plan.notices).await
        })
    }
}

/// Draws the graph of owners, and makes due whom a change concerns.
struct Following {
    keys: Keys,
    graph: Arc<Mutex<Graph>>,
}

impl Listener for Following {
    fn added(&self, collection: &Collection) {
        let (keys, graph) = (self.keys.clone(), self.graph.clone());
        let resource = Arc::new(collection.resource.clone());
        collection.objects.listen(move |change| {
            let concerned = match &change.after {
                Some(object) => graph.lock().apply(Node {
                    resource: resource.clone(),
                    key: object.key.clone(),
                    uid: object.uid.to_string(),
                    deleting: object.deleting,
                    meta: object.view.metadata.clone(),
                }),
                None => Vec::new(),
            };
            let gone = change
                .before
                .as_ref()
                .filter(|before| change.after.as_ref().is_none_or(|after| after.uid != before.uid));
            let left = gone.map(|gone| graph.lock().remove(&gone.uid)).unwrap_or_default();
            concerned.iter().chain(&left).for_each(|uid| keys.add(&ObjectRef::cluster(uid)));
        });
    }

    /// The last deletions may not have been told: whoever follows a kind that goes is cut off.
    fn gone(&self, collection: &Collection) {
        for object in collection.objects.list() {
            let concerned = self.graph.lock().remove(&object.uid);
            concerned.iter().for_each(|uid| self.keys.add(&ObjectRef::cluster(uid)));
        }
    }
}

/// How an object whose owners are gone is deleted: in the way that its own deletion was last asked for.
fn options(object: &Node) -> DeleteOptions {
    let has = |name: &str| object.meta.finalizers.iter().any(|finalizer| &**finalizer == name);
    let propagation = if has(naru_api::naru::names::ORPHAN) {
        Propagation::Orphan
    } else if has(naru_api::naru::names::FOREGROUND_DELETION) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    DeleteOptions::exactly(object.uid.clone()).propagation(propagation)
}
