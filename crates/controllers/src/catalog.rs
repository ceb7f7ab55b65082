//! The essence of every object of every kind: whose it is and what holds it.
//!
//! Garbage collection and the end of a namespace concern all kinds alike, so they read one catalog of metadata and
//! know no kind by name.

use std::collections::HashMap;
use std::sync::Arc;

use naru_api::Registry;
use naru_client::{Client, Informer, ObjectRef, Resource};
use serde::Deserialize;

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
    pub(crate) collections: Vec<Collection>,
    by_kind: HashMap<(String, String), Resource>,
}

impl Catalog {
    /// Starts to follow every kind of the registry.
    pub(crate) fn start(client: &Client, registry: &Registry) -> Arc<Catalog> {
        let mut collections: Vec<Collection> = Vec::new();
        let mut by_kind = HashMap::new();
        for kind in registry.iter().filter(|kind| kind.is_stored()) {
            let resource = Resource {
                group: kind.group.clone(),
                version: kind.version.clone(),
                kind: kind.kind.clone(),
                plural: kind.plural.clone(),
                namespaced: kind.is_namespaced(),
            };
            by_kind.insert((resource.api_version(), kind.kind.to_string()), resource.clone());
            let again = collections
                .iter()
                .any(|known| known.resource.group == resource.group && known.resource.plural == resource.plural);
            if again || ["events", "leases"].contains(&&*resource.plural) {
                continue;
            }
            let objects = Informer::builder(resource.clone(), views::read::<Essence>).start(client);
            collections.push(Collection { resource, objects });
        }
        Arc::new(Catalog { collections, by_kind })
    }

    /// Waits until every collection is known.
    pub(crate) async fn synced(&self) {
        for collection in &self.collections {
            collection.objects.synced().await;
        }
    }

    /// The resource of an owner reference's kind.
    pub(crate) fn resource_of(&self, owner: &Owner) -> Option<&Resource> {
        self.by_kind.get(&(owner.api_version.clone(), owner.kind.clone()))
    }

    /// What a namespace holds.
    pub(crate) fn contents(&self, namespace: &str) -> Vec<Held> {
        let namespaced = self.collections.iter().filter(|collection| collection.resource.namespaced);
        let held = |collection: &Collection| {
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
        namespaced.flat_map(held).collect()
    }
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
