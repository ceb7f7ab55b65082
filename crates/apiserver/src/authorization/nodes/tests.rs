use serde_json::json;

use super::*;

/// Pod `shop/web` is on node `a` and refers to what is called `db`; `shop/far` is on `b`.
struct Small;

impl Facts for Small {
    fn node_of_pod(&self, namespace: &str, name: &str) -> Option<String> {
        match (namespace, name) {
            ("shop", "web") => Some("a".into()),
            ("shop", "far") => Some("b".into()),
            ("shop", "unbound") => Some(String::new()),
            _ => None,
        }
    }

    fn refers(&self, node: &str, _: &str, namespace: &str, name: &str) -> bool {
        (node, namespace, name) == ("a", "shop", "db")
    }

    fn runs(&self, node: &str, image: &str) -> bool {
        (node, image) == ("a", "shop/web:1")
    }
}

fn asked<'a>(verb: &'a str, path: &'a str, namespace: &'a str, name: &'a str) -> Attributes<'a> {
    let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
    let group = if resource == "leases" { "coordination.k8s.io" } else { "" };
    Attributes { verb, group, resource, subresource, namespace, name, path: None }
}

#[test]
fn secrets_are_read_one_by_one_where_a_pod_here_refers_to_them() {
    for kind in ["secrets", "configmaps"] {
        for verb in ["get", "list", "watch"] {
            judge("a", &asked(verb, kind, "shop", "db"), &Small).expect(verb);
            judge("a", &asked(verb, kind, "shop", "other"), &Small).expect_err("not referred to");
            judge("b", &asked(verb, kind, "shop", "db"), &Small).expect_err("another node's");
            judge("a", &asked(verb, kind, "bank", "db"), &Small).expect_err("another namespace's");
            judge("a", &asked(verb, kind, "", ""), &Small).expect_err("all of them");
            judge("a", &asked(verb, kind, "shop", ""), &Small).expect_err("all of a namespace");
        }
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            judge("a", &asked(verb, kind, "shop", "db"), &Small).expect_err(verb);
        }
    }
}

#[test]
fn pods_are_changed_on_their_own_node_only() {
    for (verb, path) in [("patch", "pods/status"), ("delete", "pods"), ("create", "pods/eviction")] {
        judge("a", &asked(verb, path, "shop", "web"), &Small).expect(path);
        judge("a", &asked(verb, path, "shop", "far"), &Small).expect_err(path);
        judge("a", &asked(verb, path, "shop", "unbound"), &Small).expect_err(path);
    }
    judge("a", &asked("deletecollection", "pods", "shop", ""), &Small).expect_err("all of them");
    judge("a", &asked("create", "pods/binding", "shop", "web"), &Small).expect_err("scheduling");
    judge("a", &asked("create", "pods/exec", "shop", "web"), &Small).expect_err("running things");
}

#[test]
fn a_node_and_its_lease_are_its_own() {
    for (path, namespace) in [("nodes", ""), ("nodes/status", ""), ("leases", "kube-node-lease")] {
        judge("a", &asked("patch", path, namespace, "a"), &Small).expect(path);
        judge("a", &asked("patch", path, namespace, "b"), &Small).expect_err(path);
    }
    judge("a", &asked("patch", "leases", "shop", "a"), &Small).expect_err("elsewhere");
    judge("a", &asked("delete", "nodes", "", "b"), &Small).expect_err("removing others");
    judge("a", &asked("patch", "persistentvolumes", "", "v"), &Small).expect("by the change");
    judge("a", &asked("delete", "persistentvolumes", "", "v"), &Small).expect_err("the cluster does");
    for kind in ["persistentvolumes/status", "persistentvolumeclaims/status"] {
        judge("a", &asked("patch", kind, "", "v"), &Small).expect_err(kind);
    }
}

