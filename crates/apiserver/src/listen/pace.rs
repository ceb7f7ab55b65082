//! How long a client may take over a request's head, and how long a connection may lie idle.
//!
//! The two are told apart by what the server sees: bytes that came while no request is at work are the beginning of a
//! head, and from the first of them on the whole head must arrive within [`HEAD`]. A connection on which nothing is at
//! work and nothing begins is idle, which clients with a pool of connections do for minutes on purpose. Refused: one
//! limit for both, which either cuts such clients off or lets half a head hold a connection for as long.
//!
//! Heads of HTTP/2 are frames among others; a connection that sends no whole one is idle and ends as such.
//!
//! Nothing here runs by itself: the deadline of a head is looked at where bytes are read, and costs nothing to a request
//! that arrives in one piece.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use naru_client::BoxError;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::wire::payload::Payload;

/// How long the head of a request may take from its first byte on.
pub(super) const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may be without a request. Longer than clients keep idle connections (90 s), so that they close
/// them and no request meets a closing one.
pub(super) const IDLE: Duration = Duration::from_secs(120);

/// What happens on one connection.
#[derive(Debug)]
pub(super) struct Pace {
    head: Duration,
    idle: Duration,
    /// Requests whose answers are not sent to their end.
    working: AtomicUsize,
    /// Requests that came so far.
    begun: AtomicU64,
    /// What comes is not a head after the other: the connection speaks HTTP/2, whose frames come at any time, or was
    /// handed over to something else.
    headless: AtomicBool,
    idle_since: Mutex<Instant>,
}

/// A request at work, until dropped.
#[derive(Debug)]
pub(super) struct Working(Arc<Pace>);

/// An answer's body, which is at work until it is sent.
pub(super) struct Sending {
    payload: Payload,
    _working: Working,
}

/// A connection whose heads have to arrive in time.
pub(super) struct Paced<S> {
    inner: S,
    pace: Arc<Pace>,
    /// When the head that is arriving began, and how many requests had come before it.
    head: Option<(Instant, u64)>,
    deadline: Option<Pin<Box<Sleep>>>,
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(head: Duration, idle: Duration) -> Arc<Pace> {
        Arc::new(Pace {
            head,
            idle,
            working: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            headless: AtomicBool::new(false),
            idle_since: Mutex::new(Instant::now()),
        })
    }

    /// A request begins.
    pub(super) fn work(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        Working(self.clone())
    }

    /// From now on bytes that come while nothing is at work are no beginning of a head.
    pub(super) fn expect_no_heads(&self) {
        self.headless.store(true, Relaxed);
    }

    /// Resolves when the connection has been idle for too long.
    pub(super) async fn idled(&self) {
        loop {
            let since = *self.idle_since.lock();
            let working = self.working.load(Relaxed) > 0;
            let until = if working { Instant::now() + self.idle } else { since + self.idle };
            if !working && until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn expects_head(&self) -> bool {
        self.working.load(Relaxed) == 0 && !self.headless.load(Relaxed)
    }
}

// === impl Working ===

impl Working {
    /// An answer's body that keeps the request at work.
    pub(super) fn sending(self, payload: Payload) -> Sending {
        Sending { payload, _working: self }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Instant::now();
        self.0.working.fetch_sub(1, Relaxed);
    }
}

// === impl Sending ===

impl Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.get_mut().payload).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.payload.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.payload.size_hint()
    }
}

// === impl Paced ===

impl<S> Paced<S> {
    pub(super) fn new(inner: S, pace: Arc<Pace>) -> Paced<S> {
        Paced { inner, pace, head: None, deadline: None }
    }

    /// Fails when the head that is arriving takes too long.
    fn check(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some((since, _)) = self.head else { return Poll::Pending };
        let until = since + self.pace.head;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if deadline.deadline() != until {
            deadline.as_mut().reset(until);
        }
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the head of a request did not arrive in time"))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let begun = this.pace.begun.load(Relaxed);
        if this.head.is_some_and(|(_, before)| before != begun) || !this.pace.expects_head() {
            this.head = None;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buffer) {
            Poll::Pending => this.check(cx).map(Err),
            Poll::Ready(result) => {
                let came = result.is_ok() && buffer.filled().len() > before;
                if came && this.head.is_none() && this.pace.expects_head() {
                    this.head = Some((Instant::now(), begun));
                }
                Poll::Ready(result)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
