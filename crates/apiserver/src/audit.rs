//! The audit log: who asked for what, and what came of it, as the policy of the cluster's owner wants it written down.
//!
//! [`policy`] decides how much of a request is written, purely. A request that is written down at all has a [`Trail`],
//! which gathers the [`event`] while the request is worked on and writes it at each stage; the last one when nobody works
//! on the request any more, however that came about. [`log`] takes lines from all of them and writes them from a thread of
//! its own. Refused: writing where the request is worked on, by which a slow disk would be a slow server; and dropping
//! without a word when there is too much, which is counted here, and logged.
//!
//! Without a policy there is no log, and a request costs one look at whether there is.

mod event;
mod log;
mod policy;
mod trail;

use std::path::PathBuf;

use event::Level;
pub(crate) use log::Counters;
use log::Writer;
use policy::Policy;
pub(crate) use trail::{Begun, Trail};

/// Where the audit log goes and how much of it is kept.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// A file with an `audit.k8s.io/v1 Policy`, as YAML or JSON.
    pub policy: PathBuf,
    /// The file that is written to; `-` for the standard output.
    pub path: PathBuf,
    /// For how many days files that were put aside are kept; 0: for ever.
    pub max_age: u32,
    /// How many of them are kept; 0: all.
    pub max_backups: u32,
    /// From which size on the file is put aside and begun anew, in megabytes.
    pub max_size: u32,
}

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The policy cannot be read.
    #[error("cannot read the audit policy {path}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The policy is none.
    #[error("the audit policy {path} cannot be used: {why}")]
    Meaning {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The log cannot be written.
    #[error("cannot write the audit log {path}")]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// An open audit log.
pub struct AuditLog {
    policy: Policy,
    writer: Writer,
}

// === impl AuditLog ===

impl AuditLog {
    /// Reads the policy and opens the log.
    ///
    /// # Errors
    /// When either cannot be used.
    pub fn open(settings: &AuditSettings) -> Result<AuditLog, AuditError> {
        let path = settings.policy.clone();
        let text = std::fs::read(&path).map_err(|source| AuditError::Policy { path: path.clone(), source })?;
        let policy = Policy::read(&text).map_err(|why| AuditError::Meaning { path, why })?;
        let writer =
            Writer::open(settings).map_err(|source| AuditError::Log { path: settings.path.clone(), source })?;
        Ok(AuditLog { policy, writer })
    }

    /// Writes what is waiting, and nothing after it.
    pub fn close(&self) {
        self.writer.close();
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.writer.counters()
    }

    fn write(&self, event: &event::Event) {
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        self.writer.push(&line);
    }

    fn judged(&self, level: Level) {
        self.counters().judged(level);
    }
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditLog").field("policy", &self.policy).finish_non_exhaustive()
    }
}
