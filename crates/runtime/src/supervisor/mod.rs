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
//! - [`handover`]: how a newer program takes its place;
//! - [`connection`], [`job`], [`log`], [`attempt`], [`diary`]: its parts.

mod answer;
pub(crate) mod attempt;
mod boot;
mod connection;
mod container;
mod diary;
mod end;
mod exec;
mod handover;
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

/// Entry of the hidden subcommand `naru supervisor <boot file>`, and of a program that takes a pod over. Must be called before any thread exists. Never returns:
/// it ends with 0 when the pod was destroyed or the machine goes down, with 1 when it could not be made (the reason is on stdout, as JSON).
pub fn supervisor_main(args: impl Iterator<Item = OsString>) -> ! {
    let args: Vec<OsString> = args.collect();
    match args.as_slice() {
        [file] => boot::main(file.as_ref()),
        // The boot file is named too, so that one sees whose supervisor this is.
        [what, record, _] if what == "--take-over" => handover::take_over(record),
        [what, record, _] if what == "--can-take-over" => handover::check(record),
        _ => {}
    }
    let usage = "usage: naru supervisor <boot file>; it is started by the naru daemon, not by hand\n";
    let _ = io::stderr().write_all(usage.as_bytes());
    std::process::exit(64)
}
