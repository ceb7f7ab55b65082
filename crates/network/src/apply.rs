//! Making the kernel's table what the plan says: the thin end of the data plane.
//!
//! Principle: one task owns the kernel's table, so nothing ever interleaves; what is submitted while it works coalesces
//! and only the newest survives. It remembers the table it put in place and sends deltas of it; the first time, after
//! any refusal, and when asked to, it replaces the whole table in one transaction. [`Applier::applied`] tells which
//! revision the kernel has, so that others can wait until an endpoint really left.
//!
//! Small changes go through one long-lived `nft -i`, which saves starting a process and, more, *ending* one: closing an
//! nf_tables socket waits for a grace period (18 ms), while a change itself takes one to five. It is closed when idle.

mod conntrack;
mod session;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::{Desired, NodeConfig};
use crate::plan::{self, Stale, Table};

pub use conntrack::{ConntrackError, forget};
pub use session::NftError;

use session::Nft;

/// How long the interactive `nft` is kept after its last use.
const IDLE: Duration = Duration::from_secs(10);
/// How long an endpoint that left may take to answer what was on its way to it.
const ANSWER: Duration = Duration::from_secs(1);
/// How long to wait after a refusal before the whole table is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the kernel has.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The revision of the newest model in force; 0 before the first.
    pub revision: u64,
    /// The newest model in force.
    pub desired: Option<Arc<Desired>>,
    /// Why a newer model is not in force yet; it is tried again by itself.
    pub refused: Option<Arc<NftError>>,
}

/// The handle of the task that owns the kernel's table. Dropping it stops the task and leaves the table in place.
#[derive(Debug)]
pub struct Applier {
    submit: watch::Sender<Option<(u64, Arc<Desired>)>>,
    applied: watch::Receiver<Applied>,
}

impl Applier {
    /// Starts the task on the current tokio runtime. Nothing happens in the kernel before the first submission.
    pub fn start(node: NodeConfig) -> Self {
        let (submit, wanted) = watch::channel(None);
        let (report, applied) = watch::channel(Applied::default());
        tokio::spawn(Task { node, wanted, report, nft: Nft::default(), current: None }.run());
        Self { submit, applied }
    }

    /// Asks for `desired`; a newer submission replaces one that has not been begun.
    pub fn submit(&self, revision: u64, desired: Arc<Desired>) {
        self.submit.send_replace(Some((revision, desired)));
    }

    /// What the kernel has, now and as it changes.
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.clone()
    }
}

struct Task {
    node: NodeConfig,
    wanted: watch::Receiver<Option<(u64, Arc<Desired>)>>,
    report: watch::Sender<Applied>,
    nft: Nft,
    current: Option<(Table, Arc<Desired>)>,
}

impl Task {
    async fn run(mut self) {
        loop {
            let refused = self.report.borrow().refused.is_some();
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(RETRY), if refused => {}
                () = tokio::time::sleep(IDLE), if self.nft.is_open() => {
                    self.nft.close().await;
                    continue;
                }
            }
            let wanted = self.wanted.borrow_and_update().clone();
            if let Some((revision, desired)) = wanted {
                self.apply(revision, desired).await;
            }
        }
    }

    async fn apply(&mut self, revision: u64, desired: Arc<Desired>) {
        // What concerns only names, or nothing here, needs no new plan.
        if self.current.as_ref().is_some_and(|(_, current)| *current == desired) {
            self.report.send_replace(Applied { revision, desired: Some(desired), refused: None });
            return;
        }
        let table = plan::compile(&self.node, &desired);
        let outcome = match &self.current {
            Some((current, _)) => {
                let delta = current.delta(&table);
                let outcome = if delta.is_empty() { Ok(()) } else { self.nft.change(&delta).await };
                match outcome {
                    Err(error) => {
                        tracing::warn!(error = %crate::chain(&error), "a change of the rules was refused; replacing all");
                        self.nft.replace(&table).await
                    }
                    ok => ok,
                }
            }
            None => self.nft.replace(&table).await,
        };
        if let Err(error) = outcome {
            tracing::error!(error = %crate::chain(&error), revision, "the kernel refused the rules");
            // What the kernel has now is unknown: the next attempt replaces everything.
            self.current = None;
            self.report.send_modify(|applied| applied.refused = Some(Arc::new(error)));
            return;
        }
        let previous = self.current.as_ref().map(|(_, previous)| previous);
        let stale = previous.map(|previous| plan::stale(previous, &desired)).unwrap_or_default();
        let unanswered = previous.map(|previous| plan::unanswered(previous, &desired)).unwrap_or_default();
        self.current = Some((table, desired.clone()));
        if !stale.is_empty()
            && let Ok(Err(error)) = tokio::task::spawn_blocking(move || forget(&stale)).await
        {
            tracing::warn!(error = %crate::chain(&error), "connections to gone endpoints may linger");
        }
        if !unanswered.is_empty() {
            tokio::spawn(forget_later(unanswered));
        }
        self.report.send_replace(Applied { revision, desired: Some(desired), refused: None });
    }
}

/// Forgets connections that were not answered in time.
async fn forget_later(unanswered: BTreeSet<Stale>) {
    tokio::time::sleep(ANSWER).await;
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || forget(&unanswered)).await {
        tracing::warn!(error = %crate::chain(&error), "connections to lost endpoints may linger");
    }
}

/// Removes the table. A table that is not there is fine.
pub async fn remove_table() -> Result<(), NftError> {
    let table = plan::TABLE;
    session::run(format!("add table {table}\ndelete table {table}\n")).await
}
