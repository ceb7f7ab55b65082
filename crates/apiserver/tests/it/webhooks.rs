//! Admission webhooks: real HTTPS servers that are asked, change and refuse.

mod below;
mod conformance;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::{MAPS, PODS, World, config_map, pod};

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

type Answers = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// A webhook in this process. It answers each request with the fields of `response` that its closure gives; null: never.
pub struct Hook {
    port: u16,
    authority: String,
    asked: Arc<Mutex<Vec<Value>>>,
    serving: AbortHandle,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Hook {
    pub async fn start(world: &World, answers: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Hook {
        let issued = world.authority.server_certificate(&["127.0.0.1".to_owned()]).unwrap();
        let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, answers): (Arc<Mutex<Vec<Value>>>, Answers) = (Arc::default(), Arc::new(answers));
        let seen = asked.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, answers) = (acceptor.clone(), seen.clone(), answers.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let serve = service_fn(move |request| answer(request, seen.clone(), answers.clone()));
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        let authority = STANDARD.encode(world.authority.certificate());
        Hook { port, authority, asked, serving: serving.abort_handle() }
    }

    /// A configuration that has it asked about ConfigMaps; `more` replaces fields of the webhook.
    fn configuration(&self, kind: &str, name: &str, more: &Value) -> Value {
        let mut webhook = json!({
            "name": format!("{name}.example.org"),
            "clientConfig": self.client(),
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "admissionReviewVersions": ["v1"], "sideEffects": "None",
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            webhook[field] = value.clone();
        }
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
            "webhooks": [webhook]})
    }

    async fn judges(&self, world: &World, name: &str, more: &Value) {
        let configuration = self.configuration("ValidatingWebhookConfiguration", name, more);
        world.root().post(VALIDATING, &configuration).await.expect(201);
    }

    pub async fn changes(&self, world: &World, name: &str, more: &Value) {
        let configuration = self.configuration("MutatingWebhookConfiguration", name, more);
        world.root().post(MUTATING, &configuration).await.expect(201);
    }

    /// How it is reached.
    pub fn client(&self) -> Value {
        json!({"url": format!("https://127.0.0.1:{}/hook", self.port), "caBundle": self.authority})
    }

    /// What it was asked since the last time.
    pub fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock())
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Value>>>,
    answers: Answers,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).expect("JSON");
    let mut response = answers(&review["request"]);
    if response.is_null() {
        std::future::pending::<()>().await;
    }
    response["uid"] = review["request"]["uid"].clone();
    seen.lock().push(review["request"].clone());
    let answer = json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response});
    Ok(Response::new(Full::new(answer.to_string().into())))
}

fn allowed() -> Value {
    json!({"allowed": true})
}

pub fn patched(patch: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
}

