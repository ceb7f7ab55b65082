use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::plan;
use super::*;
use crate::fixtures::{at, merge, view};
use crate::plan::Write;

/// A Job and its pods as JSON; plans are applied as the server would.
struct World {
    job: Value,
    pods: Vec<Value>,
    now: i64,
    created: usize,
    deleted: bool,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut job = json!({
            "metadata": { "name": "j", "namespace": "shop", "uid": "j", "resourceVersion": "1" },
            "spec": { "template": { "metadata": { "labels": { "job-name": "j" } }, "spec": { "containers": [{ "name": "c" }], "restartPolicy": "Never" } } },
            "status": {},
        });
        merge(&mut job, &json!({ "spec": spec }));
        World { job, pods: vec![], now: 0, created: 0, deleted: false }
    }

    fn turn(&mut self) -> Plan {
        let pods = self.pods.iter().map(|pod| Arc::new(view(pod.clone()))).collect();
        let look = View { job: Arc::new(view(self.job.clone())), pods };
        let plan = plan(&look, at(self.now).parse::<Timestamp>().unwrap());
        for write in &plan.writes {
            match write {
                Write::Create { object, .. } => {
                    self.created += 1;
                    let mut pod = object.clone();
                    let name = format!("p{}", self.created);
                    merge(
                        &mut pod,
                        &json!({ "metadata": { "name": name, "uid": name }, "status": { "phase": "Running" } }),
                    );
                    self.pods.push(pod);
                }
                Write::Patch { resource, patch, .. } if resource.kind == "Job" => merge(&mut self.job, patch),
                Write::Patch { key, patch, .. } => {
                    let pod = self.pods.iter_mut().find(|pod| pod["metadata"]["name"] == *key.name).unwrap();
                    merge(pod, patch);
                }
                Write::Delete { resource, .. } if resource.kind == "Job" => self.deleted = true,
                Write::Delete { key, .. } => {
                    let pod = self.pods.iter_mut().find(|pod| pod["metadata"]["name"] == *key.name).unwrap();
                    pod["metadata"]["deletionTimestamp"] = at(self.now).into();
                }
                Write::Post { .. } | Write::Put { .. } => unreachable!("nothing is posted"),
            }
        }
        // What is to be deleted, has stopped and is held by nobody goes.
        self.pods.retain(|pod| {
            pod["metadata"].get("deletionTimestamp").is_none() || pod["metadata"].get("finalizers").is_some()
        });
        plan
    }

    fn settle(&mut self) {
        for _ in 0..60 {
            let before = (self.job.clone(), self.pods.clone());
            self.turn();
            if before == (self.job.clone(), self.pods.clone()) {
                return;
            }
        }
        panic!("it never settles: {:#}", self.job);
    }

    fn end(&mut self, count: usize, phase: &str) {
        let running = self
            .pods
            .iter_mut()
            .filter(|pod| pod["status"]["phase"] == "Running" && pod["metadata"].get("deletionTimestamp").is_none());
        for pod in running.take(count) {
            pod["status"] = json!({ "phase": phase, "containerStatuses": [{ "state": { "terminated": { "exitCode": 1, "finishedAt": at(self.now) } } }] });
        }
    }

    fn running(&self) -> usize {
        self.pods
            .iter()
            .filter(|pod| pod["status"]["phase"] == "Running" && pod["metadata"].get("deletionTimestamp").is_none())
            .count()
    }

    fn conditions(&self) -> Vec<(String, String)> {
        let conditions = self.job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        conditions.iter().filter(|c| c["status"] == "True").map(|c| (text(&c["type"]), text(&c["reason"]))).collect()
    }

    fn has(&self, kind: &str) -> bool {
        self.conditions().iter().any(|(known, _)| known == kind)
    }
}

