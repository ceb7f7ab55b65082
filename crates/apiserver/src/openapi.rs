//! OpenAPI documents: made on first demand, since most servers are never asked for most of them, kept only compressed,
//! which is the form in which almost every client takes them, and named by the hash of what they are made from, so that
//! clients fetch each only once and no document has to be made to name it. Go clients ask for version 2 in protobuf and
//! take nothing else.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use naru_api::{Registry, Status, openapi};
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};

use crate::aggregate::{self, Foreign};
use crate::state::Core;
use crate::wire::negotiate::{Accepted, Media, Offer};
use crate::wire::payload::Payload;
use crate::wire::query::Query;
use crate::wire::respond;

/// The protobuf form of version 2 as clients ask for it, and the name that they get: `@` may not stand in a media type,
/// but it was asked for so long before that was noticed.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// Where the protobuf form is kept among the documents.
const V2_PROTOBUF: &str = "v2.pb";
/// What stands between the name of a document and that of what others say in it.
const OTHERS: char = '+';

/// Documents that were asked for, compressed, by path.
#[derive(Default)]
pub(crate) struct Documents(Mutex<HashMap<String, Bytes>>);

// === impl Documents ===

impl Documents {
    /// Two clients that are the first at the same time wait for one making, rather than hold two documents in memory.
    pub(crate) fn get(&self, path: &str, make: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        let mut known = self.0.lock();
        if let Some(zipped) = known.get(path) {
            return Some(zipped.clone());
        }
        let zipped = respond::gzip(std::iter::once(make()?))?;
        // Of those in which others have a say, the newest alone: they change without anything changing here.
        if let Some((of, _)) = path.split_once(OTHERS) {
            known.retain(|path, _| path.split_once(OTHERS).is_none_or(|(kept, _)| kept != of));
        }
        known.insert(path.to_owned(), zipped.clone());
        Some(zipped)
    }

    /// Those about one of these groups and versions alone.
    pub(crate) fn about(&self, groups: &BTreeSet<(String, String)>) -> Documents {
        let mut kept = self.0.lock().clone();
        kept.retain(|path, _| {
            group_version(path).is_some_and(|(group, version)| groups.contains(&(group.to_owned(), version.to_owned())))
        });
        Documents(Mutex::new(kept))
    }
}

/// Answers a path below `/openapi`.
///
/// # Errors
/// 404 for documents that do not exist, 406 for clients that take none of their forms.
pub(crate) fn serve(
    core: &Core,
    path: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Response<Payload>, Status> {
    let of = path.trim_start_matches("/openapi").trim_matches('/');
    let serving = core.serving();
    if of == "v3" {
        let mut index = openapi::v3_index(&serving.registry);
        aggregate::index(core, &serving, &mut index);
        return Ok(respond::value(StatusCode::OK, Media::Json, &index));
    }
    let protobuf = of == "v2" && prefers_protobuf(headers);
    if !protobuf {
        Accepted::of(headers, Offer::DOCUMENTS)?;
    }
    let foreign = if of == "v2" { aggregate::foreign(core, &serving) } else { Foreign::default() };
    let mut hash = hash(&serving.registry, of).ok_or_else(Status::no_such_path)?;
    if !foreign.is_empty() {
        hash = foreign.hash(&hash);
    }
    // Two forms of one document are two entities.
    let etag = if protobuf { format!("\"{hash}-pb\"") } else { format!("\"{hash}\"") };
    let of = if protobuf { V2_PROTOBUF } else { of };
    if headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes()) {
        let mut response = Response::new(Payload::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let document = || document(&serving.registry, of, &foreign);
    let kept = if foreign.is_empty() { Cow::Borrowed(of) } else { Cow::Owned(format!("{of}{OTHERS}{hash}")) };
    let zipped = serving.documents.get(&kept, document).ok_or_else(Status::no_such_path)?;
    let form = HeaderValue::from_static(if protobuf { PROTOBUF } else { "application/json" });
    let mut response = if respond::accepts_gzip(headers) {
        let mut response = respond::typed(StatusCode::OK, form, zipped);
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        let mut plain = Vec::new();
        GzDecoder::new(&zipped[..]).read_to_end(&mut plain).map_err(Status::internal)?;
        respond::typed(StatusCode::OK, form, plain.into())
    };
    let head = response.headers_mut();
    head.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        head.insert(ETAG, etag);
    }
    if query.get("hash") == Some(&hash) {
        // Named by its content, it never changes.
        head.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        head.insert(EXPIRES, HeaderValue::from_static("Fri, 31 Dec 2100 00:00:00 GMT"));
    }
    Ok(response)
}

/// Whether the first form in `Accept` that can be served is protobuf.
fn prefers_protobuf(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let mut essences = values.flat_map(|v| v.split(',')).map(|v| v.split(';').next().unwrap_or_default().trim());
    let known = |e: &&str| matches!(*e, PROTOBUF | PROTOBUF_ASKED | "application/json" | "application/*" | "*/*");
    essences.find(known).is_some_and(|e| matches!(e, PROTOBUF | PROTOBUF_ASKED))
}

/// Group and version of a document's path.
fn group_version(of: &str) -> Option<(&str, &str)> {
    match of.strip_prefix("v3/")?.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", *version)),
        ["apis", group, version] => Some((*group, *version)),
        _ => None,
    }
}

fn document(registry: &Registry, of: &str, foreign: &Foreign) -> Option<Bytes> {
    match of {
        "v2" => return Some(openapi::v2(registry, &foreign.parts())),
        V2_PROTOBUF => return Some(openapi::v2_protobuf(registry, &foreign.parts())),
        _ => {}
    }
    let (group, version) = group_version(of)?;
    openapi::v3(registry, group, version)
}

/// The name of a document's content; `None` where there is no document.
fn hash(registry: &Registry, of: &str) -> Option<String> {
    if of == "v2" {
        let mut whole = Context::new(&SHA256);
        for (group, version) in registry.group_versions() {
            whole.update(openapi::hash(registry, &group, &version).as_bytes());
        }
        let mut name = String::new();
        whole.finish().as_ref().iter().try_for_each(|b| write!(name, "{b:02X}")).ok()?;
        return Some(name);
    }
    let (group, version) = group_version(of)?;
    let served = registry.group_versions().iter().any(|(g, v)| **g == *group && **v == *version);
    served.then(|| openapi::hash(registry, group, version))
}
