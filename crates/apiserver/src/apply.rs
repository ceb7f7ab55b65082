//! A set of objects made so, in one call: created, updated and pruned through the same doors as any other write.
//!
//! What a caller once set and no longer sets is taken away; what others set stays. To tell the two apart, the last set
//! applied is kept with each object, as `kubectl apply` does on the client's side.

use bytes::Bytes;
use naru_api::{LabelSelector, Reason, Status, admit, decode, meta, validate};
use naru_store::Prefix;
use serde_json::{Map, Value};

use crate::admission::notes::Notes;
use crate::authorization::Attributes;
use crate::object;
use crate::routes::Route;
use crate::state::Core;
use crate::user::User;
use crate::verbs::WriteOptions;
use crate::verbs::create::{create, place};
use crate::verbs::delete::{By, DeleteOptions, Propagation, delete};
use crate::verbs::update::{Part, update};
use std::collections::BTreeSet;

/// The annotation with what was applied last.
pub use naru_api::naru::names::PROJECT_APPLIED as LAST_APPLIED;

/// How a set of objects is applied.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// Everything is checked, nothing is written.
    pub dry_run: bool,
    /// Objects that cannot become what is wanted (a Job's template cannot change) are removed and made anew. Never
    /// claims: they hold data.
    pub recreate: bool,
    /// Objects that are removed when they are not in the set.
    pub prune: Vec<Prune>,
}

/// Which objects a set speaks for.
#[derive(Debug, Clone)]
pub struct Prune {
    /// The namespace, empty for cluster-wide kinds.
    pub namespace: String,
    /// The labels, in a selector's form; empty would mean everything and prunes nothing.
    pub labels: String,
    /// The kinds, as `apiVersion` and `kind`.
    pub kinds: Vec<(String, String)>,
}

/// What became of one object.
#[derive(Debug, Clone)]
pub struct Change {
    /// What was done.
    pub action: Action,
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// The namespace, empty for cluster-wide kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The object as it is now; for a removed one, as it last was.
    pub object: Bytes,
}

/// What was done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was not there.
    Created,
    /// It was different.
    Updated,
    /// It was as wanted.
    Unchanged,
    /// It was there and is no longer wanted.
    Removed,
}

// === impl Action ===

impl Action {
    /// The word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Created => "created",
            Action::Updated => "updated",
            Action::Unchanged => "unchanged",
            Action::Removed => "removed",
        }
    }
}

/// Applies a set of objects, in its order, then prunes.
///
/// # Errors
/// At the first refusal; what was done before stays, and applying again continues.
pub(crate) async fn apply(
    core: &Core,
    user: &User,
    objects: Vec<Value>,
    options: &ApplyOptions,
) -> Result<Vec<Change>, Status> {
    let mut changes = Vec::with_capacity(objects.len());
    let mut kept = BTreeSet::new();
    let notes = Notes::default();
    let by = By { user, notes: Some(&notes) };
    for object in objects {
        let change = apply_one(core, by, object, options).await?;
        kept.insert((change.api_version.clone(), change.kind.clone(), change.namespace.clone(), change.name.clone()));
        changes.push(change);
    }
    for prune in &options.prune {
        prune_one(core, by, prune, &kept, options.dry_run, &mut changes).await?;
    }
    Ok(changes)
}

/// Kind and place of an object.
type Id = (String, String, String, String);

async fn prune_one(
    core: &Core,
    by: By<'_>,
    prune: &Prune,
    kept: &BTreeSet<Id>,
    dry_run: bool,
    changes: &mut Vec<Change>,
) -> Result<(), Status> {
    let labels = LabelSelector::parse(&prune.labels).map_err(|e| Status::bad_request(e.to_string()))?;
    if labels.is_everything() {
        return Ok(());
    }
    for (api_version, kind) in prune.kinds.iter().rev() {
        let route = core.route_of(api_version, kind)?;
        let namespace = if route.kind.is_namespaced() { prune.namespace.as_str() } else { "" };
        let prefix = Prefix::namespace(&route.collection, namespace);
        let snapshot = core.store.snapshot();
        for entry in snapshot.range(&prefix) {
            let name = entry.key.name();
            let id = (api_version.clone(), kind.clone(), namespace.to_owned(), name.to_owned());
            let wanted = kept.contains(&id) || !labels.matches(&object::labels(&entry.served).unwrap_or_default());
            if wanted {
                continue;
            }
            allowed(core, by.user, &route, "delete", namespace, name)?;
            match delete(core, by, &route, (namespace, name), &behind(dry_run)).await {
                Ok(_) => changes.push(change(Action::Removed, &route, namespace, name, entry.served.clone())),
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
            }
        }
    }
    Ok(())
}

/// Removing an object with what it owns going after it.
fn behind(dry_run: bool) -> DeleteOptions {
    DeleteOptions { propagation: Some(Propagation::Background), dry_run, ..DeleteOptions::default() }
}

