//! All objects at one revision, in persistent maps: a clone is a few reference counts, a change copies a path.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::{Change, Entry, IndexName, Key, Prefix, Revision};

/// All objects at one revision.
#[derive(Clone, Default)]
pub(crate) struct Root {
    pub revision: Revision,
    collections: OrdMap<Arc<str>, Collection>,
    indexes: OrdMap<IndexName, OrdSet<(Arc<str>, Key)>>,
}

/// The objects of one collection. Trees per collection keep whole-collection lists and counts free of bounds.
#[derive(Clone, Default)]
struct Collection {
    entries: OrdMap<Key, Arc<Entry>>,
    changed: Revision,
}

impl Root {
    pub fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.collections.get(key.collection())?.entries.get(key)
    }

    /// When the collection last changed; zero when it never had an object.
    pub fn changed(&self, collection: &str) -> Revision {
        self.collections.get(collection).map_or(Revision(0), |c| c.changed)
    }

    pub fn range<'a>(&'a self, prefix: &'a Prefix) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + Send + 'a> {
        match prefix.scope() {
            None => Box::new(self.collections.values().flat_map(|c| c.entries.values())),
            Some((collection, whole)) => match self.collections.get(collection) {
                None => Box::new(std::iter::empty()),
                Some(c) if whole => Box::new(c.entries.values()),
                Some(c) => Box::new(bounded(c, Bound::Included(prefix.as_str()), prefix)),
            },
        }
    }

    pub fn range_from<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: &str,
    ) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + Send + 'a> {
        let start = [prefix.as_str(), after].concat();
        match prefix.scope() {
            None => {
                let after = start.clone();
                Box::new(self.range(prefix).skip_while(move |e| e.key.as_str() <= after.as_str()))
            }
            Some((collection, _)) => match self.collections.get(collection) {
                None => Box::new(std::iter::empty()),
                Some(c) => Box::new(bounded(c, Bound::Excluded(&start), prefix)),
            },
        }
    }

    pub fn count(&self, prefix: &Prefix) -> usize {
        match prefix.scope() {
            None => self.collections.values().map(|c| c.entries.len()).sum(),
            Some((collection, true)) => self.collections.get(collection).map_or(0, |c| c.entries.len()),
            Some(_) => self.range(prefix).count(),
        }
    }

    pub fn by_index<'a>(&'a self, index: IndexName, value: &str) -> impl Iterator<Item = &'a Arc<Entry>> + Send + 'a {
        let value: Arc<str> = value.into();
        let start = (value.clone(), Key::new("", "", ""));
        let set = self.indexes.get(&index);
        set.into_iter()
            .flat_map(move |set| set.range(start.clone()..))
            .take_while(move |(v, _)| *v == value)
            .filter_map(|(_, key)| self.get(key))
    }

    /// Brings the objects to the state after `change`.
    pub fn apply(&mut self, change: &Change) {
        self.revision = change.revision;
        let collection = change.key.collection();
        if !self.collections.contains_key(collection) {
            self.collections.insert(collection.into(), Collection::default());
        }
        if let Some(c) = self.collections.get_mut(collection) {
            c.changed = change.revision;
            match &change.after {
                Some(entry) => c.entries.insert(change.key.clone(), entry.clone()),
                None => c.entries.remove(&change.key),
            };
        }
        self.reindex(change.before.as_deref(), change.after.as_deref());
    }

    /// Adds an object found at start.
    pub fn load(&mut self, entry: Arc<Entry>) {
        let key = entry.key.clone();
        let collection = self.collections.entry(key.collection().into()).or_default();
        collection.changed = collection.changed.max(entry.modified);
        collection.entries.insert(key, entry.clone());
        self.reindex(None, Some(&entry));
    }

    fn reindex(&mut self, before: Option<&Entry>, after: Option<&Entry>) {
        let (old, new) = (before.map_or(&[][..], |e| &e.indexes), after.map_or(&[][..], |e| &e.indexes));
        if old == new {
            return;
        }
        for (entry, (index, value)) in before.iter().flat_map(|e| e.indexes.iter().map(move |i| (e, i))) {
            if let Some(set) = self.indexes.get_mut(index) {
                set.remove(&(value.clone(), entry.key.clone()));
            }
        }
        for (entry, (index, value)) in after.iter().flat_map(|e| e.indexes.iter().map(move |i| (e, i))) {
            self.indexes.entry(*index).or_default().insert((value.clone(), entry.key.clone()));
        }
    }
}

/// The end is looked up once, not compared with at each object: a key's text lies elsewhere in memory than the tree.
fn bounded<'a>(
    collection: &'a Collection,
    start: Bound<&str>,
    prefix: &Prefix,
) -> impl Iterator<Item = &'a Arc<Entry>> + Send + 'a + use<'a> {
    let end = prefix.end();
    let range = collection.entries.range::<_, str>((start, Bound::Excluded(end.as_str())));
    range.map(|(_, entry)| entry)
}
