//! Opening connections, for the pool and for upgrades alike.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::{BoxError, BoxedIo};

/// How long opening a connection may take: an address that swallows packets would take minutes.
const CONNECT: Duration = Duration::from_secs(10);

/// Where connections go.
pub(super) enum Target {
    /// A unix socket.
    Unix(Box<Path>),
    /// `host:port` without TLS.
    Plain(String),
    /// `host:port` with TLS.
    Tls(Box<TlsTarget>),
}

/// A TLS server and how to recognise it.
pub(super) struct TlsTarget {
    /// `host:port`
    pub address: String,
    /// The name its certificate must carry.
    pub name: ServerName<'static>,
    /// Offers HTTP/2 and HTTP/1.1.
    pub any: Arc<rustls::ClientConfig>,
    /// Offers HTTP/1.1 only, for upgrades.
    pub http1: Arc<rustls::ClientConfig>,
}

/// Which protocols to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpn {
    /// HTTP/2 if the peer can, else HTTP/1.1.
    Any,
    /// HTTP/1.1 only.
    Http1,
}

/// Opens connections to one [`Target`]. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector(Arc<Target>);

/// A connection as the pool wants it: it says whether HTTP/2 was negotiated.
pub(super) struct Pooled {
    io: TokioIo<BoxedIo>,
    http2: bool,
}

impl Connector {
    pub(super) fn new(target: Target) -> Self {
        Connector(Arc::new(target))
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(*self.0, Target::Tls(_))
    }

    /// Opens one connection.
    pub(super) async fn open(&self, alpn: Alpn) -> Result<BoxedIo, BoxError> {
        Ok(self.open_negotiated(alpn).await?.0)
    }

    async fn open_negotiated(&self, alpn: Alpn) -> Result<(BoxedIo, bool), BoxError> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection within ten seconds");
        tokio::time::timeout(CONNECT, self.open_at_leisure(alpn)).await.map_err(late)?
    }

    async fn open_at_leisure(&self, alpn: Alpn) -> Result<(BoxedIo, bool), BoxError> {
        match &*self.0 {
            Target::Unix(path) => Ok((Box::new(UnixStream::connect(path).await?), false)),
            Target::Plain(address) => Ok((Box::new(tcp(address).await?), false)),
            Target::Tls(target) => {
                let config = if alpn == Alpn::Any { &target.any } else { &target.http1 };
                let tcp = tcp(&target.address).await?;
                let tls = TlsConnector::from(config.clone()).connect(target.name.clone(), tcp).await?;
                let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                Ok((Box::new(tls), http2))
            }
        }
    }
}

async fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Plain(address) => write!(f, "http://{address}"),
            Target::Tls(target) => write!(f, "https://{}", target.address),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Pooled;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Pooled, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        let opened = async move {
            let (io, http2) = connector.open_negotiated(Alpn::Any).await?;
            Ok(Pooled { io: TokioIo::new(io), http2 })
        };
        Box::pin(opened) as Pin<Box<dyn Future<Output = _> + Send>>
    }
}

impl Connection for Pooled {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Pooled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Pooled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
