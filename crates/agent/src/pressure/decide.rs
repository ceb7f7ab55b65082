//! Which thresholds are crossed, which conditions follow, and what is to be acted upon now.

use std::{collections::BTreeMap, time::Duration};

use super::{Eviction, Figures, Signal, Threshold};

/// A figure that is older than this decides nothing: whoever read it was held up.
const STALE: Duration = Duration::from_secs(30);

/// What is remembered from one judgement to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// Since when each threshold (by its place among the settings') has been crossed.
    crossed: BTreeMap<usize, Duration>,
    /// Those acted upon, which have to be exceeded by the minimum to be done with.
    pursued: Vec<usize>,
    /// When each condition last held, and by which threshold.
    held: BTreeMap<Condition, (Duration, usize)>,
    /// When something was last done: figures from before say nothing any more.
    acted: Option<Duration>,
}

/// A pressure of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    Memory,
    Disk,
    Pid,
}

impl Condition {
    fn of(signal: Signal) -> Condition {
        match signal {
            Signal::MemoryAvailable => Condition::Memory,
            Signal::PidAvailable => Condition::Pid,
            _ => Condition::Disk,
        }
    }
}

/// The node's pressures: each with the threshold in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressures {
    pub memory: Option<String>,
    pub disk: Option<String>,
    pub pid: Option<String>,
}

impl State {
    /// Notes that something was done, which ended now.
    pub fn acted(&mut self, now: Duration) {
        self.acted = Some(now);
    }

    /// The conditions that hold.
    pub fn pressures(&self, settings: &Eviction) -> Pressures {
        let words = |condition| {
            let (_, index) = self.held.get(&condition)?;
            settings.thresholds.get(*index).map(ToString::to_string)
        };
        Pressures { memory: words(Condition::Memory), disk: words(Condition::Disk), pid: words(Condition::Pid) }
    }
}

/// Judges figures: the state from now on, and the threshold to act upon, if there is one.
///
/// Conditions begin with the first figure below a threshold, and end a while after the last, so that a node that hovers
/// around one does not get pods and lose them again and again. What is acted upon is a threshold that has been crossed for
/// its grace period; memory comes first.
pub(crate) fn decide(before: &State, settings: &Eviction, seen: &Figures, now: Duration) -> (State, Option<Threshold>) {
    let mut after = before.clone();
    let fresh = now.saturating_sub(seen.at) <= STALE && before.acted.is_none_or(|acted| seen.at >= acted);
    if fresh {
        for (index, threshold) in settings.thresholds.iter().enumerate() {
            // What could not be read stays as it was.
            let Some(short) = is_short(threshold, seen, before.pursued.contains(&index)) else { continue };
            if short {
                after.crossed.entry(index).or_insert(now);
                after.held.insert(Condition::of(threshold.signal), (now, index));
            } else {
                after.crossed.remove(&index);
            }
        }
    }
    let ended = |(last, index): &(Duration, usize)| {
        !after.crossed.contains_key(index) && now.saturating_sub(*last) >= settings.transition
    };
    let over: Vec<Condition> = after.held.iter().filter(|(_, held)| ended(held)).map(|(kind, _)| *kind).collect();
    after.held.retain(|kind, _| !over.contains(kind));
    let due = |(index, since): (&usize, &Duration)| {
        let threshold = settings.thresholds.get(*index)?;
        let grace = threshold.grace.unwrap_or_default();
        (now.saturating_sub(*since) >= grace).then_some((*index, *threshold))
    };
    let mut due: Vec<(usize, Threshold)> = after.crossed.iter().filter_map(due).collect();
    after.pursued = due.iter().map(|(index, _)| *index).collect();
    // Hard ones first among equals: they are the more urgent.
    due.sort_by_key(|(index, threshold)| (threshold.signal, threshold.grace.is_some(), *index));
    // Acted upon only by a figure that is there and new.
    let acts = due
        .into_iter()
        .map(|(_, threshold)| threshold)
        .find(|threshold| fresh && seen.signals.contains_key(&threshold.signal));
    (after, acts)
}

/// Whether less is left than there should be; nothing where nobody knows.
pub(super) fn is_short(threshold: &Threshold, seen: &Figures, pursued: bool) -> Option<bool> {
    let figure = seen.signals.get(&threshold.signal)?;
    let more = if pursued { threshold.reclaim.of(figure.capacity) } else { 0 };
    Some(figure.available < threshold.limit.of(figure.capacity).saturating_add(more))
}
