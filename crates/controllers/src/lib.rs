//! The reconcilers: one module a controller, each a pure plan over a consistent view and a thin apply.
//!
//! * [`start`] starts the informers and every controller; [`Controllers`] tells how each is doing.
//! * `cluster` holds the shared informers, the one executor of plans, and events; `views` the slim views.
//! * `driver` is the loop around `view → plan → apply`; [`Plan`] is what is decided.
//! * Every other module is a controller.
//!
//! This crate does not know how pods are run nor how packets find them.

mod affinity;
mod catalog;
mod certificates;
mod cluster;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod driver;
mod endpoints;
mod expiry;
#[cfg(test)]
mod fixtures;
mod gc;
mod history;
mod job;
mod load_balancer;
mod namespace;
mod network;
mod node;
mod node_ipam;
mod ownership;
mod plan;
mod pods;
mod rebalance;
mod replicaset;
mod resources;
mod scheduling;
mod service_cidr;
mod start;
mod statefulset;
mod storage;
mod token_secrets;
pub mod views;

pub use cluster::{ApplyError, Clock, Cluster};
pub use driver::{Controller, ControllerStatus, DriverOptions, Failure, Iteration, Keys};
pub use node::Presence;
pub use plan::{Notice, Plan, Write};
pub use rebalance::{Planned, REBALANCE, Request as RebalanceRequest, rehearse};
pub use start::{Controllers, Options, Pulse, start};
