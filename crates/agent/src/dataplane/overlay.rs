//! The task that keeps the ways to other nodes.
//!
//! Nodes come and go, this machine's own networks change, somebody deletes a route: whatever it was, the same function
//! is called, which looks at everything and does what is missing. Nothing is done before all nodes have been seen (a node
//! that starts while the server is away keeps the ways it has), nor before the rules are in force that guard the ways.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use naru_client::Client;
use naru_network::peers::{
    ClusterNetwork, Converged, Encryption, Events, Expected, Mode, OverlayConfig, Peer, converge_from,
};
use naru_network::translate::facts::{NodeFacts, cluster_network};
use naru_network::wireguard::EngineKind;
use naru_network::{Applied, HelperState};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::nodes::{Known, Nodes};
use super::probe::Encrypted;
use super::secret::{Own, Secret};

/// Changes of one moment are looked at together.
const GATHER: Duration = Duration::from_millis(10);
/// How long until what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often everything is looked at though nothing was told.
const AGAIN: Duration = Duration::from_secs(30);
/// How long the first look waits for the helper, which may have to encrypt.
const HELPER: Duration = Duration::from_secs(1);
/// How long the API may take to hear this node's key, before it is told again.
const TELL: Duration = Duration::from_secs(5);
/// As many nodes are told by name.
const NAMED: usize = 8;

/// The ways to other nodes, as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// The largest packet that reaches every pod; unknown before the first look. It never grows, so that pods made at
    /// different times agree.
    pub mtu: Option<u32>,
    /// The nodes whose pods are reached, and how.
    pub modes: BTreeMap<String, Mode>,
    /// Who encrypts on this node, where something is encrypted.
    pub engine: Option<EngineKind>,
    /// What is wrong, worded for people.
    pub problems: Vec<String>,
}

impl Ways {
    /// How the others are reached, worded for people.
    pub fn summary(&self) -> String {
        let word = |mode: Mode| match (mode, self.engine) {
            (Mode::Wireguard, Some(EngineKind::Kernel)) => "wireguard (kernel)",
            (Mode::Wireguard, Some(EngineKind::Userspace)) => "wireguard (userspace)",
            (mode, _) => mode.name(),
        };
        if self.modes.len() <= NAMED {
            let each = self.modes.iter().map(|(name, mode)| format!("{name} by {}", word(*mode)));
            return each.collect::<Vec<_>>().join(", ");
        }
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for mode in self.modes.values() {
            *count.entry(word(*mode)).or_default() += 1;
        }
        count.iter().map(|(word, count)| format!("{count} by {word}")).collect::<Vec<_>>().join(", ")
    }
}

/// What the task works with.
pub(super) struct Overlay {
    pub nodes: Arc<Nodes>,
    /// The way to the API, to tell this node's key.
    pub client: Client,
    pub secret: Secret,
    /// What this node tells of itself.
    pub own: Own,
    pub helper: watch::Receiver<HelperState>,
    /// What is known of encrypted peers.
    pub encrypted: Encrypted,
    /// What the last look left.
    pub expected: Arc<Mutex<Expected>>,
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
        let _ = tokio::time::timeout(HELPER, self.helper.wait_for(|state| state.pid.is_some())).await;
        let mut events = match Events::open() {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(error = %naru_network::chain(&error), "the ways to other nodes are only looked at now and then");
                None
            }
        };
        let mut known = self.nodes.known();
        let mut telling: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            let nodes = known.borrow_and_update().clone();
            let complete = self.look(&nodes).await;
            let own = nodes.iter().find(|node| node.name == self.config.node);
            if let Some(node) = own.filter(|_| telling.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)) {
                let (client, secret, node, said) = (self.client.clone(), self.secret.clone(), node.clone(), self.own);
                // Beside it: ways are looked after also where nobody answers.
                telling = Some(tokio::spawn(async move {
                    let _ = tokio::time::timeout(TELL, secret.tell(&client, &node, &said)).await;
                }));
            }
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
        let (mut config, peers) = picture(&self.config, nodes, self.own.cluster);
        let (dir, secret, expected) = (self.dir.clone(), self.secret.clone(), self.expected.clone());
        let own = nodes.iter().find(|node| node.name == self.config.node).cloned();
        let own_block = own.as_ref().and_then(|node| node.pod_cidr);
        let looked = tokio::task::spawn_blocking(move || {
            let key = secret.in_use(own.as_deref());
            let complaint = key.as_ref().err().cloned();
            config.encryption.keys = key.ok();
            (converge_from(&config, &peers, &dir, &mut expected.lock()), complaint)
        });
        let (converged, failure) = match looked.await {
            Ok((Ok(mut converged), complaint)) => {
                converged.problems.extend(complaint);
                (converged, None)
            }
            Ok((Err(error), _)) => (Converged::default(), Some(naru_network::chain(&error))),
            // The runtime ends.
            Err(_) => return true,
        };
        let engine = converged.encrypted.values().next().map(|peer| peer.engine);
        if failure.is_none() {
            *self.encrypted.lock() = converged.encrypted;
        }
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
                next = Ways { mtu: Some(smallest), modes: converged.plan.modes, engine, ..next };
            }
            let differs = *ways != next;
            *ways = next;
            differs
        });
        complete
    }
}

