//! The answer that every refused request gets: `metav1.Status`.
//!
//! Rooms pass this type, not strings or HTTP codes, so that a client reads exactly what the server decided. The texts
//! are those clients of Kubernetes match on.

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::validate::{FieldError, FieldReason};

/// Why a request was refused, as a word that programs match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// 404: no such object, kind or path.
    NotFound,
    /// 409: the name is taken.
    AlreadyExists,
    /// 409: the object changed since it was read, or another's field was touched.
    Conflict,
    /// 422: the object breaks rules.
    Invalid,
    /// 400: the request itself is wrong.
    BadRequest,
    /// 403: not allowed.
    Forbidden,
    /// 401: nobody known asked.
    Unauthorized,
    /// 410: the revision asked for is gone.
    Expired,
    /// 410: the resource is gone.
    Gone,
    /// 413: the body is too large.
    RequestEntityTooLarge,
    /// 405: the verb does not exist here.
    MethodNotAllowed,
    /// 406: no representation that the client accepts.
    NotAcceptable,
    /// 415: the body's type is not understood.
    UnsupportedMediaType,
    /// 429: come back later.
    TooManyRequests,
    /// 504: took too long.
    Timeout,
    /// 503: cannot answer now.
    ServiceUnavailable,
    /// 500: our fault.
    InternalError,
    /// Anything else.
    Unknown,
}

const REASONS: [(Reason, &str, u16); 18] = [
    (Reason::NotFound, "NotFound", 404),
    (Reason::AlreadyExists, "AlreadyExists", 409),
    (Reason::Conflict, "Conflict", 409),
    (Reason::Invalid, "Invalid", 422),
    (Reason::BadRequest, "BadRequest", 400),
    (Reason::Forbidden, "Forbidden", 403),
    (Reason::Unauthorized, "Unauthorized", 401),
    (Reason::Expired, "Expired", 410),
    (Reason::Gone, "Gone", 410),
    (Reason::RequestEntityTooLarge, "RequestEntityTooLarge", 413),
    (Reason::MethodNotAllowed, "MethodNotAllowed", 405),
    (Reason::NotAcceptable, "NotAcceptable", 406),
    (Reason::UnsupportedMediaType, "UnsupportedMediaType", 415),
    (Reason::TooManyRequests, "TooManyRequests", 429),
    (Reason::Timeout, "Timeout", 504),
    (Reason::ServiceUnavailable, "ServiceUnavailable", 503),
    (Reason::InternalError, "InternalError", 500),
    (Reason::Unknown, "", 500),
];

impl Reason {
    /// The word.
    pub fn as_str(self) -> &'static str {
        REASONS.iter().find(|r| r.0 == self).map_or("", |r| r.1)
    }

    /// The HTTP status code it usually comes with.
    pub fn code(self) -> u16 {
        REASONS.iter().find(|r| r.0 == self).map_or(500, |r| r.2)
    }

    fn parse(word: &str) -> Reason {
        REASONS.iter().find(|r| r.1 == word).map_or(Reason::Unknown, |r| r.0)
    }
}

/// One cause among several: a field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The kind of mistake (`FieldValueRequired`).
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// The field's path.
    pub field: String,
}

/// What the refusal is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// The group of the resource.
    pub group: String,
    /// The resource or kind.
    pub kind: String,
    /// The object's identifier.
    pub uid: String,
    /// The causes.
    pub causes: Vec<Cause>,
    /// Seconds to wait before trying again; 0: not said.
    pub retry_after_seconds: u32,
    /// With what a list goes on that cannot go on as it began; empty: not at all. It is the `continue` of the metadata.
    pub continue_with: String,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The word for programs.
    pub reason: Reason,
    /// The sentence for people.
    pub message: String,
    /// The HTTP status code.
    pub code: u16,
    /// What it is about.
    pub details: Option<Box<Details>>,
}

// === impl Status ===

