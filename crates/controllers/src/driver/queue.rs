//! Which keys are due: pure bookkeeping, no clock and no waiting.
//!
//! A key waits at most once; the earlier of two due times stays; a key that is being worked on is not handed out a
//! second time, and what is added meanwhile becomes due when it is done. A key whose look and decision took long rests
//! afterwards: what happens meanwhile is one turn, and one large object does not keep a processor busy. So does one whose
//! whole turn was slow, for then it is the server that has much to do: fewer statuses are told, and each of more.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use naru_client::ObjectRef;
use tokio::time::Instant;

/// The pause after a first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(20);
/// The longest pause after failures.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest pause after conflicts: whoever was faster will soon be seen.
const CONFLICT: Duration = Duration::from_millis(200);

/// A key may be looked at for about this part of the time, once its turns are not short ...
const REST: u32 = 10;
/// ... that is, take longer than this; so small objects are followed at once, however often they change.
const SHORT: Duration = Duration::from_millis(1);
/// A turn that takes longer than this with its writes waited in the server's queue; its key rests for as long again.
const SLOW: Duration = Duration::from_millis(50);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// How a key's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// Well; look again at this time, if any.
    Settled(Option<Instant>),
    /// Somebody else has written meanwhile.
    Conflict,
    /// With an error.
    Failed,
}

#[derive(Debug, Default)]
struct Entry {
    /// The due time and the place among equal ones.
    due: Option<(Instant, u64)>,
    running: bool,
    failures: u32,
}

/// The keys of one controller.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: HashMap<ObjectRef, Entry>,
    /// Keys that wait and are not running, by due time.
    order: BTreeMap<(Instant, u64), ObjectRef>,
    /// Keys whose last turn took long, and until when they are left alone.
    resting: HashMap<ObjectRef, Instant>,
    sequence: u64,
}

impl Queue {
    /// Makes a key due at a time, or leaves it as it is if it is due earlier.
    pub(super) fn add(&mut self, key: &ObjectRef, due: Instant) {
        self.sequence += 1;
        let due = self.resting.get(key).map_or(due, |rested| due.max(*rested));
        let place = (due, self.sequence);
        let entry = self.entries.entry(key.clone()).or_default();
        if let Some(known) = entry.due {
            if known.0 <= due {
                return;
            }
            self.order.remove(&known);
        }
        entry.due = Some(place);
        if !entry.running {
            self.order.insert(place, key.clone());
        }
    }

    /// Takes the key that has been due for longest.
    pub(super) fn pop(&mut self, now: Instant) -> Option<ObjectRef> {
        let first = self.order.first_entry().filter(|first| first.key().0 <= now)?;
        let key = first.remove();
        self.resting.remove(&key);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.due = None;
            entry.running = true;
        }
        Some(key)
    }

    /// When the next key will be due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.order.first_key_value().map(|(place, _)| place.0)
    }

    /// Notes how long looking at a key and deciding took, and the whole turn with its writes, at the turn's end.
    pub(super) fn took(&mut self, key: &ObjectRef, thought: Duration, whole: Duration, now: Instant) {
        let rest = if thought >= SHORT { thought * REST } else { Duration::ZERO };
        let rest = rest.max(if whole >= SLOW { whole } else { Duration::ZERO });
        if !rest.is_zero() {
            self.resting.insert(key.clone(), now + rest.min(LONGEST_REST));
        }
        // Those that nobody asked for again have rested.
        if self.resting.len() > 2 * self.entries.len() + 64 {
            self.resting.retain(|_, rested| *rested > now);
        }
    }

    /// How many keys wait.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Ends a key's turn; `fraction` in 0..1 spreads the pauses after failures. Returns how often it has failed.
    pub(super) fn done(&mut self, key: &ObjectRef, outcome: Done, now: Instant, fraction: f64) -> u32 {
        let Some(entry) = self.entries.get_mut(key) else { return 0 };
        entry.running = false;
        let again = match outcome {
            Done::Settled(again) => {
                entry.failures = 0;
                again
            }
            Done::Conflict | Done::Failed => {
                entry.failures += 1;
                let longest = if outcome == Done::Failed { LONGEST } else { CONFLICT };
                Some(now + pause(entry.failures, longest, fraction))
            }
        };
        let failures = entry.failures;
        // What was added during the turn waits in `due` and takes its place in the order now.
        if let Some((due, sequence)) = entry.due {
            let due = self.resting.get(key).map_or(due, |rested| due.max(*rested));
            entry.due = Some((due, sequence));
            self.order.insert((due, sequence), key.clone());
        }
        match again {
            Some(again) => self.add(key, again),
            None if entry.due.is_none() => {
                self.entries.remove(key);
            }
            None => {}
        }
        failures
    }
}