#[tokio::test]
async fn a_webhook_refuses_in_its_own_words() {
    let world = World::start().await;
    let root = world.root();
    let refuses = |request: &Value| {
        let object = if request["object"].is_null() { &request["oldObject"] } else { &request["object"] };
        match object["data"]["policy"].as_str() {
            Some("deny") => {
                json!({"allowed": false, "warnings": ["mind the policy"], "status": {"message": "not this one"}})
            }
            Some("teapot") => {
                json!({"allowed": false, "status": {"message": "short", "code": 418, "reason": "Teapot"}})
            }
            Some("silent") => json!({"allowed": false}),
            _ => json!({"allowed": true, "warnings": ["looked at"]}),
        }
    };
    let hook = Hook::start(&world, refuses).await;
    hook.judges(&world, "judge", &json!({})).await;
    let with = |name: &str, policy: &str| config_map(name, &[("policy", policy)]);

    let refused = root.post(MAPS, &with("a", "deny")).await.refused(403);
    assert_eq!(refused, "admission webhook \"judge.example.org\" denied the request: not this one");
    assert_eq!(root.post(MAPS, &with("a", "teapot")).await.code.as_u16(), 418);
    let silent = root.post(MAPS, &with("a", "silent")).await.refused(403);
    assert!(silent.ends_with("denied the request without explanation"), "{silent}");
    root.get(&format!("{MAPS}/a")).await.refused(404);
    hook.asked();

    let made = root.post(MAPS, &with("a", "fine")).await;
    made.expect(201);
    assert_eq!(made.headers["warning"], "299 - \"looked at\"");
    let path = format!("{MAPS}/a");
    root.patch(&path, "merge-patch", &json!({"data": {"policy": "deny"}})).await.refused(403);
    root.patch(&path, "merge-patch", &json!({"data": {"more": "x"}})).await.expect(200);
    let asked = hook.asked();
    assert_eq!(
        asked.iter().map(|request| request["operation"].as_str().unwrap()).collect::<Vec<_>>(),
        ["CREATE", "UPDATE", "UPDATE"]
    );
    let create = &asked[0];
    assert_eq!(create["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(create["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&create["name"], &create["namespace"]), (&json!("a"), &json!("default")));
    assert_eq!((&create["dryRun"], &create["options"]["kind"]), (&json!(false), &json!("CreateOptions")));
    assert!(create["userInfo"]["groups"].as_array().is_some_and(|groups| groups.contains(&json!("system:masters"))));
    assert!(create["oldObject"].is_null() && create["object"]["metadata"]["uid"].is_string());
    assert_eq!(
        (&asked[2]["oldObject"]["data"]["policy"], &asked[2]["object"]["data"]["more"]),
        (&json!("fine"), &json!("x"))
    );

    // Removing is judged by what is there.
    root.delete(&path).await.expect(200);
    let asked = hook.asked();
    assert_eq!((&asked[0]["operation"], &asked[0]["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(asked[0]["oldObject"]["data"]["more"], "x");

    // Without the configuration nobody is asked.
    root.delete(&format!("{VALIDATING}/judge")).await.expect(200);
    root.post(MAPS, &with("b", "deny")).await.expect(201);
    assert!(hook.asked().is_empty());
}

#[tokio::test]
async fn webhooks_change_objects_one_after_another_and_defaults_follow() {
    let world = World::start().await;
    let root = world.root();
    let first = Hook::start(&world, |request| match request["object"]["data"]["step"].as_str() {
        Some("0") => patched(&json!([{"op": "replace", "path": "/data/step", "value": "1"}])),
        Some("2") => patched(&json!([{"op": "add", "path": "/data/again", "value": "yes"}])),
        _ => allowed(),
    })
    .await;
    let second = Hook::start(&world, |request| match request["object"]["data"]["step"].as_str() {
        Some("1") => patched(&json!([{"op": "replace", "path": "/data/step", "value": "2"}])),
        _ => allowed(),
    })
    .await;
    first.changes(&world, "a", &json!({"reinvocationPolicy": "IfNeeded"})).await;
    second.changes(&world, "b", &json!({})).await;
    let made = root.post(MAPS, &config_map("steps", &[("step", "0")])).await.expect(201);
    assert_eq!(made["data"], json!({"step": "2", "again": "yes"}));
    assert_eq!((first.asked().len(), second.asked().len()), (2, 1));

    // What a webhook adds to a pod gets its defaults, and what it adds that no pod has goes.
    let pods = Hook::start(&world, |_| {
        let container = json!({"name": "side", "image": "side:1", "ports": [{"containerPort": 80}]});
        patched(&json!([{"op": "add", "path": "/spec/containers/-", "value": container},
            {"op": "add", "path": "/spec/nothing", "value": 1}]))
    })
    .await;
    let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["pods"]}]);
    pods.changes(&world, "c", &json!({"rules": rules})).await;
    let made = root.post(PODS, &pod("web")).await.expect(201);
    let side = &made["spec"]["containers"][1];
    assert_eq!((&side["ports"][0]["protocol"], &side["imagePullPolicy"]), (&json!("TCP"), &json!("IfNotPresent")));
    assert!(made["spec"].get("nothing").is_none());
    let mounts = |container: &Value| container["volumeMounts"].as_array().map_or(0, Vec::len);
    assert_eq!((mounts(&made["spec"]["containers"][0]), mounts(side)), (1, 1), "the token, once each: {made}");
}