#[test]
fn other_nodes_are_asked_for_images_of_own_pods_only() {
    judge("a", &asked("get", "nodes/proxy", "", "b"), &Small).expect("by its path");
    for verb in ["create", "update", "patch", "delete"] {
        judge("a", &asked(verb, "nodes/proxy", "", "b"), &Small).expect_err(verb);
    }
    let blob = format!("images/blobs/sha256:{}", "0".repeat(64));
    for rest in ["images/offer", &*blob] {
        judge_proxy("a", rest, Some("shop/web:1"), &Small).expect(rest);
        judge_proxy("b", rest, Some("shop/web:1"), &Small).expect_err("another node's");
        judge_proxy("a", rest, Some("shop/db:1"), &Small).expect_err("no pod's");
        judge_proxy("a", rest, Some(""), &Small).expect_err("nothing");
        judge_proxy("a", rest, None, &Small).expect_err("all");
    }
    for rest in ["images", "images/save", "images/blobs/a/b", "exec/shop/web/web", "containerLogs/shop/web/web", "pods"]
    {
        judge_proxy("a", rest, Some("shop/web:1"), &Small).expect_err(rest);
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"image": "a"}], "initContainers": [{"image": "b"}]}});
    assert!(runs(&pod, "a") && runs(&pod, "b") && !runs(&pod, "c"));
    let mut mirror = pod;
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert!(!runs(&mirror, "a"), "of its own making");
}

#[test]
fn new_pods_are_mirrors_of_this_node() {
    let mirror = json!({"metadata": {"name": "s", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i"}]}});
    judge_create("a", "pods", &mirror).expect("a mirror");
    judge_create("b", "pods", &mirror).expect_err("another node's");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut pod = mirror.clone();
        change(&mut pod);
        judge_create("a", "pods", &pod)
    };
    with(&|pod| pod["metadata"]["annotations"] = json!({})).expect_err("no mirror");
    with(&|pod| pod["spec"]["nodeName"] = "b".into()).expect_err("elsewhere");
    with(&|pod| pod["spec"]["serviceAccountName"] = "admin".into()).expect_err("with an account");
    with(&|pod| pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}])).expect_err("secret");
    with(&|pod| pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "s"}}])).expect_err("map");
    for other in ["deployments.apps", "secrets", "clusterrolebindings.rbac.authorization.k8s.io"] {
        judge_create("a", other, &json!({"metadata": {"name": "a"}})).expect_err(other);
    }
}

#[test]
fn what_the_cluster_decides_about_a_node_is_not_the_nodes() {
    let old = json!({"metadata": {"name": "a", "labels": {"naru.io/role": "worker"},
        "annotations": {"naru.io/key-hash": "k"}}, "spec": {"podCIDR": "10.42.1.0/24"}});
    let with = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        judge_change("a", "nodes", &old, &new)
    };
    with(&|node| node["metadata"]["labels"]["disk"] = "ssd".into()).expect("a label of its own");
    with(&|node| node["metadata"]["labels"]["topology.kubernetes.io/zone"] = "z".into()).expect("where it is");
    with(&|node| node["metadata"]["annotations"]["naru.io/vtep-mac"] = "m".into()).expect("an annotation");
    with(&|node| node["spec"]["podCIDR"] = "10.42.0.0/24".into()).expect_err("another's addresses");
    with(&|node| node["spec"]["taints"] = json!([])).expect_err("taints");
    with(&|node| node["metadata"]["annotations"]["naru.io/key-hash"] = "x".into()).expect_err("keys");
    for label in
        ["naru.io/role", "node-role.kubernetes.io/control-plane", "node-restriction.kubernetes.io/x", "a.k8s.io/b"]
    {
        with(&|node| node["metadata"]["labels"][label] = "manager".into()).expect_err(label);
    }
    with(&|node| node["metadata"]["labels"]["kubernetes.io/hostname"] = "b".into()).expect_err("another's name");
    judge_change("b", "nodes", &old, &old).expect_err("another node");
}

