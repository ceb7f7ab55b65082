//! Following changes: a cursor into the shared past, no queue.

use std::sync::Arc;

use crate::history::Published;
use crate::topic::{Found, Topic};
use crate::{Change, Revision, Scope};

/// How many changes are given at once, unless a single transaction has more.
const MOST: usize = 512;

/// Changes of one or more whole transactions, in revision order.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Everything of the scope up to this revision has been delivered.
    pub revision: Revision,
    /// The changes; empty when only time went on.
    pub changes: Vec<Arc<Change>>,
}

/// Why a watch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The watcher was too slow: changes it has not seen were forgotten. It must read a snapshot and watch from there.
    #[error("the watcher fell behind the history kept: list again")]
    Lagged,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A watch of one scope. It costs nothing while nothing happens in the scope, and holds no memory of its own.
pub struct Watch {
    published: Arc<Published>,
    scope: Scope,
    /// `None` only while being dropped.
    topic: Option<Arc<Topic>>,
    cursor: Revision,
}

impl Watch {
    pub(crate) fn new(published: Arc<Published>, scope: Scope, topic: Arc<Topic>, cursor: Revision) -> Watch {
        Watch { published, scope, topic: Some(topic), cursor }
    }

    /// Waits for changes after those already delivered. Every change is delivered once, in revision order, the changes
    /// of one transaction together. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the watch is over, then and for ever.
    pub async fn next(&mut self) -> Result<Batch, WatchEnd> {
        loop {
            let Some(topic) = &self.topic else { return Err(WatchEnd::Closed) };
            let woken = topic.woken();
            match topic.after(self.cursor, MOST) {
                Found::Changes(revision, changes) => {
                    self.cursor = revision;
                    return Ok(Batch { revision, changes });
                }
                Found::Lagged => return Err(WatchEnd::Lagged),
                Found::Closed => return Err(WatchEnd::Closed),
                Found::Nothing => woken.await,
            }
        }
    }

    /// The newest revision up to which all changes have been delivered, for a bookmark; `None` when some wait to be
    /// taken with [`Watch::next`].
    pub fn progress(&mut self) -> Option<Revision> {
        let topic = self.topic.as_ref()?;
        let newest = self.published.settled(|newest| match topic.after(self.cursor, 1) {
            Found::Nothing | Found::Closed => Some(newest),
            Found::Changes(..) | Found::Lagged => None,
        })?;
        self.cursor = newest;
        Some(newest)
    }

    /// What is watched.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(topic) = self.topic.take() {
            self.published.unsubscribe(&self.scope, topic);
        }
    }
}