async fn apply_one(core: &Core, by: By<'_>, object: Value, how: &ApplyOptions) -> Result<Change, Status> {
    let By { user, notes } = by;
    let route = core.route_of(meta::api_version(&object), meta::kind(&object))?;
    let namespace = if route.kind.is_namespaced() { meta::namespace(&object).to_owned() } else { String::new() };
    let name = meta::name(&object).to_owned();
    if route.kind.is_namespaced() && namespace.is_empty() {
        return Err(Status::bad_request(format!("{} {name:?} has no namespace", route.kind.kind)));
    }
    let mut desired = decode::value(&route.kind, object, Default::default())?.object;
    place(&route, &namespace, &mut desired)?;
    meta::unset(&mut desired, "resourceVersion");
    let applied = desired.to_string();
    meta::set_annotation(&mut desired, LAST_APPLIED, &applied);
    let options = WriteOptions { dry_run: how.dry_run, notes, manager: "naru", ..WriteOptions::default() };
    let key = route.key(&namespace, &name);
    if core.store.snapshot().get(&key).is_none() {
        allowed(core, user, &route, "create", &namespace, &name)?;
        match create(core, user, &route, &namespace, desired.clone(), options).await {
            Ok(written) => return Ok(change(Action::Created, &route, &namespace, &name, written.served)),
            Err(status) if status.is_already_exists() => {}
            Err(status) => return Err(status),
        }
    }
    allowed(core, user, &route, "update", &namespace, &name)?;
    let merge = |live: &Value| {
        let last = meta::annotation(live, LAST_APPLIED).and_then(|t| serde_json::from_str(t).ok());
        let mut new = live.clone();
        merge(last.as_ref().unwrap_or(&Value::Null), &desired, &mut new);
        meta::unset(&mut new, "resourceVersion");
        Ok(new)
    };
    let place = (namespace.as_str(), name.as_str());
    match update(core, user, &route, place, Part::Main, &merge, options).await {
        Ok(written) => {
            let action = if written.changed { Action::Updated } else { Action::Unchanged };
            Ok(change(action, &route, &namespace, &name, written.served))
        }
        Err(status) if status.is_invalid() && how.recreate && &*route.collection != "persistentvolumeclaims" => {
            allowed(core, user, &route, "delete", &namespace, &name)?;
            // Tried first: what cannot be made anew either must not cost what is there.
            create_check(&route, &desired).map_err(|_| status)?;
            delete(core, by, &route, place, &behind(how.dry_run)).await?;
            if how.dry_run {
                return Ok(change(Action::Updated, &route, &namespace, &name, desired.to_string().into()));
            }
            let written = create(core, user, &route, &namespace, desired.clone(), options).await?;
            Ok(change(Action::Updated, &route, &namespace, &name, written.served))
        }
        Err(status) => Err(status),
    }
}

fn create_check(route: &Route, desired: &Value) -> Result<(), Status> {
    let mut object = desired.clone();
    admit::prepare_create(&route.kind, &mut object);
    admit::default(&route.kind, &mut object);
    let errors = validate::create(&route.kind, &object);
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&route.kind, meta::name(desired), errors)) }
}

fn change(action: Action, route: &Route, namespace: &str, name: &str, object: Bytes) -> Change {
    Change {
        action,
        api_version: route.kind.api_version(),
        kind: route.kind.kind.to_string(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        object,
    }
}

/// Whether the user may do this to an object that the request's path does not name or name for another verb.
///
/// # Errors
/// 403.
pub(crate) fn allowed(
    core: &Core,
    user: &User,
    route: &Route,
    verb: &str,
    namespace: &str,
    name: &str,
) -> Result<(), Status> {
    let (group, resource) = (&*route.kind.group, &*route.kind.plural);
    let asked = Attributes { verb, group, resource, namespace, name, ..Attributes::default() };
    if core.rbac.load().allows(user, &asked) {
        return Ok(());
    }
    Err(Status::new(Reason::Forbidden, format!("{resource} {name:?} is forbidden: {}", asked.refusal(&user.name))))
}

/// Makes `live` say what `desired` says, and no longer what only `last` said. Lists are taken over whole: the server
/// fills the same defaults into their elements again.
fn merge(last: &Value, desired: &Value, live: &mut Value) {
    let Some(desired) = desired.as_object() else { return };
    if !live.is_object() {
        *live = Value::Object(Map::new());
    }
    let Some(live) = live.as_object_mut() else { return };
    for key in last.as_object().into_iter().flat_map(Map::keys).filter(|k| !desired.contains_key(*k)) {
        live.remove(key);
    }
    for (key, value) in desired {
        match live.get_mut(key) {
            Some(present) if present.is_object() && value.is_object() => {
                merge(last.get(key).unwrap_or(&Value::Null), value, present);
            }
            _ => {
                live.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_longer_said_goes_and_what_others_said_stays() {
        let last = json!({"spec": {"replicas": 1, "paused": true, "list": [1]}});
        let desired = json!({"spec": {"replicas": 2, "list": [1, 2]}});
        let mut live =
            json!({"spec": {"replicas": 5, "paused": true, "list": [1], "defaulted": 10}, "status": {"x": 1}});
        merge(&last, &desired, &mut live);
        assert_eq!(live, json!({"spec": {"replicas": 2, "list": [1, 2], "defaulted": 10}, "status": {"x": 1}}));
    }
}
