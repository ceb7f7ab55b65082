//! One stored object served as several versions: from the form in which it is worked on to the one of a route, and back.
//!
//! Built-in kinds are worked on in the form in which they are stored; what the forms are is `naru_api::convert`'s. Kinds
//! that users define are worked on in the version that a request names, by the rules of that one: they are brought to it
//! when they leave the store ([`bring`], [`open`]), and to the stored one when they enter it ([`close`]).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use naru_api::convert::convert;
use naru_api::{Kind, Status};
use naru_store::Entry;
use serde_json::Value;

use crate::extension;
use crate::object;
use crate::routes::Route;
use crate::state::Core;

/// The form in which objects of a route are worked on, when it is another one than the route's.
fn other(route: &Route) -> Option<&Arc<Kind>> {
    route.stored.as_ref().filter(|_| route.custom.is_none())
}

/// An object of the route in the form in which it is worked on.
pub(crate) fn to_stored(route: &Route, object: Value) -> Value {
    match other(route) {
        None => object,
        Some(stored) => convert(&route.kind, stored, object),
    }
}

/// An object in the form in which the route serves it.
pub(crate) fn to_served(route: &Route, object: Value) -> Value {
    match other(route) {
        None => object,
        Some(stored) => convert(stored, &route.kind, object),
    }
}

/// As [`to_served`], without copying where nothing changes.
pub(crate) fn shown<'o>(route: &Route, object: &'o Value) -> Cow<'o, Value> {
    if is_as_served(route) { Cow::Borrowed(object) } else { Cow::Owned(to_served(route, object.clone())) }
}

/// Bytes of an object in the form in which the route serves them; the same bytes for almost every route.
pub(crate) fn served(route: &Route, bytes: &Bytes) -> Bytes {
    if is_as_served(route) { bytes.clone() } else { to_served(route, object::parse(bytes)).to_string().into() }
}

/// Whether objects are served in the form in which they are worked on.
pub(crate) fn is_as_served(route: &Route) -> bool {
    other(route).is_none()
}

/// Entries of the store, as they are worked on from here: of kinds that users define, in the version of the route.
///
/// # Errors
/// 500 when they cannot be converted to it.
pub(crate) async fn bring(core: &Core, route: &Route, entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Status> {
    match &route.custom {
        None => Ok(entries),
        Some(_) => extension::convert::bring(core, route, entries).await,
    }
}

/// As [`bring`], for one entry.
///
/// # Errors
/// As [`bring`].
pub(crate) async fn bring_one(core: &Core, route: &Route, entry: &Arc<Entry>) -> Result<Arc<Entry>, Status> {
    match &route.custom {
        None => Ok(entry.clone()),
        Some(_) => Ok(bring(core, route, vec![entry.clone()]).await?.pop().unwrap_or_else(|| entry.clone())),
    }
}

/// As [`bring`], for the bytes of one object.
///
/// # Errors
/// As [`bring`].
pub(crate) async fn bring_bytes(core: &Core, route: &Route, bytes: &Bytes) -> Result<Bytes, Status> {
    match &route.custom {
        None => Ok(bytes.clone()),
        Some(_) => Ok(bring_all(core, route, vec![bytes.clone()]).await?.pop().unwrap_or_default()),
    }
}

/// As [`bring`], for the bytes of many objects.
///
/// # Errors
/// As [`bring`].
pub(crate) async fn bring_all(core: &Core, route: &Route, all: Vec<Bytes>) -> Result<Vec<Bytes>, Status> {
    match &route.custom {
        None => Ok(all),
        Some(_) => extension::convert::bring_bytes(core, route, all).await,
    }
}

/// The object of an entry as it is worked on, and whether what lies in the store is out of date: then it is written also
/// when nothing else changes.
///
/// # Errors
/// As [`bring`].
pub(crate) async fn open(core: &Core, route: &Route, entry: &Arc<Entry>) -> Result<(Value, bool), Status> {
    match &route.custom {
        None => Ok((object::parse(&entry.served), false)),
        Some(custom) => extension::convert::open(core, route, custom, entry).await,
    }
}

/// The object of an entry in the version in which it lies in the store, whatever version is asked for.
pub(crate) fn lying(route: &Route, entry: &Entry) -> Value {
    match &route.custom {
        None => object::parse(&entry.served),
        Some(custom) => extension::lying(custom, entry),
    }
}

/// Served bytes of an entry of the store, for those who follow it within the process: nobody is asked for them.
pub(crate) fn followed(route: &Route, entry: &Entry) -> Bytes {
    match &route.custom {
        None => served(route, &entry.served),
        Some(custom) => extension::nearest(route, custom, &entry.served, entry.modified),
    }
}

/// What is stored of an object that was worked on.
///
/// # Errors
/// As [`bring`].
pub(crate) async fn close(core: &Core, route: &Route, object: Value) -> Result<Value, Status> {
    match &route.custom {
        None => Ok(object),
        Some(custom) => extension::convert::to_storage(core, custom, object).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_api::Registry;
    use serde_json::json;

    #[test]
    fn a_route_shows_what_is_stored_in_its_own_form() {
        let routes = crate::routes::Routes::of(&Registry::builtin());
        let route = routes.find("events.k8s.io", "v1", "events").expect("served");
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "hello"});
        assert_eq!(to_served(route, event.clone())["note"], "hello");
        assert_eq!(to_stored(route, to_served(route, event.clone())), event);
        let route = routes.find("", "v1", "events").expect("served");
        assert_eq!(to_served(route, event.clone()), event);
    }
}
