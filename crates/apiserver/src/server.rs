//! The API server as its owner sees it.

use std::sync::Arc;

use naru_client::Transport;
use naru_store::{Prefix, WatchEnd};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admission::{address, quota};
use crate::aggregate;
use crate::apply::{self, ApplyOptions, Change};
use crate::audit::AuditLog;
use crate::authorization;
use crate::backup::BackupSource;
use crate::bootstrap;
use crate::components::Components;
use crate::config::{Config, Listeners, StartError};
use crate::extension;
use crate::fairness;
use crate::listen::Bound;
use crate::sealing;
use crate::state::Core;
use crate::transport::InProcess;
use crate::tunnel::Presence;
use crate::user::User;
use naru_api::{Registry, Status};
use serde_json::Value;
use tokio::sync::watch;

/// An API server. Clones are handles to the same one; the last one to go ends its background work.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
    _followers: Arc<DropGuard>,
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts serving this process: writes the objects that every cluster has, where they are missing, and follows
    /// roles, bindings and the kinds that users defined. Nothing listens yet.
    ///
    /// # Errors
    /// When those objects cannot be written.
    pub async fn new(config: Config) -> Result<ApiServer, StartError> {
        let core = Arc::new(Core::new(config));
        core.aggregate.open(&core.authority)?;
        bootstrap::ensure(&core).await.map_err(StartError::Bootstrap)?;
        let ended = CancellationToken::new();
        authorization::follow(&core, &ended);
        authorization::write_back(&core, &ended).await;
        extension::start(&core, &ended);
        aggregate::start(&core, &ended);
        keep_own_service(&core, &ended);
        sealing::keep(&core, &ended);
        quota::keep(&core, &ended);
        fairness::keep(&core, &ended);
        Ok(ApiServer { core, _followers: Arc::new(ended.drop_guard()) })
    }

    /// Opens the listeners.
    ///
    /// # Errors
    /// When an address or path is taken, or TLS cannot be set up.
    pub async fn bind(&self, listeners: &Listeners) -> Result<Bound, StartError> {
        Bound::open(self.core.clone(), listeners).await
    }

    /// Opens the listeners and serves until `shutdown`.
    ///
    /// # Errors
    /// As [`ApiServer::bind`].
    pub async fn serve(&self, listeners: &Listeners, shutdown: CancellationToken) -> Result<(), StartError> {
        self.bind(listeners).await?.serve(shutdown).await;
        Ok(())
    }

    /// A transport to this server inside the process, for one user.
    pub fn transport(&self, user: Arc<User>) -> Arc<dyn Transport> {
        Arc::new(InProcess::new(self.core.clone(), user))
    }

    /// The kinds that are served, whenever they change.
    pub fn kinds(&self) -> watch::Receiver<Arc<Registry>> {
        self.core.kinds.subscribe()
    }

    /// Which nodes are connected now.
    pub fn presence(&self) -> Presence {
        self.core.tunnels.presence()
    }

    /// Says that a node is in this process: it is present for as long as the server runs.
    pub fn has_node(&self, node: &str) {
        self.core.tunnels.here(node);
    }

    /// Gives the server what makes backups of the whole cluster; without it there are none. Only the first counts.
    pub fn has_backups(&self, source: Arc<dyn BackupSource>) {
        let _ = self.core.backups.set(source);
    }

    /// Gives the server what knows how the other parts of the control plane are; without it nobody can say. Only the
    /// first counts.
    pub fn has_components(&self, components: Arc<dyn Components>) {
        let _ = self.core.components.set(components);
    }

    /// Gives the server an audit log; without it nothing is written down. Only the first counts.
    pub fn has_audit(&self, log: Arc<AuditLog>) {
        let _ = self.core.audit.set(log);
    }

    /// Creates, updates and prunes a set of objects; see [`ApplyOptions`].
    ///
    /// # Errors
    /// At the first object that is refused, with what was done before it left done.
    pub async fn apply_objects(
        &self,
        user: &User,
        objects: Vec<Value>,
        options: &ApplyOptions,
    ) -> Result<Vec<Change>, Status> {
        apply::apply(&self.core, user, objects, options).await
    }
}

/// Brings the API server's own service back when somebody removes it, as `kubectl delete all --all` does: pods find the
/// API by it. So with the ranges that services have their addresses from.
fn keep_own_service(core: &Arc<Core>, ended: &CancellationToken) {
    for collection in ["services", "endpoints", "endpointslices.discovery.k8s.io", address::RANGES] {
        let (core, ended, after) = (core.clone(), ended.clone(), core.store.snapshot().revision());
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = keep(&core, collection, after) => {}
            }
        });
    }
}

async fn keep(core: &Core, collection: &str, mut after: naru_store::Revision) {
    let namespace = if collection == address::RANGES { "" } else { "default" };
    let prefix = Prefix::namespace(collection, namespace);
    loop {
        let watch = core.store.watch(prefix.clone(), after);
        if let Ok(mut watch) = watch {
            loop {
                match watch.next().await {
                    Ok(batch) if batch.changes.iter().any(|c| c.key.name() == "kubernetes" && c.after.is_none()) => {
                        restore(core).await;
                    }
                    Ok(_) => {}
                    Err(WatchEnd::Lagged) => break,
                    Err(WatchEnd::Closed) => return,
                }
            }
        }
        // What was missed may have been its removal.
        after = core.store.snapshot().revision();
        restore(core).await;
    }
}

async fn restore(core: &Core) {
    if let Err(error) = bootstrap::restore(core).await {
        tracing::warn!(%error, "the service kubernetes cannot be brought back");
    }
}
