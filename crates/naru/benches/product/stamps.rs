//! Times that containers print about themselves.
//!
//! They are read from the wall clock, which containers share with the machine; a clock that was stepped during a
//! measurement would spoil it, so [`Clock`] tells whether it was.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long something may take before a benchmark gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(1);

/// Says at the end whether the wall clock was stepped meanwhile.
pub struct Clock(Instant, SystemTime);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now(), SystemTime::now())
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let wall = self.1.elapsed().unwrap_or_default();
        let off = wall.abs_diff(self.0.elapsed());
        if off > Duration::from_millis(2) {
            println!("    the wall clock was stepped by {off:?} meanwhile: these figures are not to be trusted");
        }
    }
}

/// The stamp in a container's log, when it is there.
pub fn stamp(log: &Path) -> Option<SystemTime> {
    let text = std::fs::read_to_string(log).ok()?;
    let digits: String = text.split("first ").nth(1)?.chars().take_while(char::is_ascii_digit).collect();
    Some(UNIX_EPOCH + Duration::from_nanos(digits.parse().ok()?))
}

/// Waits for a stamp.
pub fn await_stamp(log: &Path) -> SystemTime {
    wait(&format!("a first line in {}", log.display()), || stamp(log))
}

/// Waits for a value, looking every millisecond.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// The time from `begin` to `end` on the wall clock.
pub fn between(begin: SystemTime, end: SystemTime) -> Duration {
    end.duration_since(begin).unwrap_or_default()
}

/// Every stamp in files whose names end with `ending`, some folders below `folder`.
pub fn stamps_below(folder: &Path, ending: &str) -> Vec<SystemTime> {
    files(folder, ending).iter().filter_map(|log| stamp(log)).collect()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path, ending)),
            Ok(_) if path.to_string_lossy().ends_with(ending) => found.push(path),
            _ => {}
        }
    }
    found
}
