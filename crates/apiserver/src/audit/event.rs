//! `audit.k8s.io/v1 Event`: what is written down of a request.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use naru_api::Status;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::user::User;

/// The longest name of a client's program that is written.
const AGENT: usize = 1024;

/// How much is written of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(crate) enum Level {
    /// Nothing.
    None,
    /// Who, what, when and what came of it.
    Metadata,
    /// The body of the request, too.
    Request,
    /// And that of the answer.
    RequestResponse,
}

/// When it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Stage {
    /// Before anything is done.
    RequestReceived,
    /// When the head of an answer is sent whose body goes on: a watch, a stream.
    ResponseStarted,
    /// When there is nothing more to send.
    ResponseComplete,
    /// When the server failed at it.
    Panic,
}

/// What is written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    kind: &'static str,
    api_version: &'static str,
    pub(super) level: Level,
    #[serde(rename = "auditID")]
    pub(super) id: String,
    pub(super) stage: Stage,
    #[serde(rename = "requestURI")]
    pub(super) uri: String,
    pub(super) verb: String,
    pub(super) user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) impersonated_user: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub(super) sources: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_object: Option<Value>,
    pub(super) request_received_timestamp: String,
    pub(super) stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// What a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) subresource: String,
}

// === impl Stage ===

impl Stage {
    pub(super) const ALL: [Stage; 4] =
        [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic];
}

// === impl Level ===

impl Level {
    pub(super) const ALL: [Level; 4] = [Level::None, Level::Metadata, Level::Request, Level::RequestResponse];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

// === impl Event ===

impl Event {
    /// An event of a request that was just received.
    pub(super) fn new(level: Level, id: String, user: &User, received: Timestamp) -> Event {
        Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level,
            id,
            stage: Stage::RequestReceived,
            uri: String::new(),
            verb: String::new(),
            user: describe(user),
            impersonated_user: None,
            sources: Vec::new(),
            user_agent: String::new(),
            object_ref: None,
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: micro(received),
            stage_timestamp: micro(received),
            annotations: BTreeMap::new(),
        }
    }

    /// Completes what the request is about by the object that was sent.
    pub(super) fn sent(&mut self, object: &Value) {
        let Some(about) = &mut self.object_ref else { return };
        let metadata = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
        for (field, key) in [
            (&mut about.namespace, "namespace"),
            (&mut about.name, "name"),
            (&mut about.uid, "uid"),
            (&mut about.resource_version, "resourceVersion"),
        ] {
            if field.is_empty() {
                metadata(key).clone_into(field);
            }
        }
    }
}

/// A user as an event names them.
pub(super) fn describe(user: &User) -> Value {
    let mut all = Map::new();
    for (key, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            all.insert(key.to_owned(), text.as_str().into());
        }
    }
    if !user.groups.is_empty() {
        all.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        all.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(all)
}

/// A refusal as an event tells it.
pub(super) fn refusal(status: &Status) -> Value {
    told(&status.to_json(), status.code())
}

/// The bounded parts of a `Status`.
pub(super) fn told(status: &Value, code: u16) -> Value {
    let mut all = json!({"metadata": {}});
    for key in ["status", "message", "reason", "details"] {
        if let Some(value) = status.get(key).filter(|value| !value.is_null()) {
            all[key] = value.clone();
        }
    }
    all["code"] = code.into();
    all
}

/// The object without who owns which of its fields; of a list or table: its objects.
pub(super) fn without_managed_fields(object: &mut Value) {
    let strip = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    strip(object);
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip(item);
    }
    for row in object.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(object) = row.get_mut("object") {
            strip(object);
        }
    }
}

/// A client's program, cut to a bearable length.
pub(super) fn agent(text: &str) -> String {
    if text.len() <= AGENT {
        return text.to_owned();
    }
    let mut end = AGENT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...TRUNCATED", &text[..end])
}

/// A time with microseconds, all six digits of them.
pub(super) fn micro(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_kubernetes_writes_it() {
        let received: Timestamp = "2026-01-02T03:04:05.6Z".parse().expect("a time");
        let mut event = Event::new(Level::Metadata, "id".to_owned(), &User::new("kim", &["ops"]), received);
        event.uri = "/api/v1/namespaces/shop/pods".to_owned();
        event.verb = "create".to_owned();
        event.object_ref = Some(ObjectRef {
            resource: "pods".into(),
            namespace: "shop".into(),
            api_version: "v1".into(),
            ..ObjectRef::default()
        });
        event.sent(&json!({"metadata": {"name": "web", "namespace": "bank", "uid": "u"}}));
        let text = serde_json::to_string(&event).expect("JSON");
        assert_eq!(
            text,
            r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id","stage":"RequestReceived","requestURI":"/api/v1/namespaces/shop/pods","verb":"create","user":{"groups":["ops","system:authenticated"],"username":"kim"},"objectRef":{"resource":"pods","namespace":"shop","name":"web","uid":"u","apiVersion":"v1"},"requestReceivedTimestamp":"2026-01-02T03:04:05.600000Z","stageTimestamp":"2026-01-02T03:04:05.600000Z"}"#
        );
    }

    #[test]
    fn owners_of_fields_are_taken_out_wherever_they_stand() {
        let owned = || json!({"metadata": {"name": "a", "managedFields": []}});
        let mut all = json!({"metadata": {"managedFields": []}, "items": [owned()], "rows": [{"object": owned()}]});
        without_managed_fields(&mut all);
        let free = json!({"metadata": {"name": "a"}});
        assert_eq!(all, json!({"metadata": {}, "items": [free], "rows": [{"object": free}]}));
    }

    #[test]
    fn what_is_told_of_an_answer_is_bounded() {
        let status = Status::new(naru_api::Reason::NotFound, "no such pod");
        let said = refusal(&status);
        assert_eq!(
            (&said["code"], &said["reason"], &said["message"]),
            (&json!(404), &json!("NotFound"), &json!("no such pod"))
        );
        assert_eq!((&said["metadata"], said.get("kind")), (&json!({}), None));
        assert_eq!(agent(&"ü".repeat(1000)).chars().count(), 512 + "...TRUNCATED".len());
        assert_eq!(agent("kubectl"), "kubectl");
    }
}
