//! The two families of addresses, as the rules name them.
//!
//! A set or map of nftables has one type, so what holds addresses exists once a family; a rule that names an address of
//! one family is met by packets of that family alone, so rules of both stand side by side in the same chains. What names
//! no address is written once. The alternative refused is two tables: every chain, and every priority, twice.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::NodeConfig;

/// The words of a family.
#[derive(Debug)]
pub(super) struct Family {
    /// By which matches and translations name it.
    pub ip: &'static str,
    /// As `meta nfproto` names it.
    pub protocol: &'static str,
    suffix: &'static str,
    /// A set of addresses.
    pub addresses: &'static str,
    /// A set of pairs of addresses.
    pub pairs: &'static str,
    /// A set of `address . protocol . port`.
    pub endpoints: &'static str,
    /// A map from addresses.
    pub by_address: &'static str,
    /// A map from `address . protocol . port`.
    pub by_endpoint: &'static str,
}

pub(super) static V4: Family = Family {
    ip: "ip",
    protocol: "ipv4",
    suffix: "",
    addresses: "type ipv4_addr;",
    pairs: "type ipv4_addr . ipv4_addr;",
    endpoints: "type ipv4_addr . inet_proto . inet_service;",
    by_address: "type ipv4_addr : verdict;",
    by_endpoint: "type ipv4_addr . inet_proto . inet_service : verdict;",
};

pub(super) static V6: Family = Family {
    ip: "ip6",
    protocol: "ipv6",
    suffix: "6",
    addresses: "type ipv6_addr;",
    pairs: "type ipv6_addr . ipv6_addr;",
    endpoints: "type ipv6_addr . inet_proto . inet_service;",
    by_address: "type ipv6_addr : verdict;",
    by_endpoint: "type ipv6_addr . inet_proto . inet_service : verdict;",
};

impl Family {
    /// The family of an address.
    pub fn of(address: &IpAddr) -> &'static Self {
        if address.is_ipv4() { &V4 } else { &V6 }
    }

    /// The set or map of this family that stands for `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }

    /// What a chain's name is made from: chains that lead to addresses exist once a family.
    pub fn key(&self, key: &str) -> String {
        if self.suffix.is_empty() { key.to_owned() } else { format!("{key}/{}", self.protocol) }
    }

    pub fn has(&'static self, address: &IpAddr) -> bool {
        std::ptr::eq(self, Self::of(address))
    }
}

/// One family's half of a node's addresses.
#[derive(Debug)]
pub(super) struct Side {
    pub family: &'static Family,
    /// The addresses pods of this node get.
    pub pods: IpNet,
    /// The addresses pods of any node get.
    pub cluster: IpNet,
    /// The virtual addresses of services.
    pub service: IpNet,
    /// The node's own address towards its pods.
    pub gateway: IpAddr,
}

/// The families that a node has, IPv4 first.
pub(super) fn sides(node: &NodeConfig) -> Vec<Side> {
    let first = Side {
        family: &V4,
        pods: node.pod_subnet.into(),
        cluster: node.cluster_cidr.into(),
        service: node.service_cidr.into(),
        gateway: node.gateway.into(),
    };
    let second = node.six.map(|six| Side {
        family: &V6,
        pods: six.pod_subnet.into(),
        cluster: six.cluster_cidr.into(),
        service: six.service_cidr.into(),
        gateway: six.gateway.into(),
    });
    std::iter::once(first).chain(second).collect()
}
