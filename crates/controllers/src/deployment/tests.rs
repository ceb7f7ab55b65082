use std::sync::Arc;

use jiff::Timestamp;
use naru_client::PatchKind;
use serde_json::{Value, json};

use super::plan::plan;
use super::*;
use crate::fixtures::{at, merge, noon, view};
use crate::plan::Write;

/// A small world: one Deployment and its sets as JSON, and pods that become ready when told. It applies plans as the
/// server would and plays the ReplicaSet controller.
struct World {
    deployment: Value,
    sets: Vec<Value>,
    /// Pods by set: (name, ready since, extra status).
    pods: Vec<(String, Value)>,
    now: i64,
    counter: u32,
    /// Pods on their way out stay until told.
    linger: bool,
    notices: Vec<String>,
    /// The most pods there ever were.
    most: usize,
}

fn template(image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": image }] } })
}

impl World {
    fn new(replicas: i32, spec: Value, annotations: Value) -> Self {
        let mut deployment = json!({
            "metadata": { "name": "web", "namespace": "shop", "uid": "d", "generation": 1, "resourceVersion": "1", "annotations": annotations },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template("v1"),
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } } },
        });
        merge(&mut deployment, &json!({ "spec": spec }));
        World { deployment, sets: vec![], pods: vec![], now: 0, counter: 0, linger: false, notices: vec![], most: 0 }
    }

    fn view(&self) -> View {
        let sets: Vec<Arc<ReplicaSet>> = self.sets.iter().map(|set| Arc::new(view(set.clone()))).collect();
        let pods_of = |set: &Arc<ReplicaSet>| {
            let own = self.pods.iter().filter(|(uid, _)| *uid == set.metadata.uid);
            (set.metadata.uid.clone(), own.map(|(_, pod)| Arc::new(view(pod.clone()))).collect())
        };
        let pods = sets.iter().map(pods_of).collect();
        View { deployment: Arc::new(view(self.deployment.clone())), sets, pods, ..View::default() }
    }

    fn time(&self) -> Timestamp {
        at(self.now).parse().unwrap()
    }

    /// One turn of the Deployment controller.
    fn turn(&mut self) -> Plan {
        let plan = plan(&self.view(), self.time());
        for write in &plan.writes {
            self.apply(write);
        }
        self.notices.extend(plan.notices.iter().map(|notice| notice.message.clone()));
        plan
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Create { object, .. } => {
                self.counter += 1;
                let mut set = object.clone();
                let uid = format!("set{}", self.counter);
                merge(
                    &mut set,
                    &json!({ "metadata": { "uid": uid, "generation": 1, "creationTimestamp": at(self.counter.into()), "resourceVersion": "1" } }),
                );
                self.sets.push(set);
            }
            Write::Patch { resource, key, kind, patch, .. } => {
                let sets = &mut self.sets;
                let object = if resource.kind == "Deployment" {
                    &mut self.deployment
                } else {
                    sets.iter_mut().find(|set| set["metadata"]["name"] == *key.name).unwrap()
                };
                let spec = object["spec"].clone();
                if *kind == PatchKind::Json {
                    for operation in patch.as_array().unwrap() {
                        match operation["op"].as_str().unwrap() {
                            "replace" => {
                                *object.pointer_mut(operation["path"].as_str().unwrap()).unwrap() =
                                    operation["value"].clone()
                            }
                            "add" if operation["path"] == "/metadata/resourceVersion" => {
                                assert_eq!(object["metadata"]["resourceVersion"], operation["value"])
                            }
                            _ => {
                                let name =
                                    operation["path"].as_str().unwrap().rsplit('/').next().unwrap().replace("~1", "/");
                                object["metadata"]["annotations"][name] = operation["value"].clone();
                            }
                        }
                    }
                } else {
                    merge(object, patch);
                }
                if object["spec"] != spec {
                    object["metadata"]["generation"] = (object["metadata"]["generation"].as_i64().unwrap() + 1).into();
                }
            }
            Write::Delete { key, .. } => self.sets.retain(|set| set["metadata"]["name"] != *key.name),
            Write::Post { .. } | Write::Put { .. } => unreachable!("nothing is posted"),
        }
    }

    /// The ReplicaSet controller: creates and deletes pods, counts them.
    fn replicate(&mut self) {
        for index in 0..self.sets.len() {
            let set = &self.sets[index];
            let uid = set["metadata"]["uid"].as_str().unwrap().to_owned();
            let wanted = set["spec"]["replicas"].as_u64().unwrap() as usize;
            let active: Vec<usize> = (0..self.pods.len())
                .filter(|i| self.pods[*i].0 == uid && self.pods[*i].1["metadata"].get("deletionTimestamp").is_none())
                .collect();
            for index in active.iter().skip(wanted).rev() {
                if self.linger {
                    self.pods[*index].1["metadata"]["deletionTimestamp"] = at(self.now).into();
                } else {
                    self.pods.remove(*index);
                }
            }
            for _ in active.len()..wanted {
                self.counter += 1;
                let name = format!("p{}", self.counter);
                self.pods
                    .push((uid.clone(), json!({ "metadata": { "name": name }, "status": { "phase": "Running" } })));
            }
        }
        self.most = self.most.max(self.pods.len());
        self.count();
    }

    fn count(&mut self) {
        for set in &mut self.sets {
            let own: Vec<_> = self
                .pods
                .iter()
                .filter(|(uid, pod)| {
                    set["metadata"]["uid"] == **uid && pod["metadata"].get("deletionTimestamp").is_none()
                })
                .collect();
            let ready = own.iter().filter(|(_, pod)| pod["status"]["conditions"][0]["status"] == "True").count();
            set["status"] = json!({ "observedGeneration": set["metadata"]["generation"], "replicas": own.len(), "readyReplicas": ready, "availableReplicas": ready });
        }
    }

    fn ready(&mut self) {
        for (_, pod) in &mut self.pods {
            if pod["status"].get("conditions").is_none() && pod["status"].get("containerStatuses").is_none() {
                pod["status"]["conditions"] =
                    json!([{ "type": "Ready", "status": "True", "lastTransitionTime": at(self.now) }]);
                pod["status"]["startTime"] = at(self.now).into();
            }
        }
        self.count();
    }

    /// Runs both controllers until nothing changes; pods become ready at once.
    fn settle(&mut self) {
        for _ in 0..200 {
            let before = (self.deployment.clone(), self.sets.clone(), self.pods.clone());
            self.turn();
            self.replicate();
            self.ready();
            if before == (self.deployment.clone(), self.sets.clone(), self.pods.clone()) {
                return;
            }
        }
        panic!("it never settles: {:#}", self.deployment);
    }

    fn image(&mut self, image: &str) {
        self.deployment["spec"]["template"] = template(image);
        self.bump();
    }

    fn bump(&mut self) {
        self.deployment["metadata"]["generation"] =
            (self.deployment["metadata"]["generation"].as_i64().unwrap() + 1).into();
    }

    /// The sizes by image.
    fn sizes(&self) -> Vec<(String, i64)> {
        let image =
            |set: &Value| set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        self.sets.iter().map(|set| (image(set), set["spec"]["replicas"].as_i64().unwrap())).collect()
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let conditions = self.deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    }

    fn revision(&self) -> &str {
        self.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap()
    }
}

