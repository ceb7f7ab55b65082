//! Before a container is told to stop: nothing new may be led to it, from this node or any other.

use std::time::Duration;

use naru_api::k8s::api::core::v1::Pod;
use tokio::time::{Instant, sleep, timeout_at};

use super::Executor;

/// The longest that a stop waits until no node leads to the pod any more.
const LONGEST: Duration = Duration::from_secs(2);
/// What a service led to the pod just before may still be under way to it: programs that end at once on the stop signal
/// would drop it. Longer requests are the program's to finish.
const UNDER_WAY: Duration = Duration::from_millis(50);

/// How long parting may take: never more than half of the time that the pod has for its end.
fn patience(pod: &Pod) -> Duration {
    let grace = pod.metadata.deletion_grace_period_seconds.and_then(|grace| u64::try_from(grace).ok());
    grace.map_or(LONGEST, |grace| LONGEST.min(Duration::from_secs(grace) / 2))
}

impl Executor {
    /// Takes the pod out of its services: here at once, and elsewhere when it is on its way out. Returns when every node has
    /// followed, and after a while at the latest.
    pub(super) async fn part(&self) {
        let pod = self.pod();
        let until = Instant::now() + patience(&pod);
        let network = &self.node.config.network;
        // The controller's word comes later than the wish to stop, so this node's own rules are changed first.
        if timeout_at(until, network.withdraw(&self.uid)).await != Ok(true) {
            return; // no service ever led here, or nobody can tell in time
        }
        // One that is not on its way out comes back: the controller says nothing of it.
        if pod.metadata.deletion_timestamp.is_some() {
            network.followed(&self.uid, until).await;
        }
        sleep(UNDER_WAY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_grace_is_the_programs_own() {
        let with = |grace| {
            let mut pod = Pod::default();
            pod.metadata.deletion_grace_period_seconds = grace;
            patience(&pod)
        };
        assert_eq!(with(None), LONGEST);
        assert_eq!(with(Some(30)), LONGEST);
        assert_eq!(with(Some(1)), Duration::from_millis(500));
        assert_eq!(with(Some(0)), Duration::ZERO);
    }
}
