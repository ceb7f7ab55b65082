//! Objects and their changes as every reader shares them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{IndexName, Key, Revision};

/// One object at one revision. Always behind an `Arc` and shared by snapshots, watchers and caches.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// The transaction that created it.
    pub created: Revision,
    /// The transaction that wrote this state.
    pub modified: Revision,
    /// The bytes to send, with the revision in them.
    pub served: Bytes,
    pub(crate) indexes: Box<[(IndexName, Arc<str>)]>,
}

impl Entry {
    /// The index values under which the object is found.
    pub fn indexes(&self) -> &[(IndexName, Arc<str>)] {
        &self.indexes
    }

    /// The same state of the same object in other bytes: as another version of its kind shows it.
    #[must_use]
    pub fn shown_as(&self, served: Bytes) -> Entry {
        let Entry { key, created, modified, indexes, .. } = self;
        Entry { key: key.clone(), created: *created, modified: *modified, served, indexes: indexes.clone() }
    }
}

/// What one transaction did to one object.
#[derive(Debug)]
pub struct Change {
    /// The object's name.
    pub key: Key,
    /// The transaction's revision; all changes of a transaction share it.
    pub revision: Revision,
    /// The state before; `None` when it was created.
    pub before: Option<Arc<Entry>>,
    /// The state after; `None` when it was deleted.
    pub after: Option<Arc<Entry>>,
    /// Encoded events, shared by all watchers.
    pub frames: FrameCache,
    pub(crate) tombstone: Option<Arc<Entry>>,
}

impl Change {
    /// For a deletion: the last state, restamped with the deletion's revision. `None` otherwise.
    pub fn deleted(&self) -> Option<&Arc<Entry>> {
        self.tombstone.as_ref()
    }

    /// The object to show for this change: the new state, or the restamped last one of a deletion.
    pub fn object(&self) -> Option<&Arc<Entry>> {
        self.after.as_ref().or(self.tombstone.as_ref())
    }

    /// Roughly the memory that remembering this change costs.
    pub(crate) fn weight(&self) -> usize {
        let size = |e: &Option<Arc<Entry>>| e.as_ref().map_or(0, |e| e.served.len());
        256 + size(&self.before) + size(&self.after) + size(&self.tombstone)
    }
}

/// Room for a change's encoded event, once per representation whatever the number of watchers. A representation is a
/// number below [`FrameCache::SLOTS`] that the caller gives a meaning (JSON as MODIFIED, JSON as ADDED, a table row,
/// ...). Nothing is allocated before the first use, and little for representations that nobody asks for.
#[derive(Debug, Default)]
pub struct FrameCache(OnceLock<Box<[Slot; FrameCache::SLOTS]>>);

/// Boxed: of many representations one or two are used.
type Slot = OnceLock<Box<Bytes>>;

impl FrameCache {
    /// How many representations are remembered.
    pub const SLOTS: usize = 15;

    /// The frame of this representation, encoded by the first caller; the others wait for it and share its bytes.
    /// Representations beyond [`FrameCache::SLOTS`] are encoded each time.
    pub fn get_or_encode(&self, representation: usize, encode: impl FnOnce() -> Bytes) -> Bytes {
        match self.0.get_or_init(Box::default).get(representation) {
            Some(slot) => Bytes::clone(slot.get_or_init(|| Box::new(encode()))),
            None => encode(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_encoded_once_per_representation() {
        let frames = FrameCache::default();
        let mut encoded = 0;
        for _ in 0..3 {
            for representation in [0, 1] {
                frames.get_or_encode(representation, || {
                    encoded += 1;
                    Bytes::from_static(b"x")
                });
            }
        }
        assert_eq!(encoded, 2);
        frames.get_or_encode(FrameCache::SLOTS, || {
            encoded += 1;
            Bytes::new()
        });
        assert_eq!(encoded, 3);
    }
}
