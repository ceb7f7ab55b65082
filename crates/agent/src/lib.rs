//! The node loop: everything one machine does for its pods.
//!
//! - [`machine`]: the life of a pod, decided purely: `step(&Desired, &Observed, now)`;
//! - `pod`: one task a pod that runs the machine's effects and folds their outcomes back;
//! - `translate`: a pod's spec as the runtime's configuration (pure);
//! - `volumes`, `probes`, `node`: what the effects need;
//! - `http`: the node's own interface (logs, exec, port-forward, images), served over any byte stream;
//! - `network`: the port through which pods get their links.
//!
//! [`Agent::start`] wires them. This crate knows the API only through [`naru_client`] and no store.

mod agent;
mod config;
pub mod machine;
mod network;
pub mod translate;

pub use agent::{Agent, StartError};
pub use config::{Config, Dns};
pub use network::{Attachment, NetworkError, PodNetwork};
