//! NetworkPolicy: pods with the same policies share one chain of allowances that ends in a refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::{Desired, IpBlock, NodeConfig, Peers, Policy, PolicyPort, PolicyRule, Protocol};

use super::base::{EGRESS, INGRESS};
use super::family::{Family, V4, V6};
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

pub(super) fn compile(table: &mut Table, node: &NodeConfig, desired: &Desired) {
    let families: &[&'static Family] = if node.six.is_some() { &[&V4, &V6] } else { &[&V4] };
    for direction in [Direction::Ingress, Direction::Egress] {
        let mut by_pod: BTreeMap<IpAddr, Vec<&Policy>> = BTreeMap::new();
        for policy in desired.policies.iter().filter(|policy| direction.rules(policy).is_some()) {
            for pod in &policy.pods {
                by_pod.entry(*pod).or_default().push(policy);
            }
        }
        for (pod, policies) in by_pod {
            let family = Family::of(&pod);
            if !families.iter().any(|known| std::ptr::eq(*known, family)) {
                continue;
            }
            let chain = group_chain(table, families, direction, policies);
            table.verdict(&family.name(direction.map()), pod.to_string(), format!("goto {chain}"));
        }
    }
}

/// The chain of all pods that exactly these policies select.
fn group_chain(
    table: &mut Table,
    families: &[&'static Family],
    direction: Direction,
    mut policies: Vec<&Policy>,
) -> String {
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
            let ports = port_matches(table, families, &key, &rule.ports);
            for peer in peer_matches(table, families, &key, direction, &rule.peers) {
                for port in ports.iter().filter(|port| peer.meets(port)) {
                    rules.push(format!("{}{}{}", peer.text, port.text, direction.allowed()));
                }
            }
        }
    }
    rules.push("goto deny".into());
    table.chain(&name, rules);
    name
}

/// A condition of a rule, which ends in a space unless it is empty.
struct Match {
    text: String,
    /// The family it is of; none when packets of both can meet it.
    family: Option<&'static Family>,
}

impl Match {
    fn any(text: String) -> Self {
        Self { text, family: None }
    }

    /// Whether one packet can meet both: a rule that names both families is refused as a whole.
    fn meets(&self, other: &Self) -> bool {
        self.family.zip(other.family).is_none_or(|(mine, theirs)| std::ptr::eq(mine, theirs))
    }
}

/// The alternatives of the peer side; one of no words for everybody.
fn peer_matches(
    table: &mut Table,
    families: &[&'static Family],
    key: &str,
    direction: Direction,
    peers: &Peers,
) -> Vec<Match> {
    let Peers::Of { pods, blocks } = peers else { return vec![Match::any(String::new())] };
    let mut matches = Vec::new();
    for family in families {
        let mut pods = pods.iter().filter(|pod| family.has(pod)).peekable();
        if pods.peek().is_some() {
            let set = named(&family.name("peers"), key);
            table.set(&set, family.addresses);
            for pod in pods {
                table.element(&set, pod.to_string());
            }
            let text = format!("{} {} @{set} ", family.ip, direction.peer());
            matches.push(Match { text, family: Some(family) });
        }
    }
    // Blocks of a family that nobody has match nothing.
    matches.extend(blocks.iter().map(|block| block_match(direction, block)));
    matches
}

fn block_match(direction: Direction, block: &IpBlock) -> Match {
    let (family, side) = (Family::of(&block.cidr.addr()), direction.peer());
    let ip = family.ip;
    let except = minimal(&block.except, family);
    // A match on 0.0.0.0/0 says nothing and is refused by some versions of nft.
    let mut text = match block.cidr.prefix_len() {
        0 => format!("meta nfproto {} ", family.protocol),
        _ => format!("{ip} {side} {} ", block.cidr),
    };
    if !except.is_empty() {
        text.push_str(&format!("{ip} {side} != {{ {} }} ", except.join(", ")));
    }
    Match { text, family: Some(family) }
}

/// The blocks of a family without those that lie inside others: overlapping intervals are refused in a set.
fn minimal(blocks: &[IpNet], family: &'static Family) -> Vec<String> {
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for block in blocks.iter().filter(|block| family.has(&block.addr())) {
        match block {
            IpNet::V4(block) => four.push(*block),
            IpNet::V6(block) => six.push(*block),
        }
    }
    let four = Ipv4Net::aggregate(&four).into_iter().map(|block| block.to_string());
    four.chain(Ipv6Net::aggregate(&six).into_iter().map(|block| block.to_string())).collect()
}

/// The alternatives of the port side; one of no words for all ports.
fn port_matches(table: &mut Table, families: &[&'static Family], key: &str, ports: &[PolicyPort]) -> Vec<Match> {
    if ports.is_empty() {
        return vec![Match::any(String::new())];
    }
    let mut matches = Vec::new();
    let mut ranges: BTreeMap<Protocol, BTreeSet<(u16, u16)>> = BTreeMap::new();
    let mut named_ports: BTreeSet<(IpAddr, String)> = BTreeSet::new();
    for port in ports {
        match port {
            PolicyPort::All(protocol) => matches.push(Match::any(format!("meta l4proto {} ", protocol.name()))),
            PolicyPort::Range(protocol, range) => {
                ranges.entry(*protocol).or_default().insert((*range.start(), *range.end()));
            }
            PolicyPort::Named(protocol, destinations) => {
                named_ports.extend(
                    destinations
                        .iter()
                        .map(|(address, port)| (*address, format!("{address} . {} . {port}", protocol.name()))),
                );
            }
        }
    }
    for (protocol, ranges) in ranges {
        let list: Vec<String> = merged(&ranges)
            .into_iter()
            .map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") })
            .collect();
        matches.push(Match::any(format!("meta l4proto {} th dport {{ {} }} ", protocol.name(), list.join(", "))));
    }
    for family in families {
        let mut destinations = named_ports.iter().filter(|(address, _)| family.has(address)).peekable();
        if destinations.peek().is_some() {
            let set = named(&family.name("ports"), key);
            table.set(&set, family.endpoints);
            for (_, element) in destinations {
                table.element(&set, element.clone());
            }
            let text = format!("{} daddr . meta l4proto . th dport @{set} ", family.ip);
            matches.push(Match { text, family: Some(family) });
        }
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
