//! The names of a cluster as data: what the daemon sends to the helper, and what lies on disk between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::model::Protocol;

/// Every name of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// The cluster's domain, without dots at its ends.
    pub domain: String,
    /// What `host.docker.internal` is: the node's own address towards its pods.
    pub host: Option<Ipv4Addr>,
    /// The same of the second family.
    #[serde(default)]
    pub host6: Option<Ipv6Addr>,
    /// The services.
    pub services: Vec<ServiceNames>,
    /// The pods that have names.
    pub pods: Vec<PodNames>,
}

/// A service's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNames {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its virtual addresses; none when it is headless.
    pub addresses: Vec<IpAddr>,
    /// The foreign name it stands for (type ExternalName).
    pub external_name: Option<String>,
    /// Its named ports.
    pub ports: Vec<PortName>,
    /// Who answers for it, or will.
    pub members: Vec<Member>,
    /// Members count before they are ready (`publishNotReadyAddresses`).
    pub publish_not_ready: bool,
    /// Made from a Compose file: while no member is ready, the name stands for the members themselves, because clusters
    /// that only become healthy through their peers must find them.
    pub compose: bool,
}

/// A named port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortName {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The service's port; for headless services the members'.
    pub port: u16,
}

/// An endpoint of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its address.
    pub address: IpAddr,
    /// Its name below the service's.
    pub hostname: Option<String>,
    /// Whether it takes connections.
    pub ready: bool,
    /// Whether it is going away.
    pub terminating: bool,
}

/// A pod's names, and what it may see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNames {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address, when it has one.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// The Compose service it belongs to.
    pub service: Option<String>,
    /// Further names for it alone (`shop-web-1`), known in its namespace.
    pub names: Vec<String>,
    /// The networks it belongs to.
    pub networks: Vec<Membership>,
}

impl PodNames {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.address.map(IpAddr::V4).into_iter().chain(self.address6.map(IpAddr::V6))
    }
}

/// A pod's part in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The network.
    pub network: String,
    /// The pod's names in it.
    pub aliases: Vec<String>,
}
