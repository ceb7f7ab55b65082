//! Defaults of the kinds that extend the server, bring volumes and devices, or lead traffic.

use super::*;

#[test]
fn autoscalers() {
    let bare = defaulted("hpa", json!({"spec": {"maxReplicas": 3}}));
    assert_eq!(bare["spec"]["minReplicas"], 1);
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    assert_eq!(bare["spec"]["metrics"], json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    assert!(bare["spec"].get("behavior").is_none());
    let given = defaulted("hpa", json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Min"}}}}));
    let behavior = &given["spec"]["behavior"];
    assert_eq!(behavior["scaleUp"]["stabilizationWindowSeconds"], 0);
    assert_eq!(
        behavior["scaleUp"]["policies"],
        json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}])
    );
    let down = json!({"selectPolicy": "Min", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]});
    assert_eq!(behavior["scaleDown"], down);
    let note = "autoscaling.alpha.kubernetes.io/metrics";
    let noted = defaulted("hpa", json!({"metadata": {"annotations": {note: "[]", "mine": "x"}}, "spec": {}}));
    assert_eq!(noted["metadata"]["annotations"], json!({"mine": "x"}));
}

#[test]
fn webhooks_and_policies() {
    let service = json!({"name": "s", "namespace": "n"});
    let given = json!({"webhooks": [{"name": "a", "rules": [{}], "clientConfig": {"service": service}}]});
    for (name, again) in
        [("validatingwebhookconfigurations", json!(null)), ("mutatingwebhookconfigurations", json!("Never"))]
    {
        let hook = defaulted(name, given.clone())["webhooks"][0].clone();
        assert_eq!(
            (&hook["failurePolicy"], &hook["matchPolicy"], &hook["timeoutSeconds"]),
            (&json!("Fail"), &json!("Equivalent"), &json!(10))
        );
        assert_eq!((&hook["namespaceSelector"], &hook["objectSelector"]), (&json!({}), &json!({})));
        assert_eq!((&hook["rules"][0]["scope"], &hook["clientConfig"]["service"]["port"]), (&json!("*"), &json!(443)));
        assert_eq!(hook["reinvocationPolicy"], again, "{name}");
    }
    for name in ["validatingadmissionpolicies", "mutatingadmissionpolicies"] {
        let spec = defaulted(name, json!({"spec": {"matchConstraints": {"resourceRules": [{}]}}}))["spec"].clone();
        assert_eq!(spec["failurePolicy"], "Fail");
        let constraints = json!({"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
            "resourceRules": [{"scope": "*"}]});
        assert_eq!(spec["matchConstraints"], constraints);
    }
    let binding = defaulted("validatingadmissionpolicybindings", json!({"spec": {"paramRef": {"name": "p"}}}));
    assert_eq!(binding["spec"]["paramRef"]["parameterNotFoundAction"], "Deny");
    let service = defaulted("apiservices", json!({"spec": {"service": {"name": "s"}}}));
    assert_eq!(service["spec"]["service"]["port"], 443);
}

#[test]
fn turns_devices_and_drivers() {
    assert_eq!(defaulted("flowschemas", json!({}))["spec"]["matchingPrecedence"], 1000);
    let limited = json!({"limitResponse": {"type": "Queue", "queuing": {"queues": 0}}});
    let level = defaulted("prioritylevelconfigurations", json!({"spec": {"type": "Limited", "limited": limited}}));
    let limited = &level["spec"]["limited"];
    assert_eq!((&limited["nominalConcurrencyShares"], &limited["lendablePercent"]), (&json!(30), &json!(0)));
    assert_eq!(limited["limitResponse"]["queuing"], json!({"handSize": 8, "queues": 64, "queueLengthLimit": 50}));
    let none = json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0}}});
    assert_eq!(defaulted("prioritylevelconfigurations", none)["spec"]["limited"]["nominalConcurrencyShares"], 0);
    let requests = json!([{"exactly": {}}, {"exactly": {"allocationMode": "All"}}, {"firstAvailable": [{"count": 3}]}]);
    let spec = json!({"devices": {"requests": requests}});
    let claim = defaulted("resourceclaims", json!({"spec": spec}));
    let wanted = json!([{"exactly": {"allocationMode": "ExactCount", "count": 1}}, {"exactly": {"allocationMode": "All"}},
        {"firstAvailable": [{"allocationMode": "ExactCount", "count": 3}]}]);
    assert_eq!(claim["spec"]["devices"]["requests"], wanted);
    let template = defaulted("resourceclaimtemplates", json!({"spec": {"spec": spec}}));
    assert_eq!(template["spec"]["spec"]["devices"]["requests"], wanted);
    let driver = defaulted("csidrivers", json!({}));
    assert_eq!(
        driver["spec"],
        json!({"attachRequired": true, "podInfoOnMount": false, "storageCapacity": false, "requiresRepublish": false,
            "seLinuxMount": false, "fsGroupPolicy": "ReadWriteOnceWithFSType", "volumeLifecycleModes": ["Persistent"]})
    );
}

#[test]
fn whose_changes_are_counted() {
    for (name, counted) in [
        ("validatingwebhookconfigurations", true),
        ("flowschemas", true),
        ("resourceslices", true),
        ("endpointslices", true),
        ("leases", false),
        ("resourceclaims", false),
        ("hpa", false),
        ("runtimeclasses", false),
    ] {
        let mut object = json!({"metadata": {"name": "a"}});
        prepare_create(&kind(name), &mut object);
        assert_eq!(meta::generation(&object) == 1, counted, "{name}");
    }
    let old = json!({"metadata": {"name": "a", "generation": 1}, "webhooks": []});
    let mut new = json!({"metadata": {"name": "a"}, "webhooks": [{"name": "x"}]});
    prepare_update(&kind("validatingwebhookconfigurations"), &old, &mut new);
    assert_eq!(meta::generation(&new), 2);
}

#[test]
fn a_group_of_this_server_is_there_from_the_beginning() {
    let services = kind("apiservices");
    let mut local = json!({"metadata": {"name": "v1.a.b"}, "spec": {"group": "a.b", "version": "v1"}});
    stamp(&services, &mut local, "u", Timestamp::UNIX_EPOCH);
    assert_eq!(local["status"]["conditions"][0]["reason"], "Local");
    let mut elsewhere = json!({"metadata": {"name": "v1.a.b"}, "spec": {"service": {"name": "s"}}});
    stamp(&services, &mut elsewhere, "u", Timestamp::UNIX_EPOCH);
    assert!(elsewhere.get("status").is_none());
}
