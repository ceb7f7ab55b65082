//! Byte streams back to a node, over the one connection that the node itself dialled.
//!
//! The node asks the server to change the protocol, and from then on the roles are turned round: HTTP/2 with the server
//! as client. Each stream is one request whose two bodies are the two directions. So nothing of a node needs to be
//! reachable, streams do not hold one another up, and both ends notice within seconds when the other is gone. Refused: a
//! framing of our own, which would have to get flow control right as well.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::io::ReaderStream;

use crate::{Body, BoxError, BoxedIo};

/// Where a node asks for the change of protocol.
pub const TUNNEL_PATH: &str = "/naru/v1/tunnel";
/// The protocol's name in `Upgrade`.
pub const TUNNEL_PROTOCOL: &str = "naru-tunnel";

/// How often the server looks whether the node is there. The node takes the same pings as the sign that the server is:
/// pings of its own would be as many again, and a server has thousands of nodes.
const PING: Duration = Duration::from_secs(1);
/// How long an answer to that may take. With [`PING`], a node that lost its power is noticed within three seconds; a
/// machine that is merely busy answers in time, since answering takes no more than a turn of its scheduler.
const LOST: Duration = Duration::from_secs(2);
/// Bytes in flight on one stream, and on all of them together: enough for a gigabit over 30 ms.
const STREAM_WINDOW: u32 = 1 << 20;
const WINDOW: u32 = 8 << 20;
/// Bytes between a stream and whoever uses it.
const BUFFER: usize = 64 << 10;
/// Streams at once.
const STREAMS: u32 = 4096;

/// The server's end: opens streams to the node. Cheap to clone.
#[derive(Clone)]
pub struct Tunnel {
    sender: SendRequest<Body>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tunnel")
    }
}

impl Tunnel {
    /// Takes over a connection on which the node serves; the future drives it and ends with it.
    ///
    /// # Errors
    /// When the other end does not speak the protocol.
    pub async fn over(io: BoxedIo) -> Result<(Tunnel, BoxFuture<'static, Result<(), BoxError>>), BoxError> {
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(PING))
            .keep_alive_timeout(LOST)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(io))
            .await?;
        Ok((Tunnel { sender }, Box::pin(async move { connection.await.map_err(BoxError::from) })))
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When the connection is gone or the node refuses.
    pub async fn open(&self) -> Result<BoxedIo, BoxError> {
        let (near, far) = tokio::io::duplex(BUFFER);
        let (read, write) = tokio::io::split(far);
        let mut request = Request::new(body_of(read));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("http://node/stream");
        let mut sender = self.sender.clone();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the node answered {}", response.status()).into());
        }
        tokio::spawn(pour(response.into_body(), write));
        Ok(Box::new(near))
    }
}

/// The node's end: gives every stream that the server opens to `accept`, until the connection ends.
///
/// # Errors
/// When it broke, or the server did not answer in time.
pub async fn serve_tunnel<F>(io: BoxedIo, accept: F) -> Result<(), BoxError>
where
    F: Fn(BoxedIo) -> BoxFuture<'static, ()> + Clone + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (near, far) = tokio::io::duplex(BUFFER);
        let (read, write) = tokio::io::split(far);
        tokio::spawn(pour(request.into_body(), write));
        tokio::spawn(accept(Box::new(near)));
        async move { Ok::<_, std::convert::Infallible>(Response::new(body_of(read))) }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(STREAMS)
        .serve_connection(TokioIo::new(Heard::new(io, PING + LOST)), service)
        .await
        .map_err(BoxError::from)
}

/// A connection whose other end is heard of within a time, or it is broken.
struct Heard {
    io: BoxedIo,
    within: Duration,
    silent_until: Pin<Box<Sleep>>,
}

