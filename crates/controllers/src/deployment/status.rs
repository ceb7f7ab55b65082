//! The status of a Deployment, as `kubectl rollout status` reads it.

use jiff::{SignedDuration, Timestamp};
use naru_api::naru::names;
use serde_json::{Value, json};

use super::failure;
use super::plan::Rollout;
use crate::ownership::key;
use crate::plan::{Plan, Write};
use crate::replicaset::{REPLICA_FAILURE, or_absent};
use crate::resources::DEPLOYMENTS;
use crate::views::{Condition, DeploymentStatus};

/// What this plan does that the status should tell.
#[derive(Debug, Default)]
pub(super) struct Doing {
    /// The set which it creates.
    pub(super) creates: Option<String>,
    /// The hash's name was taken: try another.
    pub(super) collision: bool,
}

/// Adds the status to a plan, if it differs from what is written.
pub(super) fn write(plan: &mut Plan, rollout: &Rollout<'_>, doing: &Doing, now: Timestamp) {
    let deployment = rollout.deployment;
    let seen = seen(plan, rollout, doing, now);
    if seen == deployment.status {
        return;
    }
    let absent = |collisions: Option<i32>| collisions.map_or(Value::Null, Value::from);
    let patch = json!({
        "metadata": { "uid": deployment.metadata.uid },
        "status": {
            "observedGeneration": seen.observed_generation,
            "replicas": or_absent(seen.replicas),
            "updatedReplicas": or_absent(seen.updated_replicas),
            "readyReplicas": or_absent(seen.ready_replicas),
            "availableReplicas": or_absent(seen.available_replicas),
            "unavailableReplicas": or_absent(seen.unavailable_replicas),
            "collisionCount": absent(seen.collision_count),
            "conditions": seen.conditions,
        }
    });
    plan.push(Write::status(DEPLOYMENTS, key(&deployment.metadata), patch));
}

fn seen(plan: &mut Plan, rollout: &Rollout<'_>, doing: &Doing, now: Timestamp) -> DeploymentStatus {
    let deployment = rollout.deployment;
    let sum = |of: fn(&crate::views::ReplicaSet) -> i32| rollout.all().map(of).sum::<i32>();
    let asked = sum(|set| set.spec.replicas.unwrap_or(1));
    let available = sum(|set| set.status.available_replicas);
    let before = &deployment.status;
    let mut seen = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(|set| set.status.replicas),
        updated_replicas: rollout.new.map_or(0, |new| new.status.replicas),
        ready_replicas: sum(|set| set.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (asked - available).max(0),
        collision_count: before.collision_count,
        conditions: Vec::new(),
    };
    if doing.collision {
        seen.collision_count = Some(before.collision_count.unwrap_or(0) + 1);
    }
    let enough = available >= rollout.bounds.fewest();
    let (status, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let mut conditions = vec![condition("Available", status, reason, message.into())];
    conditions.extend(progressing(plan, rollout, doing, &seen, now));
    if let Some(record) = failure::record(deployment) {
        conditions.push(condition(names::ROLLED_BACK_CONDITION, "True", "UpdateFailed", record.message));
    }
    // The new set's word goes first.
    let failures = rollout.new.into_iter().chain(rollout.old.iter().copied());
    conditions.extend(
        failures
            .filter_map(|set| Condition::find(&set.status.conditions, REPLICA_FAILURE))
            .next()
            .map(|failure| Condition { last_transition_time: None, last_update_time: None, ..failure.clone() }),
    );
    seen.conditions = conditions.into_iter().map(|new| stamped(new, &before.conditions, now)).collect();
    // Conditions that others have added stay.
    let foreign = |known: &&Condition| {
        !["Available", "Progressing", REPLICA_FAILURE, names::ROLLED_BACK_CONDITION].contains(&known.kind.as_str())
    };
    seen.conditions.extend(before.conditions.iter().filter(foreign).cloned());
    seen
}

fn condition(kind: &str, status: &str, reason: &str, message: String) -> Condition {
    Condition { kind: kind.into(), status: status.into(), reason: reason.into(), message, ..Condition::default() }
}

/// Keeps the times of what has not changed.
fn stamped(mut new: Condition, before: &[Condition], now: Timestamp) -> Condition {
    let known = Condition::find(before, &new.kind);
    let same_status = known.filter(|known| known.status == new.status);
    new.last_transition_time = same_status.and_then(|known| known.last_transition_time).or(Some(now));
    let same = same_status.filter(|known| known.reason == new.reason && known.message == new.message);
    if new.last_update_time.is_none() {
        new.last_update_time = same.and_then(|known| known.last_update_time).or(Some(now));
    }
    new
}

/// The condition that tells whether the rollout moves.
fn progressing(
    plan: &mut Plan,
    rollout: &Rollout<'_>,
    doing: &Doing,
    seen: &DeploymentStatus,
    now: Timestamp,
) -> Option<Condition> {
    let deployment = rollout.deployment;
    let deadline = deployment.spec.progress_deadline_seconds.unwrap_or(600);
    // The largest number means "no deadline".
    if deadline >= i64::from(i32::MAX) {
        return None;
    }
    let before = &deployment.status;
    let known = Condition::find(&before.conditions, "Progressing");
    let known_reason = known.map_or("", |known| known.reason.as_str());
    let is = |status: &str, reason: &str, message: String| Some(condition("Progressing", status, reason, message));
    if let Some(name) = &doing.creates {
        return is("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""));
    }
    if deployment.spec.paused {
        let why = match failure::pause(deployment) {
            failure::Pause::Standing(why) => format!("Deployment is paused: {why}"),
            _ => "Deployment is paused".into(),
        };
        return is("Unknown", "DeploymentPaused", why);
    }
    let name = rollout.new.map_or(deployment.metadata.name.as_str(), |new| new.metadata.name.as_str());
    let text = |what: &str| format!("ReplicaSet \"{name}\" {what}");
    if rollout.is_complete() {
        return is("True", "NewReplicaSetAvailable", text("has successfully progressed."));
    }
    let waiting = |status: &DeploymentStatus| status.replicas - status.updated_replicas;
    let moved = seen.updated_replicas > before.updated_replicas
        || waiting(seen) < waiting(before)
        || seen.ready_replicas > before.ready_replicas
        || seen.available_replicas > before.available_replicas;
    let fresh = known_reason.is_empty() || before.observed_generation < deployment.metadata.generation;
    if moved || fresh {
        let mut moving = condition("Progressing", "True", "ReplicaSetUpdated", text("is progressing."));
        // The deadline counts from the last movement, even if the words stay the same.
        moving.last_update_time = Some(now);
        plan.again_at(after(now, deadline));
        return Some(moving);
    }
    let known = known?;
    if known_reason == "DeploymentPaused" {
        return is("Unknown", "DeploymentResumed", "Deployment is resumed".into());
    }
    // A complete rollout that has lost pods since is being healed, not rolled out.
    if known_reason == "NewReplicaSetAvailable" || known_reason == "ProgressDeadlineExceeded" {
        return Some(known.clone());
    }
    let due = known.last_update_time.map_or(Timestamp::MAX, |moved| after(moved, deadline));
    if due <= now {
        return is("False", "ProgressDeadlineExceeded", text("has timed out progressing."));
    }
    plan.again_at(due);
    Some(known.clone())
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
