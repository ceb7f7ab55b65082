//! Answers.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use naru_client::{Body, BoxError, full_body};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A refusal, answered in one place.
#[derive(Debug)]
pub(super) struct Refusal {
    code: StatusCode,
    message: String,
}

pub(super) type Reply = Result<Response<Body>, Refusal>;

impl Refusal {
    pub fn new(code: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    pub fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn absent(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, message)
    }

    pub fn failed(error: &dyn std::error::Error) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, crate::chain(error))
    }

    /// As Kubernetes words a failure.
    pub fn response(self) -> Response<Body> {
        let reason = match self.code {
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::BAD_REQUEST => "BadRequest",
            StatusCode::CONFLICT => "Conflict",
            StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
            _ => "InternalError",
        };
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": reason, "code": self.code.as_u16()});
        let mut response = json_reply(&status);
        *response.status_mut() = self.code;
        response
    }
}

pub(super) fn json_reply(value: &Value) -> Response<Body> {
    typed("application/json", full_body(value.to_string()))
}

pub(super) fn typed(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

/// A body that is sent while it is made; an error breaks the connection, so that a cut-off answer is seen as one.
pub(super) fn streamed(inbox: mpsc::Receiver<Result<Bytes, BoxError>>) -> Body {
    let frames = futures_util::stream::unfold(inbox, async |mut inbox| {
        let item = inbox.recv().await?;
        Some((item.map(Frame::data), inbox))
    });
    StreamBody::new(frames).boxed_unsync()
}
