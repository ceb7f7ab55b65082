//! When containers come back.

use std::time::Duration;

use serde_json::json;

use super::world::{World, at, full, pod, single};
use crate::machine::{self, Desired, Gate, Power, Seen, State, Step, step};

fn annotated(restart: &str) -> Desired {
    let mut pod = pod(json!({"restartPolicy": "Always", "containers": [{"name": "web", "image": "w"}]}));
    pod.metadata.annotations = Some([("naru.io/restart".to_owned(), restart.to_owned())].into());
    machine::desired(&pod, Gate::Open)
}

fn web(world: &World) -> &Seen {
    &world.observed.containers["web"]
}

/// Seconds that pass between an exit now and the next start.
fn wait_after_exit(world: &mut World, code: i32) -> Option<i64> {
    world.exit("web", code);
    let left = world.now;
    world.settle();
    match web(world).state {
        State::Running { since, .. } => Some(since.duration_since(left).as_secs()),
        _ => None,
    }
}

#[test]
fn the_first_restart_is_immediate_and_later_ones_double_up_to_five_minutes() {
    let mut world = World::new(single("Always"));
    world.settle();
    let waits: Vec<_> = (0..8).map(|_| wait_after_exit(&mut world, 1).unwrap()).collect();
    assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(web(&world).restarts(), 8);
}

#[test]
fn ten_minutes_of_running_forgive_earlier_crashes() {
    let mut world = World::new(single("Always"));
    world.settle();
    for _ in 0..4 {
        wait_after_exit(&mut world, 1).unwrap();
    }
    world.later(599);
    assert_eq!(wait_after_exit(&mut world, 1), Some(80));
    world.later(600);
    assert_eq!(wait_after_exit(&mut world, 1), Some(0));
}

#[test]
fn kubernetes_policies_decide_by_exit_code() {
    for (policy, code, again) in [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 0, false),
        ("Never", 1, false),
    ] {
        let mut world = World::new(single(policy));
        world.settle();
        assert_eq!(wait_after_exit(&mut world, code).is_some(), again, "{policy} after {code}");
        assert_eq!(world.real.sandbox, again, "{policy} after {code}: a finished pod gives its sandbox back");
        assert!(world.real.object, "{policy}: the object stays");
    }
}

#[test]
fn a_container_may_have_a_policy_and_rules_of_its_own() {
    let one = |pod: &str, own: serde_json::Value| {
        let mut container = json!({"name": "web", "image": "w"});
        container.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        machine::desired(&self::pod(json!({"restartPolicy": pod, "containers": [container]})), Gate::Open)
    };
    let rule = |operator: &str| json!([{"action": "Restart", "exitCodes": {"operator": operator, "values": [42, 43]}}]);
    for (pod, own, code, again) in [
        ("Always", json!({"restartPolicy": "Never"}), 1, false),
        ("Never", json!({"restartPolicy": "OnFailure"}), 1, true),
        ("Never", json!({"restartPolicy": "OnFailure"}), 0, false),
        ("Always", json!({"restartPolicy": "Never", "restartPolicyRules": rule("In")}), 42, true),
        ("Always", json!({"restartPolicy": "Never", "restartPolicyRules": rule("In")}), 1, false),
        ("Never", json!({"restartPolicy": "Never", "restartPolicyRules": rule("NotIn")}), 1, true),
    ] {
        let mut world = World::new(one(pod, own.clone()));
        world.settle();
        assert_eq!(wait_after_exit(&mut world, code).is_some(), again, "{pod} {own} after {code}");
        assert_eq!(world.real.sandbox, again, "{pod} {own}: a finished pod gives its sandbox back");
    }
}

#[test]
fn docker_policies_decide_and_keep_the_sandbox() {
    for (policy, code, again) in [
        ("no", 1, false),
        ("always", 0, true),
        ("unless-stopped", 3, true),
        ("on-failure", 0, false),
        ("on-failure", 2, true),
    ] {
        let mut world = World::new(annotated(policy));
        world.settle();
        assert_eq!(wait_after_exit(&mut world, code).is_some(), again, "{policy} after {code}");
        assert!(world.real.sandbox && world.real.links, "{policy}: the pod and its address stay");
    }
}

#[test]
fn on_failure_counts_its_restarts_until_it_is_powered_on_again() {
    let mut world = World::new(annotated("on-failure:2"));
    world.settle();
    assert!(wait_after_exit(&mut world, 1).is_some());
    assert!(wait_after_exit(&mut world, 1).is_some());
    assert_eq!(wait_after_exit(&mut world, 1), None);
    world.desired.power = Power::Restart("1".into());
    world.settle();
    assert_eq!(world.running(), ["web"]);
    assert!(wait_after_exit(&mut world, 1).is_some(), "the count starts anew");
}

#[test]
fn dockers_back_off_starts_at_a_tenth_of_a_second() {
    let mut world = World::new(annotated("always"));
    world.settle();
    wait_after_exit(&mut world, 1);
    world.exit("web", 1);
    let Step::WaitUntil(due) = step(&world.desired, &world.observed, world.now) else { panic!("should wait") };
    assert_eq!(due.duration_since(world.now).as_millis(), 100);
}

#[test]
fn a_killed_container_stays_down_where_dockers_rules_hold() {
    let kill = |world: &mut World| {
        let desired = world.desired.clone();
        world.observed.hold(&desired, "web", true);
        world.exit("web", 137).settle();
    };
    let mut docker = World::new(annotated("always"));
    docker.settle();
    kill(&mut docker);
    assert!(docker.running().is_empty() && docker.real.sandbox, "down, and kept");
    docker.crash().settle();
    assert!(docker.running().is_empty(), "also over a restart of the agent");
    docker.desired.power = Power::Running("1".into());
    docker.settle();
    assert_eq!(docker.running(), ["web"]);
    docker.exit("web", 1).settle();
    assert_eq!(docker.running(), ["web"], "its rule holds again");
    let mut kubernetes = World::new(single("Always"));
    kubernetes.settle();
    kill(&mut kubernetes);
    assert_eq!(kubernetes.running(), ["web"]);
}

