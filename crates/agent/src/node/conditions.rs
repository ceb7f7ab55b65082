//! The node's conditions: a pure judgement over a few figures.

use jiff::Timestamp;
use naru_api::k8s::{api::core::v1::NodeCondition, apimachinery::pkg::apis::meta::v1::Time};

/// Figures of this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gauges {
    /// Bytes that could be given out without swapping.
    pub memory_available: i64,
    /// Bytes of the state folder's filesystem.
    pub disk: i64,
    /// Bytes of it that are free.
    pub disk_available: i64,
    /// Processes and threads.
    pub tasks: i64,
    /// Most that the kernel allows.
    pub tasks_limit: i64,
}

/// Condition of a node: its message says which other nodes' pods it does not reach, and why.
pub const NODES_UNREACHABLE: &str = "naru.io/NodesUnreachable";

/// Bytes of available memory below which pods should go elsewhere (kubelet's default).
const MEMORY_LOW: i64 = 100 << 20;

/// The five conditions; transition times are kept from `before` where the status is the same.
///
/// That some other node cannot be reached is a condition of our own: with Kubernetes' `NetworkUnavailable` one node that
/// nobody reaches would take all others out of the scheduler's choice.
pub(super) fn conditions(
    gauges: Gauges,
    troubles: &[String],
    reached: &str,
    before: &[NodeCondition],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let memory = gauges.memory_available < MEMORY_LOW;
    let disk = gauges.disk > 0 && gauges.disk_available < gauges.disk / 20;
    let tasks = gauges.tasks_limit > 0 && gauges.tasks > gauges.tasks_limit / 10 * 9;
    [
        ("MemoryPressure", memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "memory available"),
        ("DiskPressure", disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "disk space available"),
        ("PIDPressure", tasks, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "PIDs available"),
    ]
    .map(|(kind, holds, bad, good, what)| {
        let message = format!("this node has {} {what}", if holds { "too little" } else { "sufficient" });
        stamp(kind, holds, if holds { bad } else { good }, &message, before, now)
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
        let fine = Gauges { memory_available: 1 << 30, disk: 100, disk_available: 50, tasks: 10, tasks_limit: 100 };
        let first = Timestamp::from_second(100).unwrap();
        let before = conditions(fine, &[], "w1 by route", &[], first);
        let holds =
            |list: &[NodeCondition], kind: &str| list.iter().any(|known| known.type_ == kind && known.status == "True");
        assert!(holds(&before, "Ready") && !holds(&before, "DiskPressure"));
        let full = Gauges { disk_available: 4, memory_available: 1, ..fine };
        let trouble = ["no way to w1".to_owned(), "nor to w2".to_owned()];
        let after = conditions(full, &trouble, "", &before, Timestamp::from_second(200).unwrap());
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
