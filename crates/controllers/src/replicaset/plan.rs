//! The decision: which pods to adopt, release, create and delete, and the status.

use std::sync::Arc;

use jiff::Timestamp;
use naru_api::naru::names;
use serde_json::{Value, json};

use super::{Flavour, View};
use crate::ownership::{adopt, controller_of, key, release, selector};
use crate::plan::{Plan, Write};
use crate::pods::{self, Availability, availability};
use crate::rebalance::moving_until;
use crate::resources::PODS;
use crate::views::{Condition, Pod, ReplicaSet, ReplicaSetStatus};

/// Condition of a set, and of its Deployment: pods cannot be created.
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let set = &*view.set;
    let mut plan = Plan::nothing("in balance");
    let wanted = selector(&set.spec.selector);
    let fits = |pod: &Pod| wanted.matches(&pod.metadata.labels);
    let mut places: Vec<&Arc<Pod>> = Vec::new();
    for pod in &view.owned {
        if fits(pod) {
            places.extend(pods::counts(pod).then_some(pod));
        } else if !pod.metadata.is_deleting() {
            plan.push(release(PODS, &pod.metadata, &set.metadata.uid));
            plan.reason = "releasing pods".into();
        }
    }
    if !set.metadata.is_deleting() {
        let found = view.orphans.iter().filter(|pod| pod.is_active());
        let adopted: Vec<_> = found
            .map(|pod| adopt(PODS, &pod.metadata, controller_of(&view.flavour.resource(), &set.metadata)))
            .collect();
        if adopted.is_empty() {
            balance(&mut plan, view, &places, now);
        } else {
            // The number is right only once it is certain whose they are.
            plan.reason = "adopting pods".into();
            plan.writes.extend(adopted);
        }
    }
    status(&mut plan, view, &places, now);
    plan
}

/// Creates what is missing or deletes what is too much.
fn balance(plan: &mut Plan, view: &View, places: &[&Arc<Pod>], now: Timestamp) {
    let (set, resource) = (&*view.set, view.flavour.resource());
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    let wanted = wanted + if wanted > 0 { moving(plan, set, places, now) } else { 0 };
    let leaving =
        if waits_for_stops(set) { view.owned.iter().filter(|pod| pod.metadata.is_deleting()).count() } else { 0 };
    let have = places.len();
    if have > wanted {
        plan.reason = format!("deleting {} of {have} pods", have - wanted).into();
        let mut ranked = places.to_vec();
        ranked.sort_by_cached_key(|pod| pods::dispensability(pod, &view.crowd));
        for pod in ranked.into_iter().take(have - wanted) {
            pods::delete(plan, (&resource, &set.metadata), pod);
        }
    } else if have + leaving < wanted {
        let missing = wanted - have - leaving;
        plan.reason = format!("creating {missing} pods").into();
        let owner = controller_of(&resource, &set.metadata);
        let prefix = format!("{}-", set.metadata.name);
        let ordinals = pods::free_ordinals(places.iter().map(|pod| &***pod));
        for ordinal in ordinals.take(missing) {
            let mut pod = pods::from_template(&set.spec.template, &set.metadata.namespace, &prefix, &owner);
            pods::set_ordinal(&mut pod, ordinal);
            plan.push(Write::create(PODS, pod));
        }
    } else if have < wanted {
        plan.reason = format!("waiting for {leaving} pods to stop").into();
    }
}

/// How many pods are to go as soon as others serve in their place: so many more there are meanwhile.
fn moving(plan: &mut Plan, set: &ReplicaSet, places: &[&Arc<Pod>], now: Timestamp) -> usize {
    let marked = places.iter().filter_map(|pod| moving_until(&pod.metadata)).filter(|until| *until > now);
    let mut count = 0;
    for until in marked.filter(|_| !waits_for_stops(set)) {
        // Whoever marked it may be gone by then.
        plan.again_at(until);
        count += 1;
    }
    count
}

/// A service that stops before it starts keeps to that in replacements too: two containers over one data folder would
/// destroy it.
fn waits_for_stops(set: &ReplicaSet) -> bool {
    set.metadata.annotation(names::STOP_FIRST) == Some("true")
}

fn status(plan: &mut Plan, view: &View, places: &[&Arc<Pod>], now: Timestamp) {
    let set = &*view.set;
    let template_labels = set.spec.template["metadata"]["labels"].as_object();
    let labelled = |pod: &Pod| {
        let mut labels = template_labels.into_iter().flatten();
        labels.all(|(name, value)| pod.metadata.label(name) == value.as_str())
    };
    let count =
        |test: &dyn Fn(&Pod) -> bool| i32::try_from(places.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX);
    for pod in places {
        if let Availability::From(from) = availability(pod, set.spec.min_ready_seconds, now) {
            plan.again_at(from);
        }
    }
    let seen = ReplicaSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&|_| true),
        fully_labeled_replicas: count(&labelled),
        ready_replicas: count(&|pod| pod.is_ready()),
        available_replicas: count(&|pod| availability(pod, set.spec.min_ready_seconds, now) == Availability::Yes),
        conditions: conditions(set, places.len()),
    };
    if seen != set.status {
        let conditions = if seen.conditions.is_empty() { Value::Null } else { json!(seen.conditions) };
        plan.push(Write::status(
            view.flavour.resource(),
            key(&set.metadata),
            json!({
                "metadata": { "uid": set.metadata.uid },
                "status": {
                    "observedGeneration": seen.observed_generation,
                    "replicas": seen.replicas,
                    "fullyLabeledReplicas": or_absent(seen.fully_labeled_replicas),
                    "readyReplicas": or_absent(seen.ready_replicas),
                    "availableReplicas": or_absent(seen.available_replicas),
                    "conditions": conditions,
                }
            }),
        ));
    }
}

/// The conditions, without a failure that has been overcome.
fn conditions(set: &ReplicaSet, places: usize) -> Vec<Condition> {
    let missing = usize::try_from(set.spec.replicas.unwrap_or(1)).is_ok_and(|wanted| places < wanted);
    let known = set.status.conditions.iter();
    known.filter(|condition| missing || condition.kind != REPLICA_FAILURE).cloned().collect()
}

/// Tells in the set's status why its pods cannot be created; nothing if that is told already.
pub(super) fn refused(flavour: Flavour, set: &ReplicaSet, why: &str, now: Timestamp) -> Option<Write> {
    let known = &set.status.conditions;
    if Condition::find(known, REPLICA_FAILURE).is_some() {
        return None;
    }
    let failure = Condition {
        kind: REPLICA_FAILURE.into(),
        status: "True".into(),
        reason: "FailedCreate".into(),
        message: why.to_owned(),
        last_transition_time: Some(now),
        ..Condition::default()
    };
    let conditions: Vec<_> = known.iter().cloned().chain([failure]).collect();
    let meta = &set.metadata;
    let patch = json!({ "metadata": { "uid": meta.uid }, "status": { "replicas": set.status.replicas, "conditions": conditions } });
    Some(Write::status(flavour.resource(), key(meta), patch))
}

/// Counters of nothing are left out, as Kubernetes does.
pub(crate) fn or_absent(count: i32) -> Value {
    if count == 0 { Value::Null } else { count.into() }
}
