//! Reading: a consistent view of all objects at one revision, taken without waiting for anyone.

use std::fmt;
use std::sync::Arc;

use crate::root::Root;
use crate::{Entry, IndexName, Key, Prefix, Revision};

/// All objects at one revision. Taking, cloning and keeping one is cheap (what changed since stays in memory while it
/// lives).
#[derive(Clone)]
pub struct Snapshot(pub(crate) Arc<Root>);

impl Snapshot {
    /// The revision that is seen: every transaction up to it and none after.
    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.0.get(key)
    }

    /// The objects of a group in key order.
    pub fn range<'a>(&'a self, prefix: &'a Prefix) -> impl Iterator<Item = &'a Arc<Entry>> + Send + 'a {
        self.0.range(prefix)
    }

    /// The objects of a group whose [`Prefix::rest`] is greater than `after`, in key order: how a list continues.
    pub fn range_from<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: &str,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + Send + 'a {
        self.0.range_from(prefix, after)
    }

    /// How many objects a group has; immediate for a whole collection, a walk for one namespace.
    pub fn count(&self, prefix: &Prefix) -> usize {
        self.0.count(prefix)
    }

    /// When anything in the collection last changed; `Revision(0)` when it never had an object. Two snapshots with the
    /// same answer have the same objects in it.
    pub fn changed(&self, collection: &str) -> Revision {
        self.0.changed(collection)
    }

    /// The objects that the codec put under this value of an index, in key order.
    pub fn by_index<'a>(&'a self, index: IndexName, value: &str) -> impl Iterator<Item = &'a Arc<Entry>> + Send + 'a {
        self.0.by_index(index, value)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({})", self.0.revision)
    }
}
