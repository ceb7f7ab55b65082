//! The engine that other servers write, too: etcd.
//!
//! etcd decides the order, so this takes the sequencer's place (see `engine`). Everything is in this process's memory
//! all the same; etcd is asked for two things only: to do a transaction, and what the newest revision is.
//!
//! - **Feed.** One watch over the whole key space brings every change, our own too, and publishes it revision by
//!   revision. Nothing else publishes. When the watch breaks it begins again behind the last revision; when that is
//!   compacted, everything is loaded anew and watchers are sent back to list.
//! - **Commit.** The closure runs on the newest published root. What it read and what it writes becomes the conditions
//!   of one etcd transaction, so that it happens on exactly the state that was seen, or not at all; then it runs again.
//!   Done is what the feed has brought.
//! - **A lost answer.** Every transaction writes the key `tick` with a number of its own. So the feed tells which of our
//!   transactions happened, whatever became of their answers; one in doubt is only repeated with conditions under which
//!   both cannot happen. What stays in doubt until patience ends is said to be so ([`StoreError::Unknown`]).
//! - **Reading the newest.** [`Remote::confirm`] asks for `tick` and waits until the feed has come so far. Questions that
//!   come while one is under way share the next. Refused: etcd's own progress notifications, which its older versions
//!   do not send reliably.
//! - **Ranges.** That nothing of a collection has changed is two conditions: no key of it written since, and the key that
//!   its deletions write, since a deleted key cannot be compared.
//!
//! The names of keys are in `space`.

mod ask;
mod commit;
mod compaction;
mod feed;
mod import;
mod kv;
mod load;
mod request;
mod space;

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::engine::ClusterId;
use crate::history::Published;
use crate::{Codec, History, OpenError, Options, Revision, StoreError};

pub use space::EtcdConfig;

pub(crate) use import::import;
pub(crate) use kv::Kv;

use ask::Asker;
use feed::{Feed, Waiting};
use space::Space;

/// How long a transaction or a question is tried. Longer than etcd needs to elect a leader.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store in etcd. Dropping it ends its tasks.
pub(crate) struct Remote {
    shared: Arc<Shared>,
    asker: Asker,
    /// Transactions of this process that keep failing take turns.
    turn: tokio::sync::Mutex<()>,
    cluster: ClusterId,
    tasks: Mutex<JoinSet<()>>,
}

/// What commits and the feed have in common.
struct Shared {
    kv: Arc<dyn Kv>,
    space: Space,
    published: Arc<Published>,
    codec: Arc<dyn Codec>,
    offset: u64,
    /// Tells our transactions from other servers'.
    instance: u64,
    tokens: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
    /// How far the feed has come, in etcd's count.
    reached: tokio::sync::watch::Sender<Reached>,
}

/// How far the feed has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Everything up to this revision of etcd is published.
    Upto(u64),
    /// It will not go on.
    Closed,
}

impl Remote {
    /// Loads everything and begins to follow it.
    pub async fn open(
        kv: Arc<dyn Kv>,
        prefix: &str,
        options: &Options,
    ) -> Result<(Remote, Arc<Published>, u64), OpenError> {
        let space = Space::new(prefix);
        let loaded = load::open(&*kv, &space, options.raise_above).await?;
        let (cluster, offset, at) = (loaded.cluster, loaded.offset, loaded.sequence);
        let root = crate::store::load(loaded, &*options.codec)?;
        let published = Arc::new(Published::new(root.clone(), options.history));
        let shared = Arc::new(Shared {
            kv,
            space,
            published: published.clone(),
            codec: options.codec.clone(),
            offset,
            instance: rand::random(),
            tokens: AtomicU64::new(1),
            waiting: Mutex::default(),
            reached: tokio::sync::watch::Sender::new(Reached::Upto(at)),
        });
        let mut tasks = JoinSet::new();
        let asker = Asker::start(&shared, &mut tasks);
        tasks.spawn(Feed::new(shared.clone(), root, at, cluster).run());
        tasks.spawn(compaction::run(shared.clone(), age(options.history)));
        let tasks = Mutex::new(tasks);
        let remote = Remote { shared, asker, turn: tokio::sync::Mutex::default(), cluster, tasks };
        Ok((remote, published, offset))
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Refuses new transactions, waits for those that were sent, ends watches.
    pub async fn close(&self) {
        self.shared.reached.send_if_modified(|reached| {
            let open = *reached != Reached::Closed;
            *reached = Reached::Closed;
            open
        });
        self.shared.published.close();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
        self.shared.waiting.lock().clear();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // The tasks end with their set.
        self.shared.published.close();
    }
}

impl Shared {
    fn revision(&self, at: u64) -> Revision {
        Revision(self.offset + at)
    }

    /// Waits until everything up to etcd's revision `at` is published.
    async fn reach(&self, at: u64) -> Result<(), StoreError> {
        let mut reached = self.reached.subscribe();
        let there = reached.wait_for(|reached| match reached {
            Reached::Upto(upto) => *upto >= at,
            Reached::Closed => true,
        });
        match there.await.map(|reached| *reached) {
            Ok(Reached::Upto(_)) => Ok(()),
            Ok(Reached::Closed) | Err(_) => Err(StoreError::Closed),
        }
    }

    fn is_closed(&self) -> bool {
        *self.reached.borrow() == Reached::Closed
    }
}

/// etcd forgets what is older than what is kept here, and not faster than it can.
fn age(history: History) -> Duration {
    history.age.max(Duration::from_secs(30))
}