#[tokio::test]
async fn a_webhook_that_cannot_be_asked_stops_requests_or_is_passed_over() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, |_| Value::Null).await;
    let slow = json!({"timeoutSeconds": 1});
    hook.judges(&world, "slow", &slow).await;
    let refused = root.post(MAPS, &config_map("a", &[])).await.refused(500);
    assert!(
        refused.contains("failed calling webhook \"slow.example.org\"") && refused.contains("deadline exceeded"),
        "{refused}"
    );
    root.delete(&format!("{VALIDATING}/slow")).await.expect(200);

    let nowhere = json!({"clientConfig": {"service": {"namespace": "default", "name": "nobody"}}});
    hook.judges(&world, "nowhere", &nowhere).await;
    let refused = root.post(MAPS, &config_map("a", &[])).await.refused(500);
    assert!(refused.contains("service \"nobody\" not found"), "{refused}");
    // It never stands in the way of its own removal.
    let all = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    root.patch(
        &format!("{VALIDATING}/nowhere"),
        "json-patch",
        &json!([{"op": "replace", "path": "/webhooks/0/rules", "value": all}]),
    )
    .await
    .expect(200);
    root.post(MAPS, &config_map("a", &[])).await.refused(500);
    root.delete(&format!("{VALIDATING}/nowhere")).await.expect(200);

    let mut passed = nowhere.clone();
    passed["failurePolicy"] = "Ignore".into();
    hook.judges(&world, "passed", &passed).await;
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
}

#[tokio::test]
async fn services_are_asked_at_their_endpoints() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, |_| json!({"allowed": false, "status": {"message": "found"}})).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
        "spec": {"ports": [{"name": "web", "port": 8443}]}});
    root.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "ports": [{"name": "web", "port": hook.port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]});
    root.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await.expect(201);
    let at = json!({"service": {"namespace": "default", "name": "hook", "port": 8443, "path": "/x"}, "caBundle": hook.authority});
    hook.judges(&world, "service", &json!({"clientConfig": at})).await;
    // The certificate is for 127.0.0.1, and a service is recognised by its name.
    let refused = root.post(MAPS, &config_map("a", &[])).await.refused(500);
    assert!(
        refused.contains("https://hook.default.svc:8443/x?timeout=10s") && refused.contains("certificate"),
        "{refused}"
    );
}

#[tokio::test]
async fn only_what_is_selected_is_asked_about() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, |_| json!({"allowed": false, "status": {"message": "asked"}})).await;
    root.post("/api/v1/namespaces", &json!({"metadata": {"name": "free", "labels": {"hooks": "off"}}}))
        .await
        .expect(201);
    let more = json!({
        "namespaceSelector": {"matchExpressions": [{"key": "hooks", "operator": "NotIn", "values": ["off"]}]},
        "objectSelector": {"matchLabels": {"watched": "yes"}},
        "matchConditions": [{"name": "not-me", "expression": "object.metadata.name != 'skip-me'"}],
    });
    hook.judges(&world, "some", &more).await;
    let of = |name: &str, watched: &str| {
        let mut map = config_map(name, &[]);
        map["metadata"]["labels"] = json!({"watched": watched});
        map
    };
    root.post(MAPS, &of("a", "no")).await.expect(201);
    root.post(MAPS, &of("skip-me", "yes")).await.expect(201);
    root.post("/api/v1/namespaces/free/configmaps", &of("a", "yes")).await.expect(201);
    root.post(MAPS, &of("b", "yes")).await.refused(403);
    assert_eq!(hook.asked().len(), 1);
    // A condition that cannot be evaluated counts as the webhook's failure.
    let broken = json!([{"op": "replace", "path": "/webhooks/0/matchConditions/0/expression", "value": "object.data.none == 'x'"}]);
    root.patch(&format!("{VALIDATING}/some"), "json-patch", &broken).await.expect(200);
    let refused = root.post(MAPS, &of("b", "yes")).await.refused(403);
    assert!(refused.contains("not-me"), "{refused}");
    let wrong = json!([{"op": "replace", "path": "/webhooks/0/matchConditions/0/expression", "value": "object."}]);
    let refused = root.patch(&format!("{VALIDATING}/some"), "json-patch", &wrong).await.refused(422);
    assert!(
        refused.contains("webhooks[0].matchConditions[0].expression") && refused.contains("compilation failed"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_dry_run_asks_only_those_that_bear_it() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, |_| allowed()).await;
    hook.judges(&world, "bears", &json!({})).await;
    let path = format!("{MAPS}?dryRun=All");
    root.post(&path, &config_map("a", &[])).await.expect(201);
    let asked = hook.asked();
    assert_eq!((&asked[0]["dryRun"], &asked[0]["options"]["dryRun"]), (&json!(true), &json!(["All"])));
    root.get(&format!("{MAPS}/a")).await.refused(404);
    let some = json!([{"op": "replace", "path": "/webhooks/0/sideEffects", "value": "Some"}]);
    // New configurations may not say so; those of older clusters do.
    if root.patch(&format!("{VALIDATING}/bears"), "json-patch", &some).await.code == 200 {
        let refused = root.post(&path, &config_map("a", &[])).await.refused(400);
        assert!(refused.contains("does not support dry run"), "{refused}");
    }
    assert!(hook.asked().is_empty());
}

