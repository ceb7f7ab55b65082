//! Taints and who bears them.

use jiff::{SignedDuration, Timestamp};

use crate::views::{Condition, Node, Taint, Toleration};

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Pressures that keep new pods away.
const PRESSURES: [(&str, &str); 3] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];

/// The taints that a node should have, given the conditions it will have; those that are not ours stay.
pub(super) fn wanted(node: &Node, conditions: &[Condition], now: Timestamp) -> Vec<Taint> {
    let mut ours: Vec<(&str, &str)> = Vec::new();
    let ready = Condition::find(conditions, "Ready").map_or("Unknown", |ready| ready.status.as_str());
    let lost = match ready {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    if let Some(key) = lost {
        ours.extend([(key, "NoSchedule"), (key, "NoExecute")]);
    }
    for (condition, key) in PRESSURES {
        if Condition::find(conditions, condition).is_some_and(Condition::is_true) {
            ours.push((key, "NoSchedule"));
        }
    }
    if node.spec.unschedulable {
        ours.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_ours = |taint: &Taint| {
        [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str())
            || PRESSURES.iter().any(|(_, key)| *key == taint.key)
    };
    let mut taints: Vec<Taint> = node.spec.taints.iter().filter(|taint| !is_ours(taint)).cloned().collect();
    for (key, effect) in ours {
        let known = node.spec.taints.iter().find(|taint| taint.key == key && taint.effect == effect);
        taints.push(known.cloned().unwrap_or_else(|| Taint {
            key: key.into(),
            effect: effect.into(),
            value: String::new(),
            time_added: Some(now),
        }));
    }
    taints
}

/// Until when a pod may stay in spite of `NoExecute` taints: for ever, or until a time.
pub(super) fn stays_until(taints: &[Taint], tolerations: &[Toleration], now: Timestamp) -> Option<Timestamp> {
    let driving = taints.iter().filter(|taint| taint.effect == "NoExecute");
    let until = |taint: &Taint| {
        let mut bearing = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if bearing.peek().is_none() {
            return Some(now);
        }
        // The shortest counts, as in Kubernetes.
        let seconds = bearing.filter_map(|toleration| toleration.toleration_seconds).min()?;
        let since = taint.time_added.unwrap_or(now);
        Some(since.saturating_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX))
    };
    driving.filter_map(until).min()
}

/// Whether one toleration bears one taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
    let key = if toleration.key.is_empty() { toleration.operator == "Exists" } else { toleration.key == taint.key };
    effect && key && (toleration.operator == "Exists" || toleration.value == taint.value)
}

/// Whether a pod with these tolerations may be put onto a node with these taints.
pub(crate) fn tolerates_all(tolerations: &[Toleration], taints: &[Taint]) -> bool {
    let mut hard = taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
    hard.all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// Whether a pod with these tolerations may go on running on a node with these taints.
pub(crate) fn tolerates_running(tolerations: &[Toleration], taints: &[Taint]) -> bool {
    let mut driving = taints.iter().filter(|taint| taint.effect == "NoExecute");
    driving.all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}
