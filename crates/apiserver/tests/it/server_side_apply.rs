//! Server-side apply over HTTP.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, MAPS, World, config_map};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn apply(caller: &Caller, path: &str, query: &str, body: &str) -> Answer {
    let caller = caller.with("content-type", "application/apply-patch+yaml");
    caller.send(Method::PATCH, &format!("{path}?{query}"), body.to_owned()).await
}

fn owners(object: &Value) -> Vec<(&str, &str, &str)> {
    let list = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut owners: Vec<_> = list
        .iter()
        .map(|e| {
            assert!(e["fieldsV1"].is_object() && e["time"].is_string(), "{e}");
            let word = |key: &str| e[key].as_str().unwrap_or_default();
            (word("manager"), word("operation"), word("subresource"))
        })
        .collect();
    owners.sort_unstable();
    owners
}

fn deployment(replicas: Option<u32>, image: &str) -> String {
    let replicas = replicas.map(|r| format!("  replicas: {r}\n")).unwrap_or_default();
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, labels: {{app: web}}}}\nspec:\n{replicas}  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: \
         {{containers: [{{name: web, image: '{image}'}}]}}\n"
    )
}

#[tokio::test]
async fn it_creates_changes_and_takes_away() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{DEPLOYMENTS}/web");
    let made = apply(&root, &path, "fieldManager=me", &deployment(Some(3), "web:1")).await.expect(201);
    assert_eq!(made["spec"]["replicas"], 3);
    assert_eq!(made["spec"]["revisionHistoryLimit"], 10, "defaulted like any other");
    assert_eq!(owners(&made), [("me", "Apply", "")]);
    let again = apply(&root, &path, "fieldManager=me", &deployment(Some(3), "web:1")).await.expect(200);
    assert_eq!(again, made, "the same again writes nothing");
    let changed = apply(&root, &path, "fieldManager=me", &deployment(None, "web:2")).await.expect(200);
    assert_eq!(changed["spec"]["replicas"], 1, "what is no longer named goes back to its default");
    assert_eq!(changed["spec"]["template"]["spec"]["containers"][0]["image"], "web:2");
    assert_eq!((&made["metadata"]["generation"], &changed["metadata"]["generation"]), (&json!(1), &json!(2)));
    assert_eq!(root.get(&path).await.expect(200), changed);
}

#[tokio::test]
async fn fields_of_others_conflict_unless_forced() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{DEPLOYMENTS}/web");
    apply(&root, &path, "fieldManager=me", &deployment(Some(3), "web:1")).await.expect(201);
    let scale = json!({"spec": {"replicas": 5}});
    root.patch(&format!("{path}/scale?fieldManager=scaler"), "merge-patch", &scale).await.expect(200);
    let live = root.get(&path).await.expect(200);
    assert_eq!(owners(&live), [("me", "Apply", ""), ("scaler", "Update", "scale")]);
    let refused = apply(&root, &path, "fieldManager=me", &deployment(Some(3), "web:1")).await;
    let message = refused.refused(409);
    let expected = "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: \
                    .spec.replicas";
    assert_eq!(message, expected);
    let status = refused.json();
    assert_eq!(status["reason"], "Conflict");
    let cause = &status["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldManagerConflict"), &json!(".spec.replicas")));
    // Not naming it leaves it to its owner.
    let left = apply(&root, &path, "fieldManager=me", &deployment(None, "web:1")).await.expect(200);
    assert_eq!(left["spec"]["replicas"], 5);
    let forced = apply(&root, &path, "fieldManager=me&force=true", &deployment(Some(2), "web:1")).await.expect(200);
    assert_eq!((&forced["spec"]["replicas"], owners(&forced)), (&json!(2), vec![("me", "Apply", "")]));
}

#[tokio::test]
async fn a_status_is_applied_by_itself() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{DEPLOYMENTS}/web");
    let status = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 9}\nstatus: {readyReplicas: 2, replicas: 2}\n";
    apply(&root, &format!("{path}/status"), "fieldManager=ctl", status).await.refused(404);
    apply(&root, &path, "fieldManager=me", &deployment(Some(2), "web:1")).await.expect(201);
    let shown = apply(&root, &format!("{path}/status"), "fieldManager=ctl", status).await.expect(200);
    assert_eq!((&shown["status"]["readyReplicas"], &shown["spec"]["replicas"]), (&json!(2), &json!(2)));
    assert_eq!(owners(&shown), [("ctl", "Apply", "status"), ("me", "Apply", "")]);
}

