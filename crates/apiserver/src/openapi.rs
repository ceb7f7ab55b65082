//! OpenAPI documents: made once on first demand, since most servers are never asked for most of them, and named by
//! their hash, so that clients fetch each only once.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use naru_api::{Status, openapi};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::state::Core;
use crate::wire::negotiate::{Accepted, Media};
use crate::wire::payload::Payload;
use crate::wire::query::Query;
use crate::wire::respond;

/// Documents that were asked for, by path.
#[derive(Default)]
pub(crate) struct Documents(Mutex<HashMap<String, Arc<Document>>>);

/// A document and the hash that names it.
pub(crate) struct Document {
    body: Bytes,
    hash: String,
}

// === impl Documents ===

impl Documents {
    fn get(&self, path: &str, make: impl FnOnce() -> Option<Bytes>) -> Option<Arc<Document>> {
        if let Some(known) = self.0.lock().get(path) {
            return Some(known.clone());
        }
        let body = make()?;
        let hash: String = digest(&SHA256, &body).as_ref().iter().map(|b| format!("{b:02X}")).collect();
        let document = Arc::new(Document { body, hash });
        self.0.lock().insert(path.to_owned(), document.clone());
        Some(document)
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
    let tail = path.trim_start_matches("/openapi").trim_matches('/');
    if tail == "v3" {
        return Ok(respond::value(StatusCode::OK, Media::Json, &index(core)));
    }
    Accepted::of(headers)?;
    let document = if tail == "v2" {
        core.documents.get(tail, || Some(openapi::v2(&core.registry)))
    } else {
        let of = tail.strip_prefix("v3/").ok_or_else(Status::no_such_path)?;
        document(core, of)
    };
    let document = document.ok_or_else(Status::no_such_path)?;
    let etag = format!("\"{}\"", document.hash);
    if headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes()) {
        let mut response = Response::new(Payload::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let mut response = respond::json(StatusCode::OK, document.body.clone());
    let head = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        head.insert(ETAG, etag);
    }
    if query.get("hash") == Some(&document.hash) {
        // Named by its content, it never changes.
        head.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        head.insert(EXPIRES, HeaderValue::from_static("Fri, 31 Dec 2100 00:00:00 GMT"));
    }
    Ok(response)
}

fn document(core: &Core, of: &str) -> Option<Arc<Document>> {
    let (group, version) = match of.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    core.documents.get(of, || openapi::v3(&core.registry, group, version))
}

/// The list of documents. Each is named by the hash of what it would say; made here, once.
fn index(core: &Core) -> Value {
    let mut paths = Map::new();
    for (group, version) in core.registry.group_versions() {
        let of = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        if let Some(document) = document(core, &of) {
            let url = format!("/openapi/v3/{of}?hash={}", document.hash);
            paths.insert(of, json!({ "serverRelativeURL": url }));
        }
    }
    json!({ "paths": paths })
}