#[test]
fn a_node_says_of_volumes_only_that_it_has_erased_their_data() {
    let old = json!({"metadata": {"name": "v", "labels": {"naru.io/erase-on": "a"}, "resourceVersion": "7",
        "finalizers": ["naru.io/local-data", "example.org/more"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"local": {"path": "/x"}}});
    let with = |node: &str, change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!(["example.org/more"]);
        change(&mut new);
        judge_change(node, "persistentvolumes", &old, &new)
    };
    with("a", &|_| {}).expect("it has erased it");
    with("a", &|volume| volume["metadata"]["resourceVersion"] = "8".into()).expect("whatever the server notes");
    with("b", &|_| {}).expect_err("another node's");
    with("a", &|volume| volume["metadata"]["finalizers"] = Value::Null).expect_err("somebody else's finalizer");
    with("a", &|volume| volume["spec"]["local"]["path"] = "/etc".into()).expect_err("where it lies");
    with("a", &|volume| volume["metadata"]["labels"] = json!({})).expect_err("who erases it");
    let mut used = old.clone();
    used["metadata"].as_object_mut().expect("metadata").remove("deletionTimestamp");
    judge_change("a", "persistentvolumes", &used, &with_finalizers(&used, json!([]))).expect_err("it is in use");
}

fn with_finalizers(volume: &Value, finalizers: Value) -> Value {
    let mut volume = volume.clone();
    volume["metadata"]["finalizers"] = finalizers;
    volume
}

#[test]
fn a_token_is_for_a_pod_that_runs_here_under_that_account() {
    let pod = json!({"metadata": {"name": "web", "uid": "u"}, "spec": {"nodeName": "a", "serviceAccountName": "web"}});
    let bound = json!({"kind": "Pod", "name": "web", "uid": "u"});
    judge_token("a", "web", &bound, Some(&pod)).expect("its own");
    judge_token("b", "web", &bound, Some(&pod)).expect_err("another node");
    judge_token("a", "admin", &bound, Some(&pod)).expect_err("another account");
    judge_token("a", "web", &json!({"kind": "Pod", "name": "web", "uid": "v"}), Some(&pod)).expect_err("another pod");
    judge_token("a", "web", &json!({"kind": "Pod", "name": "web"}), Some(&pod)).expect_err("no uid");
    judge_token("a", "web", &Value::Null, Some(&pod)).expect_err("unbound");
    judge_token("a", "web", &bound, None).expect_err("no pod");
}

#[test]
fn every_way_to_refer_to_an_object_counts_for_its_own_kind() {
    let containers = |field: Value| json!({"spec": {"initContainers": [field]}});
    let secrets = [
        json!({"spec": {"imagePullSecrets": [{"name": "x"}]}}),
        json!({"spec": {"volumes": [{"secret": {"secretName": "x"}}]}}),
        json!({"spec": {"volumes": [{"projected": {"sources": [{"secret": {"name": "x"}}]}}]}}),
        containers(json!({"envFrom": [{"secretRef": {"name": "x"}}]})),
        containers(json!({"env": [{"valueFrom": {"secretKeyRef": {"name": "x"}}}]})),
    ];
    let maps = [
        json!({"spec": {"volumes": [{"configMap": {"name": "x"}}]}}),
        json!({"spec": {"volumes": [{"projected": {"sources": [{"configMap": {"name": "x"}}]}}]}}),
        containers(json!({"envFrom": [{"configMapRef": {"name": "x"}}]})),
        containers(json!({"env": [{"valueFrom": {"configMapKeyRef": {"name": "x"}}}]})),
    ];
    for pod in &secrets {
        assert!(refers(pod, "Secret", "x") && !refers(pod, "ConfigMap", "x") && !refers(pod, "Secret", "y"), "{pod}");
    }
    for pod in &maps {
        assert!(refers(pod, "ConfigMap", "x") && !refers(pod, "Secret", "x"), "{pod}");
    }
    // A name in some other place is no reference.
    assert!(!refers(&json!({"spec": {"containers": [{"name": "x", "args": ["x"]}]}}), "Secret", "x"));
}
