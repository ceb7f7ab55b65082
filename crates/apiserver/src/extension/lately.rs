//! Conversions for watchers: a state of an object is converted once for all who watch a version, however many they are.
//!
//! A change wakes all watchers at the same moment, and each would ask the webhook the same. The first asks for the whole
//! batch that woke it; the others wait for that answer. What failed is forgotten, so that whoever comes next asks again.
//! Reading and listing do not look here: they show what the webhook says now.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use naru_api::Status;
use naru_store::{Entry, Key, Revision};
use parking_lot::Mutex;

use super::convert;
use crate::routes::Route;
use crate::state::Core;

/// How many states are remembered.
const MOST: usize = 1024;

type Batch = Shared<BoxFuture<'static, Result<Arc<[Arc<Entry>]>, Status>>>;
/// A state of an object, and the version that it is shown in.
type State = (Key, Revision, String);

/// What was converted lately, or is just being converted.
#[derive(Default)]
pub(super) struct Lately(Mutex<HashMap<State, (Batch, usize)>>);

// === impl Lately ===

impl Lately {
    /// The conversions of these states, and where in each the state stands; new ones are begun.
    fn begin(&self, core: &Arc<Core>, route: &Arc<Route>, states: &[Arc<Entry>]) -> Vec<(Batch, usize)> {
        let mut known = self.0.lock();
        let fresh: Vec<Arc<Entry>> =
            states.iter().filter(|entry| !known.contains_key(&state(route, entry))).cloned().collect();
        if !fresh.is_empty() {
            if known.len() + fresh.len() > MOST {
                known.clear();
            }
            // Whoever remembers a conversion that nobody waits for any more must not hold the server.
            let (core, route_of, asked) = (Arc::downgrade(core), route.clone(), fresh.clone());
            let batch: Batch = async move {
                let core = core.upgrade().ok_or_else(|| Status::unavailable("the server is ending"))?;
                convert::bring(&core, &route_of, asked).await.map(Arc::from)
            }
            .boxed()
            .shared();
            for (at, entry) in fresh.iter().enumerate() {
                known.insert(state(route, entry), (batch.clone(), at));
            }
        }
        states.iter().filter_map(|entry| known.get(&state(route, entry)).cloned()).collect()
    }

    fn forget(&self, route: &Route, states: &[Arc<Entry>]) {
        let mut known = self.0.lock();
        for entry in states {
            known.remove(&state(route, entry));
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// These states in the form of the route, in their order.
    ///
    /// # Errors
    /// When they cannot be converted.
    pub(super) async fn bring(
        &self,
        core: &Arc<Core>,
        route: &Arc<Route>,
        mut states: Vec<Arc<Entry>>,
    ) -> Result<Vec<Arc<Entry>>, Status> {
        let parts = self.begin(core, route, &states);
        if parts.len() != states.len() {
            // More at once than are remembered.
            return convert::bring(core, route, states).await;
        }
        for (at, (batch, index)) in parts.into_iter().enumerate() {
            match batch.await {
                Ok(all) => states[at] = all[index].clone(),
                Err(status) => {
                    self.forget(route, &states[at..]);
                    return Err(status);
                }
            }
        }
        Ok(states)
    }
}

impl std::fmt::Debug for Lately {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lately({})", self.0.lock().len())
    }
}

fn state(route: &Route, entry: &Entry) -> State {
    (entry.key.clone(), entry.modified, route.kind.version.to_string())
}
