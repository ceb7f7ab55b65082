//! The audit log as it is written of real requests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use naru_apiserver::{AuditError, AuditLog, AuditSettings};
use serde_json::{Value, json};

use crate::support::{MAPS, PODS, World, config_map, pod, within};
use crate::watching::Events;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [silent]
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
- level: Request
  resources: [{group: "", resources: [pods]}]
  omitStages: []
- level: RequestResponse
  resources: [{group: "", resources: [configmaps]}]
  omitManagedFields: true
- level: Metadata
  nonResourceURLs: ["/healthz*", /version]
- level: Metadata
  verbs: [escalate, create]
"#;

pub struct Log {
    folder: tempfile::TempDir,
    log: Arc<AuditLog>,
}

fn settings(folder: &Path) -> AuditSettings {
    let path = folder.join("audit.log");
    AuditSettings { policy: folder.join("policy.yaml"), path, max_age: 0, max_backups: 0, max_size: 100 }
}

impl Log {
    pub fn of(world: &World, policy: &str) -> Log {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("policy.yaml"), policy).expect("written");
        let log = Arc::new(AuditLog::open(&settings(folder.path())).expect("a log"));
        world.server.has_audit(log.clone());
        Log { folder, log }
    }

    /// Everything that was written when this is there, too.
    pub async fn until(&self, is: impl Fn(&Value) -> bool) -> Vec<Value> {
        within(async {
            loop {
                let text = std::fs::read_to_string(self.folder.path().join("audit.log")).expect("a log");
                let whole = text.lines().filter(|_| text.ends_with('\n'));
                let events: Vec<Value> = whole.map(|line| serde_json::from_str(line).expect("JSON")).collect();
                if events.iter().any(&is) {
                    return events;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }
}

pub fn ended(path: &str) -> impl Fn(&Value) -> bool {
    move |event| event["requestURI"] == path && event["stage"] == "ResponseComplete"
}

#[tokio::test]
async fn requests_are_written_as_the_policy_says() {
    let world = World::start().await;
    let (root, log) = (world.root(), Log::of(&world, POLICY));
    let kim = world.user("kim", &["system:masters"]);
    let answer =
        kim.with("user-agent", "test/1").with("audit-id", "my-id").post(MAPS, &config_map("a", &[("k", "v")])).await;
    answer.expect(201);
    assert_eq!(answer.headers["audit-id"], "my-id");
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}});
    root.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    world.user("silent", &["system:masters"]).post(MAPS, &config_map("b", &[])).await.expect(201);
    root.post(PODS, &pod("web")).await.expect(201);
    root.patch(&format!("{PODS}/web"), "merge-patch", &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    root.get("/version").await.expect(200);
    root.get("/apis").await.expect(200);
    root.delete(&format!("{MAPS}/a")).await.expect(200);
    root.get("/healthz/ping").await;
    let events = log.until(ended("/healthz/ping")).await;
    let of = |verb: &str, path: &str| -> Vec<&Value> {
        events.iter().filter(|event| event["verb"] == verb && event["requestURI"] == path).collect()
    };

    let made = of("create", MAPS);
    assert_eq!(made.len(), 1, "one stage, and nothing of who is to be silent: {made:?}");
    let made = made[0];
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
    assert_eq!(
        (&made["auditID"], &made["userAgent"], &made["level"]),
        (&json!("my-id"), &json!("test/1"), &json!("RequestResponse"))
    );
    assert_eq!(made["user"], json!({"username": "kim", "groups": ["system:masters", "system:authenticated"]}));
    assert_eq!(made["sourceIPs"], json!(["127.0.0.1"]));
    let about = json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"});
    assert_eq!(made["objectRef"], about);
    assert_eq!(made["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(made["requestObject"]["data"], json!({"k": "v"}));
    assert!(made["responseObject"]["metadata"]["uid"].is_string());
    assert!(made["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(made["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(made["annotations"]["authorization.k8s.io/reason"], "");
    assert!(made["requestReceivedTimestamp"].as_str() <= made["stageTimestamp"].as_str());

    let secrets = of("create", "/api/v1/namespaces/default/secrets")[0];
    assert_eq!((&secrets["level"], &secrets["objectRef"]["name"]), (&json!("Metadata"), &json!("s")));
    assert!(!secrets.to_string().contains("hunter2"));
    let pods = of("create", PODS);
    let stages: Vec<&str> = pods.iter().filter_map(|event| event["stage"].as_str()).collect();
    assert_eq!(stages, ["ResponseComplete"], "what the policy omits, no rule brings back");
    assert_eq!(pods[0]["requestObject"]["spec"]["containers"][0]["name"], "web");
    assert!(pods[0].get("responseObject").is_none());
    let patched = of("patch", &format!("{PODS}/web"))[0];
    assert_eq!(patched["requestObject"], json!({"metadata": {"labels": {"a": "b"}}}));
    assert_eq!(patched["objectRef"]["name"], "web");
    assert_eq!(of("get", "/version")[0]["user"]["username"], "system:anonymous");
    assert!(of("get", "/apis").is_empty());
    let deleted = of("delete", &format!("{MAPS}/a"))[0];
    assert_eq!(
        (&deleted["responseStatus"]["status"], &deleted["responseStatus"]["code"]),
        (&json!("Success"), &json!(200))
    );
    let metrics = root.get("/metrics").await.text();
    assert!(metrics.contains("apiserver_audit_error_total{plugin=\"log\"} 0\n"), "{metrics}");
    assert!(metrics.contains("apiserver_audit_level_total{level=\"Request\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn refusals_say_who_was_refused_and_why() {
    let world = World::start().await;
    let everything = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";
    let (root, log) = (world.root(), Log::of(&world, everything));
    let role = json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    root.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &role).await.expect(201);
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "kim"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}});
    root.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding).await.expect(201);
    let acting = root.with("impersonate-user", "kim");
    acting.get(&format!("{PODS}/web")).await.refused(404);
    acting.get(PODS).await.refused(403);
    world.bearer("not.a.token").get(MAPS).await.refused(401);
    let events = log.until(|event| event["responseStatus"]["code"] == 401).await;
    let of = |path: &str| -> Vec<&Value> { events.iter().filter(|event| event["requestURI"] == path).collect() };
    let one = of(&format!("{PODS}/web"));
    assert_eq!((&one[0]["stage"], &one[1]["stage"]), (&json!("RequestReceived"), &json!("ResponseComplete")));
    assert_eq!(one[0]["auditID"], one[1]["auditID"]);
    assert_eq!((one[0].get("responseStatus"), one[0].get("annotations")), (None, None));
    assert_eq!(one[1]["impersonatedUser"]["username"], "kim");
    assert_eq!(one[1]["responseStatus"]["reason"], "NotFound");
    let reason = "RBAC: allowed by RoleBinding \"b/default\" of Role \"reader\" to User \"kim\"";
    assert_eq!(one[1]["annotations"]["authorization.k8s.io/reason"], reason);
    let all = of(PODS);
    assert_eq!(all[1]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(
        (&all[1]["responseStatus"]["code"], &all[1]["responseStatus"]["status"]),
        (&json!(403), &json!("Failure"))
    );
    let turned_away = of(MAPS);
    assert_eq!(turned_away.len(), 1, "{turned_away:?}");
    assert_eq!((&turned_away[0]["stage"], &turned_away[0]["user"]), (&json!("ResponseStarted"), &json!({})));
}

#[tokio::test]
async fn a_watch_is_written_when_it_begins_and_when_it_ends() {
    let world = World::start().await;
    let everything = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse}]}";
    let (root, log) = (world.root(), Log::of(&world, everything));
    let path = format!("{MAPS}?watch=true");
    let mut watch = Events::open(&root, &path).await;
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    while watch.step().await.1 != "a" {}
    let started = |event: &Value| event["requestURI"] == path.as_str() && event["stage"] == "ResponseStarted";
    let events = log.until(started).await;
    let event = events.iter().find(|event| started(event)).expect("there");
    assert_eq!((&event["verb"], &event["responseStatus"]["code"]), (&json!("watch"), &json!(200)));
    assert!(!events.iter().any(ended(&path)), "it goes on");
    drop((watch, root));
    let events = log.until(ended(&path)).await;
    assert!(events.iter().find(|event| ended(&path)(event)).expect("there").get("responseObject").is_none());
}

