//! Which running pods would be better off elsewhere, now that there is room: the question behind rebalancing.
//!
//! A pod is better off elsewhere when the scheduler itself would put one more like it there, and when that evens
//! something out: pods of one owner over nodes and spread domains, or else the load of two nodes. Every such move lowers a
//! quantity that cannot fall for ever — first the crowding, then the loads from the fullest node down —, so that moves
//! come to an end and none is ever taken back. Refused: moving by scores alone, which go up and down with every pod.

use crate::cluster::Cluster;
use crate::demand::Demand;
use crate::filter;
use crate::score;

/// By how much less loaded the new node must be afterwards than the old one is now, in thousandths: less is not worth a
/// restart.
const MARGIN: i64 = 50;

/// A pod that would be better off elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Better {
    /// The node that it is on.
    pub from: String,
    /// The node that the scheduler would choose now.
    pub to: String,
    /// How much is gained.
    pub gain: Gain,
}

/// What a move evens out; more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gain {
    /// By how many pods of its owner (or domain) the old place is fuller than the new one; nothing below two.
    pub crowding: i64,
    /// By how much the old node is more loaded now than the new one then, in thousandths.
    pub load: i64,
}

impl Cluster {
    /// Where a running pod would be better off, among the nodes that `may` take one; `None` where it is well placed.
    ///
    /// Its replacement is thought to start while the pod still runs. Volumes are not looked at: what has some is not to
    /// be asked about.
    pub fn better(&self, namespace: &str, name: &str, may: impl Fn(&str) -> bool) -> Option<Better> {
        let (from, demand) = self.running(namespace, name)?;
        let candidates = filter::feasible(self, demand).ok()?;
        let to = score::best(self, demand, &candidates);
        if to == from || !may(&self.node(to).name) {
            return None;
        }
        let differences = self.differences(demand, from, to)?;
        let crowding = differences.into_iter().filter(|difference| *difference >= 2).max().unwrap_or(0);
        let load = self.load(from) - self.load(to) - self.weight(demand, to);
        let gain = Gain { crowding, load: if load >= MARGIN { load } else { 0 } };
        let name = |at: usize| self.node(at).name.clone();
        (gain.crowding > 0 || gain.load > 0).then(|| Better { from: name(from), to: name(to), gain })
    }

    /// By how many pods the old place is fuller than the new one: by owner on nodes, and in each spread's domains.
    /// `None` when one of them would become less even.
    fn differences(&self, demand: &Demand, from: usize, to: usize) -> Option<Vec<i64>> {
        let mut found = Vec::new();
        if demand.owner.is_some() {
            let count = |at: usize| self.node(at).pods.values().filter(|pod| pod.owner == demand.owner).count() as i64;
            found.push(count(from) - count(to));
        }
        for spread in &demand.spreads {
            let counts = filter::counts(self, demand, spread, &self.all());
            let domain = |at: usize| self.node(at).labels.get(&spread.topology).map(String::as_str);
            let (old, new) = (domain(from), domain(to));
            if old != new {
                let count = |domain: Option<&str>| domain.and_then(|domain| counts.get(domain)).copied();
                // Out of the topology would be worse than the fullest domain of it.
                found.push(count(old).unwrap_or(i64::MAX / 2) - count(new)?);
            }
        }
        found.iter().all(|difference| *difference >= 1).then_some(found)
    }

    /// How loaded a node is, in thousandths: what its pods set aside of CPU and memory.
    pub(crate) fn load(&self, at: usize) -> i64 {
        self.node(at).pods.values().map(|pod| self.weight(pod, at)).sum()
    }

    /// What a pod adds to a node's load.
    fn weight(&self, demand: &Demand, at: usize) -> i64 {
        let share = |resource: &str| {
            let capacity = self.capacity(resource, at).max(1);
            demand.requests.get(resource).max(score::least(resource)).saturating_mul(1_000) / capacity
        };
        (share("cpu").saturating_add(share("memory"))) / 2
    }
}

