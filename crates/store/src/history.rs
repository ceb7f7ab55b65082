//! The published past: one bounded ring of recent transactions that every watcher reads, and key frames (whole roots,
//! sharing structure) every so often, from which the state at any revision in the ring is rebuilt.
//!
//! Refused: a queue per watcher (memory grows with the slowest of them) and a root per transaction (path copies of
//! five busy minutes would outgrow the data many times).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use crate::root::Root;
use crate::topic::Topic;
use crate::{Change, Compacted, History, IndexName, Key, Revision, Scope};

/// One transaction, published.
pub(crate) struct Batch {
    pub revision: Revision,
    pub changes: Arc<[Arc<Change>]>,
}

/// What readers and watchers see. Writing happens in one place, in revision order.
pub(crate) struct Published {
    head: ArcSwap<Root>,
    past: RwLock<Past>,
    rebuilt: Mutex<VecDeque<Arc<Root>>>,
    limits: History,
}

struct Past {
    /// Transactions after `frames[0]`, without a gap.
    ring: VecDeque<(Arc<Batch>, usize)>,
    /// Never empty; the first is the oldest readable revision.
    frames: VecDeque<Frame>,
    weight: usize,
    topics: Topics,
    closed: bool,
}

/// Who follows what. A change is led to its followers by what it is, never by asking each of them.
#[derive(Default)]
struct Topics {
    prefixes: HashMap<Arc<str>, Arc<Topic>>,
    keys: HashMap<Key, Arc<Topic>>,
    indexes: HashMap<(IndexName, Arc<str>), Arc<Topic>>,
}

struct Frame {
    root: Arc<Root>,
    /// Transactions and bytes since the frame before.
    transactions: usize,
    weight: usize,
    at: Instant,
}

/// Into how many pieces, ended by key frames, the history is cut; the past is forgotten by the piece.
const PIECES: usize = 8;
/// At most so many transactions are replayed on a key frame to rebuild a revision.
const PIECE_TRANSACTIONS: usize = 1024;
/// How many rebuilt roots are remembered, for the pages of lists that are being read.
const REBUILT: usize = 4;

impl Published {
    pub fn new(root: Root, limits: History) -> Published {
        let root = Arc::new(root);
        let frame = Frame { root: root.clone(), transactions: 0, weight: 0, at: Instant::now() };
        let past = Past {
            ring: VecDeque::new(),
            frames: VecDeque::from([frame]),
            weight: 0,
            topics: Topics::default(),
            closed: false,
        };
        Published { head: ArcSwap::new(root), past: RwLock::new(past), rebuilt: Mutex::new(VecDeque::new()), limits }
    }

    pub fn head(&self) -> Arc<Root> {
        self.head.load_full()
    }

    /// Shows the transactions to everyone: first to readers, then to watchers, so that who is told of a change can
    /// read it. `root` is the state after the last.
    pub fn publish(&self, root: Root, batches: impl IntoIterator<Item = Batch>) {
        let root = Arc::new(root);
        let mut woken: SmallVec<[Arc<Topic>; 8]> = SmallVec::new();
        {
            let past = &mut *self.past.write();
            let start = past.ring.len();
            let (mut transactions, mut weight) = (0, 0);
            for batch in batches {
                let size = 128 + batch.changes.iter().map(|c| c.weight()).sum::<usize>();
                past.ring.push_back((Arc::new(batch), size));
                transactions += 1;
                weight += size;
            }
            self.head.store(root.clone());
            for (batch, _) in past.ring.range(start..) {
                past.topics_of(batch, &mut woken);
            }
            past.weight += weight;
            past.remember(root, transactions, weight, &self.limits);
            past.forget(&self.limits);
        }
        woken.sort_by_key(Arc::as_ptr);
        woken.dedup_by(|a, b| Arc::ptr_eq(a, b));
        woken.iter().for_each(|topic| topic.wake());
    }

