//! Keys of changed objects, for one reader at its own pace.
//!
//! A queue of keys, not of events: a key that is already waiting is not added again, so the queue is never longer
//! than the collection, a slow reader loses nothing, and whoever takes a key reads the newest state.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ObjectRef;

/// Delivers every changed object's key at least once after its last change. Made by [`super::Informer::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Pending>,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    keys: Mutex<(VecDeque<ObjectRef>, HashSet<ObjectRef>)>,
    more: Notify,
}

impl Pending {
    pub(super) fn push(&self, key: &ObjectRef) {
        let mut keys = self.keys.lock();
        if keys.1.insert(key.clone()) {
            keys.0.push_back(key.clone());
            self.more.notify_one();
        }
    }
}

impl Subscription {
    pub(super) fn new() -> (Self, Arc<Pending>) {
        let shared = Arc::new(Pending::default());
        (Subscription { shared: shared.clone() }, shared)
    }

    /// Waits for the next changed object. Cancel-safe.
    pub async fn next(&mut self) -> ObjectRef {
        loop {
            if let Some(key) = self.try_next() {
                return key;
            }
            self.shared.more.notified().await;
        }
    }

    /// The next changed object, if one is waiting.
    pub fn try_next(&mut self) -> Option<ObjectRef> {
        let mut keys = self.shared.keys.lock();
        let key = keys.0.pop_front()?;
        keys.1.remove(&key);
        Some(key)
    }
}
