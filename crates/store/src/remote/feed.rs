//! Publishing what etcd says has happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_etcd::{Error, Event, KeyValue, WatchResponse};
use tokio::sync::oneshot;

use super::commit::Pause;
use super::space::{Identity, Place, read_tick};
use super::{Reached, Shared, load};
use crate::engine::ClusterId;
use crate::history::Batch;
use crate::root::Root;
use crate::sequencer::Write;
use crate::{Change, Entry, Key, Opened, Revision, StoreError};

/// What a transaction did, as the feed brought it.
pub(super) type Happened = (Revision, Arc<[Arc<Change>]>);
pub(super) type Done = oneshot::Receiver<Happened>;

/// A transaction that was sent: what it writes, already opened, and who waits for it.
pub(super) struct Waiting {
    pub writes: BTreeMap<Key, Option<Write>>,
    /// The revision with which its writes were opened.
    pub guess: Revision,
    pub done: oneshot::Sender<Happened>,
}

/// The right to hear of a transaction; the feed forgets it when this is dropped.
pub(super) struct Ticket {
    token: u64,
    done: Done,
    shared: Arc<Shared>,
}

impl Ticket {
    pub fn new(token: u64, done: Done, shared: Arc<Shared>) -> Ticket {
        Ticket { token, done, shared }
    }

    /// What happened, once the feed has brought it.
    pub async fn wait(&mut self) -> Result<Happened, StoreError> {
        (&mut self.done).await.map_err(|_| StoreError::Closed)
    }

    /// What happened, when the feed has brought it already.
    pub fn look(&mut self) -> Result<Option<Happened>, StoreError> {
        match self.done.try_recv() {
            Ok(happened) => Ok(Some(happened)),
            Err(oneshot::error::TryRecvError::Empty) => Ok(None),
            Err(oneshot::error::TryRecvError::Closed) => {
                Err(StoreError::Unknown { why: "the changes of that time were not seen".to_owned() })
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.waiting.lock().remove(&self.token);
    }
}

/// The task that follows etcd.
pub(super) struct Feed {
    shared: Arc<Shared>,
    root: Root,
    /// Everything up to this revision of etcd is published.
    at: u64,
    cluster: ClusterId,
}

/// Why the feed cannot go on.
enum End {
    /// The watch broke; another one can go on.
    Broken(Error),
    /// Everything must be read anew.
    Anew,
    /// What is in etcd cannot be followed.
    Fatal(String),
}

impl Feed {
    pub fn new(shared: Arc<Shared>, root: Root, at: u64, cluster: ClusterId) -> Feed {
        Feed { shared, root, at, cluster }
    }

    pub async fn run(mut self) {
        let mut pause = Pause::new();
        let mut broken = false;
        loop {
            let before = self.at;
            match self.follow().await {
                End::Broken(error) => {
                    if self.at > before {
                        (pause, broken) = (Pause::new(), false);
                    }
                    // Members come and go; a line for each attempt would say nothing more.
                    if !broken {
                        tracing::warn!(%error, revision = self.at, "the watch of etcd broke and begins again");
                    }
                    broken = true;
                    pause.wait().await;
                }
                End::Anew => match self.reload().await {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the store cannot be read anew yet");
                        pause.wait().await;
                    }
                },
                End::Fatal(why) => {
                    tracing::error!(why, "the store in etcd cannot be followed; restart this server");
                    self.shared.reached.send_replace(Reached::Closed);
                    self.shared.published.close();
                    self.shared.waiting.lock().clear();
                    return;
                }
            }
        }
    }

    /// Publishes what happens until the watch ends.
    async fn follow(&mut self) -> End {
        let (key, end) = self.shared.space.all();
        let mut changes = match self.shared.kv.watch(key, end, self.at + 1).await {
            Ok(changes) => changes,
            Err(Error::Compacted) => return End::Anew,
            Err(error) => return End::Broken(error),
        };
        loop {
            match changes.next().await {
                Ok(response) => {
                    if let Err(end) = self.take(response) {
                        return end;
                    }
                }
                Err(Error::Compacted) => return End::Anew,
                Err(error) => return End::Broken(error),
            }
        }
    }

    /// Publishes whole revisions.
    fn take(&mut self, response: WatchResponse) -> Result<(), End> {
        let mut batches = Vec::new();
        let mut told = Vec::new();
        let mut root = self.root.clone();
        let mut at = self.at;
        let revision_of = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision.cast_unsigned());
        for events in response.events.chunk_by(|a, b| revision_of(a) == revision_of(b)) {
            let here = events.first().map_or(0, revision_of);
            // A watch that began again may tell what was told.
            if here <= at {
                continue;
            }
            at = here;
            let ours = self.ours(events);
            let changes = self.changes(events, ours.as_ref(), &root, here)?;
            changes.iter().for_each(|change| root.apply(change));
            let revision = self.shared.revision(here);
            if !changes.is_empty() {
                batches.push(Batch { revision, changes: changes.clone() });
            }
            told.extend(ours.map(|waiting| (waiting.done, (revision, changes))));
        }
        if !batches.is_empty() {
            self.root = root.clone();
            self.shared.published.publish(root, batches);
        }
        self.at = at;
        // Before it is said how far the feed has come: whoever waits for that then looks whether his is among it. Who went
        // away needs no answer.
        told.into_iter().for_each(|(done, happened)| drop(done.send(happened)));
        self.shared.reached.send_if_modified(|reached| match reached {
            Reached::Upto(upto) if *upto < at => {
                *upto = at;
                true
            }
            _ => false,
        });
        Ok(())
    }

