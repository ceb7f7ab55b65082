//! This machine as a Node object: what it is and has, kept current; and its heartbeat.

mod conditions;
mod facts;
mod register;

pub(crate) use facts::{labels, translate_facts};
pub use conditions::NODES_UNREACHABLE;
pub(crate) use register::keep_registered;
