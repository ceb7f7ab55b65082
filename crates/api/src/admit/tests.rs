mod extended;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::kind::{Registry, fixture};
use crate::meta;

fn kind(name: &str) -> std::sync::Arc<Kind> {
    Registry::builtin().find(name).unwrap_or_else(|| panic!("{name}")).clone()
}

fn defaulted(name: &str, mut object: Value) -> Value {
    default(&kind(name), &mut object);
    let once = object.clone();
    default(&kind(name), &mut object);
    assert_eq!(once, object, "defaulting twice changes nothing");
    object
}

#[test]
fn pods() {
    let pod = defaulted(
        "pods",
        json!({"spec": {"serviceAccountName": "sa", "containers": [{
            "name": "c", "image": "host:5000/nginx", "ports": [{"containerPort": 80}],
            "livenessProbe": {"httpGet": {"port": 80}}, "resources": {"limits": {"cpu": "1"}},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}],
            "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "m"}}]}}),
    );
    let spec = &pod["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["dnsPolicy"], "ClusterFirst");
    assert_eq!(spec["terminationGracePeriodSeconds"], 30);
    assert_eq!(spec["schedulerName"], "default-scheduler");
    assert_eq!(spec["securityContext"], json!({}));
    assert_eq!(spec["enableServiceLinks"], true);
    assert_eq!(spec["serviceAccount"], "sa");
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(container["resources"]["requests"]["cpu"], "1");
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    let probe = json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
        "successThreshold": 1, "failureThreshold": 3});
    assert_eq!(container["livenessProbe"], probe);
    assert_eq!(
        spec["volumes"],
        json!([{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "m", "defaultMode": 420}}])
    );
    for (image, policy) in
        [("a:1", "IfNotPresent"), ("a:latest", "Always"), ("h:5/a", "Always"), ("a@sha256:0", "IfNotPresent")]
    {
        let pod = defaulted("pods", json!({"spec": {"containers": [{"image": image}]}}));
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn workloads() {
    let deployment = defaulted("deployments", json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}));
    let spec = &deployment["spec"];
    assert_eq!(
        (&spec["replicas"], &spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]),
        (&json!(1), &json!(10), &json!(600))
    );
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    let template = &spec["template"]["spec"];
    assert_eq!(template["restartPolicy"], "Always");
    assert!(template.get("enableServiceLinks").is_none());
    let recreate = defaulted("deployments", json!({"spec": {"strategy": {"type": "Recreate"}}}));
    assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
    let job = defaulted("jobs", json!({"spec": {}}));
    assert_eq!((&job["spec"]["completions"], &job["spec"]["backoffLimit"]), (&json!(1), &json!(6)));
    let queue = defaulted("jobs", json!({"spec": {"parallelism": 3}}));
    assert!(queue["spec"].get("completions").is_none());
    let daemons = defaulted("daemonsets", json!({}));
    assert_eq!(daemons["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 1);
    let sets = defaulted("statefulsets", json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "d"}}]}}));
    assert_eq!(sets["spec"]["podManagementPolicy"], "OrderedReady");
    assert_eq!(sets["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
    let cron = defaulted("cronjobs", json!({}));
    assert_eq!(cron["spec"]["successfulJobsHistoryLimit"], 3);
    let rc = defaulted("rc", json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}));
    assert_eq!(rc["spec"]["selector"], json!({"a": "b"}));
}

