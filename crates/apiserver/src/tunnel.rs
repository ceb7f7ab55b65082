//! The connections that nodes keep to this server, and the way to a node over them.
//!
//! One live connection a node: a newer one replaces the older, for a node that dials again knows better than this server
//! whether its last connection still works. Who is connected is told to whoever watches: that is how the loss of a node
//! is noticed within seconds, long before a lease runs out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use naru_api::{Reason, Status};
use naru_client::{BoxFuture, BoxedIo, DialError, NodeDialer, TUNNEL_PROTOCOL, Tunnel};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::authentication::{forgotten, member};
use crate::state::Core;
use crate::user::User;
use crate::wire::payload::Payload;

/// The names of the nodes that are connected now.
pub type Presence = watch::Receiver<Arc<BTreeSet<String>>>;

/// Who came and went is told together when it happens within so short a time: each telling costs as much as there are
/// nodes, and thousands come and go at once when a server starts or a rack loses its power.
const GATHER: Duration = Duration::from_millis(20);

/// How often it is looked whether a connected node is a member still: a search in its own object.
const MEMBER: Duration = Duration::from_secs(5);

/// Every live connection of a node.
pub(crate) struct TunnelHub {
    live: Mutex<Connections>,
    present: watch::Sender<Arc<BTreeSet<String>>>,
    /// It will be told soon.
    telling: AtomicBool,
    /// The connections' own thread, from the first one on: a node is given up when it does not answer within seconds, so
    /// its answer must not wait behind thousands of requests.
    thread: OnceLock<Option<Runtime>>,
}

#[derive(Default)]
struct Connections {
    nodes: BTreeMap<String, Live>,
    /// Nodes that need no connection: they are in this process.
    here: BTreeSet<String>,
    /// The number of the newest connection.
    count: u64,
}

struct Live {
    tunnel: Tunnel,
    number: u64,
    /// Ends it.
    end: CancellationToken,
}

/// Reaches nodes over their connections, and others as before.
pub(crate) struct Dialer {
    pub(crate) hub: Arc<TunnelHub>,
    pub(crate) otherwise: Arc<dyn NodeDialer>,
}

// === impl TunnelHub ===

impl TunnelHub {
    pub(crate) fn new() -> Arc<TunnelHub> {
        Arc::new(TunnelHub {
            live: Mutex::default(),
            present: watch::Sender::new(Arc::default()),
            telling: AtomicBool::new(false),
            thread: OnceLock::new(),
        })
    }

