//! What a node remembers of a change of its program: one small file, replaced as a whole.

use std::path::PathBuf;

use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::file::Program;
use crate::cli::Place;

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Files are exchanged, the new program starts, everything is looked at.
    Replacing,
    /// The new program runs and everything is as it was.
    Confirmed,
    /// The old program was put back.
    RolledBack,
    /// It was broken off before the new program began; nothing has changed.
    Interrupted,
}

/// A container that ran before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ran {
    pub pod: String,
    pub container: String,
    pub pid: i32,
}

/// A change on its way, or the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    pub phase: Phase,
    pub from: Program,
    pub to: Program,
    /// Where the program is.
    pub path: PathBuf,
    /// The daemon's process, which stays the same.
    pub process: i32,
    /// Whose child it was: who would start it again.
    pub parent: i32,
    /// What it was started with, the program's name first.
    pub arguments: Vec<String>,
    pub begun: Timestamp,
    /// When it must be confirmed.
    pub until: Timestamp,
    /// Of the machine's start: containers do not outlive the next.
    pub boot: String,
    /// What ran then.
    pub ran: Vec<Ran>,
    /// What is waited for, or what went wrong.
    pub why: String,
}

fn path(place: &Place) -> PathBuf {
    place.state_dir.join("upgrade.json")
}

impl Change {
    /// The last one of this node.
    pub fn read(place: &Place) -> Option<Change> {
        serde_json::from_slice(&std::fs::read(path(place)).ok()?).ok()
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn write(&self, place: &Place) -> anyhow::Result<()> {
        let path = path(place);
        let text = serde_json::to_vec_pretty(self)?;
        naru_identity::write_file(&path, &text, 0o600).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes a phase and what is said of it, if the change is still the one of this beginning and on its way.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn tell(&mut self, place: &Place, phase: Phase, why: &str) -> anyhow::Result<()> {
        let current = Change::read(place);
        if current.is_none_or(|current| current.begun != self.begun || current.phase != Phase::Replacing) {
            return Ok(());
        }
        if self.phase == phase && self.why == why {
            return Ok(());
        }
        (self.phase, self.why) = (phase, why.to_owned());
        self.write(place)
    }
}

/// Which start of the machine this is.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
