//! Everything that judges and completes an object on its way into the store, in the order of Kubernetes: what changes it
//! first ([`mutate`]), then, after the rules of its kind, what only says yes or no ([`validate`]).
//!
//! Both are asked anew for every attempt to write, since each is about the state it was made from.

use naru_api::{FieldError, FieldValidation, Status, admit, decode, meta};
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

/// How often all who change objects are asked: once, and once more those who want to see what others did after them.
const ROUNDS: usize = 2;

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

/// The object of a request, in the form in which the request names it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// As it was.
    pub(crate) old: Option<&'a Value>,
    /// As it is to be; `None`: it is removed.
    pub(crate) new: Option<&'a Value>,
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

    /// Whether it is not the object itself that is shown, but a scale, or what is posted below the object.
    pub(crate) fn is_about_another_kind(&self) -> bool {
        matches!(self.subresource, "scale" | "binding" | "eviction" | "token") || self.operation == Operation::Connect
    }

    /// Says something to the client.
    pub(crate) fn warn(&self, warning: impl Into<String>) {
        if let Some(notes) = self.notes {
            notes.warn(warning);
        }
    }
}

/// Completes `object`, which is in the form in which it is stored and has the defaults of its kind. Also tells whether
/// others than the server itself changed it: then all are asked once more who want to see what came after them.
///
/// # Errors
/// When the cluster's state, or who was asked, forbids it.
pub(crate) async fn mutate(review: &Review<'_>, object: &mut Value) -> Result<(Effects, bool), Status> {
    let mut effects = built_in(review, object)?;
    let policies = policy::Policies::of(review.core, review.snapshot);
    let hooks = webhook::Hooks::of(review.core, review.snapshot);
    if (policies.changes_nothing() && hooks.mutating().is_empty()) || review.is_exempt() {
        return Ok((effects, false));
    }
    let old = review.old.map(|old| versions::shown(review.route, old));
    let (mut by_policies, mut by_hooks) = (policy::Progress::default(), webhook::Progress::default());
    // What happened since the last of each: to the object by hooks, and by what the server itself adds.
    let (mut hooked, mut moved) = (false, false);
    let mut changed = false;
    for _ in 0..ROUNDS {
        let mut shown = versions::shown(review.route, object).into_owned();
        let old = old.as_deref();
        let done = policy::mutate(review, &policies, old, &mut shown, &mut by_policies, hooked || moved).await?;
        let seen = Seen { old, new: Some(&shown) };
        let other = webhook::mutate(review, &hooks, seen, &mut by_hooks, done.changed || moved).await?;
        hooked = other.is_some();
        if !hooked && !done.ran {
            break;
        }
        *object = settled(review, other.unwrap_or(shown))?;
        let left = object.clone();
        effects = built_in(review, object)?;
        moved = *object != left;
        changed = true;
    }
    Ok((effects, changed))
}

/// What others made of an object has types to keep and defaults to get, like everything that is written.
fn settled(review: &Review<'_>, shown: Value) -> Result<Value, Status> {
    if review.is_about_another_kind() {
        return Ok(shown); // whoever takes it reads it
    }
    let kind = review.route.working_kind();
    let object = versions::to_stored(review.route, shown);
    let mut object = decode::value(kind, object, FieldValidation::Ignore)?.object;
    let places =
        [("name", meta::name(&object), review.name), ("namespace", meta::namespace(&object), review.namespace)];
    for (field, found, fixed) in places {
        if found != fixed {
            let fault = FieldError::invalid(format!("metadata.{field}"), &found.into(), "field is immutable");
            return Err(Status::invalid(kind, review.name, vec![fault]));
        }
    }
    admit::default(kind, &mut object);
    object::tidy(&mut object);
    Ok(object)
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
            return Err(Status::invalid(review.route.working_kind(), review.name, faults));
        }
    }
    if let Some(object) = object {
        limits::judge(review, object)?;
        pod_security::judge(review, object)?;
    }
    let policies = policy::Policies::of(review.core, review.snapshot);
    let hooks = webhook::Hooks::of(review.core, review.snapshot);
    let anybody = !policies.judges_nothing() || !hooks.validating().is_empty();
    if anybody && !review.is_exempt() {
        let shown = object.map(|object| versions::shown(review.route, object));
        let old = review.old.map(|old| versions::shown(review.route, old));
        let seen = Seen { old: old.as_deref(), new: shown.as_deref() };
        policy::judge(review, &policies, seen).await?;
        webhook::validate(review, &hooks, seen).await?;
    }
    // Last: what is refused otherwise is not charged for.
    object.map_or(Ok(Vec::new()), |object| quota::charge(review, object))
}

/// What the server itself adds.
fn built_in(review: &Review<'_>, object: &mut Value) -> Result<Effects, Status> {
    let Review { core, snapshot, route, .. } = *review;
    let kind = route.working_kind();
    limits::complete(review, object);
    policy::check(review, object);
    match (review.operation, review.old) {
        _ if !review.subresource.is_empty() => Ok(Effects::default()),
        (Operation::Create, _) => super::create(core, snapshot, kind, object),
        (Operation::Update, Some(old)) => super::update(core, snapshot, kind, old, object),
        _ => Ok(Effects::default()),
    }
}