fn pause(failures: u32, longest: Duration, fraction: f64) -> Duration {
    let bound = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
    bound.mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> ObjectRef {
        ObjectRef::new("n", name)
    }

    #[test]
    fn equal_keys_are_one_and_the_earlier_time_stays() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add(&key("a"), now + Duration::from_secs(9));
        queue.add(&key("a"), now);
        queue.add(&key("a"), now + Duration::from_secs(5));
        assert_eq!((queue.len(), queue.next_due()), (1, Some(now)));
        assert_eq!(queue.pop(now), Some(key("a")));
        assert_eq!(queue.pop(now), None);
    }

    #[test]
    fn what_is_added_during_a_turn_follows_it() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add(&key("a"), now);
        assert_eq!(queue.pop(now), Some(key("a")));
        queue.add(&key("a"), now);
        assert_eq!(queue.pop(now), None, "never twice at once");
        queue.done(&key("a"), Done::Settled(None), now, 0.0);
        assert_eq!(queue.pop(now), Some(key("a")));
        queue.done(&key("a"), Done::Settled(None), now, 0.0);
        assert!(queue.entries.is_empty(), "settled keys are forgotten");
    }

    #[test]
    fn a_key_whose_turn_took_long_rests_and_what_came_meanwhile_is_one_turn() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let ms = Duration::from_millis;
        let cases = [(0, 0, 0), (5, 5, 50), (900, 900, 1_000), (0, 49, 0), (0, 80, 80), (5, 80, 80), (0, 5_000, 1_000)];
        for (took, whole, rest) in cases.map(|(took, whole, rest)| (ms(took), ms(whole), ms(rest))) {
            queue.add(&key("a"), now);
            queue.add(&key("b"), now);
            assert_eq!((queue.pop(now), queue.pop(now)), (Some(key("a")), Some(key("b"))));
            queue.took(&key("a"), took, whole, now);
            queue.add(&key("a"), now);
            queue.done(&key("a"), Done::Settled(None), now, 0.0);
            queue.done(&key("b"), Done::Settled(None), now, 0.0);
            queue.add(&key("a"), now);
            assert_eq!(queue.next_due(), Some(now + rest), "{took:?} {whole:?}");
            assert_eq!(queue.pop(now + rest), Some(key("a")));
            queue.done(&key("a"), Done::Settled(None), now + rest, 0.0);
            assert!(queue.entries.is_empty() && queue.resting.is_empty());
        }
    }

    #[test]
    fn failures_pause_longer_and_longer_until_a_turn_goes_well() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let mut pauses = Vec::new();
        queue.add(&key("a"), now);
        for _ in 0..20 {
            let due = queue.next_due().unwrap();
            queue.pop(due);
            queue.done(&key("a"), Done::Failed, now, 1.0);
            pauses.push((queue.next_due().unwrap() - now).as_millis());
        }
        assert_eq!((pauses[0], pauses[1], pauses[2], pauses[19]), (20, 40, 80, 60_000));
        queue.pop(now + LONGEST);
        let later = now + Duration::from_secs(3);
        assert_eq!(queue.done(&key("a"), Done::Settled(Some(later)), now, 1.0), 0);
        assert_eq!(queue.next_due(), Some(later));
        queue.pop(later);
        assert_eq!(queue.done(&key("a"), Done::Conflict, now, 0.0), 1);
        assert_eq!(queue.next_due(), Some(now + Duration::from_millis(10)));
    }

    proptest! {
        /// Whatever is added is handed out after it was due, exactly one turn at a time.
        #[test]
        fn no_key_is_lost(steps in prop::collection::vec((0..4_u8, 0..30_u64, any::<bool>()), 1..80)) {
            let start = Instant::now();
            let mut queue = Queue::default();
            let mut waiting: HashMap<u8, u64> = HashMap::new();
            let mut running: Vec<u8> = Vec::new();
            for (time, (name, delay, finish)) in (0_u64..).zip(steps) {
                let now = start + Duration::from_millis(time);
                queue.add(&key(&name.to_string()), now + Duration::from_millis(delay));
                let due = waiting.entry(name).or_insert(u64::MAX);
                *due = (*due).min(time + delay);
                if finish && let Some(name) = running.pop() {
                    queue.done(&key(&name.to_string()), Done::Settled(None), now, 0.0);
                }
                while let Some(popped) = queue.pop(now) {
                    let name: u8 = popped.name.parse().unwrap();
                    prop_assert!(!running.contains(&name));
                    let due = waiting.remove(&name);
                    prop_assert!(due.is_some_and(|due| due <= time));
                    running.push(name);
                }
                for (name, due) in &waiting {
                    prop_assert!(*due > time || running.contains(name), "{name} is overdue");
                }
            }
        }
    }
}
