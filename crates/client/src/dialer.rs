//! How the API server reaches a node's HTTP interface.
//!
//! A trait and not an address: on one machine the stream ends in the same process, in a cluster it runs back through
//! the connection which the node itself dialled, so no port of a node must be reachable.

use futures_util::future::BoxFuture;

use crate::{BoxError, BoxedIo};

/// Where a node tells how far its rules are: a line of JSON, `{"revision": N}`, for each revision of EndpointSlices from
/// which what its kernel has was made.
pub const DATAPLANE_PATH: &str = "/dataplane";

/// Opens byte streams to nodes.
pub trait NodeDialer: Send + Sync + 'static {
    /// Opens a byte stream to the HTTP interface of the node with this name.
    fn dial(&self, node: &str) -> BoxFuture<'static, Result<BoxedIo, DialError>>;
}

/// The node could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No node of this name is connected.
    #[error("node {node} is not connected: see `kubectl get nodes`")]
    NotConnected {
        /// The node.
        node: String,
    },
    /// The node is known, but the stream failed.
    #[error("node {node} cannot be reached")]
    Failed {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}
