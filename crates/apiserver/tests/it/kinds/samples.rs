//! A small valid object of every kind.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use naru_api::Kind;
use serde_json::{Value, json};

/// A valid object and a state that it can have.
pub struct Sample {
    pub name: String,
    pub object: Value,
    pub status: Value,
}

/// The sample of a kind.
pub fn sample(kind: &Kind) -> Sample {
    let (name, mut object, status) = match kind.group.as_ref() {
        "" => core(&kind.plural),
        "apps" | "batch" => workload(&kind.plural),
        "storage.k8s.io" | "resource.k8s.io" | "node.k8s.io" => volumes_and_devices(&kind.plural),
        "admissionregistration.k8s.io" | "apiextensions.k8s.io" | "apiregistration.k8s.io" => extension(&kind.plural),
        "flowcontrol.apiserver.k8s.io" => flow(&kind.plural),
        _ => other(kind),
    };
    if object.get("metadata").is_none() {
        object["metadata"] = json!({});
    }
    object["metadata"]["name"] = name.into();
    Sample { name: name.to_owned(), object, status }
}

type Parts = (&'static str, Value, Value);

fn plain(object: Value) -> Parts {
    ("sample", object, json!({}))
}

fn with(object: Value, status: Value) -> Parts {
    ("sample", object, status)
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "sample"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn core(plural: &str) -> Parts {
    let volume = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}});
    match plural {
        "pods" => with(json!({"spec": template()["spec"]}), json!({"phase": "Running"})),
        "services" => plain(json!({"spec": {"ports": [{"port": 80}]}})),
        "persistentvolumes" => with(json!({"spec": volume}), json!({"phase": "Available"})),
        "persistentvolumeclaims" => with(
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            json!({"phase": "Lost"}),
        ),
        "replicationcontrollers" => {
            with(json!({"spec": {"selector": {"app": "sample"}, "template": template()}}), json!({"replicas": 1}))
        }
        "podtemplates" => plain(json!({"template": template()})),
        "events" => {
            plain(json!({"involvedObject": {"kind": "Pod", "namespace": "default"}, "reason": "R", "type": "Normal"}))
        }
        "limitranges" => plain(json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "8"}}]}})),
        "resourcequotas" => with(json!({"spec": {"hard": {"secrets": "100"}}}), json!({"used": {"secrets": "1"}})),
        "nodes" => with(json!({}), json!({"capacity": {"cpu": "1"}})),
        "namespaces" => with(json!({}), json!({"phase": "Active"})),
        _ => plain(json!({})),
    }
}

fn workload(plural: &str) -> Parts {
    let spec = json!({"selector": {"matchLabels": {"app": "sample"}}, "template": template()});
    let mut once = template();
    once["spec"]["restartPolicy"] = "Never".into();
    match plural {
        "deployments" | "replicasets" | "statefulsets" => with(json!({"spec": spec}), json!({"replicas": 1})),
        "daemonsets" => with(json!({"spec": spec}), json!({"numberReady": 1})),
        "jobs" => with(json!({"spec": {"template": once}}), json!({"active": 1})),
        "cronjobs" => with(
            json!({"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": once}}}}),
            json!({"lastScheduleTime": "2026-01-01T03:00:00Z"}),
        ),
        _ => plain(json!({"revision": 1, "data": {}})),
    }
}

fn volumes_and_devices(plural: &str) -> Parts {
    let source = json!({"persistentVolumeName": "v"});
    let claim = json!({"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]}});
    let pool = json!({"name": "p", "resourceSliceCount": 1, "generation": 0});
    match plural {
        "storageclasses" => plain(json!({"provisioner": "d.example.com"})),
        "volumeattributesclasses" => plain(json!({"driverName": "d.example.com", "parameters": {"a": "b"}})),
        "csidrivers" => plain(json!({"spec": {}})),
        "csinodes" => plain(json!({"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n"}]}})),
        "csistoragecapacities" => plain(json!({"storageClassName": "fast", "capacity": "1Gi"})),
        "volumeattachments" => with(
            json!({"spec": {"attacher": "d.example.com", "nodeName": "n", "source": source}}),
            json!({"attached": true}),
        ),
        "runtimeclasses" => plain(json!({"handler": "runc"})),
        "deviceclasses" => plain(json!({"spec": {}})),
        "resourceclaims" => with(
            json!({"spec": claim}),
            json!({"allocation": {"devices": {}}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]}),
        ),
        "resourceclaimtemplates" => plain(json!({"spec": {"spec": claim}})),
        "resourceslices" => plain(
            json!({"spec": {"driver": "d.example.com", "nodeName": "n", "pool": pool, "devices": [{"name": "d0"}]}}),
        ),
        other => panic!("no sample of {other}"),
    }
}

