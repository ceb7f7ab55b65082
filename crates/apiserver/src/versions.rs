//! One stored object served as several versions: events, which two groups show under different field names.

use std::borrow::Cow;

use naru_api::Kind;
use serde_json::Value;

use crate::object;
use crate::routes::Route;
use bytes::Bytes;

/// Field names of `v1 Event` and of `events.k8s.io/v1 Event`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// An object in the form in which its kind is stored.
pub(crate) fn to_stored(route: &Route, object: Value) -> Value {
    match &route.stored {
        None => object,
        Some(stored) => renamed(object, stored, |(stored, served)| (served, stored)),
    }
}

/// An object in the form in which the route serves it.
pub(crate) fn to_served(route: &Route, object: Value) -> Value {
    match &route.stored {
        None => object,
        Some(_) => renamed(object, &route.kind, |pair| pair),
    }
}

/// As [`to_served`], without copying where nothing changes.
pub(crate) fn shown<'o>(route: &Route, object: &'o Value) -> Cow<'o, Value> {
    match &route.stored {
        None => Cow::Borrowed(object),
        Some(_) => Cow::Owned(to_served(route, object.clone())),
    }
}

/// Served bytes in the form in which the route serves them; the same bytes for almost every route.
pub(crate) fn served(route: &Route, bytes: &Bytes) -> Bytes {
    match &route.stored {
        None => bytes.clone(),
        Some(_) => to_served(route, object::parse(bytes)).to_string().into(),
    }
}

fn renamed(
    mut object: Value,
    kind: &Kind,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let Some(fields) = object.as_object_mut() else { return object };
    for (from, to) in EVENT_FIELDS.map(direction) {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
    fields.insert("apiVersion".to_owned(), kind.api_version().into());
    fields.insert("kind".to_owned(), kind.kind.as_ref().into());
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_api::Registry;
    use serde_json::json;

    #[test]
    fn an_event_is_the_same_in_both_groups() {
        let routes = crate::routes::Routes::of(&Registry::builtin());
        let route = routes.find("events.k8s.io", "v1", "events").expect("served");
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "count": 2,
            "involvedObject": {"kind": "Pod", "name": "web"}, "message": "hello", "reason": "Started"});
        let newer = to_served(route, event.clone());
        assert_eq!(
            (&newer["apiVersion"], &newer["note"], &newer["regarding"]["name"]),
            (&json!("events.k8s.io/v1"), &json!("hello"), &json!("web"))
        );
        assert_eq!(to_stored(route, newer), event);
    }
}
