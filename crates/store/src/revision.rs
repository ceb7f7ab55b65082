//! The one clock of the store: every transaction gets the next number.

use std::fmt;

/// A point in the store's history: 64 bits, global, one more for every transaction, never reused and never going back
/// (also not across a restore or a change of engine, see [`Options::raise_above`](crate::Options::raise_above)).
/// Objects' `resourceVersion` is this number in decimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of the transaction after this one.
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
