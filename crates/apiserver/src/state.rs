//! What every request handler shares.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use naru_api::{Kind, Registry, Status};
use naru_client::NodeDialer;
use naru_identity::{Authority, Sealer, TokenSigner};
use naru_store::{Key, Store};
use tokio::sync::watch;

use crate::admission::{policy, webhook};
use crate::aggregate::Aggregate;
use crate::audit::AuditLog;
use crate::authentication::token::Authenticator;
use crate::authorization::Rbac;
use crate::backup::BackupSource;
use crate::calls::Caller;
use crate::components::Components;
use crate::config::{Config, Settings};
use crate::dataplanes::{Dataplanes, Returning};
use crate::extension::Extensions;
use crate::fairness::Fairness;
use crate::metrics::Metrics;
use crate::routes::Route;
use crate::serving::Serving;
use crate::tunnel::{Dialer, TunnelHub};

/// The shared state of an API server.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) serving: ArcSwap<Serving>,
    /// The kinds of `serving`, for those who follow them.
    pub(crate) kinds: watch::Sender<Arc<Registry>>,
    /// What is known of kinds that users define.
    pub(crate) extensions: Extensions,
    pub(crate) rbac: ArcSwap<Rbac>,
    /// The revision up to which `rbac` knows the store.
    pub(crate) rbac_revision: watch::Sender<u64>,
    pub(crate) authenticator: Authenticator,
    pub(crate) tokens: Arc<TokenSigner>,
    pub(crate) sealer: Arc<Sealer>,
    /// Tells that there are values to seal again.
    pub(crate) resealing: tokio::sync::Notify,
    pub(crate) authority: Arc<Authority>,
    pub(crate) dialer: Arc<dyn NodeDialer>,
    pub(crate) tunnels: Arc<TunnelHub>,
    pub(crate) dataplanes: Arc<Dataplanes>,
    /// Admission webhooks as they stand.
    pub(crate) hooks: webhook::Cache,
    /// Policies as they stand.
    pub(crate) policies: policy::Cache,
    /// Calls webhooks and their likes.
    pub(crate) caller: Caller,
    /// Further servers.
    pub(crate) aggregate: Aggregate,
    /// Where requests are written down, where the server's owner wants it.
    pub(crate) audit: OnceLock<Arc<AuditLog>>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    /// Whose turn it is.
    pub(crate) fairness: Fairness,
    /// When answered requests for certificates were last looked through for old ones.
    pub(crate) swept: parking_lot::Mutex<Option<std::time::Instant>>,
    /// What makes backups, where the server's owner gave one.
    pub(crate) backups: OnceLock<Arc<dyn BackupSource>>,
    /// What knows how the other parts of the control plane are, where the server's owner gave it.
    pub(crate) components: OnceLock<Arc<dyn Components>>,
}

// === impl Core ===

impl Core {
    pub(crate) fn new(config: Config) -> Core {
        let Config { store, registry, authority, tokens, sealer, dialer, settings } = config;
        let tunnels = TunnelHub::new();
        let returning = Returning::of(&store);
        let dialer: Arc<dyn NodeDialer> = Arc::new(Dialer { hub: tunnels.clone(), otherwise: dialer });
        Core {
            serving: ArcSwap::from_pointee(Serving::of(registry.clone())),
            kinds: watch::Sender::new(registry),
            extensions: Extensions::default(),
            rbac: ArcSwap::default(),
            rbac_revision: watch::Sender::new(0),
            authenticator: Authenticator::new(tokens.clone(), settings.issuer.clone(), &settings.authentication),
            hooks: webhook::Cache::default(),
            policies: policy::Cache::default(),
            caller: Caller::default(),
            aggregate: Aggregate::default(),
            audit: OnceLock::new(),
            metrics: Metrics::default(),
            fairness: Fairness::new(settings.at_once),
            swept: parking_lot::Mutex::default(),
            backups: OnceLock::new(),
            resealing: tokio::sync::Notify::new(),
            components: OnceLock::new(),
            store,
            tokens,
            sealer,
            authority,
            dataplanes: Dataplanes::new(tunnels.presence(), dialer.clone(), returning),
            dialer,
            tunnels,
            settings,
        }
    }

    /// The route of a kind that is always served.
    ///
    /// # Errors
    /// An internal error when the registry lacks it.
    pub(crate) fn route(&self, group: &str, version: &str, plural: &str) -> Result<Arc<Route>, Status> {
        self.serving
            .load()
            .routes
            .find(group, version, plural)
            .cloned()
            .ok_or_else(|| Status::internal(format!("{plural} of {group}/{version} is not served")))
    }

    /// The route of an object by its `apiVersion` and `kind`.
    ///
    /// # Errors
    /// 404 when the kind is not served.
    pub(crate) fn route_of(&self, api_version: &str, kind: &str) -> Result<Arc<Route>, Status> {
        let serving = self.serving.load();
        let found = serving.registry.by_api_version(api_version, kind).and_then(|k| serving.routes.of_kind(k));
        found.cloned().ok_or_else(|| {
            let mut status = Status::no_such_path();
            status.message = format!("no matches for kind {kind:?} in version {api_version:?}");
            status
        })
    }
}

impl Route {
    /// The key of an object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> Key {
        Key::new(&self.collection, namespace, name)
    }

    /// The kind by whose rules an object is worked on: the one whose form the stored bytes have, or, of those that users
    /// define, the version that is asked for.
    pub(crate) fn working_kind(&self) -> &Arc<Kind> {
        self.stored.as_ref().filter(|_| self.custom.is_none()).unwrap_or(&self.kind)
    }
}
