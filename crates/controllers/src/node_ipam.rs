//! Pod subnets of nodes: each gets one of its own out of the cluster's range, and keeps it until its Node goes.
//!
//! There is one key, since what is free depends on all nodes together: two turns at once would give the same subnet twice.
//! The first subnet is the server's own, which takes it without asking, because it starts before anybody could answer.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use jiff::{SignedDuration, Timestamp};
use naru_api::Ranges;
use naru_client::ObjectRef;
use serde_json::json;

use crate::cluster::Cluster;
use crate::driver::{Controller, Keys};
use crate::ownership::key;
use crate::plan::{Notice, Plan, Write};
use crate::resources::NODES;
use crate::views::{Condition, Node};

/// The shortest prefix of a node's subnet: 256 addresses, as Kubernetes gives by default.
const PREFIX: u8 = 24;
const CONDITION: &str = "NetworkUnavailable";
/// Annotation of a Node: the addresses that its pods have, as the node itself says.
const POD_SUBNET: &str = "naru.io/pod-subnet";
/// Annotation of a Node that a restored cluster knew nothing of.
const RETURNED: &str = "naru.io/returned";
/// How long such a node may take to say which addresses its pods have.
const SAYS: SignedDuration = SignedDuration::from_secs(30);

/// Gives nodes their subnets.
pub(crate) struct NodeSubnets {
    pub(crate) cluster: Arc<Cluster>,
    /// Addresses of all pods.
    pub(crate) range: Ranges,
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct View {
    nodes: Vec<Arc<Node>>,
    range: Ranges,
}

fn everything() -> ObjectRef {
    ObjectRef::cluster("nodes")
}

impl Controller for NodeSubnets {
    type View = View;

