//! Control groups: one for each pod, one below it for each container, on v1, hybrid (v1 controllers beside an empty v2
//! tree) and v2 hosts.
//!
//! Beside the pods' groups is the one of what outlives the daemon ([`survivors`]).
//!
//! Limits are planned by pure functions ([`limits`]) and written by [`Cgroup`]. The alternative refused is to go through
//! systemd's D-Bus interface: it is not there on every machine, and a delegated subtree needs nothing from it.

mod devices;
mod group;
mod hierarchy;
mod limits;
mod remove;
mod survivors;
mod usage;

pub(crate) use group::{Cgroup, CgroupError};
pub(crate) use hierarchy::Hierarchy;
pub(crate) use survivors::Survivors;
pub use survivors::outlive_daemon;
