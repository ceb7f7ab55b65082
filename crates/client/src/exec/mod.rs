//! Streams into pods: exec, attach and port-forward, over WebSocket.
//!
//! One binary message is one channel byte and its data (`v5.channel.k8s.io`); version 5 adds the message that closes
//! one channel, without which no end of input can be told. SPDY, which old clients of others speak, is not spoken here:
//! every server that we talk to understands WebSocket.

mod forward;
mod session;
mod socket;
#[cfg(test)]
mod tests;

pub use forward::{Forward, port_forward};
pub use session::{Exit, Session, TerminalSize, attach, exec};

use naru_api::status::Status;

use crate::{BoxError, TransportError};

/// Which container, and which of its streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// The container's name; empty for the pod's only or default one.
    pub container: String,
    /// The program and its arguments (exec only).
    pub command: Vec<String>,
    /// Send input.
    pub stdin: bool,
    /// Receive output.
    pub stdout: bool,
    /// Receive error output; with `tty` there is none apart from the output.
    pub stderr: bool,
    /// Give the process a terminal.
    pub tty: bool,
    /// More words of the query: nodes of ours know `env`, `workdir`, `user` and `privileged` (exec only).
    pub query: Vec<(String, String)>,
}

/// A stream could not be opened, or it broke.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server refused.
    #[error("the server refused to open the stream")]
    Refused(#[source] Box<Status>),
    /// The process was not run to its end, and the node says why.
    #[error("the process could not be run to its end")]
    Failed(#[source] Box<Status>),
    /// No connection, or it broke while opening.
    #[error("the stream could not be opened")]
    Transport(#[from] TransportError),
    /// The peer does not keep to the protocol.
    #[error("the peer broke the streaming protocol")]
    Protocol(#[source] BoxError),
    /// The stream ended without telling how the process ended.
    #[error("the connection ended before the process did: it may still run")]
    Cut,
}
