//! One request on its way, as the audit log follows it.

use std::sync::Arc;

use http::header::USER_AGENT;
use http::request::Parts;
use jiff::Timestamp;
use naru_api::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::AuditLog;
use super::event::{self, Event, Level, ObjectRef, Stage};
use super::policy::Verdict;
use crate::authentication::Peer;
use crate::authorization::Attributes;
use crate::user::User;

/// A request as it comes in.
pub(crate) struct Begun<'a> {
    pub(crate) id: &'a str,
    pub(crate) received: Timestamp,
    /// Who proved to send it.
    pub(crate) user: &'a User,
    pub(crate) asked: &'a Attributes<'a>,
    /// The version of the API, empty for what is no resource.
    pub(crate) version: &'a str,
    pub(crate) parts: &'a Parts,
    pub(crate) peer: &'a Peer,
}

/// What is written of one request. Whoever works on it holds it; when the last one lets go, the request is over.
pub(crate) struct Trail {
    log: Arc<AuditLog>,
    verdict: Verdict,
    event: Mutex<Event>,
}

// === impl Trail ===

impl Trail {
    /// Writes that a request came in; `None` when the policy wants nothing of it.
    pub(crate) fn begin(log: &Arc<AuditLog>, begun: &Begun<'_>) -> Option<Arc<Trail>> {
        let trail = Trail::of(log, begun)?;
        trail.write(Stage::RequestReceived, begun.received);
        Some(Arc::new(trail))
    }

    /// Writes that somebody could not prove who they are.
    pub(crate) fn turned_away(log: &Arc<AuditLog>, begun: &Begun<'_>, status: &Status) {
        if let Some(trail) = Trail::of(log, begun) {
            trail.event.lock().response_status = Some(event::refusal(status));
            trail.write(Stage::ResponseStarted, Timestamp::now());
            // That is all there is to it.
            trail.event.lock().level = Level::None;
        }
    }

    fn of(log: &Arc<AuditLog>, begun: &Begun<'_>) -> Option<Trail> {
        let verdict = log.policy.judge(begun.user, begun.asked);
        log.judged(verdict.level);
        if verdict.level == Level::None {
            return None;
        }
        let mut event = Event::new(verdict.level, begun.id.to_owned(), begun.user, begun.received);
        let Attributes { verb, group, resource, subresource, namespace, name, path, .. } = *begun.asked;
        event.verb = verb.to_owned();
        let uri = &begun.parts.uri;
        event.uri = uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string);
        event.sources = sources(begun.parts, begun.peer);
        let program = begun.parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        event.user_agent = program.map(event::agent).unwrap_or_default();
        if path.is_none() {
            event.object_ref = Some(ObjectRef {
                resource: resource.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                api_group: group.to_owned(),
                api_version: begun.version.to_owned(),
                subresource: subresource.to_owned(),
                ..ObjectRef::default()
            });
        }
        Some(Trail { log: log.clone(), verdict, event: Mutex::new(event) })
    }

    /// Whether bodies of answers are written.
    pub(crate) fn wants_answer(&self) -> bool {
        self.verdict.level >= Level::RequestResponse
    }

    /// Notes as whom the user acts.
    pub(crate) fn impersonates(&self, user: &User) {
        self.event.lock().impersonated_user = Some(event::describe(user));
    }

    /// Notes what somebody has to say of the request; the first word under a key counts.
    pub(crate) fn annotate(&self, key: &str, value: String) {
        self.event.lock().annotations.entry(key.to_owned()).or_insert(value);
    }

    /// Notes what was sent. `is_object`: it is what the request is about, and not how to change it.
    pub(crate) fn sent(&self, mut body: Value, is_object: bool) {
        let mut event = self.event.lock();
        if is_object {
            event.sent(&body);
        }
        if self.verdict.level < Level::Request {
            return;
        }
        if self.verdict.omit_managed_fields {
            event::without_managed_fields(&mut body);
        }
        event.request_object = Some(body);
    }

    /// Notes why the request was refused.
    pub(crate) fn refused(&self, status: &Status) {
        let mut event = self.event.lock();
        event.response_status = Some(event::refusal(status));
        if self.wants_answer() {
            event.response_object = Some(status.to_json());
        }
    }

    /// Notes what is answered; `body` is it where it is at hand, and only a refusal or a success in words is looked at when
    /// bodies are not written.
    pub(crate) fn answered(&self, code: u16, body: Option<Value>, goes_on: bool) {
        let mut event = self.event.lock();
        if event.response_status.is_none() {
            let in_words = body.as_ref().filter(|body| body["kind"] == "Status" && body["apiVersion"] == "v1");
            event.response_status =
                Some(in_words.map_or_else(|| json!({"metadata": {}, "code": code}), |body| event::told(body, code)));
        }
        if let Some(mut body) = body.filter(|_| self.wants_answer()) {
            if self.verdict.omit_managed_fields {
                event::without_managed_fields(&mut body);
            }
            event.response_object = Some(body);
        }
        drop(event);
        if goes_on {
            self.write(Stage::ResponseStarted, Timestamp::now());
        }
    }

    fn write(&self, stage: Stage, at: Timestamp) {
        let mut event = self.event.lock();
        if self.verdict.omits(stage) || event.level == Level::None {
            return;
        }
        event.stage = stage;
        event.stage_timestamp = event::micro(at);
        self.log.write(&event);
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let stage = if std::thread::panicking() { Stage::Panic } else { Stage::ResponseComplete };
        let event = self.event.get_mut();
        if stage == Stage::Panic {
            event.response_status = Some(json!({"metadata": {}, "status": "Failure", "reason": "InternalError",
                "message": "the server failed at it", "code": 500}));
        } else if event.response_status.is_none() {
            // Nobody waited for the answer.
            event.response_status =
                Some(json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200}));
        }
        self.write(stage, Timestamp::now());
    }
}

/// Where a request comes from: what those before say, then who is there.
fn sources(parts: &Parts, peer: &Peer) -> Vec<String> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let addresses = |text: &str| -> Vec<String> {
        let all = text.split(',').filter_map(|part| part.trim().parse::<std::net::IpAddr>().ok());
        all.map(|address| address.to_string()).collect()
    };
    let mut all = text("x-forwarded-for").map(addresses).unwrap_or_default();
    if all.is_empty() {
        all = text("x-real-ip").map(addresses).unwrap_or_default();
    }
    let here = peer.address.map(|address| address.to_string());
    if let Some(here) = here.filter(|here| all.last() != Some(here)) {
        all.push(here);
    }
    all
}
