//! The few facts of each object that the network needs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use naru_api::select::LabelSelector;

use crate::PodUid;
use crate::dns::Membership;
use crate::model::Protocol;

pub use super::nodes::{NodeFacts, cluster_network};

/// An object could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// It is not what its kind is.
    #[error("the object is not readable as a {kind}")]
    Malformed {
        /// The kind expected.
        kind: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// An annotation is not what it should be.
    #[error("{object}: the annotation {annotation} is not readable")]
    Annotation {
        /// Namespace and name.
        object: String,
        /// The annotation.
        annotation: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A selector is not one.
    #[error("{object}: {reason}")]
    Selector {
        /// Namespace and name.
        object: String,
        /// What is wrong.
        reason: String,
    },
}

/// A pod.
#[derive(Debug, Clone, Default)]
pub struct PodFacts {
    /// Its uid.
    pub uid: PodUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its node.
    pub node: Option<String>,
    /// Its IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address, when it has one.
    pub address6: Option<Ipv6Addr>,
    /// It has the host's addresses.
    pub host_network: bool,
    /// It succeeded or failed, and has no processes any more.
    pub finished: bool,
    /// Its status says that it takes connections.
    pub ready: bool,
    /// Differs after every start of one of its containers that its status tells of.
    pub run: u64,
    /// Its host name, when it asked for one.
    pub hostname: Option<String>,
    /// Its networks.
    pub networks: Vec<Membership>,
    /// The ports of its containers.
    pub ports: Vec<ContainerPort>,
}

impl PodFacts {
    /// Whether it has an address of its own that somebody may be behind.
    pub fn connected(&self) -> bool {
        !self.host_network && !self.finished && self.address.is_some()
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.address.map(IpAddr::V4).into_iter().chain(self.address6.map(IpAddr::V6))
    }
}

/// A port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPort {
    /// Its name.
    pub name: Option<String>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
    /// The host port that leads to it.
    pub host: Option<HostPort>,
}

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPort {
    /// The address; all of them when `None`.
    pub ip: Option<IpAddr>,
    /// The number.
    pub port: u16,
}

/// A service.
#[derive(Debug, Clone, Default)]
pub struct ServiceFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Compose service it was made from.
    pub compose: Option<String>,
    /// Its virtual addresses; none when it is headless or external.
    pub addresses: Vec<IpAddr>,
    /// Addresses that others route to the cluster.
    pub external_ips: Vec<IpAddr>,
    /// The name it stands for.
    pub external_name: Option<String>,
    /// Its ports.
    pub ports: Vec<ServicePortFacts>,
    /// Type LoadBalancer: it answers on the host's addresses.
    pub load_balancer: bool,
    /// Who may come through its balanced ports; `None` when it says nothing about that.
    pub source_ranges: Option<Vec<IpNet>>,
    /// It answers on every port.
    pub all_ports: bool,
    /// Its published ports: container port, protocol, host port.
    pub published: Vec<(u16, Protocol, HostPort)>,
    /// One client always meets the same endpoint.
    pub affinity: bool,
    /// Pods only meet endpoints of their node.
    pub internal_local: bool,
    /// Outside clients only meet endpoints of the node they reached.
    pub external_local: bool,
    /// Endpoints count before they are ready.
    pub publish_not_ready: bool,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePortFacts {
    /// Its name; empty for the only one.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
    /// The port of every node.
    pub node_port: Option<u16>,
}

/// An EndpointSlice of addresses, not of names.
#[derive(Debug, Clone, Default)]
pub struct SliceFacts {
    /// Its namespace.
    pub namespace: String,
    /// The service it belongs to.
    pub service: String,
    /// The ports, by the name they have in the service.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<EndpointFacts>,
}

/// A port of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number on the endpoints.
    pub port: u16,
}

/// An endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointFacts {
    /// Its addresses; all mean the same endpoint.
    pub addresses: Vec<IpAddr>,
    /// It takes connections.
    pub ready: bool,
    /// It answers, though it may be going away.
    pub serving: bool,
    /// It is going away.
    pub terminating: bool,
    /// Its name below the service's.
    pub hostname: Option<String>,
    /// Its node.
    pub node: Option<String>,
}

/// A namespace.
#[derive(Debug, Clone, Default)]
pub struct NamespaceFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A network.
#[derive(Debug, Clone, Default)]
pub struct NetworkFacts {
    /// Its name.
    pub name: String,
    /// Members cannot leave.
    pub internal: bool,
}

/// A network policy.
#[derive(Debug, Clone)]
pub struct PolicyFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pods it applies to.
    pub pods: LabelSelector,
    /// What may come in; `None` when it says nothing about that.
    pub ingress: Option<Vec<RuleFacts>>,
    /// What may go out; `None` when it says nothing about that.
    pub egress: Option<Vec<RuleFacts>>,
}

/// A rule of a policy.
#[derive(Debug, Clone)]
pub struct RuleFacts {
    /// Whom it speaks of; `None` means everybody.
    pub peers: Option<Vec<PeerFacts>>,
    /// Which ports; none means all.
    pub ports: Vec<PortFacts>,
}

/// Somebody a rule speaks of.
#[derive(Debug, Clone)]
pub enum PeerFacts {
    /// Pods: of the namespaces selected (the policy's own when `None`), with these labels.
    Pods {
        /// The namespaces.
        namespaces: Option<LabelSelector>,
        /// The pods.
        pods: LabelSelector,
    },
    /// Addresses.
    Block {
        /// The block.
        cidr: IpNet,
        /// Its holes.
        except: Vec<IpNet>,
    },
    /// A block that is none, which nobody is in.
    Nobody,
}

/// A port a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortFacts {
    /// All of a protocol.
    All(Protocol),
    /// From one number to another.
    Range(Protocol, u16, u16),
    /// By the name the destination's container gives it.
    Named(Protocol, String),
}