/// Who this node is, what holds for all, and who the others are: pure. A server knows what holds before its Node says so.
fn picture(config: &OverlayConfig, nodes: &Known, told: Option<ClusterNetwork>) -> (OverlayConfig, Vec<Peer>) {
    let mut config = config.clone();
    let cluster = ClusterNetwork::of(told.into_iter().chain([cluster_network(nodes)]));
    let own: Option<&NodeFacts> = nodes.iter().find(|node| node.name == config.node).map(|node| &**node);
    if let Some(own) = own {
        config.address = own.address.or(config.address);
        config.wish = own.wish.clone();
    }
    (config.vni, config.port, config.mtu) = (cluster.vxlan_id, cluster.vxlan_port, cluster.mtu);
    config.encryption = Encryption {
        everywhere: cluster.encrypt,
        port: cluster.wireguard_port,
        own: own.map(|own| own.encryption).unwrap_or_default(),
        ..config.encryption
    };
    let others = nodes.iter().filter(|node| node.name != config.node);
    let peers = others.filter_map(|node| node.peer()).collect();
    (config, peers)
}

#[cfg(test)]
mod tests {
    use naru_network::peers::Wish;

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
            mtu: None,
            encryption: Encryption::default(),
        };
        let node = |name: &str, block: Option<&str>, address: Option<&str>| {
            Arc::new(NodeFacts {
                name: name.into(),
                pod_cidr: block.map(|block| block.parse().unwrap()),
                address: address.map(|address| address.parse().unwrap()),
                wish: Wish::Vxlan,
                ready: true,
                ..NodeFacts::default()
            })
        };
        let nodes = Arc::new(vec![
            node("n1", Some("10.42.0.0/24"), Some("192.0.2.7")),
            node("n2", Some("10.42.1.0/24"), Some("192.0.2.2")),
            node("without-pods", None, Some("192.0.2.3")),
            node("without-address", Some("10.42.3.0/24"), None),
        ]);
        let (seen, peers) = picture(&config, &nodes, None);
        assert_eq!((seen.address, seen.wish), (Some("192.0.2.7".parse().unwrap()), Wish::Vxlan));
        assert_eq!(peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["n2"]);
        let told = ClusterNetwork { encrypt: true, vxlan_port: 4789, mtu: Some(1300), ..ClusterNetwork::default() };
        let (alone, peers) = picture(&config, &Known::default(), Some(told));
        assert_eq!((alone.address, peers.len(), alone.port, alone.mtu), (config.address, 0, 4789, Some(1300)));
        assert!(alone.encryption.everywhere && !seen.encryption.everywhere);
        // What servers say, as others hear it.
        let mut server = (*nodes[1]).clone();
        server.cluster = Some(told);
        let (heard, _) = picture(&config, &Arc::new(vec![nodes[0].clone(), Arc::new(server)]), None);
        assert!(heard.encryption.everywhere && heard.port == 4789);
    }

    #[test]
    fn ways_are_told_by_name_while_they_are_few() {
        let ways = |count: usize| Ways {
            modes: (0..count).map(|n| (format!("w{n}"), if n == 0 { Mode::Route } else { Mode::Wireguard })).collect(),
            engine: Some(EngineKind::Userspace),
            ..Ways::default()
        };
        assert_eq!(ways(2).summary(), "w0 by route, w1 by wireguard (userspace)");
        assert_eq!(ways(12).summary(), "1 by route, 11 by wireguard (userspace)");
    }
}
