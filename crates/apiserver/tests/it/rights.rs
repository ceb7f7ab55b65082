//! What roles collect, and what reviews answer.

use std::time::Duration;

use naru_apiserver::User;
use serde_json::{Value, json};

use crate::support::{Caller, PODS, World, pod, within};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// Waits until the rules of a role are as they should be.
async fn rules_until(root: &Caller, role: &str, fit: impl Fn(&[Value]) -> bool) {
    within(async {
        loop {
            let role = root.get(&format!("{ROLES}/{role}")).await.expect(200);
            if fit(role["rules"].as_array().map_or(&[] as &[Value], Vec::as_slice)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_role_collects_is_written_into_it() {
    let world = World::start().await;
    let root = world.root();
    let about =
        |rule: &Value, resource: &str| rule["resources"].as_array().is_some_and(|all| all.contains(&json!(resource)));
    rules_until(&root, "view", |rules| rules.iter().any(|rule| about(rule, "configmaps"))).await;
    rules_until(&root, "admin", |rules| {
        ["configmaps", "secrets", "rolebindings"].iter().all(|what| rules.iter().any(|rule| about(rule, what)))
    })
    .await;
    let label = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let crontabs = json!({"apiGroups": ["stable.example.com"], "resources": ["crontabs"], "verbs": ["get"]});
    let role = json!({"metadata": {"name": "crontabs", "labels": label}, "rules": [crontabs]});
    root.post(ROLES, &role).await.expect(201);
    for role in ["view", "edit", "admin"] {
        rules_until(&root, role, |rules| rules.contains(&crontabs)).await;
    }
    // What somebody writes into it goes again.
    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]});
    root.patch(&format!("{ROLES}/view"), "merge-patch", &json!({"rules": [secrets]})).await.expect(200);
    rules_until(&root, "view", |rules| rules.contains(&crontabs) && !rules.contains(&secrets)).await;
    root.delete(&format!("{ROLES}/crontabs")).await.expect(200);
    rules_until(&root, "admin", |rules| !rules.contains(&crontabs)).await;
}

#[tokio::test]
async fn a_review_may_name_selectors() {
    let world = World::start().await;
    let root = world.root();
    let ask = |selector: Value| {
        let mut attributes = json!({"verb": "list", "resource": "pods", "namespace": "default"});
        attributes["fieldSelector"] = selector;
        json!({"spec": {"user": "kim", "groups": ["system:masters"], "resourceAttributes": attributes}})
    };
    let requirement = json!({"key": "spec.nodeName", "operator": "In", "values": ["w1"]});
    for selector in [json!({"rawSelector": "spec.nodeName=w1"}), json!({"requirements": [requirement]})] {
        let answer = root.post(REVIEWS, &ask(selector.clone())).await.expect(201);
        assert_eq!(answer["status"]["allowed"], true);
        assert_eq!(answer["spec"]["resourceAttributes"]["fieldSelector"], selector);
    }
    let message = root.post(REVIEWS, &ask(json!({}))).await.refused(422);
    assert!(message.contains("when spec.resourceAttributes.fieldSelector is specified, requirements or"), "{message}");
    let both = json!({"rawSelector": "a=b", "requirements": [requirement]});
    let message = root.post(REVIEWS, &ask(both)).await.refused(422);
    assert!(message.contains("may not specified at the same time as requirements"), "{message}");
    let nobody = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let message = root.post(REVIEWS, &nobody).await.refused(422);
    assert!(message.contains("at least one of user or group must be specified"), "{message}");
}

#[tokio::test]
async fn rights_of_nodes_are_told_as_they_are_judged() {
    let world = World::start().await;
    let root = world.root();
    for (name, node) in [("here", "w1"), ("there", "w2")] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"a": "b"}});
        root.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = node.into();
        pod["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": name}}]);
        root.post(PODS, &pod).await.expect(201);
    }
    for (name, allowed) in [("here", true), ("there", false)] {
        let attributes = json!({"verb": "get", "resource": "secrets", "namespace": "default", "name": name});
        let spec = json!({"user": "system:node:w1", "groups": ["system:nodes"], "resourceAttributes": attributes});
        let answer = root.post(REVIEWS, &json!({"spec": spec})).await.expect(201);
        assert_eq!(answer["status"]["allowed"], allowed, "{answer}");
    }
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let ask = json!({"spec": {"namespace": "default"}});
    let node = world.inside(User::new("system:node:w1", &["system:nodes"]));
    let told = node.post(rules, &ask).await.expect(201);
    assert_eq!(told["status"]["incomplete"], true);
    assert_eq!(told["status"]["evaluationError"], "node authorizer does not support user rule resolution");
    let told = world.user("kim", &[]).post(rules, &ask).await.expect(201);
    assert_eq!(told["status"]["incomplete"], false);
    let paths = told["status"]["nonResourceRules"].as_array().expect("rules");
    assert!(paths.iter().any(|rule| rule["nonResourceURLs"].to_string().contains("/openapi")), "{paths:?}");
    root.post(rules, &json!({"spec": {}})).await.refused(400);
}
