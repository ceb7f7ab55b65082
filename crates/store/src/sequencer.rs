//! Where transactions get their order: the pending view, which is ahead of what is durable, and the one writer that
//! makes it so.
//!
//! A transaction's closure has run outside of any lock, on some pending root. Here, under one short lock, what it read
//! is compared with the pending view of now, it gets the next revision, and its changes enter the pending view. The
//! writer takes everything that queued up while it was syncing, makes it durable with one sync, publishes it and
//! answers. Refused: publishing before the sync, since a crash would take back what was seen and reuse revisions.
//!
//! When the engine refuses a group (disk full), the pending view falls back to the published one and everything that
//! was built on the lost group fails with it; `epoch` tells transactions that are just arriving.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::engine::{Engine, Record};
use crate::history::{Batch, Published};
use crate::root::Root;
use crate::txn::Reads;
use crate::{Change, Codec, Entry, Key, Opened, Revision, StoreError};

pub(crate) struct Sequencer {
    pending: Mutex<Pending>,
    work: Condvar,
    published: Arc<Published>,
    codec: Arc<dyn Codec>,
    offset: u64,
}

struct Pending {
    root: Root,
    epoch: u64,
    queue: Vec<Queued>,
    /// The engine, when commits make their own way to it instead of through the writer thread.
    inline: Option<Box<dyn Engine>>,
    writer_waits: bool,
    closed: bool,
}

struct Queued {
    /// `None` for a transaction that only waits for those before it.
    staged: Option<(Record, Batch)>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// A pending view to run a closure on.
pub(crate) struct View {
    pub root: Root,
    epoch: u64,
}

/// A value to write, opened as if it got the revision `guess`.
pub(crate) struct Write {
    pub stored: Bytes,
    pub opened: Opened,
}

/// How a transaction stands after it was handed in.
pub(crate) enum Verdict {
    /// What it read has changed: run the closure again.
    Stale,
    /// In the order; durable when the receiver says so.
    Placed { revision: Revision, changes: Arc<[Arc<Change>]>, done: Done },
}

/// When a placed transaction is durable.
pub(crate) enum Done {
    Now,
    Later(oneshot::Receiver<Result<(), StoreError>>),
}

impl Done {
    pub async fn wait(self) -> Result<(), StoreError> {
        match self {
            Done::Now => Ok(()),
            Done::Later(receiver) => receiver.await.unwrap_or(Err(StoreError::Closed)),
        }
    }
}

impl Sequencer {
    /// The thread that writes is started by the caller when `engine` was not immediate, with [`Sequencer::write`].
    pub fn new(
        root: Root,
        published: Arc<Published>,
        codec: Arc<dyn Codec>,
        offset: u64,
        inline: Option<Box<dyn Engine>>,
    ) -> Sequencer {
        let pending = Pending { root, epoch: 0, queue: Vec::new(), inline, writer_waits: false, closed: false };
        Sequencer { pending: Mutex::new(pending), work: Condvar::new(), published, codec, offset }
    }

    pub fn view(&self) -> View {
        self.lock().view()
    }

    /// Keeps everyone else from taking a place while the result lives.
    pub fn lock(&self) -> Place<'_> {
        Place { sequencer: self, pending: self.pending.lock() }
    }

    fn change(
        &self,
        key: Key,
        before: Option<Arc<Entry>>,
        write: Option<Write>,
        revision: Revision,
        guess: Revision,
    ) -> Change {
        let created = before.as_ref().map_or(revision, |e| e.created);
        let entry = |served: Bytes, indexes| Entry { key: key.clone(), created, modified: revision, served, indexes };
        let (after, tombstone) = match (write, &before) {
            (Some(Write { opened: Opened { served, indexes }, .. }), _) => {
                let served = if guess == revision { served } else { self.codec.restamp(&served, revision) };
                (Some(Arc::new(entry(served, indexes.into()))), None)
            }
            (None, Some(last)) => {
                let served = self.codec.restamp(&last.served, revision);
                (None, Some(Arc::new(entry(served, last.indexes.clone()))))
            }
            (None, None) => (None, None),
        };
        Change { key, revision, before, after, frames: Default::default(), tombstone }
    }

    /// The writer thread's life: until closed and nothing is queued. A panic in it would leave every writer waiting for
    /// ever, so it ends the process.
    pub fn write(&self, engine: Box<dyn Engine>) {
        if catch_unwind(AssertUnwindSafe(|| self.write_until_closed(engine))).is_err() {
            tracing::error!("the store's writer failed, naru stops; start it again, nothing acknowledged is lost");
            std::process::abort();
        }
    }

    fn write_until_closed(&self, mut engine: Box<dyn Engine>) {
        let mut group = Group::default();
        // The log has the first refusal and the end of them: who is refused tries again, and the log may be on the same
        // full disk.
        let mut refused = 0_u64;
        while let Some(root) = self.take(&mut group) {
            let result = if group.records.is_empty() { Ok(()) } else { engine.append(&group.records) };
            match result {
                Ok(()) => {
                    if refused > 0 && !group.records.is_empty() {
                        tracing::warn!(refused, "transactions are written again");
                        refused = 0;
                    }
                    if !group.batches.is_empty() {
                        self.published.publish(root, group.batches.drain(..));
                    }
                    group.answer(Ok(()));
                }
                Err(error) => {
                    if refused == 0 {
                        tracing::error!(error = &error as &dyn std::error::Error, "a group of transactions failed");
                    }
                    refused += 1;
                    self.fall_back(&mut group);
                    group.answer(Err(error));
                }
            }
        }
        self.published.close();
        engine.close();
    }