    fn name(&self) -> &'static str {
        "node-subnets"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let (keys, range) = (keys.clone(), self.range);
        self.cluster.nodes.listen(move |change| {
            // A node without one, or one that gives its own back for somebody who waits.
            let lacks = |node: &Node| node.spec.pod_cidr.is_empty() || second(node, range).is_some();
            if change.after.as_ref().is_none_or(|node| lacks(&node.view)) {
                keys.add(&everything());
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        vec![everything()]
    }

    fn view(&self, _: &ObjectRef) -> Option<View> {
        let nodes = self.cluster.nodes.list().into_iter().map(|node| node.view.clone()).collect();
        Some(View { nodes, range: self.range })
    }

    fn plan(&self, view: &View, now: Timestamp) -> Plan {
        plan(view, now)
    }
}

fn plan(view: &View, now: Timestamp) -> Plan {
    let taken = |node: &Arc<Node>| node.spec.pod_cidr.parse::<Ipv4Net>().ok();
    let mut blocks = Blocks::of(view.range.v4);
    view.nodes.iter().filter_map(taken).for_each(|subnet| blocks.take(subnet));
    let mut waiting: Vec<&Arc<Node>> =
        view.nodes.iter().filter(|node| node.spec.pod_cidr.is_empty() && !node.metadata.is_deleting()).collect();
    waiting.sort_by_key(|node| (node.metadata.creation_timestamp, node.metadata.name.clone()));
    let mut plan = Plan::nothing("every node has a subnet");
    // What pods have already comes before what is only wished for.
    let kept = |node: &&Arc<Node>| node.metadata.annotation(POD_SUBNET).is_none();
    waiting.sort_by_key(kept);
    for node in waiting {
        plan.reason = "giving subnets".into();
        if let Some(until) = says_until(node).filter(|until| *until > now) {
            plan.again_at(until);
            continue;
        }
        match own(node, &blocks).or_else(|| blocks.free()) {
            Some(subnet) => {
                blocks.take(subnet);
                let patch = json!({
                    "metadata": { "uid": node.metadata.uid },
                    "spec": { "podCIDR": subnet.to_string(), "podCIDRs": both(view.range, subnet) },
                });
                plan.push(Write::merge(NODES, key(&node.metadata), patch));
            }
            None => exhausted(&mut plan, node, view.range.v4, now),
        }
    }
    // Those that had their subnet before the cluster had a second family.
    for (node, subnet) in view.nodes.iter().filter_map(|node| Some((node, second(node, view.range)?))) {
        plan.reason = "giving subnets of the second family".into();
        let patch =
            json!({ "metadata": { "uid": node.metadata.uid }, "spec": { "podCIDRs": both(view.range, subnet) } });
        plan.push(Write::merge(NODES, key(&node.metadata), patch));
    }
    plan
}

/// A subnet with the one of the second family that belongs with it.
fn both(range: Ranges, subnet: Ipv4Net) -> Vec<String> {
    let second = range.second_block(subnet).map(|block| block.to_string());
    std::iter::once(subnet.to_string()).chain(second).collect()
}

/// The subnet of a node that lacks the one of the second family.
fn second(node: &Node, range: Ranges) -> Option<Ipv4Net> {
    let subnet: Ipv4Net = node.spec.pod_cidr.parse().ok()?;
    let wanted = range.second_block(subnet)?.to_string();
    let has = node.spec.pod_cidrs.iter().flatten().any(|known| *known == wanted);
    (!has && !node.metadata.is_deleting()).then_some(subnet)
}

/// Until when a node that came back may say what its pods have; nothing for one that has said it, or is new.
fn says_until(node: &Node) -> Option<Timestamp> {
    let meta = &node.metadata;
    let waits = meta.annotation(RETURNED).is_some() && meta.annotation(POD_SUBNET).is_none();
    meta.creation_timestamp.filter(|_| waits)?.saturating_add(SAYS).ok()
}

/// The subnet that a node has already, where it is one of ours and nobody else's.
fn own(node: &Node, blocks: &Blocks) -> Option<Ipv4Net> {
    let own: Ipv4Net = node.metadata.annotation(POD_SUBNET)?.parse().ok()?;
    blocks.is_free(own).then_some(own)
}

/// The range in subnets of one size, and which of them are taken, wholly or in part. A look costs the same however many
/// nodes there are: thousands may join one after another.
struct Blocks {
    range: Ipv4Net,
    /// The length of a subnet's prefix.
    prefix: u8,
    /// By their place in the range.
    taken: HashSet<u32>,
    /// No free one is before this place.
    first: u32,
}

impl Blocks {
    fn of(range: Ipv4Net) -> Blocks {
        // The first one is the server's.
        Blocks { range, prefix: range.prefix_len().max(PREFIX), taken: HashSet::new(), first: 1 }
    }

    fn place(&self, address: Ipv4Addr) -> u32 {
        (u32::from(address) - u32::from(self.range.network())) >> (32 - self.prefix)
    }

    /// How many there are.
    fn count(&self) -> u32 {
        1 << (self.prefix - self.range.prefix_len())
    }

    fn take(&mut self, subnet: Ipv4Net) {
        if self.range.contains(&subnet.network()) {
            self.taken
                .extend(self.place(subnet.network())..=self.place(subnet.broadcast().min(self.range.broadcast())));
        } else if subnet.contains(&self.range.network()) {
            self.first = self.count();
        }
    }

    fn is_free(&self, subnet: Ipv4Net) -> bool {
        let is_block = subnet.prefix_len() == self.prefix && self.range.contains(&subnet) && subnet.trunc() == subnet;
        is_block && self.place(subnet.network()) > 0 && !self.taken.contains(&self.place(subnet.network()))
    }

    /// The first that is free.
    fn free(&mut self) -> Option<Ipv4Net> {
        let place = (self.first..self.count()).find(|place| !self.taken.contains(place))?;
        self.first = place;
        let network = Ipv4Addr::from(u32::from(self.range.network()) + (place << (32 - self.prefix)));
        Ipv4Net::new(network, self.prefix).ok()
    }
}

fn exhausted(plan: &mut Plan, node: &Node, range: Ipv4Net, now: Timestamp) {
    if Condition::find(&node.status.conditions, CONDITION).is_some_and(Condition::is_true) {
        return;
    }
    let message = format!(
        "no subnet is left for node {} in {range}: remove nodes that are gone (`naru node rm`), or found the cluster \
         with a larger --pod-network",
        node.metadata.name
    );
    let mut conditions = node.status.conditions.clone();
    conditions.retain(|condition| condition.kind != CONDITION);
    conditions.push(Condition {
        kind: CONDITION.into(),
        status: "True".into(),
        reason: "SubnetsExhausted".into(),
        message: message.clone(),
        last_transition_time: Some(now),
        ..Condition::default()
    });
    let guard = json!({ "uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version });
    plan.push(Write::status(
        NODES,
        key(&node.metadata),
        json!({ "metadata": guard, "status": { "conditions": conditions } }),
    ));
    plan.notices.push(Notice {
        resource: NODES,
        key: key(&node.metadata),
        uid: node.metadata.uid.clone(),
        warning: true,
        reason: "SubnetsExhausted",
        message,
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{at, noon, view};

    fn node(name: &str, subnet: &str, created: i64) -> Arc<Node> {
        Arc::new(view(json!({
            "metadata": { "name": name, "uid": name, "creationTimestamp": at(created) },
            "spec": { "podCIDR": subnet },
        })))
    }

    fn look(range: &str, nodes: Vec<Arc<Node>>) -> Plan {
        plan(&View { nodes, range: range.parse().expect("a range") }, noon())
    }

    fn given(plan: &Plan) -> Vec<(String, String)> {
        let subnet = |write: &Write| match write {
            Write::Patch { key, patch, subresource: None, .. } => {
                Some((key.name.to_string(), patch["spec"]["podCIDR"].as_str()?.to_owned()))
            }
            _ => None,
        };
        plan.writes.iter().filter_map(subnet).collect()
    }

    #[test]
    fn nodes_get_the_first_free_subnets_in_the_order_they_came() {
        let nodes = vec![
            node("server", "10.42.0.0/24", 0),
            node("second", "", 2),
            node("first", "", 1),
            node("old", "10.42.1.0/24", 0),
        ];
        let plan = look("10.42.0.0/16", nodes);
        assert_eq!(given(&plan), [("first".into(), "10.42.2.0/24".into()), ("second".into(), "10.42.3.0/24".into())]);
        assert!(look("10.42.0.0/16", vec![node("a", "10.42.1.0/24", 0)]).writes.is_empty());
    }

    #[test]
    fn the_servers_subnet_is_kept_for_it() {
        assert_eq!(given(&look("10.42.0.0/16", vec![node("a", "", 0)])), [("a".into(), "10.42.1.0/24".into())]);
    }

    #[test]
    fn whoever_comes_back_to_a_cluster_that_forgot_it_keeps_what_its_pods_have() {
        let back = |name: &str, says: Option<&str>, created: i64| {
            let mut node = (*node(name, "", created)).clone();
            node.metadata.annotations.insert(RETURNED.into(), at(created));
            says.map(|says| node.metadata.annotations.insert(POD_SUBNET.into(), says.into()));
            Arc::new(node)
        };
        let look = |nodes| look("10.42.0.0/16", nodes);
        assert_eq!(given(&look(vec![back("w", Some("10.42.7.0/24"), 0)])), [("w".into(), "10.42.7.0/24".into())]);
        let first = vec![node("new", "", -9), back("w", Some("10.42.1.0/24"), 0)];
        assert_eq!(given(&look(first)), [("w".into(), "10.42.1.0/24".into()), ("new".into(), "10.42.2.0/24".into())]);
        let taken = vec![node("new", "10.42.7.0/24", -9), back("w", Some("10.42.7.0/24"), 0)];
        assert_eq!(given(&look(taken)), [("w".into(), "10.42.1.0/24".into())], "another has it by now");
        for wrong in ["10.42.0.0/24", "10.99.1.0/24", "10.42.1.0/25", "x"] {
            assert_eq!(given(&look(vec![back("w", Some(wrong), 0)])), [("w".into(), "10.42.1.0/24".into())], "{wrong}");
        }
        let silent = look(vec![back("w", None, -1)]);
        assert!(given(&silent).is_empty() && silent.again.is_some(), "it has not said yet");
        assert_eq!(given(&look(vec![back("w", None, -31)])).len(), 1);
    }

    #[test]
    fn whoever_finds_none_left_is_told_once() {
        let full = look("10.42.0.0/23", vec![node("a", "10.42.1.0/24", 0), node("b", "", 1)]);
        assert!(given(&full).is_empty());
        let text = full.writes[0].to_string();
        assert!(text.contains("nodes/status b") && text.contains("no subnet is left"), "{text}");
        let mut told = (*node("b", "", 1)).clone();
        told.status.conditions = vec![view(json!({ "type": CONDITION, "status": "True" }))];
        assert!(look("10.42.0.0/23", vec![node("a", "10.42.1.0/24", 0), Arc::new(told)]).writes.is_empty());
        assert!(
            given(&look("10.42.0.0/26", vec![node("b", "", 1)])).is_empty(),
            "a range of one subnet is the server's"
        );
    }

    #[test]
    fn subnets_of_both_families_go_together() {
        let range = "10.42.0.0/16,fd00:42::/48";
        let mut whole = (*node("whole", "10.42.3.0/24", 0)).clone();
        whole.spec.pod_cidrs = Some(vec!["10.42.3.0/24".into(), "fd00:42:0:3::/64".into()]);
        let plan = look(range, vec![node("server", "10.42.0.0/24", 0), Arc::new(whole), node("new", "", 1)]);
        let blocks = |write: &Write| match write {
            Write::Patch { key, patch, .. } => (key.name.to_string(), patch["spec"]["podCIDRs"].clone()),
            other => panic!("{other}"),
        };
        let given: Vec<_> = plan.writes.iter().map(blocks).collect();
        let expected = [
            ("new".to_owned(), json!(["10.42.1.0/24", "fd00:42:0:1::/64"])),
            ("server".to_owned(), json!(["10.42.0.0/24", "fd00:42::/64"])),
        ];
        assert_eq!(given, expected);
        assert!(look("10.42.0.0/16", vec![node("server", "10.42.0.0/24", 0)]).writes.is_empty());
    }

    proptest! {
        #[test]
        fn no_two_nodes_ever_share_an_address(taken in prop::collection::btree_set(0u8..20, 0..15), new in 0usize..12) {
            let mut nodes: Vec<Arc<Node>> =
                taken.iter().map(|third| node(&format!("t{third}"), &format!("10.42.{third}.0/24"), 0)).collect();
            nodes.extend((0..new).map(|n| node(&format!("n{n}"), "", n as i64)));
            let plan = look("10.42.0.0/20", nodes);
            let mut all: Vec<String> = taken.iter().map(|third| format!("10.42.{third}.0/24")).collect();
            all.extend(given(&plan).into_iter().map(|(_, subnet)| subnet));
            let count = all.len();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), count);
        }
    }
}