#[tokio::test]
async fn a_dry_run_tells_and_keeps_nothing() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{MAPS}/a");
    let map = config_map("a", &[("k", "1")]).to_string();
    apply(&root, &path, "fieldManager=me&dryRun=All", &map).await.expect(201);
    root.get(&path).await.refused(404);
    let made = apply(&root, &path, "fieldManager=me", &map).await.expect(201);
    let other = config_map("a", &[("k", "2")]).to_string();
    let shown = apply(&root, &path, "fieldManager=me&dryRun=All", &other).await.expect(200);
    assert_eq!(shown["data"]["k"], "2");
    assert_eq!(shown["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(root.get(&path).await.expect(200), made);
}

#[tokio::test]
async fn it_asks_for_a_manager_a_name_known_fields_and_rights() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{MAPS}/a");
    let map = config_map("a", &[("k", "1")]);
    let message = apply(&root, &path, "", &map.to_string()).await.refused(422);
    assert!(message.contains("fieldManager: Required value"), "{message}");
    apply(&root, &format!("{MAPS}/b"), "fieldManager=me", &map.to_string()).await.refused(400);
    let unknown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatta: {}\n";
    for mode in ["Strict", "Warn", "Ignore"] {
        let message =
            apply(&root, &path, &format!("fieldManager=me&fieldValidation={mode}"), unknown).await.refused(400);
        assert!(message.contains(".datta: field not declared in schema"), "{message}");
    }
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: a\n  k: b\n";
    let message = apply(&root, &path, "fieldManager=me&fieldValidation=Strict", twice).await.refused(400);
    assert!(message.contains("line 6: key \"k\" already set in map"), "{message}");
    let message = root.patch(&format!("{path}?force=true"), "merge-patch", &json!({})).await.refused(422);
    assert!(message.contains("force: Forbidden"), "{message}");
    let mut stale = map.clone();
    stale["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    apply(&root, &path, "fieldManager=me", &stale.to_string()).await.refused(409);
    // Who may patch and not create, makes nothing.
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch", "get"]}]);
    let role = json!({"metadata": {"name": "patcher"}, "rules": rules});
    root.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &role).await.expect(201);
    let binding = json!({"metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
        "subjects": [{"kind": "User", "name": "kim", "apiGroup": "rbac.authorization.k8s.io"}]});
    root.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding).await.expect(201);
    let kim = world.user("kim", &[]);
    let message = apply(&kim, &path, "fieldManager=me", &map.to_string()).await.refused(403);
    assert!(message.contains("cannot create"), "{message}");
    apply(&root, &path, "fieldManager=me", &map.to_string()).await.expect(201);
    apply(&kim, &path, "fieldManager=me", &map.to_string()).await.expect(200);
}

#[tokio::test]
async fn an_object_that_was_forgotten_begins_anew_with_the_next_apply() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{MAPS}/a");
    let made =
        root.post(&format!("{MAPS}?fieldManager=kubectl-create"), &config_map("a", &[("k", "1")])).await.expect(201);
    assert_eq!(owners(&made), [("kubectl-create", "Update", "")]);
    let wish = config_map("a", &[("k", "2")]).to_string();
    let message = apply(&root, &path, "fieldManager=me", &wish).await.refused(409);
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"kubectl-create\" using v1: .data.k");
    let reset = json!({"metadata": {"managedFields": [{}]}});
    let reset = root.patch(&path, "merge-patch", &reset).await.expect(200);
    assert!(reset["metadata"].get("managedFields").is_none(), "{reset}");
    let taken = apply(&root, &path, "fieldManager=me", &config_map("a", &[("l", "1")]).to_string()).await.expect(200);
    assert_eq!(taken["data"], json!({"k": "1", "l": "1"}));
    assert_eq!(owners(&taken), [("before-first-apply", "Update", ""), ("me", "Apply", "")]);
    let curl = root.with("user-agent", "curl/8.0");
    let put = curl.put(&path, &config_map("a", &[("k", "2"), ("l", "1")])).await.expect(200);
    assert_eq!(owners(&put), [("curl", "Update", ""), ("me", "Apply", "")]);
}

#[tokio::test]
async fn concurrent_appliers_all_get_their_fields() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{MAPS}/a");
    let appliers = (0..12).map(|n| {
        let (root, path) = (root.clone(), path.clone());
        tokio::spawn(async move {
            let map = config_map("a", &[(&format!("k{n}"), "v")]).to_string();
            let answer = apply(&root, &path, &format!("fieldManager=m{n}"), &map).await;
            assert!(matches!(answer.code.as_u16(), 200 | 201), "{}", answer.text());
            usize::from(answer.code == 201)
        })
    });
    let mut created = 0;
    for applier in appliers.collect::<Vec<_>>() {
        created += applier.await.expect("applied");
    }
    let read = root.get(&path).await.expect(200);
    assert_eq!((created, read["data"].as_object().map(serde_json::Map::len)), (1, Some(12)));
    assert_eq!(owners(&read).len(), 12);
}

#[tokio::test]
async fn appliers_who_take_turns_write_nothing_new() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{MAPS}/a");
    let (one, two) = (config_map("a", &[("k", "1")]).to_string(), config_map("a", &[("l", "1")]).to_string());
    apply(&root, &path, "fieldManager=one", &one).await.expect(201);
    let both = apply(&root, &path, "fieldManager=two", &two).await.expect(200);
    for (manager, map) in [("one", &one), ("two", &two), ("one", &one)] {
        assert_eq!(apply(&root, &path, &format!("fieldManager={manager}"), map).await.expect(200), both);
    }
}
