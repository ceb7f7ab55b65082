mod extended;
mod volumes;

use serde_json::json;

use super::*;
use crate::admit;
use crate::kind::Registry;

fn kind(name: &str) -> std::sync::Arc<Kind> {
    Registry::builtin().find(name).unwrap_or_else(|| panic!("{name}")).clone()
}

/// A new object as the server sees it: with defaults.
fn ready(name: &str, object: &Value) -> Value {
    let mut object = object.clone();
    let kind = kind(name);
    if object.get("metadata").is_none() {
        object["metadata"] = json!({"name": "a"});
    }
    if kind.is_namespaced() {
        object["metadata"]["namespace"] = json!("n");
    }
    admit::default(&kind, &mut object);
    admit::prepare_create(&kind, &mut object);
    object
}

fn errors(name: &str, object: Value) -> Vec<String> {
    create(&kind(name), &ready(name, &object)).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn tells(name: &str, object: Value, what: &str) {
    let found = errors(name, object);
    assert!(found.iter().any(|e| e.contains(what)), "{found:#?}\n{what}");
}

#[track_caller]
fn fine(name: &str, object: Value) {
    assert_eq!(errors(name, object), Vec::<String>::new());
}

fn pod(container: Value) -> Value {
    let mut whole = json!({"name": "c", "image": "i"});
    for (key, value) in container.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    json!({"spec": {"containers": [whole], "volumes": [{"name": "v"}]}})
}

#[test]
fn names_and_labels() {
    fine("pods", pod(json!({})));
    let with = |metadata: Value| {
        let mut pod = pod(json!({}));
        pod["metadata"] = metadata;
        pod
    };
    tells("pods", with(json!({})), "metadata.name: Required value: name or generateName is required");
    tells(
        "pods",
        with(json!({"name": "A_b"})),
        "metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must",
    );
    tells(
        "pods",
        with(json!({"name": "a", "labels": {"a b": "c"}})),
        "metadata.labels: Invalid value: \"a b\": name part must",
    );
    tells(
        "pods",
        with(json!({"name": "a", "labels": {"a": "c d"}})),
        "metadata.labels: Invalid value: \"c d\": a valid label must",
    );
    tells("pods", with(json!({"name": "a", "resourceVersion": "1"})), "resourceVersion should not be set");
    tells("services", json!({"metadata": {"name": "1a"}, "spec": {"ports": [{"port": 1}]}}), "a DNS-1035 label must");
    fine("clusterroles", json!({"metadata": {"name": "system:node"}}));
    let object = with(json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}));
    tells("pods", object, "metadata.ownerReferences[0].uid");
    tells(
        "pods",
        with(json!({"name": "a", "annotations": {"x": "y".repeat(300_000)}})),
        "metadata.annotations: Too long",
    );
}

