//! Placement: which node a pod gets, and why not the others.
//!
//! Principle: pure and incremental. A [`Cluster`] is fed with nodes and pods as they change and keeps them as columns —
//! one array a resource, one bit set a label value — so that a rule answers for every node at once; [`Cluster::place`]
//! narrows a bit set rule by rule and remembers, rule by rule, how many nodes each took away. Refused: asking each node
//! all questions in turn, which is what makes schedulers slow and their refusals mute.
//!
//! - [`Demand`]: what a pod asks for, read once from its object.
//! - [`Cluster`]: nodes and what runs on them.
//! - [`Placement`], [`Rejection`]: the answers; [`Better`]: a running pod that would be better off elsewhere.
//!
//! This crate does not know tokio, clocks, or where objects come from.

mod affinity;
mod bits;
mod cluster;
mod demand;
mod filter;
mod preempt;
mod rebalance;
mod rejection;
mod resources;
mod score;

pub use cluster::{Cluster, Placement};
pub use demand::{Demand, DemandError, VolumeNodes};
pub use preempt::{NoPreemption, Preemption};
pub use rebalance::{Better, Gain};
pub use rejection::{Rejection, Rule};
pub use resources::Resources;
pub use score::Policy;

#[cfg(test)]
mod tests;
