//! Reading request bodies within a limit of size.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use naru_api::status::Status;
use naru_client::Body;

/// The largest body that is read, in bytes: Kubernetes' limit, twice the largest object that can be stored.
pub(crate) const LIMIT: usize = 3 << 20;

/// A request's body, from the network or from this process.
pub(crate) enum RequestBody {
    Network(Incoming),
    Process(Body),
}

// === impl RequestBody ===

impl RequestBody {
    /// Reads the whole body.
    ///
    /// # Errors
    /// 413 above [`LIMIT`], 415 for a compressed body, 400 for a broken one. A slow one takes of the time that its
    /// request has (`deadline`).
    pub(crate) async fn read(self, headers: &HeaderMap) -> Result<Bytes, Status> {
        if headers.get(CONTENT_ENCODING).is_some_and(|e| e != "identity") {
            return Err(Status::unsupported_media_type(&["application/json without Content-Encoding"]));
        }
        let announced = headers.get(CONTENT_LENGTH).and_then(|l| l.to_str().ok()).and_then(|l| l.parse::<usize>().ok());
        if announced.is_some_and(|length| length > LIMIT) {
            return Err(Status::too_large(LIMIT));
        }
        match self {
            RequestBody::Network(body) => collect(body).await,
            RequestBody::Process(body) => collect(body).await,
        }
    }

    /// The body as a stream, for requests that are forwarded.
    pub(crate) fn into_body(self) -> Body {
        match self {
            RequestBody::Network(body) => body.map_err(Into::into).boxed_unsync(),
            RequestBody::Process(body) => body,
        }
    }
}

async fn collect<B>(mut body: B) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Status::bad_request(format!("the request body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > LIMIT {
            return Err(Status::too_large(LIMIT));
        }
        // Most bodies are one frame: that one is taken as it is.
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
