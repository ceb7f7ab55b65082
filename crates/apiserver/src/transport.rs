//! The server as a transport inside the process: the same road as from the network, without the network, and
//! collections followed with the store's own bytes.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use naru_client::{Body, BoxedIo, Delta, Follow, Frame, ObjectRef, Transport, TransportError, UpgradeError};
use naru_store::{Change, Entry, Revision, Watch, WatchEnd};
use tokio_util::sync::CancellationToken;

use crate::authentication::{Peer, member};
use crate::authorization::Attributes;
use crate::dispatch::handle;
use crate::extension;
use crate::listen::serve_connection;
use crate::state::Core;
use crate::user::User;
use crate::verbs::selection::Selection;
use crate::versions;
use crate::wire::body::RequestBody;

/// Bytes in flight between the two ends of an upgraded connection.
const PIPE: usize = 64 << 10;

/// A transport of one user.
pub(crate) struct InProcess {
    core: Arc<Core>,
    peer: Peer,
}

/// A followed collection.
struct Following {
    core: Arc<Core>,
    selection: Selection,
    watch: Option<Watch>,
}

// === impl InProcess ===

impl InProcess {
    pub(crate) fn new(core: Arc<Core>, user: Arc<User>) -> Self {
        Self { core, peer: Peer { user: Some(user), local: true, ..Peer::default() } }
    }
}

impl Transport for InProcess {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TransportError>> {
        let (core, peer) = (self.core.clone(), self.peer.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let response = handle(&core, &peer, parts, RequestBody::Process(body), None).await;
            Ok(response.map(|payload| payload.boxed()))
        })
    }

    /// Upgrades are rare and need a connection: one is made, with this server at its other end.
    fn upgrade(&self, request: Request<Body>) -> BoxFuture<'static, Result<(Response<()>, BoxedIo), UpgradeError>> {
        let (core, peer) = (self.core.clone(), self.peer.clone());
        Box::pin(async move {
            let broken = |source: hyper::Error| {
                let address = "this process".to_owned();
                UpgradeError::Transport(TransportError::Broken { address, source: source.into() })
            };
            let (near, far) = tokio::io::duplex(PIPE);
            tokio::spawn(serve_connection(core, far, peer, false, CancellationToken::new()));
            let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(near)).await.map_err(broken)?;
            tokio::spawn(connection.with_upgrades());
            let mut response = sender.send_request(request).await.map_err(broken)?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let body = |body: hyper::body::Incoming| body.map_err(Into::into).boxed_unsync();
                return Err(UpgradeError::Refused(Box::new(response.map(body))));
            }
            let upgraded = hyper::upgrade::on(&mut response).await.map_err(|e| UpgradeError::Broken(e.into()))?;
            Ok((response.map(drop), Box::new(TokioIo::new(upgraded)) as BoxedIo))
        })
    }

    fn follow(&self, follow: Follow) -> Option<BoxStream<'static, Result<Frame, TransportError>>> {
        let serving = self.core.serving();
        let route = serving.routes.find(&follow.group, &follow.version, &follow.plural)?;
        let namespace = follow.namespace.as_deref().unwrap_or_default();
        let selection = Selection::new(route, namespace, &follow.labels, &follow.fields).ok()?;
        if let Some(custom) = &route.custom
            && (selection.judges_contents() || custom.asks() && route.stored.is_some())
        {
            // Objects may have to be converted to be shown or selected: the long road does that. In the stored version
            // they are followed as they are, also those of other versions while nobody is there to convert them: the
            // controllers must know of every object.
            return None;
        }
        let rbac = self.core.rbac.load();
        let user = self.peer.user.as_ref()?;
        if member::node_of(user).is_some() {
            // What a node may follow depends on where pods are: that is judged on the long road.
            return None;
        }
        let allowed = |verb| {
            let (group, resource) = (follow.group.as_str(), follow.plural.as_str());
            rbac.allows(user, &Attributes { verb, group, resource, namespace, ..Attributes::default() })
        };
        if !allowed("list") || !allowed("watch") {
            // Asked over `call`, the server says why not.
            return None;
        }
        let watch = follow.after.and_then(|r| self.core.store.watch(selection.prefix.clone(), Revision(r)).ok());
        let following = Following { core: self.core.clone(), selection, watch };
        Some(
            stream::unfold(following, |mut following| async move { Some((following.next().await?, following)) })
                .boxed(),
        )
    }
}

// === impl Following ===

impl Following {
    async fn next(&mut self) -> Option<Result<Frame, TransportError>> {
        loop {
            let Some(watch) = &mut self.watch else { return Some(Ok(self.reset())) };
            let batch = tokio::select! {
                biased;
                batch = watch.next() => batch,
                () = extension::ended(&self.selection.route) => return None,
            };
            match batch {
                Ok(batch) => {
                    let changes = batch.changes.iter().filter_map(|c| self.delta(c)).collect();
                    return Some(Ok(Frame::Changes { revision: batch.revision.0, changes }));
                }
                Err(WatchEnd::Lagged) => self.watch = None,
                Err(WatchEnd::Closed) => return None,
            }
        }
    }

    /// Everything as it is, and a watch from there on.
    fn reset(&mut self) -> Frame {
        loop {
            let snapshot = self.core.store.snapshot();
            let Ok(watch) = self.core.store.watch(self.selection.prefix.clone(), snapshot.revision()) else { continue };
            self.watch = Some(watch);
            let chosen = self.selection.candidates(&snapshot, "").filter(|e| self.selection.matches(e));
            let objects = chosen.map(|e| (reference(e), versions::followed(&self.selection.route, e))).collect();
            return Frame::Reset { revision: snapshot.revision().0, objects };
        }
    }

    fn delta(&self, change: &Change) -> Option<Delta> {
        let matched = |entry: &&Arc<Entry>| self.selection.matches(entry);
        if let Some(entry) = change.after.as_ref().filter(matched) {
            return Some(Delta::Applied(reference(entry), versions::followed(&self.selection.route, entry)));
        }
        change.before.as_ref().filter(matched).map(|entry| Delta::Deleted(reference(entry)))
    }
}

fn reference(entry: &Entry) -> ObjectRef {
    let (_, namespace, name) = entry.key.parts();
    ObjectRef::new(namespace, name)
}
