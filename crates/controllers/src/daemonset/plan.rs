//! The decision about one DaemonSet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::View;
use crate::affinity;
use crate::deployment::bounds::resolve;
use crate::history::{self, HASH};
use crate::node::{tolerates_all, tolerates_running};
use crate::ownership::{controller_of, key};
use crate::plan::{Plan, Write};
use crate::pods::{self, Availability, availability};
use crate::resources::{DAEMON_SETS, PODS};
use crate::views::{DaemonSet, Node, Phase, Pod, Toleration};

/// Taints that every daemon bears, so that it runs where the node itself is in trouble.
const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// What a node should have and what it has.
struct Place<'a> {
    node: &'a str,
    wanted: bool,
    /// The pod that stays.
    pod: Option<&'a Arc<Pod>>,
    /// Its successor, where the new one comes before the old one goes.
    next: Option<&'a Arc<Pod>>,
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let set = &*view.set;
    let mut plan = Plan::nothing("in balance");
    let in_use: BTreeSet<String> =
        view.pods.iter().filter_map(|pod| pod.metadata.label(HASH).map(str::to_owned)).collect();
    let limit = set.spec.revision_history_limit.unwrap_or(10);
    let history = history::keep(&DAEMON_SETS, &set.metadata, &set.spec.template, &view.revisions, &in_use, limit);
    let deleting = set.metadata.is_deleting();
    if !deleting {
        plan.writes.extend(history.writes);
    }
    let tolerations = tolerations(&set.spec.template);
    let surges = surge(set, view.nodes.len()) > 0;
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in &view.pods {
        by_node.entry(pod.spec.node_name.as_str()).or_default().push(pod);
    }
    let mut places = Vec::new();
    let mut missing = Vec::new();
    for node in &view.nodes {
        let here = by_node.remove(node.metadata.name.as_str()).unwrap_or_default();
        let suits = suits(&set.spec.template, node);
        let wanted = suits && tolerates_all(&tolerations, &node.spec.taints);
        let stays = wanted || (suits && tolerates_running(&tolerations, &node.spec.taints));
        let (pod, next) = tidy(&mut plan, &here, stays, deleting, surges.then_some(history.hash.as_str()));
        // One that is going takes the node's place until it is gone.
        if wanted && pod.is_none() && here.iter().all(|pod| pod.is_finished() && !pod.metadata.is_deleting()) {
            missing.push(node.metadata.name.as_str());
        }
        places.push(Place { node: node.metadata.name.as_str(), wanted, pod, next });
    }
    if !deleting {
        missing.extend(roll(&mut plan, set, &history.hash, &places, now));
        create(&mut plan, set, &history.hash, &missing, view);
    }
    status(&mut plan, set, &history.hash, &places, now);
    plan
}

/// What a daemon of this template tolerates.
fn tolerations(template: &Value) -> Vec<Toleration> {
    let own = template["spec"]["tolerations"].clone();
    let mut all: Vec<Toleration> = serde_json::from_value(own).unwrap_or_default();
    all.extend(BORNE.iter().map(|(key, effect)| Toleration {
        key: (*key).into(),
        operator: "Exists".into(),
        effect: (*effect).into(),
        ..Toleration::default()
    }));
    all
}

/// Whether the template's selectors admit a node.
fn suits(template: &Value, node: &Node) -> bool {
    let spec = &template["spec"];
    let mut labels = spec["nodeSelector"].as_object().into_iter().flatten();
    let named = spec["nodeName"].as_str().is_none_or(|name| name == node.metadata.name);
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    named
        && labels.all(|(name, value)| node.metadata.label(name) == value.as_str())
        && (required.is_null() || affinity::admits(required, node))
}

type OnNode<'a> = Option<&'a Arc<Pod>>;

