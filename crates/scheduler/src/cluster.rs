//! Nodes and what runs on them, as columns.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use naru_api::k8s::api::core::v1::{Node, Taint};
use naru_api::select::LabelSelector;

use crate::bits::Bits;
use crate::demand::{Demand, PodTerm};
use crate::filter;
use crate::rejection::Rejection;
use crate::resources::Resources;
use crate::score::{self, Policy};

/// The answer for a pod that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The node.
    pub node: String,
    /// Nodes that would have done.
    pub feasible: usize,
}

/// A node as rules see it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeEntry {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// Pods on it, by namespace and name.
    pub pods: BTreeMap<(String, String), Demand>,
    pub present: bool,
}

/// Everything that placement looks at. Feed it as objects change; it forgets nothing in between.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    entries: Vec<NodeEntry>,
    by_name: HashMap<String, usize>,
    /// The place of each entry's name among all names, made when it is needed: of thousands of nodes that are alike, the
    /// first by name is taken, and numbers are compared faster than names.
    ranks: OnceLock<Vec<u32>>,
    free: Vec<usize>,
    present: Bits,
    /// One column of each kind a resource: what nodes have, and what is set aside on them.
    allocatable: HashMap<String, Vec<i64>>,
    used: HashMap<String, Vec<i64>>,
    labels: HashMap<String, HashMap<String, Bits>>,
    tainted: Bits,
    /// Nodes with pods that have required anti-affinity: only they need the reverse look.
    pub(crate) guarded: Bits,
    places: HashMap<(String, String), usize>,
    /// How many pods of each controller every node has that has any.
    siblings: HashMap<String, HashMap<usize, usize>>,
    /// The labels of namespaces, for affinities that select by them.
    namespaces: HashMap<String, BTreeMap<String, String>>,
    /// What is preferred among nodes that do.
    pub policy: Policy,
}

