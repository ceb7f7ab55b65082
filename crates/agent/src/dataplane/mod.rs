//! The node's network, kept as the API wants it: informers in, rules and names out, pods attached on the way.
//!
//! Principle: there is one feed task. Whatever changes — an object, a pod that was attached here — only wakes it; it
//! reads the newest state of everything, translates it purely, and submits the result, latest wins. So an event is
//! never lost or applied out of order, and a burst costs as much as its last member. The alternative refused is a
//! handler per event that edits the rules: it must be right about every order in which events can arrive.
//!
//! Who is attached here is known better here than by the API, whose objects lag: a pod's rules are in force *before*
//! its first process starts, and an address that was let go is out of every service at once, before any controller
//! has noticed.

mod absent;
mod attach;
mod config;
mod doors;
mod feed;
mod followed;
mod nodes;
mod overlay;
mod probe;
mod secret;
mod sources;

pub use attach::Dataplane;
pub use config::{DataplaneConfig, DataplaneError};
pub use overlay::Ways;

#[cfg(test)]
mod tests;
