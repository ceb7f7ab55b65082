//! One stored object served as several versions: from the form in which it is stored to the one of a route, and back.
//!
//! What the forms are is `naru_api::convert`'s; here it is only done where a route has another one than the store.

use std::borrow::Cow;

use bytes::Bytes;
use naru_api::convert::convert;
use serde_json::Value;

use crate::extension::form;
use crate::object;
use crate::routes::Route;

/// An object in the form in which its kind is stored.
pub(crate) fn to_stored(route: &Route, object: Value) -> Value {
    if route.custom.is_some() {
        return form::to_stored(route, object);
    }
    match &route.stored {
        None => object,
        Some(stored) => convert(&route.kind, stored, object),
    }
}

/// An object in the form in which the route serves it.
pub(crate) fn to_served(route: &Route, object: Value) -> Value {
    if let Some(custom) = &route.custom {
        return form::to_served(route, custom, object);
    }
    match &route.stored {
        None => object,
        Some(stored) => convert(stored, &route.kind, object),
    }
}

/// As [`to_served`], without copying where nothing changes.
pub(crate) fn shown<'o>(route: &Route, object: &'o Value) -> Cow<'o, Value> {
    let as_it_is = match &route.custom {
        Some(custom) => form::is_served(route, custom, object),
        None => route.stored.is_none(),
    };
    if as_it_is { Cow::Borrowed(object) } else { Cow::Owned(to_served(route, object.clone())) }
}

/// Served bytes in the form in which the route serves them; the same bytes for almost every route.
pub(crate) fn served(route: &Route, bytes: &Bytes) -> Bytes {
    if let Some(custom) = &route.custom {
        return form::served(route, custom, bytes);
    }
    match &route.stored {
        None => bytes.clone(),
        Some(_) => to_served(route, object::parse(bytes)).to_string().into(),
    }
}

/// Whether stored bytes are what the route serves of them.
pub(crate) fn is_as_served(route: &Route, bytes: &[u8]) -> bool {
    match &route.custom {
        Some(custom) => form::is_as_served(route, custom, bytes),
        None => route.stored.is_none(),
    }
}

/// A stored object as it would be stored now, and whether that is something else: users change what their kinds are.
pub(crate) fn to_current(route: &Route, object: Value) -> (Value, bool) {
    match &route.custom {
        Some(custom) => form::to_current(route, custom, object),
        None => (object, false),
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
