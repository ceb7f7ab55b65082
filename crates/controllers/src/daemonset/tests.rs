use std::sync::Arc;

use serde_json::{Value, json};

use super::plan::plan;
use super::*;
use crate::fixtures::{Owned, at, merge, noon, settle, view, views};

struct World {
    owned: Owned,
    nodes: Vec<Value>,
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
    fn new(nodes: usize, spec: Value) -> Self {
        let mut set = json!({
            "kind": "DaemonSet",
            "metadata": { "name": "ds", "namespace": "shop", "uid": "d", "generation": 1 },
            "spec": { "template": { "metadata": { "labels": { "app": "ds" } }, "spec": { "containers": [{ "name": "c", "image": "v1" }] } } },
        });
        merge(&mut set, &json!({ "spec": spec }));
        let node = |n| json!({ "metadata": { "name": format!("n{n}"), "labels": { "disk": if n == 0 { "ssd" } else { "hdd" } } } });
        World { owned: Owned::new(set), nodes: (0..nodes).map(node).collect() }
    }

    fn turn(&mut self) -> Plan {
        let look = View {
            set: Arc::new(view(self.object.clone())),
            pods: views(&self.pods),
            nodes: views(&self.nodes),
            revisions: views(&self.revisions),
        };
        let plan = plan(&look, noon());
        plan.writes.iter().for_each(|write| drop(self.carry_out(write)));
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

    fn nodes_with_pods(&self) -> Vec<&str> {
        let mut nodes: Vec<_> = self.pods.iter().map(|pod| pod["spec"]["nodeName"].as_str().unwrap()).collect();
        nodes.sort_unstable();
        nodes
    }

    fn count(&self, field: &str) -> i64 {
        self.object["status"][field].as_i64().unwrap_or(0)
    }
}

#[test]
fn every_fitting_node_has_one_pod() {
    let mut world = World::new(3, json!({}));
    world.settle();
    assert_eq!(world.nodes_with_pods(), ["n0", "n1", "n2"]);
    let fields = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    assert_eq!(fields.map(|field| world.count(field)), [3; 5]);
    world.nodes.pop();
    world.pods.retain(|pod| pod["spec"]["nodeName"] != "n2");
    world.nodes.push(json!({ "metadata": { "name": "n9" }, "spec": { "taints": [{ "key": "mine", "effect": "NoSchedule" }, { "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" }] } }));
    world.settle();
    assert_eq!(world.nodes_with_pods(), ["n0", "n1"], "a foreign taint is not borne");
    world.object["spec"]["template"]["spec"]["tolerations"] = json!([{ "key": "mine", "operator": "Exists" }]);
    world.settle();
    assert_eq!(world.nodes_with_pods(), ["n0", "n1", "n9"], "the node's own troubles are");
}

#[test]
fn selectors_choose_nodes_and_pods_leave_those_that_no_longer_fit() {
    let mut world = World::new(3, json!({ "template": { "spec": { "nodeSelector": { "disk": "ssd" } } } }));
    world.settle();
    assert_eq!(world.nodes_with_pods(), ["n0"]);
    world.nodes[1]["metadata"]["labels"]["disk"] = "ssd".into();
    world.nodes[0]["metadata"]["labels"]["disk"] = "hdd".into();
    world.settle();
    assert_eq!(world.nodes_with_pods(), ["n1"]);
}

#[test]
fn a_new_schedule_taint_keeps_what_runs() {
    let mut world = World::new(1, json!({}));
    world.settle();
    world.nodes[0]["spec"]["taints"] = json!([{ "key": "mine", "effect": "NoSchedule" }]);
    world.settle();
    assert_eq!((world.nodes_with_pods().len(), world.count("numberMisscheduled")), (1, 1));
    world.nodes[0]["spec"]["taints"] = json!([{ "key": "mine", "effect": "NoExecute" }]);
    world.settle();
    assert!(world.pods.is_empty());
}

#[test]
fn an_update_replaces_a_bounded_number_at_once() {
    let mut world = World::new(
        4,
        json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "50%" } } }),
    );
    world.settle();
    world.object["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into();
    world.turn();
    assert_eq!(world.pods.len(), 2, "half of four go");
    world.turn();
    assert_eq!(world.pods.len(), 4);
    world.turn();
    let new = |world: &World| world.pods.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == "v2").count();
    assert_eq!(new(&world), 2, "nobody else goes before they are ready");
    world.settle();
    assert_eq!((new(&world), world.count("updatedNumberScheduled"), world.revisions.len()), (4, 4, 2));
    world.object["spec"]["updateStrategy"]["type"] = "OnDelete".into();
    world.object["spec"]["template"]["spec"]["containers"][0]["image"] = "v3".into();
    world.settle();
    assert_eq!(world.count("updatedNumberScheduled"), 0, "only whoever is deleted by hand comes back as new");
}

#[test]
fn failed_pods_and_doubles_go() {
    let mut world = World::new(1, json!({}));
    world.settle();
    let mut double = world.pods[0].clone();
    merge(
        &mut double,
        &json!({ "metadata": { "name": "double", "uid": "double", "creationTimestamp": at(9) }, "status": { "conditions": [] } }),
    );
    world.pods.push(double);
    world.turn();
    assert_eq!(world.pods.len(), 1);
    assert_ne!(world.pods[0]["metadata"]["name"], "double");
    world.pods[0]["status"]["phase"] = "Failed".into();
    world.turn();
    world.turn();
    assert_eq!(world.pods.len(), 1);
    assert_eq!(world.pods[0]["status"]["phase"], "Running");
}

#[test]
fn with_a_surge_the_new_pod_serves_before_the_old_one_goes() {
    let surge = json!({ "maxSurge": 1, "maxUnavailable": 0 });
    let mut world = World::new(3, json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": surge } }));
    world.settle();
    assert_eq!(world.pods.len(), 3, "a surge is for updates alone");
    world.object["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into();
    world.turn();
    world.turn();
    assert_eq!(world.pods.len(), 4, "one node has two, and no more until the new one serves");
    world.ready();
    world.turn();
    let new = |world: &World| world.pods.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == "v2").count();
    assert_eq!((world.pods.len(), new(&world)), (4, 2), "then the old one goes, and the next node gets its second");
    world.settle();
    assert_eq!((new(&world), world.nodes_with_pods().len(), world.count("updatedNumberScheduled")), (3, 3, 3));
    world.object["spec"]["template"]["spec"]["containers"][0]["image"] = "v3".into();
    for pod in &mut world.pods {
        pod["status"]["conditions"] = json!([]);
    }
    world.turn();
    assert_eq!(world.pods.len(), 6, "what does not serve is succeeded at once");
}
