//! NetworkPolicy: pods with the same policies share one chain of allowances that ends in a refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::model::{Desired, IpBlock, Peers, Policy, PolicyPort, PolicyRule, Protocol};

use super::base::{EGRESS, INGRESS};
use super::{Table, named};

/// Which way a packet goes, seen from the pod the policy protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn map(self) -> &'static str {
        match self {
            Self::Ingress => INGRESS,
            Self::Egress => EGRESS,
        }
    }

    fn chain(self) -> &'static str {
        match self {
            Self::Ingress => "in",
            Self::Egress => "out",
        }
    }

    /// What allowed traffic meets next: outgoing traffic still has to be let in at the other end.
    fn allowed(self) -> &'static str {
        match self {
            Self::Ingress => "accept",
            Self::Egress => "goto incoming",
        }
    }

    /// The side of the packet where the peer is.
    fn peer(self) -> &'static str {
        match self {
            Self::Ingress => "saddr",
            Self::Egress => "daddr",
        }
    }

    fn rules(self, policy: &Policy) -> Option<&[PolicyRule]> {
        match self {
            Self::Ingress => policy.ingress.as_deref(),
            Self::Egress => policy.egress.as_deref(),
        }
    }
}

pub(super) fn compile(table: &mut Table, desired: &Desired) {
    for direction in [Direction::Ingress, Direction::Egress] {
        let mut by_pod: BTreeMap<Ipv4Addr, Vec<&Policy>> = BTreeMap::new();
        for policy in desired.policies.iter().filter(|policy| direction.rules(policy).is_some()) {
            for pod in &policy.pods {
                by_pod.entry(*pod).or_default().push(policy);
            }
        }
        for (pod, policies) in by_pod {
            let chain = group_chain(table, direction, policies);
            table.verdict(direction.map(), pod.to_string(), format!("goto {chain}"));
        }
    }
}

/// The chain of all pods that exactly these policies select.
fn group_chain(table: &mut Table, direction: Direction, mut policies: Vec<&Policy>) -> String {
    policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let key: Vec<String> = policies.iter().map(|policy| format!("{}/{}", policy.namespace, policy.name)).collect();
    let name = named(direction.chain(), &key.join("\n"));
    if table.has_chain(&name) {
        return name;
    }
    let mut rules = Vec::new();
    for policy in policies {
        for (index, rule) in direction.rules(policy).unwrap_or_default().iter().enumerate() {
            let key = format!("{}/{}/{}/{index}", policy.namespace, policy.name, direction.chain());
            let ports = port_matches(table, &key, &rule.ports);
            for peer in peer_matches(table, &key, direction, &rule.peers) {
                for port in &ports {
                    rules.push(format!("{peer}{port}{}", direction.allowed()));
                }
            }
        }
    }
    rules.push("goto deny".into());
    table.chain(&name, rules);
    name
}

/// The alternatives of the peer side, each a match that ends in a space, or empty for everybody.
fn peer_matches(table: &mut Table, key: &str, direction: Direction, peers: &Peers) -> Vec<String> {
    let Peers::Of { pods, blocks } = peers else { return vec![String::new()] };
    let mut matches = Vec::new();
    if !pods.is_empty() {
        let set = named("peers", key);
        table.set(&set, "type ipv4_addr;");
        for pod in pods {
            table.element(&set, pod.to_string());
        }
        matches.push(format!("ip {} @{set} ", direction.peer()));
    }
    matches.extend(blocks.iter().map(|block| block_match(direction, block)));
    matches
}

fn block_match(direction: Direction, block: &IpBlock) -> String {
    let side = direction.peer();
    let except: Vec<String> = minimal(&block.except).iter().map(ToString::to_string).collect();
    // A match on 0.0.0.0/0 says nothing and is refused by some versions of nft.
    let mut text =
        if block.cidr.prefix_len() == 0 { "meta nfproto ipv4 ".into() } else { format!("ip {side} {} ", block.cidr) };
    if !except.is_empty() {
        text.push_str(&format!("ip {side} != {{ {} }} ", except.join(", ")));
    }
    text
}

/// Drops blocks that lie inside others: overlapping intervals are refused in a set.
fn minimal(blocks: &[ipnet::Ipv4Net]) -> Vec<ipnet::Ipv4Net> {
    ipnet::Ipv4Net::aggregate(&blocks.to_vec())
}

/// The alternatives of the port side, each a match that ends in a space, or one empty match for all ports.
fn port_matches(table: &mut Table, key: &str, ports: &[PolicyPort]) -> Vec<String> {
    if ports.is_empty() {
        return vec![String::new()];
    }
    let mut matches = Vec::new();
    let mut ranges: BTreeMap<Protocol, BTreeSet<(u16, u16)>> = BTreeMap::new();
    let mut named_ports: BTreeSet<String> = BTreeSet::new();
    for port in ports {
        match port {
            PolicyPort::All(protocol) => matches.push(format!("meta l4proto {} ", protocol.name())),
            PolicyPort::Range(protocol, range) => {
                ranges.entry(*protocol).or_default().insert((*range.start(), *range.end()));
            }
            PolicyPort::Named(protocol, destinations) => {
                named_ports.extend(
                    destinations.iter().map(|(address, port)| format!("{address} . {} . {port}", protocol.name())),
                );
            }
        }
    }
    for (protocol, ranges) in ranges {
        let list: Vec<String> = merged(&ranges)
            .into_iter()
            .map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") })
            .collect();
        matches.push(format!("meta l4proto {} th dport {{ {} }} ", protocol.name(), list.join(", ")));
    }
    if !named_ports.is_empty() {
        let set = named("ports", key);
        table.set(&set, "type ipv4_addr . inet_proto . inet_service;");
        for element in named_ports {
            table.element(&set, element);
        }
        matches.push(format!("ip daddr . meta l4proto . th dport @{set} "));
    }
    matches
}

/// Joins ranges that touch: overlapping intervals are refused in a set.
fn merged(ranges: &BTreeSet<(u16, u16)>) -> Vec<(u16, u16)> {
    let mut out: Vec<(u16, u16)> = Vec::new();
    for &(from, to) in ranges {
        match out.last_mut() {
            Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}
