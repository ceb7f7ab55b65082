//! Rust's kube library, through the parts of `rust/src/main.rs`.

use std::process::Command;

use crate::Space;
use crate::fetched::{Cost, cache, fetched, source, step};

#[track_caller]
fn part(name: &str, namespace: &'static str) {
    let sources = ["Cargo.toml", "Cargo.lock", "src/main.rs"].map(|file| source("rust").join(file));
    let folder = fetched("kube-rs", "1", &sources, Cost::Much, |folder| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = cache().join("kube-rs-target");
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(source("rust").join("Cargo.toml"));
        step(command.env("CARGO_TARGET_DIR", &target))?;
        let program = target.join("debug/client");
        std::fs::copy(&program, folder.join("client")).map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(())
    });
    let Some(folder) = folder else { return };
    let Some(space) = Space::new(namespace) else { return };
    let mut command = space.command(folder.join("client"));
    command.arg(name);
    space.host.run(command, b"").ok().says(&[&format!("{name} done")]);
}

#[test]
fn objects_are_written_patched_and_watched() {
    part("objects", "rs-objects");
}

#[test]
fn stores_are_kept_by_watchers() {
    part("followed", "rs-followed");
}

#[test]
fn a_controller_feeds_its_kind_and_cleans_up() {
    part("controller", "rs-controller");
}

#[test]
fn pods_are_entered_and_forwarded() {
    part("streams", "rs-streams");
}
