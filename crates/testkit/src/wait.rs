//! Waiting for a value, with a deadline that only a hung machine reaches.

use std::time::{Duration, Instant};

/// How long a value may take to come: generous, because the machine may be loaded. No test asserts that it took less.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(40);

/// Looks until `look` gives a value.
///
/// # Panics
/// When the deadline passes; says what the last look saw.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(DEADLINE, what, look)
}

/// The same with a deadline of its own.
///
/// # Panics
/// When the deadline passes; says what the last look saw.
#[track_caller]
pub fn eventually_within<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > end => panic!("not within {deadline:?}: {what}; last seen: {seen}"),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Looks until `holds`; `seen` is what a failure shows.
///
/// # Panics
/// When the deadline passes.
#[track_caller]
pub fn until<T: std::fmt::Debug>(what: &str, mut look: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    eventually(what, || {
        let seen = look();
        if holds(&seen) { Ok(seen) } else { Err(format!("{seen:?}")) }
    })
}
