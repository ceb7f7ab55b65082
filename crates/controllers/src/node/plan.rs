//! The decision about one node.

use jiff::{SignedDuration, Timestamp};
use naru_client::PatchKind;
use serde_json::json;

use super::life::View;
use super::taints;
use crate::ownership::key;
use crate::plan::{Notice, Plan, Write};
use crate::resources::{NODES, PODS};
use crate::views::{Condition, Node, Pod};

/// Conditions that nobody can vouch for when the node is silent.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Annotation of a Node: until when it may be silent, because its program is being replaced. The node itself sets it.
const REPLACING: &str = "naru.io/replacing-until";
/// So long after it was last heard of that counts, and not longer.
const EXCUSED: SignedDuration = SignedDuration::from_secs(60);

/// Until when a node has said that its silence means nothing.
fn excused(view: &View) -> Option<Timestamp> {
    let until: Timestamp = view.node.metadata.annotation(REPLACING)?.parse().ok()?;
    (until.duration_since(view.heard) <= EXCUSED).then_some(until)
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let node = &*view.node;
    let mut plan = Plan::nothing("heard of");
    if node.metadata.is_deleting() {
        return Plan::nothing("being deleted");
    }
    let deadline = view.heard.saturating_add(view.grace).unwrap_or(Timestamp::MAX);
    let deadline = excused(view).map_or(deadline, |until| deadline.max(until));
    let silent = deadline <= now;
    let mut conditions = node.status.conditions.clone();
    if silent {
        plan.reason = "silent".into();
        conditions = unknown(node, now);
        if conditions != node.status.conditions {
            // The rest follows from what this makes of the node.
            lose(&mut plan, view, &conditions);
            return plan;
        }
    } else {
        plan.again_at(deadline);
    }
    let wanted = taints::wanted(node, &conditions, now);
    if wanted != node.spec.taints {
        plan.reason = "its taints change".into();
        let patch = json!({
            "metadata": { "resourceVersion": node.metadata.resource_version },
            "spec": { "taints": wanted },
        });
        plan.push(Write::merge(NODES, key(&node.metadata), patch));
    }
    evict(&mut plan, view, &wanted, silent, now);
    plan
}

/// What a silent node's conditions become.
fn unknown(node: &Node, now: Timestamp) -> Vec<Condition> {
    let mut conditions = node.status.conditions.clone();
    for kind in REPORTED {
        match conditions.iter_mut().find(|condition| condition.kind == kind) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                known.status = "Unknown".into();
                known.reason = "NodeStatusUnknown".into();
                known.message = "The node has not been heard of for longer than it may be silent.".into();
                known.last_transition_time = Some(now);
            }
            None if kind == "Ready" => conditions.push(Condition {
                kind: kind.into(),
                status: "Unknown".into(),
                reason: "NodeStatusNeverUpdated".into(),
                message: "The node has never reported its status.".into(),
                last_transition_time: Some(now),
                ..Condition::default()
            }),
            None => {}
        }
    }
    conditions
}

/// Tells that a node is lost: its own conditions, and its pods', so that no service leads there.
fn lose(plan: &mut Plan, view: &View, conditions: &[Condition]) {
    let node = &*view.node;
    let guard = json!({ "resourceVersion": node.metadata.resource_version });
    let patch = json!({ "metadata": guard, "status": { "conditions": conditions } });
    plan.push(Write::status(NODES, key(&node.metadata), patch));
    plan.notices.push(Notice {
        resource: NODES,
        key: key(&node.metadata),
        uid: node.metadata.uid.clone(),
        warning: true,
        reason: "NodeNotReady",
        message: format!("Node {} has not been heard of for {}", node.metadata.name, view.grace),
    });
    for pod in view.pods.iter().filter(|pod| pod.is_ready() && view.others_ready) {
        let ready = json!({ "type": "Ready", "status": "False", "reason": "NodeLost",
            "lastTransitionTime": Condition::find(conditions, "Ready").and_then(|ready| ready.last_transition_time) });
        plan.push(Write::Patch {
            resource: PODS,
            key: key(&pod.metadata),
            subresource: Some("status"),
            kind: PatchKind::Strategic,
            patch: json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [ready] } }),
        });
    }
}

/// Deletes the pods that may not stay.
fn evict(plan: &mut Plan, view: &View, wanted: &[crate::views::Taint], silent: bool, now: Timestamp) {
    let lost = |key: &str| key == taints::NOT_READY || key == taints::UNREACHABLE;
    if !view.others_ready && (silent || wanted.iter().any(|taint| lost(&taint.key))) {
        // No node is ready: it is we who are cut off (or all is), and nowhere would the pods be better off.
        return;
    }
    if let Some(until) = view.held_until.filter(|until| *until > now)
        && wanted.iter().any(|taint| lost(&taint.key))
    {
        plan.reason = "too many nodes are gone at once".into();
        plan.again_at(until);
        return;
    }
    for pod in view.pods.iter().filter(|pod| pod.is_active()) {
        match taints::stays_until(wanted, &pod.spec.tolerations, now) {
            None => {}
            Some(until) if until > now => plan.again_at(until),
            Some(_) => {
                plan.reason = "evicting pods".into();
                plan.push(Write::delete(PODS, key(&pod.metadata), &pod.metadata.uid));
                plan.notices.push(told(pod));
            }
        }
    }
}

fn told(pod: &Pod) -> Notice {
    Notice {
        resource: PODS,
        key: key(&pod.metadata),
        uid: pod.metadata.uid.clone(),
        warning: false,
        reason: "TaintManagerEviction",
        message: format!("Deleting pod {}, which does not tolerate a taint of its node", pod.metadata.name),
    }
}
