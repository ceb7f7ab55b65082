//! etcd in memory, with faults: answers that are lost before or after what was asked was done, transactions that are
//! done when nobody waits for them any more, watches that break, and compaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use naru_etcd::{
    Error, Event, EventKind, KeyValue, RangeRequest, RangeResponse, Request, RequestOp, Response, ResponseHeader,
    ResponseOp, TxnRequest, TxnResponse, WatchResponse, WriteResponse,
};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use super::kv::{Boxed, Changes, Kv};

/// How often something goes wrong, out of 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// A transaction does not arrive.
    pub lost: f64,
    /// A transaction is done and its answer does not arrive.
    pub unanswered: f64,
    /// A transaction is done later, when its sender has given up.
    pub late: f64,
    /// A read is not answered.
    pub unread: f64,
    /// A watch breaks instead of telling the next change.
    pub broken: f64,
}

/// Clones are connections to the same etcd.
#[derive(Clone)]
pub(super) struct Simulated {
    state: Arc<Mutex<State>>,
    revision: Arc<watch::Sender<u64>>,
    /// Watches tell nothing while this is true.
    held: Arc<watch::Sender<bool>>,
}

struct State {
    revision: u64,
    /// What every key held since which revision.
    keys: BTreeMap<Bytes, Vec<(u64, Option<KeyValue>)>>,
    log: Vec<(u64, Vec<Event>)>,
    compacted: u64,
    late: Vec<TxnRequest>,
    faults: Faults,
    random: SmallRng,
}

impl Simulated {
    pub fn new(seed: u64) -> Simulated {
        let state = State {
            revision: 1,
            keys: BTreeMap::new(),
            log: Vec::new(),
            compacted: 0,
            late: Vec::new(),
            faults: Faults::default(),
            random: SmallRng::seed_from_u64(seed),
        };
        Simulated {
            state: Arc::new(Mutex::new(state)),
            revision: Arc::new(watch::Sender::new(1)),
            held: Arc::new(watch::Sender::new(false)),
        }
    }

    pub fn fail(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// Another connection, whose watches can be held back by themselves.
    pub fn another(&self) -> Simulated {
        Simulated { held: Arc::new(watch::Sender::new(false)), ..self.clone() }
    }

    /// Holds this connection's watches back, or lets them go on.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    pub fn revision(&self) -> u64 {
        self.state.lock().revision
    }

    pub fn compacted(&self) -> u64 {
        self.state.lock().compacted
    }

    pub fn forget(&self, revision: u64) {
        self.state.lock().compact(revision);
    }

    /// As somebody else would write.
    pub fn put(&self, key: &str, value: &str) {
        let success = vec![RequestOp::put(key.to_owned(), value.to_owned())];
        self.apply(&TxnRequest { success, ..TxnRequest::default() });
    }

    /// Does what was late.
    pub fn settle(&self) {
        let late = std::mem::take(&mut self.state.lock().late);
        late.iter().for_each(|request| drop(self.apply(request)));
    }

    fn apply(&self, request: &TxnRequest) -> TxnResponse {
        let (answer, revision) = {
            let mut state = self.state.lock();
            (state.txn(request), state.revision)
        };
        self.revision.send_replace(revision);
        answer
    }

    fn chance(&self, of: impl Fn(&Faults) -> f64) -> bool {
        let state = &mut *self.state.lock();
        let chance = of(&state.faults);
        chance > 0.0 && state.random.random_bool(chance)
    }
}

fn no_answer(message: &str) -> Error {
    Error::NoAnswer { endpoint: "simulated".into(), message: message.into() }
}

impl Kv for Simulated {
    fn range(&self, request: RangeRequest) -> Boxed<'_, Result<RangeResponse, Error>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            match self.chance(|faults| faults.unread) {
                true => Err(no_answer("a read was lost")),
                false => self.state.lock().range(&request),
            }
        })
    }

    fn txn(&self, request: TxnRequest) -> Boxed<'_, Result<TxnResponse, Error>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            // What was late may be done at any time.
            if self.chance(|faults| if faults.late > 0.0 { 0.2 } else { 0.0 }) {
                self.settle();
            }
            if self.chance(|faults| faults.lost) {
                return Err(no_answer("a transaction was lost"));
            }
            if self.chance(|faults| faults.late) {
                self.state.lock().late.push(request);
                return Err(no_answer("a transaction is late"));
            }
            let answer = self.apply(&request);
            match self.chance(|faults| faults.unanswered) {
                true => Err(no_answer("an answer was lost")),
                false => Ok(answer),
            }
        })
    }

    fn watch(&self, _key: Bytes, _end: Bytes, start: u64) -> Boxed<'_, Result<Box<dyn Changes>, Error>> {
        Box::pin(async move {
            if start <= self.state.lock().compacted {
                return Err(Error::Compacted);
            }
            Ok(Box::new(Following { etcd: self.clone(), told: start - 1 }) as Box<dyn Changes>)
        })
    }

    fn compact(&self, revision: u64) -> Boxed<'_, Result<(), Error>> {
        self.forget(revision);
        Box::pin(async { Ok(()) })
    }
}

