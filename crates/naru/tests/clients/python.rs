//! Python's library, through the parts of `python.py`.

use std::process::Command;

use naru_testkit::{Output, missing};

use crate::Space;
use crate::fetched::{Cost, fetched, source, step};

const VERSION: &str = "kubernetes==36.0.3";

/// Runs one part of the script in a namespace of its own; it must come to its end.
#[track_caller]
fn part(name: &str, namespace: &'static str) -> Option<Output> {
    if missing(&["python3"]) {
        return None;
    }
    let folder = fetched("python", VERSION, &[], Cost::Little, |folder| {
        step(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        step(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", VERSION]))
    })?;
    let space = Space::new(namespace)?;
    let mut command = space.command(folder.join("bin/python"));
    command.arg("-W").arg("ignore").arg("-B").arg(source("python.py")).arg(name);
    Some(space.host.run(command, b"").ok().says(&[&format!("{name} done")]))
}

#[test]
fn objects_are_followed_as_informers_do() {
    part("informer", "py-informer");
}

#[test]
fn objects_are_patched_in_every_language() {
    part("patches", "py-patches");
}

#[test]
fn pods_are_run_followed_and_evicted() {
    part("pods", "py-pods");
}

#[test]
fn any_kind_is_used_dynamically() {
    part("dynamic", "py-dynamic");
}

#[test]
fn refusals_have_their_status_and_reason() {
    part("refusals", "py-refusals");
}