/// Deletes what should not be on a node; returns the pod that stays and, where the new one comes first, its successor
/// of the revision `next_hash`.
fn tidy<'a>(
    plan: &mut Plan,
    here: &[&'a Arc<Pod>],
    stays: bool,
    deleting: bool,
    next_hash: Option<&str>,
) -> (OnNode<'a>, OnNode<'a>) {
    let mut living: Vec<_> = here.iter().copied().filter(|pod| !pod.metadata.is_deleting()).collect();
    // The first is kept: a ready one before others, the oldest before younger ones.
    living.sort_by_key(|pod| {
        (pod.is_finished(), !pod.is_ready(), pod.metadata.creation_timestamp, pod.metadata.name.clone())
    });
    let mut kept: OnNode<'a> = None;
    let mut next = None;
    for pod in living {
        let ended = pod.is_finished() && !pods::counts(pod);
        let succeeds = |old: &Arc<Pod>| next_hash.is_some_and(|hash| is_current(pod, hash) && !is_current(old, hash));
        if kept.is_none() && stays && !ended {
            kept = Some(pod);
        } else if next.is_none() && !ended && kept.is_some_and(succeeds) {
            next = Some(pod);
        } else if !deleting {
            plan.reason = "tidying up".into();
            plan.push(Write::delete(PODS, key(&pod.metadata), &pod.metadata.uid));
        }
    }
    (kept, next)
}

/// How many nodes may have a new pod beside the old one.
fn surge(set: &DaemonSet, total: usize) -> i32 {
    let rolling = set.spec.update_strategy.rolling_update.as_ref();
    let bound = rolling.map(|rolling| &rolling.max_surge).filter(|bound| !bound.is_null());
    bound.map_or(0, |bound| resolve(bound, i32::try_from(total).unwrap_or(i32::MAX), true))
}

fn create(plan: &mut Plan, set: &DaemonSet, hash: &str, missing: &[&str], view: &View) {
    if missing.is_empty() {
        return;
    }
    plan.reason = format!("creating {} pods", missing.len()).into();
    let owner = controller_of(&DAEMON_SETS, &set.metadata);
    let prefix = format!("{}-", set.metadata.name);
    let living = view.pods.iter().filter(|pod| pod.is_active()).map(|pod| &**pod);
    for (node, ordinal) in missing.iter().zip(pods::free_ordinals(living)) {
        let mut pod = pods::from_template(&set.spec.template, &set.metadata.namespace, &prefix, &owner);
        pod["metadata"]["labels"][HASH] = hash.into();
        pods::set_ordinal(&mut pod, ordinal);
        pod["spec"]["nodeName"] = (*node).into();
        let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        for (key, effect) in BORNE {
            tolerations.push(json!({ "key": key, "operator": "Exists", "effect": effect }));
        }
        pod["spec"]["tolerations"] = tolerations.into();
        plan.push(Write::create(PODS, pod));
    }
}

fn is_current(pod: &Pod, hash: &str) -> bool {
    pod.metadata.label(HASH) == Some(hash)
}

/// Takes old pods away, a bounded number at once; new ones come in their places by themselves. Where new ones come
/// first, returns the nodes that get one now.
fn roll<'a>(plan: &mut Plan, set: &DaemonSet, hash: &str, places: &[Place<'a>], now: Timestamp) -> Vec<&'a str> {
    if set.spec.update_strategy.kind == "OnDelete" {
        return Vec::new();
    }
    let wanted: Vec<_> = places.iter().filter(|place| place.wanted).collect();
    let most = surge(set, wanted.len());
    if most > 0 {
        return roll_by_surge(plan, set, hash, &wanted, most, now);
    }
    let total = i32::try_from(wanted.len()).unwrap_or(i32::MAX);
    let rolling = set.spec.update_strategy.rolling_update.as_ref();
    let bound = rolling.map(|rolling| &rolling.max_unavailable).filter(|bound| !bound.is_null());
    let mut spare = bound.map_or(1, |bound| resolve(bound, total, true)).max(1);
    let available = |pod: &Pod| availability(pod, set.spec.min_ready_seconds, now) == Availability::Yes;
    let (mut broken, mut working) = (Vec::new(), Vec::new());
    for place in wanted {
        match place.pod {
            Some(pod) if is_current(pod, hash) => spare -= i32::from(!available(pod)),
            Some(pod) if available(pod) => working.push(pod),
            Some(pod) => {
                broken.push(pod);
                spare -= 1;
            }
            None => spare -= 1,
        }
    }
    // What does not serve is replaced whatever the bound: nobody misses it.
    let allowed = usize::try_from(spare.max(0)).unwrap_or(0);
    for pod in broken.into_iter().chain(working.into_iter().take(allowed)) {
        plan.reason = "rolling out".into();
        plan.push(Write::delete(PODS, key(&pod.metadata), &pod.metadata.uid));
    }
    Vec::new()
}

