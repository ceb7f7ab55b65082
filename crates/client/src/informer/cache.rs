//! What an informer knows: the objects and the caller's indexes over them, changed only by whole frames.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::ObjectRef;

/// One object as an informer keeps it.
#[derive(Debug)]
pub struct Cached<V> {
    /// Namespace and name.
    pub key: ObjectRef,
    /// The object's uid.
    pub uid: Box<str>,
    /// The object's resourceVersion.
    pub revision: u64,
    /// Whether its deletion has been asked for and waits for finalizers or a grace period.
    pub deleting: bool,
    /// The object's JSON; empty unless the informer keeps it ([`super::InformerBuilder::keep_raw`]).
    pub raw: Bytes,
    /// What the caller's projection made of the JSON.
    pub view: Arc<V>,
}

/// Computes the keys under which an index files an object.
pub type IndexFn<V> = Arc<dyn Fn(&Cached<V>) -> Vec<Arc<str>> + Send + Sync>;

/// One object's change as listeners see it. At least one side is present.
#[derive(Debug)]
pub struct Change<V> {
    /// The object before, if it was known.
    pub before: Option<Arc<Cached<V>>>,
    /// The object now, unless it is gone.
    pub after: Option<Arc<Cached<V>>>,
}

impl<V> Change<V> {
    /// Which object changed.
    pub fn key(&self) -> &ObjectRef {
        match (&self.after, &self.before) {
            (Some(object), _) | (None, Some(object)) => &object.key,
            (None, None) => unreachable!("a change has a side: the cache makes no other"),
        }
    }

    /// Both sides that are present, the older one first.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<Cached<V>>> {
        self.before.iter().chain(self.after.iter())
    }
}

type Bucket<V> = BTreeMap<ObjectRef, Arc<Cached<V>>>;

struct Index<V> {
    name: &'static str,
    keys: IndexFn<V>,
    buckets: HashMap<Arc<str>, Bucket<V>>,
}

/// Objects and indexes at one revision.
pub(super) struct Cache<V> {
    objects: Bucket<V>,
    indexes: Vec<Index<V>>,
    /// The revision of this state; 0 before the first frame.
    pub(super) revision: u64,
    /// The revision of the newest change in it; of a state that was read whole, that state's.
    pub(super) newest: u64,
    /// Whether a first frame has come.
    pub(super) synced: bool,
}

impl<V> Cache<V> {
    pub(super) fn new(indexes: Vec<(&'static str, IndexFn<V>)>) -> Self {
        let indexes = indexes.into_iter().map(|(name, keys)| Index { name, keys, buckets: HashMap::new() }).collect();
        Cache { objects: BTreeMap::new(), indexes, revision: 0, newest: 0, synced: false }
    }

    pub(super) fn get(&self, key: &ObjectRef) -> Option<&Arc<Cached<V>>> {
        self.objects.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Cached<V>>> {
        self.objects.values()
    }

    pub(super) fn namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Cached<V>>> {
        let from = ObjectRef::new(namespace, "");
        self.objects.range(from..).take_while(move |(key, _)| &*key.namespace == namespace).map(|(_, object)| object)
    }

    pub(super) fn by_index(&self, index: &str, value: &str) -> Vec<Arc<Cached<V>>> {
        let index = self.indexes.iter().find(|known| known.name == index);
        debug_assert!(index.is_some(), "an index that the informer was built without was asked for");
        let bucket = index.and_then(|index| index.buckets.get(value));
        bucket.map(|bucket| bucket.values().cloned().collect()).unwrap_or_default()
    }

    /// Replaces the whole state; returns what differs from before.
    pub(super) fn reset(&mut self, objects: Vec<Arc<Cached<V>>>) -> Vec<Change<V>> {
        let mut gone = self.objects.clone();
        let mut changes = Vec::new();
        for object in objects {
            let same = gone
                .remove(&object.key)
                .is_some_and(|known| known.revision == object.revision && known.uid == object.uid);
            if !same {
                changes.push(self.apply(object));
            }
        }
        changes.extend(gone.into_keys().filter_map(|key| self.remove(&key)));
        changes
    }

    pub(super) fn apply(&mut self, object: Arc<Cached<V>>) -> Change<V> {
        let before = self.objects.insert(object.key.clone(), object.clone());
        for index in &mut self.indexes {
            if let Some(before) = &before {
                index.forget(before);
            }
            index.file(&object);
        }
        Change { before, after: Some(object) }
    }

    pub(super) fn remove(&mut self, key: &ObjectRef) -> Option<Change<V>> {
        let before = self.objects.remove(key)?;
        for index in &mut self.indexes {
            index.forget(&before);
        }
        Some(Change { before: Some(before), after: None })
    }
}

impl<V> Index<V> {
    fn file(&mut self, object: &Arc<Cached<V>>) {
        for key in (self.keys)(object) {
            self.buckets.entry(key).or_default().insert(object.key.clone(), object.clone());
        }
    }

    fn forget(&mut self, object: &Arc<Cached<V>>) {
        for key in (self.keys)(object) {
            if let Some(bucket) = self.buckets.get_mut(&key) {
                bucket.remove(&object.key);
                if bucket.is_empty() {
                    self.buckets.remove(&key);
                }
            }
        }
    }
}
