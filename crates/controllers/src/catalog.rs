//! The essence of every object of every kind: whose it is and what holds it.
//!
//! Garbage collection and the end of a namespace concern all kinds alike, so they read one catalog of metadata and
//! know no kind by name. Kinds come and go while the controllers run; who reads the catalog is told of each.

use std::collections::HashMap;
use std::sync::Arc;

use naru_api::Registry;
use naru_client::{Client, Informer, ObjectRef, Resource};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::views::{self, Owner};

/// What the catalog keeps of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Essence {
    pub(crate) metadata: EssentialMeta,
}

/// The metadata that concerns an object's end.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EssentialMeta {
    pub(crate) owner_references: Box<[Owner]>,
    pub(crate) finalizers: Box<[Box<str>]>,
    pub(crate) resource_version: Box<str>,
}

/// One kind's objects.
pub(crate) struct Collection {
    pub(crate) resource: Resource,
    pub(crate) objects: Informer<Essence>,
}

/// Every stored kind. Events and leases are left out: they own nothing, nobody owns them, and they change all the time.
pub(crate) struct Catalog {
    known: RwLock<Known>,
    /// What is served now.
    kinds: watch::Receiver<Arc<Registry>>,
    listeners: Mutex<Vec<Box<dyn Listener>>>,
}

#[derive(Default)]
struct Known {
    /// The kinds that these collections are of.
    registry: Arc<Registry>,
    collections: Vec<Arc<Collection>>,
    by_kind: HashMap<(String, String), Resource>,
}

/// Whoever is to know of every collection.
pub(crate) trait Listener: Send + Sync + 'static {
    /// A collection is followed: it was there when the listener came, or is new.
    fn added(&self, collection: &Collection);

    /// A collection is no longer there, nor are these objects.
    fn gone(&self, collection: &Collection) {
        let _ = collection;
    }
}

impl Catalog {
    /// Starts to follow every kind that is served, and those to come until `shutdown`.
    pub(crate) fn start(
        client: &Client,
        mut kinds: watch::Receiver<Arc<Registry>>,
        shutdown: CancellationToken,
    ) -> Arc<Catalog> {
        let registry = kinds.borrow_and_update().clone();
        let catalog = Arc::new(Catalog { known: RwLock::default(), kinds: kinds.clone(), listeners: Mutex::default() });
        catalog.follow(client, registry);
        let (client, following) = (client.clone(), Arc::downgrade(&catalog));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    changed = kinds.changed() => if changed.is_err() { return },
                }
                let Some(catalog) = following.upgrade() else { return };
                let registry = kinds.borrow_and_update().clone();
                catalog.follow(&client, registry);
            }
        });
        catalog
    }

    /// Follows these kinds and no others.
    fn follow(&self, client: &Client, registry: Arc<Registry>) {
        // Held throughout: a listener that comes meanwhile is told of each collection once.
        let listeners = self.listeners.lock();
        let before = self.collections();
        let mut next = Known { registry: registry.clone(), ..Known::default() };
        let mut new = Vec::new();
        // The versions that objects are stored in come first: nobody has to be asked what an object is in them.
        let (stored, converted): (Vec<_>, Vec<_>) =
            registry.iter().filter(|kind| kind.is_stored()).partition(|kind| kind.stored_as.is_none());
        for kind in stored.into_iter().chain(converted) {
            let resource = Resource {
                group: kind.group.clone(),
                version: kind.version.clone(),
                kind: kind.kind.clone(),
                plural: kind.plural.clone(),
                namespaced: kind.is_namespaced(),
            };
            next.by_kind.insert((resource.api_version(), kind.kind.to_string()), resource.clone());
            let again = next.collections.iter().any(|known| same_objects(&known.resource, &resource));
            if again || ["events", "leases"].contains(&&*resource.plural) && kind.custom().is_none() {
                continue;
            }
            let collection = before.iter().find(|known| known.resource == resource).cloned().unwrap_or_else(|| {
                let objects = Informer::builder(resource.clone(), views::read::<Essence>).start(client);
                let collection = Arc::new(Collection { resource, objects });
                new.push(collection.clone());
                collection
            });
            next.collections.push(collection);
        }
        let left = |known: &&Arc<Collection>| {
            !next.collections.iter().any(|other| same_objects(&other.resource, &known.resource))
        };
        let gone: Vec<_> = before.iter().filter(left).cloned().collect();
        *self.known.write() = next;
        for listener in listeners.iter() {
            new.iter().for_each(|collection| listener.added(collection));
            gone.iter().for_each(|collection| listener.gone(collection));
        }
    }

    /// Whether every kind that is served now is among the collections: one that was just defined may not be yet.
    pub(crate) fn is_current(&self) -> bool {
        Arc::ptr_eq(&self.kinds.borrow(), &self.known.read().registry)
    }

    /// Tells a listener of every collection there is and will be.
    pub(crate) fn listen(&self, listener: impl Listener) {
        let mut listeners = self.listeners.lock();
        self.collections().iter().for_each(|collection| listener.added(collection));
        listeners.push(Box::new(listener));
    }

    /// Every collection.
    pub(crate) fn collections(&self) -> Vec<Arc<Collection>> {
        self.known.read().collections.clone()
    }

    /// Waits until every collection is known that is there now.
    pub(crate) async fn synced(&self) {
        for collection in self.collections() {
            collection.objects.synced().await;
        }
    }

    /// The resource of an owner reference's kind.
    pub(crate) fn resource_of(&self, owner: &Owner) -> Option<Resource> {
        self.known.read().by_kind.get(&(owner.api_version.clone(), owner.kind.clone())).cloned()
    }

    /// What a namespace holds.
    pub(crate) fn contents(&self, namespace: &str) -> Vec<Held> {
        let held = |collection: &Arc<Collection>| {
            let objects = collection.objects.list_in(namespace);
            objects
                .into_iter()
                .map(|object| Held {
                    resource: collection.resource.clone(),
                    key: object.key.clone(),
                    uid: object.uid.to_string(),
                    deleting: object.deleting,
                    finalizers: object.view.metadata.finalizers.iter().map(|name| name.to_string()).collect(),
                })
                .collect::<Vec<_>>()
        };
        self.collections().iter().filter(|collection| collection.resource.namespaced).flat_map(held).collect()
    }
}

/// Whether two resources are the same objects, perhaps in another version.
fn same_objects(one: &Resource, other: &Resource) -> bool {
    one.group == other.group && one.plural == other.plural
}

/// One object in a namespace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) resource: Resource,
    pub(crate) key: ObjectRef,
    pub(crate) uid: String,
    pub(crate) deleting: bool,
    pub(crate) finalizers: Vec<String>,
}