    /// Where the connections are held; this runtime where no thread can be had.
    fn thread(&self) -> Handle {
        let make = || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let made = builder.worker_threads(1).thread_name("naru-tunnels").enable_all().build();
            made.inspect_err(|error| tracing::warn!(%error, "nodes' connections get no thread of their own")).ok()
        };
        self.thread.get_or_init(make).as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }

    /// Who is connected.
    pub(crate) fn presence(&self) -> Presence {
        self.present.subscribe()
    }

    /// A node of this process: it is there as long as the server is.
    pub(crate) fn here(&self, node: &str) {
        let mut live = self.live.lock();
        live.here.insert(node.to_owned());
        self.tell(&live);
    }

    /// The node of this process, if it has one.
    pub(crate) fn own(&self) -> Option<String> {
        self.live.lock().here.first().cloned()
    }

    fn tell(&self, live: &Connections) {
        let names: BTreeSet<String> = live.nodes.keys().chain(&live.here).cloned().collect();
        self.present.send_if_modified(|known| {
            let differs = **known != names;
            if differs {
                *known = Arc::new(names);
            }
            differs
        });
    }

    /// Tells who is connected, soon.
    fn tell_soon(self: &Arc<Self>) {
        if self.telling.swap(true, Ordering::AcqRel) {
            return;
        }
        let hub = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GATHER).await;
            // From here on whatever changes is told again.
            hub.telling.store(false, Ordering::Release);
            hub.tell(&hub.live.lock());
        });
    }

    fn enter(self: &Arc<Self>, node: &str, tunnel: Tunnel) -> (u64, CancellationToken) {
        let mut live = self.live.lock();
        live.count += 1;
        let (number, end) = (live.count, CancellationToken::new());
        let entry = Live { tunnel, number, end: end.clone() };
        if let Some(older) = live.nodes.insert(node.to_owned(), entry) {
            older.end.cancel();
        }
        drop(live);
        self.tell_soon();
        (number, end)
    }

    fn leave(self: &Arc<Self>, node: &str, number: u64) {
        let mut live = self.live.lock();
        if live.nodes.get(node).is_some_and(|known| known.number == number) {
            live.nodes.remove(node);
            drop(live);
            self.tell_soon();
        }
    }

    /// Holds a node's connection until it ends, or the node is removed.
    async fn hold(self: &Arc<Self>, node: &str, io: BoxedIo, removed: impl Future<Output = ()>) {
        let (tunnel, connection) = match Tunnel::over(io).await {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(node, error, "a node's connection did not come about");
                return;
            }
        };
        let (number, end) = self.enter(node, tunnel);
        tracing::info!(node, "connected");
        let ended = tokio::select! {
            ended = connection => ended,
            () = removed => {
                // It comes again, and hears why.
                tracing::info!(node, "removed: its connection is ended");
                return self.leave(node, number);
            }
            () = end.cancelled() => {
                tracing::info!(node, "connected anew");
                return;
            }
        };
        self.leave(node, number);
        match ended {
            Ok(()) => tracing::info!(node, "disconnected"),
            Err(error) => tracing::warn!(node, error, "lost"),
        }
    }
}

/// Answers a node that asks for its connection.
///
/// # Errors
/// 403 for whoever is no node, 400 for a request that asks for no change of protocol.
pub(crate) fn answer(core: &Arc<Core>, user: &User, upgrade: Option<OnUpgrade>) -> Result<Response<Payload>, Status> {
    let Some(node) = member::node_of(user).map(str::to_owned) else {
        return Err(Status::new(Reason::Forbidden, "only nodes are connected here, each by its own certificate"));
    };
    let Some(upgrade) = upgrade else {
        return Err(Status::bad_request(format!("expected Upgrade: {TUNNEL_PROTOCOL}, over HTTP/1.1")));
    };
    let hub = core.tunnels.clone();
    forgotten::take_in(core, user);
    let removed = removed(Arc::downgrade(core), user.clone());
    hub.thread().spawn(async move {
        match upgrade.await {
            Ok(upgraded) => hub.hold(&node, Box::new(TokioIo::new(upgraded)), removed).await,
            Err(error) => tracing::debug!(node, %error, "a node went before it was connected"),
        }
    });
    let mut response = Response::new(Payload::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(TUNNEL_PROTOCOL));
    Ok(response)
}

/// Ends when the node that came as this user is a member no more.
async fn removed(core: Weak<Core>, user: User) {
    let Some(key) = user.extra.get(member::KEY).and_then(|keys| keys.first()) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(MEMBER).await;
        let Some(core) = core.upgrade() else { return };
        if member::check(&core.store.snapshot(), &user, key).is_err() {
            return;
        }
    }
}

impl Drop for TunnelHub {
    fn drop(&mut self) {
        // Never waited for: this may be a task of that very runtime.
        if let Some(runtime) = self.thread.take().flatten() {
            runtime.shutdown_background();
        }
    }
}

impl NodeDialer for Dialer {
    fn dial(&self, node: &str) -> BoxFuture<'static, Result<BoxedIo, DialError>> {
        let tunnel = self.hub.live.lock().nodes.get(node).map(|live| live.tunnel.clone());
        let Some(tunnel) = tunnel else { return self.otherwise.dial(node) };
        let node = node.to_owned();
        Box::pin(async move { tunnel.open().await.map_err(|source| DialError::Failed { node, source }) })
    }
}
