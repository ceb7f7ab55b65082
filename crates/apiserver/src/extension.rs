//! Kinds that users define.
//!
//! A `CustomResourceDefinition` is an object like any other until the server acts on it. [`definitions`] follows all of
//! them and keeps what is served in step: [`kinds`] makes of one what the registry knows kinds by, [`Custom`] is what it
//! cannot know. What the server has to say about a definition is decided in [`judge`], purely, and written by [`keeper`],
//! which also brings those to an end that are to be deleted ([`ending`]). [`form`] gives stored objects the form of the
//! present definition, [`convert`] brings them from one version to another, also by a webhook.
//!
//! Whoever writes a definition gets their answer when it is acted on ([`progress`]): what follows on the answer finds the
//! kind served, or gone. Every server follows for itself and all write the same, so none of them leads.

mod condition;
pub(crate) mod convert;
mod custom;
mod definitions;
pub(crate) mod ending;
#[cfg(test)]
pub(crate) mod fixture;
mod form;
mod judge;
mod keeper;
mod kinds;
mod lately;
mod progress;
mod review;

use std::sync::Arc;

use naru_api::Kind;
use naru_store::Entry;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::encode::ENDING;
use crate::follower;
use crate::routes::Route;
use crate::state::Core;
use crate::user::{MASTERS, User};

pub(crate) use custom::{Custom, Customs, refuse_new};
use definitions::{Definitions, Following};
pub(crate) use form::{lying, nearest};
use progress::Progress;
pub(crate) use progress::wait;

/// Where definitions lie in the store.
pub(crate) const COLLECTION: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// What a server knows of definitions.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    definitions: Mutex<Definitions>,
    progress: tokio::sync::watch::Sender<Progress>,
}

// === impl Extensions ===

impl Extensions {
    /// Whether every kind is served that was defined when the server began.
    pub(crate) fn is_following(&self) -> bool {
        self.progress.borrow().revision > 0
    }
}

/// Serves every kind that is defined, then follows definitions until `ended`.
pub(crate) fn start(core: &Arc<Core>, ended: &CancellationToken) {
    follower::follow(&core.store, &[COLLECTION], Following::new(core.clone()), ended);
    keeper::start(core, ended);
}

/// What clients are told that use a kind or version which is not to be used any more.
pub(crate) fn deprecation(kind: &Kind) -> Option<String> {
    let Some(version) = kind.custom() else { return kind.deprecation().map(str::to_owned) };
    let given = version.deprecation.as_deref()?;
    if given.is_empty() {
        Some(format!("{} {} is deprecated", kind.api_version(), kind.kind))
    } else {
        Some(given.to_owned())
    }
}

/// Whether objects of a kind are made, by what its definition is now.
pub(crate) fn takes_objects(definition: Option<&Entry>) -> bool {
    definition.is_some_and(|entry| entry.indexes().iter().all(|(index, _)| *index != ENDING))
}

/// Waits until what a route leads to is served otherwise, or no longer.
pub(crate) async fn ended(route: &Route) {
    match &route.custom {
        Some(custom) => custom.ended.cancelled().await,
        None => std::future::pending().await,
    }
}

/// As whom the server writes.
fn server() -> User {
    User::new("system:apiserver", &[MASTERS])
}
