//! The forms of an object of a kind that users defined: the one in which it lies in the store, and the ones in which it is
//! served.
//!
//! An object that was written before its definition last changed is read by the present rules of the version it has: what
//! is no longer known goes, what is absent becomes its default. Then it becomes one of the version asked for, by name
//! alone or by a webhook ([`convert`](super::convert)). Objects know when they were written, so that all that lie in the
//! store as they are to be seen are sent as they lie there. Refused: rewriting all objects when a definition changes,
//! which would be a write for each of them.

use bytes::Bytes;
use memchr::memmem;
use naru_api::{Kind, meta};
use naru_store::{Entry, Revision};
use serde_json::Value;

use super::Custom;
use crate::encode;
use crate::object;
use crate::routes::Route;

/// Where the revision stands in served bytes, not far from their beginning.
const STAMP: &[u8] = b"\"resourceVersion\":\"";
/// How far that is at most.
const HEAD: usize = 512;

/// Whether bytes that were written in a revision (none: just now) are what the route serves of them.
pub(super) fn is_as_served(route: &Route, custom: &Custom, bytes: &[u8], written: Option<Revision>) -> bool {
    written.is_none_or(|written| written >= custom.since) && bytes.starts_with(route.head.as_bytes())
}

/// Whether bytes of the store are what would be stored now.
pub(super) fn is_as_stored(custom: &Custom, bytes: &[u8], written: Revision) -> bool {
    written >= custom.since && bytes.starts_with(custom.stored_head.as_bytes())
}

/// The revision that served bytes carry.
pub(super) fn revision(bytes: &[u8]) -> Option<Revision> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let digits = &bytes[memmem::find(head, STAMP)? + STAMP.len()..];
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok().map(Revision)
}

/// An object of the store, read by the present rules of the version that it has.
pub(super) fn opened(custom: &Custom, bytes: &[u8], written: Option<Revision>) -> Value {
    let mut object = object::parse(bytes);
    if written.is_some_and(|written| written < custom.since)
        && let Some(version) = custom.version(meta::api_version(&object)).and_then(|kind| kind.custom())
    {
        // What goes is not told: nobody sent it just now.
        let _ = version.shape(&mut object);
    }
    object
}

/// The object of an entry, as [`opened`].
pub(crate) fn lying(custom: &Custom, entry: &Entry) -> Value {
    opened(custom, &entry.served, Some(entry.modified))
}

/// Makes an object one of another version where only the name differs: what that one does not know goes.
pub(super) fn rename(custom: &Custom, kind: &Kind, object: &mut Value) {
    let known = custom.version(meta::api_version(object)).is_some();
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.as_ref().into();
    match kind.custom() {
        Some(version) if known => drop(version.schema.prune(object)),
        // It is of a version that is no longer defined, and could not get the defaults of that one.
        Some(version) => drop(version.shape(object)),
        None => {}
    }
}

/// An object as bytes to serve.
pub(super) fn bytes(object: &Value) -> Bytes {
    let plain = encode::plain(object);
    let written = meta::resource_version(object).parse().ok().map(Revision);
    written.and_then(|written| encode::stamp(&plain, written)).unwrap_or_else(|| plain.into())
}

/// An object of the store in the form of the route, as far as that can be told without asking anybody: metadata may lack
/// what a webhook would add.
pub(crate) fn nearest(route: &Route, custom: &Custom, stored: &Bytes, written: Revision) -> Bytes {
    if is_as_served(route, custom, stored, Some(written)) {
        return stored.clone();
    }
    let mut object = opened(custom, stored, Some(written));
    if meta::api_version(&object) != route.kind.api_version() {
        rename(custom, &route.kind, &mut object);
    }
    bytes(&object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::fixture;
    use serde_json::json;
    use std::sync::Arc;

    /// The route of a version of widgets, which are stored as v1 and of which the definition changed in revision 10.
    fn route(version: &str) -> Route {
        let custom = Arc::new(Custom::new(fixture::versions(&["v1", "v2"]), Revision(10)));
        let stored = (version != "v1").then(|| custom.storage.clone());
        let kind = custom.version(&format!("example.com/{version}")).expect("defined").clone();
        Route::new(kind, stored, Some(custom))
    }

    fn stored(version: &str, revision: u64) -> Bytes {
        let object = json!({"kind": "Widget", "apiVersion": format!("example.com/{version}"),
            "metadata": {"name": "w"}, "spec": {"size": 1, "forgotten": true}});
        encode::stamp(&encode::plain(&object), Revision(revision)).expect("an object")
    }

    fn shown(route: &Route, bytes: &Bytes) -> Value {
        let custom = route.custom.as_ref().expect("custom");
        object::parse(&nearest(route, custom, bytes, revision(bytes).expect("stamped")))
    }

    #[test]
    fn what_was_written_before_the_definition_gets_its_present_form() {
        let route = route("v1");
        let custom = route.custom.as_ref().expect("custom");
        let new = stored("v1", 10);
        assert_eq!(nearest(&route, custom, &new, Revision(10)), new, "sent as it is");
        assert!(is_as_stored(custom, &new, Revision(10)) && !is_as_stored(custom, &new, Revision(9)));
        let old = shown(&route, &stored("v1", 9));
        assert_eq!(old["spec"], json!({"size": 1, "color": "red"}), "pruned and defaulted");
        assert_eq!(old["metadata"]["resourceVersion"], "9");
    }

    #[test]
    fn between_versions_the_name_of_the_version_changes() {
        let (one, two) = (route("v1"), route("v2"));
        let newer = shown(&two, &stored("v1", 11));
        assert_eq!((&newer["apiVersion"], &newer["metadata"]["name"]), (&json!("example.com/v2"), &json!("w")));
        assert_eq!(
            newer["spec"],
            json!({"size": 1}),
            "pruned by this version, and defaulted by the stored one if at all"
        );
        // The stored version was another one once.
        let bytes = stored("v2", 11);
        let older = shown(&one, &bytes);
        assert_eq!((&older["apiVersion"], &older["spec"]), (&json!("example.com/v1"), &json!({"size": 1})));
        assert!(!is_as_stored(one.custom.as_ref().expect("custom"), &bytes, Revision(11)));
        let gone = shown(&one, &stored("v0", 11));
        assert_eq!(gone["spec"], json!({"size": 1, "color": "red"}), "a version that nobody defines any more");
    }

    #[test]
    fn bytes_say_when_they_were_written() {
        assert_eq!(revision(&stored("v1", 41)), Some(Revision(41)));
        assert_eq!(revision(b"{\"metadata\":{}}"), None);
        let object = json!({"kind": "Widget", "apiVersion": "example.com/v1", "metadata": {"name": "w"}});
        assert_eq!(revision(&bytes(&object)), None, "nothing was written");
    }
}
