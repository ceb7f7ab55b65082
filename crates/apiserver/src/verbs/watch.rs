//! Watching a collection: a stream of frames, pulled by the connection.
//!
//! Nothing is buffered for a watcher: it reads from the store's history as fast as its connection takes bytes, and one
//! that falls out of the history is told to list again. A frame is encoded once, whatever the number of watchers.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use http::{HeaderValue, Response};
use naru_api::{Status, meta};
use naru_client::BoxError;
use naru_protobuf::Unwritable;
use naru_store::{Change, Compacted, Entry, Revision, Watch, WatchEnd};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, Sleep, interval_at, sleep_until};

use super::get::{reached, state};
use super::selection::Selection;
use crate::call::Call;
use crate::encode::restamp;
use crate::extension::{self, convert};
use crate::represent::Form;
use crate::state::Core;
use crate::versions;
use crate::wire::negotiate::{Media, Shape};
use crate::wire::payload::Payload;

/// How often a watcher that wants bookmarks learns how far it is.
const BOOKMARKS: Duration = Duration::from_secs(30);
/// How long a watch lasts when the client does not say, spread so that all clients do not come back at once.
const LASTS: std::ops::Range<u64> = 1800..3600;
/// Frames are sent together up to this size.
const PIECE: usize = 64 << 10;
/// The event of a watch that cannot go on.
const ERROR: &str = "ERROR";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Added,
    Modified,
    Deleted,
}

/// How a watch begins.
struct Beginning {
    /// Objects that are there already, shown as added.
    objects: Vec<Arc<Entry>>,
    after: Revision,
    /// Whether the end of those objects is marked by a bookmark.
    mark: bool,
}

/// A running watch.
struct Watching {
    core: Arc<Core>,
    selection: Selection,
    form: Form,
    watch: Watch,
    /// Whether the columns of a table were already said.
    columns: bool,
    bookmarks: bool,
    initial: VecDeque<Arc<Entry>>,
    mark: Option<Revision>,
    ends: Pin<Box<Sleep>>,
    tick: tokio::time::Interval,
    over: bool,
}

/// Answers a watch.
///
/// # Errors
/// 410 when the revision to start after is gone, 400 for options that make no sense.
pub(crate) async fn watch(call: &Call<'_>) -> Result<Response<Payload>, Status> {
    let selection = match call.name() {
        "" => Selection::of(call.route, call.namespace(), call.query)?,
        // The old form of path may name one object.
        name => {
            let labels = call.query.get("labelSelector").unwrap_or_default();
            Selection::new(call.route, call.namespace(), labels, &format!("metadata.name={name}"))?
        }
    };
    let form = Form::of(call.accepted, call.query)?;
    let beginning = begin(call, &selection).await?;
    let watch = call.core.store.watch(selection.scope(), beginning.after).map_err(too_old)?;
    let seconds = call.query.number("timeoutSeconds")?.filter(|s| *s > 0);
    let seconds = seconds.unwrap_or_else(|| rand::rng().random_range(LASTS));
    let now = Instant::now();
    let mut tick = interval_at(now + BOOKMARKS, BOOKMARKS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watching = Watching {
        core: call.core.clone(),
        selection,
        form,
        watch,
        columns: true,
        bookmarks: call.query.flag("allowWatchBookmarks")?,
        initial: beginning.objects.into(),
        mark: beginning.mark.then_some(beginning.after),
        ends: Box::pin(sleep_until(now + Duration::from_secs(seconds.min(86_400)))),
        tick,
        over: false,
    };
    watching.core.metrics.watches.add(1);
    watching.selection.route.meters.watches.add(1);
    let frames = stream::unfold(watching, |mut watching| async move {
        watching.next().await.map(|frame| (Ok::<_, BoxError>(frame), watching))
    });
    let mut response = Response::new(Payload::Stream(frames.boxed()));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(form.media.stream_type()));
    response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// Where the watch begins: after a revision, or with everything that is there.
async fn begin(call: &Call<'_>, selection: &Selection) -> Result<Beginning, Status> {
    let initial = call.query.get("sendInitialEvents").is_some() && call.query.flag("sendInitialEvents")?;
    if initial && call.query.get("resourceVersionMatch") != Some("NotOlderThan") {
        return Err(Status::bad_request("sendInitialEvents needs resourceVersionMatch=NotOlderThan"));
    }
    let newest = state(call).await?;
    let version = call.query.number("resourceVersion")?.unwrap_or(0);
    reached(Revision(version), newest.revision())?;
    if version > 0 && !initial {
        return Ok(Beginning { objects: vec![], after: Revision(version), mark: false });
    }
    let none = call.query.get("sendInitialEvents").is_some() && !initial;
    let objects = if none { Vec::new() } else { selection.chosen(call.core, &newest, "", usize::MAX).await?.entries };
    Ok(Beginning { objects, after: newest.revision(), mark: initial && call.query.flag("allowWatchBookmarks")? })
}

fn too_old(error: Compacted) -> Status {
    Status::expired(format!("too old resource version: {} ({})", error.requested, error.oldest))
}

/// A change as a watcher is to see it: states as they lie in the store, or as they were brought to the version watched.
struct Seen<'c> {
    change: &'c Change,
    before: Option<Cow<'c, Arc<Entry>>>,
    after: Option<Cow<'c, Arc<Entry>>>,
}