impl Cluster {
    /// A node that is new or has changed.
    pub fn set_node(&mut self, node: &Node) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let at = match self.by_name.get(&name) {
            Some(at) => *at,
            None => {
                let at = self.free.pop().unwrap_or_else(|| {
                    self.entries.push(NodeEntry::default());
                    self.entries.len() - 1
                });
                self.by_name.insert(name.clone(), at);
                self.ranks.take();
                at
            }
        };
        self.forget_labels(at);
        let labels = node.metadata.labels.clone().unwrap_or_default();
        for (key, value) in &labels {
            self.labels.entry(key.clone()).or_default().entry(value.clone()).or_default().insert(at);
        }
        let spec = node.spec.as_ref();
        let mut taints = spec.and_then(|s| s.taints.clone()).unwrap_or_default();
        let cordon = "node.kubernetes.io/unschedulable";
        if spec.and_then(|s| s.unschedulable) == Some(true) && !taints.iter().any(|t| t.key == cordon) {
            taints.push(Taint { key: cordon.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
        }
        if !ready(node) && !taints.iter().any(|t| t.key == "node.kubernetes.io/not-ready") {
            let key = "node.kubernetes.io/not-ready".to_owned();
            taints.push(Taint { key, effect: "NoSchedule".to_owned(), ..Taint::default() });
        }
        self.tainted.remove(at);
        if !taints.is_empty() {
            self.tainted.insert(at);
        }
        let amounts = Resources::read(node.status.as_ref().and_then(|s| s.allocatable.as_ref()));
        self.allocatable.values_mut().for_each(|column| set(column, at, 0));
        for (resource, amount) in &amounts.0 {
            set(self.allocatable.entry(resource.clone()).or_default(), at, *amount);
        }
        self.present.insert(at);
        let entry = &mut self.entries[at];
        entry.name = name;
        entry.labels = labels;
        entry.taints = taints;
        entry.present = true;
    }

    /// A node that is gone. What ran on it is still known, until it is told gone too.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(at) = self.by_name.get(name).copied() {
            self.forget_labels(at);
            self.present.remove(at);
            self.tainted.remove(at);
            self.allocatable.values_mut().for_each(|column| set(column, at, 0));
            self.entries[at].present = false;
            self.reuse(at);
        }
    }

    /// A namespace that is new or has changed; `None` when it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) {
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
    }

    /// Whether a term of an affinity is about a pod.
    pub(crate) fn selects(&self, term: &PodTerm, pod: &Demand) -> bool {
        let by_labels = |selector: &LabelSelector| {
            self.namespaces.get(&pod.namespace).is_some_and(|labels| selector.matches(labels))
        };
        let here = term.namespaces.contains(&pod.namespace) || term.namespace_selector.as_ref().is_some_and(by_labels);
        here && term.selector.matches(&pod.labels)
    }

    /// A pod that has a node and has not ended.
    pub fn set_pod(&mut self, node: &str, demand: Demand) {
        self.remove_pod(&demand.namespace, &demand.name);
        let at = match self.by_name.get(node) {
            Some(at) => *at,
            None => {
                // Its node is not known yet: an entry that no pod can be placed on holds it.
                let at = self.free.pop().unwrap_or_else(|| {
                    self.entries.push(NodeEntry::default());
                    self.entries.len() - 1
                });
                self.entries[at].name = node.to_owned();
                self.by_name.insert(node.to_owned(), at);
                self.ranks.take();
                at
            }
        };
        for (resource, amount) in &demand.requests.0 {
            add(self.used.entry(resource.clone()).or_default(), at, *amount);
        }
        if !demand.anti_affinity.is_empty() {
            self.guarded.insert(at);
        }
        if let Some(owner) = &demand.owner {
            match self.siblings.get_mut(owner) {
                Some(nodes) => *nodes.entry(at).or_default() += 1,
                None => drop(self.siblings.insert(owner.clone(), HashMap::from([(at, 1)]))),
            }
        }
        let key = (demand.namespace.clone(), demand.name.clone());
        self.places.insert(key.clone(), at);
        self.entries[at].pods.insert(key, demand);
    }

    /// A pod that has ended or is gone.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(at) = self.places.remove(&key) else { return };
        let Some(demand) = self.entries[at].pods.remove(&key) else { return };
        for (resource, amount) in &demand.requests.0 {
            add(self.used.entry(resource.clone()).or_default(), at, -amount);
        }
        if !demand.anti_affinity.is_empty() && !self.entries[at].pods.values().any(|pod| !pod.anti_affinity.is_empty())
        {
            self.guarded.remove(at);
        }
        if let Some(owner) = &demand.owner
            && let Some(nodes) = self.siblings.get_mut(owner)
        {
            if let Some(count) = nodes.get_mut(&at) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&at);
                }
            }
            if nodes.is_empty() {
                self.siblings.remove(owner);
            }
        }
        self.reuse(at);
    }

    /// The node on which a pod has its place.
    pub fn place_of(&self, namespace: &str, name: &str) -> Option<&str> {
        let at = self.places.get(&(namespace.to_owned(), name.to_owned()))?;
        Some(&self.entries[*at].name)
    }

    /// The best node for a pod, which is then set aside for it.
    ///
    /// # Errors
    /// What each rule took away, when no node is left.
    pub fn place(&mut self, demand: &Demand) -> Result<Placement, Rejection> {
        let candidates = filter::feasible(self, demand)?;
        let at = score::best(self, demand, &candidates);
        let placement = Placement { node: self.entries[at].name.clone(), feasible: candidates.len() };
        self.set_pod(&placement.node.clone(), demand.clone());
        Ok(placement)
    }

    /// Whether a pod would fit anywhere, without setting anything aside.
    ///
    /// # Errors
    /// As [`Cluster::place`].
    pub fn would_fit(&self, demand: &Demand) -> Result<usize, Rejection> {
        filter::feasible(self, demand).map(|candidates| candidates.len())
    }

    /// Where a pod runs, and what it asked for; `None` for one whose node is not there.
    pub(crate) fn running(&self, namespace: &str, name: &str) -> Option<(usize, &Demand)> {
        let key = (namespace.to_owned(), name.to_owned());
        let at = *self.places.get(&key)?;
        let entry = &self.entries[at];
        entry.pods.get(&key).filter(|_| entry.present).map(|demand| (at, demand))
    }

    pub(crate) fn all(&self) -> Bits {
        self.present.clone()
    }

    pub(crate) fn tainted(&self) -> &Bits {
        &self.tainted
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (usize, &NodeEntry)> {
        self.entries.iter().enumerate().filter(|(_, node)| node.present)
    }

    pub(crate) fn node(&self, at: usize) -> &NodeEntry {
        &self.entries[at]
    }

    /// The place of each entry's name among all names.
    pub(crate) fn ranks(&self) -> &[u32] {
        self.ranks.get_or_init(|| {
            let mut order: Vec<usize> = (0..self.entries.len()).collect();
            order.sort_unstable_by(|a, b| self.entries[*a].name.cmp(&self.entries[*b].name));
            let mut ranks = vec![0; order.len()];
            for (rank, at) in (0u32..).zip(order) {
                ranks[at] = rank;
            }
            ranks
        })
    }

    pub(crate) fn with_label(&self, key: &str, value: &str) -> Bits {
        self.labels.get(key).and_then(|values| values.get(value)).cloned().unwrap_or_default()
    }

    pub(crate) fn with_key(&self, key: &str) -> Bits {
        let mut found = Bits::default();
        self.labels.get(key).into_iter().flat_map(HashMap::values).for_each(|nodes| found.unite(nodes));
        found
    }

    /// The values of a label and the nodes that have each, in an order that does not change between runs.
    pub(crate) fn domains(&self, key: &str) -> BTreeMap<&str, &Bits> {
        let values = self.labels.get(key).into_iter().flatten();
        values.filter(|(_, nodes)| !nodes.is_empty()).map(|(value, nodes)| (value.as_str(), nodes)).collect()
    }

    /// How many pods of a controller each node has; nodes without any are not in it.
    pub(crate) fn siblings(&self, owner: &str) -> Option<&HashMap<usize, usize>> {
        self.siblings.get(owner)
    }

    /// The place of a node.
    pub(crate) fn at(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied().filter(|at| self.entries[*at].present)
    }

    /// What nodes have of a resource, and what of it is set aside, by their places; a place beyond the end has none.
    pub(crate) fn columns(&self, resource: &str) -> (&[i64], &[i64]) {
        (
            self.allocatable.get(resource).map_or(&[][..], Vec::as_slice),
            self.used.get(resource).map_or(&[][..], Vec::as_slice),
        )
    }

    pub(crate) fn capacity(&self, resource: &str, at: usize) -> i64 {
        self.allocatable.get(resource).and_then(|column| column.get(at)).copied().unwrap_or(0)
    }

    fn forget_labels(&mut self, at: usize) {
        for (key, value) in std::mem::take(&mut self.entries[at].labels) {
            if let Some(nodes) = self.labels.get_mut(&key).and_then(|values| values.get_mut(&value)) {
                nodes.remove(at);
            }
        }
    }

    /// An entry without node and pods is free for another.
    fn reuse(&mut self, at: usize) {
        if !self.entries[at].present && self.entries[at].pods.is_empty() {
            self.by_name.remove(&self.entries[at].name);
            self.free.push(at);
        }
    }
}

fn ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

fn set(column: &mut Vec<i64>, at: usize, amount: i64) {
    if column.len() <= at {
        column.resize(at + 1, 0);
    }
    column[at] = amount;
}

fn add(column: &mut Vec<i64>, at: usize, amount: i64) {
    let now = column.get(at).copied().unwrap_or(0);
    set(column, at, now + amount);
}
