//! Nodes: whether they live, which taints say so, and what becomes of the pods on one that does not.

mod life;
mod orphans;
mod plan;
mod taints;
#[cfg(test)]
mod tests;

pub use life::Presence;
pub(crate) use life::{Nodes, Silence};
pub(crate) use orphans::PodCollector;
pub(crate) use taints::{tolerates_all, tolerates_running};