impl Heard {
    fn new(io: BoxedIo, within: Duration) -> Heard {
        Heard { io, within, silent_until: Box::pin(tokio::time::sleep(within)) }
    }
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            let until = Instant::now() + self.within;
            self.silent_until.as_mut().reset(until);
            return read;
        }
        ready!(self.silent_until.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was heard of the server for too long")))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// A body that is read as the other side takes it.
fn body_of(read: tokio::io::ReadHalf<DuplexStream>) -> Body {
    fn streamed(read: impl AsyncRead + Send + 'static) -> Body {
        let stream =
            ReaderStream::with_capacity(read, BUFFER).map(|chunk| chunk.map(Frame::data).map_err(BoxError::from));
        StreamBody::new(stream).boxed_unsync()
    }
    streamed(read)
}

/// Copies a body out until either side ends.
async fn pour(mut body: Incoming, mut to: impl AsyncWrite + Unpin) {
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data): Result<Bytes, _> = frame.into_data() else { continue };
        if to.write_all(&data).await.is_err() {
            return; // nobody reads any more; dropping the body says so to the other end
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// A tunnel whose node answers in capitals, and the node's task.
    async fn tunnel() -> (Tunnel, tokio::task::JoinHandle<Result<(), BoxError>>) {
        let (server, node) = tokio::io::duplex(1 << 16);
        let serving = tokio::spawn(serve_tunnel(Box::new(node), |io| {
            Box::pin(async move {
                let (mut read, mut write) = tokio::io::split(io);
                let mut buffer = vec![0; 4096];
                while let Ok(count @ 1..) = read.read(&mut buffer).await {
                    buffer[..count].make_ascii_uppercase();
                    if write.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
                let _ = write.shutdown().await;
            })
        }));
        let (tunnel, connection) = Tunnel::over(Box::new(server)).await.expect("a tunnel");
        tokio::spawn(connection);
        (tunnel, serving)
    }

    #[tokio::test]
    async fn streams_carry_bytes_both_ways_and_end_each_way_alone() {
        let (tunnel, _node) = tunnel().await;
        let mut streams = vec![];
        for _ in 0..20 {
            streams.push(tunnel.open().await.expect("a stream"));
        }
        for io in &mut streams {
            io.write_all(b"hello").await.expect("sent");
            io.shutdown().await.expect("this way ends");
        }
        for mut io in streams {
            let mut text = String::new();
            io.read_to_string(&mut text).await.expect("the other way still comes");
            assert_eq!(text, "HELLO");
        }
    }

    #[tokio::test]
    async fn a_stream_that_nobody_reads_holds_up_no_other() {
        let (tunnel, _node) = tunnel().await;
        let mut full = tunnel.open().await.expect("a stream");
        // Far more than the windows hold: the writer waits, for nobody reads the answers.
        let blocked = tokio::time::timeout(Duration::from_millis(300), full.write_all(&vec![b'x'; 32 << 20])).await;
        blocked.expect_err("the writer is held back");
        let mut other = tunnel.open().await.expect("another");
        other.write_all(b"quick").await.expect("sent");
        let mut word = [0; 5];
        tokio::time::timeout(Duration::from_secs(20), other.read_exact(&mut word))
            .await
            .expect("in time")
            .expect("read");
        assert_eq!(&word, b"QUICK");
    }

    #[tokio::test]
    async fn both_ends_notice_that_the_other_is_gone() {
        let (tunnel, node) = tunnel().await;
        tunnel.open().await.expect("a stream");
        node.abort();
        let _ = node.await;
        tunnel.open().await.err().expect("gone");
    }

    #[tokio::test]
    async fn silence_is_noticed() {
        // A wire that nobody drives at the other end: bytes go in, none come back.
        let (server, _held) = tokio::io::duplex(1 << 16);
        let (_tunnel, connection) = Tunnel::over(Box::new(server)).await.expect("no answer is needed for that");
        let ended = tokio::time::timeout(Duration::from_secs(60), connection).await.expect("noticed");
        ended.expect_err("by want of an answer");
    }

    #[tokio::test]
    async fn a_node_notices_a_silent_server_and_stays_with_one_that_pings() {
        let (server, node) = tokio::io::duplex(1 << 16);
        let mut serving = tokio::spawn(serve_tunnel(Box::new(node), |io| Box::pin(async move { drop(io) })));
        let (_tunnel, connection) = Tunnel::over(Box::new(server)).await.expect("a tunnel");
        let mut driven = Box::pin(connection);
        tokio::select! {
            _ = &mut driven => panic!("the server's end lasts"),
            _ = &mut serving => panic!("the server's pings are enough"),
            // Longer than a silent server would be borne.
            () = tokio::time::sleep(PING * 2 + LOST) => {}
        }
        // A server that says nothing at all, and closes nothing.
        let (_held, node) = tokio::io::duplex(1 << 16);
        let silent = serve_tunnel(Box::new(node), |io| Box::pin(async move { drop(io) }));
        let ended = tokio::time::timeout(Duration::from_secs(60), silent).await.expect("noticed");
        ended.expect_err("the server is silent");
    }
}
