//! What the data plane should be, in plain types: no API objects, no kernel, no text.
//!
//! Principle: everything that needs knowledge of the API (selectors, defaults, annotations) is resolved *before* this
//! model ([`crate::translate`]), everything that needs knowledge of nftables comes *after* it ([`crate::plan`]). So both
//! sides are small pure functions with golden tests, and a model can be printed and compared.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::PodUid;

/// The whole data plane of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Services and what answers for them.
    pub services: Vec<Service>,
    /// Every pod with an address of its own, on any node.
    pub pods: Vec<Pod>,
    /// The networks that pods may belong to.
    pub networks: Vec<Network>,
    /// Policies, with their selectors resolved to addresses.
    pub policies: Vec<Policy>,
    /// The other nodes.
    #[serde(default)]
    pub nodes: Vec<PeerNode>,
    /// The tunnel between nodes, when the cluster has another one than usual.
    #[serde(default)]
    pub tunnel: Option<Tunnel>,
}

/// Another node, as the rules know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerNode {
    /// Its address towards pods, which what it sends on behalf of others comes from.
    pub gateway: Ipv4Addr,
    /// The same of the second family, when it has one.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// Where it is reached, and its tunnel's packets come from.
    pub address: Ipv4Addr,
    /// Nothing of it is taken that is not encrypted.
    #[serde(default)]
    pub encrypted: bool,
}

/// What the tunnel between nodes is known by, the same on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// The network's number inside packets.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
}

impl Default for Tunnel {
    /// Number 4242 on port 8472, where Linux has VXLAN (4789, the registered port, is often used up by the underlay).
    fn default() -> Self {
        Self { vni: 4242, port: 8472 }
    }
}

/// What is the same for the whole life of a node's data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The addresses pods of this node get.
    pub pod_subnet: Ipv4Net,
    /// The addresses pods of any node get.
    pub cluster_cidr: Ipv4Net,
    /// The virtual addresses of services.
    pub service_cidr: Ipv4Net,
    /// The DNS service's virtual address.
    pub dns: Ipv4Addr,
    /// The node's own address towards its pods.
    pub gateway: Ipv4Addr,
    /// The ports services of type NodePort may have.
    pub node_ports: RangeInclusive<u16>,
    /// Interfaces between which nothing may be forwarded, because forwarding was off before this node began.
    pub guarded: Vec<String>,
    /// The same for IPv6.
    #[serde(default)]
    pub guarded6: Vec<String>,
    /// The tunnel between nodes.
    #[serde(default)]
    pub tunnel: Tunnel,
    /// The second family; pods have IPv4 addresses alone when `None`.
    #[serde(default)]
    pub six: Option<Ipv6Config>,
}

/// The IPv6 half of a node's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ipv6Config {
    /// The addresses pods of this node get.
    pub pod_subnet: Ipv6Net,
    /// The addresses pods of any node get.
    pub cluster_cidr: Ipv6Net,
    /// The virtual addresses of services.
    pub service_cidr: Ipv6Net,
    /// The node's own address towards its pods.
    pub gateway: Ipv6Addr,
}

impl Default for NodeConfig {
    /// Pods 10.42.0.0/24 of 10.42.0.0/16, services 10.43.0.0/16, DNS 10.43.0.10, node ports 30000-32767.
    fn default() -> Self {
        let net = |a, b, prefix| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix);
        Self {
            pod_subnet: net(10, 42, 24),
            cluster_cidr: net(10, 42, 16),
            service_cidr: net(10, 43, 16),
            dns: Ipv4Addr::new(10, 43, 0, 10),
            gateway: Ipv4Addr::new(10, 42, 0, 1),
            node_ports: 30000..=32767,
            guarded: Vec::new(),
            guarded6: Vec::new(),
            tunnel: Tunnel::default(),
            six: None,
        }
    }
}

