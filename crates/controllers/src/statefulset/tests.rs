use std::sync::Arc;

use serde_json::{Value, json};

use super::plan::plan;
use super::*;
use crate::fixtures::{Owned, merge, noon, settle, view, views};
use crate::plan::Write;

struct World {
    owned: Owned,
    claims: BTreeSet<String>,
    /// Every creation and deletion of a pod, in order.
    log: Vec<String>,
}

impl std::ops::Deref for World {
    type Target = Owned;
    fn deref(&self) -> &Owned {
        &self.owned
    }
}

impl std::ops::DerefMut for World {
    fn deref_mut(&mut self) -> &mut Owned {
        &mut self.owned
    }
}

impl World {
    fn new(replicas: i32, spec: Value) -> Self {
        let mut set = json!({
            "kind": "StatefulSet",
            "metadata": { "name": "db", "namespace": "shop", "uid": "s", "generation": 1 },
            "spec": {
                "replicas": replicas, "serviceName": "dbs", "selector": { "matchLabels": { "app": "db" } },
                "template": { "metadata": { "labels": { "app": "db" } }, "spec": { "containers": [{ "name": "c", "image": "v1" }], "volumes": [{ "name": "data", "emptyDir": {} }] } },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"] } }],
            },
        });
        merge(&mut set, &json!({ "spec": spec }));
        World { owned: Owned::new(set), claims: BTreeSet::new(), log: vec![] }
    }

    fn turn(&mut self) -> Plan {
        let look = View {
            set: Arc::new(view(self.object.clone())),
            pods: views(&self.pods),
            revisions: views(&self.revisions),
            claims: self.claims.clone(),
        };
        let plan = plan(&look, noon());
        for write in &plan.writes {
            match write {
                Write::Create { resource, object, .. } if resource.kind == "PersistentVolumeClaim" => {
                    self.claims.insert(object["metadata"]["name"].as_str().unwrap().into());
                }
                write => {
                    let done = self.carry_out(write);
                    self.log.extend(done);
                }
            }
        }
        plan
    }

    fn settle(&mut self) {
        settle(
            self,
            |world| world.owned.clone(),
            |world| {
                world.turn();
                world.ready();
            },
        );
    }

    fn images(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut images: Vec<_> = self
            .pods
            .iter()
            .map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["containers"][0]["image"])))
            .collect();
        images.sort();
        images
    }

    fn image(&mut self, image: &str) {
        self.object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        self.log.clear();
    }
}

#[test]
fn pods_come_in_order_with_names_and_volumes_of_their_own() {
    let mut world = World::new(2, json!({}));
    world.turn();
    world.turn();
    assert_eq!(world.log, ["+db-0"], "the second waits for the first");
    world.settle();
    assert_eq!(world.log, ["+db-0", "+db-1"]);
    let pod = &world.pods[1];
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-1"), &json!("dbs")));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data-db-1" } }])
    );
    assert_eq!(pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"], "db-1");
    assert_eq!(world.claims, BTreeSet::from(["data-db-0".into(), "data-db-1".into()]));
    let status = &world.object["status"];
    assert_eq!((&status["readyReplicas"], &status["currentRevision"]), (&json!(2), &status["updateRevision"]));
}

#[test]
fn a_lost_pod_comes_back_under_its_name_and_shrinking_takes_the_highest() {
    let mut world = World::new(3, json!({}));
    world.settle();
    world.pods.remove(1);
    world.log.clear();
    world.settle();
    assert_eq!(world.log, ["+db-1"]);
    assert_eq!(world.claims.len(), 3, "with the claim it had");
    world.object["spec"]["replicas"] = 1.into();
    world.log.clear();
    world.turn();
    assert_eq!(world.log, ["-db-2"], "one at a time");
    world.settle();
    assert_eq!(world.log, ["-db-2", "-db-1"]);
    world.pods[0]["status"]["phase"] = "Failed".into();
    world.log.clear();
    world.settle();
    assert_eq!(world.log, ["-db-0", "+db-0"]);
}

#[test]
fn parallel_sets_do_not_wait() {
    let mut world = World::new(3, json!({ "podManagementPolicy": "Parallel" }));
    world.turn();
    assert_eq!(world.log, ["+db-0", "+db-1", "+db-2"]);
    world.settle();
    world.object["spec"]["replicas"] = 0.into();
    world.log.clear();
    world.turn();
    assert_eq!(world.log, ["-db-2", "-db-1", "-db-0"]);
}

#[test]
fn updates_go_from_the_highest_down_to_the_partition() {
    let mut world =
        World::new(3, json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } }));
    world.settle();
    world.image("v2");
    world.turn();
    world.turn();
    world.turn();
    assert_eq!(world.log, ["-db-2", "+db-2"], "the next waits until this one is ready");
    world.settle();
    assert_eq!(world.log, ["-db-2", "+db-2", "-db-1", "+db-1"]);
    world.pods.retain(|pod| pod["metadata"]["name"] != "db-0");
    world.settle();
    assert_eq!(world.images()[0], ("db-0".into(), "v1".into()), "below the partition the former template rules");
    world.object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0.into();
    world.settle();
    assert!(world.images().iter().all(|(_, image)| image == "v2"));
    assert_eq!(world.object["status"]["currentRevision"], world.object["status"]["updateRevision"]);
    assert_eq!(world.revisions.len(), 2);
}

#[test]
fn on_delete_waits_for_hands() {
    let mut world = World::new(1, json!({ "updateStrategy": { "type": "OnDelete" } }));
    world.settle();
    world.image("v2");
    world.settle();
    assert!(world.log.is_empty());
    world.pods.clear();
    world.settle();
    assert_eq!(world.images(), [("db-0".to_owned(), "v2".to_owned())]);
}