#[tokio::test]
async fn a_policy_or_a_log_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = AuditLog::open(&settings(folder.path())).expect_err("no policy");
    assert!(matches!(missing, AuditError::Policy { .. }));
    std::fs::write(folder.path().join("policy.yaml"), "kind: Policy").expect("written");
    let wrong = AuditLog::open(&settings(folder.path())).expect_err("no policy");
    assert!(matches!(wrong, AuditError::Meaning { .. }) && wrong.to_string().contains("policy.yaml"), "{wrong}");
    std::fs::write(folder.path().join("policy.yaml"), POLICY).expect("written");
    let nowhere = AuditSettings { path: folder.path().to_owned(), ..settings(folder.path()) };
    assert!(matches!(AuditLog::open(&nowhere), Err(AuditError::Log { .. })), "a folder is no file");
    // What came before the end is written, and nothing after it.
    let world = World::start().await;
    let log = Log::of(&world, "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}");
    world.root().send(Method::GET, MAPS, "").await.expect(200);
    log.log.close();
    let text = std::fs::read_to_string(log.folder.path().join("audit.log")).expect("a log");
    assert_eq!(text.lines().count(), 2, "{text}");
    world.root().send(Method::GET, MAPS, "").await.expect(200);
    assert!(world.root().get("/metrics").await.text().contains("apiserver_audit_error_total{plugin=\"log\"} "));
    assert_eq!(std::fs::read_to_string(log.folder.path().join("audit.log")).expect("a log"), text);
}

