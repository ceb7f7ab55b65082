//! The pod network of one node: addresses, links, services, isolation, names.
//!
//! The tour, in the order data flows:
//!
//! 1. [`Ipam`] gives a pod its address, [`Links`] its veth and routes.
//! 2. [`translate`] (pure) turns API views into [`model::Desired`] and into the names of [`dns::Zone`].
//! 3. [`plan`] (pure) turns the model into nftables text; [`Applier`] hands changes to the kernel, latest wins, and says
//!    which revision is applied. What nobody answers any more is forgotten by connection tracking as well.
//! 4. [`peers`] plans and makes the ways to the pods of other nodes; [`wireguard`] encrypts them where that is wanted.
//! 5. [`dns`] (pure) answers names; the node's helper process ([`helper_main`]) serves it on the DNS service's address
//!    and on 127.0.0.11 inside pods, relays published ports for IPv6, and outlives the daemon.
//!
//! This crate does not know the API server: whoever has informers calls it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apply;
mod claim;
pub mod dns;
pub mod firewall;
mod hash;
pub mod helper;
mod ipam;
mod links;
pub mod model;
mod netlink;
mod node;
pub mod peers;
pub mod plan;
mod ports;
mod report;
mod sysctl;
pub mod translate;
mod uid;
pub mod wireguard;

pub use apply::{Applied, Applier, ConntrackError, NftError, forget, remove_table};
pub use claim::{ClaimError, NetworkClaim};
pub use helper::{
    Helper, HelperConfig, HelperError, HelperOptions, HelperProgram, HelperState, PodResolver, Relay, helper_main,
};
pub use ipam::{Ipam, IpamError, second_address};
pub use links::{
    Attached, HostLinks, LinkConfig, LinkError, LinkRecord, Links, NODE_INTERFACE, POD_GATEWAY, POD_GATEWAY6,
    POD_INTERFACE, PodAddress, PodAttach, interface_name,
};
pub use node::{HostRecord, Ipv6Record, uninstall};
pub use ports::{PortHolder, port_holders};
pub use report::chain;
pub use sysctl::has_ipv6;
pub use uid::PodUid;
