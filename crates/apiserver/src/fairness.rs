//! Whose turn it is: API Priority and Fairness.
//!
//! A request is put into a flow (`classify`) by the first FlowSchema that knows it, and its flow belongs to a priority
//! level. A level has seats: what it may work on at once. Who finds none waits in one of its queues, of which the one that
//! had the least of the server goes first (`seats`), so that a client that floods the server fills its own queues and
//! nobody else's. Levels lend seats that they do not need, at once and per request, where Kubernetes moves limits every ten
//! seconds: what is lent is back within one request's time. Refused: one limit for all, by which the loudest wins.
//!
//! What runs for as long as somebody wants to (watches, logs, terminals) takes a seat only while it begins.

mod classify;
mod config;
mod keeper;
mod report;
mod seats;
mod shuffle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue, Response};
use naru_api::Status;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::authorization::Attributes;
use crate::user::User;
use crate::wire::payload::Payload;

use classify::Flows;
pub(crate) use keeper::keep;
use report::{Counts, Why};
use seats::{Entered, Seats, Ticket};

const SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// How long a request waits for its turn. Kubernetes gives it a quarter of a request's time, which is a minute.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many objects make a list a seat wider.
const OBJECTS_A_SEAT: usize = 100;
/// How wide a request can be at most.
const WIDEST: u32 = 10;

/// Gives requests their turns.
pub(crate) struct Fairness {
    flows: ArcSwap<Flows>,
    turns: Mutex<Turns>,
    /// What is exempt is bounded too, or it could fill the memory; but nobody else stands in its way.
    exempt: Semaphore,
    /// By schema and level; kept when those go, for counters never go back.
    counts: Mutex<BTreeMap<(String, String), Arc<Counts>>>,
    hasher: RandomState,
}

struct Turns {
    seats: Seats,
    waiting: HashMap<u64, oneshot::Sender<Ticket>>,
}

/// The flow of one request.
pub(crate) struct Flow {
    flows: Arc<Flows>,
    schema: usize,
    hash: u64,
}

/// A turn; it ends when this is dropped.
pub(crate) struct Turn<'a> {
    fairness: &'a Fairness,
    seat: Option<(Ticket, Arc<Counts>)>,
    since: Instant,
    _exempt: Option<SemaphorePermit<'a>>,
}

/// What became of a request that came.
enum Asked<'a> {
    Turn(Ticket),
    Refused(Why),
    Gone,
    Waits(Waiting<'a>),
}

/// Somebody who waits; leaves the queue when dropped.
struct Waiting<'a> {
    fairness: &'a Fairness,
    level: u32,
    id: u64,
    granted: oneshot::Receiver<Ticket>,
}

// === impl Fairness ===

impl Fairness {
    /// A server that works on `at_once` requests at once. Until objects are taken in, everything is exempt.
    pub(crate) fn new(at_once: u32) -> Fairness {
        Fairness {
            flows: ArcSwap::from_pointee(Flows::default()),
            turns: Mutex::new(Turns { seats: Seats::new(at_once), waiting: HashMap::new() }),
            exempt: Semaphore::new(at_once as usize),
            counts: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// The flow of a request. Its attributes are those by which its right is judged.
    pub(crate) fn classify(&self, user: &User, asked: &Attributes<'_>) -> Flow {
        let flows = self.flows.load_full();
        let (schema, distinguisher) = flows.classify(user, asked);
        let hash = self.hasher.hash_one((schema, distinguisher));
        Flow { schema, hash, flows }
    }

    /// Waits for the turn of a request. `objects` says how many objects it is about, where it is a list; it is only asked
    /// where it matters.
    ///
    /// # Errors
    /// 429 when there is no room to wait, or the turn does not come.
    pub(crate) async fn enter(&self, flow: &Flow, objects: impl FnOnce() -> usize) -> Result<Turn<'_>, Status> {
        let Some(schema) = flow.flows.schemas.get(flow.schema) else { return self.unlimited().await };
        let Some(level) = schema.level.seats else { return self.unlimited().await };
        let counts = &schema.counts;
        let wide = u32::try_from(objects().div_ceil(OBJECTS_A_SEAT)).unwrap_or(WIDEST).clamp(1, WIDEST);
        let begin = Instant::now();
        let waiting = match self.ask(level, flow.hash, wide) {
            Asked::Turn(ticket) => {
                counts.dispatched(Duration::ZERO);
                return Ok(self.turn(ticket, counts));
            }
            Asked::Refused(why) => {
                counts.refused(why);
                return Err(refusal());
            }
            // What is left of a level that somebody took away is not worth waiting for.
            Asked::Gone => return self.unlimited().await,
            Asked::Waits(waiting) => waiting,
        };
        match waiting.turn(counts).await {
            Some(ticket) => {
                counts.dispatched(begin.elapsed());
                Ok(self.turn(ticket, counts))
            }
            None => {
                counts.refused(Why::TimeOut);
                Err(refusal())
            }
        }
    }

    fn ask(&self, level: u32, hash: u64, wide: u32) -> Asked<'_> {
        let mut turns = self.turns.lock();
        match turns.seats.enter(level, hash, wide) {
            Entered::Turn(ticket) => Asked::Turn(ticket),
            Entered::Full { queues: true } => Asked::Refused(Why::QueueFull),
            Entered::Full { queues: false } => Asked::Refused(Why::ConcurrencyLimit),
            Entered::Gone => Asked::Gone,
            Entered::Waits(id, mut now) => {
                let (sender, granted) = oneshot::channel();
                turns.waiting.insert(id, sender);
                turns.grant(&mut now);
                Asked::Waits(Waiting { fairness: self, level, id, granted })
            }
        }
    }

