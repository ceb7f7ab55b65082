//! The loop that every controller shares.
//!
//! A controller is three functions: `view` takes a consistent look at one key through the informers, `plan` decides
//! purely, and the executor carries the plan out. The driver owns everything around them: which key is due, that one
//! key is never worked on twice at once, the pauses after failures, the jittered scan over everything, and a typed
//! status. A timer, an event and the scan all lead to the same turn, because a key says where to look and never what
//! happened; handlers per event were refused, as each would need its own proof that no event order breaks it.

mod queue;
mod status;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use naru_client::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use status::{ControllerStatus, Failure, Iteration};

use crate::cluster::{ApplyError, Cluster};
use crate::plan::Plan;
use queue::{Done, Queue};
pub(crate) use status::Board;

/// One kind of decision over one kind of key.
pub trait Controller: Send + Sync + 'static {
    /// A consistent look at one key.
    type View: Send + Sync;

    /// Its name in statuses and logs.
    fn name(&self) -> &'static str;

    /// The informers and the executor.
    fn cluster(&self) -> &Arc<Cluster>;

    /// Arranges that every change which may matter to a key makes it due.
    fn watch(&self, keys: &Keys);

    /// Every key there is.
    fn scan(&self) -> Vec<ObjectRef>;

    /// Looks at a key; `None` when there is nothing there (any more).
    fn view(&self, key: &ObjectRef) -> Option<Self::View>;

    /// Decides. Pure: no clock but `now`, no I/O.
    fn plan(&self, view: &Self::View, now: Timestamp) -> Plan;

    /// Carries a plan out.
    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        let _ = key;
        Box::pin(self.cluster().apply(plan.writes, plan.notices))
    }
}

/// Makes keys of one controller due. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keys(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Keys {
    /// Makes a key due now.
    pub fn add(&self, key: &ObjectRef) {
        self.add_at(key, Instant::now());
    }

    /// Makes a key due at a time.
    pub fn add_at(&self, key: &ObjectRef, due: Instant) {
        self.0.queue.lock().add(key, due);
        self.0.wake.notify_one();
    }

    /// How many keys wait.
    pub fn waiting(&self) -> usize {
        self.0.queue.lock().len()
    }
}

/// What the driver may use.
#[derive(Debug, Clone)]
pub struct DriverOptions {
    /// How many keys one controller works on at once.
    pub workers: usize,
    /// How often every key is looked at although nothing happened, give or take a tenth.
    pub rescan: Duration,
}

impl Default for DriverOptions {
    fn default() -> Self {
        DriverOptions { workers: 64, rescan: Duration::from_secs(600) }
    }
}

/// A running controller.
pub(crate) struct Running {
    board: Board,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) fn status(&self) -> ControllerStatus {
        self.board.read()
    }

    /// Its name, what tells whether it still runs, and where its status is.
    pub(crate) fn pulse(&self) -> (&'static str, tokio::task::AbortHandle, Board) {
        (self.board.read().name, self.task.abort_handle(), self.board.clone())
    }

    pub(crate) async fn ended(self) {
        // A panic of the loop has been reported by the runtime's hook.
        let _ = self.task.await;
    }
}

/// A controller without its types, so that the loop is compiled once.
trait Turn: Send + Sync {
    fn scan(&self) -> Vec<ObjectRef>;
    fn now(&self) -> Timestamp;
    fn turn<'a>(&'a self, key: &'a ObjectRef) -> BoxFuture<'a, Turned>;
}

/// What a turn did.
struct Turned {
    reason: String,
    writes: usize,
    again: Option<Timestamp>,
    /// How long looking and deciding took.
    thought: Duration,
    outcome: Result<(), ApplyError>,
}

impl<C: Controller> Turn for C {
    fn scan(&self) -> Vec<ObjectRef> {
        Controller::scan(self)
    }

    fn now(&self) -> Timestamp {
        self.cluster().now()
    }

