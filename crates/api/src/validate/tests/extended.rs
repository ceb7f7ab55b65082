//! The rules of the kinds that extend the server or lead traffic.

use super::*;

/// An object with a field at a pointer changed; null takes it away.
pub(super) fn but(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    if value.is_null() {
        parent.as_object_mut().expect("an object").remove(field);
    } else {
        parent[field] = value;
    }
    object
}

/// `valid` is fine, and each change of it is refused with these words.
#[track_caller]
pub(super) fn judged(name: &str, valid: &Value, refused: &[(&str, Value, &str)]) {
    fine(name, valid.clone());
    for (pointer, value, what) in refused {
        tells(name, but(valid, pointer, value.clone()), what);
    }
}

/// The errors of a change, which begins with a valid object.
pub(super) fn changed(name: &str, valid: &Value, pointer: &str, value: Value) -> Vec<String> {
    let (old, mut new) = (ready(name, valid), ready(name, &but(valid, pointer, value)));
    admit::prepare_update(&kind(name), &old, &mut new);
    update(&kind(name), &old, &new).iter().map(ToString::to_string).collect()
}

#[test]
fn autoscalers() {
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
    let policies = json!([{"type": "Pods", "value": 1, "periodSeconds": 60}]);
    let valid = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "w"},
        "metrics": [metric], "behavior": {"scaleUp": {"policies": policies}}}});
    judged(
        "hpa",
        &valid,
        &[
            ("/spec/maxReplicas", json!(null), "spec.maxReplicas: Invalid value: 0: must be greater than 0"),
            ("/spec/minReplicas", json!(0), "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"),
            (
                "/spec/minReplicas",
                json!(5),
                "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
            ),
            ("/spec/scaleTargetRef/kind", json!(null), "spec.scaleTargetRef.kind: Required value"),
            (
                "/spec/scaleTargetRef/name",
                json!("a/b"),
                "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
            ),
            ("/spec/metrics/0/type", json!("Pods"), "spec.metrics[0].pods: Required value: must populate information"),
            (
                "/spec/metrics/0/type",
                json!("Moon"),
                "spec.metrics[0].type: Unsupported value: \"Moon\": supported values: \"ContainerResource\", \"External\"",
            ),
            (
                "/spec/metrics/0/pods",
                json!({"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "1"}}),
                "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
            ),
            (
                "/spec/metrics/0/resource/target/averageUtilization",
                json!(0),
                "averageUtilization: Invalid value: 0: must be greater than 0",
            ),
            ("/spec/metrics/0/resource/target/averageValue", json!("1"), "averageValue: Forbidden: may not set both"),
            (
                "/spec/metrics/0/resource/target/type",
                json!("Half"),
                "must be either Utilization, Value, or AverageValue",
            ),
            (
                "/spec/behavior/scaleUp/policies",
                json!([]),
                "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
            ),
            ("/spec/behavior/scaleUp/selectPolicy", json!("Odd"), "supported values: \"Disabled\", \"Max\", \"Min\""),
            ("/spec/behavior/scaleUp/stabilizationWindowSeconds", json!(4000), "must be less than or equal to 3600"),
            (
                "/spec/behavior/scaleUp/policies/0/periodSeconds",
                json!(9000),
                "policies[0].periodSeconds: Invalid value: 9000",
            ),
        ],
    );
}

#[test]
fn webhooks() {
    let rule =
        json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods", "pods/exec"]});
    let hook = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule],
        "clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/check"}}});
    let valid = json!({"metadata": {"name": "a"}, "webhooks": [hook]});
    for name in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        judged(
            name,
            &valid,
            &[
                (
                    "/webhooks/0/name",
                    json!("a.b"),
                    "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments",
                ),
                ("/webhooks/0/name", json!(null), "webhooks[0].name: Required value"),
                (
                    "/webhooks/0/sideEffects",
                    json!(null),
                    "sideEffects: Required value: must specify one of None, NoneOnDryRun",
                ),
                (
                    "/webhooks/0/sideEffects",
                    json!("Some"),
                    "sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
                ),
                ("/webhooks/0/admissionReviewVersions", json!([]), "Required value: must specify one of v1, v1beta1"),
                ("/webhooks/0/admissionReviewVersions", json!(["v2"]), "must include at least one of v1, v1beta1"),
                ("/webhooks/0/timeoutSeconds", json!(31), "the timeout value must be between 1 and 30 seconds"),
                ("/webhooks/0/failurePolicy", json!("Maybe"), "failurePolicy: Unsupported value: \"Maybe\""),
                (
                    "/webhooks/0/clientConfig",
                    json!({}),
                    "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
                ),
                (
                    "/webhooks/0/clientConfig",
                    json!({"url": "http://h/x?y"}),
                    "'https' is the only allowed URL scheme; desired format",
                ),
                (
                    "/webhooks/0/clientConfig",
                    json!({"url": "https://u:p@h/x"}),
                    "user information is not permitted in the URL",
                ),
                ("/webhooks/0/clientConfig", json!({"url": "https:///x"}), "host must be specified"),
                (
                    "/webhooks/0/clientConfig/service/path",
                    json!("check"),
                    "service.path: Invalid value: \"check\": must start with a '/'",
                ),
                (
                    "/webhooks/0/clientConfig/service/port",
                    json!(70_000),
                    "port is not valid: must be between 1 and 65535",
                ),
                (
                    "/webhooks/0/rules/0/operations",
                    json!(["*", "CREATE"]),
                    "if '*' is present, must not specify other operations",
                ),
                ("/webhooks/0/rules/0/operations", json!(["GET"]), "operations[0]: Unsupported value: \"GET\""),
                (
                    "/webhooks/0/rules/0/resources",
                    json!(["*", "pods"]),
                    "must not specify other resources without subresources",
                ),
                (
                    "/webhooks/0/rules/0/resources",
                    json!(["pods/*", "pods/log"]),
                    "if 'pods/*' is present, must not specify pods/log",
                ),
                ("/webhooks/0/rules/0/apiVersions", json!([]), "rules[0].apiVersions: Required value"),
                ("/webhooks/0/rules/0/scope", json!("Half"), "scope: Unsupported value: \"Half\""),
                ("/webhooks", json!([hook, hook]), "webhooks[1].name: Duplicate value: \"a.example.com\""),
            ],
        );
    }
    tells(
        "mutatingwebhookconfigurations",
        but(&valid, "/webhooks/0/reinvocationPolicy", json!("Often")),
        "reinvocationPolicy: Unsupported value: \"Often\": supported values: \"IfNeeded\", \"Never\"",
    );
}

