//! A live, indexed copy of one collection.
//!
//! An informer lists once and then follows every change; a lost stream resumes where it broke off, and only when the
//! server no longer knows that revision does a fresh list replace the whole copy at once. Readers therefore always
//! see one complete state with its revision, never a half-replaced one. It keeps a *slim view* made by the caller's
//! function and not the typed object, because a typed Pod costs several times its JSON. Events are not handed out:
//! listeners learn which objects changed and read the newest state, so nothing that is slow can fall behind.

mod cache;
mod feed;
mod frames;
mod subscription;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use naru_api::view::View;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use cache::{Cached, Change, IndexFn};
pub use subscription::Subscription;

use crate::{BoxError, Client, Follow, Frame, ObjectRef, Resource};
use cache::Cache;

/// Makes the caller's slim view of an object's JSON.
pub type ProjectFn<V> = Arc<dyn Fn(&[u8]) -> Result<V, BoxError> + Send + Sync>;

type ListenFn<V> = Arc<dyn Fn(&Change<V>) + Send + Sync>;

/// A live, indexed copy of one collection. Clones share it; it ends when the last clone is dropped.
pub struct Informer<V> {
    shared: Arc<Shared<V>>,
    _task: Arc<Task>,
}

/// What an informer will follow and keep.
pub struct InformerBuilder<V> {
    resource: Resource,
    namespace: Option<String>,
    labels: String,
    fields: String,
    keep_raw: bool,
    project: ProjectFn<V>,
    indexes: Vec<(&'static str, IndexFn<V>)>,
}

struct Shared<V> {
    name: String,
    keep_raw: bool,
    project: ProjectFn<V>,
    cache: RwLock<Cache<V>>,
    listeners: Mutex<Vec<ListenFn<V>>>,
    /// The revision of the newest state that listeners have been told of; 0 before the first.
    told: watch::Sender<u64>,
}

/// Ends the following task when the last handle goes.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<V> Clone for Informer<V> {
    fn clone(&self) -> Self {
        Informer { shared: self.shared.clone(), _task: self._task.clone() }
    }
}

impl<V: View> Informer<V> {
    /// Follows the whole typed objects, in one namespace or all. Prefer a slim view for numerous kinds.
    pub fn typed(client: &Client, namespace: Option<&str>) -> Informer<V> {
        let builder = Informer::builder(Resource::of::<V>(), |json| Ok(V::from_json(json)?));
        match namespace {
            Some(namespace) => builder.namespace(namespace).start(client),
            None => builder.start(client),
        }
    }
}

impl<V: Send + Sync + 'static> Informer<V> {
    /// Prepares an informer over `resource` that keeps what `project` makes of each object's JSON.
    ///
    /// An object on which `project` fails is left out, with a warning in the log.
    pub fn builder(
        resource: Resource,
        project: impl Fn(&[u8]) -> Result<V, BoxError> + Send + Sync + 'static,
    ) -> InformerBuilder<V> {
        InformerBuilder {
            resource,
            namespace: None,
            labels: String::new(),
            fields: String::new(),
            keep_raw: false,
            project: Arc::new(project),
            indexes: Vec::new(),
        }
    }

    /// One object's newest known state.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Cached<V>>> {
        self.get_ref(&ObjectRef::new(namespace, name))
    }

    /// One object's newest known state.
    pub fn get_ref(&self, key: &ObjectRef) -> Option<Arc<Cached<V>>> {
        self.shared.cache.read().get(key).cloned()
    }

    /// Every object, by namespace and name.
    pub fn list(&self) -> Vec<Arc<Cached<V>>> {
        self.shared.cache.read().all().cloned().collect()
    }

    /// Every object of one namespace, by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<Cached<V>>> {
        self.shared.cache.read().namespace(namespace).cloned().collect()
    }

    /// The objects which the index of this name files under `value`, by namespace and name.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<Cached<V>>> {
        self.shared.cache.read().by_index(index, value)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.cache.read().len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The revision of the state that readers see now; 0 before the first list.
    pub fn revision(&self) -> u64 {
        self.shared.cache.read().revision
    }

    /// The revision of the newest change that readers see: one that whoever follows the same collection meets too, where
    /// [`Informer::revision`] may be a mark of this stream's own. Of a state that was read whole, that state's.
    pub fn newest_change(&self) -> u64 {
        self.shared.cache.read().newest
    }

    /// Whether a complete state has been seen.
    pub fn is_synced(&self) -> bool {
        self.shared.cache.read().synced
    }

    /// Waits until a complete state has been seen and listeners have been told of it.
    pub async fn synced(&self) {
        self.reached(0).await;
    }

    /// Waits until the state holds everything up to `revision`, such as one's own write.
    pub async fn reached(&self, revision: u64) {
        let mut told = self.shared.told.subscribe();
        // The sender lives in `shared`, so waiting cannot fail.
        let _ = told.wait_for(|now| *now >= revision.max(1)).await;
    }

    /// The newest revision, for waiting on any change of the collection.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.told.subscribe()
    }

    /// Calls `listener` for every object there is and then for every change, after readers can see it.
    ///
    /// It runs inside the informer's task: it must be quick and must not block.
    pub fn listen(&self, listener: impl Fn(&Change<V>) + Send + Sync + 'static) {
        let listener: ListenFn<V> = Arc::new(listener);
        let existing: Vec<_> = {
            // Under the cache's lock, so that a frame is either part of `existing` or told to the new listener.
            let cache = self.shared.cache.write();
            self.shared.listeners.lock().push(listener.clone());
            cache.all().cloned().collect()
        };
        for object in existing {
            listener(&Change { before: None, after: Some(object) });
        }
    }

    /// The keys of every object there is and then of every changed one, coalesced, at the reader's own pace.
    pub fn subscribe(&self) -> Subscription {
        let (subscription, pending) = Subscription::new();
        // A dropped subscription leaves a listener that does nothing: subscriptions are few and live long.
        let weak = Arc::downgrade(&pending);
        self.listen(move |change| {
            if let Some(pending) = weak.upgrade() {
                pending.push(change.key());
            }
        });
        subscription
    }
}

