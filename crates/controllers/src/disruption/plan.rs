//! The decision: what a budget's status says.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::View;
use crate::ownership::key;
use crate::plan::{Plan, Write};
use crate::resources::BUDGETS;
use crate::views::{BudgetStatus, Condition, PodDisruptionBudget};

/// How long an eviction counts before its pod is on its way out; beyond it the deletion has failed.
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);
/// The condition that says whether evictions are allowed.
const ALLOWED: &str = "DisruptionAllowed";

pub(super) fn plan(view: &View, now: Timestamp) -> Plan {
    let budget = &*view.budget;
    let mut plan = Plan::nothing("up to date");
    if budget.metadata.is_deleting() {
        return Plan::nothing("being deleted");
    }
    let disrupted = disrupted(&mut plan, view, now);
    let (expected, desired) = wanted(view);
    let healthy =
        view.pods.iter().filter(|pod| pod.is_ready() && pod.is_active() && !disrupted.contains_key(&pod.metadata.name));
    let healthy = count(healthy);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let seen = BudgetStatus {
        observed_generation: budget.metadata.generation,
        disruptions_allowed: allowed,
        current_healthy: healthy,
        desired_healthy: desired,
        expected_pods: expected,
        conditions: conditions(budget, allowed, now),
        disrupted_pods: disrupted,
    };
    if seen != budget.status {
        plan.reason = format!("{allowed} disruptions are allowed").into();
        plan.push(write(budget, &seen));
    }
    plan
}

/// What evictions have taken and not yet used up.
fn disrupted(plan: &mut Plan, view: &View, now: Timestamp) -> BTreeMap<String, Timestamp> {
    let mut left = BTreeMap::new();
    for (name, at) in &view.budget.status.disrupted_pods {
        let until = at.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
        let there = view.pods.iter().any(|pod| pod.metadata.name == *name && pod.is_active());
        if there && until > now {
            plan.again_at(until);
            left.insert(name.clone(), *at);
        }
    }
    left
}

/// How many pods there should be, and how many of them must be healthy.
fn wanted(view: &View) -> (i32, i32) {
    let spec = &view.budget.spec;
    let present = count(view.pods.iter());
    let scale = view.scales.values().fold(0_i32, |sum, scale| sum.saturating_add(*scale));
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (scale, (scale - amount(most, scale)).max(0)),
        (None, Some(Value::Number(least))) => {
            (present, least.as_i64().and_then(|least| i32::try_from(least).ok()).unwrap_or(i32::MAX))
        }
        (None, Some(share)) => (scale, amount(share, scale)),
        (None, None) => (present, 1),
    }
}

/// A number, or a share of `whole`, rounded up.
fn amount(value: &Value, whole: i32) -> i32 {
    let share = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    let amount = match share {
        Some(percent) => (i64::from(whole) * percent + 99).div_euclid(100),
        None => value.as_i64().unwrap_or(0),
    };
    i32::try_from(amount).unwrap_or(i32::MAX)
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

fn conditions(budget: &PodDisruptionBudget, allowed: i32, now: Timestamp) -> Vec<Condition> {
    let (status, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let known = &budget.status.conditions;
    let same = Condition::find(known, ALLOWED).filter(|known| known.status == status);
    let ours = Condition {
        kind: ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        last_transition_time: same.and_then(|same| same.last_transition_time).or(Some(now)),
        observed_generation: Some(budget.metadata.generation),
        ..Condition::default()
    };
    let foreign = known.iter().filter(|condition| condition.kind != ALLOWED).cloned();
    std::iter::once(ours).chain(foreign).collect()
}

fn write(budget: &PodDisruptionBudget, seen: &BudgetStatus) -> Write {
    // In a merge patch, what is no longer there must be named.
    let mut disrupted = Map::new();
    for name in budget.status.disrupted_pods.keys() {
        disrupted.insert(name.clone(), Value::Null);
    }
    for (name, at) in &seen.disrupted_pods {
        disrupted.insert(name.clone(), naru_api::meta::time(*at).into());
    }
    let conditions: Vec<Value> = seen.conditions.iter().map(complete).collect();
    let meta = &budget.metadata;
    let patch = json!({
        "metadata": { "uid": meta.uid, "resourceVersion": meta.resource_version },
        "status": {
            "observedGeneration": seen.observed_generation,
            "disruptionsAllowed": seen.disruptions_allowed,
            "currentHealthy": seen.current_healthy,
            "desiredHealthy": seen.desired_healthy,
            "expectedPods": seen.expected_pods,
            "disruptedPods": disrupted,
            "conditions": conditions,
        },
    });
    Write::status(BUDGETS, key(meta), patch)
}

/// Conditions of this kind must say their message, even an empty one.
fn complete(condition: &Condition) -> Value {
    let mut value = json!(condition);
    value["message"] = condition.message.as_str().into();
    value
}
