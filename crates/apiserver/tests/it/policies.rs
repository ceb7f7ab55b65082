//! ValidatingAdmissionPolicies: rules that are bound to what they are about.

use serde_json::{Value, json};

use crate::support::{Caller, MAPS, World, config_map};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn policy(name: &str, resources: &[&str], more: Value) -> Value {
    let mut spec = json!({"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [
        {"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": resources}]}});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": spec})
}

async fn bind(root: &Caller, name: &str, more: Value) {
    let mut spec = json!({"policyName": name, "validationActions": ["Deny"]});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": format!("{name}-everywhere")}, "spec": spec});
    root.post(BINDINGS, &binding).await.expect(201);
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
}

#[tokio::test]
async fn a_bound_policy_denies_in_its_own_words() {
    let world = World::start().await;
    let root = world.root();
    let rules = json!({
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "many", "expression": "variables.replicas > 5"}],
        "validations": [
            {"expression": "!variables.many", "messageExpression": "'at most 5, not ' + string(variables.replicas)"},
            {"expression": "object.metadata.name != 'forbidden'", "message": "no such name", "reason": "Forbidden"},
        ],
    });
    root.post(POLICIES, &policy("few", &["deployments"], rules)).await.expect(201);
    root.post(DEPLOYMENTS, &deployment("unbound", 9)).await.expect(201);
    bind(&root, "few", json!({})).await;
    let refused = root.post(DEPLOYMENTS, &deployment("many", 6)).await.refused(422);
    assert_eq!(
        refused,
        "deployments.apps \"many\" is forbidden: ValidatingAdmissionPolicy 'few' with binding 'few-everywhere' denied \
         request: at most 5, not 6"
    );
    assert!(root.post(DEPLOYMENTS, &deployment("forbidden", 1)).await.refused(403).ends_with("no such name"));
    root.post(DEPLOYMENTS, &deployment("some", 5)).await.expect(201);
    root.patch(&format!("{DEPLOYMENTS}/some"), "merge-patch", &json!({"spec": {"replicas": 6}})).await.refused(422);
    // Without its binding it judges nothing any more.
    root.delete(&format!("{BINDINGS}/few-everywhere")).await.expect(200);
    root.post(DEPLOYMENTS, &deployment("many", 6)).await.expect(201);
}

#[tokio::test]
async fn a_policy_takes_parameters_and_chooses() {
    let world = World::start().await;
    let root = world.root();
    let rules = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "not-that-one", "expression": "object.metadata.name != 'exempt'"}],
        "validations": [{"expression": "size(object.data) <= int(params.data.most)"}],
    });
    root.post(POLICIES, &policy("small", &["configmaps"], rules)).await.expect(201);
    let at = json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"},
        "matchResources": {"objectSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]}}});
    bind(&root, "small", at).await;
    let two = config_map("two", &[("a", "1"), ("b", "2")]);
    let refused = root.post(MAPS, &two).await.refused(422);
    assert!(refused.contains("no params found"), "{refused}");
    let mut limits = config_map("limits", &[("most", "1")]);
    limits["metadata"]["labels"] = json!({"free": "yes"});
    root.post(MAPS, &limits).await.expect(201);
    root.post(MAPS, &config_map("exempt", &[("a", "1"), ("b", "2")])).await.expect(201);
    let refused = root.post(MAPS, &two).await.refused(422);
    assert!(refused.ends_with("failed expression: size(object.data) <= int(params.data.most)"), "{refused}");
    let mut free = two.clone();
    free["metadata"]["labels"] = json!({"free": "yes"});
    root.post(MAPS, &free).await.expect(201);
    // Parameters are those of now.
    root.patch(&format!("{MAPS}/limits"), "merge-patch", &json!({"data": {"most": "2"}})).await.expect(200);
    let mut other = two.clone();
    other["metadata"]["name"] = "other".into();
    root.post(MAPS, &other).await.expect(201);
}

#[tokio::test]
async fn what_goes_wrong_denies_unless_it_may_be_passed_over() {
    let world = World::start().await;
    let root = world.root();
    let rules = json!({"validations": [{"expression": "object.data.missing == 'x'"}]});
    root.post(POLICIES, &policy("breaks", &["configmaps"], rules)).await.expect(201);
    bind(&root, "breaks", json!({"validationActions": ["Warn", "Audit"]})).await;
    let made = root.post(MAPS, &config_map("a", &[])).await;
    made.expect(201);
    let warning = made.headers["warning"].to_str().unwrap();
    assert!(warning.contains("Validation failed for ValidatingAdmissionPolicy 'breaks'"), "{warning}");
    let deny = json!({"spec": {"validationActions": ["Deny"]}});
    root.patch(&format!("{BINDINGS}/breaks-everywhere"), "merge-patch", &deny).await.expect(200);
    let refused = root.post(MAPS, &config_map("b", &[])).await.refused(422);
    assert!(refused.contains("resulted in error") && refused.contains("missing"), "{refused}");
    let ignore = json!({"spec": {"failurePolicy": "Ignore"}});
    root.patch(&format!("{POLICIES}/breaks"), "merge-patch", &ignore).await.expect(200);
    root.post(MAPS, &config_map("b", &[])).await.expect(201);
    let wrong = json!({"spec": {"validations": [{"expression": "object."}]}});
    let refused = root.patch(&format!("{POLICIES}/breaks"), "merge-patch", &wrong).await.refused(422);
    assert!(refused.contains("spec.validations[0].expression"), "{refused}");
}
