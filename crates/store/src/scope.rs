//! What a watch is about. Each kind has a way from a change to those who follow it that does not grow with their number:
//! thousands of nodes each follow their own pods, and a pod's change concerns one of them.

use std::sync::Arc;

use crate::{Change, Entry, IndexName, Key, Prefix};

/// The objects that a watch follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything under a prefix.
    Prefix(Prefix),
    /// One object.
    Key(Key),
    /// The objects that an index finds under a value, and those that leave it.
    Index(IndexName, Arc<str>),
}

impl Scope {
    /// Whether a change concerns the watch: where it was, or where it is.
    pub(crate) fn contains(&self, change: &Change) -> bool {
        let found = |entry: &Option<Arc<Entry>>, index: &IndexName, value: &Arc<str>| {
            let indexes = entry.as_ref().map_or(&[][..], |entry| entry.indexes());
            indexes.iter().any(|(name, at)| name == index && at == value)
        };
        match self {
            Scope::Prefix(prefix) => prefix.contains(&change.key),
            Scope::Key(key) => *key == change.key,
            Scope::Index(index, value) => found(&change.before, index, value) || found(&change.after, index, value),
        }
    }
}

impl From<Prefix> for Scope {
    fn from(prefix: Prefix) -> Self {
        Scope::Prefix(prefix)
    }
}
