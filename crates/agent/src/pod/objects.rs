//! ConfigMaps, Secrets and claims: read when needed, and watched where pods use them: claims by namespace, the others one
//! by one, since a node may see no other pods' secrets.
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

/// What a pod keeps watched; a watch ends with the last pod that holds it.
pub(crate) struct Watched {
    _informers: Vec<Arc<Informer<()>>>,
}

/// What a watch is about: the kind, the namespace, and the name where it is about one object.
type Watch = (&'static str, String, Option<String>);

/// Reads and watches.
pub(crate) struct Objects {
    client: Client,
    watches: Mutex<HashMap<Watch, Weak<Informer<()>>>>,
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

    /// Watches what is referred to, and a namespace's claims, for as long as the answer is held.
    pub fn watch(&self, namespace: &str, references: &References, claims: bool) -> Watched {
        let mut watches = self.watches.lock();
        watches.retain(|_, watch| watch.strong_count() > 0);
        let mut informers = Vec::new();
        let mut hold = |watch: Watch, follow: &dyn Fn(Option<&str>) -> Informer<()>| {
            let known = watches.get(&watch).and_then(Weak::upgrade);
            let informer = known.unwrap_or_else(|| {
                let informer = Arc::new(follow(watch.2.as_deref()));
                watches.insert(watch, Arc::downgrade(&informer));
                informer
            });
            informers.push(informer);
        };
        for name in &references.config_maps {
            let watch = (ConfigMap::KIND, namespace.to_owned(), Some(name.clone()));
            hold(watch, &|name| self.follow::<ConfigMap>(namespace, name));
        }
        for name in &references.secrets {
            let watch = (Secret::KIND, namespace.to_owned(), Some(name.clone()));
            hold(watch, &|name| self.follow::<Secret>(namespace, name));
        }
        if claims {
            let watch = (PersistentVolumeClaim::KIND, namespace.to_owned(), None);
            hold(watch, &|_| self.follow::<PersistentVolumeClaim>(namespace, None));
        }
        Watched { _informers: informers }
    }

    fn follow<V: View>(&self, namespace: &str, name: Option<&str>) -> Informer<()> {
        let mut builder = Informer::builder(Resource::of::<V>(), |_| Ok(())).namespace(namespace);
        if let Some(name) = name {
            builder = builder.fields(&format!("metadata.name={name}"));
        }
        let informer = builder.start(&self.client);
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
