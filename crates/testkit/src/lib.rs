//! Development only: hosts for tests that drive the real program with real containers.
//!
//! A [`Host`] is a machine in little: network namespaces of its own (one for the host, one for a neighbour on the same
//! wire), state and run folders of its own, and a server of its own. Several run side by side and beside a real Naru.
//! What a test makes is removed by a [janitor](Host) process that outlives the test, so that a failed, aborted or killed
//! test leaves nothing behind either; [`Leaks`] counts what the *program* left before the janitor comes.
//!
//! The interface is synchronous on purpose: a test reads like a person at a shell, and waits for values
//! ([`eventually`]), never for time. The alternative, an asynchronous client over the API, would test our client and not
//! what users type.

mod address;
mod capture;
mod clock;
mod cluster;
mod etcd;
mod fault;
mod host;
mod http;
mod images;
mod lan;
mod leaks;
mod load;
mod namespace;
mod process;
mod project;
mod require;
mod wait;

pub use address::{NEIGHBOUR, NODE};
pub use capture::{Capture, Frames};
pub use cluster::{Cluster, SeenPod};
pub use etcd::{Etcd, EtcdSetup};
pub use fault::Fault;
pub use host::{Host, HostOptions, shared_host};
pub use http::{Answer, get_here};
pub use images::Image;
pub use lan::{Lan, ROUTER};
pub use leaks::Leaks;
pub use load::{Load, under_load};
pub use process::{Output, Running};
pub use project::Project;
pub use require::{missing, skipped};
pub use wait::{DEADLINE, eventually, eventually_within, until};
