//! Whether every node's data plane has followed: `GET /naru/v1/dataplanes?revision=R&timeoutMilliseconds=T`.
//!
//! A pod may be told to end once no node leads new connections to it. Each node tells, over the connection that it keeps
//! to its server, up to which revision its rules are made from EndpointSlices; here the lowest of them is known, and
//! whoever asks waits until that has reached what they ask for. One stream a node serves all who wait: opened when
//! somebody asks, closed when nobody has for a while. Nothing of it is stored, and a server that starts again knows as
//! much after one round trip. Refused: nodes that write what they have applied into the API, which would make every
//! change of endpoints one write a node.
//!
//! The nodes meant are those connected to this server. With several servers the one that is asked asks its peers the same
//! question, each for the nodes connected to it, and answers with all of theirs.

mod floor;
mod follow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response, StatusCode};
use naru_api::{Reason, Status};
use naru_client::NodeDialer;
use naru_store::{Prefix, Store};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::object;
use crate::state::Core;
use crate::tunnel::Presence;
use crate::wire::payload::Payload;
use crate::wire::query::Query;
use crate::wire::respond;

use floor::Floor;
use follow::{Word, follow};

/// Where it is asked.
pub(crate) const PATH: &str = "/naru/v1/dataplanes";

/// How long is waited when the question does not say, and at most.
const WAITED: u64 = 1_000;
const LONGEST: u64 = 30_000;
/// How long streams stay open after the last question: the pods of one drain or update stop one after another.
const IDLE: Duration = Duration::from_secs(10);
/// So many nodes are named in an answer.
const NAMED: usize = 100;

/// How far the data planes of connected nodes are.
pub(crate) struct Dataplanes {
    presence: Presence,
    returning: Returning,
    dialer: Arc<dyn NodeDialer>,
    followed: Mutex<Followed>,
    /// What every node that can say so has reached.
    lowest: watch::Sender<u64>,
}

#[derive(Default)]
struct Followed {
    floor: Floor,
    /// The task of each node that is listened to.
    tasks: BTreeMap<String, AbortHandle>,
    /// How many wait.
    waiting: usize,
    /// Counts the questions, so that only the last one's end closes the streams.
    asked: u64,
    /// The task that looks who is connected.
    keeper: Option<AbortHandle>,
}

/// Nodes that are waited for though they are not connected (yet): a server that starts finds its nodes ready in the
/// store, and they lead what they led while they come back.
#[derive(Debug, Default)]
pub(crate) struct Returning {
    nodes: BTreeSet<String>,
    /// Who has not come back by then is left to the controller of nodes.
    until: Option<Instant>,
}

/// What is known when the waiting is over.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Nodes that are connected and have not reached the revision.
    behind: Vec<String>,
    /// Nodes that cannot say.
    unable: Vec<String>,
}

/// Answers the question.
///
/// # Errors
/// 400 for a question without a revision, 405 for anything but GET.
pub(crate) async fn answer(core: &Core, method: &Method, query: &Query<'_>) -> Result<Response<Payload>, Status> {
    if *method != Method::GET {
        let text = format!("{method} is not supported on {PATH}: it can only be read");
        return Err(Status::new(Reason::MethodNotAllowed, text));
    }
    let revision = query.number("revision")?;
    let revision =
        revision.ok_or_else(|| Status::bad_request(format!("{PATH} needs ?revision=, a resourceVersion")))?;
    let within = Duration::from_millis(query.number("timeoutMilliseconds")?.unwrap_or(WAITED).min(LONGEST));
    let Outcome { behind, unable } = core.dataplanes.reached(revision, within).await;
    let answer = json!({"revision": revision.to_string(), "behind": behind, "unable": unable});
    Ok(respond::json(StatusCode::OK, answer.to_string()))
}

// === impl Returning ===

/// How long nodes have to come back: as long as the controller of nodes gives them after a start.
const RETURN: Duration = Duration::from_secs(10);

