//! Preemption: which pods of lower priority must go so that one of higher priority fits.
//!
//! Source of behaviour: Kubernetes, "Pod Priority and Preemption". On each node everything of lower priority is thought
//! away; where the pod fits then, as many as possible are let back, the most important first. Among the nodes the one is
//! taken whose most important victim is the least important, then the one with the smallest sum of priorities, then with
//! the fewest victims, then with the youngest. What no victim can help against (labels, taints, volumes) rules a node
//! out from the beginning.

use std::cmp::Reverse;
use std::fmt;

use crate::cluster::Cluster;
use crate::demand::Demand;
use crate::filter;

/// Pods to be pushed away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    /// The node that the pod then gets.
    pub node: String,
    /// Namespaces and names, the most important first.
    pub victims: Vec<(String, String)>,
}

/// Why nothing is gained by pushing pods away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPreemption {
    /// Nodes in all.
    pub nodes: usize,
    /// Nodes on which nothing of lower priority runs, or which would not do without it either.
    pub without_victims: usize,
    /// The pod does not push others away.
    pub never: bool,
}

impl fmt::Display for NoPreemption {
    /// The words with which Kubernetes ends its FailedScheduling event.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.never {
            return f.write_str("preemption: not eligible due to preemptionPolicy=Never.");
        }
        let mut words = Vec::new();
        if self.nodes > self.without_victims {
            words.push(format!("{} Preemption is not helpful for scheduling", self.nodes - self.without_victims));
        }
        if self.without_victims > 0 {
            words.push(format!("{} No preemption victims found for incoming pod", self.without_victims));
        }
        words.sort();
        write!(f, "preemption: 0/{} nodes are available: {}.", self.nodes, words.join(", "))
    }
}

impl Cluster {
    /// Which pods to push away for a pod that has no node. Nothing is changed.
    ///
    /// # Errors
    /// Why that would not help.
    pub fn preempt(&mut self, demand: &Demand) -> Result<Preemption, NoPreemption> {
        let nodes: Vec<usize> = self.nodes().map(|(at, _)| at).collect();
        let mut none = NoPreemption { nodes: nodes.len(), without_victims: 0, never: !demand.preempts };
        if !demand.preempts {
            return Err(none);
        }
        let mut best = None;
        for at in nodes {
            if !filter::could_help(self, demand, at) {
                continue;
            }
            match self.victims(demand, at) {
                None => none.without_victims += 1,
                Some(victims) => {
                    let rank = rank(&victims);
                    if best.as_ref().is_none_or(|(known, _, _)| rank < *known) {
                        best = Some((rank, at, victims));
                    }
                }
            }
        }
        let (_, at, victims) = best.ok_or(none)?;
        let victims = victims.into_iter().map(|pod| (pod.namespace, pod.name)).collect();
        Ok(Preemption { node: self.node(at).name.clone(), victims })
    }

    /// The fewest pods whose going makes a node do, the most important first; `None` when it would not even then.
    fn victims(&mut self, demand: &Demand, at: usize) -> Option<Vec<Demand>> {
        let name = self.node(at).name.clone();
        let mut lower: Vec<Demand> =
            self.node(at).pods.values().filter(|pod| pod.priority < demand.priority).cloned().collect();
        if lower.is_empty() {
            return None;
        }
        lower.sort_by_key(|pod| (Reverse(pod.priority), pod.started, pod.name.clone()));
        lower.iter().for_each(|pod| self.remove_pod(&pod.namespace, &pod.name));
        let fits = |cluster: &Self| filter::feasible(cluster, demand).is_ok_and(|nodes| nodes.contains(at));
        let mut victims = Vec::new();
        let helps = fits(self);
        for pod in lower {
            self.set_pod(&name, pod.clone());
            if helps && !fits(self) {
                self.remove_pod(&pod.namespace, &pod.name);
                victims.push(pod);
            }
        }
        victims.iter().for_each(|pod| self.set_pod(&name, pod.clone()));
        (helps && !victims.is_empty()).then_some(victims)
    }
}

type Rank = (i32, i64, usize, Reverse<i64>);

fn rank(victims: &[Demand]) -> Rank {
    let highest = victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
    let sum = victims.iter().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum();
    let oldest = victims.iter().filter(|pod| pod.priority == highest).map(|pod| pod.started).min().unwrap_or(i64::MAX);
    (highest, sum, victims.len(), Reverse(oldest))
}