impl Status {
    /// A refusal with a sentence and nothing else.
    pub fn new(reason: Reason, message: impl Into<String>) -> Status {
        Status { reason, message: message.into(), code: reason.code(), details: None }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Status {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: kind.group.to_string(),
            kind: kind.plural.to_string(),
            ..Details::default()
        }));
        self
    }

    /// The object does not exist.
    pub fn not_found(kind: &Kind, name: &str) -> Status {
        Status::new(Reason::NotFound, format!("{} \"{name}\" not found", kind.group_resource())).about(kind, name)
    }

    /// The path leads nowhere.
    pub fn no_such_path() -> Status {
        Status::new(Reason::NotFound, "the server could not find the requested resource")
    }

    /// The name is taken.
    pub fn already_exists(kind: &Kind, name: &str) -> Status {
        Status::new(Reason::AlreadyExists, format!("{} \"{name}\" already exists", kind.group_resource()))
            .about(kind, name)
    }

    /// No name was found for an object that is named by the server; asking again may find one.
    pub fn no_name_left(kind: &Kind, prefix: &str) -> Status {
        let resource = kind.group_resource();
        let text = format!(
            "{resource} \"{prefix}\" already exists, the server was not able to generate a unique name for the object"
        );
        let mut status = Status::new(Reason::AlreadyExists, text).about(kind, prefix);
        if let Some(details) = &mut status.details {
            details.retry_after_seconds = 1;
        }
        status
    }

    /// The object is no longer what the writer had read; `why` says more.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Status {
        let text = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.group_resource());
        Status::new(Reason::Conflict, text).about(kind, name)
    }

    /// The usual conflict: the resourceVersion written against is not the present one.
    pub fn modified(kind: &Kind, name: &str) -> Status {
        Status::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The object breaks rules.
    pub fn invalid(kind: &Kind, name: &str, errors: Vec<FieldError>) -> Status {
        Status::invalid_as(&kind.group, &kind.kind, name, errors)
    }

    /// The options of a request (`CreateOptions`) break rules.
    pub fn invalid_options(options: &str, errors: Vec<FieldError>) -> Status {
        Status::invalid_as("meta.k8s.io", options, "", errors)
    }

    /// What is called `kind` of `group` breaks rules.
    pub fn invalid_as(group: &str, kind: &str, name: &str, errors: Vec<FieldError>) -> Status {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let what = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut status = Status::new(Reason::Invalid, format!("{what} \"{name}\" is invalid: {list}"));
        status.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes: errors
                .into_iter()
                .map(|e| Cause { reason: e.reason.as_str().to_owned(), message: e.body(), field: e.path })
                .collect(),
            ..Details::default()
        }));
        status
    }

    /// The request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(Reason::BadRequest, message)
    }

    /// The asker may not do this; `why` says more.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Status {
        let what = if name.is_empty() {
            format!("{} is forbidden: {why}", kind.group_resource())
        } else {
            format!("{} \"{name}\" is forbidden: {why}", kind.group_resource())
        };
        Status::new(Reason::Forbidden, what).about(kind, name)
    }

    /// Nobody known asked.
    pub fn unauthorized() -> Status {
        Status::new(Reason::Unauthorized, "Unauthorized")
    }

    /// The revision asked for is no longer kept: list again.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(Reason::Expired, message)
    }

    /// The resource is gone for good.
    pub fn gone(message: impl Into<String>) -> Status {
        Status::new(Reason::Gone, message)
    }

    /// The body exceeds `limit` bytes.
    pub fn too_large(limit: usize) -> Status {
        Status::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {limit}"))
    }

    /// The verb does not exist for the resource.
    pub fn method_not_allowed(kind: &Kind, verb: &str) -> Status {
        let text = format!("{verb} is not supported on resources of kind \"{}\"", kind.group_resource());
        Status::new(Reason::MethodNotAllowed, text).about(kind, "")
    }

    /// The body's media type is not among `accepted`.
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        let text = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Status::new(Reason::UnsupportedMediaType, text)
    }

    /// No representation among `offered` is accepted by the client.
    pub fn not_acceptable(offered: &[&str]) -> Status {
        let text = format!("only the following media types are accepted: {}", offered.join(", "));
        Status::new(Reason::NotAcceptable, text)
    }

    /// Took too long.
    pub fn timeout(message: impl Into<String>) -> Status {
        Status::new(Reason::Timeout, message)
    }

    /// Refused for now, for the given number of seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut status = Status::new(Reason::TooManyRequests, message);
        status.details = Some(Box::new(Details { retry_after_seconds, ..Details::default() }));
        status
    }

    /// Cannot answer now.
    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::new(Reason::ServiceUnavailable, message)
    }

    /// Our fault.
    pub fn internal(message: impl std::fmt::Display) -> Status {
        Status::new(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// Whether the name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }

    /// Whether the object changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// Whether the object breaks rules.
    pub fn is_invalid(&self) -> bool {
        self.reason == Reason::Invalid
    }

    /// Whether the revision is gone and the caller must list again.
    pub fn is_expired(&self) -> bool {
        self.code == 410
    }

    /// Whether the asker is not allowed.
    pub fn is_forbidden(&self) -> bool {
        self.reason == Reason::Forbidden
    }

    /// Whether trying the same again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self.reason, Reason::TooManyRequests | Reason::Timeout | Reason::ServiceUnavailable)
            || self.code >= 500
    }

    /// The JSON document.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason.as_str(), "code": self.code,
        });
        if let Some(details) = &self.details {
            if !details.continue_with.is_empty() {
                status["metadata"]["continue"] = details.continue_with.as_str().into();
            }
            let details = details.to_json();
            if details.as_object().is_some_and(|fields| !fields.is_empty()) {
                status["details"] = details;
            }
        }
        status
    }

    /// The bytes of [`Status::to_json`].
    pub fn to_bytes(&self) -> bytes::Bytes {
        bytes::Bytes::from(self.to_json().to_string())
    }

    /// Reads a JSON document. `None` when it is not a failed Status.
    pub fn from_json(value: &Value) -> Option<Status> {
        if value.get("kind")? != "Status" || value.get("status").is_some_and(|s| s == "Success") {
            return None;
        }
        let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let reason = Reason::parse(&text(value, "reason"));
        let code = value.get("code").and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok());
        let details = value.get("details").filter(|d| d.is_object()).map(|d| {
            let causes = d.get("causes").and_then(Value::as_array).into_iter().flatten();
            Box::new(Details {
                name: text(d, "name"),
                group: text(d, "group"),
                kind: text(d, "kind"),
                uid: text(d, "uid"),
                causes: causes
                    .map(|c| Cause { reason: text(c, "reason"), message: text(c, "message"), field: text(c, "field") })
                    .collect(),
                retry_after_seconds: d
                    .get("retryAfterSeconds")
                    .and_then(Value::as_u64)
                    .and_then(|s| u32::try_from(s).ok())
                    .unwrap_or(0),
                continue_with: String::new(),
            })
        });
        let continue_with = value.get("metadata").map(|metadata| text(metadata, "continue")).unwrap_or_default();
        let details = match continue_with.is_empty() {
            true => details,
            false => Some(Box::new(Details { continue_with, ..details.map(|details| *details).unwrap_or_default() })),
        };
        Some(Status { reason, message: text(value, "message"), code: code.unwrap_or_else(|| reason.code()), details })
    }

    /// Reads the body of a refused HTTP request, whatever it holds.
    pub fn from_response(code: u16, body: &[u8]) -> Status {
        if let Some(status) = serde_json::from_slice(body).ok().and_then(|v| Status::from_json(&v)) {
            return status;
        }
        let reason = REASONS.iter().find(|r| r.2 == code).map_or(Reason::Unknown, |r| r.0);
        let text = String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned();
        let message = if text.is_empty() { format!("the server answered {code}") } else { text };
        Status { reason, message, code, details: None }
    }

    /// The document of a request that succeeded and has no object to answer with.
    pub fn success(kind: &Kind, name: &str, uid: &str) -> Value {
        let mut details = json!({ "name": name, "kind": kind.plural, "uid": uid });
        if !kind.group.is_empty() {
            details["group"] = kind.group.as_ref().into();
        }
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
    }
}

impl Details {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !text.is_empty() {
                map.insert(key.to_owned(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter();
            let causes = causes.map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}));
            map.insert("causes".to_owned(), Value::Array(causes.collect()));
        }
        if self.retry_after_seconds > 0 {
            map.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        Value::Object(map)
    }
}

impl FieldReason {
    /// The word of the cause.
    pub fn as_str(self) -> &'static str {
        match self {
            FieldReason::Required => "FieldValueRequired",
            FieldReason::Invalid => "FieldValueInvalid",
            FieldReason::NotSupported => "FieldValueNotSupported",
            FieldReason::Duplicate => "FieldValueDuplicate",
            FieldReason::Forbidden => "FieldValueForbidden",
            FieldReason::NotFound => "FieldValueNotFound",
            FieldReason::TooLong => "FieldValueTooLong",
            FieldReason::TooMany => "FieldValueTooMany",
            FieldReason::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

#[cfg(test)]
mod tests;
