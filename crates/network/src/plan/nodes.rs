//! The other nodes: whom tunnels are taken from, and who speaks for clients of published ports.

use crate::model::{Desired, NodeConfig};

use super::Table;
use super::base::{NODES, TUNNELS};

pub(super) fn compile(table: &mut Table, node: &NodeConfig, desired: &Desired) {
    for peer in desired.nodes.iter().filter(|peer| node.cluster_cidr.contains(&peer.gateway)) {
        table.element(NODES, peer.gateway.to_string());
        table.element(TUNNELS, peer.address.to_string());
    }
}