#[test]
fn a_job_runs_its_completions_in_parallel_and_completes() {
    let mut world = World::new(json!({ "completions": 5, "parallelism": 2 }));
    world.settle();
    assert_eq!(world.running(), 2);
    assert_eq!(world.job["status"]["startTime"], at(0));
    for _ in 0..2 {
        world.end(2, "Succeeded");
        world.settle();
    }
    assert_eq!((world.running(), &world.job["status"]["succeeded"]), (1, &json!(4)), "no more than are still missing");
    world.end(1, "Succeeded");
    world.now = 7;
    world.settle();
    let status = &world.job["status"];
    assert_eq!(
        (&status["succeeded"], &status["completionTime"], status.get("active")),
        (&json!(5), &json!(at(7)), None)
    );
    assert!(world.has("Complete") && world.has("SuccessCriteriaMet"));
    assert!(world.pods.iter().all(|pod| pod["metadata"].get("finalizers").is_none()), "nothing is held any more");
}

#[test]
fn failures_pause_and_end_it_beyond_the_limit() {
    let mut world = World::new(json!({ "completions": 1, "backoffLimit": 1 }));
    world.settle();
    world.end(1, "Failed");
    world.settle();
    assert_eq!((world.running(), world.turn().again), (0, Some(at(10).parse().unwrap())), "the first pause");
    world.now = 10;
    world.settle();
    assert_eq!(world.running(), 1);
    world.end(1, "Failed");
    world.settle();
    assert_eq!(world.conditions().last().unwrap(), &("Failed".into(), "BackoffLimitExceeded".into()));
    assert_eq!(world.job["status"]["failed"], 2);
}

#[test]
fn restarts_in_place_count_too() {
    let mut world = World::new(
        json!({ "completions": 1, "backoffLimit": 2, "template": { "spec": { "restartPolicy": "OnFailure" } } }),
    );
    world.settle();
    world.pods[0]["status"]["containerStatuses"] = json!([{ "restartCount": 2 }]);
    world.settle();
    assert_eq!(world.conditions().last().unwrap(), &("Failed".into(), "BackoffLimitExceeded".into()));
    assert!(world.pods.is_empty());
}

#[test]
fn a_deadline_ends_what_runs() {
    let mut world = World::new(json!({ "completions": 3, "parallelism": 3, "activeDeadlineSeconds": 30 }));
    world.settle();
    assert_eq!(world.turn().again, Some(at(30).parse().unwrap()));
    world.now = 30;
    world.settle();
    assert_eq!((world.running(), world.conditions().last().unwrap().1.as_str()), (0, "DeadlineExceeded"));
}

