//! Thresholds and times, in kubelet's words.

use std::{collections::BTreeMap, fmt, time::Duration};

use naru_api::Quantity;

/// What can run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Bytes of memory that could be given out.
    MemoryAvailable,
    /// Free bytes where the state is.
    NodefsAvailable,
    /// Free inodes there.
    NodefsInodesFree,
    /// Free bytes where images are.
    ImagefsAvailable,
    /// Free inodes there.
    ImagefsInodesFree,
    /// Processes that could still be started.
    PidAvailable,
}

impl Signal {
    /// All of them, those of memory first: the order in which they are acted upon.
    pub const ALL: [Signal; 6] = [
        Signal::MemoryAvailable,
        Signal::NodefsAvailable,
        Signal::NodefsInodesFree,
        Signal::ImagefsAvailable,
        Signal::ImagefsInodesFree,
        Signal::PidAvailable,
    ];

    /// kubelet's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Signal::MemoryAvailable => "memory.available",
            Signal::NodefsAvailable => "nodefs.available",
            Signal::NodefsInodesFree => "nodefs.inodesFree",
            Signal::ImagefsAvailable => "imagefs.available",
            Signal::ImagefsInodesFree => "imagefs.inodesFree",
            Signal::PidAvailable => "pid.available",
        }
    }

    /// The resource that pods are told is short.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Signal::MemoryAvailable => "memory",
            Signal::NodefsAvailable | Signal::ImagefsAvailable => "ephemeral-storage",
            Signal::NodefsInodesFree | Signal::ImagefsInodesFree => "inodes",
            Signal::PidAvailable => "pids",
        }
    }

    /// Whether images and folders of pods that ended take of it.
    pub(crate) fn is_disk(self) -> bool {
        !matches!(self, Signal::MemoryAvailable | Signal::PidAvailable)
    }

    fn of(name: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.name() == name)
    }
}

/// So much of something: a number, or a part of the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    /// Bytes, inodes or processes.
    Absolute(i64),
    /// A part of what there is, from 0 to 1.
    Part(f64),
}

impl Amount {
    fn parse(text: &str) -> Option<Amount> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().ok()?;
            return (0.0..=100.0).contains(&percent).then_some(Amount::Part(percent / 100.0));
        }
        let quantity = Quantity::parse(text).ok()?.value();
        (quantity >= 0).then_some(Amount::Absolute(quantity))
    }

    /// Of a whole.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // thresholds are no exact science
    pub(crate) fn of(self, capacity: i64) -> i64 {
        match self {
            Amount::Absolute(amount) => amount,
            Amount::Part(part) => (capacity as f64 * part) as i64,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Absolute(amount) => write!(f, "{}", shown(*amount)),
            Amount::Part(part) => write!(f, "{}%", part * 100.0),
        }
    }
}

/// A number as quantities are written: with the largest binary suffix that leaves it whole.
pub(crate) fn shown(amount: i64) -> String {
    const SUFFIXES: [(&str, i64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let whole = SUFFIXES.iter().find(|(_, unit)| amount != 0 && amount % unit == 0);
    whole.map_or_else(|| amount.to_string(), |(suffix, unit)| format!("{}{suffix}", amount / unit))
}

/// Below this a signal is acted upon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threshold {
    /// What runs short.
    pub signal: Signal,
    /// What should be left.
    pub limit: Amount,
    /// How long it may be short; at once (and pods are ended at once) where that is not said.
    pub grace: Option<Duration>,
    /// How much more than the limit is freed once it is acted upon.
    pub reclaim: Amount,
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}<{}", self.signal.name(), self.limit)
    }
}

/// When and how pods are evicted because the node runs short of something.
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    pub(crate) thresholds: Vec<Threshold>,
    /// How long a node keeps a pressure condition after the pressure ended.
    pub(crate) transition: Duration,
    /// The longest grace of a pod that is evicted for a soft threshold.
    pub(crate) pod_grace: Duration,
}

