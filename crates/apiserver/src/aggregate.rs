//! Further servers behind this one: groups and versions of the API that somebody else answers.
//!
//! An `APIService` names a group, a version and a Service. Requests for it are authenticated and judged here like all
//! others and then passed on ([`proxy`]), with the user's name in headers which only this server's own certificate makes
//! believable ([`front`]). [`remote`] follows the objects, [`keeper`] asks each server whether it answers, writes that down
//! ([`available`]) and fetches what it says of itself ([`documents`]), which [`discovery`] and [`described`] tell clients
//! together with this server's own kinds. Of those every group and version has an `APIService`, too, which needs no server
//! ([`register`], [`priority`]).
//!
//! What this server answers itself is never passed on, whatever an object says. Refused: letting the object decide, by
//! which whoever may write one could put a server of their own in front of Secrets.

mod available;
mod described;
mod discovery;
mod documents;
mod fetch;
mod front;
mod keeper;
mod pools;
mod priority;
mod proxy;
mod register;
mod remote;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use naru_identity::{Authority, IdentityError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::serving::Serving;
use crate::state::Core;
use crate::user::{MASTERS, User};

pub(crate) use described::{Foreign, foreign, index};
pub(crate) use discovery::{group, groups, list};
use documents::Found;
use front::Front;
use pools::Pools;
pub(crate) use proxy::{Asked, forward};
pub(crate) use register::{builtin, introduction, unregistered};
use remote::{Remote, Remotes};

/// Where the objects lie in the store.
pub(crate) const COLLECTION: &str = "apiservices.apiregistration.k8s.io";

/// What is known of further servers.
#[derive(Default)]
pub(crate) struct Aggregate {
    remotes: ArcSwap<Remotes>,
    /// Counts how often that changed.
    changed: watch::Sender<u64>,
    /// What they say of themselves, by the names of their objects.
    found: ArcSwap<BTreeMap<String, Arc<Found>>>,
    front: OnceLock<Front>,
    pools: Pools,
    /// Whether the objects of built-in groups and versions were all seen.
    registered: AtomicBool,
}

// === impl Aggregate ===

impl Aggregate {
    /// Opens what this server shows to others.
    ///
    /// # Errors
    /// When its authority can be neither read nor made.
    pub(crate) fn open(&self, authority: &Authority) -> Result<(), IdentityError> {
        if self.front.get().is_none() {
            let _ = self.front.set(Front::open(authority)?);
        }
        Ok(())
    }

    /// Whether objects are followed.
    pub(crate) fn is_following(&self) -> bool {
        *self.changed.borrow() > 0
    }

    /// Writes which servers are away, for Prometheus.
    pub(crate) fn write_metrics(&self, out: &mut String) {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return;
        }
        let name = "aggregator_unavailable_apiservice";
        let help = "Gauge of APIServices which are marked as unavailable broken down by APIService name.";
        metrics::head(out, name, "gauge", help);
        for remote in remotes.iter() {
            let _ = writeln!(out, "{name}{{name=\"{}\"}} {}", remote.spec.name, u8::from(!remote.available));
        }
    }

    fn found(&self, name: &str) -> Option<Arc<Found>> {
        self.found.load().get(name).cloned()
    }

    fn find_out(&self, name: &str, found: Found) {
        let found = Arc::new(found);
        self.found.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(name.to_owned(), found.clone());
            all
        });
    }

    /// Forgets what those said that are gone.
    fn retain(&self, is_there: impl Fn(&str) -> bool) {
        if self.found.load().keys().any(|name| !is_there(name)) {
            self.found.rcu(|all| {
                let mut all = BTreeMap::clone(all);
                all.retain(|name, _| is_there(name));
                all
            });
        }
    }
}

/// Follows the objects, keeps those that this server makes itself, and looks after the servers, until `ended`.
pub(crate) fn start(core: &Arc<Core>, ended: &CancellationToken) {
    remote::follow(core, ended);
    register::start(core, ended);
    keeper::start(core, ended);
}

/// Who answers for a group and version that this server does not answer for itself.
pub(crate) fn find(core: &Core, serving: &Serving, group: &str, version: &str) -> Option<Arc<Remote>> {
    let remotes = core.aggregate.remotes.load();
    if remotes.is_empty() || serving.routes.serves(group, version) {
        return None;
    }
    remotes.get(group, version).cloned()
}

/// Who answers for a path that is no resource: what a group and version holds, and its description.
pub(crate) fn find_path(core: &Core, path: &str) -> Option<Arc<Remote>> {
    if core.aggregate.remotes.load().is_empty() {
        return None;
    }
    let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
    match path.split('/').filter(|segment| !segment.is_empty()).collect::<Vec<_>>().as_slice() {
        ["apis", group, version] => find(core, &core.serving(), group, version),
        _ => None,
    }
}

/// As whom the server writes these objects.
fn server() -> User {
    User::new("system:apiserver", &[MASTERS])
}
