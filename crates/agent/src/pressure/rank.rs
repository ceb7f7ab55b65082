//! Which pod goes first.

use std::cmp::Reverse;

use super::{Figure, Signal, Threshold, settings::shown};

/// A pod that might be evicted, with what it uses of what is short.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Candidate {
    /// Its uid.
    pub uid: String,
    /// `namespace/name`.
    pub name: String,
    /// The node cannot do without it: made from a file of the node's, or of a system priority.
    pub critical: bool,
    /// `spec.priority`
    pub priority: i32,
    /// What it asked for of the resource.
    pub request: i64,
    /// What it uses.
    pub usage: i64,
    /// Name, usage and request of each container.
    pub containers: Vec<(String, i64, i64)>,
}

/// Orders pods as kubelet does, those that go first in front: whoever uses more than they asked for (which nobody does
/// with processes, since nobody asks for any), then the lower priority, then the larger use beyond what was asked for.
/// Critical pods are never evicted, nor such as hold less than is `worth` a pod's end.
pub(crate) fn rank(signal: Signal, worth: i64, mut pods: Vec<Candidate>) -> Vec<Candidate> {
    pods.retain(|pod| !pod.critical && pod.usage >= worth);
    let within = |pod: &Candidate| signal != Signal::PidAvailable && pod.usage <= pod.request;
    pods.sort_by_cached_key(|pod| (within(pod), pod.priority, Reverse(pod.usage - pod.request), pod.name.clone()));
    pods
}

/// kubelet's words for why a pod was evicted.
pub(crate) fn victim_message(threshold: &Threshold, figure: Figure, pod: &Candidate) -> String {
    let resource = threshold.signal.resource();
    let limit = shown(threshold.limit.of(figure.capacity));
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {limit}, available: {}. ",
        rounded(figure.available)
    );
    for (name, usage, request) in pod.containers.iter().filter(|(_, usage, request)| usage > request) {
        text.push_str(&format!(
            "Container {name} was using {}, request is {}, has larger consumption of {resource}. ",
            rounded(*usage),
            shown(*request)
        ));
    }
    text
}

/// As kubelet shows figures: in Ki from there on.
fn rounded(amount: i64) -> String {
    if amount < 1 << 10 { amount.to_string() } else { format!("{}Ki", amount / 1024) }
}
