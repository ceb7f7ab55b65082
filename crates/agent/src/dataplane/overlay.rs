//! The task that keeps the ways to other nodes.
//!
//! Nodes come and go, this machine's own networks change, somebody deletes a route: whatever it was, the same function
//! is called, which looks at everything and does what is missing. Nothing is done before all nodes have been seen (a node
//! that starts while the server is away keeps the ways it has), nor before the rules are in force that guard the ways.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use naru_network::Applied;
use naru_network::peers::{Converged, Events, Mode, OverlayConfig, Peer, converge};
use tokio::sync::watch;

use super::nodes::{Known, Nodes};

/// Changes of one moment are looked at together.
const GATHER: Duration = Duration::from_millis(10);
/// How long until what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often everything is looked at though nothing was told.
const AGAIN: Duration = Duration::from_secs(30);

/// The ways to other nodes, as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// The largest packet that reaches every pod; unknown before the first look. It never grows, so that pods made at
    /// different times agree.
    pub mtu: Option<u32>,
    /// The nodes whose pods are reached, and how.
    pub modes: BTreeMap<String, Mode>,
    /// What is wrong, worded for people.
    pub problems: Vec<String>,
}

/// What the task works with.
pub(super) struct Overlay {
    pub nodes: Arc<Nodes>,
    /// What is known without looking at the node's own object.
    pub config: OverlayConfig,
    /// Where it is noted what was changed on this machine.
    pub dir: PathBuf,
    pub applied: watch::Receiver<Applied>,
    pub ways: watch::Sender<Ways>,
}

impl Overlay {
    pub async fn run(mut self) {
        self.nodes.synced().await;
        if self.applied.wait_for(|applied| applied.revision > 0).await.is_err() {
            return;
        }
        let mut events = match Events::open() {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(error = %naru_network::chain(&error), "the ways to other nodes are only looked at now and then");
                None
            }
        };
        let mut known = self.nodes.known();
        loop {
            let nodes = known.borrow_and_update().clone();
            let complete = self.look(&nodes).await;
            let told = async {
                match &mut events {
                    Some(events) => events.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = known.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = told => {}
                () = tokio::time::sleep(if complete { AGAIN } else { RETRY }) => {}
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Looks and does what is missing; says whether everything is as it should be.
    async fn look(&self, nodes: &Known) -> bool {
        let (config, peers) = picture(&self.config, nodes);
        let dir = self.dir.clone();
        let own_block = nodes.iter().find(|node| node.name == self.config.node).and_then(|node| node.pod_cidr);
        let looked = tokio::task::spawn_blocking(move || converge(&config, &peers, &dir)).await;
        let (converged, failure) = match looked {
            Ok(Ok(converged)) => (converged, None),
            Ok(Err(error)) => (Converged::default(), Some(naru_network::chain(&error))),
            // The runtime ends.
            Err(_) => return true,
        };
        let mut problems = converged.problems;
        let complete = failure.is_none() && !converged.incomplete;
        problems.extend(failure.clone());
        if let Some(block) = own_block.filter(|block| *block != self.config.pod_subnet) {
            problems.push(format!(
                "other nodes look for this node's pods at {block}, but they are at {}: let the node leave and join again",
                self.config.pod_subnet
            ));
        }
        for problem in problems.iter().filter(|problem| !self.ways.borrow().problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        self.ways.send_if_modified(|ways| {
            let mut next = Ways { problems, ..ways.clone() };
            if failure.is_none() {
                let smallest = ways.mtu.unwrap_or(u32::MAX).min(converged.plan.mtu);
                next = Ways { mtu: Some(smallest), modes: converged.plan.modes, ..next };
            }
            let differs = *ways != next;
            *ways = next;
            differs
        });
        complete
    }
}

/// Who this node is and who the others are: pure.
fn picture(config: &OverlayConfig, nodes: &Known) -> (OverlayConfig, Vec<Peer>) {
    let mut config = config.clone();
    if let Some(own) = nodes.iter().find(|node| node.name == config.node) {
        config.address = own.address.or(config.address);
        config.wish = own.wish.clone();
    }
    let others = nodes.iter().filter(|node| node.name != config.node);
    let peers = others.filter_map(|node| node.peer()).collect();
    (config, peers)
}

#[cfg(test)]
mod tests {
    use naru_network::peers::Wish;
    use naru_network::translate::facts::NodeFacts;

    use super::*;

    #[test]
    fn the_own_object_says_where_others_find_this_node() {
        let config = OverlayConfig {
            node: "n1".into(),
            address: Some("192.0.2.1".parse().unwrap()),
            wish: Wish::Automatic,
            pod_subnet: "10.42.0.0/24".parse().unwrap(),
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            gateway: "10.42.0.1".parse().unwrap(),
            six: None,
            vni: 1,
            port: 2,
        };
        let node = |name: &str, block: Option<&str>, address: Option<&str>| {
            Arc::new(NodeFacts {
                name: name.into(),
                pod_cidr: block.map(|block| block.parse().unwrap()),
                pod_cidr6: None,
                address: address.map(|address| address.parse().unwrap()),
                wish: Wish::Vxlan,
                created: String::new(),
            })
        };
        let nodes = Arc::new(vec![
            node("n1", Some("10.42.0.0/24"), Some("192.0.2.7")),
            node("n2", Some("10.42.1.0/24"), Some("192.0.2.2")),
            node("without-pods", None, Some("192.0.2.3")),
            node("without-address", Some("10.42.3.0/24"), None),
        ]);
        let (seen, peers) = picture(&config, &nodes);
        assert_eq!((seen.address, seen.wish), (Some("192.0.2.7".parse().unwrap()), Wish::Vxlan));
        assert_eq!(peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["n2"]);
        assert_eq!(picture(&config, &Known::default()), (config, vec![]));
    }
}