#[cfg(test)]
mod tests {
    use naru_api::k8s::api::core::v1::{Node, Pod};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, cpu: i64, zone: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"zone": zone, "kubernetes.io/hostname": name}}, "spec": {},
            "status": {"allocatable": {"cpu": cpu.to_string(), "memory": format!("{}Gi", cpu * 2), "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .expect("a node")
    }

    fn pod(name: &str, owner: &str, spec: &Value) -> Demand {
        let mut value = json!({
            "metadata": {"name": name, "namespace": "n", "labels": {"app": owner},
                "ownerReferences": [{"kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true, "apiVersion": "apps/v1"}]},
            "spec": spec,
        });
        if value["spec"].get("containers").is_none() {
            value["spec"]["containers"] = json!([{"name": "a"}]);
        }
        Demand::of(&serde_json::from_value::<Pod>(value).expect("a pod")).expect("a demand")
    }

    fn cluster(nodes: &[(&str, i64, &str)]) -> Cluster {
        let mut cluster = Cluster::default();
        nodes.iter().for_each(|(name, cpu, zone)| cluster.set_node(&node(name, *cpu, zone)));
        cluster
    }

    #[test]
    fn a_new_node_takes_from_the_fullest_and_not_what_is_even() {
        let mut cluster = cluster(&[("a", 4, "x"), ("b", 4, "x")]);
        (0..4).for_each(|n| cluster.set_pod("a", pod(&format!("w{n}"), "web", &json!({}))));
        let better = cluster.better("n", "w0", |_| true).expect("four on one of two nodes");
        assert_eq!((better.to.as_str(), better.gain.crowding), ("b", 4));
        assert_eq!(cluster.better("n", "w0", |node| node != "b"), None, "it may not take one");
        cluster.set_pod("b", pod("w4", "web", &json!({})));
        cluster.set_pod("b", pod("w5", "web", &json!({})));
        cluster.set_pod("b", pod("w6", "web", &json!({})));
        assert_eq!(cluster.better("n", "w0", |_| true), None, "four and three are even");
        assert_eq!(cluster.better("n", "nobody", |_| true), None);
    }

    #[test]
    fn single_pods_move_for_load_until_it_is_even_enough() {
        let mut cluster = cluster(&[("a", 2, "x"), ("b", 2, "x")]);
        (0..6).for_each(|n| cluster.set_pod("a", pod(&format!("s{n}"), &format!("o{n}"), &json!({}))));
        let better = cluster.better("n", "s0", |_| true).expect("six to none");
        assert_eq!(better.gain.crowding, 0);
        for n in 0..3 {
            cluster.set_pod("b", pod(&format!("s{n}"), &format!("o{n}"), &json!({})));
        }
        assert_eq!(cluster.better("n", "s5", |_| true), None);
    }

    #[test]
    fn a_move_makes_no_spread_worse_and_no_rule_void() {
        let spec = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}]});
        let mut spread = cluster(&[("a", 4, "x"), ("b", 4, "y"), ("c", 4, "x")]);
        for (name, at) in [("w0", "a"), ("w1", "a"), ("w2", "b")] {
            spread.set_pod(at, pod(name, "web", &spec));
        }
        assert_ne!(spread.better("n", "w2", |_| true).map(|b| b.to), Some("c".into()), "zone y would be empty");
        let held = json!({"nodeSelector": {"zone": "x"}});
        let mut pinned = cluster(&[("a", 4, "x"), ("b", 4, "y")]);
        (0..4).for_each(|n| pinned.set_pod("a", pod(&format!("w{n}"), "web", &held)));
        assert_eq!(pinned.better("n", "w0", |_| true), None);
    }

    /// What every move must lower: the crowding of owners, then the loads from the fullest node down.
    fn potential(cluster: &Cluster) -> (i64, Vec<i64>) {
        let mut crowding = 0;
        for (_, node) in cluster.nodes() {
            let mut counts = std::collections::BTreeMap::<&Option<String>, i64>::new();
            node.pods.values().for_each(|pod| *counts.entry(&pod.owner).or_default() += 1);
            crowding += counts.values().map(|count| count * count).sum::<i64>();
        }
        let mut loads: Vec<i64> = cluster.nodes().map(|(at, _)| cluster.load(at)).collect();
        loads.sort_unstable_by(|a, b| b.cmp(a));
        (crowding, loads)
    }

    proptest! {
        #[test]
        fn moves_end_and_none_is_taken_back(
            nodes in prop::collection::vec(1i64..9, 2..6),
            pods in prop::collection::vec((0usize..5, 0usize..6, 0i64..8), 1..40),
            order in any::<prop::sample::Index>(),
        ) {
            let mut cluster = Cluster::default();
            for (at, cpu) in nodes.iter().enumerate() {
                cluster.set_node(&node(&format!("n{at}"), *cpu, "x"));
            }
            let mut running = Vec::new();
            for (number, (owner, at, size)) in pods.iter().enumerate() {
                let spec = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": format!("{}m", size * 50)}}}]});
                let demand = pod(&format!("p{number}"), &format!("o{owner}"), &spec);
                cluster.set_pod(&format!("n{}", at % nodes.len()), demand.clone());
                running.push(demand);
            }
            let mut before = potential(&cluster);
            for step in 0..2_000 {
                let count = running.len();
                let found = (0..count).map(|n| (n + order.index(count)) % count).find_map(|n| {
                    cluster.better("n", &running[n].name, |_| true).map(|better| (n, better))
                });
                let Some((at, better)) = found else { return Ok(()) };
                // As it is done: the replacement first, then the pod goes.
                let old = running[at].clone();
                let replacement = Demand { name: format!("{}-{step}", old.name.split('-').next().unwrap_or_default()), ..old.clone() };
                let placed = cluster.place(&replacement).expect("there is room");
                prop_assert_eq!(&placed.node, &better.to);
                cluster.remove_pod("n", &old.name);
                running[at] = replacement;
                let after = potential(&cluster);
                prop_assert!(after < before, "{:?} is not below {:?}", after, before);
                before = after;
            }
            prop_assert!(false, "moves go on for ever");
        }
    }
}
