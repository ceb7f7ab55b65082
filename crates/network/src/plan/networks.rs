//! Isolation: two pods may talk when they share a network, or when neither has any.
//!
//! Pods with the same networks share one chain, so a pod that comes or goes changes elements only.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Desired, NodeConfig};

use super::base::{INTERNAL, NETWORKED, POD_NETWORKS};
use super::family::{Family, Side, sides};
use super::{Table, named};

pub(super) fn compile(table: &mut Table, node: &NodeConfig, desired: &Desired) {
    let sides = sides(node);
    let internal: BTreeMap<&str, bool> =
        desired.networks.iter().map(|network| (network.name.as_str(), network.internal)).collect();
    for pod in desired.pods.iter().filter(|pod| !pod.networks.is_empty()) {
        let confined = pod.networks.iter().all(|name| internal.get(name.as_str()).copied().unwrap_or(false));
        let chain = membership_chain(table, &sides, &pod.networks, confined);
        for address in pod.addresses() {
            let family = Family::of(&address);
            let address = address.to_string();
            table.verdict(&family.name(POD_NETWORKS), address.clone(), format!("goto {chain}"));
            for network in &pod.networks {
                table.element(&members(family, network), address.clone());
            }
            if confined {
                table.element(&family.name(INTERNAL), address.clone());
            }
            table.element(&family.name(NETWORKED), address);
        }
    }
}

fn membership_chain(table: &mut Table, sides: &[Side], networks: &BTreeSet<String>, confined: bool) -> String {
    let list = networks.iter().cloned().collect::<Vec<_>>().join("\n");
    let name = named(if confined { "inside" } else { "member" }, &list);
    if table.has_chain(&name) {
        return name;
    }
    let mut rules = Vec::new();
    for Side { family, .. } in sides {
        for network in networks {
            rules.push(format!("{} daddr @{} return", family.ip, members(family, network)));
            table.set(&members(family, network), family.addresses);
        }
    }
    if confined {
        rules.push("goto deny".into());
    } else {
        rules.extend(sides.iter().map(|side| format!("{} daddr {} goto deny", side.family.ip, side.cluster)));
    }
    table.chain(&name, rules);
    name
}

fn members(family: &Family, network: &str) -> String {
    named(&family.name("net"), network)
}