/// Words that are no thresholds.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no {what}: expected {expected}, separated by commas, with signals {}", Signal::ALL.map(Signal::name).join(", "))]
pub struct EvictionError {
    text: String,
    what: &'static str,
    expected: &'static str,
}

impl Eviction {
    /// kubelet's defaults; it has none for processes, where this has a tenth.
    pub const HARD: &'static str = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,\
                                    imagefs.available<15%,imagefs.inodesFree<5%,pid.available<10%";

    /// From the words of kubelet's options of these names.
    ///
    /// # Errors
    /// What is not understood, and a soft threshold without a grace period.
    pub fn parse(
        hard: &str,
        soft: &str,
        soft_grace: &str,
        minimum_reclaim: &str,
        transition: Duration,
        pod_grace: Duration,
    ) -> Result<Eviction, EvictionError> {
        let expected = "SIGNAL<AMOUNT or SIGNAL<PERCENT%";
        let hard_limits = pairs(hard, '<', "threshold", expected, Amount::parse)?;
        let soft_limits = pairs(soft, '<', "threshold", expected, Amount::parse)?;
        let graces = pairs(soft_grace, '=', "grace period", "SIGNAL=DURATION", duration)?;
        let reclaims = pairs(minimum_reclaim, '=', "minimum reclaim", "SIGNAL=AMOUNT", Amount::parse)?;
        let reclaim = |signal: &Signal| reclaims.get(signal).copied().unwrap_or(Amount::Absolute(0));
        let mut thresholds: Vec<Threshold> = hard_limits
            .iter()
            .map(|(signal, limit)| Threshold { signal: *signal, limit: *limit, grace: None, reclaim: reclaim(signal) })
            .collect();
        for (signal, limit) in &soft_limits {
            let grace = graces.get(signal).copied().ok_or(EvictionError {
                text: format!("{}<{limit}", signal.name()),
                what: "soft threshold by itself",
                expected: "a grace period for it (--eviction-soft-grace-period SIGNAL=DURATION)",
            })?;
            thresholds.push(Threshold { signal: *signal, limit: *limit, grace: Some(grace), reclaim: reclaim(signal) });
        }
        Ok(Eviction { thresholds, transition, pod_grace })
    }
}

impl Default for Eviction {
    fn default() -> Eviction {
        let limits = pairs(Eviction::HARD, '<', "threshold", "", Amount::parse).unwrap_or_default();
        let threshold = |(signal, limit): (&Signal, &Amount)| Threshold {
            signal: *signal,
            limit: *limit,
            grace: None,
            reclaim: Amount::Absolute(0),
        };
        Eviction {
            thresholds: limits.iter().map(threshold).collect(),
            transition: Duration::from_secs(300),
            pod_grace: Duration::ZERO,
        }
    }
}

fn pairs<T>(
    text: &str,
    separator: char,
    what: &'static str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<BTreeMap<Signal, T>, EvictionError> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let pair = |word: &str| {
        let (name, value) = word.split_once(separator)?;
        Some((Signal::of(name.trim())?, parse(value.trim())?))
    };
    words.map(|word| pair(word).ok_or_else(|| EvictionError { text: word.to_owned(), what, expected })).collect()
}

/// `90s`, `1m30s`, `2h`.
fn duration(text: &str) -> Option<Duration> {
    let (mut total, mut number) = (Duration::ZERO, String::new());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let amount: u32 = std::mem::take(&mut number).parse().ok()?;
        let unit = match letter {
            'm' if letters.next_if_eq(&'s').is_some() => Duration::from_millis(1),
            's' => Duration::from_secs(1),
            'm' => Duration::from_secs(60),
            'h' => Duration::from_secs(3600),
            _ => return None,
        };
        total += unit * amount;
    }
    (number.is_empty() && !text.is_empty()).then_some(total)
}
