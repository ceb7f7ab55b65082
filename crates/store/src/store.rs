//! The handle that everyone holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::engine::{self, ClusterId, Loaded, Memory, Opening};
use crate::history::Published;
use crate::remote::{Kv, Remote};
use crate::root::Root;
use crate::sequencer::{Sequencer, Verdict, Write};
use crate::{
    Codec, CommitError, Committed, Compacted, EngineConfig, Entry, Key, MAX_VALUE, OpenError, Opened, Options,
    Revision, Scope, Snapshot, StoreError, Txn, Watch,
};

/// All objects of a cluster. Clones are handles to the same store; the last one to go closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    order: Order,
    published: Arc<Published>,
    codec: Arc<dyn Codec>,
    cluster: ClusterId,
    offset: u64,
}

/// Who decides the order.
pub(crate) enum Order {
    Local(Local),
    Remote(Remote),
}

/// This process alone.
pub(crate) struct Local {
    sequencer: Arc<Sequencer>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// How often a closure runs on a view that others keep changing before it runs while the others wait.
const OPTIMISTIC_RUNS: usize = 8;

impl Store {
    /// Opens a store and loads all of it.
    ///
    /// # Errors
    /// When the folder is in use, damaged, of a newer version, cannot be read, or holds a value that the codec does
    /// not understand. Nothing is changed then.
    pub async fn open(options: Options) -> Result<Store, OpenError> {
        match options.engine {
            EngineConfig::Memory => Store::start(Memory::open(options.raise_above), &options),
            EngineConfig::Embedded { ref dir } => {
                let (dir, options) = (dir.clone(), options.clone());
                let open = move || Store::start(engine::log::open(&dir, options.raise_above), &options);
                match tokio::task::spawn_blocking(open).await {
                    Ok(opened) => opened,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            }
            EngineConfig::Etcd(ref config) => {
                let client = naru_etcd::Client::new(&config.connection);
                let client = client.map_err(|source| OpenError::EtcdConfig { source })?;
                Store::follow(Arc::new(client), &config.prefix, &options).await
            }
        }
    }

    /// A store whose order is decided elsewhere.
    pub(crate) async fn follow(kv: Arc<dyn Kv>, prefix: &str, options: &Options) -> Result<Store, OpenError> {
        let (remote, published, offset) = Remote::open(kv, prefix, options).await?;
        let (cluster, codec) = (remote.cluster(), options.codec.clone());
        Ok(Store(Arc::new(Inner { order: Order::Remote(remote), published, codec, cluster, offset })))
    }

    pub(crate) fn start(opening: Opening, options: &Options) -> Result<Store, OpenError> {
        let (engine, loaded) = opening?;
        if let Some(torn) = &loaded.torn {
            tracing::warn!(
                file = %torn.file.display(),
                offset = torn.offset,
                bytes = torn.bytes,
                revision = %loaded.revision(loaded.sequence),
                "the store's log ended in a record that is not whole; it was dropped, and what is left ends with this \
                 revision. After a power cut or a crash that is a write nobody was told of; else the disk lost it"
            );
        }
        let (cluster, offset) = (loaded.cluster, loaded.offset);
        let root = load(loaded, &*options.codec)?;
        let published = Arc::new(Published::new(root.clone(), options.history));
        let codec = options.codec.clone();
        let (inline, threaded) = if engine.immediate() { (Some(engine), None) } else { (None, Some(engine)) };
        let sequencer = Arc::new(Sequencer::new(root, published.clone(), codec.clone(), offset, inline));
        let writer = match threaded {
            None => None,
            Some(engine) => {
                let sequencer = sequencer.clone();
                let run = move || sequencer.write(engine);
                let thread = std::thread::Builder::new().name("store-writer".into()).spawn(run);
                Some(thread.map_err(|source| OpenError::Io {
                    doing: "start a thread for",
                    path: "the store".into(),
                    source,
                })?)
            }
        };
        let order = Order::Local(Local { sequencer, writer: Mutex::new(writer) });
        Ok(Store(Arc::new(Inner { order, published, codec, cluster, offset })))
    }

    /// The newest durable state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.published.head())
    }

    /// The state at an earlier revision.
    ///
    /// # Errors
    /// When the revision is older than the history kept, or was not reached yet.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, Compacted> {
        self.0.published.at(revision).map(Snapshot)
    }

    /// A state that has every transaction that anyone was told of before the call.
    ///
    /// # Errors
    /// When the engine cannot be asked. The local ones need no question: who was told, was told after publishing.
    pub async fn confirm(&self) -> Result<Snapshot, StoreError> {
        match &self.0.order {
            Order::Local(_) => Ok(self.snapshot()),
            Order::Remote(remote) => remote.confirm().await,
        }
    }

