//! How the scheduler and the other controllers of this process are.

use naru_apiserver::{Components, Queue};
use naru_controllers::{ControllerStatus, Pulse};

/// The controllers that were started beside the API server.
pub(super) struct Parts(pub(super) Pulse);

impl Components for Parts {
    fn fault(&self, component: &str) -> Option<String> {
        let stopped = self.0.stopped(component == "scheduler");
        (!stopped.is_empty()).then(|| format!("stopped: {}", stopped.join(", ")))
    }

    fn queues(&self) -> Vec<Queue> {
        let queue = |of: ControllerStatus| Queue {
            name: of.name,
            waiting: of.waiting,
            running: of.running,
            done: of.iterations,
            failing: of.failing.len(),
        };
        self.0.status().into_iter().map(queue).collect()
    }
}
