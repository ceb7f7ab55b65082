//! What the cluster adds to objects and refuses, beyond what the object alone tells: that is `naru_api`'s.
//!
//! Most modules decide about one kind from the object and a snapshot, without writing anything; [`chain`] says in which
//! order everything that has a say is asked.

pub(crate) mod address;
pub(crate) mod chain;
pub(crate) mod claim;
mod expression;
pub(crate) mod joining;
mod limits;
mod matching;
pub(crate) mod namespace;
pub(crate) mod notes;
pub(crate) mod pod;
pub(crate) mod pod_security;
pub(crate) mod policy;
pub(crate) mod quota;
pub(crate) mod request;
mod rights;
pub(crate) mod service;
pub(crate) mod webhook;

use bytes::Bytes;
use naru_api::{Kind, Status};
use naru_store::{Key, Snapshot};
use serde_json::Value;

use crate::authentication::secret;
use crate::state::Core;

/// What a write takes and gives back besides the object itself.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) reserve: Vec<(Key, Bytes)>,
    pub(crate) release: Vec<Key>,
    pub(crate) along: Vec<(Key, Bytes)>,
    /// What must still be as it was seen.
    pub(crate) unchanged: Option<joining::Unchanged>,
    /// The same of what addresses were taken from.
    pub(crate) steady: Vec<joining::Unchanged>,
}

/// Completes a new object.
///
/// # Errors
/// When the cluster's state forbids it.
pub(crate) fn create(core: &Core, snapshot: &Snapshot, kind: &Kind, object: &mut Value) -> Result<Effects, Status> {
    match kind.collection() {
        "pods" => pod::admit(core, snapshot, kind, object).map(|()| Effects::default()),
        "services" => service::admit(core, snapshot, kind, None, object),
        "persistentvolumeclaims" => {
            claim::admit(snapshot, object);
            Ok(Effects::default())
        }
        "namespaces" => namespace::admit(core, object),
        address::SHOWN => address::admit_by_hand(snapshot, kind, object).map(|()| Effects::default()),
        "secrets" => secret::fill(core, snapshot, object).map(|()| Effects::default()),
        _ => Ok(Effects::default()),
    }
}

/// Completes a changed object.
///
/// # Errors
/// When the cluster's state forbids it.
pub(crate) fn update(
    core: &Core,
    snapshot: &Snapshot,
    kind: &Kind,
    old: &Value,
    object: &mut Value,
) -> Result<Effects, Status> {
    match kind.collection() {
        "services" => service::admit(core, snapshot, kind, Some(old), object),
        "secrets" => secret::fill(core, snapshot, object).map(|()| Effects::default()),
        _ => Ok(Effects::default()),
    }
}

/// What the removal of an object gives back.
pub(crate) fn remove(kind: &Kind, object: &Value) -> Vec<Key> {
    match kind.collection() {
        "services" => service::held(object),
        _ => Vec::new(),
    }
}
