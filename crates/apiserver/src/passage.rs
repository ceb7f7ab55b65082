//! One request from its beginning to its end, for those who only watch: the counters, and the audit log where there is one.
//!
//! It is filled in as the request goes its way, so that the way itself says nothing twice: whoever finds out something
//! tells the passage in one line. What costs (times, identifiers, bodies) is only done when somebody wants it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use naru_api::{Format, Status, decode};
use naru_client::Body;
use parking_lot::Mutex;
use serde_json::Value;

use crate::admission::notes::Notes;
use crate::audit::{Begun, Trail};
use crate::authentication::Peer;
use crate::authorization::Attributes;
use crate::metrics::{Gauge, Labels, Scope};
use crate::routes::Route;
use crate::state::Core;
use crate::user::User;
use crate::wire::body::RequestBody;
use crate::wire::negotiate::{Accepted, Media, request_media};
use crate::wire::path::{ResourcePath, Verb};
use crate::wire::payload::Payload;
use crate::wire::protobuf;
use crate::wire::respond;

/// The header by which a request goes in the audit logs of all servers that it meets.
const AUDIT: HeaderName = HeaderName::from_static("audit-id");
/// Its longest value.
const ID: usize = 64;

/// What is known of a request.
pub(crate) struct Passage {
    core: Arc<Core>,
    started: Instant,
    /// When it came in, where somebody wants to know.
    received: Option<Timestamp>,
    id: OnceLock<String>,
    /// In what a refusal is told.
    refusals: Media,
    trail: OnceLock<Arc<Trail>>,
    /// What it is about, once that is known.
    route: OnceLock<Arc<Route>>,
    labels: OnceLock<Labels>,
    body: Arc<Mutex<Vec<Bytes>>>,
}

