//! What clients of Kubernetes switch on when they are refused: code, reason, what it is about and the causes, row by row
//! as an API server of Kubernetes answers.

use std::time::Duration;

use http::{HeaderMap, Method};
use http_body_util::{BodyExt, StreamBody};
use naru_client::Body;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, MAPS, PODS, World, config_map, pod, within};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

/// A refusal in one line: code, reason, group, kind and name of what it is about, then each cause with its field.
fn told(answer: &Answer) -> String {
    let status = answer.json();
    assert_eq!(
        (&status["kind"], &status["apiVersion"], &status["status"]),
        (&json!("Status"), &json!("v1"), &json!("Failure"))
    );
    assert_eq!(status["code"], answer.code.as_u16());
    assert_eq!(status["metadata"], json!({}));
    let details = &status["details"];
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let about = ["group", "kind", "name"].map(|field| word(&details[field])).join(" ");
    let mut line = format!("{} {} {about}", answer.code.as_u16(), word(&status["reason"]));
    for cause in details["causes"].as_array().into_iter().flatten() {
        line.push_str(&format!(" | {} {}", word(&cause["reason"]), word(&cause["field"])));
    }
    line
}

#[track_caller]
fn judge(answer: &Answer, line: &str, message: &str) {
    assert_eq!(told(answer), line, "{}", answer.text());
    let said = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains(message), "{said}\nlacks {message}");
}

/// The same with another field at a place (`/spec/x`).
fn with(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("its parent")[field] = value;
    object
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[tokio::test]
async fn objects_that_are_not_there_are_there_or_are_others() {
    let world = World::start().await;
    let root = world.root();
    let made = root.post(MAPS, &config_map("a", &[("k", "v")])).await.expect(201);
    let a = format!("{MAPS}/a");
    let none = format!("{MAPS}/none");
    let missing = "404 NotFound - configmaps none";
    let text = "configmaps \"none\" not found";
    judge(&root.get(&none).await, missing, text);
    judge(&root.delete(&none).await, missing, text);
    judge(&root.put(&none, &config_map("none", &[])).await, missing, text);
    judge(&root.patch(&none, "merge-patch", &json!({})).await, missing, text);
    let answer = root.get(&format!("{DEPLOYMENTS}/none")).await;
    judge(&answer, "404 NotFound apps deployments none", "deployments.apps \"none\" not found");
    let answer = root.post("/api/v1/namespaces/no/configmaps", &config_map("a", &[])).await;
    judge(&answer, "404 NotFound - namespaces no", "namespaces \"no\" not found");

    let answer = root.post(MAPS, &config_map("a", &[])).await;
    judge(&answer, "409 AlreadyExists - configmaps a", "configmaps \"a\" already exists");
    let conflict = "409 Conflict - configmaps a";
    let stale = with(&made, "/metadata/resourceVersion", json!("1"));
    let text = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
                changes to the latest version and try again";
    judge(&root.put(&a, &stale).await, conflict, text);
    judge(&root.patch(&a, "merge-patch", &json!({"metadata": {"resourceVersion": "1"}})).await, conflict, text);
    let other = with(&made, "/metadata/uid", json!("x"));
    judge(&root.put(&a, &other).await, conflict, "Precondition failed: UID in precondition: x, UID in object meta: ");
    for (field, value) in [("uid", "x"), ("resourceVersion", "1")] {
        let options = json!({"preconditions": {field: value}}).to_string();
        judge(&root.send(Method::DELETE, &a, options).await, conflict, "Precondition failed: ");
    }
    let named = with(&made, "/metadata/name", json!("b"));
    let text = "the name of the object (b) does not match the name on the URL (a)";
    judge(&root.put(&a, &named).await, "400 BadRequest - - -", text);
    let placed = with(&made, "/metadata/namespace", json!("kube-system"));
    let text = "the namespace of the provided object does not match the namespace sent on the request";
    judge(&root.put(&a, &placed).await, "400 BadRequest - - -", text);
}

#[tokio::test]
async fn objects_that_break_rules() {
    let world = World::start().await;
    let root = world.root();
    let nameless = "422 Invalid - ConfigMap - | FieldValueRequired metadata.name";
    judge(&root.post(MAPS, &json!({"metadata": {}})).await, nameless, "name or generateName is required");
    let line = "422 Invalid - ConfigMap A_ | FieldValueInvalid metadata.name";
    judge(
        &root.post(MAPS, &config_map("A_", &[])).await,
        line,
        "ConfigMap \"A_\" is invalid: metadata.name: Invalid value: \"A_\"",
    );

    let rows = [
        (json!({"containers": []}), "FieldValueRequired spec.containers", "spec.containers: Required value"),
        (
            json!({"containers": [{"image": "i"}, {"name": "b", "image": "i", "imagePullPolicy": "Now"}]}),
            "FieldValueRequired spec.containers[0].name | FieldValueNotSupported spec.containers[1].imagePullPolicy",
            "Pod \"p\" is invalid: [spec.containers[0].name: Required value, spec.containers[1].imagePullPolicy: \
             Unsupported value: \"Now\": supported values: \"Always\", \"IfNotPresent\", \"Never\"]",
        ),
        (
            json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}),
            "FieldValueDuplicate spec.containers[1].name",
            "spec.containers[1].name: Duplicate value: \"a\"",
        ),
    ];
    for (spec, causes, text) in rows {
        let answer = root.post(PODS, &json!({"metadata": {"name": "p"}, "spec": spec})).await;
        judge(&answer, &format!("422 Invalid - Pod p | {causes}"), text);
    }

    root.post(DEPLOYMENTS, &deployment()).await.expect(201);
    let mut moved = deployment();
    for place in ["/spec/selector/matchLabels/app", "/spec/template/metadata/labels/app"] {
        moved = with(&moved, place, json!("other"));
    }
    let answer = root.put(&format!("{DEPLOYMENTS}/web"), &moved).await;
    judge(&answer, "422 Invalid apps Deployment web | FieldValueInvalid spec.selector", "field is immutable");
    let fixed = with(&config_map("fixed", &[("k", "v")]), "/immutable", json!(true));
    root.post(MAPS, &fixed).await.expect(201);
    let answer = root.patch(&format!("{MAPS}/fixed"), "merge-patch", &json!({"data": {"k": "w"}})).await;
    let text = "data: Forbidden: field is immutable when `immutable` is set";
    judge(&answer, "422 Invalid - ConfigMap fixed | FieldValueForbidden data", text);

    let held = with(&config_map("held", &[]), "/metadata/finalizers", json!(["example.com/a"]));
    root.post(MAPS, &held).await.expect(201);
    root.delete(&format!("{MAPS}/held")).await.expect(200);
    let more = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b"]}});
    let answer = root.patch(&format!("{MAPS}/held"), "merge-patch", &more).await;
    let text = "no new finalizers can be added if the object is being deleted";
    judge(&answer, "422 Invalid - ConfigMap held | FieldValueForbidden metadata.finalizers", text);
}

