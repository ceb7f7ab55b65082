//! Events are forgotten some time after they last changed: they tell what happened lately, and a cluster makes them for
//! ever.
//!
//! When an object last changed is known by its revision alone: every so often the present revision is noted with the
//! time, and what was not changed since a note that is old enough has had its time. Refused: reading time stamps out of
//! every event, which clients write as they like. After a restart the count begins anew, so nothing goes early.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use naru_store::{Prefix, Revision};
use tokio::time::Instant;

use crate::state::Core;
use crate::write::{Expect, Plan};

const EVENTS: &str = "events";
/// Notes a life: how exactly it is kept.
const NOTES: u32 = 30;

/// What was the present revision when.
#[derive(Debug, Default)]
struct Notes(VecDeque<(Instant, Revision)>);

// === impl Notes ===

impl Notes {
    /// Notes the present and answers the revision below which nothing changed for a whole `life`.
    fn advance(&mut self, now: Instant, present: Revision, life: Duration) -> Option<Revision> {
        self.0.push_back((now, present));
        let mut old = None;
        while let Some((at, revision)) = self.0.front().copied()
            && now.duration_since(at) >= life
        {
            old = Some(revision);
            self.0.pop_front();
        }
        old
    }
}

/// Removes events that had their time, for ever.
pub(crate) async fn run(core: Arc<Core>) {
    let life = core.settings.event_life;
    let mut tick = tokio::time::interval((life / NOTES).max(Duration::from_millis(10)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut notes = Notes::default();
    loop {
        tick.tick().await;
        let present = core.store.snapshot().revision();
        let Some(old) = notes.advance(Instant::now(), present, life) else { continue };
        let snapshot = core.store.snapshot();
        let prefix = Prefix::collection(EVENTS);
        let expired: Vec<_> = snapshot.range(&prefix).filter(|e| e.modified <= old).cloned().collect();
        for entry in expired {
            // One that changed in this moment stays, and one that someone else removed is gone: both are fine.
            let _ = Plan::delete(entry.key.clone(), Expect::At(entry.modified)).commit(&core).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_change_for_a_life_is_old() {
        let (start, life) = (Instant::now(), Duration::from_secs(60));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut notes = Notes::default();
        assert_eq!(notes.advance(at(0), Revision(5), life), None);
        assert_eq!(notes.advance(at(30), Revision(7), life), None);
        assert_eq!(notes.advance(at(60), Revision(9), life), Some(Revision(5)));
        assert_eq!(notes.advance(at(61), Revision(9), life), None);
        assert_eq!(notes.advance(at(200), Revision(9), life), Some(Revision(9)), "the newest of several that are old");
    }
}
