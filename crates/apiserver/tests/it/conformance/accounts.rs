//! Service accounts: their lives, their tokens, what they may.

use serde_json::{Value, json};

use crate::support::{PODS, World, pod};
use crate::watching::Events;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[tokio::test]
async fn a_token_is_mounted_unless_the_pod_or_its_account_declines() {
    let world = World::start().await;
    let root = world.root();
    let accounts = [("default-account", Value::Null), ("mount", json!(true)), ("nomount", json!(false))];
    for (name, mounts) in &accounts {
        let account = json!({"metadata": {"name": name}, "automountServiceAccountToken": mounts});
        root.post(ACCOUNTS, &account).await.expect(201);
    }
    for (asked, expected) in
        [(Value::Null, [true, true, false]), (json!(true), [true, true, true]), (json!(false), [false, false, false])]
    {
        for ((account, _), expected) in accounts.iter().zip(expected) {
            let mut pod = pod(&format!("{account}-{asked}").replace("null", "silent"));
            pod["spec"]["serviceAccountName"] = (*account).into();
            pod["spec"]["automountServiceAccountToken"] = asked.clone();
            let made = root.post(PODS, &pod).await.expect(201);
            let mut mounts = made["spec"]["containers"][0]["volumeMounts"].as_array().into_iter().flatten();
            assert_eq!(mounts.any(|mount| mount["mountPath"] == TOKEN_PATH), expected, "{account}, pod says {asked}");
        }
    }
}

#[tokio::test]
async fn an_account_is_watched_changed_found_and_removed() {
    let world = World::start().await;
    let root = world.root();
    let label = "test-serviceaccount-static%3Dtrue";
    let mut events = Events::open(&root, &format!("{ACCOUNTS}?watch=1&labelSelector={label}")).await;
    let labels = json!({"test-serviceaccount-static": "true"});
    root.post(ACCOUNTS, &json!({"metadata": {"name": "robot", "labels": labels}})).await.expect(201);
    let added = events.next().await.expect("an event");
    assert_eq!((&added["type"], &added["object"]["metadata"]["labels"]), (&json!("ADDED"), &labels));
    let path = format!("{ACCOUNTS}/robot");
    let patch = json!({"automountServiceAccountToken": false});
    assert_eq!(
        root.patch(&path, "strategic-merge-patch", &patch).await.expect(200)["automountServiceAccountToken"],
        false
    );
    let found = root.get(&format!("/api/v1/serviceaccounts?labelSelector={label}")).await.expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["items"][0]["automountServiceAccountToken"], false);
    let mut updated = root.get(&path).await.expect(200);
    updated["automountServiceAccountToken"] = true.into();
    assert_eq!(root.put(&path, &updated).await.expect(200)["automountServiceAccountToken"], true);
    root.delete(&format!("{ACCOUNTS}?labelSelector={label}")).await.expect(200);
    let kinds = [events.step().await.0, events.step().await.0, events.step().await.0];
    assert_eq!(kinds, ["MODIFIED", "MODIFIED", "DELETED"]);
}

#[tokio::test]
async fn a_token_that_was_asked_for_is_reviewed_as_its_accounts() {
    let world = World::start().await;
    let root = world.root();
    root.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).await.expect(201);
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let issued = root.post(&format!("{ACCOUNTS}/robot/token"), &request).await.expect(201);
    let token = issued["status"]["token"].as_str().expect("a token");
    assert!(!token.is_empty() && issued["status"]["expirationTimestamp"].is_string(), "{issued}");
    let review = json!({"metadata": {"name": "review"}, "spec": {"token": token}});
    let reviewed = root.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    let status = &reviewed["status"];
    assert_eq!((&status["authenticated"], status.get("error")), (&json!(true), None), "{status}");
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:robot");
}

#[tokio::test]
async fn what_a_review_says_of_an_account_is_what_it_may() {
    const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
    let world = World::start().await;
    let root = world.root();
    root.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).await.expect(201);
    let role = json!({"metadata": {"name": "lists"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
    root.post(&format!("{ROLES}/roles"), &role).await.expect(201);
    let binding = json!({"metadata": {"name": "lists"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lists"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "robot"}]});
    root.post(&format!("{ROLES}/rolebindings"), &binding).await.expect(201);
    let user = "system:serviceaccount:default:robot";
    let groups = ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"];
    let mut acting = root.with("impersonate-user", user);
    acting.headers.extend(groups.map(|group| ("impersonate-group", group.to_owned())));
    for (verb, resource) in [("list", "configmaps"), ("list", "secrets"), ("create", "configmaps")] {
        let path = format!("/api/v1/namespaces/default/{resource}");
        let code = match verb {
            "list" => acting.get(&path).await.code,
            _ => acting.post(&path, &json!({"metadata": {"name": "x"}})).await.code,
        };
        let asked = json!({"spec": {"user": user, "groups": groups,
            "resourceAttributes": {"namespace": "default", "verb": verb, "resource": resource, "version": "v1"}}});
        let review = root.post(&format!("{REVIEWS}/subjectaccessreviews"), &asked).await.expect(201);
        let path = format!("{REVIEWS}/namespaces/default/localsubjectaccessreviews");
        let mut asked = asked;
        asked["metadata"] = json!({"namespace": "default"});
        let local = root.post(&path, &asked).await.expect(201);
        for told in [review, local] {
            assert_eq!(told["status"]["allowed"], json!(code.is_success()), "{verb} {resource}: {told}");
        }
        assert_eq!(code.is_success(), (verb, resource) == ("list", "configmaps"));
        assert!(code.is_success() || code == 403, "{code}");
    }
}
