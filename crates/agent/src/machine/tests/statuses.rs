//! What the API is told.

use std::time::Duration;

use naru_api::k8s::api::core::v1::{ContainerStatus, PodStatus};

use serde_json::json;

use super::world::{World, full, pod, single};
use crate::machine::{self, Effect, EffectError, Exit, Gate, StatusInput, status};

fn project(world: &World) -> PodStatus {
    status(&StatusInput {
        tested: &[],
        desired: &world.desired,
        observed: &world.observed,
        conditions: &[],
        readiness_gates: &[],
        pod: "n/p",
        host: &["192.0.2.1".parse().unwrap()],
        generation: Some(1),
        qos: "BestEffort",
        now: world.now,
    })
}

fn container<'a>(status: &'a PodStatus, name: &str) -> &'a ContainerStatus {
    let lists = [&status.container_statuses, &status.init_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == name).expect("such a container")
}

fn waiting(status: &ContainerStatus) -> &str {
    status.state.as_ref().unwrap().waiting.as_ref().and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default()
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> (&'a str, &'a str) {
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == kind).expect("such a condition");
    (&found.status, found.reason.as_deref().unwrap_or_default())
}

#[test]
fn a_pod_goes_from_creating_to_ready() {
    let mut world = World::new(single("Always"));
    let before = project(&world);
    assert_eq!((before.phase.as_deref(), waiting(container(&before, "web"))), (Some("Pending"), "ContainerCreating"));
    assert_eq!(condition(&before, "Ready"), ("False", "ContainersNotReady"));
    world.settle();
    let after = project(&world);
    assert_eq!((after.phase.as_deref(), after.pod_ip.as_deref()), (Some("Running"), Some("10.42.0.2")));
    let web = container(&after, "web");
    assert!(web.ready && web.started == Some(true) && web.restart_count == 0);
    for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"] {
        assert_eq!(condition(&after, kind).0, "True", "{kind}");
    }
}

#[test]
fn init_containers_show_what_is_missing() {
    let mut world = World::new(full("Always"));
    world.real.ends.clear();
    world.settle();
    let status = project(&world);
    assert_eq!((status.phase.as_deref(), waiting(container(&status, "web"))), (Some("Pending"), "PodInitializing"));
    assert_eq!(condition(&status, "Initialized"), ("False", "ContainersNotInitialized"));
}

#[test]
fn a_crash_loop_is_named_as_such() {
    let mut world = World::new(single("Always"));
    world.settle();
    world.exit("web", 3).settle();
    world.exit("web", 4);
    let status = project(&world);
    let web = container(&status, "web");
    assert_eq!((waiting(web), web.restart_count, web.ready), ("CrashLoopBackOff", 1, false));
    let last = web.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (4, Some("Error")));
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn finished_pods_say_how_they_ended() {
    for (code, phase, reason) in [(0, "Succeeded", "PodCompleted"), (2, "Failed", "PodFailed")] {
        let mut world = World::new(single("Never"));
        world.settle();
        world.exit("web", code).settle();
        let status = project(&world);
        assert_eq!(status.phase.as_deref(), Some(phase));
        assert_eq!(condition(&status, "Ready"), ("False", reason));
        let ended = container(&status, "web").state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!(ended.exit_code, code);
    }
}

#[test]
fn a_failed_init_container_fails_the_pod_that_never_restarts() {
    let mut world = World::new(full("Never"));
    world.real.ends.insert("init".into(), 9);
    world.settle();
    assert_eq!(project(&world).phase.as_deref(), Some("Failed"));
    assert!(!world.real.sandbox);
}

#[test]
fn out_of_memory_is_named() {
    let mut world = World::new(single("Never"));
    world.settle();
    let exit = Exit { reason: "OOMKilled", ..Exit::lost("", None, world.now) };
    world.observed.exited(&world.desired.clone(), "web", 1, exit);
    let status = project(&world);
    let ended = container(&status, "web").state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!(ended.reason.as_deref(), Some("OOMKilled"));
}

#[test]
fn failed_pulls_back_off() {
    let mut world = World::new(single("Always"));
    let desired = world.desired.clone();
    let pull = Effect::Pull { container: "web".into() };
    for expected in ["ErrImagePull", "ImagePullBackOff"] {
        world.observed.apply(&desired, &pull, Err(EffectError::new("ErrImagePull", "no such image")), world.now);
        let status = project(&world);
        assert_eq!(waiting(container(&status, "web")), expected);
        assert!(
            container(&status, "web")
                .state
                .as_ref()
                .unwrap()
                .waiting
                .as_ref()
                .unwrap()
                .message
                .as_ref()
                .unwrap()
                .contains("no such image")
        );
    }
    world.run(Duration::from_secs(60));
    assert_eq!(world.running(), ["web"], "pulled once the registry answered");
}

#[test]
fn a_program_that_cannot_be_executed_is_an_ended_attempt() {
    let mut world = World::new(single("Never"));
    world.settle();
    let mut exit = Exit::lost("exec /nope: no such file or directory", None, world.now);
    (exit.code, exit.reason) = (127, "StartError");
    let error = EffectError { reason: "StartError", message: "x".into(), exit: Some(Box::new(exit)) };
    let start = Effect::Start { container: "web".into(), attempt: 1 };
    world.observed.exited(&world.desired.clone(), "web", 1, Exit::lost("", None, world.now));
    world.observed.apply(&world.desired.clone(), &start, Err(error), world.now);
    let status = project(&world);
    let ended = container(&status, "web").state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (127, Some("StartError")));
}

