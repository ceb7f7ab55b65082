//! Isolation: two pods may talk when they share a network, or when neither has any.
//!
//! Pods with the same networks share one chain, so a pod that comes or goes changes elements only.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Desired, NodeConfig};

use super::base::{INTERNAL, NETWORKED, POD_NETWORKS};
use super::{Table, named};

pub(super) fn compile(table: &mut Table, node: &NodeConfig, desired: &Desired) {
    let internal: BTreeMap<&str, bool> =
        desired.networks.iter().map(|network| (network.name.as_str(), network.internal)).collect();
    for pod in desired.pods.iter().filter(|pod| !pod.networks.is_empty()) {
        let confined = pod.networks.iter().all(|name| internal.get(name.as_str()).copied().unwrap_or(false));
        let chain = membership_chain(table, node, &pod.networks, confined);
        let address = pod.address.to_string();
        table.verdict(POD_NETWORKS, address.clone(), format!("goto {chain}"));
        for network in &pod.networks {
            table.element(&members(network), address.clone());
        }
        if confined {
            table.element(INTERNAL, address.clone());
        }
        table.element(NETWORKED, address);
    }
}

fn membership_chain(table: &mut Table, node: &NodeConfig, networks: &BTreeSet<String>, confined: bool) -> String {
    let list = networks.iter().cloned().collect::<Vec<_>>().join("\n");
    let name = named(if confined { "inside" } else { "member" }, &list);
    if table.has_chain(&name) {
        return name;
    }
    let mut rules: Vec<String> =
        networks.iter().map(|network| format!("ip daddr @{} return", members(network))).collect();
    for network in networks {
        table.set(&members(network), "type ipv4_addr;");
    }
    if confined {
        rules.push("goto deny".into());
    } else {
        rules.push(format!("ip daddr {} goto deny", node.cluster_cidr));
    }
    table.chain(&name, rules);
    name
}

fn members(network: &str) -> String {
    named("net", network)
}