    /// The transaction of this process that a revision is, if it is one.
    fn ours(&self, events: &[Event]) -> Option<Waiting> {
        let tick = events.iter().filter_map(|event| event.kv.as_ref()).rev();
        let tick = tick.into_iter().find(|kv| self.shared.space.place(&kv.key) == Place::Tick)?;
        let (instance, token) = read_tick(&tick.value)?;
        (instance == self.shared.instance).then(|| self.shared.waiting.lock().remove(&token))?
    }

    fn changes(
        &self,
        events: &[Event],
        ours: Option<&Waiting>,
        root: &Root,
        here: u64,
    ) -> Result<Arc<[Arc<Change>]>, End> {
        let mut changes = Vec::with_capacity(events.len());
        for event in events {
            let Some(kv) = &event.kv else { continue };
            match self.shared.space.place(&kv.key) {
                Place::Object(key) => {
                    let prepared = ours.and_then(|waiting| {
                        let write = waiting.writes.get(&key)?.as_ref()?;
                        Some((&write.opened, waiting.guess))
                    });
                    changes.extend(self.change(key, kv, event.is_deletion(), prepared, root, here)?.map(Arc::new));
                }
                Place::Identity => self.identity(event, kv)?,
                Place::Tick | Place::Guard => {}
                Place::Strange => tracing::warn!(key = ?kv.key, "somebody else writes where the store is kept"),
            }
        }
        Ok(changes.into())
    }

    fn change(
        &self,
        key: Key,
        kv: &KeyValue,
        deleted: bool,
        prepared: Option<(&Opened, Revision)>,
        root: &Root,
        here: u64,
    ) -> Result<Option<Change>, End> {
        let (codec, revision) = (&self.shared.codec, self.shared.revision(here));
        let before = root.get(&key).cloned();
        let created = self.shared.revision(kv.create_revision.cast_unsigned());
        let (after, tombstone) = if deleted {
            let Some(last) = &before else { return Ok(None) };
            let served = codec.restamp(&last.served, revision);
            let (created, indexes) = (last.created, last.indexes.clone());
            (None, Some(Arc::new(Entry { key: key.clone(), created, modified: revision, served, indexes })))
        } else {
            let (served, indexes) = match prepared {
                Some((opened, guess)) if guess == revision => (opened.served.clone(), opened.indexes.clone()),
                Some((opened, _)) => (codec.restamp(&opened.served, revision), opened.indexes.clone()),
                None => match codec.open(&key, &kv.value, revision) {
                    Ok(opened) => (opened.served, opened.indexes),
                    Err(error) => return Err(End::Fatal(format!("the value of {key} cannot be served: {error}"))),
                },
            };
            let indexes = indexes.into();
            (Some(Arc::new(Entry { key: key.clone(), created, modified: revision, served, indexes })), None)
        };
        Ok(Some(Change { key, revision, before, after, frames: Default::default(), tombstone }))
    }

    /// Revisions that were raised by another server make every number here wrong.
    fn identity(&self, event: &Event, kv: &KeyValue) -> Result<(), End> {
        let known = Identity { cluster: self.cluster, offset: self.shared.offset };
        match Identity::parse(self.shared.space.prefix(), &kv.value) {
            Ok(identity) if identity == known && !event.is_deletion() => Ok(()),
            _ => Err(End::Fatal("another server has given it another identity or raised its revisions".into())),
        }
    }

    /// Reads everything anew, because what happened meanwhile is not kept any more. Watchers must list again.
    async fn reload(&mut self) -> Result<(), crate::OpenError> {
        let loaded = load::load(&*self.shared.kv, &self.shared.space).await?;
        let at = loaded.sequence;
        tracing::warn!(from = self.at, to = at, "etcd was compacted before its changes were seen: watchers list anew");
        self.root = crate::store::load(loaded, &*self.shared.codec)?;
        self.at = at;
        // Whether what was sent before has happened cannot be told any more: their tickets end.
        self.shared.waiting.lock().clear();
        self.shared.published.reset(self.root.clone());
        self.shared.reached.send_if_modified(|reached| match reached {
            Reached::Upto(upto) => {
                *upto = at;
                true
            }
            Reached::Closed => false,
        });
        Ok(())
    }
}
