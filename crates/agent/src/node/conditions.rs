//! The node's conditions: pure.

use jiff::Timestamp;
use naru_api::k8s::{api::core::v1::NodeCondition, apimachinery::pkg::apis::meta::v1::Time};

use crate::pressure::Pressures;

/// Condition of a node: its message says which other nodes' pods it does not reach, and why.
pub const NODES_UNREACHABLE: &str = "naru.io/NodesUnreachable";

/// The five conditions; transition times are kept from `before` where the status is the same.
///
/// That some other node cannot be reached is a condition of our own: with Kubernetes' `NetworkUnavailable` one node that
/// nobody reaches would take all others out of the scheduler's choice.
pub(super) fn conditions(
    pressures: &Pressures,
    troubles: &[String],
    reached: &str,
    before: &[NodeCondition],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let Pressures { memory, disk, pid } = pressures;
    [
        ("MemoryPressure", memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "memory available"),
        ("DiskPressure", disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "disk space available"),
        ("PIDPressure", pid, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "PIDs available"),
    ]
    .map(|(kind, pressure, bad, good, what)| {
        let message = match pressure {
            // No figures: every change of a Node goes to every node.
            Some(threshold) => format!("this node has too little {what}, or had a short while ago ({threshold})"),
            None => format!("this node has sufficient {what}"),
        };
        stamp(kind, pressure.is_some(), if pressure.is_some() { bad } else { good }, &message, before, now)
    })
    .into_iter()
    .chain([ways(troubles, reached, before, now)])
    .chain([stamp("Ready", true, "KubeletReady", "naru is ready to run pods", before, now)])
    .collect()
}

fn ways(troubles: &[String], reached: &str, before: &[NodeCondition], now: Timestamp) -> NodeCondition {
    let (reason, message) = match troubles {
        [] if reached.is_empty() => ("WaysToAll", "the pods of every node are reached".to_owned()),
        [] => ("WaysToAll", format!("the pods of every node are reached: {reached}")),
        troubles => ("NoWay", troubles.join("; ")),
    };
    stamp(NODES_UNREACHABLE, !troubles.is_empty(), reason, &message, before, now)
}

fn stamp(
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    before: &[NodeCondition],
    now: Timestamp,
) -> NodeCondition {
    let status = if holds { "True" } else { "False" };
    let same = before.iter().find(|known| known.type_ == kind && known.status == status);
    NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: same.and_then(|known| known.last_transition_time.clone()).or(Some(Time(now))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_told_and_transition_times_are_kept() {
        let fine = Pressures::default();
        let first = Timestamp::from_second(100).unwrap();
        let before = conditions(&fine, &[], "w1 by route", &[], first);
        let holds =
            |list: &[NodeCondition], kind: &str| list.iter().any(|known| known.type_ == kind && known.status == "True");
        assert!(holds(&before, "Ready") && !holds(&before, "DiskPressure"));
        let word = |text: &str| Some(text.to_owned());
        let full = Pressures { disk: word("nodefs.available<10%"), memory: word("memory.available<100Mi"), pid: None };
        let trouble = ["no way to w1".to_owned(), "nor to w2".to_owned()];
        let after = conditions(&full, &trouble, "", &before, Timestamp::from_second(200).unwrap());
        assert!(holds(&after, "DiskPressure") && holds(&after, "MemoryPressure") && !holds(&after, "PIDPressure"));
        let ways = |list: &[NodeCondition]| {
            list.iter().find(|known| known.type_ == NODES_UNREACHABLE).and_then(|known| known.message.clone())
        };
        assert!(!holds(&before, NODES_UNREACHABLE) && holds(&after, NODES_UNREACHABLE));
        assert_eq!(ways(&before).unwrap(), "the pods of every node are reached: w1 by route");
        assert_eq!(ways(&after).unwrap(), "no way to w1; nor to w2");
        let since = |kind: &str| {
            after.iter().find(|known| known.type_ == kind).unwrap().last_transition_time.clone().unwrap().0
        };
        assert_eq!((since("Ready"), since("DiskPressure").as_second()), (first, 200));
    }
}
