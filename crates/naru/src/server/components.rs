//! How the scheduler and the other controllers of this process are.

use naru_apiserver::Components;
use naru_controllers::Pulse;

/// The controllers that were started beside the API server.
pub(super) struct Parts(pub(super) Pulse);

impl Components for Parts {
    fn fault(&self, component: &str) -> Option<String> {
        let stopped = self.0.stopped(component == "scheduler");
        (!stopped.is_empty()).then(|| format!("stopped: {}", stopped.join(", ")))
    }
}