#[test]
fn services_and_the_rest() {
    let service = defaulted(
        "services",
        json!({"spec": {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]}}),
    );
    let spec = &service["spec"];
    assert_eq!(
        (&spec["type"], &spec["sessionAffinity"], &spec["internalTrafficPolicy"]),
        (&json!("ClusterIP"), &json!("None"), &json!("Cluster"))
    );
    assert_eq!(spec["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
    assert_eq!(spec["ports"][1]["targetPort"], "dns");
    assert!(spec.get("ipFamilies").is_none(), "that is for whoever knows the cluster's ranges");
    assert!(spec.get("externalTrafficPolicy").is_none());
    let headless = defaulted("services", json!({"spec": {"clusterIP": "None"}}));
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let external = defaulted("services", json!({"spec": {"type": "ExternalName", "externalName": "x"}}));
    assert!(external["spec"].get("ipFamilies").is_none());
    let secret = defaulted("secrets", json!({"stringData": {"a": "b"}}));
    assert_eq!(secret, json!({"metadata": {}, "type": "Opaque", "data": {"a": "Yg=="}}));
    let policy = defaulted("networkpolicies", json!({"spec": {"egress": [{}]}}));
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    let namespace = defaulted("namespaces", json!({"metadata": {"name": "n"}}));
    assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    let binding = defaulted(
        "rolebindings",
        json!({"roleRef": {"kind": "Role"}, "subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]}),
    );
    assert_eq!(binding["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert!(binding["subjects"][1].get("apiGroup").is_none());
    let limits = defaulted("limitranges", json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}));
    assert_eq!(limits["spec"]["limits"][0]["defaultRequest"], json!({"cpu": "1"}));
}

#[test]
fn a_new_object_begins() {
    let mut pod = json!({"metadata": {"name": "a", "uid": "forged", "generation": 9}, "spec": {}, "status": {"phase": "Running"}});
    prepare_create(&kind("pods"), &mut pod);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(pod["metadata"], json!({"name": "a", "generation": 1}));
    stamp(&kind("pods"), &mut pod, "u", Timestamp::UNIX_EPOCH);
    assert_eq!((meta::uid(&pod), meta::creation_timestamp(&pod)), ("u", Some(Timestamp::UNIX_EPOCH)));
    let mut namespace = json!({"metadata": {"name": "n", "namespace": "x"}});
    prepare_create(&kind("namespaces"), &mut namespace);
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(meta::namespace(&namespace), "");
    let mut node = json!({"metadata": {"name": "n"}, "status": {"phase": "x"}});
    prepare_create(&kind("nodes"), &mut node);
    assert_eq!(node["status"]["phase"], "x");
    let mut job = json!({"metadata": {"name": "j"}, "spec": {"template": {"metadata": {}}}});
    stamp(&kind("jobs"), &mut job, "u", Timestamp::UNIX_EPOCH);
    assert_eq!(job["spec"]["selector"]["matchLabels"], json!({"batch.kubernetes.io/controller-uid": "u"}));
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    let name = generate_name("web-", 12_345_678);
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    assert_ne!(name, generate_name("web-", 12_345_679));
    assert_eq!(generate_name(&"x".repeat(100), 1).len(), 63);
}

#[test]
fn a_changed_object_keeps_what_is_the_servers() {
    let deployments = kind("deployments");
    let old = json!({"metadata": {"name": "a", "uid": "u", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": 1}, "status": {"replicas": 1}});
    let mut new = json!({"metadata": {"name": "a", "resourceVersion": "7", "generation": 99}, "spec": {"replicas": 1}, "status": {"replicas": 8}});
    prepare_update(&deployments, &old, &mut new);
    assert_eq!(new["status"], old["status"]);
    assert_eq!((meta::generation(&new), meta::uid(&new), meta::resource_version(&new)), (3, "u", "7"));
    let mut owned = json!({"metadata": {"name": "a", "managedFields": [{"manager": "m"}]}, "spec": {}});
    prepare_update(&deployments, &old, &mut owned);
    assert_eq!(owned["metadata"]["managedFields"], json!([{"manager": "m"}]));
    let mut silent = json!({"metadata": {"name": "a"}, "spec": {}});
    prepare_update(&deployments, &owned, &mut silent);
    assert_eq!(silent["metadata"]["managedFields"], json!([{"manager": "m"}]));
    new["spec"]["replicas"] = json!(2);
    prepare_update(&deployments, &old, &mut new);
    assert_eq!(meta::generation(&new), 4);
    let mut status = json!({"metadata": {"name": "a", "resourceVersion": "7", "labels": {"x": "y"}}, "spec": {"replicas": 5}, "status": {"replicas": 5}});
    prepare_status(&deployments, &old, &mut status);
    assert_eq!((&status["spec"], &status["status"]), (&old["spec"], &json!({"replicas": 5})));
    assert!(meta::labels(&status).is_none());
    assert_eq!(meta::resource_version(&status), "7");
}

#[test]
fn what_comes_with_a_status() {
    let old = json!({"metadata": {"name": "a", "generation": 1, "labels": {"x": "old"}, "annotations": {"gone": "1"},
        "finalizers": ["f"]}, "spec": {"replicas": 1}, "status": {}});
    let given = json!({"metadata": {"name": "a", "labels": {"x": "new"}, "annotations": {"seen": "2"}, "finalizers": []},
        "spec": {"replicas": 9}, "status": {"replicas": 1}});
    for (plural, label) in [("deployments", "old"), ("replicasets", "new")] {
        let mut new = given.clone();
        prepare_status(&kind(plural), &old, &mut new);
        assert_eq!(meta::label(&new, "x"), Some(label), "{plural}");
        assert_eq!(new["metadata"]["annotations"], json!({"seen": "2"}));
        assert_eq!(
            (meta::finalizers(&new), &new["spec"]),
            (vec!["f"], &old["spec"]),
            "no way around the object itself"
        );
        assert_eq!(meta::generation(&new), 1, "a controller's note is no new generation");
    }
}

#[test]
fn a_service_keeps_its_addresses() {
    let services = kind("services");
    let old = json!({"metadata": {"name": "a"}, "spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}});
    let mut new = json!({"metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]}});
    prepare_update(&services, &old, &mut new);
    assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
    assert!(new["spec"]["ports"][1].get("nodePort").is_none());
}

#[test]
fn tolerations_are_added_once() {
    let mut pod = json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]}});
    default_tolerations(&mut pod, 5);
    default_tolerations(&mut pod, 5);
    let list = pod["spec"]["tolerations"].as_array().expect("a list");
    assert_eq!((list.len(), &list[1]["tolerationSeconds"]), (2, &json!(5)));
}

#[test]
fn classes_of_service() {
    let class = |resources: Value| crate::view::qos_class(&json!({"spec": {"containers": [{"resources": resources}]}}));
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}})), "Guaranteed");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})), "Burstable");
}

