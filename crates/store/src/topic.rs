//! The recent changes of one watched scope, shared by all its watchers. A watcher is woken only for its own topic.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::{Change, Revision};

pub(crate) struct Topic {
    recent: RwLock<Recent>,
    notify: Notify,
}

struct Recent {
    /// Every change of the scope after `complete_after` is in `changes`.
    complete_after: Revision,
    changes: VecDeque<Arc<Change>>,
    closed: bool,
}

/// What a watcher finds after its cursor.
pub(crate) enum Found {
    /// Whole transactions; the last one's revision.
    Changes(Revision, Vec<Arc<Change>>),
    Nothing,
    Lagged,
    Closed,
}

impl Topic {
    pub fn new(complete_after: Revision) -> Topic {
        let recent = Recent { complete_after, changes: VecDeque::new(), closed: false };
        Topic { recent: RwLock::new(recent), notify: Notify::new() }
    }

    pub fn push(&self, revision: Revision, change: &Arc<Change>) {
        debug_assert_eq!(revision, change.revision);
        self.recent.write().changes.push_back(change.clone());
    }

    /// The revision after which it knows every change.
    pub fn complete_after(&self) -> Revision {
        self.recent.read().complete_after
    }

    /// Learns of earlier changes: all of its own after `after` that it did not know.
    pub fn reach_back(&self, after: Revision, missing: Vec<Arc<Change>>) {
        let mut recent = self.recent.write();
        missing.into_iter().rev().for_each(|change| recent.changes.push_front(change));
        recent.complete_after = after;
    }

    pub fn wake(&self) {
        self.notify.notify_waiters();
    }

    pub fn close(&self) {
        self.recent.write().closed = true;
        self.wake();
    }

    /// Forgets changes up to `oldest`.
    pub fn forget(&self, oldest: Revision) {
        let mut recent = self.recent.write();
        while recent.changes.front().is_some_and(|c| c.revision <= oldest) {
            // Only a change that is dropped makes someone lag: a watcher of a quiet scope misses nothing.
            recent.complete_after = recent.changes.pop_front().map_or(oldest, |c| c.revision);
        }
    }

    /// Everyone who has not seen everything up to `revision` falls behind.
    pub fn break_off(&self, revision: Revision) {
        {
            let mut recent = self.recent.write();
            recent.changes.clear();
            recent.complete_after = revision;
        }
        self.wake();
    }

    /// Resolves at the next wake-up after this call (not after the first poll).
    pub fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }

    /// The changes after `cursor`: about `most` of them, never a part of a transaction.
    pub fn after(&self, cursor: Revision, most: usize) -> Found {
        let recent = self.recent.read();
        if cursor < recent.complete_after {
            return Found::Lagged;
        }
        let changes = &recent.changes;
        let start = match changes.back() {
            None => 0,
            Some(last) if last.revision <= cursor => changes.len(),
            Some(_) => changes.partition_point(|c| c.revision <= cursor),
        };
        if start == changes.len() {
            return if recent.closed { Found::Closed } else { Found::Nothing };
        }
        let mut end = (start + most).min(changes.len());
        while end < changes.len() && changes[end].revision == changes[end - 1].revision {
            end += 1;
        }
        Found::Changes(changes[end - 1].revision, changes.range(start..end).cloned().collect())
    }
}