/// Changes as a watcher sees them. What lies in the store in another version than the one that is watched is brought to
/// it, but for states that are neither shown nor looked at.
///
/// # Errors
/// When they cannot be converted.
async fn seen<'c>(
    core: &Arc<Core>,
    selection: &Selection,
    changes: &'c [Arc<Change>],
) -> Result<Vec<Seen<'c>>, Status> {
    let own = |change: &'c Arc<Change>| Seen {
        change,
        before: change.before.as_ref().map(Cow::Borrowed),
        after: change.after.as_ref().map(Cow::Borrowed),
    };
    let mut seen: Vec<Seen<'c>> = changes.iter().map(own).collect();
    if selection.route.custom.is_none() {
        return Ok(seen);
    }
    let looks = selection.judges_contents();
    if !looks {
        seen.retain(|seen| seen.event(selection).is_some());
    }
    let mut wanted: Vec<&mut Cow<'c, Arc<Entry>>> = Vec::new();
    for Seen { before, after, .. } in &mut seen {
        let shown = looks || after.is_none();
        wanted.extend(before.as_mut().filter(|_| shown));
        wanted.extend(after.as_mut());
    }
    let there = wanted.iter().map(|state| (***state).clone()).collect();
    for (state, brought) in wanted.into_iter().zip(convert::bring_shared(core, &selection.route, there).await?) {
        if !Arc::ptr_eq(state, &brought) {
            *state = Cow::Owned(brought);
        }
    }
    Ok(seen)
}

// === impl Seen ===

impl Seen<'_> {
    /// What the change means for a watcher, and in which state the object is shown.
    fn event(&self, selection: &Selection) -> Option<(Event, bool)> {
        let matched = |entry: &Option<Cow<'_, Arc<Entry>>>| entry.as_ref().is_some_and(|e| selection.matches(e));
        match (matched(&self.before), matched(&self.after)) {
            (false, false) => None,
            (false, true) => Some((Event::Added, true)),
            (true, true) => Some((Event::Modified, true)),
            // Gone, or no longer meant: then the object may still be there, but not for this watcher.
            (true, false) => Some((Event::Deleted, self.after.is_none())),
        }
    }

    /// Whether the object lies in the store as it is shown: then all watchers of that form see the same bytes.
    fn is_stored_so(&self) -> bool {
        matches!(self.after.as_ref().or(self.before.as_ref()), Some(Cow::Borrowed(_)))
    }

    /// The object that is shown. What is gone, or no longer meant, carries the revision of the change.
    fn object(&self, shared: bool) -> Bytes {
        match (&self.after, &self.before) {
            (Some(after), _) if shared => after.served.clone(),
            (_, Some(Cow::Borrowed(_))) if shared => {
                self.change.object().map(|entry| entry.served.clone()).unwrap_or_default()
            }
            (_, Some(before)) => restamp(&before.served, self.change.revision),
            _ => Bytes::new(),
        }
    }
}

// === impl Watching ===

