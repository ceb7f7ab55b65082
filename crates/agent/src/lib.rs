//! The node loop: everything one machine does for its pods.
//!
//! - [`machine`]: the life of a pod, decided purely: `step(&Desired, &Observed, now)`;
//! - `fleet`: which pods this node has, and who is told what;
//! - `pod`: one task a pod that runs the machine's effects and folds their outcomes back;
//! - [`translate`]: a pod's spec as the runtime's configuration (pure);
//! - `pressure`: what is done when the machine runs short of memory, disk, inodes or processes;
//! - `volumes`, `probes`, `logs`, `node`: what the effects and the interface need;
//! - `http`: the node's own interface (logs, exec, port-forward, images), served over any byte stream;
//! - `network`: the port through which pods get their links.
//!
//! [`Agent::start`] wires them. This crate knows the API only through [`naru_client`] and no store.

mod agent;
mod config;
pub mod dataplane;
mod fleet;
mod http;
mod logs;
pub mod machine;
mod network;
mod node;
mod pod;
mod pressure;
mod probes;
pub mod translate;
mod volumes;

pub use agent::{Agent, NodeProgram, StartError};
pub use config::{Config, Dns};
use naru_client::chain;
pub use network::{Attachment, NetworkError, PodNetwork};
pub use node::NODES_UNREACHABLE;
pub use pressure::{Eviction, EvictionError, Signal};
