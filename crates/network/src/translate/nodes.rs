//! The other nodes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use naru_api::naru::names;
use serde::Deserialize;

use crate::ipam::{gateway_of, second_address};
use crate::model::PeerNode;
use crate::peers::{ClusterNetwork, Peer, PeerEncryption, Wish};

use super::facts::FactsError;
use super::{Cluster, Viewpoint};

/// The label of servers.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// The addresses of its pods, once it was given some.
    pub pod_cidr: Option<Ipv4Net>,
    /// Their IPv6 addresses, when it was given such.
    pub pod_cidr6: Option<Ipv6Net>,
    /// Where it is reached: the first of its internal IPv4 addresses.
    pub address: Option<Ipv4Addr>,
    /// How others should lead to its pods.
    pub wish: Wish,
    /// What encryption needs to know of it.
    pub encryption: PeerEncryption,
    /// The word by which it was asked for another key; none when empty.
    pub rotate: String,
    /// What it says of the whole cluster's network, when it is a server's.
    pub cluster: Option<ClusterNetwork>,
    /// Whether the cluster takes it for ready.
    pub ready: bool,
    /// When it came to be, as the API writes it: of two that contradict one another, the older is believed.
    pub created: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Node {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    name: String,
    annotations: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "creationTimestamp")]
    created: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    addresses: Option<Vec<Address>>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Address {
    r#type: String,
    address: String,
}

impl NodeFacts {
    /// Reads a Node.
    pub fn parse(json: &[u8]) -> Result<Self, FactsError> {
        let node: Node =
            serde_json::from_slice(json).map_err(|source| FactsError::Malformed { kind: "Node", source })?;
        let blocks = || std::iter::once(&node.spec.pod_cidr).chain(node.spec.pod_cidrs.iter().flatten());
        let mut addresses = node.status.addresses.iter().flatten().filter(|address| address.r#type == "InternalIP");
        let annotations = node.metadata.annotations.unwrap_or_default();
        let said = |name: &str| annotations.get(name).map(String::as_str).filter(|text| !text.is_empty());
        // Who may set this label is the administrator's choice, and never a node's own.
        let serves = node.metadata.labels.is_some_and(|labels| labels.contains_key(CONTROL_PLANE));
        let mut conditions = node.status.conditions.iter().flatten();
        Ok(Self {
            encryption: PeerEncryption {
                key: said(names::WIREGUARD_KEY).and_then(|text| text.parse().ok()),
                endpoint: said(names::WIREGUARD_ENDPOINT).and_then(|text| text.parse().ok()),
                behind_nat: said(names::BEHIND_NAT) == Some("true"),
            },
            rotate: said(names::WIREGUARD_ROTATE).unwrap_or_default().to_owned(),
            cluster: said(names::CLUSTER_NETWORK).filter(|_| serves).map(ClusterNetwork::parse),
            ready: conditions.any(|condition| condition.r#type == "Ready" && condition.status == "True"),
            created: node.metadata.created.unwrap_or_default(),
            name: node.metadata.name,
            pod_cidr: blocks().find_map(|text| text.parse::<Ipv4Net>().ok()).map(|block| block.trunc()),
            pod_cidr6: blocks().find_map(|text| text.parse::<Ipv6Net>().ok()).map(|block| block.trunc()),
            address: addresses.find_map(|address| address.address.parse().ok()),
            wish: annotations.get(names::NETWORK_MODE).map(|text| Wish::parse(text)).unwrap_or_default(),
        })
    }

    /// Its own address towards pods, once it has some.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.pod_cidr.map(gateway_of)
    }

    /// The node as a peer, once everything is known of it.
    pub fn peer(&self) -> Option<Peer> {
        Some(Peer {
            name: self.name.clone(),
            pod_cidr: self.pod_cidr?,
            pod_cidr6: self.pod_cidr6,
            address: self.address?,
            wish: self.wish.clone(),
            encryption: self.encryption,
        })
    }
}

/// What the servers say of the network of all nodes, which are the oldest first.
pub fn cluster_network(nodes: &[Arc<NodeFacts>]) -> ClusterNetwork {
    ClusterNetwork::of(nodes.iter().filter_map(|node| node.cluster))
}

pub(super) fn translate(cluster: &Cluster, viewpoint: &Viewpoint) -> Vec<PeerNode> {
    let own = cluster.nodes.iter().find(|node| node.name == viewpoint.node);
    let everywhere = cluster_network(&cluster.nodes).encrypt || own.is_some_and(|own| own.wish == Wish::Wireguard);
    let others = cluster.nodes.iter().filter(|node| node.name != viewpoint.node);
    let mut nodes: Vec<PeerNode> = others
        .filter_map(|node| {
            let gateway = gateway_of(node.pod_cidr?);
            let gateway6 = node.pod_cidr6.map(|block| second_address(block, gateway));
            let encrypted = everywhere || node.wish == Wish::Wireguard;
            Some(PeerNode { gateway, gateway6, address: node.address?, encrypted })
        })
        .collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_as_it_comes_to_be() {
        let parse = |json: serde_json::Value| NodeFacts::parse(json.to_string().as_bytes()).unwrap();
        let new = parse(serde_json::json!({"metadata": {"name": "n1"}, "spec": {}, "status": {"addresses": null}}));
        assert_eq!(new, NodeFacts { name: "n1".into(), ..NodeFacts::default() });
        assert_eq!(new.peer(), None);
        let known = parse(serde_json::json!({
            "metadata": {"name": "n1", "creationTimestamp": "2026-01-02T03:04:05Z", "annotations": {"naru.io/network-mode": "vxlan"}},
            "spec": {"podCIDRs": ["fd00::/64", "10.42.3.0/24"]},
            "status": {"addresses": [
                {"type": "ExternalIP", "address": "203.0.113.1"}, {"type": "InternalIP", "address": "fd01::1"},
                {"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n1"},
            ]},
        }));
        let peer = Peer {
            name: "n1".into(),
            pod_cidr: "10.42.3.0/24".parse().unwrap(),
            pod_cidr6: Some("fd00::/64".parse().unwrap()),
            address: "192.0.2.1".parse().unwrap(),
            wish: Wish::Vxlan,
            encryption: PeerEncryption::default(),
        };
        assert_eq!((known.peer(), known.created.as_str()), (Some(peer), "2026-01-02T03:04:05Z"));
        let cluster = Cluster { nodes: vec![Arc::new(new), Arc::new(known)], ..Cluster::default() };
        let seen_from = |node: &str| {
            let pod_subnet = "10.42.0.0/24".parse().unwrap();
            let viewpoint = Viewpoint {
                node: node.into(),
                pod_subnet,
                gateway: gateway_of(pod_subnet),
                six: None,
                domain: String::new(),
            };
            translate(&cluster, &viewpoint)
        };
        let other = PeerNode {
            gateway: "10.42.3.1".parse().unwrap(),
            gateway6: Some("fd00::a2a:301".parse().unwrap()),
            address: "192.0.2.1".parse().unwrap(),
            encrypted: false,
        };
        assert_eq!((seen_from("n2"), seen_from("n1")), (vec![other], vec![]));
    }
}
