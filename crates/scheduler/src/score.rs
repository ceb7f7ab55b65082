//! Among the nodes that do, the best one.
//!
//! Every part gives 0 to 100; parts are weighed and added. Equal nodes are told apart by fewer pods, then by name, so
//! that the same cluster and pod always give the same node.

use crate::affinity::{term, tolerated};
use crate::bits::Bits;
use crate::cluster::Cluster;
use crate::demand::Demand;
use crate::filter::counts;

/// What is preferred among nodes that do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nodes with much left: load is even.
    #[default]
    Spread,
    /// Nodes with little left: few nodes are needed.
    Binpack,
}

const MOST: i64 = 100;

/// The best of `candidates`, which is not empty.
pub(crate) fn best(cluster: &Cluster, demand: &Demand, candidates: &Bits) -> usize {
    let free = allocation(cluster, demand);
    let mut scores: Vec<(usize, i64)> = candidates.iter().map(|at| (at, free(at))).collect();
    // One candidate needs no comparing.
    if let [(only, _)] = scores[..] {
        return only;
    }
    siblings(cluster, demand, &mut scores);
    preferred_nodes(cluster, demand, &mut scores);
    preferred_pods(cluster, demand, &mut scores);
    soft_taints(cluster, demand, &mut scores);
    soft_spreads(cluster, demand, &mut scores);
    // Few are as good as the best; only they are looked at for how many pods they have, and for their names.
    let most = scores.iter().map(|(_, score)| *score).max().unwrap_or_default();
    let ranks = cluster.ranks();
    let equals = scores.iter().filter(|(_, score)| *score == most).map(|(at, _)| *at);
    equals.min_by_key(|at| (cluster.node(*at).pods.len(), ranks.get(*at).copied())).unwrap_or(0)
}

/// How much of a node is left afterwards, averaged over CPU and memory.
fn allocation(cluster: &Cluster, demand: &Demand) -> impl Fn(usize) -> i64 {
    let share = |resource: &'static str| {
        let asked = demand.requests.get(resource).max(least(resource));
        let (has, used) = cluster.columns(resource);
        move |at: usize| {
            let capacity = has.get(at).copied().unwrap_or(0);
            if capacity <= 0 {
                return 0;
            }
            let left = (capacity - used.get(at).copied().unwrap_or(0) - asked).clamp(0, capacity);
            left.saturating_mul(MOST) / capacity
        }
    };
    let (cpu, memory) = (share("cpu"), share("memory"));
    let policy = cluster.policy;
    move |at| {
        let free = (cpu(at) + memory(at)) / 2;
        match policy {
            Policy::Spread => free,
            Policy::Binpack => MOST - free,
        }
    }
}

/// Pods that ask for nothing still weigh something, else they would all go to one node.
pub(crate) fn least(resource: &str) -> i64 {
    if resource == "cpu" { 100 } else { 200 << 20 }
}

/// Pods of one controller keep apart.
fn siblings(cluster: &Cluster, demand: &Demand, scores: &mut [(usize, i64)]) {
    if cluster.policy == Policy::Binpack || !demand.spreads.is_empty() {
        return;
    }
    if let Some(counts) = demand.owner.as_ref().and_then(|owner| cluster.siblings(owner)) {
        weigh(scores, 2, |at| -(counts.get(&at).copied().unwrap_or(0) as i64));
    }
}

fn preferred_nodes(cluster: &Cluster, demand: &Demand, scores: &mut [(usize, i64)]) {
    let wished: Vec<(i64, Bits)> =
        demand.preferred_nodes.iter().map(|(weight, t)| (i64::from(*weight), term(cluster, t))).collect();
    if !wished.is_empty() {
        weigh(scores, 2, |at| wished.iter().filter(|(_, nodes)| nodes.contains(at)).map(|(weight, _)| weight).sum());
    }
}

fn preferred_pods(cluster: &Cluster, demand: &Demand, scores: &mut [(usize, i64)]) {
    if demand.preferred_pods.is_empty() {
        return;
    }
    let mut wished: Vec<(i64, Bits)> = Vec::new();
    for (weight, term) in &demand.preferred_pods {
        for nodes in cluster.domains(&term.topology).values() {
            let matching =
                nodes.iter().flat_map(|at| cluster.node(at).pods.values()).filter(|pod| cluster.selects(term, pod));
            wished.push((i64::from(*weight) * matching.count() as i64, (*nodes).clone()));
        }
    }
    weigh(scores, 2, |at| wished.iter().filter(|(_, nodes)| nodes.contains(at)).map(|(weight, _)| weight).sum());
}

fn soft_taints(cluster: &Cluster, demand: &Demand, scores: &mut [(usize, i64)]) {
    if cluster.tainted().is_empty() {
        return;
    }
    let count = |at: usize| {
        let soft = cluster.node(at).taints.iter().filter(|t| t.effect == "PreferNoSchedule");
        soft.filter(|taint| !tolerated(taint, &demand.tolerations)).count() as i64
    };
    weigh(scores, 3, |at| -count(at));
}

fn soft_spreads(cluster: &Cluster, demand: &Demand, scores: &mut [(usize, i64)]) {
    for spread in demand.spreads.iter() {
        let counts = counts(cluster, demand, spread, &cluster.all());
        let most = counts.values().copied().max().unwrap_or(0);
        weigh(scores, 2, |at| {
            let value = cluster.node(at).labels.get(&spread.topology);
            // A node outside of the topology counts as the fullest domain.
            -value.and_then(|value| counts.get(value.as_str())).copied().unwrap_or(most + 1)
        });
    }
}

/// Adds a part: its values are stretched to 0 to 100, then weighed.
fn weigh(scores: &mut [(usize, i64)], weight: i64, value: impl Fn(usize) -> i64) {
    let values: Vec<i64> = scores.iter().map(|(at, _)| value(*at)).collect();
    let (Some(low), Some(high)) = (values.iter().min(), values.iter().max()) else { return };
    if low == high {
        return;
    }
    for ((_, score), value) in scores.iter_mut().zip(&values) {
        *score += weight * (value - low) * MOST / (high - low);
    }
}