    /// Waits for work and takes all of it, with the root after it. `None` when closed.
    fn take(&self, group: &mut Group) -> Option<Root> {
        let mut pending = self.pending.lock();
        while pending.queue.is_empty() {
            if pending.closed {
                return None;
            }
            pending.writer_waits = true;
            self.work.wait(&mut pending);
        }
        pending.writer_waits = false;
        group.fill(pending.queue.drain(..));
        Some(pending.root.clone())
    }

    /// Takes back everything that is not published; what queued up behind the failed group fails with it.
    fn fall_back(&self, group: &mut Group) {
        let mut pending = self.pending.lock();
        pending.root = Root::clone(&self.published.head());
        pending.epoch += 1;
        group.fill(pending.queue.drain(..));
    }

    /// Refuses new transactions; when those placed are done, watches end and the writer too.
    pub fn close(&self) {
        let mut pending = self.pending.lock();
        pending.closed = true;
        if pending.inline.is_some() {
            self.published.close();
        }
        self.work.notify_one();
    }
}

/// The right to take the next place.
pub(crate) struct Place<'a> {
    sequencer: &'a Sequencer,
    pending: MutexGuard<'a, Pending>,
}

impl Place<'_> {
    pub fn view(&self) -> View {
        View { root: self.pending.root.clone(), epoch: self.pending.epoch }
    }

    /// Places a transaction that writes.
    pub fn place(
        mut self,
        view: &View,
        reads: &Reads,
        writes: BTreeMap<Key, Option<Write>>,
        guess: Revision,
    ) -> Result<Verdict, StoreError> {
        let (sequencer, pending) = (self.sequencer, &mut *self.pending);
        if pending.closed {
            return Err(StoreError::Closed);
        }
        if view.epoch != pending.epoch || !reads.still_hold(&view.root, &pending.root) {
            return Ok(Verdict::Stale);
        }
        let revision = pending.root.revision.next();
        let mut record =
            Record { sequence: revision.0 - sequencer.offset, mutations: Vec::with_capacity(writes.len()) };
        let mut changes = Vec::with_capacity(writes.len());
        for (key, write) in writes {
            let before = pending.root.get(&key).cloned();
            if before.is_none() && write.is_none() {
                continue;
            }
            let stored = write.as_ref().map(|w| w.stored.clone());
            changes.push(Arc::new(sequencer.change(key.clone(), before, write, revision, guess)));
            record.mutations.push((key, stored));
        }
        if changes.is_empty() {
            return self.settle(view);
        }
        let changes: Arc<[Arc<Change>]> = changes.into();
        let batch = Batch { revision, changes: changes.clone() };
        if let Some(engine) = &mut pending.inline {
            engine.append(std::slice::from_ref(&record))?;
        }
        changes.iter().for_each(|change| pending.root.apply(change));
        let done = if pending.inline.is_some() {
            sequencer.published.publish(pending.root.clone(), [batch]);
            Done::Now
        } else {
            self.enqueue(Some((record, batch)))
        };
        Ok(Verdict::Placed { revision, changes, done })
    }

    /// Places a transaction that changes nothing (it only read, or refused): what it saw must be durable before anyone
    /// acts on it.
    pub fn settle(mut self, view: &View) -> Result<Verdict, StoreError> {
        if self.pending.epoch != view.epoch {
            return Ok(Verdict::Stale);
        }
        let revision = view.root.revision;
        let done = if revision <= self.sequencer.published.head().revision {
            Done::Now
        } else if self.pending.closed {
            return Err(StoreError::Closed);
        } else {
            self.enqueue(None)
        };
        Ok(Verdict::Placed { revision, changes: Arc::new([]), done })
    }

    fn enqueue(&mut self, staged: Option<(Record, Batch)>) -> Done {
        let (done, later) = oneshot::channel();
        self.pending.queue.push(Queued { staged, done });
        if std::mem::take(&mut self.pending.writer_waits) {
            self.sequencer.work.notify_one();
        }
        Done::Later(later)
    }
}

#[cfg(test)]
impl Sequencer {
    pub fn queued(&self) -> usize {
        self.pending.lock().queue.len()
    }

    pub fn epoch(&self) -> u64 {
        self.pending.lock().epoch
    }

    pub fn is_closed(&self) -> bool {
        self.pending.lock().closed
    }
}

/// Transactions that become durable together; kept to reuse its memory.
#[derive(Default)]
struct Group {
    records: Vec<Record>,
    batches: Vec<Batch>,
    waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
}

impl Group {
    fn fill(&mut self, queue: impl Iterator<Item = Queued>) {
        for Queued { staged, done } in queue {
            if let Some((record, batch)) = staged {
                self.records.push(record);
                self.batches.push(batch);
            }
            self.waiting.push(done);
        }
    }

    /// Answers everyone and empties itself. A caller that went away is no error: its transaction happened.
    fn answer(&mut self, result: Result<(), StoreError>) {
        self.records.clear();
        self.batches.clear();
        self.waiting.drain(..).for_each(|done| drop(done.send(result.clone())));
    }
}
