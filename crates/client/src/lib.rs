//! One client for an API server, over an injected transport.
//!
//! * [`Transport`] is the seam: [`HttpTransport`] over a unix socket or TLS, or the server in this process.
//! * [`Client`] sends requests; [`Api`] and [`DynamicApi`] address one resource, typed or as JSON.
//! * [`Informer`] is a live, indexed copy of a collection, with one task that lists, follows and resumes.
//! * [`NodeDialer`] is how the server reaches a node's HTTP interface; [`Tunnel`] and [`serve_tunnel`] are the two ends of
//!   the connection that a node dials for it.
//! * [`exec`] speaks the streaming protocols of exec, attach and port-forward.
//!
//! This crate does not know who calls it, nor what the objects mean.

mod api;
mod chain;
mod client;
mod dialer;
mod error;
pub mod exec;
mod http;
mod informer;
mod lines;
mod object_ref;
mod options;
mod resource;
mod transport;
mod tunnel;
mod watch;

pub use crate::http::{ClientCertificate, FailoverTransport, HttpTransport, TlsSettings, upgrade_over};
pub use api::{Api, DynamicApi, List};
pub use chain::chain;
pub use client::Client;
pub use dialer::{DATAPLANE_PATH, DialError, NodeDialer};
pub use error::ClientError;
pub use informer::{Cached, Change, IndexFn, Informer, InformerBuilder, ProjectFn, Subscription};
pub use object_ref::ObjectRef;
pub use options::{DeleteOptions, ListOptions, PatchKind, Propagation};
pub use resource::Resource;
pub use transport::{
    Body, BoxError, BoxedIo, Delta, Follow, Frame, Io, Transport, TransportError, UpgradeError, empty_body, full_body,
};
pub use tunnel::{TUNNEL_PATH, TUNNEL_PROTOCOL, Tunnel, serve_tunnel};
pub use watch::WatchEvent;

pub use futures_util::future::BoxFuture;
pub use futures_util::stream::BoxStream;