#[test]
fn custom_objects_get_the_defaults_of_their_definition() {
    let kind = fixture::kind(&fixture::version());
    let mut object = fixture::object(&json!({"replicas": null, "note": null, "steps": null, "ports": [{"port": 1}]}));
    default(&kind, &mut object);
    assert_eq!(object["spec"], json!({"replicas": 1, "note": null, "ports": [{"port": 1, "protocol": "TCP"}]}));
    let once = object.clone();
    default(&kind, &mut object);
    assert_eq!(object, once);
}

#[test]
fn generations_of_custom_objects_count_all_but_metadata_and_a_status_of_its_own() {
    let apart = fixture::kind(&fixture::version());
    let together = fixture::changed(|version| version["subresources"] = json!({}));
    let given = || {
        let mut object = fixture::object(&json!({"image": "a"}));
        object["status"] = json!({"replicas": 1});
        object
    };
    for (kind, status) in [(&apart, None), (&together, Some(json!({"replicas": 1})))] {
        let mut made = given();
        made["metadata"]["generation"] = json!(7);
        prepare_create(kind, &mut made);
        assert_eq!((meta::generation(&made), made.get("status")), (1, status.as_ref()));
        let mut labelled = made.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        prepare_update(kind, &made, &mut labelled);
        assert_eq!(meta::generation(&labelled), 1);
        let mut seen = made.clone();
        seen["status"] = json!({"replicas": 2});
        prepare_update(kind, &made, &mut seen);
        // Where the status is written apart, this changed nothing.
        let expected = if status.is_some() { (2, Some(json!({"replicas": 2}))) } else { (1, None) };
        assert_eq!((meta::generation(&seen), seen.get("status").cloned()), expected);
        let mut wanted = made.clone();
        wanted["spec"]["image"] = json!("b");
        prepare_update(kind, &made, &mut wanted);
        assert_eq!(meta::generation(&wanted), 2);
    }
}

#[test]
fn of_a_custom_objects_status_nothing_else_is_written_along() {
    let kind = fixture::kind(&fixture::version());
    let mut old = fixture::object(&json!({"image": "a"}));
    old["metadata"]["labels"] = json!({"a": "b"});
    let mut new = fixture::object(&json!({"image": "b"}));
    new["metadata"] = json!({"name": "one", "resourceVersion": "5", "annotations": {"x": "y"}});
    new["status"] = json!({"replicas": 2});
    prepare_status(&kind, &old, &mut new);
    let mut expected = old.clone();
    expected["metadata"]["resourceVersion"] = json!("5");
    expected["status"] = json!({"replicas": 2});
    assert_eq!(new, expected);
}
