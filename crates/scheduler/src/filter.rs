//! The rules, each of which takes nodes away and says so.

use std::collections::BTreeMap;

use crate::affinity::{term, tolerated};
use crate::bits::Bits;
use crate::cluster::{Cluster, NodeEntry};
use crate::demand::{Demand, HostPort, Spread};
use crate::rejection::{Rejection, Rule};

/// The nodes that every rule leaves.
pub(crate) fn feasible(cluster: &Cluster, demand: &Demand) -> Result<Bits, Rejection> {
    let mut sieve =
        Sieve { left: cluster.all(), rejection: Rejection { nodes: cluster.all().len(), reasons: Vec::new() } };
    taints(cluster, demand, &mut sieve);
    sieve.keep(
        Rule::NodeAffinity,
        &node_affinity(cluster, demand),
        "node(s) didn't match Pod's node affinity/selector",
    );
    ports(cluster, demand, &mut sieve);
    resources(cluster, demand, &mut sieve);
    for volume in &demand.volumes {
        let mut reachable = Bits::default();
        volume.nodes.node_selector_terms.iter().for_each(|t| reachable.unite(&term(cluster, t)));
        sieve.keep(Rule::Volumes, &reachable, "node(s) didn't match PersistentVolume's node affinity");
    }
    max_per_node(cluster, demand, &mut sieve);
    for spread in demand.spreads.iter().filter(|spread| spread.hard) {
        let missing = "node(s) didn't match pod topology spread constraints (missing required label)";
        sieve.keep(Rule::Spread, &cluster.with_key(&spread.topology), missing);
        let kept = spread_keeps(cluster, demand, spread, &domains_of(cluster, demand, spread));
        sieve.keep(Rule::Spread, &kept, "node(s) didn't match pod topology spread constraints");
    }
    pod_affinity(cluster, demand, &mut sieve);
    if sieve.left.is_empty() { Err(sieve.rejection) } else { Ok(sieve.left) }
}

/// Whether pushing pods away can make a node do: what the node is, is not against it.
pub(crate) fn could_help(cluster: &Cluster, demand: &Demand, at: usize) -> bool {
    let mut sieve = Sieve { left: cluster.all(), rejection: Rejection::default() };
    taints(cluster, demand, &mut sieve);
    sieve.left.intersect(&node_affinity(cluster, demand));
    for volume in &demand.volumes {
        let mut reachable = Bits::default();
        volume.nodes.node_selector_terms.iter().for_each(|t| reachable.unite(&term(cluster, t)));
        sieve.left.intersect(&reachable);
    }
    sieve.left.contains(at)
}

struct Sieve {
    left: Bits,
    rejection: Rejection,
}

impl Sieve {
    fn keep(&mut self, rule: Rule, kept: &Bits, text: &str) {
        let before = self.left.len();
        self.left.intersect(kept);
        let gone = before - self.left.len();
        if gone > 0 {
            self.rejection.reasons.push((rule, gone, text.to_owned()));
        }
    }

    /// Takes single nodes away, counted by what is said of each.
    fn drop_each(&mut self, rule: Rule, why: impl Fn(usize) -> Option<String>) {
        self.drop_each_of(rule, &self.left.clone(), why);
    }

    /// The same where only some can be concerned.
    fn drop_each_of(&mut self, rule: Rule, some: &Bits, why: impl Fn(usize) -> Option<String>) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut looked_at = self.left.clone();
        looked_at.intersect(some);
        for at in looked_at.iter() {
            if let Some(text) = why(at) {
                self.left.remove(at);
                *counts.entry(text).or_default() += 1;
            }
        }
        self.rejection.reasons.extend(counts.into_iter().map(|(text, count)| (rule, count, text)));
    }
}

fn taints(cluster: &Cluster, demand: &Demand, sieve: &mut Sieve) {
    sieve.drop_each_of(Rule::Taints, cluster.tainted(), |at| {
        let hard = |effect: &str| effect == "NoSchedule" || effect == "NoExecute";
        let taints = &cluster.node(at).taints;
        let taint = taints.iter().find(|t| hard(&t.effect) && !tolerated(t, &demand.tolerations))?;
        Some(match taint.key.as_str() {
            "node.kubernetes.io/unschedulable" => "node(s) were unschedulable".to_owned(),
            "node.kubernetes.io/not-ready" => "node(s) were not ready".to_owned(),
            key => {
                let value = taint.value.as_deref().unwrap_or_default();
                format!("node(s) had untolerated taint {{{key}: {value}}}")
            }
        })
    });
}

fn node_affinity(cluster: &Cluster, demand: &Demand) -> Bits {
    let mut kept = cluster.all();
    for (key, value) in &demand.node_selector {
        kept.intersect(&cluster.with_label(key, value));
    }
    if let Some(required) = &demand.required_nodes {
        let mut any = Bits::default();
        required.node_selector_terms.iter().for_each(|t| any.unite(&term(cluster, t)));
        kept.intersect(&any);
    }
    kept
}

fn ports(cluster: &Cluster, demand: &Demand, sieve: &mut Sieve) {
    if demand.host_ports.is_empty() {
        return;
    }
    sieve.drop_each(Rule::Ports, |at| {
        let taken = |wanted: &&HostPort| {
            let mut others = cluster.node(at).pods.values().flat_map(|pod| &pod.host_ports);
            others.any(|own| {
                own.port == wanted.port
                    && own.protocol == wanted.protocol
                    && (own.address == wanted.address || own.address.is_empty() || wanted.address.is_empty())
            })
        };
        demand
            .host_ports
            .iter()
            .find(taken)
            .map(|_| "node(s) didn't have free ports for the requested pod ports".to_owned())
    });
}

