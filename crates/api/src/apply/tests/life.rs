//! Whole lives of objects, write by write, with what Kubernetes shows of their owners after each.

use super::*;

/// An object and how far its life is.
struct Life {
    kind: Arc<Kind>,
    object: Value,
    seconds: i64,
}

impl Life {
    fn created(plural: &str, manager: &str, mut object: Value) -> Life {
        let kind = kind(plural);
        crate::admit::default(&kind, &mut object);
        let owners = Owners::of_new(&kind, &object, by(manager));
        meta::set(&mut object, "managedFields", owners.to_json());
        Life { kind, object, seconds: 0 }
    }

    fn writer<'m>(&mut self, manager: &'m str, subresource: &'m str) -> Writer<'m> {
        self.seconds += 1;
        Writer { manager, subresource, now: Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(self.seconds) }
    }

    /// An ordinary write.
    fn write(&mut self, manager: &str, subresource: &str, change: impl FnOnce(&mut Value)) {
        let writer = self.writer(manager, subresource);
        let old = self.object.clone();
        change(&mut self.object);
        track(&self.kind, &old, &mut self.object, writer);
    }

    fn apply(&mut self, manager: &str, force: bool, config: &Value) -> Result<(), Status> {
        let writer = self.writer(manager, "");
        self.object = apply(&self.kind, Some(&self.object), config, writer, force)?;
        Ok(())
    }

    /// `manager operation subresource`, in the order in which they are shown.
    fn managers(&self) -> Vec<String> {
        let list = self.object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let word = |e: &Value, key: &str| e[key].as_str().unwrap_or_default().to_owned();
        let line = |e| format!("{} {} {}", word(e, "manager"), word(e, "operation"), word(e, "subresource"));
        list.iter().map(|e| line(e).trim_end().to_owned()).collect()
    }

    fn owned(&self, manager: &str) -> &Value {
        owned(&self.object, manager)
    }
}

fn labels() -> Value {
    json!({"f:labels": {".": {}, "f:app": {}}})
}

