//! The body of a response: stored bytes handed on as they are, or a stream.
//!
//! An enum and not a boxed body, so that the common answers (one object, one status) cost no allocation and tell
//! hyper their length.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use naru_client::{Body, BoxError};

/// The body of a response.
pub(crate) enum Payload {
    /// All of it, or nothing more.
    Full(Option<Bytes>),
    /// Pieces made as the client takes them; how much is left, where that is known.
    Pieces { pieces: Box<dyn Iterator<Item = Bytes> + Send>, left: Option<u64> },
    /// A stream of unknown length: a watch.
    Stream(BoxStream<'static, Result<Bytes, BoxError>>),
    /// Somebody else's body: a node's answer.
    Boxed(Body),
}

// === impl Payload ===

impl Payload {
    pub(crate) fn empty() -> Payload {
        Payload::Full(None)
    }

    /// The whole body if it is at hand.
    pub(crate) fn as_full(&self) -> Option<&Bytes> {
        match self {
            Payload::Full(bytes) => bytes.as_ref(),
            _ => None,
        }
    }

    /// The body as in-process callers take it.
    pub(crate) fn boxed(self) -> Body {
        match self {
            Payload::Boxed(body) => body,
            other => other.boxed_unsync(),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        Payload::Full((!bytes.is_empty()).then_some(bytes))
    }
}

impl HttpBody for Payload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Payload::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Payload::Pieces { pieces, left } => Poll::Ready(pieces.next().map(|piece| {
                *left = left.map(|left| left.saturating_sub(piece.len() as u64));
                Ok(Frame::data(piece))
            })),
            Payload::Stream(stream) => {
                Pin::new(stream).poll_next(cx).map(|item| item.map(|result| result.map(Frame::data)))
            }
            Payload::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Full(bytes) => bytes.is_none(),
            Payload::Pieces { left, .. } => *left == Some(0),
            Payload::Stream(_) => false,
            Payload::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Payload::Pieces { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Payload::Stream(_) => SizeHint::default(),
            Payload::Boxed(body) => body.size_hint(),
        }
    }
}