#[tokio::test]
async fn admission_policies_say_what_they_found() {
    let world = World::start().await;
    let (root, log) = (world.root(), Log::of(&world, POLICY));
    for (name, most) in [("limit-a", "1"), ("limit-b", "2")] {
        let mut limit = config_map(name, &[("most", most)]);
        limit["metadata"]["labels"] = json!({"limit": "yes"});
        root.post(MAPS, &limit).await.expect(201);
    }
    let group = "/apis/admissionregistration.k8s.io/v1";
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let policy = json!({"metadata": {"name": "small"}, "spec": {
        "matchConstraints": {"resourceRules": [rule]}, "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "true"}, {"expression": "size(object.data) <= 1", "message": "too large"}],
        "auditAnnotations": [{"key": "limit", "valueExpression": "params.data.most"}, {"key": "none", "valueExpression": "null"}]}});
    root.post(&format!("{group}/validatingadmissionpolicies"), &policy).await.expect(201);
    let params = json!({"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Deny"});
    let binding = json!({"metadata": {"name": "bound"},
        "spec": {"policyName": "small", "validationActions": ["Audit"], "paramRef": params}});
    root.post(&format!("{group}/validatingadmissionpolicybindings"), &binding).await.expect(201);
    root.post(MAPS, &config_map("large", &[("a", "1"), ("b", "2")])).await.expect(201);
    let large = |event: &Value| event["objectRef"]["name"] == "large" && event["stage"] == "ResponseComplete";
    let events = log.until(large).await;
    let said = &events.iter().find(|event| large(event)).expect("written")["annotations"];
    assert_eq!((&said["small/limit"], said.get("small/none")), (&json!("1, 2"), None), "{said}");
    let found = said["validation.policy.admission.k8s.io/validation_failure"].as_str().expect("a text");
    let found: Value = serde_json::from_str(found).expect("JSON");
    let expected = json!([{"message": "too large", "policy": "small", "binding": "bound", "expressionIndex": 1,
        "validationActions": ["Audit"]}]);
    assert_eq!(found, expected);
}
