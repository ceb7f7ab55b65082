//! Counters of requests that are alike: by the code of the answer, and by how long it took.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;

use super::labels::PLACES;

/// The status codes that are counted by themselves; others count with the last of their hundred.
pub(super) const CODES: [u16; 21] =
    [101, 200, 201, 202, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 413, 415, 422, 429, 500, 503, 504];
/// The bounds of durations, in milliseconds: those of Kubernetes.
pub(super) const BOUNDS: [u64; 23] = [
    5, 25, 50, 100, 200, 400, 600, 800, 1000, 1250, 1500, 2000, 3000, 4000, 5000, 6000, 8000, 10_000, 15_000, 20_000,
    30_000, 45_000, 60_000,
];

/// Counters of requests that are alike.
pub(crate) struct Series {
    codes: [AtomicU64; CODES.len()],
    /// How many took at most so long, and more than the bound before; the last: longer than all bounds.
    took: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

/// The counters of one path, a place for each kind of request.
pub(super) struct SeriesGrid([OnceLock<Box<Series>>; PLACES]);

// === impl Series ===

impl Default for Series {
    fn default() -> Self {
        Self {
            codes: std::array::from_fn(|_| AtomicU64::new(0)),
            took: std::array::from_fn(|_| AtomicU64::new(0)),
            microseconds: AtomicU64::new(0),
        }
    }
}

impl Series {
    /// Counts an answer.
    pub(crate) fn answered(&self, code: StatusCode, took: Duration) {
        let code = code.as_u16();
        let column = CODES
            .iter()
            .position(|known| *known == code)
            .unwrap_or_else(|| CODES.iter().rposition(|known| known / 100 == code / 100).unwrap_or(CODES.len() - 1));
        self.codes[column].fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|bound| bound * 1000 < micros);
        self.took[at].fetch_add(1, Relaxed);
        self.microseconds.fetch_add(micros, Relaxed);
    }

    /// How many answers had which code, of the codes that there were.
    pub(super) fn codes(&self) -> impl Iterator<Item = (u16, u64)> {
        let all = CODES.into_iter().zip(&self.codes).map(|(code, count)| (code, count.load(Relaxed)));
        all.filter(|(_, count)| *count > 0)
    }

    /// How many answers took at most so many milliseconds.
    pub(super) fn took(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut all = 0;
        BOUNDS.into_iter().zip(&self.took).map(move |(bound, count)| {
            all += count.load(Relaxed);
            (bound, all)
        })
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.took.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// How long they took together, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.microseconds.load(Relaxed) as f64 / 1e6
    }
}

// === impl SeriesGrid ===

impl Default for SeriesGrid {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl SeriesGrid {
    pub(super) fn at(&self, place: usize) -> &Series {
        self.0[place].get_or_init(Box::default)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Series)> {
        self.0.iter().enumerate().filter_map(|(place, series)| Some((place, &**series.get()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_code_and_by_time() {
        let series = Series::default();
        series.answered(StatusCode::OK, Duration::from_millis(5));
        series.answered(StatusCode::OK, Duration::from_micros(5001));
        series.answered(StatusCode::NOT_FOUND, Duration::from_secs(100));
        series.answered(StatusCode::IM_A_TEAPOT, Duration::ZERO);
        assert_eq!(series.codes().collect::<Vec<_>>(), [(200, 2), (404, 1), (429, 1)]);
        let took: Vec<u64> = series.took().map(|(_, count)| count).collect();
        assert_eq!((took[0], took[1], took[BOUNDS.len() - 1]), (2, 3, 3));
        assert_eq!(series.count(), 4);
        assert!((series.seconds() - 100.010_001).abs() < 1e-9);
    }
}
