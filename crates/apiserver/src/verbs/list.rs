//! Listing a collection: the stored bytes of its objects, one after the other.
//!
//! A list is a walk over a snapshot that the client pulls: pieces are put together as they are sent, so that a large
//! list costs one small buffer and not a second copy of everything. `continue` names a revision and the last key sent;
//! the rest is read from the snapshot of that revision.

mod messages;

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use jiff::Timestamp;
use naru_api::Status;
use naru_api::status::Details;
use naru_store::{Entry, Revision, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::messages::Message;
use super::get::{reached, state};
use super::selection::{Chosen, Selection};
use crate::call::Call;
use crate::kept;
use crate::represent::{self, Form};
use crate::routes::Route;
use crate::state::Core;
use crate::versions;
use crate::wire::negotiate::{Media, Shape};
use crate::wire::payload::Payload;
use crate::wire::respond;

/// Pieces of about this size are handed to the connection.
const PIECE: usize = 64 << 10;

/// Of more objects than these a list is sent while it is read: its first byte does not wait for the last object, and
/// nobody knows its length before.
const WALKED: usize = 2_000;
/// So many objects are read at once then.
const STRIDE: usize = 256;

/// Where a list goes on. Opaque to clients; it can name nothing that its sender could not list.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    /// The revision that is listed; 0: the rest is listed as it is now.
    rv: u64,
    /// The rest of the last key that was sent.
    after: String,
}

/// What a request for a collection wants.
struct Wanted {
    selection: Selection,
    snapshot: Snapshot,
    after: String,
    limit: Option<usize>,
}

/// What a list holds.
pub(crate) struct Page {
    revision: Revision,
    pub(crate) entries: Vec<Arc<Entry>>,
    /// The length of all objects together, as clients see them.
    bytes: usize,
    more: Option<String>,
    remaining: Option<usize>,
}

/// Answers GET of a collection.
///
/// # Errors
/// 400 for options that make no sense, 410 when the revision asked for is gone.
pub(crate) async fn list(call: &Call<'_>) -> Result<Response<Payload>, Status> {
    let form = Form::of(call.accepted, call.query)?;
    let wanted = Wanted::of(call).await?;
    if is_as_kept(call.route, form) && wanted.is_long() {
        return Ok(response(form, wanted.walked(call.route)));
    }
    answer(call, form, wanted.page(call).await?).await
}

/// The objects that a request for a collection names.
///
/// # Errors
/// As [`list`].
pub(crate) async fn page(call: &Call<'_>) -> Result<Page, Status> {
    Wanted::of(call).await?.page(call).await
}

/// Answers with these objects.
///
/// # Errors
/// As [`list`].
pub(crate) async fn answer(call: &Call<'_>, form: Form, page: Page) -> Result<Response<Payload>, Status> {
    let metadata = page.metadata();
    let payload = match (form.media, form.shape) {
        (Media::Protobuf, _) => spoken(call.route, form, page, &metadata).await?,
        (_, Shape::Table) => Payload::from(table(call.route, form, &page)),
        (_, Shape::Partial) => partials(call.route, &page),
        (_, Shape::Whole | Shape::Bare | Shape::Discovery) => whole(call.route, form, page, &metadata),
    };
    if form.media == Media::Yaml {
        return Ok(respond::document(StatusCode::OK, Media::Yaml, whole_body(payload)));
    }
    Ok(response(form, payload))
}

