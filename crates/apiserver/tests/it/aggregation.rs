//! Further servers behind this one, with a real one that speaks HTTPS.

pub mod sample;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use naru_client::{HttpTransport, TlsSettings, empty_body};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::audit::{Log, ended};
use crate::support::{Caller, World, within};
use sample::{FLUNDERS, GROUP, HOME, OBJECT, OBJECTS, Sample};

const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

async fn world() -> (World, Sample) {
    let world = World::start().await;
    world.root().post("/api/v1/namespaces", &json!({"metadata": {"name": "wardle"}})).await.expect(201);
    let sample = Sample::start(&world).await;
    (world, sample)
}

/// Reads until what is read is as it should be.
async fn until(caller: &Caller, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    within(async {
        loop {
            let answer = caller.get(path).await;
            let value = serde_json::from_slice(&answer.bytes).unwrap_or(Value::Null);
            if is(&value) {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

fn available(object: &Value) -> Value {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|c| c["type"] == "Available").cloned().unwrap_or_default()
}

pub async fn becomes(root: &Caller, reason: &str) -> Value {
    let object = until(root, OBJECT, |object| available(object)["reason"] == reason).await;
    available(&object)
}

/// A user who may do everything to flunders, and nothing else.
async fn wardler(world: &World, name: &str) -> Caller {
    let role = json!({"metadata": {"name": "wardler"}, "rules": [{"apiGroups": [GROUP], "resources": ["flunders", "flunders/console"], "verbs": ["*"]}]});
    world.root().post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let binding = json!({"metadata": {"name": "wardler"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "wardler"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]});
    world.root().post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    world.user(name, &["sailors"])
}

#[tokio::test]
async fn a_sample_server_is_served_through_this_one() {
    let (world, sample) = world().await;
    let root = world.root();
    sample.is_reached(&root).await;
    assert_eq!(root.get(FLUNDERS).await.code, 404);
    root.post(OBJECTS, &sample.object()).await.expect(201);
    let found = becomes(&root, "Passed").await;
    assert_eq!((&found["status"], &found["message"]), (&json!("True"), &json!("all checks passed")));

    // This server judges first, then the other one, which asks back.
    world.user("lee", &[]).get(FLUNDERS).await.refused(403);
    assert!(sample.heard().is_empty());
    let kim = wardler(&world, "kim").await;
    let forged = kim.with("x-remote-user", "root").with("x-remote-group", "system:masters");
    let made = forged.post(FLUNDERS, &json!({"metadata": {"name": "dogger"}})).await.expect(201);
    assert_eq!(made["kind"], "Flunder");
    let heard = sample.heard().remove(0);
    let of = |name: &str| -> Vec<&str> { heard.get_all(name).iter().map(|v| v.to_str().expect("text")).collect() };
    assert_eq!(of("x-remote-user"), ["kim"]);
    assert_eq!(of("x-remote-group"), ["sailors", "system:authenticated"]);
    assert_eq!(of("x-forwarded-for"), ["127.0.0.1"]);
    let token = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token = root.post(token, &json!({"spec": {}})).await;
    if token.code == 201 {
        let bearer = world.bearer(token.json()["status"]["token"].as_str().expect("a token"));
        bearer.get(FLUNDERS).await.refused(403);
    }

    // Every form of request passes through.
    assert_eq!(kim.get(FLUNDERS).await.expect(200)["items"][0]["metadata"]["name"], "dogger");
    kim.get(&format!("{FLUNDERS}/dogger")).await.expect(200);
    assert_eq!(kim.get(&format!("{FLUNDERS}/fisher")).await.text(), "no such flunder");
    let mut watch = kim.open(&format!("{FLUNDERS}?watch=true")).await.into_body();
    let event = within(watch.frame()).await.expect("a frame").expect("an event").into_data().expect("data");
    assert!(String::from_utf8_lossy(&event).contains("\"ADDED\""));
    drop(watch);
    let mut console = kim.request(Method::GET, &format!("{FLUNDERS}/dogger/console"), empty_body());
    console.headers_mut().insert("connection", "Upgrade".parse().expect("a header"));
    console.headers_mut().insert("upgrade", "echo".parse().expect("a header"));
    let (head, mut stream) = within(kim.transport.upgrade(console)).await.expect("an upgrade");
    assert_eq!(head.headers()["upgrade"], "echo");
    within(stream.write_all(b"hello")).await.expect("written");
    let mut echo = [0; 5];
    within(stream.read_exact(&mut echo)).await.expect("read");
    assert_eq!(&echo, b"hello");
    drop(stream);
    kim.delete(&format!("{FLUNDERS}/dogger")).await.expect(200);
    assert_eq!(kim.get(FLUNDERS).await.expect(200)["items"], json!([]));

    // Whoever reaches it in another way is nobody there, whatever they say.
    let settings = TlsSettings {
        authorities: world.authority.certificate().into(),
        server_name: Some("api.wardle.svc".to_owned()),
        ..TlsSettings::default()
    };
    let direct = HttpTransport::tcp(&format!("https://127.0.0.1:{}", sample.port), &settings).expect("a transport");
    let direct = Caller { transport: Arc::new(direct), headers: vec![("x-remote-user", "root".to_owned())] };
    assert_eq!(direct.get(FLUNDERS).await.code, 401);
}

#[tokio::test]
async fn the_object_of_a_server_lives_like_any_other() {
    let (world, sample) = world().await;
    let root = world.root();
    sample.is_reached(&root).await;
    let mut object = sample.object();
    object["metadata"]["labels"] = json!({"sample": "yes"});
    root.post(OBJECTS, &object).await.expect(201);
    becomes(&root, "Passed").await;
    let table = root.with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io").get(OBJECT).await.expect(200);
    assert_eq!(table["rows"][0]["cells"].as_array().expect("cells")[1..3], [json!("wardle/api"), json!("True")]);
    let mut status = root.get(&format!("{OBJECT}/status")).await.expect(200);
    let more = json!({"type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "set by a test"});
    status["status"]["conditions"].as_array_mut().expect("conditions").push(more.clone());
    root.put(&format!("{OBJECT}/status"), &status).await.expect(200);
    root.patch(OBJECT, "merge-patch", &json!({"spec": {"versionPriority": 400}})).await.expect(200);
    root.get(&format!("{OBJECT}/status")).await.expect(200);
    // The change had it asked anew; what others wrote stays.
    until(&root, "/apis", |list| list["groups"].as_array().is_some_and(|all| all.iter().any(|g| g["name"] == GROUP)))
        .await;
    let now = becomes(&root, "Passed").await;
    assert_eq!(now["status"], "True");
    let all = root.get(OBJECT).await.expect(200)["status"]["conditions"].clone();
    assert!(all.as_array().expect("conditions").contains(&more), "{all}");
    let listed = root.get(&format!("{OBJECTS}?labelSelector=sample%3Dyes")).await.expect(200);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    root.delete(&format!("{OBJECTS}?labelSelector=sample%3Dyes")).await.expect(200);
    until(&root, &format!("/apis/{GROUP}"), |answer| answer["kind"] != "APIGroup").await;
    assert_eq!(root.get(FLUNDERS).await.code, 404);
}

#[tokio::test]
async fn discovery_and_descriptions_tell_of_it_also_while_it_is_away() {
    let (world, sample) = world().await;
    let root = world.root();
    sample.is_reached(&root).await;
    root.post(OBJECTS, &sample.object()).await.expect(201);
    let every = root.with("accept", DISCOVERY);
    let of = |list: &Value| -> Value {
        let groups = list["items"].as_array().into_iter().flatten();
        groups.into_iter().find(|g| g["metadata"]["name"] == GROUP).map_or(Value::Null, |g| g["versions"][0].clone())
    };
    let list = until(&every, "/apis", |list| of(list)["freshness"] == "Current").await;
    assert_eq!(of(&list)["resources"][0]["responseKind"]["kind"], "Flunder");
    let names: Vec<&str> =
        list["items"].as_array().expect("groups").iter().filter_map(|g| g["metadata"]["name"].as_str()).collect();
    let at = names.iter().position(|name| *name == "events.k8s.io").expect("there");
    assert_eq!(names[at + 1], GROUP, "as its priority says");
    let plain = root.get("/apis").await.expect(200);
    assert!(plain["groups"].as_array().expect("groups").iter().any(|group| group["name"] == GROUP));
    assert_eq!(root.get(&format!("/apis/{GROUP}")).await.expect(200)["preferredVersion"]["version"], "v1alpha1");
    assert_eq!(root.get(HOME).await.expect(200)["resources"][0]["name"], "flunders");

    let path = "apis/wardle.example.com/v1alpha1";
    let index = until(&root, "/openapi/v3", |index| index["paths"][path].is_object()).await;
    let url = index["paths"][path]["serverRelativeURL"].as_str().expect("a path");
    assert_eq!(root.get(url).await.expect(200)["info"]["title"], "wardle");
    let v2 = until(&root, "/openapi/v2", |v2| v2["definitions"]["wardle.Flunder"].is_object()).await;
    let flunders = FLUNDERS.replace("default", "{namespace}");
    assert_eq!(v2["paths"][&flunders]["get"]["operationId"], "listFlunders");
    assert!(v2["definitions"]["wardle.Unused"].is_null() && v2["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    assert_ne!(v2["paths"]["/version/"]["get"]["operationId"], "theirs");

    // Its endpoints go: it is told, and nobody is sent there.
    root.delete("/apis/discovery.k8s.io/v1/namespaces/wardle/endpointslices/api-1").await.expect(200);
    let fault = becomes(&root, "EndpointsNotFound").await;
    assert_eq!(fault["message"], "cannot find endpointslices for service/api in \"wardle\"");
    let away = root.get(FLUNDERS).await;
    assert_eq!((away.code.as_u16(), away.text().as_str()), (503, "service unavailable\n"));
    let stale = until(&every, "/apis", |list| of(list)["freshness"] == "Stale").await;
    assert_eq!(of(&stale)["resources"][0]["resource"], "flunders", "as it was last told");
    let metrics = root.get("/metrics").await.text();
    assert!(metrics.contains("aggregator_unavailable_apiservice{name=\"v1alpha1.wardle.example.com\"} 1"));
    sample.has_endpoint(&root).await;
    becomes(&root, "Passed").await;
    drop(sample);
    let slice = json!({"metadata": {"annotations": {"touched": "yes"}}});
    root.patch("/apis/discovery.k8s.io/v1/namespaces/wardle/endpointslices/api-1", "merge-patch", &slice)
        .await
        .expect(200);
    let fault = becomes(&root, "FailedDiscoveryCheck").await;
    assert!(
        fault["message"].as_str().expect("text").starts_with("failing or missing response from https://127.0.0.1:")
    );
    root.delete("/api/v1/namespaces/wardle/services/api").await.expect(200);
    becomes(&root, "ServiceNotFound").await;
}

#[tokio::test]
async fn a_server_is_recognised_by_the_authority_that_its_object_names() {
    let (world, sample) = world().await;
    let root = world.root();
    sample.is_reached(&root).await;
    let other = tempfile::tempdir().expect("a folder");
    let other = naru_identity::Authority::open_or_create(other.path()).expect("an authority");
    let mut object = sample.object();
    object["spec"]["caBundle"] =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, other.certificate()).into();
    root.post(OBJECTS, &object).await.expect(201);
    // Whether anybody answers is seen without recognising them; nothing of a user's goes there.
    becomes(&root, "Passed").await;
    let refused = root.get(FLUNDERS).await;
    assert_eq!(refused.code, 503);
    assert!(refused.text().contains("certificate") && sample.heard().is_empty(), "{}", refused.text());
    let blind = json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}});
    root.patch(OBJECT, "merge-patch", &blind).await.expect(200);
    until(&root, FLUNDERS, |list| list["kind"] == "FlunderList").await;
}

#[tokio::test]
async fn a_request_that_is_passed_on_goes_by_one_name_in_all_logs() {
    let (world, sample) = world().await;
    let root = world.root();
    sample.is_reached(&root).await;
    root.post(OBJECTS, &sample.object()).await.expect(201);
    becomes(&root, "Passed").await;
    let log = Log::of(&world, "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse}]}");
    let kim = wardler(&world, "kim").await;
    kim.with("audit-id", "one").get(FLUNDERS).await.expect(200);
    assert_eq!(sample.heard()[0]["audit-id"], "one");
    let events = log.until(ended(FLUNDERS)).await;
    let of: Vec<&Value> = events.iter().filter(|event| event["requestURI"] == FLUNDERS).collect();
    assert!(of.iter().all(|event| event["auditID"] == "one"), "{of:?}");
    let stages: Vec<&str> = of.iter().filter_map(|event| event["stage"].as_str()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    let about = json!({"resource": "flunders", "namespace": "default", "apiGroup": GROUP, "apiVersion": "v1alpha1"});
    assert_eq!((&of[1]["objectRef"], of[1].get("responseObject")), (&about, None), "what it holds is not looked into");
}

#[tokio::test]
async fn what_this_server_answers_itself_has_objects_that_stay_as_they_are() {
    let world = World::start().await;
    let root = world.root();
    let list = root.get(OBJECTS).await.expect(200);
    let items = list["items"].as_array().expect("items");
    let local = |name: &str| items.iter().find(|item| item["metadata"]["name"] == name).expect("there").clone();
    for name in ["v1.", "v1.apps", "v2.autoscaling", "v1.naru.io", "v1.rbac.authorization.k8s.io"] {
        let object = local(name);
        assert_eq!(available(&object)["reason"], "Local", "{name}");
        assert_eq!(object["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
        assert!(object["spec"].get("service").is_none());
    }
    assert_eq!(local("v1.apps")["spec"]["groupPriorityMinimum"], 17_800);
    root.get("/readyz/autoregister-completion").await;

    // Nobody takes a group and version of this server's, nor does an object of one go.
    let apps = format!("{OBJECTS}/v1.apps");
    let taken = json!({"metadata": {"labels": {"kube-aggregator.kubernetes.io/automanaged": null}},
        "spec": {"service": {"namespace": "default", "name": "evil"}, "insecureSkipTLSVerify": true}});
    root.patch(&apps, "merge-patch", &taken).await.expect(200);
    root.get("/apis/apps/v1/deployments").await.expect(200);
    let mended = |object: &Value| object["spec"].get("service").is_none() && available(object)["reason"] == "Local";
    let object = until(&root, &apps, mended).await;
    assert_eq!(available(&object)["status"], "True");
    let uid = root.get(&apps).await.expect(200)["metadata"]["uid"].clone();
    root.delete(&apps).await.expect(200);
    until(&root, &apps, |object| object["kind"] == "APIService" && object["metadata"]["uid"] != uid).await;

    // Those of kinds that users define come and go with them.
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let definition = json!({"metadata": {"name": "gadgets.sample.example.com"}, "spec": {"group": "sample.example.com",
        "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    root.post(definitions, &definition).await.expect(201);
    let path = format!("{OBJECTS}/v1.sample.example.com");
    let object = until(&root, &path, |object| object["kind"] == "APIService").await;
    assert_eq!(object["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    assert_eq!(
        (&object["spec"]["groupPriorityMinimum"], &object["spec"]["versionPriority"]),
        (&json!(1000), &json!(100))
    );
    root.delete(&format!("{definitions}/gadgets.sample.example.com")).await.expect(200);
    until(&root, &path, |answer| answer["code"] == 404).await;
    let recognised_by = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let data = root.get(recognised_by).await.expect(200)["data"].clone();
    root.delete(recognised_by).await.expect(200);
    until(&root, recognised_by, |map| map["data"] == data).await;
}
