//! The decision: which moves end, how, and which begins.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use naru_scheduler::Better;
use serde_json::{Value, json};

use super::{Choice, MOVING, Moving, REBALANCE, Request, View, moving_until};
use crate::cluster::Cluster;
use crate::ownership::key;
use crate::plan::{Notice, Plan, Write};
use crate::pods::{Availability, availability};
use crate::resources::{NODES, PODS};
use crate::views::{Node, Pod};

/// How long a replacement may take until it serves.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// How long it may be without a node.
const PLACED: SignedDuration = SignedDuration::from_secs(20);
/// How often it may fail.
const FAILURES: i32 = 2;
/// Between two looks while something is under way.
const LOOK: SignedDuration = SignedDuration::from_secs(1);

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing("well placed");
    let later = now.saturating_add(LOOK).unwrap_or(now);
    for moving in &view.moving {
        plan.reason = "moving pods".into();
        plan.again_at(later);
        match verdict(moving, now) {
            Verdict::Wait => {}
            Verdict::Evict => plan.push(evict(&moving.pod)),
            Verdict::GiveUp(why) => give_up(&mut plan, &moving.pod, why),
        }
    }
    match &view.choice {
        Choice::Move(pod, better) => begin(&mut plan, view, pod, better, now),
        Choice::GoOn => plan.again_at(now),
        Choice::None => {
            for (node, request) in &view.requests {
                // Those whose pods are still on their way wait for them.
                if view.moving.is_empty() {
                    end(&mut plan, node, request);
                }
            }
        }
    }
    plan
}

/// What becomes of a move.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wait,
    Evict,
    GiveUp(&'static str),
}

pub(super) fn verdict(moving: &Moving, now: Timestamp) -> Verdict {
    let pod = &*moving.pod;
    if !pod.is_active() {
        return Verdict::Wait; // it goes
    }
    let Some(set) = &moving.set else { return Verdict::GiveUp("its service is being changed") };
    if moving_until(&pod.metadata).is_none_or(|until| until <= now) {
        return Verdict::GiveUp("its replacement was not ready in time");
    }
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    let others = moving.siblings.iter().filter(|other| other.metadata.uid != pod.metadata.uid && other.is_active());
    let others: Vec<&Arc<Pod>> = others.collect();
    let serves = |pod: &&&Arc<Pod>| availability(pod, set.spec.min_ready_seconds, now) == Availability::Yes;
    let Some(newest) = others.iter().max_by_key(|pod| pod.metadata.creation_timestamp) else { return Verdict::Wait };
    if others.iter().filter(serves).count() >= wanted {
        return match newest.spec.node_name == pod.spec.node_name {
            // Between the question and the answer something changed.
            true => Verdict::GiveUp("its replacement found its place on the same node"),
            false => Verdict::Evict,
        };
    }
    let age = newest.metadata.creation_timestamp.map_or(SignedDuration::ZERO, |made| now.duration_since(made));
    if newest.spec.node_name.is_empty() && age > PLACED {
        return Verdict::GiveUp("no node has room for its replacement");
    }
    match newest.restarts() >= FAILURES && !newest.is_ready() {
        true => Verdict::GiveUp("its replacement fails"),
        false => Verdict::Wait,
    }
}

fn evict(pod: &Pod) -> Write {
    let meta = &pod.metadata;
    Write::Post {
        resource: PODS,
        key: key(meta),
        subresource: "eviction",
        body: json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": { "name": meta.name, "namespace": meta.namespace },
            "deleteOptions": { "preconditions": { "uid": meta.uid } },
        }),
    }
}

fn mark(pod: &Pod, value: Value) -> Write {
    let guard = json!({ "uid": pod.metadata.uid, "annotations": { MOVING: value } });
    Write::merge(PODS, key(&pod.metadata), json!({ "metadata": guard }))
}

fn give_up(plan: &mut Plan, pod: &Pod, why: &str) {
    plan.push(mark(pod, Value::Null));
    plan.notices.push(told(pod, true, "MoveGivenUp", format!("Pod {} stays where it is: {why}", pod.metadata.name)));
}

fn begin(plan: &mut Plan, view: &View, pod: &Pod, better: &Better, now: Timestamp) {
    let asked = view.requests.iter().find(|(node, _)| node.metadata.name == better.to);
    if let Some((node, request)) = asked {
        if request.is_spent() {
            return if view.moving.is_empty() {
                end(plan, node, request)
            };
        }
        let counted = Request { moved: request.moved + 1, ..*request };
        plan.push(note(node, json!(json!(counted).to_string())));
    } else if view.always == 0 {
        return;
    }
    plan.reason = "moving pods".into();
    let until = now.saturating_add(PATIENCE).unwrap_or(now);
    plan.again_at(now.saturating_add(LOOK).unwrap_or(now));
    plan.push(mark(pod, naru_api::meta::time(until).into()));
    let message = format!(
        "Moving pod {} from {} towards {}: a replacement starts first",
        pod.metadata.name, better.from, better.to
    );
    plan.notices.push(told(pod, false, "Moving", message));
}

fn note(node: &Node, value: Value) -> Write {
    let guard = json!({ "uid": node.metadata.uid, "annotations": { REBALANCE: value } });
    Write::merge(NODES, key(&node.metadata), json!({ "metadata": guard }))
}

fn end(plan: &mut Plan, node: &Node, request: &Request) {
    plan.push(note(node, Value::Null));
    plan.notices.push(Notice {
        resource: NODES,
        key: key(&node.metadata),
        uid: node.metadata.uid.clone(),
        warning: false,
        reason: "Rebalanced",
        message: format!("{} pods were moved towards {}", request.moved, node.metadata.name),
    });
}

fn told(pod: &Pod, warning: bool, reason: &'static str, message: String) -> Notice {
    let meta = &pod.metadata;
    Notice { resource: PODS, key: key(meta), uid: meta.uid.clone(), warning, reason, message }
}

/// The owners of the pods whose move these writes begin.
pub(super) fn begun(writes: &[Write], cluster: &Cluster) -> Vec<String> {
    owners(writes, cluster, Value::is_string)
}

/// The owners of the pods whose move these writes give up.
pub(super) fn given_up(writes: &[Write], cluster: &Cluster) -> Vec<String> {
    owners(writes, cluster, Value::is_null)
}

fn owners(writes: &[Write], cluster: &Cluster, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let marked = writes.iter().filter_map(|write| match write {
        Write::Patch { resource, key, patch, .. } if *resource == PODS => {
            patch["metadata"]["annotations"].get(MOVING).filter(|value| wanted(value)).map(|_| key)
        }
        _ => None,
    });
    let owner = |key| Some(cluster.pods.get_ref(key)?.view.metadata.controller()?.uid.clone());
    marked.filter_map(owner).collect()
}
