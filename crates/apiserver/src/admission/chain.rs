//! Everything that judges and completes an object on its way into the store, in the order of Kubernetes: what changes it
//! first ([`mutate`]), then, after the rules of its kind, what only says yes or no ([`validate`]).
//!
//! Both are asked anew for every attempt to write, since each is about the state it was made from.

use naru_api::{FieldValidation, Status, admit, decode};
use naru_store::Snapshot;
use serde_json::{Value, json};

use super::notes::Notes;
use super::quota::{self, Charge};
use super::{Effects, limits, pod_security, policy, webhook};
use crate::object;
use crate::routes::Route;
use crate::state::Core;
use crate::user::User;
use crate::verbs::WriteOptions;
use crate::verbs::delete::DeleteOptions;
use crate::versions;

/// What is to be done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    /// A stream into a pod, or a proxied request.
    Connect,
}

/// One request, as those that judge it see it.
#[derive(Clone, Copy)]
pub(crate) struct Review<'a> {
    pub(crate) core: &'a Core,
    /// The state that is judged.
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) user: &'a User,
    pub(crate) route: &'a Route,
    pub(crate) operation: Operation,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// The object as it is, in the form in which it is stored.
    pub(crate) old: Option<&'a Value>,
    pub(crate) options: Options<'a>,
    pub(crate) notes: Option<&'a Notes>,
}

/// How it is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Options<'a> {
    Write(WriteOptions<'a>),
    Delete(&'a DeleteOptions),
    None,
}

// === impl Operation ===

impl Operation {
    /// As rules and webhooks call it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

// === impl Options ===

impl Options<'_> {
    /// Whether nothing is to be written.
    pub(crate) fn dry_run(&self) -> bool {
        match self {
            Options::Write(options) => options.dry_run,
            Options::Delete(options) => options.dry_run,
            Options::None => false,
        }
    }

    /// The options as an object of `meta.k8s.io/v1`; null where there are none.
    pub(crate) fn to_json(self, operation: Operation) -> Value {
        let mut options = match self {
            Options::None => return Value::Null,
            Options::Write(write) => {
                let kind = if operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" };
                let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
                if !write.manager.is_empty() {
                    options["fieldManager"] = write.manager.into();
                }
                options["fieldValidation"] = match write.validation {
                    FieldValidation::Strict => "Strict",
                    FieldValidation::Warn => "Warn",
                    FieldValidation::Ignore => "Ignore",
                }
                .into();
                options
            }
            Options::Delete(delete) => {
                let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
                if let Some(grace) = delete.grace {
                    options["gracePeriodSeconds"] = grace.into();
                }
                if let Some(propagation) = delete.propagation {
                    options["propagationPolicy"] = format!("{propagation:?}").into();
                }
                options
            }
        };
        if self.dry_run() {
            options["dryRun"] = json!(["All"]);
        }
        options
    }
}

// === impl Review ===

impl Review<'_> {
    /// Whether nobody outside of the server is asked: about what it does by itself, and about what could keep a broken
    /// webhook in place.
    fn is_exempt(&self) -> bool {
        self.notes.is_none() || webhook::exempt(self.route)
    }

    /// Says something to the client.
    pub(crate) fn warn(&self, warning: impl Into<String>) {
        if let Some(notes) = self.notes {
            notes.warn(warning);
        }
    }
}

/// Completes `object`, which is in the form in which it is stored and has the defaults of its kind. Also tells whether
/// others than the server itself changed it.
///
/// # Errors
/// When the cluster's state, or who was asked, forbids it.
pub(crate) async fn mutate(review: &Review<'_>, object: &mut Value) -> Result<(Effects, bool), Status> {
    let effects = built_in(review, object)?;
    let hooks = webhook::Hooks::of(review.core, review.snapshot);
    if hooks.mutating().is_empty() || review.is_exempt() {
        return Ok((effects, false));
    }
    let shown = versions::shown(review.route, object);
    let Some(changed) = webhook::mutate(review, &hooks, &shown).await? else { return Ok((effects, false)) };
    *object = versions::to_stored(review.route, changed);
    // What others added has types to keep and defaults to get, like everything that is written.
    let kind = review.route.stored_kind();
    *object = decode::value(kind, std::mem::take(object), FieldValidation::Ignore)?.object;
    admit::default(kind, object);
    object::tidy(object);
    Ok((built_in(review, object)?, true))
}

/// Says whether the object may be written (`None`: removed), after all rules of its kind, and what is charged for it.
///
/// # Errors
/// When it may not.
pub(crate) async fn validate(review: &Review<'_>, object: Option<&Value>) -> Result<Vec<Charge>, Status> {
    if let Some(object) = object.filter(|_| review.subresource.is_empty()) {
        let mut faults = webhook::faults(&review.route.collection, object);
        faults.extend(policy::faults(&review.route.collection, object));
        if !faults.is_empty() {
            return Err(Status::invalid(review.route.stored_kind(), review.name, faults));
        }
    }
    if let Some(object) = object {
        limits::judge(review, object)?;
        pod_security::judge(review, object)?;
    }
    let policies = policy::Policies::of(review.core, review.snapshot);
    let hooks = webhook::Hooks::of(review.core, review.snapshot);
    let anybody = !policies.is_empty() || !hooks.validating().is_empty();
    if anybody && !review.is_exempt() {
        let shown = object.map(|object| versions::shown(review.route, object));
        policy::judge(review, &policies, shown.as_deref())?;
        webhook::validate(review, &hooks, shown.as_deref()).await?;
    }
    // Last: what is refused otherwise is not charged for.
    object.map_or(Ok(Vec::new()), |object| quota::charge(review, object))
}

/// What the server itself adds.
fn built_in(review: &Review<'_>, object: &mut Value) -> Result<Effects, Status> {
    let Review { core, snapshot, route, .. } = *review;
    let kind = route.stored_kind();
    limits::complete(review, object);
    match (review.operation, review.old) {
        _ if !review.subresource.is_empty() => Ok(Effects::default()),
        (Operation::Create, _) => super::create(core, snapshot, kind, object),
        (Operation::Update, Some(old)) => super::update(core, snapshot, kind, old, object),
        _ => Ok(Effects::default()),
    }
}
