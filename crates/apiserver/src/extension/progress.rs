//! How far definitions are followed, for those who wait for it.

use std::collections::BTreeSet;
use std::time::Duration;

use naru_store::Revision;

use crate::state::Core;

/// How long the answer to a write waits for its effects. The write itself is done.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far a server is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Everything that was defined up to this revision is served. Zero: nobody follows yet.
    pub(super) revision: u64,
    /// Definitions whose status is not what it should be.
    pub(super) unsettled: BTreeSet<String>,
    /// Definitions that are to be deleted and still have objects, as far as is known.
    pub(super) ending: BTreeSet<String>,
}

/// Waits until what was written to the definition `name` in `revision` has its effects: its status is written and its kind
/// is served as it says. Whoever wrote it can rely on that in their next request.
pub(crate) async fn wait(core: &Core, name: &str, revision: Revision) {
    let mut progress = core.extensions.progress.subscribe();
    if progress.borrow().revision == 0 {
        return;
    }
    let there = |p: &Progress| p.revision >= revision.0 && !p.unsettled.contains(name);
    let _ = tokio::time::timeout(PATIENCE, progress.wait_for(there)).await;
}