/// A transport protocol a port can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name nftables and `/etc/protocols` have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Reads `TCP`, `udp`, …; `None` for protocols that have no ports.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" | "" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }
}

/// A service with a virtual address (headless ones live in DNS alone), or with published ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its virtual addresses.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses that others route to this node for it.
    pub external_ips: Vec<IpAddr>,
    /// Whether its ports also answer on the host's own addresses (type LoadBalancer).
    pub load_balancer: bool,
    /// Who may come through its balanced ports; everybody when empty.
    #[serde(default)]
    pub source_ranges: Vec<IpNet>,
    /// The virtual address answers on every port (Compose services without ports).
    pub all_ports: bool,
    /// Every address that answers for it, in a stable order; used by `all_ports` and `published`.
    pub endpoints: Vec<Endpoint>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Host ports published for it.
    pub published: Vec<Published>,
    /// One client always meets the same endpoint.
    pub affinity: bool,
    /// Pods only meet endpoints of their own node.
    pub internal_local: bool,
    /// Clients from outside only meet endpoints of the node they reached.
    pub external_local: bool,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Its protocol.
    pub protocol: Protocol,
    /// The port of the virtual address.
    pub port: u16,
    /// The port of every node.
    pub node_port: Option<u16>,
    /// Who answers, with the port it answers on, in a stable order.
    pub backends: Vec<Backend>,
}

/// An address that answers, and on which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Backend {
    /// Who.
    pub endpoint: Endpoint,
    /// On which port.
    pub port: u16,
}

/// An address that answers for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// Whether it is on this node.
    pub local: bool,
    /// Ready, or only serving while it terminates (used when nobody is ready).
    pub state: EndpointState,
}

/// How much an endpoint may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EndpointState {
    /// Takes connections.
    Ready,
    /// Going away, but still answering: used only when no endpoint is ready.
    Draining,
}

/// A host port that leads to a service's endpoints, or to one pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// The host address it answers on; every one when `None`, every one of its family when unspecified.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port inside the pod.
    pub target_port: u16,
}

/// A pod with an address of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its uid.
    pub uid: PodUid,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, when it has one.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// Whether it is on this node.
    pub local: bool,
    /// The networks it belongs to; none means the flat network of all pods without one.
    pub networks: BTreeSet<String>,
    /// Host ports that lead to it.
    pub host_ports: Vec<Published>,
}

impl Pod {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        std::iter::once(self.address.into()).chain(self.address6.map(IpAddr::V6))
    }
}

/// A network that isolates its members from everybody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Members that belong to internal networks only cannot leave, and cannot be reached through published ports.
    pub internal: bool,
}

/// A NetworkPolicy with its selectors resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The local pods it applies to.
    pub pods: BTreeSet<IpAddr>,
    /// What may come in; `None` when the policy says nothing about ingress.
    pub ingress: Option<Vec<PolicyRule>>,
    /// What may go out; `None` when the policy says nothing about egress.
    pub egress: Option<Vec<PolicyRule>>,
}

/// One allowance of a policy: any of the peers on any of the ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Whom it speaks of.
    pub peers: Peers,
    /// Which ports; empty means all.
    pub ports: Vec<PolicyPort>,
}

/// The other side of a policy rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peers {
    /// Everybody.
    Any,
    /// These pods and these blocks of addresses.
    Of {
        /// Addresses of the pods selected.
        pods: BTreeSet<IpAddr>,
        /// Blocks of addresses.
        blocks: Vec<IpBlock>,
    },
}

/// A block of addresses with holes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpBlock {
    /// The block.
    pub cidr: IpNet,
    /// The holes.
    pub except: Vec<IpNet>,
}

/// A port of a policy rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyPort {
    /// Every port of the protocol.
    All(Protocol),
    /// Ports by number.
    Range(Protocol, RangeInclusive<u16>),
    /// A port by name, resolved to the destinations that have it.
    Named(Protocol, BTreeSet<(IpAddr, u16)>),
}