    /// The state at a revision.
    pub fn at(&self, revision: Revision) -> Result<Arc<Root>, Compacted> {
        let head = self.head();
        if revision == head.revision {
            return Ok(head);
        }
        if let Some(root) = self.rebuilt.lock().iter().find(|r| r.revision == revision) {
            return Ok(root.clone());
        }
        let (base, replay) = {
            let past = self.past.read();
            past.check(revision)?;
            let Some(frame) = past.frames.iter().rev().find(|f| f.root.revision <= revision) else {
                return Err(past.compacted(revision));
            };
            // Counted, not computed: where others write to the engine, too, not every revision is a transaction here.
            let start = past.ring.partition_point(|(batch, _)| batch.revision <= frame.root.revision);
            let end = past.ring.partition_point(|(batch, _)| batch.revision <= revision);
            let replay: Vec<Arc<Batch>> = past.ring.range(start..end).map(|(b, _)| b.clone()).collect();
            (frame.root.clone(), replay)
        };
        if base.revision == revision {
            return Ok(base);
        }
        let mut root = Root::clone(&base);
        for change in replay.iter().flat_map(|b| b.changes.iter()) {
            root.apply(change);
        }
        root.revision = revision;
        let root = Arc::new(root);
        let mut rebuilt = self.rebuilt.lock();
        rebuilt.push_back(root.clone());
        if rebuilt.len() > REBUILT {
            rebuilt.pop_front();
        }
        Ok(root)
    }

    /// The topic of a scope, with everything in it after `after`.
    pub fn subscribe(&self, scope: &Scope, after: Revision) -> Result<Arc<Topic>, Compacted> {
        let past = &mut *self.past.write();
        past.check(after)?;
        let (topic, known_after) = match past.topics.get(scope) {
            Some(topic) => (topic.clone(), topic.complete_after()),
            None => (Arc::new(Topic::new(past.newest())), past.newest()),
        };
        // Only what the topic does not know yet is looked for: subscribing must not cost the whole ring.
        if after < known_after {
            let ring = &past.ring;
            let at = |revision: Revision| ring.partition_point(|(batch, _)| batch.revision <= revision);
            let missing = ring.range(at(after)..at(known_after)).flat_map(|(batch, _)| batch.changes.iter());
            topic.reach_back(after, missing.filter(|change| scope.contains(change)).cloned().collect());
        }
        if past.closed {
            topic.close();
        }
        past.topics.insert(scope, &topic);
        Ok(topic)
    }

    /// Forgets the topic when the caller is the last to use it.
    pub fn unsubscribe(&self, scope: &Scope, topic: Arc<Topic>) {
        let mut past = self.past.write();
        // One reference is the map's, one is the caller's.
        if Arc::strong_count(&topic) <= 2 {
            past.topics.remove(scope);
        }
    }

    /// Runs `f` while nothing is being published, with the newest revision.
    pub fn settled<T>(&self, f: impl FnOnce(Revision) -> T) -> T {
        let past = self.past.read();
        f(past.newest())
    }

    /// Begins anew from a state between which and the last one nobody knows what happened: the past is forgotten, and
    /// watchers from before it fall behind.
    pub fn reset(&self, root: Root) {
        let root = Arc::new(root);
        let past = &mut *self.past.write();
        self.head.store(root.clone());
        past.ring.clear();
        past.weight = 0;
        let revision = root.revision;
        past.frames = VecDeque::from([Frame { root, transactions: 0, weight: 0, at: Instant::now() }]);
        past.topics.all().for_each(|topic| topic.break_off(revision));
        self.rebuilt.lock().clear();
    }

    pub fn close(&self) {
        let mut past = self.past.write();
        past.closed = true;
        past.topics.all().for_each(|topic| topic.close());
    }
}

impl Past {
    fn oldest(&self) -> Revision {
        // Never empty: made with one, and `forget` leaves one.
        self.frames.front().map_or(Revision(0), |f| f.root.revision)
    }

    fn newest(&self) -> Revision {
        self.ring.back().map_or_else(|| self.oldest(), |(b, _)| b.revision)
    }

    fn compacted(&self, requested: Revision) -> Compacted {
        Compacted { requested, oldest: self.oldest(), newest: self.newest() }
    }

    fn check(&self, revision: Revision) -> Result<(), Compacted> {
        if revision < self.oldest() || revision > self.newest() { Err(self.compacted(revision)) } else { Ok(()) }
    }

