//! Objects for tests.

use std::sync::Arc;

use jiff::Timestamp;
use naru_client::ObjectRef;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::plan::Write;

/// A moment all tests agree on.
pub(crate) fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time stamp")
}

/// A number of seconds after noon, as objects write it.
pub(crate) fn at(seconds: i64) -> String {
    naru_api::meta::time(noon() + jiff::SignedDuration::from_secs(seconds))
}

/// Reads a view.
pub(crate) fn view<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a view")
}

/// Reads many views.
pub(crate) fn views<T: DeserializeOwned>(values: &[Value]) -> Vec<Arc<T>> {
    values.iter().map(|value| Arc::new(view(value.clone()))).collect()
}

/// An object that owns pods and revisions, as the server would keep them: plans are carried out on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Owned {
    /// The owner.
    pub object: Value,
    /// Its pods.
    pub pods: Vec<Value>,
    /// Its stored former templates.
    pub revisions: Vec<Value>,
    created: usize,
}

impl Owned {
    /// An owner that has nothing yet.
    pub(crate) fn new(object: Value) -> Self {
        Owned { object, ..Owned::default() }
    }

    /// Carries out a write of the owner, its pods or its revisions; says what was done to which pod (`+name`, `-name`).
    pub(crate) fn carry_out(&mut self, write: &Write) -> Option<String> {
        let kind = &*write.resource().kind;
        let named = |object: &Value, key: &ObjectRef| object["metadata"]["name"] == *key.name;
        match write {
            Write::Create { object, .. } if kind == "Pod" => {
                self.created += 1;
                let mut pod = object.clone();
                let given = pod["metadata"]["name"].as_str().map(str::to_owned);
                let name = given.unwrap_or_else(|| format!("p{}", self.created));
                let uid = format!("{name}-{}", self.created);
                let more = json!({ "metadata": { "name": name, "uid": uid }, "status": { "phase": "Running" } });
                merge(&mut pod, &more);
                self.pods.push(pod);
                return Some(format!("+{name}"));
            }
            Write::Create { object, .. } => {
                let mut revision = object.clone();
                revision["metadata"]["uid"] = object["metadata"]["name"].clone();
                self.revisions.push(revision);
            }
            Write::Patch { patch, .. } if kind == self.object["kind"] => merge(&mut self.object, patch),
            Write::Patch { key, patch, .. } => {
                merge(self.revisions.iter_mut().find(|object| named(object, key)).expect("it exists"), patch);
            }
            Write::Delete { key, .. } if kind == "Pod" => {
                self.pods.retain(|pod| !named(pod, key));
                return Some(format!("-{}", key.name));
            }
            Write::Delete { key, .. } => self.revisions.retain(|object| !named(object, key)),
            Write::Post { .. } | Write::Put { .. } => unreachable!("nothing is posted"),
        }
        None
    }

    /// Every pod serves.
    pub(crate) fn ready(&mut self) {
        for pod in &mut self.pods {
            pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True", "lastTransitionTime": at(0) }]);
        }
    }
}

/// Turns until nothing changes any more.
pub(crate) fn settle<W>(world: &mut W, state: impl Fn(&W) -> Owned, mut turn: impl FnMut(&mut W)) {
    for _ in 0..60 {
        let before = state(world);
        turn(world);
        if before == state(world) {
            return;
        }
    }
    panic!("it never settles: {:#}", state(world).object);
}

/// Applies a merge patch.
pub(crate) fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return into.clone_from(patch) };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().expect("an object").remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}
