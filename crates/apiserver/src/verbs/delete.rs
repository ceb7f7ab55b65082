//! Deleting an object: what is to be done is decided purely, then written.
//!
//! An object with finalizers, and a pod on a node, are only marked; whoever holds the finalizer, or the node's agent,
//! removes them in the end.

use jiff::{Timestamp, ToSpan};
use naru_api::naru::names::{FOREGROUND_DELETION, ORPHAN};
use naru_api::{FieldError, Kind, Status, meta};
use naru_store::Snapshot;
use serde_json::{Value, json};

use super::update::finalized;
use super::{ATTEMPTS, Written};
use crate::admission::chain::{self, Operation, Options, Review};
use crate::admission::notes::Notes;
use crate::admission::{self, policy, webhook};
use crate::encode;
use crate::extension;
use crate::kept;
use crate::routes::Route;
use crate::state::Core;
use crate::user::User;
use crate::versions;
use crate::write::{Expect, Failure, Plan, unavailable};

/// `meta/v1 DeleteOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) grace: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

/// Namespaces that no cluster is without.
const LASTING: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What becomes of the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They stay, without owner.
    Orphan,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
}

/// What deleting an object comes to.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    /// It goes now.
    Remove,
    /// It is marked, and goes when its finalizers or its node let it.
    Mark(Box<Value>),
    /// It was marked before and nothing changes.
    Wait,
}

/// Who deletes.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) user: &'a User,
    /// Where admission writes down what it has to say.
    pub(crate) notes: Option<&'a Notes>,
}

/// How a deletion went.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// The object is gone; this is how it last was.
    Gone(Written),
    /// The object is marked; this is how it is now.
    Marked(Written),
}

/// Deletes the object `name`.
///
/// # Errors
/// 404 without such an object, 409 when a precondition does not hold, 403 for a namespace that every cluster has.
pub(crate) async fn delete(
    core: &Core,
    by: By<'_>,
    route: &Route,
    (namespace, name): (&str, &str),
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    if &*route.collection == "namespaces" && LASTING.contains(&name) {
        return Err(Status::forbidden(&route.kind, name, "this namespace may not be deleted"));
    }
    let key = route.key(namespace, name);
    for _ in 0..ATTEMPTS {
        // What is refused by this state must be so for everybody: another server may have written.
        let snapshot = core.store.confirm().await.map_err(|error| unavailable(&error))?;
        let entry = snapshot.get(&key).ok_or_else(|| Status::not_found(&route.kind, name))?;
        // It is deleted as it lies in the store: only who judges it must see it in the version that is asked for.
        let old = versions::lying(route, entry);
        options.check(&route.kind, name, &old)?;
        let mut shown = match &route.custom {
            _ if !is_judged(core, &snapshot, by) => None,
            Some(_) => Some(versions::open(core, route, entry).await?.0),
            None => Some(old.clone()),
        };
        if let Some(shown) = &mut shown {
            kept::show_in(&mut shown["metadata"]);
        }
        let review = Review {
            core,
            snapshot: &snapshot,
            user: by.user,
            route,
            operation: Operation::Delete,
            subresource: "",
            namespace,
            name,
            old: Some(shown.as_ref().unwrap_or(&old)),
            options: Options::Delete(options),
            notes: by.notes,
        };
        chain::validate(&review, None).await?;
        let decision = decide(route.working_kind(), &old, options, Timestamp::now());
        let (served, expect) = (entry.served.clone(), Expect::At(entry.modified));
        let plan = match &decision {
            Decision::Wait => return Ok(Deleted::Marked(Written { served, changed: false })),
            Decision::Mark(new) if options.dry_run => {
                return Ok(Deleted::Marked(Written { served: encode::plain(new).into(), changed: true }));
            }
            Decision::Remove if options.dry_run => return Ok(Deleted::Gone(Written { served, changed: true })),
            Decision::Mark(new) => {
                let stored = encode::encode(&core.sealer, &key, new).map_err(Status::internal)?;
                Plan::put(key.clone(), expect, stored)
            }
            Decision::Remove => {
                let mut plan = Plan::delete(key.clone(), expect);
                plan.release = admission::remove(route.working_kind(), &old);
                plan
            }
        };
        match plan.commit(core).await {
            Ok(entry) => {
                let written = Written { served: entry.served.clone(), changed: true };
                return Ok(if decision == Decision::Remove {
                    Deleted::Gone(written)
                } else {
                    Deleted::Marked(written)
                });
            }
            Err(Failure::Status(status)) => return Err(status),
            Err(Failure::Refused(_)) => {}
        }
    }
    Err(Status::modified(&route.kind, name))
}

