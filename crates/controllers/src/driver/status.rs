//! What every controller tells about itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use naru_client::ObjectRef;
use parking_lot::Mutex;

/// The present state of one controller.
#[derive(Debug, Clone)]
pub struct ControllerStatus {
    /// Its name.
    pub name: &'static str,
    /// Keys that wait, including those for later.
    pub waiting: usize,
    /// Keys being worked on.
    pub running: usize,
    /// How many turns it has taken.
    pub iterations: u64,
    /// The last turn.
    pub last: Option<Iteration>,
    /// Keys whose last turn failed.
    pub failing: BTreeMap<ObjectRef, Failure>,
}

/// One turn.
#[derive(Debug, Clone)]
pub struct Iteration {
    /// Which key.
    pub key: ObjectRef,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What the plan said, or that it failed.
    pub reason: String,
    /// How many writes it made.
    pub writes: usize,
}

/// A key that fails.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Since when.
    pub since: Timestamp,
    /// How often in a row.
    pub count: u32,
    /// The last error, with everything beneath it.
    pub error: String,
}

/// Where one controller writes its status and anyone may read it.
#[derive(Debug, Clone)]
pub(crate) struct Board(Arc<Mutex<ControllerStatus>>);

impl Board {
    pub(super) fn new(name: &'static str) -> Self {
        let status =
            ControllerStatus { name, waiting: 0, running: 0, iterations: 0, last: None, failing: BTreeMap::new() };
        Board(Arc::new(Mutex::new(status)))
    }

    pub(crate) fn read(&self) -> ControllerStatus {
        self.0.lock().clone()
    }

    pub(super) fn load(&self, waiting: usize, running: usize) {
        let mut status = self.0.lock();
        (status.waiting, status.running) = (waiting, running);
    }

    pub(super) fn turn(&self, iteration: Iteration, failed: Option<(u32, String)>) {
        let mut status = self.0.lock();
        status.iterations += 1;
        match failed {
            None => {
                status.failing.remove(&iteration.key);
            }
            Some((count, error)) => {
                let since = status.failing.get(&iteration.key).map_or(iteration.at, |known| known.since);
                status.failing.insert(iteration.key.clone(), Failure { since, count, error });
            }
        }
        status.last = Some(iteration);
    }
}
