//! Answers: the one place where results and refusals become HTTP responses.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, WARNING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use naru_api::status::{Reason, Status};
use serde_json::Value;

use super::negotiate::Media;
use super::payload::Payload;

/// Bodies from this size on are compressed for clients elsewhere that accept it: below, the time costs more than the
/// bytes. Kubernetes uses the same bound.
const COMPRESS_FROM: usize = 128 << 10;

/// What stands where nothing is.
const NOTHING_THERE: &str = "404 page not found\n";

/// A response with a JSON body.
pub(crate) fn json(code: StatusCode, body: impl Into<Bytes>) -> Response<Payload> {
    typed(code, HeaderValue::from_static("application/json"), body.into())
}

/// A response with a text body.
pub(crate) fn text(code: StatusCode, body: impl Into<Bytes>) -> Response<Payload> {
    typed(code, HeaderValue::from_static("text/plain; charset=utf-8"), body.into())
}

/// A response with a body of any type.
pub(crate) fn typed(code: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Payload> {
    let mut response = Response::new(Payload::from(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    // What a cluster answers is true for now and for this user.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A JSON document in the encoding the client wants.
pub(crate) fn document(code: StatusCode, media: Media, body: Bytes) -> Response<Payload> {
    if media == Media::Json {
        return json(code, body);
    }
    match serde_json::from_slice(&body) {
        Ok(document) => value(code, media, &document),
        Err(error) => refusal(&Status::internal(error), Media::Json),
    }
}

/// A document in the encoding the client wants.
pub(crate) fn value(code: StatusCode, media: Media, value: &Value) -> Response<Payload> {
    let body = match media {
        Media::Json => Ok(value.to_string().into()),
        Media::Yaml => serde_saphyr::to_string(value).map(Bytes::from).map_err(|error| error.to_string()),
        Media::Protobuf => naru_protobuf::encode(value).map_err(|error| error.to_string()),
    };
    match body {
        Ok(body) => typed(code, HeaderValue::from_static(media.content_type()), body),
        Err(why) => refusal(&Status::internal(why), Media::Json),
    }
}

/// The refusal of a path that leads to no kind and no document. Clients look for the text: a `Status` would be one of a
/// server that knows the kind.
pub(crate) fn nothing_there() -> Status {
    Status::new(Reason::NotFound, NOTHING_THERE)
}

/// The response of a refused request.
pub(crate) fn refusal(status: &Status, media: Media) -> Response<Payload> {
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if code == StatusCode::NOT_FOUND && status.message == NOTHING_THERE {
        return text(code, NOTHING_THERE);
    }
    let mut response = value(code, media, &status.to_json());
    let seconds = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    if code == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// How many characters the warnings of one answer may have; Kubernetes' limits.
const WARNINGS: usize = 4096;
/// How many characters of one are told where all of them are too many.
const WARNING_CUT: usize = 256;

/// Adds warnings that kubectl prints (RFC 7234, 5.5; code 299), each once: clients take heads of some size and no larger.
pub(crate) fn warn(response: &mut Response<Payload>, warnings: &[String]) {
    let all: usize = warnings.iter().map(|warning| warning.chars().count()).sum();
    let cut = if all > WARNINGS { WARNING_CUT } else { WARNINGS };
    let mut left = WARNINGS;
    for warning in warnings {
        let told = warning.chars().count().min(cut);
        let Some(rest) = left.checked_sub(told) else { return };
        left = rest;
        let quoted: String = warning
            .chars()
            .take(told)
            .map(|c| if c.is_control() || !c.is_ascii() { ' ' } else { c })
            .flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] })
            .collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\""))
            && !response.headers().get_all(WARNING).iter().any(|told| *told == value)
        {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// Compresses a large body when the client accepts it.
pub(crate) async fn compress(request: &HeaderMap, response: &mut Response<Payload>) {
    if !accepts_gzip(request) || response.headers().contains_key(CONTENT_ENCODING) {
        return;
    }
    let large = match response.body() {
        Payload::Full(body) => body.as_ref().is_some_and(|b| b.len() >= COMPRESS_FROM),
        Payload::Pieces { left, .. } => left.is_none_or(|left| left >= COMPRESS_FROM as u64),
        _ => false,
    };
    if !large {
        return;
    }
    let body = std::mem::replace(response.body_mut(), Payload::empty());
    // A large list takes a tenth of a second: not on a thread that others wait for.
    let zipped = tokio::task::spawn_blocking(move || match body {
        Payload::Full(body) => gzip(body.into_iter()),
        Payload::Pieces { pieces, .. } => gzip(pieces),
        _ => None,
    });
    let Ok(Some(zipped)) = zipped.await else {
        // Writing into memory does not fail; were it to, the body is lost.
        *response = refusal(&Status::internal("the answer could not be compressed"), Media::Json);
        return;
    };
    *response.body_mut() = Payload::from(zipped);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// Whether the client takes compressed bodies.
pub(crate) fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|v| v.trim() == "gzip" || v.trim().starts_with("gzip;") && !v.contains("q=0"))
}

/// The compressed form of a body.
pub(crate) fn gzip(pieces: impl Iterator<Item = Bytes>) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in pieces {
        encoder.write_all(&piece).ok()?;
    }
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    fn asking() -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"))])
    }

    #[tokio::test]
    async fn large_answers_are_compressed_for_who_accepts_it() {
        let body = Bytes::from(vec![b'x'; COMPRESS_FROM]);
        let mut response = json(StatusCode::OK, body.clone());
        compress(&asking(), &mut response).await;
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let zipped = response.body().as_full().expect("whole").clone();
        let mut plain = Vec::new();
        GzDecoder::new(&zipped[..]).read_to_end(&mut plain).expect("gzip");
        assert_eq!(plain, body);
        for (headers, body) in [(HeaderMap::new(), body.clone()), (asking(), body.slice(1..))] {
            let mut response = json(StatusCode::OK, body);
            compress(&headers, &mut response).await;
            assert!(!response.headers().contains_key(CONTENT_ENCODING));
        }
    }

    #[test]
    fn warnings_are_quoted_and_cannot_break_out_of_their_header() {
        let mut response = json(StatusCode::OK, "{}");
        warn(&mut response, &["a \"b\"\r\nx: y".to_owned()]);
        assert_eq!(response.headers()[WARNING], "299 - \"a \\\"b\\\"  x: y\"");
    }

    #[test]
    fn many_warnings_are_cut_short() {
        let told = |warnings: &[String]| {
            let mut response = json(StatusCode::OK, "{}");
            warn(&mut response, warnings);
            response.headers().get_all(WARNING).iter().map(|value| value.len() - "299 - \"\"".len()).collect::<Vec<_>>()
        };
        assert_eq!(told(&["a".repeat(4000), "b".to_owned()]), [4000, 1]);
        assert_eq!(told(&["a".repeat(4096), "b".to_owned()]), [256, 1]);
        let many: Vec<String> = (0..60).map(|n| format!("{n:02}{}", "a".repeat(298))).collect();
        assert_eq!(told(&many), [256; 16]);
        assert_eq!(told(&["a".to_owned(), "b".to_owned(), "a".to_owned()]), [1, 1], "each once");
    }
}