#[test]
fn a_deployment_from_its_creation_to_its_last_owner() {
    let mut life = Life::created(
        "deployments",
        "kubectl-create",
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx"}]}}}}),
    );
    // As `kubectl create deployment` leaves it in a cluster of Kubernetes.
    let container = json!({".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
        "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}});
    let expected = json!({"f:metadata": labels(), "f:spec": {"f:progressDeadlineSeconds": {}, "f:replicas": {},
        "f:revisionHistoryLimit": {}, "f:selector": {},
        "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
        "f:template": {"f:metadata": labels(), "f:spec": {"f:containers": {"k:{\"name\":\"nginx\"}": container},
            "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
            "f:terminationGracePeriodSeconds": {}}}}});
    assert_eq!(life.owned("kubectl-create"), &expected);

    life.write("kube-controller-manager", "", |o| meta::set_annotation(o, "deployment.kubernetes.io/revision", "1"));
    let annotation = json!({"f:metadata": {"f:annotations": {".": {}, "f:deployment.kubernetes.io/revision": {}}}});
    assert_eq!(life.owned("kube-controller-manager"), &annotation);

    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "r"});
    life.write("kube-controller-manager", "status", |o| {
        o["status"] = json!({"observedGeneration": 1, "conditions": [condition("Progressing")]});
    });
    let shown = json!({".": {}, "f:reason": {}, "f:status": {}, "f:type": {}});
    let status = &life.object["metadata"]["managedFields"][2];
    assert_eq!(status["subresource"], "status");
    assert_eq!(
        status["fieldsV1"],
        json!({"f:status": {"f:conditions": {".": {}, "k:{\"type\":\"Progressing\"}": shown}, "f:observedGeneration": {}}})
    );
    let whole = ["kubectl-create Update", "kube-controller-manager Update", "kube-controller-manager Update status"];
    assert_eq!(life.managers(), whole);

    // Writing what is there already is no write.
    let before = life.object.clone();
    life.write("somebody", "", |o| o["spec"]["replicas"] = json!(1));
    assert_eq!(life.object, before);
    // The same writer changes what it owns: only its time changes.
    life.write("kube-controller-manager", "status", |o| o["status"]["observedGeneration"] = json!(2));
    assert_eq!(
        life.object["metadata"]["managedFields"][2]["fieldsV1"],
        before["metadata"]["managedFields"][2]["fieldsV1"]
    );
    assert_ne!(life.object["metadata"]["managedFields"][2]["time"], before["metadata"]["managedFields"][2]["time"]);

    life.write("scaler", "scale", |o| o["spec"]["replicas"] = json!(3));
    assert_eq!(life.owned("scaler"), &json!({"f:spec": {"f:replicas": {}}}));
    assert!(life.owned("kubectl-create")["f:spec"].get("f:replicas").is_none());

    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 3,
        "template": {"spec": {"containers": [{"name": "nginx", "image": "nginx:2"}]}}}});
    let refused = life.apply("me", false, &config).expect_err("another's");
    assert!(refused.message.contains("conflict with \"kubectl-create\" using apps/v1"), "{refused}");
    life.apply("me", true, &config).expect("forced");
    let mine = json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
        "k:{\"name\":\"nginx\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}});
    assert_eq!(life.owned("me"), &mine);
    assert_eq!(life.managers()[0], "me Apply", "who applies comes first");
    assert_eq!(life.owned("scaler"), &json!({"f:spec": {"f:replicas": {}}}), "agreement is shared");

    // A field that is gone belongs to nobody.
    life.write("editor", "", |o| {
        meta::unset(o, "annotations");
        o["spec"]["template"]["spec"]["containers"] = json!([{"name": "other", "image": "x"}]);
    });
    assert!(!life.managers().contains(&"kube-controller-manager Update".to_owned()));
    assert_eq!(life.owned("me"), &json!({"f:spec": {"f:replicas": {}}}));
    let other = json!({".": {}, "f:image": {}, "f:name": {}});
    assert_eq!(life.owned("editor")["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"other\"}"], other);
}

#[test]
fn a_pod_of_a_replica_set() {
    let mut life = Life::created(
        "pods",
        "kube-controller-manager",
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "generateName": "web-", "labels": {"app": "web"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u1", "controller": true}]},
            "spec": {"containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80}],
                "resources": {"requests": {"cpu": "1"}}, "livenessProbe": {"httpGet": {"path": "/", "port": 80}}}]}}),
    );
    let made = life.owned("kube-controller-manager");
    let metadata = json!({"f:generateName": {}, "f:labels": {".": {}, "f:app": {}},
        "f:ownerReferences": {".": {}, "k:{\"uid\":\"u1\"}": {}}});
    assert_eq!(made["f:metadata"], metadata);
    let container = &made["f:spec"]["f:containers"]["k:{\"name\":\"web\"}"];
    assert_eq!(made["f:spec"]["f:containers"].get("."), None, "every pod has containers");
    let port = json!({".": {}, "f:containerPort": {}, "f:protocol": {}});
    assert_eq!(container["f:ports"], json!({".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": port}));
    assert_eq!(container["f:resources"]["f:requests"], json!({".": {}, "f:cpu": {}}));
    assert_eq!(container["f:resources"]["."], json!({}));
    assert_eq!(container["f:livenessProbe"]["f:httpGet"]["."], json!({}));

    life.write("kubelet", "status", |o| {
        o["status"] = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"name": "web", "ready": true}]});
    });
    assert_eq!(
        life.owned("kubelet"),
        &json!({"f:status": {"f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}, "f:type": {}}},
            "f:containerStatuses": {}, "f:phase": {}, "f:podIP": {},
            "f:podIPs": {".": {}, "k:{\"ip\":\"10.0.0.1\"}": {".": {}, "f:ip": {}}}}})
    );
    // Another address is another item: the old one belongs to nobody.
    life.write("kubelet", "status", |o| o["status"]["podIPs"] = json!([{"ip": "10.0.0.2"}]));
    let addresses = json!({".": {}, "k:{\"ip\":\"10.0.0.2\"}": {".": {}, "f:ip": {}}});
    assert_eq!(life.owned("kubelet")["f:status"]["f:podIPs"], addresses);
    assert_eq!(life.managers(), ["kube-controller-manager Update", "kubelet Update status"]);
}

