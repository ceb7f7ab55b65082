//! HTTP over a unix socket, TCP, or TLS.
//!
//! Ordinary requests share connections: one HTTP/2 connection where TLS negotiates it, else a pool of HTTP/1.1 ones.
//! An upgrade (exec, attach, port-forward) gets an HTTP/1.1 connection of its own, because the stream that results
//! belongs to its caller alone.

mod connect;
mod failover;
mod settings;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

pub use failover::FailoverTransport;
pub use settings::{ClientCertificate, TlsSettings};

use crate::{Body, BoxedIo, Transport, TransportError, UpgradeError};
use connect::{Alpn, Connector, Target};

/// A [`Transport`] over real connections, which are opened on demand and reused. Cheap to clone.
#[derive(Clone)]
pub struct HttpTransport {
    connector: Connector,
    pool: Pool<Connector, Body>,
    host: HeaderValue,
    token: Option<HeaderValue>,
}

impl HttpTransport {
    /// Speaks to the server that listens on a unix socket.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        HttpTransport::over(Connector::new(Target::Unix(path.as_ref().into())), HeaderValue::from_static("localhost"))
    }

    /// Speaks to a server by its URL, `https://host:port` or `http://host:port` (the latter without any protection).
    ///
    /// # Errors
    /// [`TransportError::Settings`] if the URL, a certificate or a key is unusable.
    pub fn tcp(url: &str, tls: &TlsSettings) -> Result<Self, TransportError> {
        let (target, host) = settings::target(url, tls)?;
        Ok(HttpTransport::over(Connector::new(target), host))
    }

    /// Sends `Authorization: Bearer <token>` with every request that has no such header.
    ///
    /// # Errors
    /// [`TransportError::Settings`] if the token holds characters that no header may have.
    pub fn with_token(mut self, token: &str) -> Result<Self, TransportError> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|error| TransportError::Settings { what: "the bearer token".into(), source: error.into() })?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    fn over(connector: Connector, host: HeaderValue) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .http2_keep_alive_timeout(Duration::from_secs(5))
            .build(connector.clone());
        HttpTransport { connector, pool, host, token: None }
    }

    /// Gives the request the headers that depend on the connection.
    fn address(&self, request: &mut Request<Body>) {
        if let Some(token) = &self.token {
            request.headers_mut().entry(AUTHORIZATION).or_insert_with(|| token.clone());
        }
    }

    /// The pool wants absolute URIs, as it could serve many hosts.
    fn absolute(&self, uri: &Uri) -> Uri {
        let scheme = if self.connector.is_tls() { "https" } else { "http" };
        let path = uri.path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
        let authority = self.host.to_str().unwrap_or("localhost");
        Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().unwrap_or_else(|_| uri.clone())
    }
}

impl Transport for HttpTransport {
    fn call(&self, mut request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TransportError>> {
        self.address(&mut request);
        *request.uri_mut() = self.absolute(request.uri());
        let sent = self.pool.request(request);
        let address = self.connector.to_string();
        Box::pin(async move {
            match sent.await {
                Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
                Err(error) if error.is_connect() => Err(TransportError::Connect { address, source: error.into() }),
                Err(error) => Err(TransportError::Broken { address, source: error.into() }),
            }
        })
    }

    fn upgrade(&self, mut request: Request<Body>) -> BoxFuture<'static, Result<(Response<()>, BoxedIo), UpgradeError>> {
        self.address(&mut request);
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
        *request.version_mut() = Version::HTTP_11;
        let connector = self.connector.clone();
        Box::pin(async move {
            let address = connector.to_string();
            let io = connector
                .open(Alpn::Http1)
                .await
                .map_err(|source| TransportError::Connect { address: address.clone(), source })?;
            upgrade_over(io, request, address).await
        })
    }
}

/// Sends an upgrade request over a fresh HTTP/1.1 byte stream and takes the stream over when the peer agrees.
///
/// # Errors
/// As [`Transport::upgrade`].
pub async fn upgrade_over(
    io: BoxedIo,
    request: Request<Body>,
    address: String,
) -> Result<(Response<()>, BoxedIo), UpgradeError> {
    let broken = |source: hyper::Error| TransportError::Broken { address: address.clone(), source: source.into() };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection for an upgrade ended early");
        }
    });
    let response = sender.send_request(request).await.map_err(broken)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let response = response.map(|body| body.map_err(Into::into).boxed_unsync());
        return Err(UpgradeError::Refused(Box::new(response)));
    }
    let (parts, body) = response.into_parts();
    let upgraded = hyper::upgrade::on(Response::from_parts(parts.clone(), body))
        .await
        .map_err(|error| UpgradeError::Broken(error.into()))?;
    Ok((Response::from_parts(parts, ()), Box::new(TokioIo::new(upgraded))))
}

/// A transport that any number of clients share.
impl From<HttpTransport> for Arc<dyn Transport> {
    fn from(transport: HttpTransport) -> Self {
        Arc::new(transport)
    }
}
