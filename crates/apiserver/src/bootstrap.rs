//! The objects that every cluster has: written at start where they are missing, through the same door as any other.

mod objects;
mod roles;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use naru_api::{Status, flow, meta};
use naru_store::Snapshot;
use serde_json::{Value, json};

use crate::admission::address;
use crate::aggregate;
use crate::object;
use crate::state::Core;
use crate::user::User;
use crate::verbs::update::{Part, update};
use crate::verbs::{WriteOptions, create::create};

/// Writes what is missing.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn ensure(core: &Core) -> Result<(), Status> {
    let user = User::new("system:apiserver", &[crate::user::MASTERS]);
    // Everything else lies in these.
    ensure_all(core, &user, objects::namespaces()).await?;
    // Services get their addresses from it.
    ensure_ranges(core, &user).await?;
    let (roles, objects) = (roles::all(), objects::all(&core.settings));
    let objects = objects.into_iter().chain(flow::levels()).chain(flow::schemas()).chain([roles::introduction()]);
    let objects = objects.chain(aggregate::introduction(core)).chain(aggregate::builtin(&core.serving().registry));
    ensure_all(core, &user, roles.iter().cloned().chain(objects).collect()).await?;
    try_join_all(roles.iter().map(|role| extend(core, &user, role))).await?;
    for object in objects::endpoints(&core.settings) {
        ensure_exactly(core, &user, object).await?;
    }
    Ok(())
}

/// Writes the API server's own service, where it leads and where its address comes from again, where somebody removed
/// them.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn restore(core: &Core) -> Result<(), Status> {
    let user = User::new("system:apiserver", &[crate::user::MASTERS]);
    ensure_ranges(core, &user).await?;
    ensure_one(core, &user, &core.store.snapshot(), objects::service(&core.settings)).await?;
    for object in objects::endpoints(&core.settings) {
        ensure_exactly(core, &user, object).await?;
    }
    Ok(())
}

async fn ensure_all(core: &Core, user: &User, objects: Vec<Value>) -> Result<(), Status> {
    let snapshot = core.store.snapshot();
    // At once, so that the store makes them durable together.
    try_join_all(objects.into_iter().map(|object| ensure_one(core, user, &snapshot, object))).await.map(drop)
}

async fn ensure_one(core: &Core, user: &User, snapshot: &Snapshot, object: Value) -> Result<(), Status> {
    let route = core.route_of(meta::api_version(&object), meta::kind(&object))?;
    let namespace = meta::namespace(&object).to_owned();
    if snapshot.get(&route.key(&namespace, meta::name(&object))).is_some() {
        return Ok(());
    }
    match create(core, user, &route, &namespace, object, WriteOptions::default()).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

/// Writes the ServiceCIDR of the ranges that this server was started with, and says that it is ready. A second range
/// joins the only one; one that is otherwise stays as it is, for services have addresses of it.
async fn ensure_ranges(core: &Core, user: &User) -> Result<(), Status> {
    let wanted = objects::ranges(&core.settings);
    ensure_one(core, user, &core.store.snapshot(), wanted.clone()).await?;
    let route = core.route_of(meta::api_version(&wanted), meta::kind(&wanted))?;
    let list = |object: &Value| object["spec"]["cidrs"].as_array().cloned().unwrap_or_default();
    let ranges = list(&wanted);
    let widen = |present: &Value| {
        let mut new = present.clone();
        let had = list(present);
        if had.len() < ranges.len() && ranges.starts_with(&had) {
            new["spec"]["cidrs"] = ranges.clone().into();
        } else if had != ranges {
            tracing::warn!(?had, wanted = ?ranges, "the ServiceCIDR {} has other ranges", address::DEFAULT);
        }
        Ok(new)
    };
    let place = ("", address::DEFAULT);
    update(core, user, &route, place, Part::Main, &widen, WriteOptions::default()).await?;
    let ready = |present: &Value| {
        let mut new = present.clone();
        let known = present["status"]["conditions"].as_array();
        let judged = known.into_iter().flatten().any(|condition| condition["type"] == "Ready");
        if !judged && !meta::is_deleting(present) && list(present) == ranges {
            let mut conditions = known.cloned().unwrap_or_default();
            conditions.push(json!({"type": "Ready", "status": "True", "reason": "",
                "message": "Kubernetes default Service CIDR is ready", "lastTransitionTime": meta::time(Timestamp::now())}));
            new["status"]["conditions"] = conditions.into();
        }
        Ok(new)
    };
    update(core, user, &route, place, Part::Status, &ready, WriteOptions::default()).await.map(drop)
}

/// Writes an object whose content this start decides.
async fn ensure_exactly(core: &Core, user: &User, object: Value) -> Result<(), Status> {
    ensure_one(core, user, &core.store.snapshot(), object.clone()).await?;
    let route = core.route_of(meta::api_version(&object), meta::kind(&object))?;
    let change = |present: &Value| {
        let mut new = object.clone();
        new["metadata"] = present["metadata"].clone();
        meta::unset(&mut new, "resourceVersion");
        Ok(new)
    };
    let place = (meta::namespace(&object), meta::name(&object));
    update(core, user, &route, place, Part::Main, &change, WriteOptions::default()).await.map(drop)
}

/// Writes the flow schemas and priority levels that every cluster has, where they are missing, and changes those that follow
/// what is suggested.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn ensure_flows(core: &Core, user: &User) -> Result<(), Status> {
    for object in flow::levels().into_iter().chain(flow::schemas()) {
        ensure_one(core, user, &core.store.snapshot(), object.clone()).await?;
        let route = core.route_of(meta::api_version(&object), meta::kind(&object))?;
        let entry = core.store.snapshot().get(&route.key("", meta::name(&object))).cloned();
        let present = entry.map(|entry| object::parse(&entry.served)).unwrap_or_default();
        let follows = meta::annotation(&present, flow::AUTOUPDATE) == Some("true");
        // What is mandatory cannot be changed in the first place.
        if !follows || present["spec"] == object["spec"] || flow::is_mandatory(meta::name(&object)) {
            continue;
        }
        let change = |present: &Value| {
            let mut new = present.clone();
            meta::unset(&mut new, "resourceVersion");
            new["spec"] = object["spec"].clone();
            Ok(new)
        };
        update(core, user, &route, ("", meta::name(&object)), Part::Main, &change, WriteOptions::default()).await?;
    }
    Ok(())
}

/// Adds to a role what this version gives it and it lacks, unless its annotation says not to.
async fn extend(core: &Core, user: &User, role: &Value) -> Result<(), Status> {
    let route = core.route_of(meta::api_version(role), meta::kind(role))?;
    let field = if role.get("rules").is_some() { "rules" } else { "subjects" };
    let change = |present: &Value| {
        let mut new = present.clone();
        if meta::annotation(present, "rbac.authorization.kubernetes.io/autoupdate") == Some("true") {
            let mut items = present[field].as_array().cloned().unwrap_or_default();
            let wanted = role[field].as_array().into_iter().flatten();
            let missing: Vec<Value> = wanted.filter(|item| !items.contains(item)).cloned().collect();
            items.extend(missing);
            new[field] = Value::Array(items);
        }
        Ok(new)
    };
    update(core, user, &route, ("", meta::name(role)), Part::Main, &change, WriteOptions::default()).await.map(drop)
}