/// Whether anybody besides the server has a say in it.
fn is_judged(core: &Core, snapshot: &Snapshot, by: By<'_>) -> bool {
    let policies = || !policy::Policies::of(core, snapshot).judges_nothing();
    by.notes.is_some() && (policies() || !webhook::Hooks::of(core, snapshot).validating().is_empty())
}

/// What deleting `object` comes to.
pub(crate) fn decide(kind: &Kind, object: &Value, options: &DeleteOptions, now: Timestamp) -> Decision {
    let mut new = object.clone();
    set_propagation(&mut new, options.propagation);
    extension::ending::announce(kind, &mut new, now);
    let grace = grace(kind, object, options.grace);
    let held = !meta::finalizers(&new).is_empty() || (kind.collection() == "namespaces" && !finalized(object));
    if let Some(at) = meta::deletion_timestamp(object) {
        let before = meta::deletion_grace_period(object).unwrap_or(0);
        if grace == 0 && !held {
            return Decision::Remove;
        }
        // A grace period is only ever shortened, counted from when deletion was first asked for.
        if grace < before {
            let sooner = at.checked_sub((before - grace).seconds()).unwrap_or(at);
            mark(&mut new, sooner.max(now), grace);
        }
        return if new == *object { Decision::Wait } else { Decision::Mark(Box::new(new)) };
    }
    if grace == 0 && !held {
        return Decision::Remove;
    }
    mark(&mut new, now.checked_add(grace.seconds()).unwrap_or(now), grace);
    if kind.collection() == "namespaces" {
        new["status"]["phase"] = "Terminating".into();
    }
    // Kinds that count no generations begin none by it.
    if meta::generation(object) > 0 {
        meta::set(&mut new, "generation", meta::generation(object) + 1);
    }
    Decision::Mark(Box::new(new))
}

fn mark(object: &mut Value, at: Timestamp, grace: i64) {
    meta::set(object, "deletionTimestamp", meta::time(at));
    meta::set(object, "deletionGracePeriodSeconds", grace);
}

/// Seconds that the object is given to end. Only pods that run on a node need any.
fn grace(kind: &Kind, object: &Value, asked: Option<i64>) -> i64 {
    if kind.collection() != "pods" {
        return 0;
    }
    let phase = meta::text(object, "status.phase");
    if meta::text(object, "spec.nodeName").is_empty() || matches!(phase, "Succeeded" | "Failed") {
        return 0;
    }
    let own = meta::at(object, "spec.terminationGracePeriodSeconds").as_i64().unwrap_or(30);
    // A negative period in an object made before validation forbade it means "at once", but the node must confirm.
    match asked.unwrap_or(own) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

fn set_propagation(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers: Vec<String> = meta::finalizers(object).into_iter().map(str::to_owned).collect();
    finalizers.retain(|f| f != FOREGROUND_DELETION && f != ORPHAN);
    match propagation {
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
        Propagation::Foreground => finalizers.push(FOREGROUND_DELETION.to_owned()),
        Propagation::Background => {}
    }
    if finalizers.is_empty() {
        meta::unset(object, "finalizers");
    } else {
        meta::set(object, "finalizers", json!(finalizers));
    }
}

// === impl DeleteOptions ===

impl DeleteOptions {
    /// Reads the options from a body, empty or not.
    ///
    /// # Errors
    /// 400 for a body that is something else, 422 for values that mean nothing.
    pub(crate) fn of(body: &Value) -> Result<DeleteOptions, Status> {
        let bad = |field: &str, expected: &str| {
            Status::bad_request(format!("DeleteOptions.{field}: expected {expected}, got {}", body[field]))
        };
        let mut options = DeleteOptions::default();
        match &body["gracePeriodSeconds"] {
            Value::Null => {}
            seconds => {
                let number = seconds.as_i64().filter(|s| *s >= 0);
                options.grace = Some(number.ok_or_else(|| bad("gracePeriodSeconds", "a whole number of seconds"))?);
            }
        }
        let mut faults = Vec::new();
        let (policy, orphans) = (&body["propagationPolicy"], body["orphanDependents"].as_bool());
        options.propagation = match (policy, orphans) {
            (Value::Null, None) => None,
            (Value::Null, Some(true)) => Some(Propagation::Orphan),
            (Value::Null, Some(false)) => Some(Propagation::Background),
            (policy, _) => Propagation::parse(policy.as_str().unwrap_or_default()),
        };
        if !policy.is_null() && orphans.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            faults.push(FieldError::invalid("propagationPolicy", policy, why));
        }
        if !policy.is_null() && options.propagation.is_none() {
            let known = ["Background", "Foreground", "Orphan", "nil"];
            faults.push(FieldError::not_supported("propagationPolicy", policy, &known));
        }
        let text = |value: &Value| value.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        options.uid = text(&body["preconditions"]["uid"]);
        options.resource_version = text(&body["preconditions"]["resourceVersion"]);
        let tries = body["dryRun"].as_array().map(Vec::as_slice).unwrap_or_default();
        options.dry_run = !tries.is_empty();
        if tries.iter().any(|word| word != "All") {
            // Whoever means to try only must not be taken at half their word.
            faults.push(FieldError::not_supported("dryRun", &body["dryRun"], &["All"]));
        }
        if faults.is_empty() { Ok(options) } else { Err(Status::invalid_options("DeleteOptions", faults)) }
    }

    fn check(&self, kind: &Kind, name: &str, object: &Value) -> Result<(), Status> {
        for (what, wanted, present) in [
            ("UID", &self.uid, meta::uid(object)),
            ("ResourceVersion", &self.resource_version, meta::resource_version(object)),
        ] {
            if let Some(wanted) = wanted.as_deref().filter(|w| *w != present) {
                let why =
                    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {present}");
                return Err(Status::conflict(kind, name, &why));
            }
        }
        Ok(())
    }
}

