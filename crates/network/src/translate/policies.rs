//! Policies, with their selectors resolved to the pods there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{IpBlock, Peers, Policy, PolicyPort, PolicyRule};

use super::facts::{NamespaceFacts, PeerFacts, PodFacts, PolicyFacts, PortFacts, RuleFacts};
use super::{Cluster, Viewpoint};

/// The pods that can be peers, by namespace.
struct World<'a> {
    pods: BTreeMap<&'a str, Vec<&'a PodFacts>>,
    namespaces: BTreeMap<&'a str, &'a NamespaceFacts>,
}

pub(super) fn translate(cluster: &Cluster, viewpoint: &Viewpoint) -> Vec<Policy> {
    // Without any, thousands of pods need not be sorted by namespace at every change.
    if cluster.policies.is_empty() {
        return Vec::new();
    }
    let mut world = World {
        pods: BTreeMap::new(),
        namespaces: cluster.namespaces.iter().map(|facts| (facts.name.as_str(), facts.as_ref())).collect(),
    };
    for pod in cluster.pods.iter().filter(|pod| pod.connected()) {
        world.pods.entry(&pod.namespace).or_default().push(pod);
    }
    let mut policies: Vec<Policy> =
        cluster.policies.iter().filter_map(|facts| policy(&world, facts, viewpoint)).collect();
    policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    policies
}

/// The policy, when it applies to pods of this node.
fn policy(world: &World<'_>, facts: &PolicyFacts, viewpoint: &Viewpoint) -> Option<Policy> {
    let selected: Vec<&PodFacts> = world
        .pods
        .get(facts.namespace.as_str())?
        .iter()
        .filter(|pod| pod.node.as_deref() == Some(&viewpoint.node) && facts.pods.matches(&pod.labels))
        .copied()
        .collect();
    if selected.is_empty() {
        return None;
    }
    let rules = |rules: &Option<Vec<RuleFacts>>, incoming: bool| {
        let rules = rules.as_ref()?;
        Some(rules.iter().map(|rule| translate_rule(world, facts, &selected, rule, incoming)).collect())
    };
    Some(Policy {
        namespace: facts.namespace.clone(),
        name: facts.name.clone(),
        pods: selected.iter().flat_map(|pod| pod.addresses()).collect(),
        ingress: rules(&facts.ingress, true),
        egress: rules(&facts.egress, false),
    })
}

fn translate_rule(
    world: &World<'_>,
    policy: &PolicyFacts,
    selected: &[&PodFacts],
    rule: &RuleFacts,
    incoming: bool,
) -> PolicyRule {
    let everybody = || world.pods.values().flatten().copied().collect::<Vec<_>>();
    let (peers, pods) = match &rule.peers {
        None => (Peers::Any, everybody()),
        Some(peers) => {
            let pods: Vec<&PodFacts> = peers.iter().flat_map(|peer| peer_pods(world, policy, peer)).collect();
            let blocks = peers.iter().filter_map(|peer| match peer {
                PeerFacts::Block { cidr, except } => Some(IpBlock { cidr: *cidr, except: except.clone() }),
                _ => None,
            });
            (Peers::Of { pods: pods.iter().flat_map(|pod| pod.addresses()).collect(), blocks: blocks.collect() }, pods)
        }
    };
    // A named port is the destination's: the protected pod's on the way in, the peer's on the way out.
    let destinations = if incoming { selected } else { &pods };
    PolicyRule { peers, ports: rule.ports.iter().map(|port| resolve_port(port, destinations)).collect() }
}

fn peer_pods<'a>(world: &World<'a>, policy: &PolicyFacts, peer: &PeerFacts) -> Vec<&'a PodFacts> {
    let PeerFacts::Pods { namespaces, pods } = peer else { return Vec::new() };
    let chosen = world.pods.iter().filter(|(namespace, _)| match namespaces {
        None => **namespace == policy.namespace,
        Some(selector) => world.namespaces.get(*namespace).is_some_and(|facts| selector.matches(&facts.labels)),
    });
    chosen.flat_map(|(_, all)| all.iter().copied().filter(|pod| pods.matches(&pod.labels))).collect()
}

fn resolve_port(port: &PortFacts, destinations: &[&PodFacts]) -> PolicyPort {
    match port {
        PortFacts::All(protocol) => PolicyPort::All(*protocol),
        PortFacts::Range(protocol, from, to) => PolicyPort::Range(*protocol, *from..=*to),
        PortFacts::Named(protocol, name) => {
            let mut found: BTreeSet<(IpAddr, u16)> = BTreeSet::new();
            for pod in destinations {
                let ports = pod.ports.iter().filter(|p| p.protocol == *protocol && p.name.as_ref() == Some(name));
                found.extend(ports.flat_map(|p| pod.addresses().map(|address| (address, p.number))));
            }
            PolicyPort::Named(*protocol, found)
        }
    }
}
