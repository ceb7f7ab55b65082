//! Thresholds.

/// Counts results in a row; the verdict changes when a threshold is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    successes_needed: u32,
    failures_needed: u32,
    last: Option<bool>,
    run: u32,
    verdict: Option<bool>,
}

impl Counter {
    /// With thresholds of at least one.
    pub fn new(successes_needed: u32, failures_needed: u32) -> Counter {
        Counter {
            successes_needed: successes_needed.max(1),
            failures_needed: failures_needed.max(1),
            last: None,
            run: 0,
            verdict: None,
        }
    }

    /// Takes one result; returns the verdict when it changes.
    pub fn take(&mut self, success: bool) -> Option<bool> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let needed = if success { self.successes_needed } else { self.failures_needed };
        if self.run >= needed && self.verdict != Some(success) {
            self.verdict = Some(success);
            return self.verdict;
        }
        None
    }
}