fn response(form: Form, payload: Payload) -> Response<Payload> {
    let mut response = Response::new(payload);
    let kind = http::HeaderValue::from_static(form.media.content_type());
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// From which state, and after which key, to list.
fn start(call: &Call<'_>, newest: Snapshot) -> Result<(Snapshot, String), Status> {
    let version = call.query.get("resourceVersion");
    let exact = match (call.query.get("resourceVersionMatch"), version) {
        (None | Some("NotOlderThan"), _) => false,
        (Some("Exact"), Some(version)) if version != "0" => true,
        (Some("Exact"), _) => {
            return Err(Status::bad_request("resourceVersionMatch Exact needs a resourceVersion other than 0"));
        }
        (Some(other), _) => {
            let text = format!("resourceVersionMatch: expected Exact or NotOlderThan, got {other:?}");
            return Err(Status::bad_request(text));
        }
    };
    if let Some(token) = call.query.get("continue") {
        if version.is_some_and(|v| v != "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let token = Token::parse(token)?;
        if token.rv == 0 {
            return Ok((newest, token.after));
        }
        return match call.core.store.snapshot_at(Revision(token.rv)) {
            Ok(snapshot) => Ok((snapshot, token.after)),
            Err(_) => Err(expired(token.after)),
        };
    }
    let Some(wanted) = call.query.number("resourceVersion")?.map(Revision) else { return Ok((newest, String::new())) };
    reached(wanted, newest.revision())?;
    if exact {
        let snapshot = call
            .core
            .store
            .snapshot_at(wanted)
            .map_err(|e| Status::expired(format!("The resourceVersion for the provided list is too old: {e}")))?;
        return Ok((snapshot, String::new()));
    }
    Ok((newest, String::new()))
}

/// The refusal of a list that cannot go on as it began. It says with what it goes on in the present, for clients to which
/// that is good enough.
fn expired(after: String) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. Start a new list without the \
         continue parameter, or go on with the continue token of this answer: the list is inconsistent then, as objects \
         that were created, changed or deleted after its first part was returned may show up in the rest",
    );
    status.details = Some(Box::new(Details { continue_with: Token { rv: 0, after }.text(), ..Details::default() }));
    status
}

// === impl Token ===

impl Token {
    fn parse(text: &str) -> Result<Token, Status> {
        let token = BASE64.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok());
        token.ok_or_else(|| Status::bad_request("continue key is not valid: take it from the list before, unchanged"))
    }

    fn text(&self) -> String {
        BASE64.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

// === impl Wanted ===

impl Wanted {
    async fn of(call: &Call<'_>) -> Result<Wanted, Status> {
        let selection = Selection::of(call.route, call.namespace(), call.query)?;
        let newest = state(call).await?;
        let limit = call.query.number("limit")?.and_then(|l| usize::try_from(l).ok()).filter(|l| *l > 0);
        let (snapshot, after) = start(call, newest)?;
        Ok(Wanted { selection, snapshot, after, limit })
    }

    async fn page(&self, call: &Call<'_>) -> Result<Page, Status> {
        let Wanted { selection, snapshot, after, limit } = self;
        match &call.route.custom {
            None => Ok(Page::take(selection, snapshot, after, *limit)),
            Some(_) => Page::bring(call.core, selection, snapshot, after, *limit).await,
        }
    }

    /// Whether everything is wanted, and that is much.
    fn is_long(&self) -> bool {
        let Wanted { selection, snapshot, after, limit } = self;
        limit.is_none() && selection.is_everything() && selection.candidates(snapshot, after).nth(WALKED).is_some()
    }

    /// All of it, read as it is sent.
    fn walked(self, route: &Route) -> Payload {
        let Wanted { selection, snapshot, after, .. } = self;
        let frame = frame(route, &json!({ "resourceVersion": snapshot.revision().to_string() }));
        let walk = Walk { selection, snapshot, after, ready: Vec::new().into_iter() };
        pieces(frame, walk.map(Served), None)
    }
}

/// The objects of a snapshot, read some at a time.
struct Walk {
    selection: Selection,
    snapshot: Snapshot,
    /// The rest of the key of the last one that was read.
    after: String,
    ready: std::vec::IntoIter<Arc<Entry>>,
}

impl Iterator for Walk {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        if let Some(entry) = self.ready.next() {
            return Some(entry);
        }
        let Walk { selection, snapshot, after, .. } = &*self;
        let some: Vec<Arc<Entry>> = selection.candidates(snapshot, after).take(STRIDE).cloned().collect();
        let last = selection.prefix.rest(&some.last()?.key)?.to_owned();
        (self.after, self.ready) = (last, some.into_iter());
        self.ready.next()
    }
}

// === impl Page ===

