//! ConfigMaps, Secrets and claims: read when needed, and watched in the namespaces whose pods use them.
//!
//! Nothing is cached: an object is read when a container starts or a change is announced, so memory does not grow with
//! the cluster. The watch keeps keys only.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use naru_api::{
    View,
    k8s::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret},
};
use naru_client::{Api, Client, ClientError, Informer, Resource};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::translate::{Lookup, References};

/// An object that pods may refer to has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectChange {
    /// `ConfigMap`, `Secret` or `PersistentVolumeClaim`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// The watches of one namespace; they end with the last pod that holds them.
pub(crate) struct Watched {
    _informers: [Informer<()>; 3],
}

/// Reads and watches.
pub(crate) struct Objects {
    client: Client,
    watches: Mutex<HashMap<String, Weak<Watched>>>,
    changes: broadcast::Sender<ObjectChange>,
}

impl Objects {
    /// Over this client.
    pub fn new(client: Client) -> Arc<Objects> {
        let changes = broadcast::Sender::new(1024);
        Arc::new(Objects { client, watches: Mutex::default(), changes })
    }

    /// Changes from now on. A reader that falls behind must look at everything again.
    pub fn changes(&self) -> broadcast::Receiver<ObjectChange> {
        self.changes.subscribe()
    }

    /// Watches a namespace for as long as the answer is held.
    pub fn watch(&self, namespace: &str) -> Arc<Watched> {
        let mut watches = self.watches.lock();
        if let Some(watched) = watches.get(namespace).and_then(Weak::upgrade) {
            return watched;
        }
        watches.retain(|_, watched| watched.strong_count() > 0);
        let informers = [
            self.follow::<ConfigMap>(namespace),
            self.follow::<Secret>(namespace),
            self.follow::<PersistentVolumeClaim>(namespace),
        ];
        let watched = Arc::new(Watched { _informers: informers });
        watches.insert(namespace.to_owned(), Arc::downgrade(&watched));
        watched
    }

    fn follow<V: View>(&self, namespace: &str) -> Informer<()> {
        let informer = Informer::builder(Resource::of::<V>(), |_| Ok(())).namespace(namespace).start(&self.client);
        let changes = self.changes.clone();
        informer.listen(move |change| {
            let key = change.key();
            // Nobody listening is fine.
            let _ =
                changes.send(ObjectChange { kind: V::KIND, namespace: key.namespace.clone(), name: key.name.clone() });
        });
        informer
    }

    /// Reads everything that is referred to; what does not exist is left out.
    pub async fn lookup(&self, namespace: &str, references: &References) -> Result<Lookup, ClientError> {
        let maps = read::<ConfigMap>(&self.client, namespace, references.config_maps.iter().cloned().collect());
        let secrets = read::<Secret>(&self.client, namespace, references.secrets.iter().cloned().collect());
        let (config_maps, secrets) = futures_util::future::try_join(maps, secrets).await?;
        Ok(Lookup { namespace: namespace.to_owned(), config_maps, secrets })
    }
}

/// Reads objects of one kind at the same time.
async fn read<V: View>(
    client: &Client,
    namespace: &str,
    names: Vec<String>,
) -> Result<BTreeMap<String, Arc<V>>, ClientError> {
    let api = client.api::<V>(Some(namespace));
    let mut reads = Vec::new();
    for name in names {
        reads.push(read_one(api.clone(), name));
    }
    let found = futures_util::future::try_join_all(reads).await?;
    Ok(found.into_iter().filter_map(|(name, object)| Some((name, Arc::new(object?)))).collect())
}

async fn read_one<V: View>(api: Api<V>, name: String) -> Result<(String, Option<V>), ClientError> {
    let object = api.get_opt(&name).await?;
    Ok((name, object))
}
