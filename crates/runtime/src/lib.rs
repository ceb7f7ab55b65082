//! Images, root filesystems, containers and the supervisor that holds each pod.
//!
//! - [`image`]: what a container is made from;
//! - [`pod`]: pods and their containers, as the agent sees them (the [`pod::Runtime`] port and its client side);
//! - [`supervisor_main`]: the other side, one small process a pod.

// They panic when nothing can be written, and a full disk must not end what runs.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

mod cgroup;
mod container;
pub mod image;
pub mod pod;
mod seccomp;
mod supervisor;
mod sys;

pub use cgroup::outlive_daemon;
pub use supervisor::supervisor_main;