    /// Gives a transaction's changes to the topics that they belong to.
    fn topics_of(&self, batch: &Batch, woken: &mut SmallVec<[Arc<Topic>; 8]>) {
        let topics = &self.topics;
        if topics.is_empty() {
            return;
        }
        let mut tell = |topic: Option<&Arc<Topic>>, change: &Arc<Change>| {
            let Some(topic) = topic else { return };
            topic.push(batch.revision, change);
            if woken.last().is_none_or(|last| !Arc::ptr_eq(last, topic)) {
                woken.push(topic.clone());
            }
        };
        for change in batch.changes.iter() {
            let (collection, namespace) = change.key.prefix_lengths();
            for end in [0, collection, namespace] {
                tell(topics.prefixes.get(&change.key.as_str()[..end]), change);
            }
            if !topics.keys.is_empty() {
                tell(topics.keys.get(&change.key), change);
            }
            if !topics.indexes.is_empty() {
                let before = change.before.as_ref().map_or(&[][..], |entry| entry.indexes());
                let after = change.after.as_ref().map_or(&[][..], |entry| entry.indexes());
                for index in after.iter().chain(before.iter().filter(|index| !after.contains(index))) {
                    tell(topics.indexes.get(index), change);
                }
            }
        }
    }

    /// Keeps a key frame when the piece since the last one is long enough.
    fn remember(&mut self, root: Arc<Root>, transactions: usize, weight: usize, limits: &History) {
        let now = Instant::now();
        let Some(last) = self.frames.back_mut() else { return };
        last.transactions += transactions;
        last.weight += weight;
        if last.transactions >= PIECE_TRANSACTIONS.min(limits.transactions / PIECES).max(1)
            || last.weight >= limits.bytes / PIECES
            || now.duration_since(last.at) >= limits.age / PIECES as u32
        {
            self.frames.push_back(Frame { root, transactions: 0, weight: 0, at: now });
        }
    }

    /// Forgets whole pieces from the old end until the limits hold.
    fn forget(&mut self, limits: &History) {
        let now = Instant::now();
        let mut forgot = false;
        while self.frames.len() > 1
            && (self.ring.len() > limits.transactions
                || self.weight > limits.bytes
                || now.duration_since(self.frames[1].at) > limits.age)
        {
            self.frames.pop_front();
            let oldest = self.oldest();
            while self.ring.front().is_some_and(|(batch, _)| batch.revision <= oldest) {
                self.weight -= self.ring.pop_front().map_or(0, |(_, size)| size);
            }
            forgot = true;
        }
        if forgot {
            let oldest = self.oldest();
            // One that only the map knows was left while it was being told something.
            self.topics.retain_used();
            self.topics.all().for_each(|topic| topic.forget(oldest));
        }
    }
}

impl Topics {
    fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.keys.is_empty() && self.indexes.is_empty()
    }

    fn get(&self, scope: &Scope) -> Option<&Arc<Topic>> {
        match scope {
            Scope::Prefix(prefix) => self.prefixes.get(&**prefix.text()),
            Scope::Key(key) => self.keys.get(key),
            Scope::Index(index, value) => self.indexes.get(&(*index, value.clone())),
        }
    }

    fn insert(&mut self, scope: &Scope, topic: &Arc<Topic>) {
        match scope {
            Scope::Prefix(prefix) => drop(self.prefixes.insert(prefix.text().clone(), topic.clone())),
            Scope::Key(key) => drop(self.keys.insert(key.clone(), topic.clone())),
            Scope::Index(index, value) => drop(self.indexes.insert((*index, value.clone()), topic.clone())),
        }
    }

    fn remove(&mut self, scope: &Scope) {
        match scope {
            Scope::Prefix(prefix) => drop(self.prefixes.remove(&**prefix.text())),
            Scope::Key(key) => drop(self.keys.remove(key)),
            Scope::Index(index, value) => drop(self.indexes.remove(&(*index, value.clone()))),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.prefixes.values().chain(self.keys.values()).chain(self.indexes.values())
    }

    fn retain_used(&mut self) {
        let used = |topic: &Arc<Topic>| Arc::strong_count(topic) > 1;
        self.prefixes.retain(|_, topic| used(topic));
        self.keys.retain(|_, topic| used(topic));
        self.indexes.retain(|_, topic| used(topic));
    }
}
