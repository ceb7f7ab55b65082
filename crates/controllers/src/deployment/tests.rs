mod failures;
mod sets;
mod world;

use std::sync::Arc;

use jiff::Timestamp;
use naru_client::PatchKind;
use serde_json::{Value, json};

use super::plan::plan;
use super::*;
use crate::fixtures::{at, merge, noon, view};
use crate::plan::Write;
use world::{World, sized, template};

#[test]
fn a_rollout_keeps_its_bounds_and_its_history() {
    let mut world = World::new(4, json!({ "revisionHistoryLimit": 1 }), json!({}));
    world.settle();
    assert_eq!((world.sizes(), world.revision()), (sized(&[("v1", 4)]), "1"));
    assert_eq!(world.condition("Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!(world.condition("Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    world.image("v2");
    world.turn();
    assert_eq!(world.sizes(), sized(&[("v1", 4), ("v2", 1)]), "one too many, none too few");
    assert_eq!(world.condition("Progressing").1, "NewReplicaSetCreated");
    world.replicate();
    world.turn();
    assert_eq!(world.sizes(), sized(&[("v1", 4), ("v2", 1)]), "nothing moves before the new pod is ready");
    world.settle();
    assert_eq!((world.sizes(), world.most), (sized(&[("v1", 0), ("v2", 4)]), 5));
    world.image("v3");
    world.settle();
    assert_eq!(world.sizes(), sized(&[("v2", 0), ("v3", 4)]), "one old set is kept");
    world.image("v2");
    world.settle();
    assert_eq!((world.sizes(), world.revision()), (sized(&[("v2", 4), ("v3", 0)]), "4"), "undo finds the old set");
    let history = &world.sets[0]["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"];
    assert_eq!(history, "2");
    let status = &world.deployment["status"];
    assert_eq!(
        (&status["replicas"], &status["updatedReplicas"], &status["availableReplicas"]),
        (&json!(4), &json!(4), &json!(4))
    );
    assert_eq!(status["observedGeneration"], world.deployment["metadata"]["generation"]);
    let pods = &world.sets[0]["spec"];
    assert_eq!(
        pods["selector"]["matchLabels"]["pod-template-hash"],
        pods["template"]["metadata"]["labels"]["pod-template-hash"]
    );
}

#[test]
fn a_paused_rollout_only_scales_and_resumes() {
    let mut world = World::new(2, json!({}), json!({}));
    world.settle();
    world.deployment["spec"]["paused"] = true.into();
    world.image("v2");
    world.deployment["spec"]["replicas"] = 3.into();
    world.settle();
    assert_eq!(world.sizes(), sized(&[("v1", 3)]));
    assert_eq!(world.condition("Progressing"), ("Unknown".into(), "DeploymentPaused".into()));
    world.deployment["spec"]["paused"] = false.into();
    world.bump();
    world.settle();
    assert_eq!(world.sizes(), sized(&[("v1", 0), ("v2", 3)]));
    assert_eq!(world.condition("Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn scaling_takes_one_turn() {
    let mut world = World::new(1, json!({}), json!({}));
    world.settle();
    world.deployment["spec"]["replicas"] = 50.into();
    world.bump();
    world.turn();
    assert_eq!(world.sizes(), sized(&[("v1", 50)]));
    assert_eq!(
        world.notices.last().unwrap(),
        &format!("Scaled up replica set {} from 1 to 50", world.sets[0]["metadata"]["name"].as_str().unwrap())
    );
}

#[test]
fn scaling_in_mid_rollout_keeps_the_shares() {
    let mut world =
        World::new(10, json!({ "strategy": { "rollingUpdate": { "maxSurge": 3, "maxUnavailable": 2 } } }), json!({}));
    world.settle();
    world.image("v2");
    world.turn();
    world.replicate();
    world.turn();
    assert_eq!(world.sizes(), sized(&[("v1", 8), ("v2", 5)]));
    world.replicate();
    world.deployment["spec"]["replicas"] = 15.into();
    world.bump();
    world.turn();
    assert_eq!(world.sizes(), sized(&[("v1", 11), ("v2", 7)]));
    world.settle();
    assert_eq!(world.sizes(), sized(&[("v1", 0), ("v2", 15)]));
}

#[test]
fn recreate_starts_the_new_ones_when_the_last_old_one_is_gone() {
    let mut world = World::new(2, json!({ "strategy": { "type": "Recreate" } }), json!({}));
    world.settle();
    world.linger = true;
    world.image("v2");
    world.settle();
    assert_eq!(world.sizes(), sized(&[("v1", 0), ("v2", 0)]));
    world.pods.pop();
    world.settle();
    assert_eq!(world.sizes(), sized(&[("v1", 0), ("v2", 0)]), "one old pod still stands");
    world.pods.pop();
    world.settle();
    assert_eq!(world.sizes(), sized(&[("v1", 0), ("v2", 2)]));
}

#[test]
fn a_rollout_without_progress_is_told_after_its_deadline() {
    let mut world = World::new(1, json!({ "progressDeadlineSeconds": 30 }), json!({}));
    world.turn();
    world.replicate();
    world.now = 5;
    world.turn();
    assert_eq!(world.condition("Progressing").1, "ReplicaSetUpdated");
    let plan = world.turn();
    assert_eq!(plan.again, Some(at(35).parse().unwrap()));
    world.now = 35;
    world.turn();
    assert_eq!(world.condition("Progressing"), ("False".into(), "ProgressDeadlineExceeded".into()));
    world.settle();
    assert_eq!(world.condition("Progressing").1, "NewReplicaSetAvailable", "late is not never");
}

#[test]
fn sets_that_cannot_create_pods_say_so_through_their_deployment() {
    let mut world = World::new(1, json!({}), json!({}));
    world.turn();
    world.sets[0]["status"]["conditions"] =
        json!([{ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "full" }]);
    world.turn();
    assert_eq!(world.condition("ReplicaFailure"), ("True".into(), "FailedCreate".into()));
    world.settle();
    assert_eq!(world.condition("ReplicaFailure").1, "", "it has been overcome");
}
