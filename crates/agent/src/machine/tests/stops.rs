//! How containers are stopped.

use std::time::Duration;

use serde_json::json;

use super::world::{World, full, pod, single};
use crate::machine::{self, Effect, Gate, Outcome, State, Why};

fn position(world: &World, text: &str) -> usize {
    world.log.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text} is not in {:?}", world.log))
}

#[test]
fn a_stop_runs_the_hook_then_the_signal_and_kills_only_the_deaf() {
    let mut world = World::new(full("Always"));
    world.real.deaf.push("log".into());
    world.settle();
    let asked = world.now;
    world.delete(30).settle();
    assert!(position(&world, "PreStop") < position(&world, "Terminate { container: \"web\""));
    assert!(!world.log.iter().any(|line| line.contains("Kill { container: \"web\"")));
    assert!(world.log.iter().any(|line| line.contains("Kill { container: \"log\"")));
    assert_eq!(world.now.duration_since(asked).as_secs(), 30);
}

#[test]
fn sidecars_stop_after_the_applications() {
    let mut world = World::new(full("Always"));
    world.settle();
    world.delete(30).settle();
    let side = position(&world, "Terminate { container: \"side\"");
    assert!(position(&world, "Terminate { container: \"web\"") < side);
    assert!(position(&world, "Terminate { container: \"log\"") < side);
}

#[test]
fn a_forced_deletion_kills_at_once() {
    let mut world = World::new(full("Always"));
    world.real.deaf.push("web".into());
    world.settle();
    let asked = world.now;
    world.delete(0).settle();
    assert!(world.is_gone());
    assert_eq!(world.now, asked);
    assert!(!world.log.iter().any(|line| line.contains("PreStop") || line.contains("Terminate")));
}

#[test]
fn a_shorter_grace_hurries_a_stop_under_way() {
    let mut world = World::new(single("Always"));
    world.real.deaf.push("web".into());
    world.settle();
    let asked = world.now;
    world.delete(300).run(Duration::from_secs(5));
    world.delete(2).settle();
    assert!(world.is_gone());
    assert!(world.now.duration_since(asked).as_secs() <= 10);
}

#[test]
fn an_unhealthy_container_is_stopped_and_restarted() {
    let mut world = World::new(single("Always"));
    world.settle();
    let stop = Effect::BeginStop {
        container: "web".into(),
        why: Why::Unhealthy("probe".into()),
        grace: Duration::from_secs(3),
    };
    world.observed.apply(&world.desired.clone(), &stop, Ok(Outcome::Done), world.now);
    world.settle();
    let seen = &world.observed.containers["web"];
    assert!(matches!(seen.state, State::Running { .. }));
    assert_eq!((seen.starts, seen.last.as_ref().unwrap().why.clone()), (2, Some(Why::Unhealthy("probe".into()))));
}

#[test]
fn an_unhealthy_container_of_a_pod_that_never_restarts_stays_down() {
    let mut world = World::new(single("Never"));
    world.settle();
    let stop = Effect::BeginStop { container: "web".into(), why: Why::Unhealthy("x".into()), grace: Duration::ZERO };
    world.observed.apply(&world.desired.clone(), &stop, Ok(Outcome::Done), world.now);
    world.settle();
    assert!(world.running().is_empty());
}

#[test]
fn an_unhealthy_container_comes_back_where_dockers_rules_hold() {
    let mut pod = pod(json!({"restartPolicy": "Always", "containers": [{"name": "web", "image": "w"}]}));
    pod.metadata.annotations = Some([("naru.io/restart".to_owned(), "no".to_owned())].into());
    let mut world = World::new(machine::desired(&pod, Gate::Open));
    world.settle();
    for starts in 2..5 {
        let stop =
            Effect::BeginStop { container: "web".into(), why: Why::Unhealthy("x".into()), grace: Duration::ZERO };
        world.observed.apply(&world.desired.clone(), &stop, Ok(Outcome::Done), world.now);
        let stopped = world.now;
        world.settle();
        assert_eq!((world.running(), world.observed.containers["web"].starts), (vec!["web"], starts));
        let waited = world.now.duration_since(stopped).as_millis();
        assert_eq!(waited, [0, 100, 200][starts as usize - 2], "with a back-off");
    }
    // Also when the agent dies while it waits, or before it knew of the end.
    let stop = Effect::BeginStop { container: "web".into(), why: Why::Unhealthy("x".into()), grace: Duration::ZERO };
    world.observed.apply(&world.desired.clone(), &stop, Ok(Outcome::Done), world.now);
    world.run(Duration::from_millis(1));
    assert!(world.running().is_empty(), "backs off");
    world.crash().settle();
    assert_eq!(world.running(), ["web"]);
    world.exit("web", 1).settle();
    assert!(world.running().is_empty(), "what ends by itself follows its rule");
}

#[test]
fn a_finished_pod_stops_its_sidecars() {
    let mut world = World::new(full("Never"));
    world.settle();
    world.exit("web", 0).exit("log", 0).settle();
    assert!(world.running().is_empty() && !world.real.sandbox && !world.real.links);
    assert!(world.real.object && world.real.folder);
}