impl Page {
    fn take(selection: &Selection, snapshot: &Snapshot, after: &str, limit: Option<usize>) -> Page {
        let revision = snapshot.revision();
        let mut candidates = selection.candidates(snapshot, after).filter(|e| selection.matches(e)).cloned();
        // Counted in the same walk that takes them: each object is somewhere else in memory.
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in candidates.by_ref().take(limit.unwrap_or(usize::MAX)) {
            bytes += kept::len(&entry.served);
            entries.push(entry);
        }
        let last = entries.last().and_then(|e| selection.prefix.rest(&e.key)).unwrap_or_default();
        let (mut more, mut remaining) = (None, None);
        if limit.is_some() && candidates.next().is_some() {
            more = Some(Token { rv: revision.0, after: last.to_owned() }.text());
            if selection.is_everything() {
                remaining = Some(1 + candidates.count());
            }
        }
        Page { revision, entries, bytes, more, remaining }
    }

    /// As [`Page::take`], of objects that must be brought to the form that is asked for.
    async fn bring(
        core: &Core,
        selection: &Selection,
        snapshot: &Snapshot,
        after: &str,
        limit: Option<usize>,
    ) -> Result<Page, Status> {
        let revision = snapshot.revision();
        let Chosen { entries, left } = selection.chosen(core, snapshot, after, limit.unwrap_or(usize::MAX)).await?;
        let last = entries.last().and_then(|entry| selection.prefix.rest(&entry.key)).unwrap_or_default();
        let more = (left > 0).then(|| Token { rv: revision.0, after: last.to_owned() }.text());
        let remaining = (left > 0 && selection.is_everything()).then_some(left);
        let bytes = entries.iter().map(|entry| kept::len(&entry.served)).sum();
        Ok(Page { revision, entries, bytes, more, remaining })
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({ "resourceVersion": self.revision.to_string() });
        if let Some(token) = &self.more {
            metadata["continue"] = token.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
    }
}

fn table(route: &Route, form: Form, page: &Page) -> Bytes {
    let now = Timestamp::now();
    let rows = page.entries.iter().map(|entry| form.row(route, &form.value(route, &entry.served), now));
    represent::table_head(route, true, page.metadata(), rows.collect()).to_string().into()
}

fn partials(route: &Route, page: &Page) -> Payload {
    let head = "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":";
    let shown = |entry: &Arc<Entry>| represent::partial(&versions::served(route, &kept::shown(&entry.served)));
    let items: Vec<String> = page.entries.iter().map(shown).collect();
    Payload::from(Bytes::from(format!("{head}{},\"items\":[{}]}}", page.metadata(), items.join(","))))
}

fn whole(route: &Route, form: Form, page: Page, metadata: &Value) -> Payload {
    let frame = frame(route, metadata);
    if form.shape != Shape::Bare && versions::is_as_served(route) {
        let left = frame.len(page.entries.len(), page.bytes);
        return pieces(frame, page.entries.into_iter().map(Served), Some(left));
    }
    let items: Vec<Bytes> = page.entries.iter().map(|entry| form.one(route, &entry.served, false)).collect();
    let left = frame.len(items.len(), items.iter().map(Bytes::len).sum());
    pieces(frame, items.into_iter(), Some(left))
}

/// Whether objects are sent as they are kept.
fn is_as_kept(route: &Route, form: Form) -> bool {
    let whole = matches!(form.shape, Shape::Whole | Shape::Discovery);
    form.media == Media::Json && whole && route.custom.is_none() && versions::is_as_served(route)
}

fn frame(route: &Route, metadata: &Value) -> Frame {
    let head = format!("{}{metadata},\"items\":[", route.list_head);
    Frame { head: head.into_bytes(), between: b",", tail: b"]}" }
}

/// A list in protobuf.
async fn spoken(route: &Arc<Route>, form: Form, page: Page, metadata: &Value) -> Result<Payload, Status> {
    let messages = messages::of(route, form, page.entries).await?;
    let (api_version, kind) = form.list_name(&route.kind);
    let lengths = messages.iter().map(Message::len);
    let bytes = lengths.clone().map(naru_protobuf::item_len).sum();
    let head = naru_protobuf::list_head(&api_version, &kind, metadata, lengths).map_err(Status::internal)?;
    let frame = Frame { head, between: b"", tail: naru_protobuf::LIST_TAIL };
    let left = frame.len(0, bytes);
    Ok(pieces(frame, messages.into_iter(), Some(left)))
}

/// What stands around the items of a list, and between them.
struct Frame {
    head: Vec<u8>,
    between: &'static [u8],
    tail: &'static [u8],
}

impl Frame {
    /// The length of a list of so many items, which are `bytes` long together.
    fn len(&self, items: usize, bytes: usize) -> usize {
        self.head.len() + bytes + self.between.len() * items.saturating_sub(1) + self.tail.len()
    }
}

/// Something that is sent in a list.
trait Item {
    fn put(&self, piece: &mut BytesMut);
}

impl Item for Bytes {
    fn put(&self, piece: &mut BytesMut) {
        piece.put_slice(self);
    }
}

/// An object of the store as clients see it.
struct Served(Arc<Entry>);

impl Item for Served {
    fn put(&self, piece: &mut BytesMut) {
        kept::write(&self.0.served, &mut |part: &[u8]| piece.put_slice(part));
    }
}

/// Items in their frame, in pieces made as they are asked for; `left`: how long that is, where it is known.
fn pieces<I>(frame: Frame, mut items: I, left: Option<usize>) -> Payload
where
    I: Iterator<Item: Item> + Send + 'static,
{
    let Frame { head, between, tail } = frame;
    let most = left.unwrap_or(PIECE);
    let (mut head, mut first, mut done) = (Some(head), true, false);
    let pieces = std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut piece = BytesMut::with_capacity(PIECE.min(most) + 1024);
        if let Some(head) = head.take() {
            piece.put_slice(&head);
        }
        while piece.len() < PIECE {
            let Some(item) = items.next() else {
                piece.put_slice(tail);
                done = true;
                break;
            };
            if !std::mem::take(&mut first) {
                piece.put_slice(between);
            }
            item.put(&mut piece);
        }
        Some(piece.freeze())
    });
    Payload::Pieces { pieces: Box::new(pieces), left: left.map(|left| left as u64) }
}

