//! Listeners and connections: TLS over TCP, and a unix socket.
//!
//! Every connection is bounded: so long for a handshake, so long and so large for a request's head, so many streams.

mod pace;
mod tls;
mod unix;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::pace::{HEAD, IDLE, Pace, Paced};
use crate::authentication::Peer;
use crate::config::{Listeners, StartError};
use crate::dispatch::handle;
use crate::state::Core;
use crate::wire::body::RequestBody;

/// Connections at once; each costs some tens of kilobytes.
const CONNECTIONS: usize = 20_000;
/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes, whichever version of HTTP it comes in: the longest path that is taken (64 kB),
/// and as much again for a token with many groups and whatever proxies add.
const HEAD_LIMIT: usize = 128 << 10;
/// Requests at once on one HTTP/2 connection: client-go keeps a watch for every kind on a single one.
const STREAMS: u32 = 1_000;
/// How long requests may still run after shutdown was asked for. Watches never end by themselves.
const DRAIN: Duration = Duration::from_secs(2);
/// How long accepting pauses after it failed (out of file descriptors), instead of spinning.
const BREATHE: Duration = Duration::from_millis(100);

/// Open listeners of a server that does not serve yet.
pub struct Bound {
    core: Arc<Core>,
    tls: Option<(TcpListener, TlsAcceptor, SocketAddr)>,
    unix: Option<unix::Socket>,
}

// === impl Bound ===

impl Bound {
    pub(crate) async fn open(core: Arc<Core>, listeners: &Listeners) -> Result<Bound, StartError> {
        let listen = |address: String| move |source| StartError::Listen { address, source };
        let tls = match listeners.tls {
            None => None,
            Some(address) => {
                let acceptor = tls::acceptor(&core.authority, &listeners.names)?;
                let listener = TcpListener::bind(address).await.map_err(listen(address.to_string()))?;
                let address = listener.local_addr().map_err(listen(address.to_string()))?;
                Some((listener, acceptor, address))
            }
        };
        let unix = match &listeners.unix {
            None => None,
            Some(path) => Some(unix::Socket::open(path).await.map_err(listen(path.display().to_string()))?),
        };
        Ok(Bound { core, tls, unix })
    }

    /// Where TLS is served, with the port that was taken.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|(_, _, address)| *address)
    }

    /// Serves until `shutdown`, then lets running requests end for a moment and closes the rest.
    pub async fn serve(self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let acceptor = Acceptor { core: self.core, tasks: tasks.clone(), room, shutdown: shutdown.clone() };
        if let Some((listener, tls, _)) = self.tls {
            tasks.spawn(acceptor.clone().tcp(listener, tls));
        }
        // The socket's file goes when this goes.
        let _file = self.unix.map(|socket| {
            let (listener, file) = socket.into_parts();
            tasks.spawn(acceptor.clone().unix(listener));
            file
        });
        shutdown.cancelled().await;
        tasks.close();
        tasks.wait().await;
    }
}

#[derive(Clone)]
struct Acceptor {
    core: Arc<Core>,
    tasks: TaskTracker,
    room: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Acceptor {
    async fn tcp(self, listener: TcpListener, tls: TlsAcceptor) {
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(BREATHE).await;
                    continue;
                }
            };
            let Ok(permit) = self.room.clone().try_acquire_owned() else { continue };
            let (this, tls) = (self.clone(), tls.clone());
            self.tasks.spawn(async move {
                let _permit = permit;
                tls::prepare(&stream);
                let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else { return };
                let Ok(peer) = tls::peer(stream.get_ref().1, from.ip()) else { return };
                let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                this.connection(stream, peer, two).await;
            });
        }
    }

    async fn unix(self, listener: UnixListener) {
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(BREATHE).await;
                    continue;
                }
            };
            let Ok(permit) = self.room.clone().try_acquire_owned() else { continue };
            let this = self.clone();
            self.tasks.spawn(async move {
                let _permit = permit;
                match unix::peer(&stream) {
                    Some(peer) => this.connection(stream, peer, false).await,
                    None => tracing::warn!("a process that is neither root nor in the group naru was turned away"),
                }
            });
        }
    }

    async fn connection<S>(&self, stream: S, peer: Peer, two: bool)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let _held = self.core.metrics.connections.hold();
        serve_connection(self.core.clone(), stream, peer, two, self.shutdown.clone()).await;
    }
}

/// Serves one connection until its end or `shutdown`.
pub(crate) async fn serve_connection<S>(core: Arc<Core>, stream: S, peer: Peer, two: bool, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let pace = Pace::new(HEAD, IDLE);
    let io = TokioIo::new(Paced::new(stream, pace.clone()));
    if two {
        pace.expect_no_heads();
    }
    let of_requests = pace.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (core, peer, pace) = (core.clone(), peer.clone(), of_requests.clone());
        let working = pace.work();
        // Hyper keeps room for it on every connection, also on those that wait: boxed, that is a pointer's and not 15 kB.
        Box::pin(async move {
            let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
            let (parts, body) = request.into_parts();
            let response = handle(&core, &peer, parts, RequestBody::Network(body), upgrade).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                pace.expect_no_heads();
            }
            Ok::<_, Infallible>(response.map(|payload| working.sending(payload)))
        })
    });
    // The two kinds of connection have the same methods and no common trait.
    macro_rules! drive {
        ($connection:expr) => {{
            // In its own allocation, each kind of connection takes only what it needs itself.
            let mut connection = Box::pin($connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
                }
                () = pace.idled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "a connection ended");
            }
        }};
    }
    if two {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_LIMIT as u32)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(30));
        drive!(builder.serve_connection(io, service));
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(IDLE + HEAD).max_buf_size(HEAD_LIMIT);
        drive!(builder.serve_connection(io, service).with_upgrades());
    }
}