#[tokio::test]
async fn bodies_and_forms_that_nobody_understands() {
    let world = World::start().await;
    let root = world.root();
    let bad = "400 BadRequest - - -";
    judge(&root.send(Method::POST, MAPS, "{").await, bad, "");
    let wrong = json!({"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "x"}});
    judge(&root.post(MAPS, &wrong).await, bad, "");
    let unknown = json!({"metadata": {"name": "x"}, "datta": {}});
    let answer = root.post(&format!("{MAPS}?fieldValidation=Strict"), &unknown).await;
    judge(&answer, bad, "strict decoding error: unknown field \"datta\"");

    let unsupported = "415 UnsupportedMediaType - - -";
    let body = "the body of the request was in an unknown format - accepted media types include: ";
    let answer = root.with("content-type", "text/plain").send(Method::POST, MAPS, "hello").await;
    let text = format!("{body}application/json, application/yaml, application/vnd.kubernetes.protobuf");
    judge(&answer, unsupported, &text);
    let answer = root.with("content-type", "application/json").send(Method::PATCH, &format!("{MAPS}/a"), "{}").await;
    let text = format!(
        "{body}application/json-patch+json, application/merge-patch+json, \
         application/strategic-merge-patch+json, application/apply-patch+yaml"
    );
    judge(&answer, unsupported, &text);
    let answer = root.with("accept", "image/png").get(MAPS).await;
    judge(
        &answer,
        "406 NotAcceptable - - -",
        "only the following media types are accepted: application/json, application/yaml",
    );
    let large = config_map("x", &[("k", &"x".repeat(4 << 20))]).to_string();
    let text = "Request entity too large: limit is 3145728";
    judge(&root.send(Method::POST, MAPS, large).await, "413 RequestEntityTooLarge - - -", text);

    root.post(MAPS, &config_map("a", &[("k", "v")])).await.expect(201);
    let a = format!("{MAPS}/a");
    let answer = root.patch(&a, "merge-patch", &json!([])).await;
    judge(&answer, bad, "");
    let failing = json!([{"op": "test", "path": "/data/k", "value": "w"}]);
    let answer = root.patch(&a, "json-patch", &failing).await;
    assert_eq!((answer.code.as_u16(), &answer.json()["reason"]), (422, &json!("Invalid")));
}

#[tokio::test]
async fn options_that_mean_nothing() {
    let world = World::start().await;
    let root = world.root();
    let map = config_map("a", &[("k", "v")]);
    let options = |kind: &str, causes: &str| format!("422 Invalid meta.k8s.io {kind} - | {causes}");
    let answer = root.post(&format!("{MAPS}?dryRun=maybe"), &map).await;
    judge(&answer, &options("CreateOptions", "FieldValueNotSupported dryRun"), "supported values: \"All\"");
    let answer = root.post(&format!("{MAPS}?fieldValidation=Hm"), &map).await;
    let text = "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Hm\": supported values: \
                \"\", \"Ignore\", \"Strict\", \"Warn\"";
    judge(&answer, &options("CreateOptions", "FieldValueNotSupported fieldValidation"), text);
    let long = "m".repeat(129);
    let answer = root.post(&format!("{MAPS}?fieldManager={long}"), &map).await;
    judge(&answer, &options("CreateOptions", "FieldValueTooLong fieldManager"), "may not be more than 128 bytes");
    root.post(MAPS, &map).await.expect(201);
    let a = format!("{MAPS}/a");
    let answer = root.put(&format!("{a}?fieldManager={long}&dryRun=x"), &map).await;
    let both = "FieldValueTooLong fieldManager | FieldValueNotSupported dryRun";
    judge(&answer, &options("UpdateOptions", both), "UpdateOptions.meta.k8s.io \"\" is invalid: [");
    let answer = root.patch(&format!("{a}?force=true"), "merge-patch", &json!({})).await;
    let text = "force: Forbidden: may not be specified for non-apply patch";
    judge(&answer, &options("PatchOptions", "FieldValueForbidden force"), text);
    let apply = root.with("content-type", "application/apply-patch+yaml");
    let answer = apply.send(Method::PATCH, &a, map.to_string()).await;
    let text = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
    judge(&answer, &options("PatchOptions", "FieldValueRequired fieldManager"), text);
    let owned = with(&map, "/metadata/managedFields", json!([{}]));
    let answer = apply.send(Method::PATCH, &format!("{a}?fieldManager=me"), owned.to_string()).await;
    judge(&answer, "400 BadRequest - - -", "metadata.managedFields must be nil");
    let other = config_map("a", &[("k", "w")]).to_string();
    let answer = apply.send(Method::PATCH, &format!("{a}?fieldManager=me"), other).await;
    let text = "Apply failed with 1 conflict: conflict with \"unknown\" using v1: .data.k";
    judge(&answer, "409 Conflict - configmaps - | FieldManagerConflict .data.k", text);

    let bad = "400 BadRequest - - -";
    judge(&root.get(&format!("{MAPS}?labelSelector=a==b==c")).await, bad, "");
    judge(&root.get(&format!("{MAPS}?fieldSelector=data.k=v")).await, bad, "field label not supported: data.k");
    judge(&root.get(&format!("{MAPS}?continue=abc")).await, bad, "continue key is not valid");
    let answer = root.get(&format!("{MAPS}?timeout=soon")).await;
    judge(&answer, bad, "invalid timeout specified in the request URL");
    let answer = root.get(&format!("{a}?resourceVersion=999999999")).await;
    judge(&answer, "504 Timeout - - - | ResourceVersionTooLarge ", "Too large resource version: 999999999, current: ");
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn who_may_not_and_not_now() {
    let world = World::start().await;
    let root = world.root();
    judge(&world.bearer("nonsense").get(MAPS).await, "401 Unauthorized - - -", "Unauthorized");
    let kim = world.user("kim", &[]);
    let text = "configmaps is forbidden: User \"kim\" cannot list resource \"configmaps\" in API group \"\" in the \
                namespace \"default\"";
    judge(&kim.get(MAPS).await, "403 Forbidden - configmaps -", text);
    let text = "deployments.apps \"web\" is forbidden: User \"kim\" cannot get resource \"deployments\" in API group \
                \"apps\" in the namespace \"default\"";
    judge(&kim.get(&format!("{DEPLOYMENTS}/web")).await, "403 Forbidden apps deployments web", text);

    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/leases.coordination.k8s.io": "0"}}});
    root.post("/api/v1/namespaces/default/resourcequotas", &quota).await.expect(201);
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    let answer = root.post(LEASES, &lease).await;
    judge(&answer, "403 Forbidden coordination.k8s.io leases l", "exceeded quota: q, requested: count/leases");

    root.post("/api/v1/namespaces", &json!({"metadata": {"name": "going"}})).await.expect(201);
    root.delete("/api/v1/namespaces/going").await.expect(200);
    let answer = root.post("/api/v1/namespaces/going/configmaps", &config_map("x", &[])).await;
    let line = "403 Forbidden - configmaps x | NamespaceTerminating metadata.namespace";
    judge(&answer, line, "unable to create new content in namespace going because it is being terminated");

    root.post(PODS, &pod("p")).await.expect(201);
    let bind = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    root.post(&format!("{PODS}/p/binding"), &bind).await.expect(201);
    let answer = root.post(&format!("{PODS}/p/binding"), &bind).await;
    judge(&answer, "409 Conflict - pods/binding p", "pod p is already assigned to node \"n\"");

    let answer = root.send(Method::POST, &format!("{MAPS}/a"), "{}").await;
    assert_eq!((answer.code.as_u16(), &answer.json()["reason"]), (405, &json!("MethodNotAllowed")));
}

#[tokio::test]
async fn some_kinds_are_only_replaced_by_who_says_which_state_was_seen() {
    let world = World::start().await;
    let root = world.root();
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    let made = root.post(LEASES, &lease).await.expect(201);
    let path = format!("{LEASES}/l");
    let line = "422 Invalid coordination.k8s.io leases l | FieldValueInvalid metadata.resourceVersion";
    let text = "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be \
                specified for an update";
    judge(&root.put(&path, &lease).await, line, text);
    root.put(&path, &with(&made, "/spec/holderIdentity", json!("you"))).await.expect(200);
    root.patch(&path, "merge-patch", &json!({"spec": {"holderIdentity": "them"}})).await.expect(200);
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {}}});
    root.post(budgets, &budget).await.expect(201);
    let line = "422 Invalid policy poddisruptionbudgets b | FieldValueInvalid metadata.resourceVersion";
    judge(&root.put(&format!("{budgets}/b"), &budget).await, line, "must be specified for an update");
    // Of most kinds nobody needs to know.
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    root.put(&format!("{MAPS}/a"), &config_map("a", &[("k", "v")])).await.expect(200);
}

