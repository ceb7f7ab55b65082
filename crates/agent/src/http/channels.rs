//! What exec and attach exchange with a client, whatever the protocol underneath.

use bytes::Bytes;
use naru_runtime::pod::TerminalSize;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A stream to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
    /// How the process ended.
    Error,
}

/// To the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// Bytes of a stream.
    Data(Channel, Bytes),
    /// A stream's end.
    End(Channel),
    /// Nothing more of anything.
    Over,
}

/// From the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum In {
    /// Input for the process.
    Stdin(Bytes),
    /// No more input.
    StdinEnd,
    /// The client's window has this size.
    Resize(TerminalSize),
}

/// Both directions.
pub(super) struct Peer {
    pub out: mpsc::Sender<Out>,
    pub input: mpsc::Receiver<In>,
}

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

/// A window's size as kubectl writes it.
pub(super) fn resize(text: &[u8]) -> Option<TerminalSize> {
    let size: Size = serde_json::from_slice(text).ok()?;
    Some(TerminalSize { columns: size.width, rows: size.height })
}

/// The last word of a session: success, or the exit code.
pub(super) fn outcome(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
}

/// The last word when there was no exit code.
pub(super) fn failure(message: &str) -> Value {
    json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500})
}