/// The new pod first: the old one goes when the new one serves. One that does not serve is succeeded whatever the bound.
fn roll_by_surge<'a>(
    plan: &mut Plan,
    set: &DaemonSet,
    hash: &str,
    wanted: &[&Place<'a>],
    most: i32,
    now: Timestamp,
) -> Vec<&'a str> {
    let available = |pod: &Pod| availability(pod, set.spec.min_ready_seconds, now) == Availability::Yes;
    let (mut at_once, mut candidates, mut spare) = (Vec::new(), Vec::new(), most);
    for place in wanted {
        let Some(old) = place.pod.filter(|pod| !is_current(pod, hash)) else { continue };
        match place.next {
            Some(next) if available(next) => {
                plan.reason = "rolling out".into();
                plan.push(Write::delete(PODS, key(&old.metadata), &old.metadata.uid));
            }
            Some(next) => {
                spare -= 1;
                if let Availability::From(from) = availability(next, set.spec.min_ready_seconds, now) {
                    plan.again_at(from);
                }
            }
            None if !available(old) => at_once.push(place.node),
            None => candidates.push(place.node),
        }
    }
    candidates.truncate(usize::try_from(spare.max(0)).unwrap_or(0));
    at_once.extend(candidates);
    at_once
}

fn status(plan: &mut Plan, set: &DaemonSet, hash: &str, places: &[Place<'_>], now: Timestamp) {
    let count = |test: &dyn Fn(&Place<'_>) -> bool| places.iter().filter(|place| test(place)).count();
    let has = |place: &Place<'_>, test: &dyn Fn(&Pod) -> bool| {
        place.wanted && place.pod.is_some_and(|pod| pod.status.phase != Phase::Failed && test(pod))
    };
    for pod in places.iter().filter_map(|place| place.pod) {
        if let Availability::From(from) = availability(pod, set.spec.min_ready_seconds, now) {
            plan.again_at(from);
        }
    }
    let desired = count(&|place| place.wanted);
    let available =
        count(&|place| has(place, &|pod| availability(pod, set.spec.min_ready_seconds, now) == Availability::Yes));
    let or_absent = |count: usize| if count == 0 { Value::Null } else { count.into() };
    let seen = json!({
        "observedGeneration": set.metadata.generation,
        "desiredNumberScheduled": desired,
        "currentNumberScheduled": count(&|place| has(place, &|_| true)),
        "numberMisscheduled": count(&|place| !place.wanted && place.pod.is_some()),
        "numberReady": count(&|place| has(place, &Pod::is_ready)),
        "updatedNumberScheduled": or_absent(count(&|place| has(place, &|pod| is_current(pod, hash)))),
        "numberAvailable": or_absent(available),
        "numberUnavailable": or_absent(desired - available),
    });
    let same = seen.as_object().is_some_and(|seen| seen.iter().all(|(name, value)| set.status[name] == *value));
    if !same {
        let patch = json!({ "metadata": { "uid": set.metadata.uid }, "status": seen });
        plan.push(Write::status(DAEMON_SETS, key(&set.metadata), patch));
    }
}
