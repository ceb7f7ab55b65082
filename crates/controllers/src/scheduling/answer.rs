//! The answer for one pod, and the writes that tell it.

use std::sync::Arc;

use jiff::Timestamp;
use naru_api::k8s::api::core::v1::NodeSelector;
use naru_client::{ObjectRef, PatchKind};
use naru_scheduler::VolumeNodes;
use serde_json::json;

use crate::cluster::Cluster;
use crate::ownership::key;
use crate::plan::{Notice, Plan, Write};
use crate::resources::PODS;
use crate::views::{Condition, Pod};

/// What the scheduler says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// This node.
    Node(String),
    /// No node, for these reasons.
    Nowhere(String),
    /// No node, unless these pods, which matter less, are taken away from one.
    Preempts {
        /// Why there is none now.
        why: String,
        /// The node, and the pods with their uids.
        node: String,
        victims: Vec<(ObjectRef, String)>,
    },
    /// It may not be asked yet.
    Gated,
    /// A binding has been written and will soon be seen.
    BeingBound,
}

/// A pod without a node, and the answer.
#[derive(Debug)]
pub(crate) struct View {
    pub(super) pod: Arc<Pod>,
    pub(super) answer: Answer,
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let meta = &view.pod.metadata;
    let mut plan = Plan::default();
    match &view.answer {
        Answer::BeingBound => plan.reason = "being bound".into(),
        Answer::Gated => {
            plan.reason = "gated".into();
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            told(&mut plan, &view.pod, "SchedulingGated", message, now);
        }
        Answer::Node(node) => {
            plan.reason = format!("bound to {node}").into();
            plan.push(Write::Post {
                resource: PODS,
                key: key(meta),
                subresource: "binding",
                body: json!({
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": { "name": meta.name, "namespace": meta.namespace, "uid": meta.uid },
                    "target": { "apiVersion": "v1", "kind": "Node", "name": node },
                }),
            });
            let message = format!("Successfully assigned {}/{} to {node}", meta.namespace, meta.name);
            plan.notices.push(notice(&view.pod, false, "Scheduled", message));
        }
        Answer::Preempts { why, node, victims } => {
            plan.reason = format!("pushing away {} pods", victims.len()).into();
            told(&mut plan, &view.pod, "Unschedulable", why, now);
            plan.push(Write::Patch {
                resource: PODS,
                key: key(meta),
                subresource: Some("status"),
                kind: PatchKind::Merge,
                patch: json!({ "metadata": { "uid": meta.uid }, "status": { "nominatedNodeName": node } }),
            });
            for (victim, uid) in victims {
                plan.push(Write::delete(PODS, victim.clone(), uid));
                let message = format!("Preempted by pod {} on node {node}", meta.uid);
                plan.notices.push(Notice {
                    resource: PODS,
                    key: victim.clone(),
                    uid: uid.clone(),
                    warning: false,
                    reason: "Preempted",
                    message,
                });
            }
        }
        Answer::Nowhere(why) => {
            plan.reason = "no node fits".into();
            if told(&mut plan, &view.pod, "Unschedulable", why, now) {
                plan.notices.push(notice(&view.pod, true, "FailedScheduling", why.clone()));
            }
        }
    }
    plan
}

/// Says in the pod's status why it has no node; returns whether that is new.
fn told(plan: &mut Plan, pod: &Pod, reason: &str, message: &str, now: Timestamp) -> bool {
    let known = Condition::find(&pod.status.conditions, "PodScheduled");
    if known.is_some_and(|known| known.reason == reason && known.message == message) {
        return false;
    }
    let since = known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time);
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        "lastTransitionTime": naru_api::meta::time(since.unwrap_or(now)),
    });
    plan.push(Write::Patch {
        resource: PODS,
        key: key(&pod.metadata),
        subresource: Some("status"),
        kind: PatchKind::Strategic,
        patch: json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } }),
    });
    true
}

fn notice(pod: &Pod, warning: bool, reason: &'static str, message: String) -> Notice {
    let meta = &pod.metadata;
    Notice { resource: PODS, key: key(meta), uid: meta.uid.clone(), warning, reason, message }
}

/// The nodes from which a pod's volumes can be reached; a claim that will only be served where its pod goes has none.
///
/// # Errors
/// Why the pod cannot be placed yet, in words for its condition.
pub(super) fn volumes(cluster: &Cluster, pod: &Pod) -> Result<Vec<VolumeNodes>, String> {
    let mut nodes = Vec::new();
    for name in pod.claims() {
        let found = cluster.claims.get_ref(&ObjectRef::new(&pod.metadata.namespace, &name));
        let claim = found.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?.view.clone();
        if claim.metadata.is_deleting() {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if claim.status.phase == "Lost" {
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{}\"",
                claim.spec.volume_name
            ));
        }
        if claim.spec.volume_name.is_empty() {
            let class =
                claim.spec.storage_class_name.as_deref().and_then(|class| cluster.storage_classes.get("", class));
            if class.is_none_or(|class| class.view.volume_binding_mode != "WaitForFirstConsumer") {
                return Err("pod has unbound immediate PersistentVolumeClaims".into());
            }
            continue;
        }
        let volume = cluster.volumes.get("", &claim.spec.volume_name);
        let volume = volume.ok_or_else(|| format!("persistentvolume \"{}\" not found", claim.spec.volume_name))?;
        let affinity = volume.view.spec.node_affinity.as_ref().map(|affinity| affinity["required"].clone());
        if let Some(required) = affinity.filter(|required| !required.is_null()) {
            let read: NodeSelector = serde_json::from_value(required).map_err(|error| {
                format!("persistentvolume \"{}\" has an unreadable node affinity: {error}", volume.key)
            })?;
            nodes.push(VolumeNodes { volume: volume.key.name.to_string(), nodes: read });
        }
    }
    Ok(nodes)
}
