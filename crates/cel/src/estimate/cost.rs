//! Ranges of costs and sizes, and how they add up. Nothing overflows: what is too much is as much as there is.

use std::ops::Add;

/// A range: of what something costs, or of how large something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// At least so much.
    pub min: u64,
    /// At most so much.
    pub max: u64,
}

impl Cost {
    /// Nothing is known.
    pub(super) const UNKNOWN: Cost = Cost { min: 0, max: u64::MAX };

    /// Exactly so much.
    pub(super) const fn fixed(value: u64) -> Cost {
        Cost { min: value, max: value }
    }

    /// Times a factor, rounded up.
    pub(super) fn scaled(self, factor: f64) -> Cost {
        Cost { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    /// Once for each.
    pub(super) fn times(self, other: Cost) -> Cost {
        Cost { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Either.
    pub(super) fn union(self, other: Cost) -> Cost {
        Cost { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }
}

fn scaled(value: u64, factor: f64) -> u64 {
    // A cast of what is too large gives the largest.
    (value as f64 * factor).ceil() as u64
}