impl<V: Send + Sync + 'static> InformerBuilder<V> {
    /// Only objects of this namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only objects that match a label selector.
    pub fn labels(mut self, selector: &str) -> Self {
        self.labels = selector.into();
        self
    }

    /// Only objects that match a field selector.
    pub fn fields(mut self, selector: &str) -> Self {
        self.fields = selector.into();
        self
    }

    /// Keeps every object's JSON in [`Cached::raw`] (shared with the store when that is in this process).
    pub fn keep_raw(mut self) -> Self {
        self.keep_raw = true;
        self
    }

    /// Files every object under the keys that `keys` computes, for [`Informer::by_index`].
    pub fn index(
        mut self,
        name: &'static str,
        keys: impl Fn(&Cached<V>) -> Vec<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.indexes.push((name, Arc::new(keys)));
        self
    }

    /// Starts to follow. Must be called within a tokio runtime.
    pub fn start(self, client: &Client) -> Informer<V> {
        let shared = Arc::new(Shared {
            name: self.resource.plural.to_string(),
            keep_raw: self.keep_raw,
            project: self.project,
            cache: RwLock::new(Cache::new(self.indexes)),
            listeners: Mutex::new(Vec::new()),
            told: watch::Sender::new(0),
        });
        let follow = Follow {
            group: self.resource.group.to_string(),
            version: self.resource.version.to_string(),
            plural: self.resource.plural.to_string(),
            namespace: self.namespace,
            labels: self.labels,
            fields: self.fields,
            after: None,
        };
        let (client, sink) = (client.clone(), shared.clone());
        let task = tokio::spawn(async move {
            feed::run(client, self.resource, follow, |frame| sink.take(frame)).await;
        });
        Informer { shared, _task: Arc::new(Task(task.abort_handle())) }
    }
}

impl<V> Shared<V> {
    /// Makes a frame visible, tells the listeners, then whoever waits for its revision.
    fn take(&self, frame: Frame) {
        let (revision, changes) = match frame {
            Frame::Reset { revision, objects } => {
                let objects: Vec<_> = objects.into_iter().filter_map(|(key, raw)| self.read(key, raw)).collect();
                let mut cache = self.cache.write();
                (cache.revision, cache.newest, cache.synced) = (revision, revision, true);
                (revision, cache.reset(objects))
            }
            Frame::Changes { revision, changes } => {
                let changes: Vec<_> = changes
                    .into_iter()
                    .map(|delta| match delta {
                        crate::Delta::Applied(key, raw) => self.read(key.clone(), raw).ok_or(key),
                        crate::Delta::Deleted(key) => Err(key),
                    })
                    .collect();
                let mut cache = self.cache.write();
                cache.revision = cache.revision.max(revision);
                if !changes.is_empty() {
                    cache.newest = cache.newest.max(revision);
                }
                let changes = changes.into_iter().filter_map(|change| match change {
                    Ok(object) => Some(cache.apply(object)),
                    Err(key) => cache.remove(&key),
                });
                (revision, changes.collect::<Vec<_>>())
            }
        };
        let listeners = self.listeners.lock().clone();
        for change in &changes {
            listeners.iter().for_each(|listener| listener(change));
        }
        // A restored store may have gone to any revision: what was told is replaced, not raised.
        self.told.send_replace(revision.max(1));
    }

    fn read(&self, key: ObjectRef, raw: Bytes) -> Option<Arc<Cached<V>>> {
        let read = frames::Essentials::read(&raw).and_then(|essentials| {
            let view = Arc::new((self.project)(&raw)?);
            let (uid, revision, deleting) = (essentials.uid, essentials.revision, essentials.deleting);
            Ok(Cached { key: key.clone(), uid, revision, deleting, raw: Bytes::new(), view })
        });
        match read {
            Ok(mut object) => {
                if self.keep_raw {
                    object.raw = raw;
                }
                Some(Arc::new(object))
            }
            Err(error) => {
                tracing::warn!(collection = %self.name, object = %key, %error, "an object cannot be read and is left out");
                None
            }
        }
    }
}
