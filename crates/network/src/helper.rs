//! The node's helper: one small process that answers names and relays IPv6, and outlives the daemon.
//!
//! Principle: what must work while the daemon is down, and cannot live in the kernel, lives here and nothing else does.
//! Services and policies stay in the kernel by themselves; names need somebody to answer, and published ports on IPv6
//! need somebody to carry bytes, because pods have IPv4 and the loopback `::1` cannot be translated at all.
//! The alternative refused is a task inside the daemon: every upgrade would be an outage of all names.
//!
//! The helper runs in a session of its own, is told everything through a unix socket ([`Request`]), and keeps what it
//! was told on disk, so that it can be started anew by anybody at any time. The daemon finds it by its socket
//! ([`Helper`]), adopts it when it is of the same program, has another one take over otherwise, and starts it again when it
//! died.
//!
//! Inside pods, `127.0.0.11` answers as well (the address Docker's resolver has, which programs are configured with).
//! The helper opens sockets *in the pod's namespace*, on ports of the kernel's choice, and two rules there lead port 53
//! to them: so port 53 of the pod stays free for name servers that run as containers.

mod client;
mod process;
mod protocol;
mod redirect;
mod relay;
mod succession;

pub use client::{Helper, HelperConfig, HelperError, HelperProgram, HelperState};
pub use process::{HelperOptions, helper_main, serve};
pub use protocol::{PodResolver, Relay, Reply, Request, helper_version};