impl Returning {
    /// The nodes that were ready when the server before ended.
    pub(crate) fn of(store: &Store) -> Returning {
        let is_ready = |node: &Value| {
            let conditions = node["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|known| known["type"] == "Ready" && known["status"] == "True")
        };
        let snapshot = store.snapshot();
        let nodes = Prefix::collection("nodes");
        let nodes = snapshot.range(&nodes).filter(|entry| is_ready(&object::parse(&entry.served)));
        let nodes = nodes.map(|entry| entry.key.name().to_owned()).collect();
        Returning { nodes, until: Some(Instant::now() + RETURN) }
    }

    fn now(&self) -> &BTreeSet<String> {
        static NOBODY: BTreeSet<String> = BTreeSet::new();
        if self.until.is_some_and(|until| Instant::now() < until) { &self.nodes } else { &NOBODY }
    }
}

// === impl Dataplanes ===

impl Dataplanes {
    pub(crate) fn new(presence: Presence, dialer: Arc<dyn NodeDialer>, returning: Returning) -> Arc<Dataplanes> {
        let lowest = watch::Sender::new(u64::MAX);
        Arc::new(Dataplanes { presence, returning, dialer, followed: Mutex::default(), lowest })
    }

    /// Waits until every connected node has reached a revision, or for so long.
    async fn reached(self: &Arc<Self>, revision: u64, within: Duration) -> Outcome {
        let _asking = self.begin();
        let mut lowest = self.lowest.subscribe();
        // The sender is in `self`, so it is the time alone that can end it before.
        let _ = timeout(within, lowest.wait_for(|lowest| *lowest >= revision)).await;
        let followed = self.followed.lock();
        Outcome { behind: followed.floor.behind(revision, NAMED), unable: followed.floor.unable(NAMED) }
    }

    /// Listens to every connected node from now on, at least as long as the value returned lives.
    fn begin(self: &Arc<Self>) -> Asking {
        let present = self.presence.borrow().clone();
        let mut followed = self.followed.lock();
        followed.waiting += 1;
        followed.asked += 1;
        self.look(&mut followed, &present);
        if followed.keeper.is_none() {
            let planes = self.clone();
            let keeper = tokio::spawn(async move {
                let mut presence = planes.presence.clone();
                while presence.changed().await.is_ok() {
                    let present = presence.borrow_and_update().clone();
                    planes.look(&mut planes.followed.lock(), &present);
                }
            });
            followed.keeper = Some(keeper.abort_handle());
        }
        Asking { planes: self.clone(), runtime: Handle::current() }
    }

    /// Listens to those who are connected, and to nobody else.
    fn look(self: &Arc<Self>, followed: &mut Followed, present: &BTreeSet<String>) {
        followed.tasks.retain(|node, task| {
            let stays = present.contains(node);
            if !stays {
                task.abort();
            }
            stays
        });
        let returning = self.returning.now();
        followed.floor.keep(|node| present.contains(node) || returning.contains(node));
        returning.difference(present).for_each(|node| followed.floor.enter(node));
        for node in present {
            if !followed.tasks.contains_key(node) {
                followed.floor.enter(node);
                let (planes, name) = (self.clone(), node.clone());
                let say = move |word| planes.hear(&name, word);
                let task = tokio::spawn(follow(self.dialer.clone(), node.clone(), say));
                followed.tasks.insert(node.clone(), task.abort_handle());
            }
        }
        self.tell(followed);
    }

    fn hear(&self, node: &str, word: Word) {
        let mut followed = self.followed.lock();
        match word {
            Word::Reached(revision) => followed.floor.reached(node, revision),
            Word::Silent => followed.floor.reached(node, 0),
            Word::CannotSay => followed.floor.cannot_say(node),
        }
        self.tell(&followed);
    }

    /// Wakes those who wait, when the slowest node has moved.
    fn tell(&self, followed: &Followed) {
        let now = followed.floor.lowest();
        self.lowest.send_if_modified(|lowest| std::mem::replace(lowest, now) != now);
    }

    fn close(&self, asked: u64) {
        let mut followed = self.followed.lock();
        if followed.waiting > 0 || followed.asked != asked {
            return;
        }
        let tasks = std::mem::take(&mut followed.tasks);
        tasks.into_values().chain(followed.keeper.take()).for_each(|task| task.abort());
        followed.floor.keep(|_| false);
        self.tell(&followed);
    }
}

/// A question under way.
struct Asking {
    planes: Arc<Dataplanes>,
    /// A caller may let go of its question anywhere.
    runtime: Handle,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut followed = self.planes.followed.lock();
        followed.waiting -= 1;
        let asked = followed.asked;
        if followed.waiting == 0 {
            let planes = Arc::downgrade(&self.planes);
            self.runtime.spawn(async move {
                tokio::time::sleep(IDLE).await;
                if let Some(planes) = planes.upgrade() {
                    planes.close(asked);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
