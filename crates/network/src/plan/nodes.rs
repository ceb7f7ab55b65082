//! The other nodes: whom tunnels are taken from, and who speaks for clients of published ports.

use crate::model::{Desired, NodeConfig};

use super::Table;
use super::base::{NODES, TUNNELS};
use super::family::V6;

pub(super) fn compile(table: &mut Table, node: &NodeConfig, desired: &Desired) {
    for peer in desired.nodes.iter().filter(|peer| node.cluster_cidr.contains(&peer.gateway)) {
        table.element(NODES, peer.gateway.to_string());
        if !peer.encrypted {
            table.element(TUNNELS, peer.address.to_string());
        }
        if let Some((six, gateway)) = node.six.zip(peer.gateway6)
            && six.cluster_cidr.contains(&gateway)
        {
            table.element(&V6.name(NODES), gateway.to_string());
        }
    }
}
