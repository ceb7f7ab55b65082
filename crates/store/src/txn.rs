//! A transaction while its closure runs: what it read, which is checked when it takes its place in the order, and what
//! it wants to write.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::root::Root;
use crate::{Change, Entry, Key, Prefix, Revision};

/// A transaction while its closure runs. It sees the pending view: everything that was decided before it, durable or
/// not yet. What it reads is checked again when it takes its place in the order, and the closure is run again if
/// something of it changed; what it writes is seen by none before it is durable, also not by itself.
pub struct Txn<'a> {
    base: &'a Root,
    reads: Reads,
    writes: BTreeMap<Key, Option<Bytes>>,
}

/// What a transaction read.
#[derive(Default)]
pub(crate) struct Reads {
    keys: Vec<(Key, Option<Revision>)>,
    /// Collections that were listed; `None` is all of them.
    collections: Vec<Option<Arc<str>>>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(base: &'a Root) -> Txn<'a> {
        Txn { base, reads: Reads::default(), writes: BTreeMap::new() }
    }

    /// The revision of the view that the transaction reads.
    pub fn revision(&self) -> Revision {
        self.base.revision
    }

    /// One object, as it was before this transaction.
    pub fn get(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let entry = self.base.get(key).cloned();
        self.reads.keys.push((key.clone(), entry.as_ref().map(|e| e.modified)));
        entry
    }

    /// The objects of a group, as they were before this transaction. Any other change to the collection makes the
    /// closure run again, so this is for rare decisions (is the namespace empty?).
    pub fn range<'p>(&mut self, prefix: &'p Prefix) -> impl Iterator<Item = &'p Arc<Entry>> + use<'p>
    where
        'a: 'p,
    {
        self.reads.collections.push(prefix.scope().map(|(collection, _)| collection.into()));
        let base: &'p Root = self.base;
        base.range(prefix)
    }

    /// Creates or replaces an object. `stored` is the value without its revision; at most
    /// [`MAX_VALUE`](crate::MAX_VALUE) bytes, else the commit fails.
    pub fn put(&mut self, key: Key, stored: impl Into<Bytes>) {
        self.writes.insert(key, Some(stored.into()));
    }

    /// Deletes an object; nothing happens when there is none.
    pub fn delete(&mut self, key: Key) {
        self.writes.insert(key, None);
    }

    pub(crate) fn finish(self) -> (Reads, BTreeMap<Key, Option<Bytes>>) {
        (self.reads, self.writes)
    }
}

impl Reads {
    /// The objects that were read, and when they had been written last.
    pub fn keys(&self) -> &[(Key, Option<Revision>)] {
        &self.keys
    }

    /// The collections that were listed; `None` is all of them.
    pub fn collections(&self) -> impl Iterator<Item = Option<&str>> {
        self.collections.iter().map(Option::as_deref)
    }

    /// Whether a transaction that read this from `base` would read the same from `now`.
    pub fn still_hold(&self, base: &Root, now: &Root) -> bool {
        base.revision == now.revision
            || self.keys.iter().all(|(key, seen)| now.get(key).map(|e| e.modified) == *seen)
                && self.collections.iter().all(|collection| match collection {
                    Some(collection) => base.changed(collection) == now.changed(collection),
                    None => false,
                })
    }
}

/// A transaction that is done.
#[derive(Clone, Debug)]
pub struct Committed<T> {
    /// What the closure returned.
    pub value: T,
    /// Its place in the order; for a transaction that wrote nothing, the revision it read.
    pub revision: Revision,
    /// What it did, in key order; empty when it wrote nothing.
    pub changes: Arc<[Arc<Change>]>,
}