    fn turn<'a>(&'a self, key: &'a ObjectRef) -> BoxFuture<'a, Turned> {
        // Looked at and decided before the first await, so that the future holds the plan only.
        let began = Instant::now();
        let plan = match self.view(key) {
            Some(view) => self.plan(&view, self.cluster().now()),
            None => Plan::nothing("gone"),
        };
        let thought = began.elapsed();
        Box::pin(async move {
            let (reason, writes, again) = (plan.reason.to_string(), plan.writes.len(), plan.again);
            if writes > 0 {
                tracing::debug!(controller = self.name(), %key, %plan, "planned");
            }
            let outcome = self.apply(key, plan).await;
            Turned { reason, writes, again, thought, outcome }
        })
    }
}

/// Starts a controller: it begins with every key there is, as soon as the informers know them.
pub(crate) fn start<C: Controller>(controller: Arc<C>, options: DriverOptions, shutdown: CancellationToken) -> Running {
    let name = controller.name();
    let board = Board::new(name);
    let keys = Keys::default();
    controller.watch(&keys);
    let task = tokio::spawn(run(name, controller, keys, board.clone(), options, shutdown));
    Running { board, task }
}

async fn run(
    name: &'static str,
    controller: Arc<dyn Turn>,
    keys: Keys,
    board: Board,
    options: DriverOptions,
    shutdown: CancellationToken,
) {
    let mut turns = JoinSet::new();
    let mut rescan = Instant::now();
    loop {
        let now = Instant::now();
        if now >= rescan {
            controller.scan().iter().for_each(|key| keys.add(key));
            rescan = now + options.rescan.mul_f64(0.9 + 0.2 * rand::random::<f64>());
        }
        while turns.len() < options.workers
            && let Some(key) = pop(&keys, now)
        {
            turns.spawn(turn(name, controller.clone(), keys.clone(), board.clone(), key));
        }
        let (due, waiting) = {
            let queue = keys.0.queue.lock();
            (queue.next_due(), queue.len())
        };
        board.load(waiting, turns.len());
        let wait_until = due.filter(|_| turns.len() < options.workers).map_or(rescan, |due| due.min(rescan));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = turns.join_next() => {}
            () = keys.0.wake.notified() => {}
            () = tokio::time::sleep_until(wait_until) => {}
        }
    }
    // Turns under way finish: what they have begun to write belongs together.
    while turns.join_next().await.is_some() {}
}

fn pop(keys: &Keys, now: Instant) -> Option<ObjectRef> {
    keys.0.queue.lock().pop(now)
}

async fn turn(name: &'static str, controller: Arc<dyn Turn>, keys: Keys, board: Board, key: ObjectRef) {
    let began = Instant::now();
    // A bug in one plan must not end the whole controller: it counts as that key's failure.
    let turned = AssertUnwindSafe(async { controller.turn(&key).await }).catch_unwind().await;
    let turned = turned.unwrap_or_else(|_| Turned {
        reason: "panicked".into(),
        writes: 0,
        again: None,
        thought: Duration::ZERO,
        outcome: Err(ApplyError::Bug { what: format!("controller {name} panicked over {key}") }),
    });
    let (at, now) = (controller.now(), Instant::now());
    let (done, reason, error) = match turned.outcome {
        Ok(()) => {
            let again = turned.again.map(|again| now + until(at, again));
            (Done::Settled(again), turned.reason, None)
        }
        // Whatever is still to happen to the key will be a change of its object.
        Err(ApplyError::Ending { what }) => (Done::Settled(None), format!("its namespace ends: {what}"), None),
        Err(ApplyError::Conflict { what }) => (Done::Conflict, format!("conflict: {what}"), None),
        Err(error) => (Done::Failed, format!("failed: {}", turned.reason), Some(naru_client::chain(&error))),
    };
    let failures = {
        let mut queue = keys.0.queue.lock();
        queue.took(&key, turned.thought, now - began, now);
        queue.done(&key, done, now, rand::random())
    };
    keys.0.wake.notify_one();
    if let Some(error) = &error {
        tracing::warn!(controller = name, %key, failures, %error, "a turn failed and will be repeated");
    }
    let iteration = Iteration { key, at, duration: now - began, reason, writes: turned.writes };
    board.turn(iteration, error.map(|error| (failures, error)));
}

/// How long it is from `now` to `then`; nothing if that is past.
fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