fn sized(sizes: &[(&str, i64)]) -> Vec<(String, i64)> {
    sizes.iter().map(|(image, size)| ((*image).to_owned(), *size)).collect()
}

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
fn sets_do_not_take_over_what_was_applied() {
    let applied =
        json!({ "naru.io/last-applied": "{}", "kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a" });
    let mut world = World::new(1, json!({}), applied);
    world.settle();
    let names: Vec<&String> = world.sets[0]["metadata"]["annotations"].as_object().unwrap().keys().collect();
    let of_deployments =
        ["desired-replicas", "max-replicas", "revision"].map(|n| format!("deployment.kubernetes.io/{n}"));
    assert_eq!(names, of_deployments.iter().chain(&["team".to_owned()]).collect::<Vec<_>>());
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

#[test]
fn another_objects_name_is_not_taken() {
    let mut world = World::new(1, json!({}), json!({}));
    let mut view = world.view();
    let first = plan(&view, noon());
    let Write::Create { object, .. } = &first.writes[0] else { panic!("creates first") };
    view.taken.insert(object["metadata"]["name"].as_str().unwrap().into());
    let second = plan(&view, noon());
    assert!(second.writes.iter().all(|write| !matches!(write, Write::Create { .. })));
    second.writes.iter().for_each(|write| world.apply(write));
    assert_eq!(world.deployment["status"]["collisionCount"], 1);
    let mut third = world.view();
    third.taken = view.taken;
    assert!(
        matches!(&plan(&third, noon()).writes[0], Write::Create { object: other, .. } if other["metadata"]["name"] != object["metadata"]["name"])
    );
}

#[test]
fn a_successor_waits_for_the_sets_of_its_namesake() {
    let world = World::new(1, json!({}), json!({}));
    let mut view = world.view();
    let Write::Create { object, .. } = &plan(&view, noon()).writes[0] else { panic!("creates first") };
    view.leaving.insert(object["metadata"]["name"].as_str().unwrap().into());
    let waiting = plan(&view, noon());
    assert_eq!(waiting.reason, "waiting for a replica set to be released");
    let text = waiting.to_string();
    assert!(!text.contains("create ") && !text.contains(r#""collisionCount":1"#), "{text}");
}

#[test]
fn sets_are_adopted_and_released_by_the_selector() {
    let mut world = World::new(1, json!({}), json!({}));
    world.settle();
    let mut view = world.view();
    view.orphans = view.sets.clone();
    let mut stray: ReplicaSet = (*view.sets[0]).clone();
    stray.metadata.labels.clear();
    stray.metadata.name = "stray".into();
    view.sets = vec![Arc::new(stray)];
    let text = plan(&view, noon()).to_string();
    assert!(text.contains("adopting and releasing") && text.contains("patch replicasets shop/stray"), "{text}");
    assert!(text.contains(r#""uid":"d""#) && !text.contains("create"), "{text}");
}
