//! A container's creation, as its own first process performs it.
//!
//! The supervisor clones a child straight into the new namespaces; the child builds its root, its mounts and its limits
//! around itself and then executes the program, reporting over a socket that closes with the exec. Nothing is ever mounted
//! in the host's namespace, so that the kernel removes everything when the process ends, however it ends. The alternatives
//! refused are an OCI runtime program (a process tree, a JSON file and 20 to 50 ms a start) and libcontainer (the same work
//! behind channels between three processes; four to eight times slower).

mod device;
mod failure;
mod init;
mod launch;
mod mask;
mod mounts;
mod policy;
mod process;
mod program;
mod report;
mod root;
mod target;
mod user;

pub(crate) use init::pause;
pub(crate) use launch::{Launch, launch};
pub(crate) use process::{Enter, ProcessSpec, Streams, enter};
pub(crate) use report::{Report, Reporter, read_report, report_pair};