#[test]
fn power_has_a_grace_of_its_own() {
    let mut world = World::new(annotated("always"));
    world.real.deaf.push("web".into());
    world.settle();
    world.desired.power_grace = Some(Duration::from_secs(2));
    let asked = world.now;
    world.desired.power = Power::Stopped;
    world.settle();
    assert!(world.running().is_empty());
    assert_eq!(world.now.duration_since(asked).as_secs(), 2);
    world.desired.power = Power::Restart("1".into());
    world.settle();
    world.desired.power = Power::Restart("2".into());
    let asked = world.now;
    world.run(Duration::from_secs(2));
    assert_eq!((web(&world).starts, world.now.duration_since(asked).as_secs()), (3, 2));
}

#[test]
fn power_stops_keeps_and_starts_again() {
    let mut world = World::new(annotated("unless-stopped"));
    world.settle();
    world.desired.power = Power::Stopped;
    world.settle();
    assert!(world.running().is_empty());
    assert!(world.real.sandbox && world.real.links && world.real.volumes, "the pod stays");
    world.crash().settle();
    assert!(world.running().is_empty(), "stays stopped over a restart of the agent");
    world.desired.power = Power::Running("".into());
    world.settle();
    assert_eq!(world.running(), ["web"]);
}

#[test]
fn power_starts_what_ended_by_itself_when_asked_with_a_new_token() {
    let mut world = World::new(annotated("no"));
    world.settle();
    world.exit("web", 0).settle();
    assert!(world.running().is_empty());
    world.desired.power = Power::Running("1".into());
    world.settle();
    assert_eq!(world.running(), ["web"]);
    world.exit("web", 0).settle();
    assert!(world.running().is_empty(), "one wish is one start");
}

#[test]
fn power_restart_stops_and_starts_once_a_token() {
    let mut world = World::new(annotated("no"));
    world.settle();
    world.desired.power = Power::Restart("7".into());
    world.settle();
    assert_eq!((web(&world).starts, world.running()), (2, vec!["web"]));
    world.settle();
    assert_eq!(web(&world).starts, 2);
}

#[test]
fn a_stop_that_is_taken_back_half_way_ends_in_a_start() {
    let mut world = World::new(annotated("no"));
    world.real.deaf.push("web".into());
    world.settle();
    world.desired.power = Power::Stopped;
    world.run(Duration::from_secs(1));
    assert_eq!(world.running(), ["web"], "still within its grace");
    world.desired.power = Power::Running("".into());
    world.settle();
    assert_eq!(world.running(), ["web"]);
    assert_eq!(web(&world).starts, 2, "was stopped, then started again");
}

#[test]
fn pause_freezes_and_resumes_the_same_process() {
    let mut world = World::new(annotated("always"));
    world.settle();
    world.desired.power = Power::Paused;
    world.settle();
    assert!(matches!(web(&world).state, State::Running { paused: true, .. }));
    world.desired.power = Power::Running("".into());
    world.settle();
    assert!(matches!(web(&world).state, State::Running { paused: false, .. }));
    assert_eq!(web(&world).starts, 1);
}

#[test]
fn a_lost_sandbox_runs_init_containers_again_and_counts_a_restart() {
    let mut world = World::new(full("Always"));
    world.settle();
    let starts = |world: &World, name: &str| world.observed.containers[name].starts;
    assert_eq!((starts(&world, "init"), starts(&world, "web")), (1, 1));
    world.lose_supervisor().settle();
    assert_eq!((starts(&world, "init"), starts(&world, "web"), starts(&world, "side")), (2, 2, 2));
    let order: Vec<&str> = world.log.iter().filter(|line| line.starts_with("Start")).map(String::as_str).collect();
    let last: Vec<bool> =
        ["side", "init", "web"].iter().zip(&order[4..]).map(|(name, line)| line.contains(name)).collect();
    assert_eq!(last, [true; 3], "{order:?}");
}

#[test]
fn a_changed_image_restarts_that_container_only() {
    let mut world = World::new(full("Always"));
    world.settle();
    for wanted in world.desired.containers.iter_mut().filter(|wanted| &*wanted.name == "web") {
        wanted.image = "w:2".into();
    }
    world.settle();
    let seen = web(&world);
    assert_eq!((seen.starts, &*seen.image.as_ref().unwrap().reference), (2, "w:2"));
    assert_eq!(world.observed.containers["log"].starts, 1);
}

#[test]
fn gates_hold_the_first_start_only() {
    let mut world = World::new(single("Always"));
    world.desired.gate = Gate::Waiting("db".into());
    world.settle();
    assert!(world.running().is_empty() && world.real.sandbox && world.real.links, "prepared but not started");
    world.desired.gate = Gate::Open;
    world.settle();
    world.desired.gate = Gate::Waiting("db".into());
    world.exit("web", 1).settle();
    assert_eq!(world.running(), ["web"]);
}

#[test]
fn a_deadline_ends_the_pod() {
    let mut world = World::new(single("Never"));
    world.desired.active_deadline = Some(Duration::from_secs(60));
    world.settle();
    assert!(world.running().is_empty());
    assert_eq!(world.observed.ending.as_ref().unwrap().reason, "DeadlineExceeded");
    assert!(world.now >= at(60) && world.real.object);
}
