//! Why no node was left, in words.

use std::fmt;

/// A rule that took nodes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The node is cordoned or not ready, or has a taint that is not tolerated.
    Taints,
    /// The node's labels are not the wanted ones.
    NodeAffinity,
    /// A port of the node is taken.
    Ports,
    /// Too little of a resource is left.
    Resources,
    /// A volume cannot be reached from the node.
    Volumes,
    /// No wanted pod is near.
    PodAffinity,
    /// An unwanted pod is near, or one that does not want this pod.
    PodAntiAffinity,
    /// The pods would be spread too unevenly.
    Spread,
    /// The node has as many pods of the service as it may have.
    MaxPerNode,
}

/// Why a pod has no node: each rule that took nodes away, with how many and what it says of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejection {
    /// Nodes in all.
    pub nodes: usize,
    /// What each rule took away, in the order of the rules.
    pub reasons: Vec<(Rule, usize, String)>,
}

impl fmt::Display for Rejection {
    /// The words of Kubernetes' FailedScheduling event, in its order: by text. A node to which several rules' words
    /// apply, as one that lacks two resources, counts in each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut words: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        for (_, count, text) in &self.reasons {
            *words.entry(text).or_default() += count;
        }
        let mut words: Vec<String> = words.into_iter().map(|(text, count)| format!("{count} {text}")).collect();
        words.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, words.join(", "))
    }
}

impl std::error::Error for Rejection {}