#[test]
fn policies() {
    let rules = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]});
    let valid = json!({"metadata": {"name": "a"}, "spec": {"matchConstraints": rules, "validations": [{"expression": "true"}],
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "variables": [{"name": "x", "expression": "1"}]}});
    judged(
        "validatingadmissionpolicies",
        &valid,
        &[
            ("/spec/matchConstraints", json!(null), "spec.matchConstraints: Required value"),
            ("/spec/matchConstraints/resourceRules", json!([]), "spec.matchConstraints.resourceRules: Required value"),
            (
                "/spec/validations",
                json!([]),
                "spec.validations: Required value: validations or auditAnnotations must contain",
            ),
            (
                "/spec/validations/0/expression",
                json!(" "),
                "validations[0].expression: Required value: expression is not specified",
            ),
            ("/spec/validations/0/message", json!("a\nb"), "message must not contain line breaks"),
            ("/spec/validations/0/reason", json!("Why"), "validations[0].reason: Unsupported value: \"Why\""),
            ("/spec/variables/0/name", json!("for"), "name is not a valid CEL identifier"),
            ("/spec/paramKind/apiVersion", json!("a/b/c"), "unexpected GroupVersion string: a/b/c"),
            ("/spec/paramKind/kind", json!("9"), "may have mixed case, but should otherwise match"),
            ("/spec/matchConditions", json!([{"expression": "true"}]), "spec.matchConditions[0].name: Required value"),
            (
                "/spec/auditAnnotations",
                json!([{"key": "a b", "valueExpression": "'x'"}]),
                "auditAnnotations[0].key: Invalid value: \"a/a b\"",
            ),
        ],
    );
    let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}});
    let valid = json!({"metadata": {"name": "a"}, "spec": {"matchConstraints": rules, "reinvocationPolicy": "Never", "mutations": [mutation]}});
    judged(
        "mutatingadmissionpolicies",
        &valid,
        &[
            ("/spec/mutations", json!([]), "spec.mutations: Required value: mutations must contain at least one item"),
            ("/spec/reinvocationPolicy", json!(null), "spec.reinvocationPolicy: Required value"),
            ("/spec/mutations/0/jsonPatch", json!(null), "spec.mutations[0].jsonPatch: Required value"),
            ("/spec/mutations/0/applyConfiguration", json!({"expression": "x"}), "applyConfiguration: Forbidden"),
            ("/spec/mutations/0/patchType", json!("Sed"), "patchType: Unsupported value: \"Sed\""),
        ],
    );
    let valid = json!({"metadata": {"name": "a"}, "spec": {"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "x"}}});
    judged(
        "validatingadmissionpolicybindings",
        &valid,
        &[
            ("/spec/policyName", json!(null), "spec.policyName: Required value"),
            ("/spec/validationActions", json!(["Deny", "Warn"]), "must not contain both Deny and Warn"),
            (
                "/spec/validationActions",
                json!([]),
                "spec.validationActions: Required value: at least one validation action is required",
            ),
            ("/spec/validationActions", json!(["Shout"]), "validationActions[0]: Unsupported value: \"Shout\""),
            ("/spec/paramRef", json!({}), "spec.paramRef: Required value: one of name or selector must be specified"),
            (
                "/spec/paramRef/selector",
                json!({}),
                "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            ),
        ],
    );
}

#[test]
fn whose_turn_it_is() {
    let rules = json!([{"subjects": [{"kind": "User", "user": {"name": "u"}}],
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]}]);
    let valid =
        json!({"metadata": {"name": "a"}, "spec": {"priorityLevelConfiguration": {"name": "l"}, "rules": rules}});
    judged(
        "flowschemas",
        &valid,
        &[
            ("/spec/matchingPrecedence", json!(1), "only the schema named 'exempt' may have matchingPrecedence 1"),
            ("/spec/matchingPrecedence", json!(10_001), "must not be greater than 10000"),
            (
                "/spec/priorityLevelConfiguration",
                json!({}),
                "priorityLevelConfiguration.name: Required value: must reference a priority level",
            ),
            ("/spec/distinguisherMethod", json!({"type": "ByMoon"}), "distinguisherMethod.type: Unsupported value"),
            (
                "/spec/rules/0/subjects",
                json!([]),
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            ),
            (
                "/spec/rules/0/subjects/0/group",
                json!({"name": "g"}),
                "group is forbidden when subject kind is not 'Group'",
            ),
            ("/spec/rules/0/resourceRules/0/verbs", json!(["look"]), "resourceRules[0].verbs: Unsupported value"),
            ("/spec/rules/0/resourceRules/0/namespaces", json!([]), "must supply at least one namespace"),
            (
                "/spec/rules/0/nonResourceRules/0/nonResourceURLs",
                json!(["/a*b"]),
                "wildcard can only do suffix matching",
            ),
            ("/spec/rules/0/nonResourceRules/0/nonResourceURLs", json!(["x"]), "must start with slash"),
        ],
    );
    for fixed in naru_flow() {
        tells(&fixed.0, fixed.1, "must equal the fixed value");
    }
    let queue = json!({"type": "Queue", "queuing": {}});
    let valid = json!({"metadata": {"name": "a"}, "spec": {"type": "Limited", "limited": {"limitResponse": queue}}});
    judged(
        "prioritylevelconfigurations",
        &valid,
        &[
            ("/spec/type", json!("Exempt"), "type must be 'Exempt' if and only if name is 'exempt'"),
            ("/spec/limited", json!(null), "spec.limited: Required value: must not be empty when type is Limited"),
            ("/spec/exempt", json!({}), "spec.exempt: Forbidden: must be nil if the type is Limited"),
            ("/spec/limited/lendablePercent", json!(101), "must be between 0 and 100, inclusive"),
            ("/spec/limited/limitResponse/queuing", json!(null), "queuing: Required value"),
            ("/spec/limited/limitResponse/queuing/handSize", json!(65), "should not be greater than queues (64)"),
            (
                "/spec/limited/limitResponse/queuing/handSize",
                json!(11),
                "required entropy bits of deckSize 64 and handSize 11",
            ),
            ("/spec/limited/limitResponse/type", json!("Reject"), "queuing: Forbidden"),
        ],
    );
}

/// What must be as it is, changed.
fn naru_flow() -> [(String, Value); 3] {
    let of = |objects: Vec<Value>, name: &str| objects.into_iter().find(|o| o["metadata"]["name"] == name).expect(name);
    let (schemas, levels) = (crate::flow::schemas(), crate::flow::levels());
    let catch_all = but(&of(levels, "catch-all"), "/spec/limited/nominalConcurrencyShares", json!(500));
    let exempt = but(&of(schemas.clone(), "exempt"), "/spec/rules/0/subjects/0/group/name", json!("others"));
    let last = but(&of(schemas, "catch-all"), "/spec/matchingPrecedence", json!(9_999));
    [("prioritylevelconfigurations", catch_all), ("flowschemas", exempt), ("flowschemas", last)]
        .map(|(name, object)| (name.to_owned(), object))
}

#[test]
fn servers_addresses_and_runtimes() {
    let valid = json!({"metadata": {"name": "v1.a.example"}, "spec": {"group": "a.example", "version": "v1", "groupPriorityMinimum": 100,
        "versionPriority": 10, "service": {"namespace": "n", "name": "s"}}});
    judged(
        "apiservices",
        &valid,
        &[
            ("/metadata/name", json!("other"), "must be `spec.version+\".\"+spec.group`: \"v1.a.example\""),
            (
                "/spec/groupPriorityMinimum",
                json!(null),
                "groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
            ),
            ("/spec/versionPriority", json!(1001), "must be positive and less than 1000"),
            ("/spec/service/name", json!(null), "spec.service.name: Required value"),
            ("/spec/service", json!({"namespace": "n", "name": "s", "port": 0}), "port is not valid"),
        ],
    );
    let local = but(&but(&valid, "/spec/service", json!(null)), "/spec/insecureSkipTLSVerify", json!(true));
    tells("apiservices", local, "local APIServices may not have insecureSkipTLSVerify");
    let parent = json!({"resource": "services", "namespace": "n", "name": "s"});
    let valid = json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": parent}});
    judged(
        "ipaddresses",
        &valid,
        &[
            ("/metadata/name", json!("web"), "metadata.name: Invalid value: \"web\": must be a valid IP address"),
            ("/metadata/name", json!("fd00:0::1"), "must be in canonical form (\"fd00::1\")"),
            ("/spec/parentRef", json!(null), "spec.parentRef: Required value"),
            ("/spec/parentRef/resource", json!(null), "spec.parentRef.resource: Required value"),
        ],
    );
    fine("ipaddresses", but(&valid, "/metadata/name", json!("fd00::1")));
    assert_eq!(changed("ipaddresses", &valid, "/spec/parentRef/name", json!("t")).len(), 1);
    let valid = json!({"metadata": {"name": "a"}, "spec": {"cidrs": ["10.0.0.0/16"]}});
    judged(
        "servicecidrs",
        &valid,
        &[
            ("/spec/cidrs", json!([]), "spec.cidrs: Required value: at least one CIDR required"),
            (
                "/spec/cidrs",
                json!(["10.0.0.0/16", "10.1.0.0/16"]),
                "may specify no more than one IP for each IP family",
            ),
            (
                "/spec/cidrs",
                json!(["10.0.0.1/16"]),
                "spec.cidrs[0]: Invalid value: \"10.0.0.1/16\": must be in canonical form (\"10.0.0.0/16\")",
            ),
            ("/spec/cidrs", json!(["a", "b", "c"]), "may only hold up to 2 values"),
        ],
    );
    assert!(changed("servicecidrs", &valid, "/spec/cidrs", json!(["10.0.0.0/16", "fd00::/64"])).is_empty());
    assert_eq!(changed("servicecidrs", &valid, "/spec/cidrs", json!(["10.9.0.0/16"])).len(), 1);
    let valid = json!({"metadata": {"name": "a"}, "handler": "runc", "scheduling": {"nodeSelector": {"a": "b"}}});
    judged(
        "runtimeclasses",
        &valid,
        &[
            ("/handler", json!("a.b"), "handler: Invalid value: \"a.b\": a lowercase RFC 1123 label"),
            ("/handler", json!(null), "handler: Invalid value: \"\""),
            ("/scheduling/nodeSelector", json!({"a": "b c"}), "scheduling.nodeSelector: Invalid value"),
        ],
    );
    let errors = changed("runtimeclasses", &valid, "/handler", json!("crun"));
    assert_eq!(errors, ["handler: Invalid value: \"crun\": field is immutable"]);
}

#[test]
fn events_with_a_time_of_their_own() {
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Node", "namespace": "n"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "example.com/c", "reportingInstance": "i",
        "action": "Binding", "reason": "Scheduled", "type": "Normal"});
    judged(
        "events",
        &event,
        &[
            ("/action", json!(null), "action: Required value"),
            ("/reason", json!("x".repeat(129)), "reason: Invalid value: \"\": can have at most 128 characters"),
            ("/reportingComponent", json!("a b"), "reportingComponent: Invalid value"),
            ("/message", json!("x".repeat(1025)), "can have at most 1024 characters"),
        ],
    );
    let newer = Registry::builtin().by_kind("events.k8s.io", "v1", "Event").expect("served").clone();
    let errors = |event: &Value| served(&newer, event).iter().map(ToString::to_string).collect::<Vec<_>>();
    let event = json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i",
        "action": "a", "reason": "r", "type": "Normal", "note": "n", "deprecatedSource": {}});
    assert_eq!(errors(&event), Vec::<String>::new());
    for (pointer, value, what) in [
        ("/eventTime", json!(null), "eventTime: Required value"),
        ("/type", json!("Loud"), "type: Invalid value: \"\": has invalid value: Loud"),
        ("/reportingController", json!(null), "reportingController: Required value"),
        ("/deprecatedCount", json!(2), "count: Invalid value: \"\": needs to be unset"),
        ("/series", json!({"count": 1}), "series.count: Invalid value: \"\": should be at least 2"),
    ] {
        let found = errors(&but(&event, pointer, value));
        assert!(found.iter().any(|e| e.contains(what)), "{what}: {found:?}");
    }
}

