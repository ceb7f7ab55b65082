//! The node's own HTTP interface, as kubelet has one: logs, exec, attach and port-forward for the API server, and images,
//! files and counters for `naru`.
//!
//! It is served over any byte stream that somebody who may has opened (in process now, a node's own tunnel later), so it
//! has no listener and authenticates nobody. Streams speak WebSocket and SPDY/3.1: kubectl tries the first and falls
//! back to the second, and even through WebSocket its port-forward tunnels SPDY.

mod archive;
mod channels;
mod dataplane;
mod forward;
mod images;
mod logs;
mod query;
mod reply;
mod router;
mod session;
mod signal;
mod spdy;
mod stats;
#[cfg(test)]
mod tests;
mod tree;
mod upgrade;
mod websocket;

pub(crate) use router::serve;