impl Propagation {
    /// Reads `propagationPolicy`; `None` for a word that means nothing.
    fn parse(word: &str) -> Option<Propagation> {
        match word {
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_api::Registry;
    use std::sync::Arc;

    fn kind(plural: &str) -> Arc<Kind> {
        Registry::builtin().by_resource("", "v1", plural).expect("served").clone()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a time")
    }

    fn marked(decision: Decision) -> Value {
        match decision {
            Decision::Mark(object) => *object,
            other => panic!("not marked: {other:?}"),
        }
    }

    fn pod() -> Value {
        json!({"metadata": {"name": "web", "uid": "u"}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 10},
            "status": {"phase": "Running"}})
    }

    #[test]
    fn a_running_pod_is_marked_and_its_node_removes_it() {
        let pods = kind("pods");
        let object = marked(decide(&pods, &pod(), &DeleteOptions::default(), now()));
        assert_eq!(object["metadata"]["deletionTimestamp"], "2026-01-01T00:00:10Z");
        assert_eq!(object["metadata"]["deletionGracePeriodSeconds"], 10);
        let again = decide(&pods, &object, &DeleteOptions::default(), now());
        assert_eq!(again, Decision::Wait);
        let sooner = DeleteOptions { grace: Some(4), ..DeleteOptions::default() };
        let object = marked(decide(&pods, &object, &sooner, now()));
        assert_eq!(object["metadata"]["deletionTimestamp"], "2026-01-01T00:00:04Z");
        let done = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
        assert_eq!(decide(&pods, &object, &done, now()), Decision::Remove);
    }

    #[test]
    fn a_pod_without_node_or_after_its_end_goes_at_once() {
        let pods = kind("pods");
        let mut waiting = pod();
        waiting["spec"]["nodeName"] = "".into();
        let mut ended = pod();
        ended["status"]["phase"] = "Succeeded".into();
        for object in [waiting, ended] {
            assert_eq!(decide(&pods, &object, &DeleteOptions::default(), now()), Decision::Remove);
        }
    }

    #[test]
    fn finalizers_hold_an_object() {
        let maps = kind("configmaps");
        let held = json!({"metadata": {"name": "a", "finalizers": ["x/y"]}});
        let object = marked(decide(&maps, &held, &DeleteOptions::default(), now()));
        assert!(meta::is_deleting(&object));
        assert_eq!(decide(&maps, &object, &DeleteOptions::default(), now()), Decision::Wait);
        let free = json!({"metadata": {"name": "a"}});
        assert_eq!(decide(&maps, &free, &DeleteOptions::default(), now()), Decision::Remove);
        let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        let object = marked(decide(&maps, &free, &foreground, now()));
        assert_eq!(meta::finalizers(&object), [FOREGROUND_DELETION]);
        let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        assert_eq!(decide(&maps, &object, &background, now()), Decision::Remove, "no longer foreground");
    }

    #[test]
    fn a_namespace_stays_until_its_contents_are_gone() {
        let namespaces = kind("namespaces");
        let mut object = json!({"metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        object = marked(decide(&namespaces, &object, &DeleteOptions::default(), now()));
        assert_eq!(object["status"]["phase"], "Terminating");
        assert_eq!(decide(&namespaces, &object, &DeleteOptions::default(), now()), Decision::Wait);
        object["spec"]["finalizers"] = json!([]);
        assert_eq!(decide(&namespaces, &object, &DeleteOptions::default(), now()), Decision::Remove);
    }
}
