//! After the exchange: the new program looks whether everything is as it was, and says so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use naru_client::Client;
use naru_runtime::pod::{ContainerState, PodError, PodLiveness, PodUid, Runtime};

use super::change::{Change, Phase, Ran, boot};
use super::node::{Inner, Replaceable};
use super::remote::{is_ready, nodes, version};

/// A change that is neither confirmed nor taken back so long after its time is over.
const UNWATCHED: SignedDuration = SignedDuration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

impl Replaceable {
    /// Confirms a change that led to this program, as soon as that can be said; beside everything else.
    pub fn settle(&self, client: Client, node: String) {
        let this = self.clone();
        let _ = this.inner().cluster.set((client.clone(), node.clone()));
        tokio::spawn(async move { this.inner().confirm(&client, &node).await });
    }
}

impl Inner {
    async fn confirm(&self, client: &Client, node: &str) {
        let on_its_way = || Change::read(&self.place).filter(|change| change.phase == Phase::Replacing);
        let Some(mut change) = on_its_way() else { return };
        let own = match self.own().await {
            Ok(own) => own,
            Err(error) => return tracing::warn!(error = format!("{error:#}"), "this program cannot be read"),
        };
        let tell = |change: &mut Change, phase, why: &str| {
            if let Err(error) = change.tell(&self.place, phase, why) {
                tracing::warn!(error = format!("{error:#}"), "how the change is going cannot be noted");
            }
        };
        if own.sha256 != change.to.sha256 {
            return tell(&mut change, Phase::Interrupted, "the node was started again with another program");
        }
        while on_its_way().is_some_and(|current| current.begun == change.begun) {
            match self.is_as_before(&change, client, node).await {
                Ok(()) => {
                    tracing::info!(from = change.from.version, to = own.version, "everything is as it was");
                    tell(&mut change, Phase::Confirmed, "");
                    return self.excuse(None).await;
                }
                // The watch would have acted long ago: it is gone.
                Err(why) if Timestamp::now().duration_since(change.until) > UNWATCHED => {
                    return tell(&mut change, Phase::Interrupted, &format!("never confirmed: {why}"));
                }
                Err(why) => tell(&mut change, Phase::Replacing, &why),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// `Err` says what is missing.
    async fn is_as_before(&self, change: &Change, client: &Client, node: &str) -> Result<(), String> {
        let pending = self.pods.renewal().borrow().pending;
        if pending > 0 {
            return Err(format!("{pending} supervisors are still to be replaced"));
        }
        if change.boot == boot() {
            for ran in &change.ran {
                self.runs_on(ran).await?;
            }
        }
        let api = nodes(client);
        let found = match tokio::time::timeout(Duration::from_secs(5), api.get(node)).await {
            Ok(found) => found.map_err(|error| format!("the cluster does not answer: {error}"))?,
            Err(_) => return Err("the cluster does not answer".to_owned()),
        };
        if !is_ready(&found) {
            return Err("the node is not ready".to_owned());
        }
        if version(&found) != naru_api::version() {
            return Err("the node has not told its version yet".to_owned());
        }
        Ok(())
    }

    /// A container that ended by itself, or was removed with its pod, is nobody's loss.
    async fn runs_on(&self, ran: &Ran) -> Result<(), String> {
        let Ok(uid) = PodUid::new(ran.pod.clone()) else { return Ok(()) };
        let lost = || format!("container {} of pod {} is lost", ran.container, ran.pod);
        let record = match self.pods.state(&uid).await {
            Ok(record) => record,
            Err(PodError::NoPod(_)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        if record.liveness == PodLiveness::SupervisorLost {
            return Err(lost());
        }
        let Some((_, found)) = record.containers.into_iter().find(|(name, _)| name.to_string() == ran.container) else {
            return Ok(());
        };
        match found.state {
            ContainerState::Lost => Err(lost()),
            _ => Ok(()),
        }
    }
}