#[test]
fn a_closed_gate_explains_the_wait() {
    let mut world = World::new(single("Always"));
    world.desired.gate = Gate::Waiting("waiting for service \"db\" to be healthy".into());
    world.settle();
    let status = project(&world);
    assert_eq!(waiting(container(&status, "web")), "WaitingForDependency");
}

#[test]
fn a_container_held_down_by_power_keeps_its_pod_running() {
    let mut world = World::new(single("Always"));
    world.settle();
    world.desired.power = crate::machine::Power::Stopped;
    world.settle();
    let status = project(&world);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(condition(&status, "Ready").0, "False");
}

#[test]
fn a_sandbox_that_cannot_be_made_is_told_and_tried_ever_less_often() {
    let mut world = World::new(single("Always"));
    world.real.refused = 7;
    world.run(Duration::ZERO);
    let told = project(&world);
    let state = container(&told, "web").state.clone().unwrap().waiting.unwrap();
    assert_eq!((state.reason.as_deref(), state.message.as_deref()), (Some("ContainerCreating"), Some("no group")));
    assert_eq!(condition(&told, "PodReadyToStartContainers"), ("False", "FailedCreatePodSandBox"));
    let began = world.now;
    let mut waits = Vec::new();
    while world.real.refused > 0 {
        let before = (world.now, world.real.refused);
        while world.real.refused == before.1 {
            world.run(Duration::from_secs(1));
            if world.real.refused == before.1 {
                world.later(1);
            }
            // What changes elsewhere in the namespace does not hurry it.
            world.observed.poke(world.now);
        }
        waits.push(world.now.duration_since(before.0).as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30], "since {began}");
    world.settle();
    assert_eq!(condition(&project(&world), "PodReadyToStartContainers"), ("True", ""));
    assert_eq!(world.running(), ["web"]);
    // What ran before waits for its sandbox with the reason, not as if it had ended for good.
    world.real.refused = 1;
    world.lose_supervisor().run(Duration::ZERO);
    assert_eq!(waiting(container(&project(&world), "web")), "ContainerCreating");
    world.settle();
    assert_eq!(world.running(), ["web"]);
}

#[test]
fn a_pod_whose_data_is_in_use_is_prepared_but_not_started() {
    let mut world = World::new(full("Always"));
    world.desired.hold = Some("waits until pod old".into());
    world.settle();
    assert!(world.running().is_empty() && world.real.sandbox && world.real.volumes, "{:?}", world.log);
    let told = project(&world);
    for name in ["web", "init", "side"] {
        let state = container(&told, name).state.clone().unwrap().waiting.unwrap();
        assert_eq!(state.message.as_deref(), Some("waits until pod old"), "{name}");
    }
    world.desired.hold = None;
    world.settle();
    assert_eq!(world.running(), ["log", "side", "web"]);
    // Who runs already shared it all the time: a restart does not ask again.
    world.desired.hold = Some("waits until pod old".into());
    world.exit("web", 1).settle();
    assert_eq!(world.running(), ["log", "side", "web"]);
}

#[test]
fn an_unhealthy_container_is_told_by_a_condition_while_dockers_rules_hold() {
    let sick = |annotation: &str| {
        let mut pod = pod(json!({"restartPolicy": "Always", "containers": [
            {"name": "web", "image": "w", "startupProbe": {"exec": {"command": ["t"]}}}]}));
        pod.metadata.annotations = Some([(annotation.to_owned(), "no".to_owned())].into());
        let mut world = World::new(machine::desired(&pod, Gate::Open));
        world.settle();
        world.observed.examined(&world.desired, "web", 1, Err("exit code 1:\nno table".to_owned()));
        world
    };
    let told = |world: &World| {
        let status = project(world);
        let found = status.conditions.iter().flatten().find(|condition| condition.type_ == "naru.io/Unhealthy");
        found.map(|condition| (condition.status.clone(), condition.message.clone().unwrap_or_default()))
    };
    assert_eq!(told(&sick("other")), None, "Kubernetes has no such state");
    let said = Some(("True".to_owned(), "web: exit code 1: no table".to_owned()));
    let mut world = sick("naru.io/restart");
    assert_eq!(told(&world), said);
    assert_eq!(world.running(), ["web"], "it is left running");
    // A restart of the agent forgets nothing.
    let status = project(&world);
    world.crash();
    world.observed = machine::adopt(&world.desired, Some(&world.record()), Some(&status), None, world.now);
    assert_eq!(told(&world), said);
    world.observed.examined(&world.desired, "web", 7, Ok(()));
    assert_eq!(told(&world), said, "the word of another attempt");
    world.observed.examined(&world.desired, "web", 1, Ok(()));
    assert_eq!(told(&world), None);
    world.observed.examined(&world.desired, "web", 1, Err("again".to_owned()));
    world.exit("web", 1);
    assert_eq!(told(&world), None, "what has ended is not unhealthy");
}