impl Watching {
    /// The next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            if !self.initial.is_empty() {
                return Some(self.next_initial());
            }
            if let Some(revision) = self.mark.take() {
                return Some(self.bookmark(revision, true));
            }
            tokio::select! {
                biased;
                batch = self.watch.next() => match batch {
                    Ok(batch) => match self.frames(&batch.changes).await {
                        Ok(frames) if frames.is_empty() => {}
                        Ok(frames) => return Some(frames),
                        // What cannot be shown cannot be left out either.
                        Err(status) => {
                            self.over = true;
                            return Some(error(self.form, &status));
                        }
                    },
                    Err(WatchEnd::Lagged) => {
                        self.over = true;
                        let why = "too old resource version: the watch fell behind; list again";
                        return Some(error(self.form, &Status::expired(why)));
                    }
                    Err(WatchEnd::Closed) => self.over = true,
                },
                // What it shows is no longer so, or no longer there: clients begin anew.
                () = extension::ended(&self.selection.route) => self.over = true,
                () = self.ends.as_mut() => {
                    self.over = true;
                    let progress = self.watch.progress().filter(|_| self.bookmarks)?;
                    return Some(self.bookmark(progress, false));
                }
                _ = self.tick.tick(), if self.bookmarks => {
                    if let Some(progress) = self.watch.progress() {
                        return Some(self.bookmark(progress, false));
                    }
                }
            }
        }
    }

    fn next_initial(&mut self) -> Bytes {
        let mut piece = BytesMut::new();
        while let Some(entry) = self.initial.pop_front() {
            let columns = std::mem::take(&mut self.columns);
            piece.put_slice(&self.frame(Event::Added, &entry.served, columns));
            if piece.len() >= PIECE {
                break;
            }
        }
        piece.freeze()
    }

    async fn frames(&mut self, changes: &[Arc<Change>]) -> Result<Bytes, Status> {
        let mut first = Bytes::new();
        let mut together = BytesMut::new();
        for seen in seen(&self.core, &self.selection, changes).await? {
            let Some((event, shared)) = seen.event(&self.selection) else { continue };
            let frame = self.change(event, shared, &seen);
            // A single frame is sent as the shared bytes it is.
            if first.is_empty() && together.is_empty() {
                first = frame;
                continue;
            }
            together.put_slice(&std::mem::take(&mut first));
            together.put_slice(&frame);
        }
        Ok(if together.is_empty() { first } else { together.freeze() })
    }

    fn change(&mut self, event: Event, shared: bool, seen: &Seen<'_>) -> Bytes {
        let columns = std::mem::take(&mut self.columns);
        let object = seen.object(shared);
        let once = shared && seen.is_stored_so() && !(columns && self.form.shape == Shape::Table);
        match self.slot(event).filter(|_| once) {
            Some(slot) => seen.change.frames.get_or_encode(slot, || self.frame(event, &object, false)),
            None => self.frame(event, &object, columns),
        }
    }

    /// Where frames of this form are remembered, of what lies in the store as it is shown. Tables hold ages, which differ
    /// little; forms that few ask for are not.
    fn slot(&self, event: Event) -> Option<usize> {
        if !versions::is_as_served(&self.selection.route) {
            return None;
        }
        let form = match (self.form.media, self.form.shape) {
            (Media::Protobuf, Shape::Whole | Shape::Discovery) => 9,
            (Media::Protobuf, Shape::Partial) => 12,
            (Media::Protobuf, _) | (_, Shape::Table) => return None,
            (_, Shape::Whole | Shape::Discovery) => 0,
            (_, Shape::Partial) => 3,
            (_, Shape::Bare) => 6,
        };
        Some(form + event as usize)
    }

    fn frame(&self, event: Event, served: &Bytes, columns: bool) -> Bytes {
        let route = &self.selection.route;
        if self.form.media == Media::Protobuf {
            return spoken(event.name(), self.form.protobuf(route, served));
        }
        frame(event.name(), &self.form.one(route, served, columns))
    }

    fn bookmark(&self, revision: Revision, initial: bool) -> Bytes {
        let (api_version, kind) = self.form.name(&self.selection.route.kind);
        let mut object = json!({ "kind": kind, "apiVersion": api_version,
            "metadata": { "resourceVersion": revision.to_string(), "creationTimestamp": null } });
        if initial {
            meta::set_annotation(&mut object, "k8s.io/initial-events-end", "true");
        }
        if self.form.shape == Shape::Table {
            object["columnDefinitions"] = json!([]);
            object["rows"] = json!([]);
        }
        encoded(self.form, "BOOKMARK", &object)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.core.metrics.watches.add(-1);
        self.selection.route.meters.watches.add(-1);
    }
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Event::Added => "ADDED",
            Event::Modified => "MODIFIED",
            Event::Deleted => "DELETED",
        }
    }
}

fn frame(event: &str, object: &[u8]) -> Bytes {
    [b"{\"type\":\"", event.as_bytes(), b"\",\"object\":", object, b"}\n"].concat().into()
}

/// A frame in protobuf, of a document if there is one.
fn spoken(event: &str, document: Result<Bytes, Unwritable>) -> Bytes {
    let refused = |why: Unwritable| {
        tracing::warn!(%why, "a change cannot be told in protobuf");
        let status = naru_protobuf::encode(&Status::internal(why).to_json()).unwrap_or_default();
        naru_protobuf::watch_frame(ERROR, &status)
    };
    document.map_or_else(refused, |document| naru_protobuf::watch_frame(event, &document))
}

fn encoded(form: Form, event: &str, object: &Value) -> Bytes {
    match form.media {
        Media::Protobuf => spoken(event, naru_protobuf::encode(object)),
        Media::Json | Media::Yaml => frame(event, object.to_string().as_bytes()),
    }
}

fn error(form: Form, status: &Status) -> Bytes {
    encoded(form, ERROR, &status.to_json())
}
