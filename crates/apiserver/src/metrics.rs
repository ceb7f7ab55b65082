//! The server's own counters, under the names that dashboards for Kubernetes know.
//!
//! What is counted a request lies with the route that the request took ([`Meters`]): found without looking for it, and
//! changed by one atomic addition. A route that nobody takes has none; a kind that is gone takes its numbers along.
//! [`text`] makes of all of them what Prometheus reads. Refused: a table of labels for the whole server, behind a lock.

mod labels;
mod process;
mod series;
mod text;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

pub(crate) use labels::{Labels, Scope};
use series::{Series, SeriesGrid};
pub(crate) use text::{head, text};

/// Counters of one server.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Requests that are about no resource, and such as did not get to one.
    pub(crate) plain: Series,
    /// Watches that run now.
    pub(crate) watches: Gauge,
    /// Requests that are worked on now and change nothing, without watches.
    pub(crate) reading: Gauge,
    /// Requests that are worked on now and may change something.
    pub(crate) writing: Gauge,
    /// Connections that are open now.
    pub(crate) connections: Gauge,
}

/// Counters of one route.
#[derive(Default)]
pub(crate) struct Meters {
    main: OnceLock<Box<SeriesGrid>>,
    below: OnceLock<Box<[OnceLock<Box<SeriesGrid>>; labels::SUBRESOURCES]>>,
    /// Watches that run now.
    pub(crate) watches: Gauge,
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

/// One more until dropped.
pub(crate) struct Held<'a>(&'a Gauge);

// === impl Gauge ===

impl Gauge {
    pub(crate) fn hold(&self) -> Held<'_> {
        self.add(1);
        Held(self)
    }

    pub(crate) fn add(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

// === impl Meters ===

impl Meters {
    /// The counters under these labels; made when they are needed first.
    pub(crate) fn series(&self, labels: &Labels) -> &Series {
        let grid = match labels.subresource() {
            None => &self.main,
            Some(at) => &self.below.get_or_init(Box::default)[at],
        };
        grid.get_or_init(Box::default).at(labels.place())
    }

    /// All counters that there are, with their labels.
    fn each(&self, mut see: impl FnMut(&Labels, &Series)) {
        let mut grid = |subresource: Option<usize>, grid: &OnceLock<Box<SeriesGrid>>| {
            for (place, series) in grid.get().into_iter().flat_map(|grid| grid.iter()) {
                see(&Labels::of(subresource, place), series);
            }
        };
        grid(None, &self.main);
        for (at, below) in self.below.get().into_iter().flat_map(|below| below.iter().enumerate()) {
            grid(Some(at), below);
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::path::Verb;
    use http::StatusCode;
    use std::time::Duration;

    #[test]
    fn requests_are_counted_apart_by_what_they_are() {
        let meters = Meters::default();
        let count = |labels: &Labels| {
            meters.series(labels).answered(StatusCode::OK, Duration::from_millis(2));
        };
        let get = Labels::new(Verb::Get, false, None, Scope::Resource, false);
        let status = Labels::new(Verb::Patch, true, Some("status"), Scope::Resource, true);
        count(&get);
        count(&get);
        count(&status);
        let mut seen = Vec::new();
        meters.each(|labels, series| seen.push((labels.verb(), labels.below(), labels.dry_run(), series.count())));
        assert_eq!(seen, [("GET", "", "", 2), ("APPLY", "status", "All", 1)]);
        let held = meters.watches.hold();
        assert_eq!(meters.watches.get(), 1);
        drop(held);
        assert_eq!(meters.watches.get(), 0);
    }
}
