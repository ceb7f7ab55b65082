//! The rules of Compose's `update_config`: what counts as failed, and what then happens.

use super::*;

fn rule(text: &str) -> Value {
    json!({ "naru.io/update": text })
}

fn break_new_pods(world: &mut World) {
    let new = world.sets.last().unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    for (_, pod) in world.pods.iter_mut().filter(|(uid, _)| *uid == new) {
        pod["status"] = json!({ "phase": "Running", "containerStatuses": [{ "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }] });
    }
    world.count();
}

#[test]
fn a_failed_update_rolls_back_by_itself() {
    let mut world = World::new(2, json!({}), rule(r#"{"order":"start-first","failureAction":"rollback"}"#));
    world.settle();
    world.image("v2");
    world.turn();
    world.replicate();
    assert_eq!(world.sizes(), sized(&[("v1", 2), ("v2", 1)]));
    break_new_pods(&mut world);
    world.turn();
    assert_eq!(world.deployment["spec"]["template"], template("v1"), "the template before, and nothing else of it");
    world.settle();
    assert_eq!(world.sizes(), sized(&[("v1", 2), ("v2", 0)]));
    assert_eq!(world.condition("naru.io/RolledBack"), ("True".into(), "UpdateFailed".into()));
    assert_eq!(world.condition("Progressing").1, "NewReplicaSetAvailable");
    assert!(world.notices.iter().any(|notice| notice == "Rolled back to revision 1: 1 of 2 containers failed"));
    world.image("v3");
    world.settle();
    assert_eq!(world.sizes().last().unwrap(), &("v3".to_owned(), 2));
    assert_eq!(world.condition("naru.io/RolledBack").0, "", "a newer template overtakes the record");
}

#[test]
fn a_failed_update_pauses_or_goes_on_where_the_rule_says_so() {
    for (action, paused) in [("pause", json!(true)), ("continue", Value::Null)] {
        let text = format!(r#"{{"order":"start-first","failureAction":"{action}"}}"#);
        let mut world = World::new(2, json!({}), rule(&text));
        world.settle();
        world.image("v2");
        world.turn();
        world.replicate();
        break_new_pods(&mut world);
        world.turn();
        assert_eq!(world.deployment["spec"]["paused"], paused, "{action}");
        world.settle();
        let expected = if action == "continue" { [("v1", 0), ("v2", 2)] } else { [("v1", 2), ("v2", 1)] };
        assert_eq!(world.sizes(), sized(&expected), "{action}: one of the new ones never serves");
    }
}

#[test]
fn a_new_version_that_is_never_healthy_has_failed() {
    let mut world = World::new(2, json!({}), rule(r#"{"order":"start-first","failureAction":"rollback"}"#));
    world.settle();
    world.image("v2");
    world.turn();
    world.replicate();
    let new = world.sets.last().unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let tell = |world: &mut World, status: &str| {
        for (_, pod) in world.pods.iter_mut().filter(|(uid, _)| *uid == new) {
            pod["status"] =
                json!({ "phase": "Running", "conditions": [{ "type": "naru.io/Unhealthy", "status": status }] });
        }
        world.count();
        world.turn();
    };
    tell(&mut world, "False");
    assert_eq!(world.deployment["spec"]["template"], template("v2"), "it is still being tested");
    tell(&mut world, "True");
    assert_eq!(world.deployment["spec"]["template"], template("v1"));
}

/// A service whose update to `v2` was paused because it fails.
fn paused_update() -> World {
    let mut world = World::new(2, json!({}), rule(r#"{"order":"start-first","failureAction":"pause"}"#));
    world.settle();
    world.image("v2");
    world.turn();
    world.replicate();
    break_new_pods(&mut world);
    world.settle();
    assert_eq!((world.sizes(), &world.deployment["spec"]["paused"]), (sized(&[("v1", 2), ("v2", 1)]), &json!(true)));
    assert_eq!(world.condition("Progressing").1, "DeploymentPaused");
    world
}

fn resume(world: &mut World) {
    world.deployment["spec"]["paused"] = false.into();
    world.bump();
}

#[test]
fn a_newer_template_ends_the_pause_of_a_failed_update() {
    let mut world = paused_update();
    world.image("v3");
    world.settle();
    assert_eq!(world.deployment["spec"]["paused"], false);
    assert_eq!(world.sizes(), sized(&[("v1", 0), ("v2", 0), ("v3", 2)]));
    let annotations = world.deployment["metadata"]["annotations"].as_object().unwrap();
    assert!(!annotations.contains_key("naru.io/update-paused"), "{annotations:?}");
}

#[test]
fn whoever_resumes_a_failed_update_has_it_go_on() {
    let mut world = paused_update();
    resume(&mut world);
    world.settle();
    assert_eq!(world.deployment["spec"]["paused"], false, "it is not paused again");
    assert_eq!(world.sizes(), sized(&[("v1", 0), ("v2", 2)]));
}

#[test]
fn a_persons_pause_outlives_a_newer_template() {
    for again in [false, true] {
        let mut world = if again { paused_update() } else { World::new(2, json!({}), rule("{}")) };
        if again {
            resume(&mut world);
        }
        world.settle();
        world.deployment["spec"]["paused"] = true.into();
        world.bump();
        world.settle();
        let before = world.sizes();
        world.image("v3");
        world.settle();
        assert_eq!((world.sizes(), &world.deployment["spec"]["paused"]), (before, &json!(true)), "{again}");
    }
}

#[test]
fn failures_within_the_ratio_or_after_the_update_are_borne() {
    let text = r#"{"order":"start-first","failureAction":"rollback","maxFailureRatio":0.5,"monitor":10000}"#;
    let mut world = World::new(2, json!({}), rule(text));
    world.settle();
    world.image("v2");
    world.turn();
    world.replicate();
    break_new_pods(&mut world);
    world.turn();
    assert_eq!(world.deployment["spec"]["template"], template("v2"), "one of two is within the ratio");

    let mut world = World::new(1, json!({}), rule(r#"{"failureAction":"rollback","monitor":10000}"#));
    world.settle();
    world.image("v2");
    world.settle();
    let plan = world.turn();
    assert_eq!(plan.again, Some(at(10).parse().unwrap()), "the monitored time");
    world.now = 11;
    world.settle();
    break_new_pods(&mut world);
    world.now = 5000;
    world.settle();
    assert_eq!(world.deployment["spec"]["template"], template("v2"), "the update has long ended well");
}

#[test]
fn a_first_deployment_that_fails_stays_as_it_is() {
    let mut world = World::new(1, json!({}), rule(r#"{"failureAction":"rollback"}"#));
    world.turn();
    world.replicate();
    break_new_pods(&mut world);
    world.turn();
    assert_eq!((world.sizes(), &world.deployment["spec"]["paused"]), (sized(&[("v1", 1)]), &Value::Null));
}

#[test]
fn stop_first_never_runs_old_and_new_in_one_place() {
    let mut world = World::new(3, json!({}), rule(r#"{"order":"stop-first","parallelism":1}"#));
    world.settle();
    world.linger = true;
    world.image("v2");
    for _ in 0..50 {
        world.turn();
        world.replicate();
        world.ready();
        assert!(world.pods.len() <= 3, "a new pod starts only in the place of one that is gone");
        let leaving = world.pods.iter().position(|(_, pod)| pod["metadata"].get("deletionTimestamp").is_some());
        leaving.into_iter().for_each(|index| drop(world.pods.remove(index)));
    }
    assert_eq!(world.sizes(), sized(&[("v1", 0), ("v2", 3)]));
    assert_eq!(world.sets[1]["metadata"]["annotations"]["naru.io/stop-first"], "true", "replacements wait too");
    world.deployment["metadata"]["annotations"] = rule(r#"{"order":"start-first"}"#);
    world.settle();
    assert_eq!(world.sets[1]["metadata"]["annotations"].get("naru.io/stop-first"), None);
}

#[test]
fn a_pause_between_groups_is_kept() {
    for order in ["stop-first", "start-first"] {
        let text = format!(r#"{{"order":"{order}","parallelism":2,"delay":10000}}"#);
        let mut world = World::new(4, json!({}), rule(&text));
        world.settle();
        world.now = 100;
        world.image("v2");
        world.settle();
        assert_eq!(world.sizes(), sized(&[("v1", 2), ("v2", 2)]), "{order}: the first group");
        assert_eq!(world.turn().again, Some(at(110).parse().unwrap()), "{order}");
        world.now = 110;
        world.settle();
        assert_eq!(world.sizes(), sized(&[("v1", 0), ("v2", 4)]), "{order}: the second group");
    }
}
