//! Claims and volumes: which volume serves a claim, making local ones, and taking them back.
//!
//! A claim of a class that waits for its first consumer is served on the node to which the scheduler has bound that
//! pod: a folder can be had on every node, so where the pod is best is where the volume is made. The volume's node
//! affinity then holds every later pod there.

mod claims;
mod matching;
mod provision;
#[cfg(test)]
mod tests;
mod volumes;

pub(crate) use claims::Claims;
pub(crate) use volumes::Volumes;

/// The provisioner whose volumes are folders on a node.
pub(crate) const LOCAL: &str = "naru.io/local";
/// Finalizer: pods may still use the claim.
const PROTECTED: &str = "kubernetes.io/pvc-protection";
/// Finalizer of a local volume: its data lies on a node, which erases it before the volume goes.
const DATA: &str = "naru.io/local-data";
/// Label of a volume whose data has to go: the node that erases it.
const ERASE_ON: &str = "naru.io/erase-on";
/// Annotation of a claim: its binding is complete.
const BOUND: &str = "pv.kubernetes.io/bind-completed";
/// Annotation of a volume: who made it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Annotation of a claim: the node that the scheduler wants its volume on.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
