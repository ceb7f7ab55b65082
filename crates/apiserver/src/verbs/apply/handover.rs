//! From `kubectl apply` on the client's side to the server's side and back.
//!
//! The client's way keeps what was applied last in an annotation. Whoever moves over must not be told that they are in
//! conflict with what they applied themselves; and while the annotation is there, it says what was applied last,
//! whichever way that was, so that the way back takes away what is no longer wanted. Only for the writer `kubectl`,
//! as in Kubernetes: others are no such client.

use naru_api::{Status, meta};
use serde_json::Value;

/// The writer that both ways share.
const CLIENT: &str = "kubectl";
/// What the client's way applied last.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotations of an object may not be larger together, in bytes.
const ROOM: usize = 256 << 10;

/// Whether all that is in conflict was applied by the same client before, so that it may take it over.
pub(super) fn owns(manager: &str, live: &Value, conflict: &Status) -> bool {
    let last = meta::annotation(live, ANNOTATION).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let (true, true, Some(last), Some(details)) = (manager == CLIENT, conflict.is_conflict(), last, &conflict.details)
    else {
        return false;
    };
    !details.causes.is_empty() && details.causes.iter().all(|cause| names(&last, &cause.field))
}

/// Brings the annotation, where there is one, up to date with what is applied now.
pub(super) fn record(manager: &str, config: &Value, object: &mut Value) {
    if manager != CLIENT || meta::annotation(object, ANNOTATION).is_none() {
        return;
    }
    let mut applied = config.clone();
    if let Some(annotations) = applied["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let text = format!("{applied}\n");
    // One that is too large to be kept is worth nothing when it is old.
    meta::set_annotation(object, ANNOTATION, if text.len() > ROOM { "" } else { &text });
}

/// Whether a configuration has the field that a path such as `.spec.ports[port=80,protocol="TCP"].name` names.
fn names(config: &Value, path: &str) -> bool {
    let mut at = config;
    let mut rest = path;
    while !rest.is_empty() {
        let found = if let Some(tail) = rest.strip_prefix('[') {
            let Some(end) = closing(tail) else { return false };
            rest = &tail[end + 1..];
            at.as_array().and_then(|items| items.iter().find(|item| is(item, &tail[..end])))
        } else {
            let tail = rest.strip_prefix('.').unwrap_or(rest);
            // Keys of maps may hold dots themselves: the longest one that is there.
            let fields = at.as_object().into_iter().flatten();
            let fits = |key: &str| tail.strip_prefix(key).is_some_and(|t| t.is_empty() || t.starts_with(['.', '[']));
            let found = fields.filter(|(key, _)| fits(key)).max_by_key(|(key, _)| key.len());
            rest = found.map_or("", |(key, _)| &tail[key.len()..]);
            found.map(|(_, value)| value)
        };
        let Some(found) = found else { return false };
        at = found;
    }
    true
}

/// Where the bracket ends, not counting those in quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let end = c == ']' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at)
    })
}

/// Whether an element of a list is the one that `name="a",port=80` or `="value"` means. A key that it leaves out has its
/// default, which the path tells.
fn is(item: &Value, keys: &str) -> bool {
    if let Some(value) = keys.strip_prefix('=') {
        return written(item, value);
    }
    let pairs = keys.split(',').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().all(|(key, value)| item.get(key).is_none_or(|v| written(v, value)))
}

/// Whether a value is written so in JSON.
fn written(value: &Value, text: &str) -> bool {
    let written = value.to_string();
    written == text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_into_maps_and_lists() {
        let config = json!({"metadata": {"labels": {"a.b/c": "d"}, "finalizers": ["x.y/z"]},
            "spec": {"ports": [{"port": 80, "name": "web"}, {"port": 81}]}});
        for path in [
            ".metadata.labels.a.b/c",
            ".metadata.finalizers[=\"x.y/z\"]",
            ".spec.ports",
            ".spec.ports[port=80,protocol=\"TCP\"].name",
        ] {
            assert!(names(&config, path), "{path}");
        }
        for path in
            [".metadata.labels.a", ".spec.ports[port=81,protocol=\"TCP\"].name", ".spec.ports[port=82]", ".spec.x"]
        {
            assert!(!names(&config, path), "{path}");
        }
    }

    #[test]
    fn the_annotation_follows_where_it_is() {
        let config = json!({"metadata": {"name": "a"}, "data": {"k": "2"}});
        let mut object = json!({"metadata": {"annotations": {ANNOTATION: "{}"}}});
        record("other", &config, &mut object);
        assert_eq!(meta::annotation(&object, ANNOTATION), Some("{}"));
        record(CLIENT, &config, &mut object);
        assert_eq!(meta::annotation(&object, ANNOTATION).map(str::trim), Some(config.to_string().as_str()));
        let mut bare = json!({"metadata": {}});
        record(CLIENT, &config, &mut bare);
        assert_eq!(bare, json!({"metadata": {}}));
    }
}