/// A body of which nothing ever comes.
fn silent() -> Body {
    let nothing = futures_util::stream::pending::<Result<http_body::Frame<bytes::Bytes>, naru_client::BoxError>>();
    StreamBody::new(nothing).boxed_unsync()
}

async fn waiting(caller: &Caller, path: &str) -> Answer {
    let mut request = caller.request(Method::POST, path, silent());
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    let response = within(caller.transport.call(request)).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = within(body.collect()).await.expect("a body").to_bytes();
    Answer { code: parts.status, headers: HeaderMap::new(), bytes }
}

#[tokio::test]
async fn a_request_ends_when_its_time_is_over() {
    let world = World::start().await;
    let root = world.inside(naru_apiserver::User::new("root", &["system:masters"]));
    let text = "Timeout: request did not complete within requested timeout - context deadline exceeded";
    judge(&waiting(&root, &format!("{MAPS}?timeout=50ms")).await, "504 Timeout - - -", text);
    // What lasts by nature is not told so: a watch goes on.
    let mut watch = root.open(&format!("{MAPS}?watch=true&timeout=50ms&fieldSelector=metadata.name=none")).await;
    assert_eq!(watch.status(), 200);
    tokio::time::timeout(Duration::from_millis(300), watch.body_mut().frame()).await.expect_err("it goes on");
}