fn whole_body(payload: Payload) -> Bytes {
    match payload {
        Payload::Pieces { pieces, .. } => {
            let mut body = BytesMut::new();
            pieces.for_each(|piece| body.put_slice(&piece));
            body.freeze()
        }
        other => other.as_full().cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(head: &[u8]) -> Frame {
        Frame { head: head.to_vec(), between: b",", tail: b"]}" }
    }

    fn joined(items: &[&'static str]) -> (String, u64) {
        let items: Vec<Bytes> = items.iter().map(|i| Bytes::from_static(i.as_bytes())).collect();
        let frame = frame(b"{\"items\":[");
        let length = frame.len(items.len(), items.iter().map(Bytes::len).sum());
        let payload = pieces(frame, items.into_iter(), Some(length));
        let Payload::Pieces { left: Some(left), .. } = &payload else { panic!("not in pieces") };
        let left = *left;
        (String::from_utf8(whole_body(payload).to_vec()).expect("text"), left)
    }

    #[test]
    fn a_list_is_its_items_with_commas_and_of_the_announced_length() {
        for (items, expected) in [
            (&[][..], "{\"items\":[]}"),
            (&["1"][..], "{\"items\":[1]}"),
            (&["1", "2", "3"][..], "{\"items\":[1,2,3]}"),
        ] {
            let (text, length) = joined(items);
            assert_eq!(text, expected);
            assert_eq!(length, text.len() as u64);
        }
    }

    #[test]
    fn a_large_list_comes_in_pieces() {
        let item = Bytes::from(vec![b'1'; 10_000]);
        let frame = frame(b"");
        let length = frame.len(50, 500_000);
        let payload = pieces(frame, vec![item; 50].into_iter(), Some(length));
        let Payload::Pieces { pieces, left: Some(left) } = payload else { panic!("not in pieces") };
        let lengths: Vec<usize> = pieces.map(|p| p.len()).collect();
        assert!(lengths.len() > 5 && lengths.iter().all(|l| *l < 2 * PIECE), "{lengths:?}");
        assert_eq!(lengths.iter().sum::<usize>() as u64, left);
    }

    #[test]
    fn tokens_go_there_and_back() {
        let token = Token { rv: 7, after: "shop/web".to_owned() };
        assert_eq!(Token::parse(&token.text()).expect("a token"), token);
        Token::parse("nonsense").expect_err("no token");
    }
}