#[test]
fn pods_and_containers() {
    tells("pods", json!({"spec": {}}), "spec.containers: Required value");
    tells("pods", json!({"spec": {"containers": [{"image": "i"}]}}), "spec.containers[0].name: Required value");
    tells("pods", json!({"spec": {"containers": [{"name": "c"}]}}), "spec.containers[0].image: Required value");
    let two = json!({"name": "c", "image": "i"});
    tells("pods", json!({"spec": {"containers": [two, two]}}), "spec.containers[1].name: Duplicate value: \"c\"");
    for (container, what) in [
        (
            json!({"volumeMounts": [{"name": "w", "mountPath": "/"}]}),
            "spec.containers[0].volumeMounts[0].name: Not found: \"w\"",
        ),
        (json!({"volumeMounts": [{"name": "v"}]}), "volumeMounts[0].mountPath: Required value"),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/", "subPath": "../x"}]}),
            "subPath: Invalid value: \"../x\": must not contain '..'",
        ),
        (
            json!({"ports": [{"containerPort": 70_000}]}),
            "containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (json!({"ports": [{}]}), "ports[0].containerPort: Required value"),
        (
            json!({"ports": [{"containerPort": 1, "protocol": "X"}]}),
            "protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
            "ports[1].name: Duplicate value: \"a\"",
        ),
        (json!({"livenessProbe": {}}), "livenessProbe: Required value: must specify a handler type"),
        (
            json!({"livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}}),
            "tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            "resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (json!({"resources": {"limits": {"cpu": "-1"}}}), "must be greater than or equal to 0"),
        (json!({"env": [{"name": "a=b"}]}), "env[0].name: Invalid value: \"a=b\""),
        (
            json!({"env": [{"name": "a", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            "may not be specified when `value` is not empty",
        ),
        (json!({"imagePullPolicy": "Sometimes"}), "imagePullPolicy: Unsupported value: \"Sometimes\""),
        (json!({"name": "C"}), "spec.containers[0].name: Invalid value: \"C\": a lowercase RFC 1123 label"),
        (
            json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}}),
            "cannot set `allowPrivilegeEscalation` to false",
        ),
    ] {
        tells("pods", pod(container), what);
    }
    fine(
        "pods",
        pod(json!({"env": [{"name": "A.b", "value": ""}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
    );
}

#[test]
fn the_rest_of_a_pod() {
    let with = |key: &str, value: Value| {
        let mut pod = pod(json!({}));
        pod["spec"][key] = value;
        pod
    };
    tells("pods", with("restartPolicy", json!("Sometimes")), "spec.restartPolicy: Unsupported value");
    tells("pods", with("hostname", json!("a.b")), "spec.hostname: Invalid value");
    tells(
        "pods",
        with("volumes", json!([{"name": "v"}, {"name": "v"}])),
        "spec.volumes[1].name: Duplicate value: \"v\"",
    );
    tells(
        "pods",
        with("volumes", json!([{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}])),
        "may not specify more than 1 volume type",
    );
    tells(
        "pods",
        with("volumes", json!([{"name": "v", "configMap": {"name": "m", "defaultMode": 1000}}])),
        "must be a number between 0 and 0777",
    );
    tells(
        "pods",
        with("tolerations", json!([{"operator": "Exists", "value": "x"}])),
        "value must be empty when `operator` is 'Exists'",
    );
    tells(
        "pods",
        with("initContainers", json!([{"name": "i", "image": "i", "readinessProbe": {"exec": {"command": ["x"]}}}])),
        "may not be set for init containers",
    );
    tells("pods", with("dnsPolicy", json!("None")), "must provide at least one DNS nameserver");
    tells("pods", with("terminationGracePeriodSeconds", json!(-1)), "terminationGracePeriodSeconds: Invalid value: -1");
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "a", "operator": "In"}]}]}}});
    tells(
        "pods",
        with("affinity", affinity),
        "values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
    );
}

fn workload(labels: Value, extra: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
    for (key, value) in extra.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"spec": spec})
}