    async fn unlimited(&self) -> Result<Turn<'_>, Status> {
        let permit = match self.exempt.try_acquire() {
            Ok(permit) => permit,
            Err(_) => match tokio::time::timeout(PATIENCE, self.exempt.acquire()).await {
                Ok(Ok(permit)) => permit,
                _ => return Err(refusal()),
            },
        };
        Ok(Turn { fairness: self, seat: None, since: Instant::now(), _exempt: Some(permit) })
    }

    fn turn(&self, ticket: Ticket, counts: &Arc<Counts>) -> Turn<'_> {
        counts.executing(1, i64::from(ticket.seats));
        Turn { fairness: self, seat: Some((ticket, counts.clone())), since: Instant::now(), _exempt: None }
    }

    fn leave(&self, ticket: Ticket, took: Duration) {
        let mut turns = self.turns.lock();
        let mut granted = turns.seats.leave(ticket, took);
        turns.grant(&mut granted);
    }
}

impl Turns {
    /// Tells those whose turn it is; whoever does not want it any more leaves at once.
    fn grant(&mut self, granted: &mut Vec<(u64, Ticket)>) {
        while let Some((id, ticket)) = granted.pop() {
            let told = self.waiting.remove(&id).map(|waiting| waiting.send(ticket));
            if !matches!(told, Some(Ok(()))) {
                granted.extend(self.seats.leave(ticket, Duration::ZERO));
            }
        }
    }
}

// === impl Flow ===

impl Flow {
    /// Says in an answer which flow it had.
    pub(crate) fn mark(&self, response: &mut Response<Payload>) {
        let Some(schema) = self.flows.schemas.get(self.schema) else { return };
        let headers = response.headers_mut();
        let set = |value: &HeaderValue| (!value.is_empty()).then(|| value.clone());
        if let (Some(schema), Some(level)) = (set(&schema.uid), set(&schema.level.uid)) {
            headers.insert(SCHEMA, schema);
            headers.insert(LEVEL, level);
        }
    }
}

// === impl Turn ===

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some((ticket, counts)) = self.seat.take() {
            counts.executing(-1, -i64::from(ticket.seats));
            self.fairness.leave(ticket, self.since.elapsed());
        }
    }
}

// === impl Waiting ===

impl Waiting<'_> {
    async fn turn(mut self, counts: &Counts) -> Option<Ticket> {
        let _counted = counts.waits();
        match tokio::time::timeout(PATIENCE, &mut self.granted).await {
            Ok(Ok(ticket)) => {
                // Taken: there is nothing to give back.
                self.granted.close();
                Some(ticket)
            }
            _ => None,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut turns = self.fairness.turns.lock();
        turns.waiting.remove(&self.id);
        let mut granted = if turns.seats.give_up(self.level, self.id) {
            Vec::new()
        } else if let Ok(ticket) = self.granted.try_recv() {
            // It came at the last moment. Turns are granted under this lock.
            turns.seats.leave(ticket, Duration::ZERO)
        } else {
            return;
        };
        turns.grant(&mut granted);
    }
}

fn refusal() -> Status {
    Status::too_many_requests("too many requests, please try again later", 1)
}
