//! The forms of an object of a kind that users defined: the one in which it is stored, and the ones in which it is served.
//!
//! Between versions only `apiVersion` changes, since nobody but a webhook could know more. An object that was written
//! before its definition last changed is brought to the present form whenever it is read: what is no longer known goes,
//! what is absent becomes its default. Objects know when they were written, so that all others are sent as they lie in
//! the store. Refused: rewriting all objects when a definition changes, which would be a write for each of them.

use bytes::Bytes;
use naru_api::{Kind, meta};
use naru_store::Revision;
use serde_json::Value;

use super::Custom;
use crate::object;
use crate::routes::Route;

/// An object in the form in which it is stored.
pub(crate) fn to_stored(route: &Route, object: Value) -> Value {
    match &route.stored {
        None => object,
        Some(stored) => shaped(stored, object),
    }
}

/// An object in the form in which the route serves it.
pub(crate) fn to_served(route: &Route, custom: &Custom, object: Value) -> Value {
    if is_current(&route.kind, custom, &object) { object } else { shaped(&route.kind, object) }
}

/// A stored object in the form in which it would be stored now, and whether that is another one.
pub(crate) fn to_current(route: &Route, custom: &Custom, object: Value) -> (Value, bool) {
    let kind = route.stored_kind();
    if is_current(kind, custom, &object) { (object, false) } else { (shaped(kind, object), true) }
}

/// Whether an object has the form in which the route serves it.
pub(crate) fn is_served(route: &Route, custom: &Custom, object: &Value) -> bool {
    is_current(&route.kind, custom, object)
}

/// Whether stored bytes are what the route serves of them.
pub(crate) fn is_as_served(route: &Route, custom: &Custom, bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(route.head.as_bytes());
    let written = digits.and_then(|digits| {
        let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
    });
    written.is_some_and(|revision| Revision(revision) >= custom.since)
}

/// Stored bytes in the form in which the route serves them; almost always the same bytes.
pub(crate) fn served(route: &Route, custom: &Custom, bytes: &Bytes) -> Bytes {
    if is_as_served(route, custom, bytes) {
        return bytes.clone();
    }
    to_served(route, custom, object::parse(bytes)).to_string().into()
}

fn is_current(kind: &Kind, custom: &Custom, object: &Value) -> bool {
    let written = meta::resource_version(object).parse().map_or(custom.since, Revision);
    written >= custom.since && meta::kind(object) == kind.kind && meta::api_version(object) == kind.api_version()
}

fn shaped(kind: &Kind, mut object: Value) -> Value {
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.as_ref().into();
    if let Some(version) = kind.custom() {
        // What goes is not told: nobody sent it just now.
        let _ = version.shape(&mut object);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use crate::extension::fixture;
    use serde_json::json;
    use std::sync::Arc;

    /// The route of a version of widgets, which are stored as v1 and of which the definition changed in revision 10.
    fn route(version: &str) -> Route {
        let (kinds, custom) = fixture::served("v1");
        let custom = Arc::new(Custom::new(custom.storage.clone(), Revision(10), false, false));
        if version == "v1" {
            return Route::new(Arc::new(kinds[0].clone()), None, Some(custom));
        }
        let kind = Arc::new(fixture::kind(version, "v1"));
        Route::new(kind, Some(custom.storage.clone()), Some(custom))
    }

    fn stored(version: &str, revision: u64) -> Bytes {
        let object = json!({"kind": "Widget", "apiVersion": format!("example.com/{version}"),
            "metadata": {"name": "w"}, "spec": {"size": 1, "forgotten": true}});
        encode::stamp(&encode::plain(&object), Revision(revision)).expect("an object")
    }

    #[test]
    fn what_was_written_before_the_definition_gets_its_present_form() {
        let route = route("v1");
        let custom = route.custom.as_ref().expect("custom");
        let new = stored("v1", 10);
        assert_eq!(served(&route, custom, &new), new, "sent as it is");
        let old: Value = serde_json::from_slice(&served(&route, custom, &stored("v1", 9))).expect("JSON");
        assert_eq!(old["spec"], json!({"size": 1, "color": "red"}), "pruned and defaulted");
        assert_eq!(old["metadata"]["resourceVersion"], "9");
    }

    #[test]
    fn between_versions_the_name_of_the_version_changes() {
        let (one, two) = (route("v1"), route("v2"));
        let custom = two.custom.as_ref().expect("custom");
        let bytes = served(&two, custom, &stored("v1", 11));
        let shown: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!((&shown["apiVersion"], &shown["metadata"]["name"]), (&json!("example.com/v2"), &json!("w")));
        assert_eq!(to_stored(&two, shown)["apiVersion"], "example.com/v1");
        // The stored version was another one once.
        let bytes = served(&one, custom, &stored("v2", 11));
        let shown: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(shown["apiVersion"], "example.com/v1");
        let (current, changed) = to_current(&one, custom, object::parse(&stored("v2", 11)));
        assert!(changed && current["apiVersion"] == "example.com/v1");
        assert!(!to_current(&two, custom, object::parse(&stored("v1", 11))).1);
    }
}
