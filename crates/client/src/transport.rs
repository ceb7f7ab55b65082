//! The one seam between whoever talks to an API server and the way the bytes get there.
//!
//! A transport moves HTTP messages and knows nothing of kinds. It is a trait object and not a type parameter, so that
//! everything above it compiles once and a program may choose at run time between a socket and the server in its own
//! process. The process-internal transport may also offer [`Transport::follow`], which hands over the store's own
//! bytes instead of a stream of JSON that would have to be cut apart and copied again.

use std::error::Error as StdError;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::ObjectRef;

/// Any error, boxed, as bodies and connectors report it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The body of every request and response that crosses a [`Transport`].
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What a byte stream must be able to do to be boxed as [`BoxedIo`].
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + ?Sized> Io for T {}

/// A byte stream in both directions: an upgraded connection or a dialled node.
pub type BoxedIo = Box<dyn Io>;

/// Carries HTTP messages to one API server.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and returns the response as soon as its head has arrived; the body streams.
    ///
    /// The request's URI needs a path and a query only. An answer of any status is `Ok`.
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, TransportError>>;

    /// Sends a request that asks for a protocol upgrade and returns the upgraded byte stream.
    ///
    /// Anything but `101 Switching Protocols` is [`UpgradeError::Refused`] with the whole response.
    fn upgrade(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<(http::Response<()>, BoxedIo), UpgradeError>>;

    /// Follows a collection without HTTP, where the transport can: a first [`Frame::Reset`], then every change.
    ///
    /// `None` (the default) means that the caller lists and watches over [`Transport::call`].
    fn follow(&self, follow: Follow) -> Option<BoxStream<'static, Result<Frame, TransportError>>> {
        let _ = follow;
        None
    }

    /// Counts how often a way to a server was found, where the transport learns of that: whoever waits before another
    /// attempt need not any longer.
    fn found(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// Which objects to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// API group, empty for the core group.
    pub group: String,
    /// Version in which the objects are wanted.
    pub version: String,
    /// Resource name (plural), such as `pods`.
    pub plural: String,
    /// Only this namespace, or all.
    pub namespace: Option<String>,
    /// Label selector in its query form, empty for all.
    pub labels: String,
    /// Field selector in its query form, empty for all.
    pub fields: String,
    /// Resume after this revision if it is still known; else (and by `None`) start with a [`Frame::Reset`].
    pub after: Option<u64>,
}

/// One step of a followed collection.
#[derive(Debug, Clone)]
pub enum Frame {
    /// Everything that exists at `revision`; replaces what was known before.
    Reset {
        /// The revision of this state.
        revision: u64,
        /// Every object that matches.
        objects: Vec<(ObjectRef, Bytes)>,
    },
    /// The changes of one revision, in order. No changes means progress only.
    Changes {
        /// The revision of these changes.
        revision: u64,
        /// What changed.
        changes: Vec<Delta>,
    },
}

/// One object's change.
#[derive(Debug, Clone)]
pub enum Delta {
    /// The object was created or changed (or has come to match the selectors); its JSON.
    Applied(ObjectRef, Bytes),
    /// The object was deleted (or no longer matches the selectors).
    Deleted(ObjectRef),
}

/// A request could not be delivered or its response not be received.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection could be opened.
    #[error("cannot connect to {address}: is the server running there?")]
    Connect {
        /// The address that was tried.
        address: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// The connection broke, or the peer did not speak HTTP.
    #[error("the connection to {address} failed during a request")]
    Broken {
        /// The address that was spoken to.
        address: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The transport's settings are unusable (certificates, address).
    #[error("cannot use {what}")]
    Settings {
        /// Which setting.
        what: String,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The server in this process has ended.
    #[error("the server is shutting down")]
    Closed,
}

/// No upgraded stream came about.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The request could not be delivered.
    #[error("the upgrade request could not be delivered")]
    Transport(#[from] TransportError),
    /// The server answered, but not with an upgrade.
    #[error("the server answered {} instead of upgrading the connection", .0.status())]
    Refused(Box<http::Response<Body>>),
    /// The server agreed, but the stream could not be taken over.
    #[error("the upgraded connection could not be taken over")]
    Broken(#[source] BoxError),
}

/// A body without bytes.
pub fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of these bytes.
pub fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

impl std::fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}