#[test]
fn workloads() {
    let labels = json!({"a": "b"});
    for name in ["deployments", "replicasets", "daemonsets", "statefulsets"] {
        fine(name, workload(labels.clone(), json!({})));
        tells(
            name,
            workload(json!({"a": "c"}), json!({})),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`",
        );
        tells(name, workload(labels.clone(), json!({"selector": null})), "spec.selector: Required value");
        tells(name, workload(labels.clone(), json!({"selector": {}})), "empty selector is invalid");
    }
    tells(
        "deployments",
        workload(labels.clone(), json!({"replicas": -1})),
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    );
    let strategy =
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}});
    tells("deployments", workload(labels.clone(), strategy), "may not be 0 when `maxSurge` is 0");
    let strategy = json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}});
    tells("deployments", workload(labels.clone(), strategy), "may not be specified when strategy `type` is 'Recreate'");
    let never = json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
    tells(
        "deployments",
        workload(labels, never),
        "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
    );
    let template =
        |policy: &str| json!({"spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}});
    fine("jobs", json!({"spec": {"template": template("Never")}}));
    tells("jobs", json!({"spec": {"template": template("Always")}}), "valid values: \"OnFailure\", \"Never\"");
    fine(
        "cronjobs",
        json!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template("Never")}}}}),
    );
    tells(
        "cronjobs",
        json!({"spec": {"schedule": "soon", "jobTemplate": {"spec": {"template": template("Never")}}}}),
        "spec.schedule: Invalid value: \"soon\"",
    );
    tells("poddisruptionbudgets", json!({"spec": {"minAvailable": 1, "maxUnavailable": 1}}), "cannot be both set");
}

#[test]
fn services_and_policies() {
    fine("services", json!({"spec": {"ports": [{"port": 80}]}}));
    fine("services", json!({"spec": {"clusterIP": "None"}}));
    fine("services", json!({"metadata": {"name": "a", "annotations": {"naru.io/all-ports": "true"}}, "spec": {}}));
    tells("services", json!({"spec": {}}), "spec.ports: Required value");
    tells("services", json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}}), "spec.ports[0].name: Required value");
    tells(
        "services",
        json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}}),
        "spec.ports[1].name: Duplicate value: \"a\"",
    );
    tells(
        "services",
        json!({"spec": {"ports": [{"port": 80, "nodePort": 30_000}]}}),
        "may not be used when `type` is 'ClusterIP'",
    );
    tells("services", json!({"spec": {"type": "ExternalName"}}), "spec.externalName: Required value");
    tells(
        "services",
        json!({"spec": {"type": "Other", "ports": [{"port": 1}]}}),
        "spec.type: Unsupported value: \"Other\"",
    );
    tells(
        "services",
        json!({"spec": {"clusterIP": "x", "ports": [{"port": 1}]}}),
        "spec.clusterIP: Invalid value: \"x\": must be a valid IP",
    );
    fine(
        "networkpolicies",
        json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]}}),
    );
    tells(
        "networkpolicies",
        json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}]}]}}),
        "must be a strict subset of `cidr`",
    );
    tells(
        "networkpolicies",
        json!({"spec": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}}),
        "operator: Unsupported value: \"Is\"",
    );
    tells("ingresses", json!({"spec": {}}), "either `defaultBackend` or `rules` must be specified");
    tells(
        "endpointslices",
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["x"]}]}),
        "endpoints[0].addresses[0]: Invalid value",
    );
    tells(
        "networks",
        json!({"spec": {"subnets": ["x"]}}),
        "spec.subnets[0]: Invalid value: \"x\": must be a valid CIDR",
    );
}

#[test]
fn configuration_storage_and_rights() {
    tells("configmaps", json!({"data": {"a b": "c"}}), "data[a b]: Invalid value: \"a b\": a valid config key");
    tells("configmaps", json!({"data": {"a": "c"}, "binaryData": {"a": "Yw=="}}), "duplicate of key present in data");
    tells("configmaps", json!({"data": {"a": "x".repeat(1_048_577)}}), "Too long");
    tells("secrets", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), "data[tls.key]: Required value");
    tells("pvc", json!({"spec": {}}), "spec.accessModes: Required value: at least 1 access mode is required");
    tells("pvc", json!({"spec": {"accessModes": ["X"]}}), "spec.accessModes[0]: Unsupported value: \"X\"");
    tells(
        "pvc",
        json!({"spec": {"accessModes": ["ReadWriteOnce"]}}),
        "spec.resources.requests.storage: Required value",
    );
    tells(
        "pv",
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}}),
        "must specify a volume type",
    );
    fine(
        "pv",
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}}),
    );
    tells("roles", json!({"rules": [{"verbs": ["get"]}]}), "rules[0].resources: Required value");
    tells(
        "roles",
        json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
        "namespaced rules cannot apply to non-resource URLs",
    );
    tells(
        "rolebindings",
        json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "Robot", "name": "x"}]}),
        "subjects[0].kind: Unsupported value",
    );
    fine(
        "rolebindings",
        json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "x", "namespace": "n"}]}),
    );
    tells("storageclasses", json!({}), "provisioner: Required value");
    tells("priorityclasses", json!({"value": 2_000_000_000}), "maximum allowed value");
    fine("events", json!({"involvedObject": {"namespace": "n", "kind": "Pod", "name": "p"}}));
    fine("leases", json!({"spec": {"holderIdentity": "x", "leaseDurationSeconds": 40}}));
    fine("nodes", json!({"status": {"capacity": {"cpu": "2"}}}));
    fine("namespaces", json!({}));
    fine("serviceaccounts", json!({}));
    fine("selfsubjectaccessreviews", json!({"spec": {"resourceAttributes": {"verb": "get"}}}));
    tells(
        "selfsubjectaccessreviews",
        json!({"spec": {}}),
        "exactly one of nonResourceAttributes or resourceAttributes",
    );
}

/// The sentences about changing `object` by `change`.
fn changed(name: &str, object: Value, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let old = ready(name, &object);
    let mut new = old.clone();
    change(&mut new);
    update(&kind(name), &old, &new).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn refused(found: &[String], what: &str) {
    assert!(found.iter().any(|e| e.contains(what)), "{found:#?}\n{what}");
}

#[test]
fn what_may_not_change() {
    let none = Vec::<String>::new();
    assert_eq!(changed("pods", pod(json!({})), |p| p["spec"]["containers"][0]["image"] = json!("j")), none);
    refused(
        &changed("pods", pod(json!({})), |p| p["spec"]["containers"][0]["args"] = json!(["x"])),
        "spec: Forbidden: pod updates may not change fields other than",
    );
    refused(&changed("pods", pod(json!({})), |p| p["spec"]["nodeName"] = json!("n")), "changed: nodeName");
    refused(
        &changed("pods", pod(json!({})), |p| p["metadata"]["name"] = json!("b")),
        "metadata.name: Invalid value: \"b\": field is immutable",
    );
    assert_eq!(changed("pods", pod(json!({})), |p| p["spec"]["tolerations"] = json!([{"operator": "Exists"}])), none);
    let set = workload(json!({"a": "b", "c": "d"}), json!({}));
    assert_eq!(changed("deployments", set.clone(), |d| d["spec"]["replicas"] = json!(5)), none);
    refused(
        &changed("deployments", set.clone(), |d| d["spec"]["selector"] = json!({"matchLabels": {"c": "d"}})),
        "spec.selector: Invalid value: {\"matchLabels\":{\"c\":\"d\"}}: field is immutable",
    );
    refused(&changed("statefulsets", set, |d| d["spec"]["serviceName"] = json!("x")), "updates to statefulset spec");
    let service = json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}});
    refused(&changed("services", service, |s| s["spec"]["clusterIP"] = json!("10.0.0.2")), "may not change once set");
    let map = json!({"immutable": true, "data": {"a": "b"}});
    refused(
        &changed("configmaps", map.clone(), |m| m["data"]["a"] = json!("c")),
        "data: Forbidden: field is immutable when `immutable` is set",
    );
    assert_eq!(changed("configmaps", map, |m| m["metadata"]["labels"] = json!({"a": "b"})), none);
    refused(
        &changed("secrets", json!({}), |s| s["type"] = json!("x/y")),
        "type: Invalid value: \"x/y\": field is immutable",
    );
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    assert_eq!(changed("pvc", claim.clone(), |c| c["spec"]["volumeName"] = json!("v")), none);
    refused(
        &changed("pvc", claim, |c| c["spec"]["accessModes"] = json!(["ReadOnlyMany"])),
        "spec is immutable after creation",
    );
    let job = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(changed("jobs", job.clone(), |j| j["spec"]["parallelism"] = json!(4)), none);
    refused(
        &changed("jobs", job, |j| j["spec"]["template"]["spec"]["containers"][0]["image"] = json!("j")),
        "spec.template: Invalid value",
    );
    let binding = json!({"roleRef": {"kind": "Role", "name": "r"}});
    refused(&changed("rolebindings", binding, |b| b["roleRef"]["name"] = json!("s")), "cannot change roleRef");
    let leaving = |p: &mut Value| p["metadata"]["finalizers"] = json!(["x.io/y"]);
    let mut old = ready("pods", &pod(json!({})));
    old["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut new = old.clone();
    leaving(&mut new);
    let found: Vec<String> = update(&kind("pods"), &old, &new).iter().map(ToString::to_string).collect();
    refused(&found, "no new finalizers can be added");
}

#[test]
fn a_status_must_be_readable() {
    let networks = kind("networks");
    let old = ready("networks", &json!({}));
    let mut new = old.clone();
    new["status"] = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": ""}]});
    let found: Vec<String> = status(&networks, &old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["status.conditions[0].lastTransitionTime: Required value"]);
    new["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(status(&networks, &old, &new), Vec::new());
}

#[test]
fn what_may_change_through_its_own_path() {
    let pods = kind("pods");
    let old = ready("pods", &pod(json!({"resources": {"requests": {"cpu": "1"}}})));
    let mut new = old.clone();
    new["metadata"]["uid"] = json!("u");
    new["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "i"}]);
    assert_eq!(ephemeral_containers(&pods, &old, &new), Vec::new());
    assert!(!ephemeral_containers(&pods, &new, &old).is_empty());
    let mut new = old.clone();
    new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
    assert_eq!(resize(&pods, &old, &new), Vec::new());
    new["spec"]["containers"][0]["image"] = json!("j");
    assert!(!resize(&pods, &old, &new).is_empty());
}

#[test]
fn claims_of_a_stateful_set_are_volumes_of_its_pods() {
    let registry = crate::Registry::builtin();
    let kind = registry.by_resource("apps", "v1", "statefulsets").expect("served");
    let set = |mounted: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "n"},
            "spec": {
                "serviceName": "db", "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
                    {"name": "c", "image": "i", "volumeMounts": [{"name": mounted, "mountPath": "/d"}]},
                ]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                }}],
            },
        })
    };
    let errors = |mounted: &str| {
        let mut object = set(mounted);
        crate::admit::default(kind, &mut object);
        super::create(kind, &object).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(errors("data"), Vec::<String>::new());
    assert!(errors("other").iter().any(|e| e.contains("volumeMounts[0].name: Not found")));
}
