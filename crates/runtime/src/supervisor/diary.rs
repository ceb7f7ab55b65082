//! What the supervisor says when something is wrong with itself: lines in the pod's `supervisor.log`.
//!
//! The macros of the standard library panic when a line cannot be written, and a full disk would so end every container of
//! the pod. Here the line is lost instead.

use std::{
    fmt::Display,
    io::{self, Write},
};

use jiff::Timestamp;

/// Says one line, if it can be said.
pub(super) fn note(text: impl Display) {
    // In one piece: processes forked from here write to the same file.
    let line = format!("{:.3} {text}\n", Timestamp::now());
    let _ = io::stderr().write_all(line.as_bytes());
}
