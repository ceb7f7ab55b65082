//! How long a failed thing waits before it is tried again.

use std::time::Duration;

/// Doubling waits with a ceiling; the first restart is immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The wait before the second restart in a row.
    pub initial: Duration,
    /// Waits do not grow beyond this.
    pub ceiling: Duration,
    /// An attempt that ran this long starts the count anew.
    pub forgiven_after: Duration,
}

impl Pace {
    /// Kubernetes: 10 s doubling to 5 min, forgotten after 10 min of running.
    pub const KUBERNETES: Pace = Pace {
        initial: Duration::from_secs(10),
        ceiling: Duration::from_secs(300),
        forgiven_after: Duration::from_secs(600),
    };
    /// Docker: 100 ms doubling to 1 min, forgotten after 10 s of running.
    pub const DOCKER: Pace = Pace {
        initial: Duration::from_millis(100),
        ceiling: Duration::from_secs(60),
        forgiven_after: Duration::from_secs(10),
    };
    /// Image pulls: 10 s doubling to 5 min, as kubelet does.
    pub const PULL: Pace = Pace {
        initial: Duration::from_secs(10),
        ceiling: Duration::from_secs(300),
        forgiven_after: Duration::from_secs(600),
    };
    /// Sandboxes: each attempt costs a process, and what refuses one (a group, a full disk) seldom changes by itself.
    pub const SANDBOX: Pace = Pace {
        initial: Duration::from_secs(1),
        ceiling: Duration::from_secs(30),
        forgiven_after: Duration::from_secs(60),
    };
    /// Everything else on this node, which mostly waits for an object to appear.
    pub const EFFECT: Pace = Pace {
        initial: Duration::from_millis(100),
        ceiling: Duration::from_secs(10),
        forgiven_after: Duration::from_secs(60),
    };

    /// The wait before restart number `crashes` + 1 in a row: none, then `initial`, then doubling.
    #[must_use]
    pub fn restart_wait(&self, crashes: u32) -> Duration {
        match crashes {
            0 => Duration::ZERO,
            n => self.retry_wait(n),
        }
    }

    /// The wait after the `failures`-th failure in a row (counted from one).
    #[must_use]
    pub fn retry_wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.initial.saturating_mul(1 << doublings).min(self.ceiling)
    }
}