fn extension(plural: &str) -> Parts {
    // Rules of a group that there is not: nothing else in the test is asked about.
    let rule = json!({"operations": ["CREATE"], "apiGroups": ["nowhere.example.com"], "apiVersions": ["v1"], "resources": ["things"]});
    let hook = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule],
        "clientConfig": {"service": {"name": "s", "namespace": "n"}}});
    let rules = json!({"resourceRules": [rule]});
    match plural {
        "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => plain(json!({"webhooks": [hook]})),
        "validatingadmissionpolicies" => with(
            json!({"spec": {"matchConstraints": rules, "validations": [{"expression": "true"}]}}),
            json!({"observedGeneration": 1}),
        ),
        "mutatingadmissionpolicies" => {
            let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}});
            plain(json!({"spec": {"matchConstraints": rules, "reinvocationPolicy": "Never", "mutations": [mutation]}}))
        }
        "validatingadmissionpolicybindings" => {
            plain(json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}}))
        }
        "mutatingadmissionpolicybindings" => plain(json!({"spec": {"policyName": "p"}})),
        "customresourcedefinitions" => {
            let schema = json!({"openAPIV3Schema": {"type": "object"}});
            let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
            let spec = json!({"group": "sample.example.com", "scope": "Namespaced", "versions": [version],
                "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"}});
            ("gadgets.sample.example.com", json!({"spec": spec}), json!({}))
        }
        "apiservices" => {
            let spec = json!({"group": "far.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                "service": {"namespace": "default", "name": "far"}, "insecureSkipTLSVerify": true});
            // As the server itself finds it: there is nothing for it to write.
            let available = json!([{"type": "Available", "status": "False", "reason": "ServiceNotFound",
                "message": "service/far in \"default\" is not present", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            ("v1.far.example.com", json!({"spec": spec}), json!({"conditions": available}))
        }
        other => panic!("no sample of {other}"),
    }
}

fn flow(plural: &str) -> Parts {
    let rules = json!([{"subjects": [{"kind": "User", "user": {"name": "u"}}],
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}]}]);
    match plural {
        "flowschemas" => with(
            json!({"spec": {"priorityLevelConfiguration": {"name": "sample"}, "matchingPrecedence": 900, "rules": rules}}),
            // In the server's own words, which it then leaves alone.
            json!({"conditions": [{"type": "Dangling", "status": "True", "reason": "NotFound",
                "message": "This FlowSchema references the PriorityLevelConfiguration object named \"sample\" but there is no such object",
                "lastTransitionTime": "2026-01-02T03:04:05Z"}]}),
        ),
        "prioritylevelconfigurations" => with(
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}),
            json!({"conditions": [{"type": "Sample", "status": "True"}]}),
        ),
        other => panic!("no sample of {other}"),
    }
}

fn other(kind: &Kind) -> Parts {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let condition = json!({"type": "Ready", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    match kind.plural.as_ref() {
        "horizontalpodautoscalers" => with(
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": target}}),
            json!({"currentReplicas": 2, "desiredReplicas": 3}),
        ),
        "networkpolicies" => plain(json!({"spec": {"podSelector": {}}})),
        "ingresses" => plain(json!({"spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}})),
        "ingressclasses" => plain(json!({"spec": {"controller": "example.com/c"}})),
        "ipaddresses" => {
            let parent = json!({"resource": "services", "namespace": "default", "name": "web"});
            ("192.0.2.77", json!({"spec": {"parentRef": parent}}), json!({}))
        }
        "servicecidrs" => with(json!({"spec": {"cidrs": ["192.0.2.0/24"]}}), json!({"conditions": [condition]})),
        "endpointslices" => plain(json!({"addressType": "IPv4", "endpoints": []})),
        "poddisruptionbudgets" => with(
            json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "sample"}}}}),
            json!({"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1}),
        ),
        "priorityclasses" => plain(json!({"value": 10})),
        "certificatesigningrequests" => plain(json!({"spec": {"signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"], "request": BASE64.encode(include_str!("../../data/kim.csr"))}})),
        "roles" | "clusterroles" => plain(json!({"rules": []})),
        "rolebindings" | "clusterrolebindings" => {
            plain(json!({"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": []}))
        }
        "events" => plain(
            json!({"regarding": {"kind": "Pod", "namespace": "default"}, "type": "Normal", "reason": "R", "action": "A",
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/c", "reportingInstance": "i"}),
        ),
        _ => plain(json!({})),
    }
}
