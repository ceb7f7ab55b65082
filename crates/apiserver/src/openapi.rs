//! OpenAPI documents: made on first demand, since most servers are never asked for most of them, kept only compressed,
//! which is the form in which almost every client takes them, and named by the hash of what they are made from, so that
//! clients fetch each only once and no document has to be made to name it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use naru_api::{Status, openapi};
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};

use crate::state::Core;
use crate::wire::negotiate::{Accepted, Media};
use crate::wire::payload::Payload;
use crate::wire::query::Query;
use crate::wire::respond;

/// Documents that were asked for, compressed, by path.
#[derive(Default)]
pub(crate) struct Documents(Mutex<HashMap<String, Bytes>>);

// === impl Documents ===

impl Documents {
    /// Two clients that are the first at the same time wait for one making, rather than hold two documents in memory.
    fn get(&self, path: &str, make: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        let mut known = self.0.lock();
        if let Some(zipped) = known.get(path) {
            return Some(zipped.clone());
        }
        let zipped = respond::gzip(std::iter::once(make()?))?;
        known.insert(path.to_owned(), zipped.clone());
        Some(zipped)
    }
}

/// Answers a path below `/openapi`.
///
/// # Errors
/// 404 for documents that do not exist, 406 for protobuf only.
pub(crate) fn serve(
    core: &Core,
    path: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Response<Payload>, Status> {
    let of = path.trim_start_matches("/openapi").trim_matches('/');
    if of == "v3" {
        return Ok(respond::value(StatusCode::OK, Media::Json, &openapi::v3_index(&core.registry)));
    }
    Accepted::of(headers)?;
    let hash = hash(core, of).ok_or_else(Status::no_such_path)?;
    let etag = format!("\"{hash}\"");
    if headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes()) {
        let mut response = Response::new(Payload::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let zipped = core.documents.get(of, || document(core, of)).ok_or_else(Status::no_such_path)?;
    let mut response = if respond::accepts_gzip(headers) {
        let mut response = respond::json(StatusCode::OK, zipped);
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        let mut plain = Vec::new();
        GzDecoder::new(&zipped[..]).read_to_end(&mut plain).map_err(Status::internal)?;
        respond::json(StatusCode::OK, plain)
    };
    let head = response.headers_mut();
    head.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
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

/// Group and version of a document's path.
fn group_version(of: &str) -> Option<(&str, &str)> {
    match of.strip_prefix("v3/")?.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", *version)),
        ["apis", group, version] => Some((*group, *version)),
        _ => None,
    }
}

fn document(core: &Core, of: &str) -> Option<Bytes> {
    if of == "v2" {
        return Some(openapi::v2(&core.registry));
    }
    let (group, version) = group_version(of)?;
    openapi::v3(&core.registry, group, version)
}

/// The name of a document's content; `None` where there is no document.
fn hash(core: &Core, of: &str) -> Option<String> {
    if of == "v2" {
        let mut whole = Context::new(&SHA256);
        for (group, version) in core.registry.group_versions() {
            whole.update(openapi::hash(&core.registry, &group, &version).as_bytes());
        }
        let mut name = String::new();
        whole.finish().as_ref().iter().try_for_each(|b| write!(name, "{b:02X}")).ok()?;
        return Some(name);
    }
    let (group, version) = group_version(of)?;
    let served = core.registry.group_versions().iter().any(|(g, v)| **g == *group && **v == *version);
    served.then(|| openapi::hash(&core.registry, group, version))
}
