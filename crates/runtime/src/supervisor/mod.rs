//! The supervisor: one small process a pod, which holds its namespaces and outlives the daemon.
//!
//! It only polls: output pipes into log files, ended children into exit files, requests from its socket. Whatever could
//! take long (setting up a container, entering one, removing groups) happens in children it clones, so that a hung call
//! stalls nobody's logs; having a single thread, it may clone freely. Nothing it does waits for a client: answers are
//! queued, and a client whose queue grows too long is cut off. The alternative refused is one node-wide supervisor: it
//! would be one more daemon whose end or upgrade touches every container.
//!
//! - [`boot`]: from the command line to a pod without containers;
//! - [`run`]: the loop, with [`container`], [`start`], [`exec`] and [`end`] for what happens in it;
//! - [`power`]: what it does when the machine goes down;
//! - [`connection`], [`job`], [`log`], [`attempt`], [`diary`]: its parts.

mod answer;
pub(crate) mod attempt;
mod boot;
mod connection;
mod container;
mod diary;
mod end;
mod exec;
mod job;
mod log;
mod power;
mod run;
mod start;

use run::Supervisor;

use std::{
    ffi::OsString,
    io::{self, Write},
};

/// Entry of the hidden subcommand `naru supervisor <boot file>`. Must be called before any thread exists. Never returns:
/// it ends with 0 when the pod was destroyed or the machine goes down, with 1 when it could not be made (the reason is on stdout, as JSON).
pub fn supervisor_main(args: impl Iterator<Item = OsString>) -> ! {
    let mut args = args;
    let (Some(file), None) = (args.next(), args.next()) else {
        let usage = "usage: naru supervisor <boot file>; it is started by the naru daemon, not by hand\n";
        let _ = io::stderr().write_all(usage.as_bytes());
        std::process::exit(64);
    };
    boot::main(file.as_ref())
}