fn resources(cluster: &Cluster, demand: &Demand, sieve: &mut Sieve) {
    let asked: Vec<(&String, i64)> = demand.requests.0.iter().map(|(r, a)| (r, *a)).filter(|(_, a)| *a > 0).collect();
    let before = sieve.left.clone();
    for (resource, amount) in asked {
        let (has, used) = cluster.columns(resource);
        let left = |at: usize| has.get(at).copied().unwrap_or(0) - used.get(at).copied().unwrap_or(0);
        let short: Vec<usize> = before.iter().filter(|at| left(*at) < amount).collect();
        if !short.is_empty() {
            let text = if resource == "pods" { "Too many pods".to_owned() } else { format!("Insufficient {resource}") };
            short.iter().for_each(|at| sieve.left.remove(*at));
            sieve.rejection.reasons.push((Rule::Resources, short.len(), text));
        }
    }
}

/// Compose's `max_replicas_per_node`.
fn max_per_node(cluster: &Cluster, demand: &Demand, sieve: &mut Sieve) {
    let Some(most) = demand.max_per_node else { return };
    sieve.drop_each(Rule::MaxPerNode, |at| {
        let pods = cluster.node(at).pods.values();
        let siblings = pods.filter(|pod| pod.namespace == demand.namespace && pod.service() == demand.service());
        (siblings.count() >= most).then(|| format!("node(s) had {most} replicas of the service already"))
    });
}

/// The nodes in the same domains as pods that `wanted` picks, looked for on `where_to_look`.
fn near(cluster: &Cluster, topology: &str, look: &Bits, wanted: impl Fn(&NodeEntry) -> bool) -> Bits {
    let mut found = Bits::default();
    for nodes in cluster.domains(topology).values() {
        if nodes.iter().any(|at| look.contains(at) && wanted(cluster.node(at))) {
            found.unite(nodes);
        }
    }
    found
}

fn pod_affinity(cluster: &Cluster, demand: &Demand, sieve: &mut Sieve) {
    let everywhere = cluster.all();
    // A pod counts only when it matches every term (Kubernetes, InterPodAffinity).
    let wanted = |pod: &Demand| demand.affinity.iter().all(|term| cluster.selects(term, pod));
    let exists = || cluster.nodes().any(|(_, node)| node.pods.values().any(wanted));
    // The first of a group that wants to be near itself may go anywhere that has the topology at all.
    let first = !demand.affinity.is_empty() && wanted(demand) && !exists();
    for term in &demand.affinity {
        let kept = match first {
            true => cluster.with_key(&term.topology),
            false => near(cluster, &term.topology, &everywhere, |node| node.pods.values().any(wanted)),
        };
        sieve.keep(Rule::PodAffinity, &kept, "node(s) didn't match pod affinity rules");
    }
    for term in &demand.anti_affinity {
        let bad =
            near(cluster, &term.topology, &everywhere, |node| node.pods.values().any(|pod| cluster.selects(term, pod)));
        let mut kept = cluster.all();
        kept.subtract(&bad);
        sieve.keep(Rule::PodAntiAffinity, &kept, "node(s) didn't match pod anti-affinity rules");
    }
    let mut bad = Bits::default();
    for at in cluster.guarded.iter() {
        for term in cluster.node(at).pods.values().flat_map(|pod| &pod.anti_affinity) {
            if cluster.selects(term, demand)
                && let Some(value) = cluster.node(at).labels.get(&term.topology)
            {
                bad.unite(&cluster.with_label(&term.topology, value));
            }
        }
    }
    let mut kept = cluster.all();
    kept.subtract(&bad);
    sieve.keep(Rule::PodAntiAffinity, &kept, "node(s) didn't satisfy existing pods anti-affinity rules");
}

/// Pods that a spread counts, by domain; only nodes that the pod could use by its node affinity make domains.
pub(crate) fn counts<'a>(
    cluster: &'a Cluster,
    demand: &Demand,
    spread: &Spread,
    usable: &Bits,
) -> BTreeMap<&'a str, i64> {
    let mut found = BTreeMap::new();
    for (value, nodes) in cluster.domains(&spread.topology) {
        let mut own = nodes.clone();
        own.intersect(usable);
        if !own.is_empty() {
            let counted = own
                .iter()
                .flat_map(|at| cluster.node(at).pods.values())
                .filter(|pod| pod.namespace == demand.namespace && spread.selector.matches(&pod.labels));
            found.insert(value, counted.count() as i64);
        }
    }
    found
}

/// The nodes that make domains for a spread.
fn domains_of(cluster: &Cluster, demand: &Demand, spread: &Spread) -> Bits {
    let mut sieve = Sieve { left: cluster.all(), rejection: Rejection::default() };
    if spread.honors_affinity {
        sieve.left.intersect(&node_affinity(cluster, demand));
    }
    if spread.honors_taints {
        taints(cluster, demand, &mut sieve);
    }
    sieve.left
}

fn spread_keeps(cluster: &Cluster, demand: &Demand, spread: &Spread, usable: &Bits) -> Bits {
    let counts = counts(cluster, demand, spread, usable);
    let fewest = match counts.len() < spread.min_domains {
        true => 0,
        false => counts.values().copied().min().unwrap_or(0),
    };
    let own = i64::from(spread.selector.matches(&demand.labels));
    let mut kept = Bits::default();
    for (value, count) in &counts {
        if count + own - fewest <= spread.max_skew {
            kept.unite(&cluster.with_label(&spread.topology, value));
        }
    }
    kept
}
