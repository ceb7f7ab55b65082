//! What is done when this machine runs short of memory, disk, inodes or processes: kubelet's node-pressure eviction.
//!
//! Figures are read, judged against thresholds ([`decide()`], pure), and acted upon in Kubernetes' order: first what nobody
//! needs (folders of pods that have ended, images that no pod uses), then one pod, the one that exceeds what it asked for,
//! matters least and uses most ([`rank()`], pure); then everything is read anew. A figure from before the last act, or an
//! old one, decides nothing. Two things differ from kubelet: a pod that holds next to nothing of what is short is left
//! alone, for its end would free nothing; and images that came from no registry stay, for they may be nowhere else.

mod decide;
mod figures;
mod images;
mod rank;
mod settings;
mod task;
#[cfg(test)]
mod tests;
mod usage;

pub(crate) use decide::{Pressures, State, decide};
pub(crate) use figures::{Figure, Figures, read};
pub(crate) use rank::{Candidate, rank, victim_message};
#[cfg(test)]
pub(crate) use settings::Amount;
pub(crate) use settings::Threshold;
pub use settings::{Eviction, EvictionError, Signal};
pub(crate) use task::{first, keep};
