//! This machine as a Node object: what it is and has, kept current; and its heartbeat.

mod conditions;
mod facts;
mod images;
mod register;

pub use conditions::NODES_UNREACHABLE;
pub(crate) use facts::{labels, meminfo, translate_facts};
pub(crate) use images::keep_told as keep_images_told;
pub(crate) use register::keep_registered;
