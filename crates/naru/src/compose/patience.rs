//! How long a wait goes on when something is in the way.
//!
//! A refusal by the scheduler or a volume that cannot be mounted may mend itself a moment later (a pod ends, a disk
//! comes), so none is an error at once; but who waits should be told soon, and not be held for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::progress::Progress;

/// After so long in the same trouble the user is told.
pub(crate) const TELL: Duration = Duration::from_secs(3);
/// After so long without any way forward nobody waits any longer.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(20);

/// Since when each service is stuck.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    since: BTreeMap<String, (i64, Instant)>,
    told: BTreeSet<(String, String)>,
}

/// What a look gave.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct News {
    /// Services and their troubles, each told once.
    pub told: Vec<(String, String)>,
    /// The first service that is not waited for any longer.
    pub given_up: Option<(String, String)>,
}

impl Patience {
    /// Looks at how far the services are at `now`.
    pub fn look(&mut self, services: &BTreeSet<String>, states: &BTreeMap<String, Progress>, now: Instant) -> News {
        let mut news = News::default();
        for service in services {
            let Some(Progress::Stuck(good, why)) = states.get(service) else {
                self.since.remove(service);
                continue;
            };
            let known = self.since.entry(service.clone()).or_insert((*good, now));
            if known.0 != *good {
                // It goes on, if slowly.
                *known = (*good, now);
            }
            let stuck = now.saturating_duration_since(known.1);
            if stuck >= TELL && self.told.insert((service.clone(), why.clone())) {
                news.told.push((service.clone(), why.clone()));
            }
            if stuck >= GIVE_UP && news.given_up.is_none() {
                news.given_up = Some((service.clone(), why.clone()));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_and_given_up_only_without_progress() {
        let services: BTreeSet<String> = ["web".to_owned()].into();
        let begun = Instant::now();
        let mut patience = Patience::default();
        let mut look = |good: i64, after: u64| {
            let states = [("web".to_owned(), Progress::Stuck(good, "no room".to_owned()))].into();
            patience.look(&services, &states, begun + Duration::from_secs(after))
        };
        let trouble = ("web".to_owned(), "no room".to_owned());
        assert_eq!(look(1, 0), News::default());
        assert_eq!(look(1, 4), News { told: vec![trouble.clone()], given_up: None });
        assert_eq!(look(1, 5), News::default(), "told once");
        assert_eq!(look(2, 19), News::default(), "one more runs");
        assert_eq!(look(2, 30), News::default());
        assert_eq!(look(2, 40).given_up, Some(trouble));
    }

    #[test]
    fn a_trouble_that_passed_is_forgotten() {
        let services: BTreeSet<String> = ["web".to_owned()].into();
        let begun = Instant::now();
        let mut patience = Patience::default();
        let stuck: BTreeMap<_, _> = [("web".to_owned(), Progress::Stuck(0, "x".to_owned()))].into();
        patience.look(&services, &stuck, begun);
        patience.look(&services, &[("web".to_owned(), Progress::Pending(String::new()))].into(), begun + TELL);
        assert_eq!(patience.look(&services, &stuck, begun + GIVE_UP).given_up, None);
    }
}
