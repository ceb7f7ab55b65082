//! SPDY/3.1, as far as Kubernetes' clients use it: streams, their headers, data, pings.
//!
//! Written from the protocol's draft. Flow control is left out on purpose: the clients in question neither announce
//! windows nor wait for them, and the connection underneath has its own.

mod connection;
mod dictionary;
mod frame;
mod headers;
mod peer;
#[cfg(test)]
mod tests;

pub(super) use connection::{Stream, serve};
pub(super) use peer::{VERSIONS, peer};