#[tokio::test]
async fn streams_into_pods_are_judged() {
    let world = World::start().await;
    let root = world.root();
    let hook =
        Hook::start(&world, |_| json!({"allowed": false, "status": {"message": "attaching to pod is not allowed"}}))
            .await;
    let rules =
        json!([{"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/attach"]}]);
    hook.judges(&world, "attach", &json!({"rules": rules})).await;
    let mut web = pod("web");
    web["spec"]["nodeName"] = "node-1".into();
    root.post(PODS, &web).await.expect(201);
    let attach = format!("{PODS}/web/attach?stdin=true&tty=true");
    let refused = root.send(Method::POST, &attach, "").await.refused(403);
    assert!(refused.contains("attaching to pod is not allowed"), "{refused}");
    let asked = hook.asked();
    assert_eq!((&asked[0]["operation"], &asked[0]["subResource"]), (&json!("CONNECT"), &json!("attach")));
    assert_eq!((&asked[0]["kind"]["kind"], &asked[0]["object"]["stdin"]), (&json!("PodAttachOptions"), &json!(true)));
    // Others are not its business; this one fails for the node's absence.
    assert_ne!(root.send(Method::POST, &format!("{PODS}/web/exec?command=ls&stdout=true"), "").await.code, 403);
}

#[tokio::test]
async fn policies_change_objects_before_webhooks_do_and_see_what_those_did() {
    let world = World::start().await;
    let root = world.root();
    let hook = Hook::start(&world, |request| match &request["object"]["data"]["by-hook"] {
        Value::Null => patched(&json!([{"op": "add", "path": "/data/by-hook", "value": "1"}])),
        _ => allowed(),
    })
    .await;
    hook.changes(&world, "adds", &json!({"reinvocationPolicy": "IfNeeded"})).await;
    let expression = "'by-hook' in object.data ? [JSONPatch{op: 'add', path: '/data/saw-hook', value: '1'}] \
                      : [JSONPatch{op: 'add', path: '/data/by-policy', value: '1'}]";
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let of = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "looks"}, "spec": spec});
    let policy = json!({"matchConstraints": {"resourceRules": [rule]}, "reinvocationPolicy": "IfNeeded",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]});
    let group = "/apis/admissionregistration.k8s.io/v1";
    let path = format!("{group}/mutatingadmissionpolicies");
    root.post(&path, &of("MutatingAdmissionPolicy", policy)).await.expect(201);
    let binding = of("MutatingAdmissionPolicyBinding", json!({"policyName": "looks"}));
    root.post(&format!("{group}/mutatingadmissionpolicybindings"), &binding).await.expect(201);
    let made = root.post(MAPS, &config_map("a", &[("own", "1")])).await.expect(201);
    assert_eq!(made["data"], json!({"own": "1", "by-policy": "1", "by-hook": "1", "saw-hook": "1"}));
    let seen: Vec<Value> = hook.asked().iter().map(|asked| asked["object"]["data"].clone()).collect();
    assert_eq!(
        seen,
        [json!({"own": "1", "by-policy": "1"}), made["data"].clone()],
        "it is told what the policy did since"
    );
}

#[tokio::test]
async fn conditions_ask_who_may_do_what() {
    let world = World::start().await;
    let root = world.root();
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    for (user, verbs) in [("kim", json!(["create", "break-glass"])), ("lee", json!(["create"]))] {
        let role = json!({"metadata": {"name": user}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]});
        root.post(&format!("{rbac}/roles"), &role).await.expect(201);
        let binding = json!({"metadata": {"name": user}, "subjects": [{"kind": "User", "name": user}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}});
        root.post(&format!("{rbac}/rolebindings"), &binding).await.expect(201);
    }
    let hook = Hook::start(&world, |_| json!({"allowed": false, "status": {"message": "closed"}})).await;
    let conditions = json!({"matchConditions": [
        {"name": "glass", "expression": "!authorizer.requestResource.check('break-glass').allowed()"}]});
    hook.judges(&world, "closes", &conditions).await;
    world.user("kim", &[]).post(MAPS, &config_map("kim", &[])).await.expect(201);
    assert!(hook.asked().is_empty());
    assert!(world.user("lee", &[]).post(MAPS, &config_map("lee", &[])).await.refused(403).contains("closed"));
}