#[test]
fn the_oldest_writers_become_one() {
    let mut life = Life::created(
        "configmaps",
        "first",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}}),
    );
    assert_eq!(life.owned("first"), &json!({"f:data": {".": {}, "f:k": {}}}));
    for n in 1..=11 {
        life.write(&format!("w{n}"), "", |o| o["data"][format!("k{n}")] = json!("v"));
    }
    let managers = life.managers();
    assert_eq!(managers.len(), 10, "{managers:?}");
    assert_eq!(managers[0], "ancient-changes Update");
    let ancient = json!({"f:data": {".": {}, "f:k": {}, "f:k1": {}, "f:k2": {}}});
    assert_eq!(life.owned("ancient-changes"), &ancient);
    assert_eq!(managers[1], "w3 Update");
}

#[test]
fn owners_of_an_object_without_any_begin_with_an_apply() {
    let mut life = Life::created("configmaps", "first", json!({"metadata": {"name": "m"}, "data": {"k": "v"}}));
    meta::unset(&mut life.object, "managedFields");
    life.write("second", "", |o| o["data"]["k"] = json!("w"));
    assert!(life.managers().is_empty(), "somebody wanted it so");
    life.apply("me", false, &json!({"metadata": {"name": "m"}, "data": {"l": "x"}})).expect("applied");
    assert_eq!(life.managers(), ["me Apply", "before-first-apply Update"]);
}

#[test]
fn each_version_has_the_fields_that_it_knows() {
    let (v1, v2) = (
        Registry::builtin().by_resource("autoscaling", "v1", "horizontalpodautoscalers").expect("served").clone(),
        Registry::builtin().by_resource("autoscaling", "v2", "horizontalpodautoscalers").expect("served").clone(),
    );
    let versions = |object: &Value, to: &str| {
        let kinds = [&v1, &v2];
        let of = |version: &str| kinds.into_iter().find(|kind| kind.api_version() == version);
        let (from, to) = (of(meta::api_version(object))?, of(to)?);
        Some((to.clone(), crate::convert::convert(from, to, object.clone())))
    };
    let old = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 5, "minReplicas": 1, "targetCPUUtilizationPercentage": 50,
            "scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
    let mut owners = Owners::of_new(&v1, &old, by("first"));
    let (_, then) = versions(&old, "autoscaling/v2").expect("converted");
    let mut now = then.clone();
    now["spec"]["maxReplicas"] = json!(7);
    now["spec"]["metrics"] = json!([]);
    owners.track(&v2, &then, &now, by("second"), &versions);
    let list = owners.to_json();
    let of =
        |manager: &str| list.as_array().expect("a list").iter().find(|e| e["manager"] == manager).expect("an owner");
    assert_eq!(
        (&of("first")["apiVersion"], &of("second")["apiVersion"]),
        (&json!("autoscaling/v1"), &json!("autoscaling/v2"))
    );
    // It said so as one field of the old version, which the new one says as a list.
    let left = json!({"f:spec": {"f:minReplicas": {}, "f:scaleTargetRef": {}}});
    assert_eq!(of("first")["fieldsV1"], left);
    assert_eq!(of("second")["fieldsV1"]["f:spec"]["f:maxReplicas"], json!({}));
    // Whose version is gone owns nothing.
    let mut later = now.clone();
    later["spec"]["maxReplicas"] = json!(8);
    owners.track(&v2, &now, &later, by("second"), &only);
    assert_eq!(owners.to_json().as_array().map(Vec::len), Some(1));
}