#[test]
fn what_was_thin_before() {
    let valid = json!({"metadata": {"name": "a"}, "spec": {"controller": "example.com/c", "parameters": {"kind": "P", "name": "p"}}});
    judged(
        "ingressclasses",
        &valid,
        &[
            ("/spec/controller", json!("plain"), "must be a domain-prefixed path (such as \"acme.io/foo\")"),
            ("/spec/controller", json!(null), "spec.controller: Required value"),
            (
                "/spec/parameters/scope",
                json!("Namespace"),
                "parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
            ),
            (
                "/spec/parameters/namespace",
                json!("n"),
                "parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
            ),
            ("/spec/parameters/scope", json!("Half"), "parameters.scope: Unsupported value: \"Half\""),
        ],
    );
    judged(
        "priorityclasses",
        &json!({"metadata": {"name": "a"}, "value": 1}),
        &[(
            "/metadata/name",
            json!("system-mine"),
            "metadata.name: Forbidden: priority class names with 'system-' prefix",
        )],
    );
    judged(
        "storageclasses",
        &json!({"metadata": {"name": "a"}, "provisioner": "d.example.com"}),
        &[("/provisioner", json!("a b"), "provisioner: Invalid value: \"a b\"")],
    );
    let request = json!({"metadata": {"name": "a"}, "spec": {"signerName": "example.com/s", "request": "eA==", "usages": ["client auth"]}});
    judged(
        "csr",
        &request,
        &[
            (
                "/spec/signerName",
                json!("example.com"),
                "must be a fully qualified domain and path of the form 'example.com/signer-name'",
            ),
            ("/spec/signerName", json!("example/s"), "should be a domain with at least two segments separated by dots"),
            (
                "/spec/signerName",
                json!("example.com/S"),
                "spec.signerName: Invalid value: \"S\": validating label \"S\"",
            ),
            (
                "/spec/signerName",
                json!("kubernetes.io/legacy-unknown"),
                "the legacy signerName is not allowed via this API version",
            ),
            ("/spec/usages", json!(["client auth", "client auth"]), "spec.usages[1]: Duplicate value: \"client auth\""),
            ("/spec/usages", json!(["everything"]), "spec.usages[0]: Unsupported value: \"everything\""),
            ("/spec/expirationSeconds", json!(599), "may not specify a duration less than 600 seconds (10 minutes)"),
            ("/spec/signerName", json!(null), "spec.signerName: Required value"),
        ],
    );
    let docker = json!({"metadata": {"name": "a"}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}});
    judged(
        "secrets",
        &docker,
        &[
            (
                "/data",
                json!({".dockerconfigjson": "eA=="}),
                "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\"",
            ),
            ("/data", json!({}), "data[.dockerconfigjson]: Required value"),
            ("/type", json!("kubernetes.io/basic-auth"), "data[username]: Required value"),
        ],
    );
    let quota = json!({"metadata": {"name": "a"}, "spec": {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}});
    assert_eq!(changed("quota", &quota, "/spec/scopes", json!(["NotBestEffort"])).len(), 1);
}