/// Keeps a request from being over.
pub(crate) struct Held(#[expect(dead_code, reason = "it is there to be dropped")] Option<Arc<Trail>>);

// === impl Passage ===

impl Passage {
    pub(crate) fn new(core: &Arc<Core>, parts: &Parts) -> Passage {
        let received = core.audit.get().map(|_| Timestamp::now());
        let passage = Passage {
            core: core.clone(),
            started: Instant::now(),
            received,
            id: OnceLock::new(),
            refusals: Accepted::of_refusal(&parts.headers),
            trail: OnceLock::new(),
            route: OnceLock::new(),
            labels: OnceLock::new(),
            body: Arc::default(),
        };
        let given = parts.headers.get(AUDIT).and_then(|value| value.to_str().ok());
        if let Some(given) = given.filter(|id| !id.is_empty() && id.len() <= ID) {
            let _ = passage.id.set(given.to_owned());
        }
        passage
    }

    /// The request's name in audit logs.
    pub(crate) fn id(&self) -> &str {
        self.id.get_or_init(|| uuid::Uuid::new_v4().to_string())
    }

    /// Keeps the request from being over for as long as the value lives.
    pub(crate) fn hold(&self) -> Held {
        Held(self.trail.get().cloned())
    }

    /// Who sends it, as they proved, and what they ask for.
    pub(crate) fn begin(&self, peer: &Peer, parts: &Parts, user: &User, asked: &Attributes<'_>, version: &str) {
        let (Some(log), Some(received)) = (self.core.audit.get(), self.received) else { return };
        let begun = Begun { id: self.id(), received, user, asked, version, parts, peer };
        if let Some(trail) = Trail::begin(log, &begun) {
            let _ = self.trail.set(trail);
        }
    }

    /// They could not prove who they are.
    pub(crate) fn turned_away(&self, peer: &Peer, parts: &Parts, asked: &Attributes<'_>, version: &str, why: &Status) {
        let (Some(log), Some(received)) = (self.core.audit.get(), self.received) else { return };
        let user = User::default();
        let begun = Begun { id: self.id(), received, user: &user, asked, version, parts, peer };
        Trail::turned_away(log, &begun, why);
    }

    /// As whom they act.
    pub(crate) fn acts_as(&self, prover: &Arc<User>, user: &Arc<User>) {
        if let Some(trail) = self.trail.get().filter(|_| !Arc::ptr_eq(prover, user)) {
            trail.impersonates(user);
        }
    }

    /// Whether they may. The reason is only asked for when it is written down.
    pub(crate) fn judged(&self, allowed: bool, reason: impl FnOnce() -> String) {
        if let Some(trail) = self.trail.get() {
            let decision = if allowed { "allow" } else { "forbid" };
            trail.annotate("authorization.k8s.io/decision", decision.to_owned());
            trail.annotate("authorization.k8s.io/reason", reason());
        }
    }

    /// What it is about.
    pub(crate) fn found(&self, route: &Arc<Route>, path: &ResourcePath<'_>, verb: Verb, parts: &Parts) {
        let _ = self.route.set(route.clone());
        let scope = match (&path.name, &path.namespace) {
            _ if verb == Verb::Create => Scope::Resource,
            (Some(_), _) => Scope::Resource,
            (None, Some(_)) => Scope::Namespace,
            (None, None) => Scope::Cluster,
        };
        let applies = verb == Verb::Patch
            && parts.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/apply"));
        let dry_run = parts.uri.query().is_some_and(|query| query.contains("dryRun=All"));
        let _ = self.labels.set(Labels::new(verb, applies, path.subresource.as_deref(), scope, dry_run));
    }

    /// The request's body, listened to where it is written down. Not for bodies that are passed on: they have no end.
    pub(crate) fn listen(&self, body: RequestBody) -> RequestBody {
        if self.trail.get().is_none() {
            return body;
        }
        let heard = self.body.clone();
        let body = body.into_body().map_frame(move |frame| {
            if let Some(data) = frame.data_ref() {
                heard.lock().push(data.clone());
            }
            frame
        });
        RequestBody::Process(body.boxed_unsync())
    }

    /// What admission had to say.
    pub(crate) fn noted(&self, notes: &Notes) {
        if let Some(trail) = self.trail.get() {
            for (key, value) in notes.annotations() {
                trail.annotate(&key, value);
            }
        }
    }

    /// The answer to a request that is refused.
    pub(crate) fn refused(&self, status: &Status) -> Response<Payload> {
        if let Some(trail) = self.trail.get() {
            trail.refused(status);
        }
        respond::refusal(status, self.refusals)
    }

    /// What is answered, before it is sent.
    pub(crate) fn answered(&self, parts: &Parts, response: &mut Response<Payload>) {
        if self.received.is_some()
            && let Ok(id) = HeaderValue::from_str(self.id())
        {
            response.headers_mut().insert(AUDIT, id);
        }
        let Some(trail) = self.trail.get() else { return };
        if let Some((body, is_object)) = self.sent(&parts.headers) {
            trail.sent(body, is_object);
        }
        let streams = matches!(response.body(), Payload::Stream(_) | Payload::Boxed(_));
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if streams || switched {
            // What another server answers is a stream here, and may be as short as any.
            let watches = parts.uri.query().is_some_and(|query| query.contains("watch="));
            let goes_on = switched || self.route.get().is_some() || watches;
            trail.answered(response.status().as_u16(), None, goes_on);
            // Of a switched connection, whoever copies its bytes holds it.
            if streams {
                let body = std::mem::replace(response.body_mut(), Payload::empty());
                *response.body_mut() = Payload::Boxed(until_end(body, self.hold()));
            }
            return;
        }
        let body = if trail.wants_answer() { whole(response) } else { in_words(response) };
        trail.answered(response.status().as_u16(), body, false);
    }

    /// The request's end, for the counters.
    pub(crate) fn over(&self, code: StatusCode) {
        let took = self.started.elapsed();
        match (self.route.get(), self.labels.get()) {
            (Some(route), Some(labels)) => route.meters.series(labels).answered(code, took),
            _ => self.core.metrics.plain.answered(code, took),
        }
    }

    /// The gauge of requests that are worked on, of those that change something or those that do not.
    pub(crate) fn inflight(&self, verb: Verb) -> &Gauge {
        let reads = matches!(verb, Verb::Get | Verb::List | Verb::Watch);
        if reads { &self.core.metrics.reading } else { &self.core.metrics.writing }
    }

    /// What was sent, and whether it is what the request is about.
    fn sent(&self, headers: &HeaderMap) -> Option<(Value, bool)> {
        let pieces = std::mem::take(&mut *self.body.lock());
        if pieces.is_empty() {
            return None;
        }
        let body: Bytes = if let [one] = pieces.as_slice() { one.clone() } else { pieces.concat().into() };
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if kind.starts_with(b"application/apply-patch") {
            return Some((decode::untyped(&body, Format::Yaml).ok()?, true));
        }
        if kind.windows(6).any(|word| word == b"-patch") {
            return Some((decode::untyped(&body, Format::Json).ok()?, false));
        }
        let object = match request_media(headers).ok()? {
            Media::Json => decode::untyped(&body, Format::Json),
            Media::Yaml => decode::untyped(&body, Format::Yaml),
            Media::Protobuf => protobuf::decode(self.route.get().map(|route| &*route.kind), &body),
        };
        Some((object.ok()?, true))
    }
}

/// A body with which a request ends.
fn until_end(body: Payload, held: Held) -> Body {
    // Let go with the body, whether or not anybody wants the rest of it.
    let body = body.map_frame(move |frame| {
        let _held = &held;
        frame
    });
    body.boxed_unsync()
}

/// The whole body, as a value. What is made piece by piece is made at once.
fn whole(response: &mut Response<Payload>) -> Option<Value> {
    if let Payload::Pieces { .. } = response.body()
        && let Payload::Pieces { pieces, .. } = std::mem::replace(response.body_mut(), Payload::empty())
    {
        let all: Vec<Bytes> = pieces.collect();
        *response.body_mut() = Payload::from(Bytes::from(all.concat()));
    }
    parse(response)
}

/// A body that is a `Status`: short, and known by its first words.
fn in_words(response: &Response<Payload>) -> Option<Value> {
    const LOOK: usize = 256;
    let body = response.body().as_full()?;
    let head = &body[..body.len().min(LOOK)];
    // In YAML and protobuf, its name alone.
    let is_status = memchr::memmem::find(head, b"Status").is_some();
    if is_status { parse(response).filter(|value| value["kind"] == "Status") } else { None }
}

fn parse(response: &Response<Payload>) -> Option<Value> {
    let body = response.body().as_full()?;
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let known = [Media::Json, Media::Yaml, Media::Protobuf];
    let media = known.into_iter().find(|media| kind.starts_with(media.content_type().as_bytes()))?;
    let document = match media {
        Media::Json => decode::untyped(body, Format::Json),
        Media::Yaml => decode::untyped(body, Format::Yaml),
        Media::Protobuf => protobuf::decode(None, body),
    };
    document.ok()
}
