//! Programs that are fetched and built once, and kept in the cache.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use naru_testkit::{Host, skipped};

/// What a client costs the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Seconds: it is made whenever it is needed.
    Little,
    /// Minutes: it is made in the long form of the tests, and kept.
    Much,
}

/// Where fetched things lie.
pub fn cache() -> PathBuf {
    let base = std::env::var_os("NARU_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    base.unwrap_or_else(|| home().join(".cache/naru")).join("clients")
}

/// The folder of a client, made by `make` when it is not there; `sources` are files of this repository that it is made
/// from, `version` what it is besides. `None`, said loudly, when it cannot be had.
pub fn fetched(
    name: &str,
    version: &str,
    sources: &[PathBuf],
    cost: Cost,
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut hasher = DefaultHasher::new();
    hasher.write(version.as_bytes());
    for source in sources {
        hasher.write(&fs::read(source).unwrap_or_else(|error| panic!("{}: {error}", source.display())));
    }
    let folder = cache().join(format!("{name}-{:016x}", hasher.finish()));
    // Written last: what was interrupted is made anew.
    let done = folder.join(".complete");
    if done.exists() {
        return Some(folder);
    }
    if cost == Cost::Much && std::env::var_os("NARU_LONG").is_none() {
        return skipped(&format!("{name} is not built yet, which takes minutes: `make test-long` does"));
    }
    let _ = fs::remove_dir_all(&folder);
    let made = fs::create_dir_all(&folder).map_err(|error| error.to_string()).and_then(|()| make(&folder));
    match made.and_then(|()| fs::write(&done, "").map_err(|error| error.to_string())) {
        Ok(()) => Some(folder),
        Err(why) => skipped(&format!("{name} cannot be had: {}", last_lines(&why))),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

/// Runs a step of making to its end.
pub fn step(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The go command, with what it fetches and builds in the cache; it takes modules from where this machine does.
pub fn go() -> Command {
    let mut command = Command::new("go");
    let cache = cache().join("go");
    command.env("GOMODCACHE", cache.join("modules")).env("GOCACHE", cache.join("build")).env("GOTOOLCHAIN", "local");
    command.env("GOFLAGS", "-buildvcs=false -modcacherw -trimpath").env("CGO_ENABLED", "0");
    command
}

/// A file of this folder.
pub fn source(path: &str) -> PathBuf {
    Host::repository("crates/naru/tests/clients").join(path)
}
