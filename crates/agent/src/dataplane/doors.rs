//! Keeping our doors in other firewalls open.

use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use naru_network::firewall::{Changes, allow_pods, allow_second};
use naru_network::peers::ClusterNetwork;
use naru_network::translate::facts::cluster_network;
use tokio::sync::watch;

use super::config::DataplaneConfig;
use super::nodes::Known;
use super::overlay::Ways;

/// How often the doors that other firewalls provide are looked at: Docker or ufw may have been started or reloaded.
const AGAIN: Duration = Duration::from_secs(30);
/// For how long after a change to other firewalls more of it gathers.
const RELOAD: Duration = Duration::from_millis(500);

/// What the task works with.
pub(super) struct Doors {
    /// The addresses of all pods.
    pods: Ipv4Net,
    /// Their IPv6 addresses, where they have such.
    second: Option<Ipv6Net>,
    /// What this node says of the whole cluster, when it is a server's.
    told: Option<ClusterNetwork>,
    known: watch::Receiver<Known>,
    /// Tunnels come and go with the ways.
    ways: watch::Receiver<Ways>,
}

impl Doors {
    pub fn of(config: &DataplaneConfig, known: watch::Receiver<Known>, ways: watch::Receiver<Ways>) -> Self {
        let (pods, second) = (config.node.cluster_cidr, config.node.six.map(|six| six.cluster_cidr));
        Self { pods, second, told: config.cluster, known, ways }
    }

    pub async fn keep_open(mut self) {
        let mut complained = None;
        // Without the kernel's news they are looked at by the clock alone.
        let mut changes = Changes::open().ok();
        loop {
            self.ways.borrow_and_update();
            let network =
                ClusterNetwork::of(self.told.into_iter().chain([cluster_network(&self.known.borrow_and_update())]));
            let (pods, second) = (self.pods, self.second);
            let placed = tokio::task::spawn_blocking(move || {
                let placed = allow_pods(pods, &network)?;
                second.map_or(Ok(placed), |second| allow_second(second, &network))
            });
            if let Ok(Err(error)) = placed.await {
                let text = naru_network::chain(&error);
                if complained.as_ref() != Some(&text) {
                    tracing::warn!(error = %text, "cannot see whether another firewall is in the way");
                    complained = Some(text);
                }
            }
            self.wait(&mut changes, network).await;
        }
    }

    /// Until it is time to look again.
    async fn wait(&mut self, changes: &mut Option<Changes>, network: ClusterNetwork) {
        let changed = async {
            match changes {
                Some(changes) => changes.changed().await,
                None => std::future::pending().await,
            }
        };
        let (known, told) = (&mut self.known, self.told);
        let of = |known: &Known| ClusterNetwork::of(told.into_iter().chain([cluster_network(known)]));
        let ports = async { known.wait_for(|known| of(known) != network).await.is_ok() };
        tokio::select! {
            // One reload is many changes.
            () = changed => tokio::time::sleep(RELOAD).await,
            true = ports => {}
            Ok(()) = self.ways.changed() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}