    /// Runs a transaction: `f` reads and writes through [`Txn`], and either all of it happens, durable when this
    /// returns and at one revision, or nothing.
    ///
    /// `f` runs beside others' closures and is run again when what it read was changed meanwhile, so it must have no
    /// effect outside. A transaction that writes nothing is a consistent read. Dropping the future does not take a
    /// transaction back that has its place already.
    ///
    /// # Errors
    /// [`CommitError::Rejected`] with what `f` returned; the others when a value cannot be stored or the engine fails.
    /// Nothing was changed then, unless it is [`StoreError::Unknown`].
    pub async fn commit<T, E>(
        &self,
        mut f: impl FnMut(&mut Txn<'_>) -> Result<T, E> + Send,
    ) -> Result<Committed<T>, CommitError<E>> {
        let local = match &self.0.order {
            Order::Local(local) => local,
            Order::Remote(remote) => {
                let prepare = |root: &Root, writes| self.prepare(writes, root.revision.next());
                // In a box, so that local commits do not carry the room that this one needs.
                return Box::pin(remote.commit(f, prepare)).await;
            }
        };
        for run in 0.. {
            let (result, verdict) = self.attempt(local, &mut f, run >= OPTIMISTIC_RUNS)?;
            let Verdict::Placed { revision, changes, done } = verdict else { continue };
            match (result, done.wait().await) {
                (Ok(value), Ok(())) => return Ok(Committed { value, revision, changes }),
                (Err(refusal), Ok(())) => return Err(CommitError::Rejected(refusal)),
                (_, Err(StoreError::Closed)) => return Err(StoreError::Closed.into()),
                (Ok(_), Err(error)) => return Err(error.into()),
                // It refused because of something that did not happen in the end: ask again.
                (Err(_), Err(_)) => {}
            }
        }
        Err(StoreError::Closed.into())
    }

    /// Runs the closure once and tries to take a place with what it did.
    fn attempt<T, E>(
        &self,
        local: &Local,
        f: &mut impl FnMut(&mut Txn<'_>) -> Result<T, E>,
        exclusively: bool,
    ) -> Result<(Result<T, E>, Verdict), CommitError<E>> {
        let sequencer = &local.sequencer;
        let mut held = exclusively.then(|| sequencer.lock());
        let view = held.as_ref().map_or_else(|| sequencer.view(), |place| place.view());
        let mut txn = Txn::new(&view.root);
        let result = f(&mut txn);
        let (reads, writes) = txn.finish();
        let mut place = || held.take().unwrap_or_else(|| sequencer.lock());
        if result.is_err() || writes.is_empty() {
            return Ok((result, place().settle(&view)?));
        }
        let guess = view.root.revision.next();
        let writes = self.prepare(writes, guess)?;
        Ok((result, place().place(&view, &reads, writes, guess)?))
    }

    /// Opens what is to be written as if it got the revision `guess`; here, outside of the lock, because this is the
    /// part that takes time.
    fn prepare<E>(
        &self,
        writes: BTreeMap<Key, Option<Bytes>>,
        guess: Revision,
    ) -> Result<BTreeMap<Key, Option<Write>>, CommitError<E>> {
        let open = |(key, stored): (Key, Option<Bytes>)| {
            let Some(stored) = stored else { return Ok((key, None)) };
            if stored.len() > MAX_VALUE {
                return Err(CommitError::TooLarge { key, size: stored.len(), limit: MAX_VALUE });
            }
            match self.0.codec.open(&key, &stored, guess) {
                Ok(opened) => Ok((key, Some(Write { stored, opened }))),
                Err(source) => Err(CommitError::Codec { key, source }),
            }
        };
        writes.into_iter().map(open).collect()
    }

    /// Follows the changes of a prefix, of one object, or of what an index finds, after a revision, for example a snapshot's: nothing is missed in between.
    ///
    /// # Errors
    /// When the history kept does not reach back to `after`, or `after` was not reached yet.
    pub fn watch(&self, scope: impl Into<Scope>, after: Revision) -> Result<Watch, Compacted> {
        let scope = scope.into();
        let topic = self.0.published.subscribe(&scope, after)?;
        Ok(Watch::new(self.0.published.clone(), scope, topic, after))
    }

    pub(crate) fn codec(&self) -> &dyn Codec {
        &*self.0.codec
    }

    /// The random name this store's data got when it was made.
    pub fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    /// What is added to the engine's own count to make revisions (see [`Options::raise_above`]).
    pub fn offset(&self) -> u64 {
        self.0.offset
    }

    /// Closes the store: transactions that have their place become durable, later ones are refused, watches end.
    /// Snapshots stay readable. Dropping the last handle does the same but blocks the thread it happens on.
    pub async fn close(&self) {
        let local = match &self.0.order {
            Order::Local(local) => local,
            Order::Remote(remote) => return remote.close().await,
        };
        local.sequencer.close();
        let writer = local.writer.lock().take();
        if let Some(writer) = writer {
            // No result to look at: a panic there ends the process.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.sequencer.close();
        if let Some(writer) = self.writer.get_mut().take() {
            let _ = writer.join();
        }
    }
}

/// The root of everything that an engine found.
pub(crate) fn load(loaded: Loaded, codec: &dyn Codec) -> Result<Root, OpenError> {
    let mut root = Root::default();
    for object in &loaded.objects {
        let (created, modified) = (loaded.revision(object.created), loaded.revision(object.modified));
        let Opened { served, indexes } = codec
            .open(&object.key, &object.value, modified)
            .map_err(|source| OpenError::Codec { key: object.key.clone(), source })?;
        root.load(Arc::new(Entry { key: object.key.clone(), created, modified, served, indexes: indexes.into() }));
    }
    root.revision = loaded.revision(loaded.sequence);
    Ok(root)
}

#[cfg(test)]
impl Store {
    pub(crate) fn order(&self) -> &Order {
        &self.0.order
    }
}

#[cfg(test)]
mod tests;
