//! Requests that go on while something happens.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::Host;

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// How many were sent.
    pub asked: usize,
    /// What was said of those that were not answered well.
    pub lost: Vec<String>,
}

/// Asks an address over HTTP from outside of `host`, without pause, while `work` runs.
pub fn under_load<T>(host: &Host, address: impl Into<IpAddr>, port: u16, work: impl FnOnce() -> T) -> (T, Load) {
    let address = address.into();
    let (done, asked, lost) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    /// Ends the requests also when the work panics.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let given = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    match host.get_from_outside(address, port, "/") {
                        Ok(answer) if answer.status == 200 => {}
                        other => lost.lock().expect("the list").push(format!("{other:?}")),
                    }
                }
            });
        }
        let _end = End(&done);
        work()
    });
    (given, Load { asked: asked.into_inner(), lost: lost.into_inner().expect("the list") })
}
