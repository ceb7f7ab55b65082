//! From the model to nftables, purely: [`compile`] says what the table must be, [`Table::replace`] is the text that makes
//! it from nothing, [`Table::delta`] the text that turns one table into another.
//!
//! Principle: everything that changes often lives in elements of sets and verdict maps; chains hold only what differs
//! per service port or per group of policies, so an endpoint that comes or goes changes one chain and at most a handful
//! of elements, in one transaction. Names of chains and sets are hashes of what they stand for, never counters: two
//! plans of the same state are equal. The alternative refused is re-reading the kernel's table before each change.
//!
//! The table, in the order a packet meets it (`inet naru`, `naru*` are the pods' links):
//!
//! | chain | hook | what it does |
//! |---|---|---|
//! | `guard` | prerouting, raw | drops what cannot come from where it came: foreign source addresses, 127.0.0.0/8, tunnels of strangers |
//! | `nat_prerouting`, `nat_output` | dstnat | service addresses, node ports and published ports become endpoints |
//! | `forward` | filter | refuses services without endpoints; networks, then policies |
//! | `input`, `output` | filter | the DNS service answers pods and the host only; refusals for the host's own packets |
//! | `nat_postrouting` | srcnat | masquerades what leaves the cluster, and what could not come back otherwise |
//!
//! A packet between pods of two nodes passes `forward` on both and keeps its addresses. The sender's node judges what
//! may go out, the receiver's what may come in; each knows the members of networks and the peers of policies everywhere.
//!
//! Where pods have IPv6 addresses too, everything that holds addresses exists a second time under its name with a 6, and
//! rules of both families stand side by side (`family`).
//!
//! Traffic between the node and its own pods is never filtered (probes must arrive), as Kubernetes specifies.

mod base;
mod family;
mod networks;
mod nodes;
mod policies;
mod services;
mod stale;
mod table;

use crate::model::{Desired, NodeConfig};

pub use stale::{Stale, stale, unanswered};
pub use table::{Table, TableDelta};

/// The table of ours in the kernel.
pub const TABLE: &str = "inet naru";

/// Says what the table must be for `desired` on a node configured as `node`.
pub fn compile(node: &NodeConfig, desired: &Desired) -> Table {
    let mut table = Table::default();
    base::compile(&mut table, node, desired.tunnel.unwrap_or(node.tunnel));
    services::compile(&mut table, node, desired);
    nodes::compile(&mut table, node, desired);
    networks::compile(&mut table, node, desired);
    policies::compile(&mut table, node, desired);
    table
}

/// The name of a chain or set that stands for `key`.
fn named(prefix: &str, key: &str) -> String {
    format!("{prefix}_{:016x}", crate::hash::fnv64(key.as_bytes()))
}

#[cfg(test)]
mod tests;