#[test]
fn every_index_succeeds_once() {
    let mut world = World::new(json!({ "completions": 3, "parallelism": 3, "completionMode": "Indexed" }));
    world.settle();
    let hosts: Vec<_> = world.pods.iter().map(|pod| pod["spec"]["hostname"].clone()).collect();
    assert_eq!(hosts, ["j-0", "j-1", "j-2"]);
    let env = &world.pods[1]["spec"]["containers"][0]["env"][0];
    assert_eq!(
        env["valueFrom"]["fieldRef"]["fieldPath"],
        "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    );
    world.pods[1]["status"]["phase"] = "Failed".into();
    world.settle();
    world.now = 100;
    world.settle();
    let retried = world.pods.last().unwrap();
    assert_eq!(retried["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"], "1");
    world.end(3, "Succeeded");
    world.settle();
    assert_eq!(world.job["status"]["completedIndexes"], "0-2");
    assert!(world.has("Complete"));
}

#[test]
fn a_suspended_job_has_no_pods_until_it_is_resumed() {
    let mut world = World::new(json!({ "completions": 2, "parallelism": 2, "suspend": true, "backoffLimit": 6 }));
    world.settle();
    assert_eq!((world.created, world.conditions()), (0, vec![("Suspended".into(), "JobSuspended".into())]));
    world.job["spec"]["suspend"] = false.into();
    world.settle();
    assert_eq!((world.running(), world.has("Suspended")), (2, false));
}

#[test]
fn a_work_queue_ends_with_its_first_success() {
    let mut world = World::new(json!({ "parallelism": 3 }));
    world.settle();
    world.end(1, "Succeeded");
    world.settle();
    assert_eq!((world.running(), world.created, world.has("Complete")), (2, 3, false), "the others may finish");
    world.end(2, "Succeeded");
    world.settle();
    assert!(world.has("Complete"));
}

#[test]
fn a_finished_job_goes_when_its_time_is_up_and_never_changes_before() {
    let mut world = World::new(json!({ "completions": 1, "ttlSecondsAfterFinished": 60 }));
    world.settle();
    world.end(1, "Succeeded");
    world.settle();
    world.pods.clear();
    assert_eq!(world.turn().again, Some(at(60).parse().unwrap()));
    assert_eq!(world.created, 1);
    world.now = 60;
    world.turn();
    assert!(world.deleted);
}

#[test]
fn a_job_that_is_deleted_holds_no_pods() {
    let mut world = World::new(json!({ "completions": 1 }));
    world.settle();
    world.job["metadata"]["deletionTimestamp"] = at(0).into();
    world.turn();
    assert!(world.pods[0]["metadata"].get("finalizers").is_none());
}

#[test]
fn jobs_of_others_are_left_alone() {
    let mut foreign = World::new(json!({ "managedBy": "example.com/queue" }));
    assert!(foreign.turn().writes.is_empty());
}

proptest! {
    /// Whatever becomes of its pods, and whenever the controller stops in between, each end is counted once.
    #[test]
    fn every_end_is_counted_once(steps in prop::collection::vec((0..4_u8, 0..3_usize, 0..4_usize), 1..25)) {
        let mut world = World::new(json!({ "completions": 8, "parallelism": 3, "backoffLimit": 1000 }));
        let (mut well, mut badly) = (0, 0);
        world.settle();
        for (action, count, turns) in steps {
            world.now += 500;
            let running = world.running().min(count);
            match action {
                0 => { world.end(running, "Succeeded"); well += running; }
                1 => { world.end(running, "Failed"); badly += running; }
                2 => {
                    // Deleted by hand: held by its finalizer.
                    let victims = world.pods.iter_mut().filter(|pod| pod["status"]["phase"] == "Running" && pod["metadata"].get("deletionTimestamp").is_none());
                    for pod in victims.take(running) {
                        pod["metadata"]["deletionTimestamp"] = at(0).into();
                        badly += 1;
                    }
                }
                // Finished and counted pods vanish.
                _ => world.pods.retain(|pod| pod["metadata"].get("finalizers").is_some()),
            }
            for _ in 0..turns {
                world.turn();
            }
        }
        world.now += 5000;
        world.settle();
        let count = |field: &str| world.job["status"][field].as_u64().unwrap_or(0) as usize;
        prop_assert_eq!((count("succeeded"), count("failed")), (well, badly));
    }
}

impl World {
    fn indexed(spec: Value) -> Self {
        let mut world = World::new(json!({ "completionMode": "Indexed", "completions": 3, "parallelism": 3 }));
        merge(&mut world.job, &json!({ "spec": spec }));
        world
    }

    /// Ends the running pod of an index with an exit code.
    fn end_index(&mut self, index: usize, code: i64) {
        let label = "batch.kubernetes.io/job-completion-index";
        let now = at(self.now);
        let pod = self.pods.iter_mut().find(|pod| {
            pod["metadata"]["labels"][label] == index.to_string().as_str() && pod["status"]["phase"] == "Running"
        });
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        pod.expect("it runs")["status"] = json!({ "phase": phase, "containerStatuses": [{ "name": "c", "state": { "terminated": { "exitCode": code, "finishedAt": now } } }] });
    }

    /// Lets the pauses after failures pass.
    fn later(&mut self) {
        self.now += 1000;
        self.settle();
    }
}

#[test]
fn each_index_has_failures_of_its_own() {
    let mut world = World::indexed(json!({ "backoffLimitPerIndex": 1 }));
    world.settle();
    world.end_index(0, 1);
    world.settle();
    assert_eq!(world.running(), 2, "the index pauses for itself");
    let kept = world.pods.iter().find(|pod| pod["status"]["phase"] == "Failed").expect("it stays");
    assert!(kept["metadata"].get("finalizers").is_some(), "who knows how often it failed is kept until it is replaced");
    world.later();
    assert_eq!(world.running(), 3);
    let counts: Vec<_> = world
        .pods
        .iter()
        .filter(|pod| pod["status"]["phase"] == "Running")
        .map(|pod| pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"].clone())
        .collect();
    assert!(counts.contains(&json!("1")) && counts.contains(&json!("0")), "{counts:?}");
    world.end_index(0, 1);
    world.end_index(1, 0);
    world.later();
    assert_eq!((&world.job["status"]["failedIndexes"], world.running()), (&json!("0"), 1), "it has failed for good");
    world.end_index(2, 0);
    world.settle();
    assert_eq!(world.conditions().last().unwrap(), &("Failed".into(), "FailedIndexes".into()));
    assert_eq!(world.job["status"]["completedIndexes"], "1,2");
    assert!(world.pods.iter().all(|pod| pod["metadata"].get("finalizers").is_none()), "nothing is held any more");
}

#[test]
fn too_many_failed_indexes_end_it() {
    let mut world = World::indexed(json!({ "backoffLimitPerIndex": 0, "maxFailedIndexes": 1 }));
    world.settle();
    world.end_index(0, 1);
    world.later();
    assert!(!world.has("Failed"));
    world.end_index(1, 1);
    world.settle();
    world.later();
    assert_eq!(world.conditions().last().unwrap(), &("Failed".into(), "MaxFailedIndexesExceeded".into()));
}

#[test]
fn a_policy_decides_what_a_failure_does() {
    let rule =
        |action: &str, codes: Value| json!({ "action": action, "onExitCodes": { "operator": "In", "values": codes } });
    let policy = json!({ "rules": [
        rule("FailJob", json!([42])),
        rule("Ignore", json!([7])),
        { "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] },
        rule("FailIndex", json!([5])),
    ] });
    let fresh = || {
        let mut world = World::indexed(json!({ "backoffLimitPerIndex": 3, "podFailurePolicy": policy }));
        world.settle();
        world
    };
    let mut world = fresh();
    world.end_index(0, 7);
    world.later();
    assert_eq!((world.job["status"].get("failed"), world.running()), (None, 3), "it does not count and is replaced");
    world.end_index(1, 5);
    world.later();
    assert_eq!((&world.job["status"]["failedIndexes"], world.running()), (&json!("1"), 2));
    let mut world = fresh();
    let evicted = &mut world.pods[0];
    evicted["status"] = json!({ "phase": "Failed", "conditions": [{ "type": "DisruptionTarget", "status": "True" }] });
    world.later();
    assert_eq!((world.job["status"].get("failed"), world.running()), (None, 3));
    let mut world = fresh();
    world.end_index(2, 42);
    world.settle();
    let told = world.job["status"]["conditions"].to_string();
    assert!(told.contains("PodFailurePolicy"), "{told}");
    assert!(
        told.contains("Container c for pod shop/p3 failed with exit code 42 matching FailJob rule at index 0"),
        "{told}"
    );
    assert_eq!(world.running(), 0, "the others are stopped");
}

#[test]
fn some_indexes_may_be_enough() {
    let mut world =
        World::indexed(json!({ "successPolicy": { "rules": [{ "succeededIndexes": "0" }, { "succeededCount": 2 }] } }));
    world.settle();
    world.end_index(1, 0);
    world.settle();
    assert!(!world.has("SuccessCriteriaMet"));
    world.end_index(0, 0);
    world.settle();
    assert_eq!(world.running(), 0, "the last is stopped");
    for pod in &mut world.pods {
        if pod["status"]["phase"] == "Running" {
            pod["status"]["phase"] = "Failed".into();
        }
    }
    world.settle();
    assert!(world.has("Complete"), "{:?}", world.conditions());
    assert!(world.conditions().contains(&("SuccessCriteriaMet".into(), "SuccessPolicy".into())));
}

#[test]
fn a_pod_may_be_replaced_only_when_it_has_ended() {
    for (policy, replaced) in [("Failed", false), ("TerminatingOrFailed", true)] {
        let mut world = World::new(json!({ "completions": 1, "podReplacementPolicy": policy }));
        world.settle();
        world.pods[0]["metadata"]["deletionTimestamp"] = at(0).into();
        world.later();
        assert_eq!(world.running() == 1, replaced, "{policy}");
        assert_eq!(world.job["status"]["terminating"], i64::from(!replaced), "{policy}");
    }
}