struct Following {
    etcd: Simulated,
    told: u64,
}

impl Changes for Following {
    fn next(&mut self) -> Boxed<'_, Result<WatchResponse, Error>> {
        Box::pin(async move {
            let (mut revision, mut held) = (self.etcd.revision.subscribe(), self.etcd.held.subscribe());
            let told = self.told;
            let gone = |_| no_answer("etcd is gone");
            revision.wait_for(|revision| *revision > told).await.map_err(gone)?;
            held.wait_for(|held| !held).await.map_err(gone)?;
            if self.etcd.chance(|faults| faults.broken) {
                return Err(no_answer("the watch broke"));
            }
            let state = &mut *self.etcd.state.lock();
            if self.told < state.compacted {
                return Err(Error::Compacted);
            }
            let most = state.random.random_range(1..5);
            let next: Vec<_> = state.log.iter().filter(|(at, _)| *at > told).take(most).collect();
            self.told = next.last().map_or(told, |(at, _)| *at);
            let events = next.into_iter().flat_map(|(_, events)| events.clone()).collect();
            Ok(WatchResponse { revision: state.revision, events })
        })
    }
}

impl State {
    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision.cast_signed() })
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        let at = match request.revision.cast_unsigned() {
            0 => self.revision,
            at if at < self.compacted => return Err(Error::Compacted),
            at => at,
        };
        let mut kvs: Vec<KeyValue> = self.found(&request.key, &request.range_end, at).cloned().collect();
        let more = request.limit > 0 && kvs.len() > request.limit as usize;
        if more {
            kvs.truncate(request.limit as usize);
        }
        Ok(RangeResponse { header: self.header(), kvs, more })
    }

    fn found(&self, key: &[u8], end: &[u8], at: u64) -> impl Iterator<Item = &KeyValue> {
        let (key, end) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(end));
        let inside =
            move |found: &&Bytes| if end.is_empty() { **found == key } else { **found >= key && **found < end };
        let keys = self.keys.iter().filter(move |(found, _)| inside(found));
        keys.filter_map(move |(_, past)| past.iter().rev().find(|(since, _)| *since <= at)?.1.as_ref())
    }

    fn txn(&mut self, request: &TxnRequest) -> TxnResponse {
        let now = self.revision;
        let written = |key: &[u8], end: &[u8]| -> Vec<u64> {
            self.found(key, end, now).map(|kv| kv.mod_revision.cast_unsigned()).collect()
        };
        let succeeded = request.compare.iter().all(|compare| compare.holds(written));
        let steps = if succeeded { &request.success } else { &request.failure };
        let mut events = Vec::new();
        let responses = steps.iter().map(|step| self.step(step, now + 1, &mut events)).collect();
        if !events.is_empty() {
            self.revision += 1;
            self.log.push((self.revision, events));
        }
        TxnResponse { header: self.header(), succeeded, responses }
    }

    fn step(&mut self, step: &RequestOp, at: u64, events: &mut Vec<Event>) -> ResponseOp {
        let response = match &step.request {
            Some(Request::Range(range)) => self.range(range).ok().map(Response::Range),
            Some(Request::Put(put)) => {
                let last = self.found(&put.key, &[], at).next();
                let kv = KeyValue {
                    key: put.key.clone(),
                    create_revision: last.map_or(at.cast_signed(), |kv| kv.create_revision),
                    mod_revision: at.cast_signed(),
                    version: last.map_or(1, |kv| kv.version + 1),
                    value: put.value.clone(),
                };
                self.keys.entry(put.key.clone()).or_default().push((at, Some(kv.clone())));
                events.push(Event::new(EventKind::Put, kv));
                Some(Response::Put(WriteResponse {}))
            }
            Some(Request::Delete(delete)) => {
                if self.found(&delete.key, &[], at).next().is_some() {
                    self.keys.entry(delete.key.clone()).or_default().push((at, None));
                    let kv =
                        KeyValue { key: delete.key.clone(), mod_revision: at.cast_signed(), ..KeyValue::default() };
                    events.push(Event::new(EventKind::Delete, kv));
                }
                Some(Response::Delete(WriteResponse {}))
            }
            None => None,
        };
        ResponseOp { response }
    }

    fn compact(&mut self, revision: u64) {
        self.compacted = revision;
        self.log.retain(|(at, _)| *at > revision);
    }
}
