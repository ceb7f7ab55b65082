//! Who one is, and what one may.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Caller, MAPS, PODS, World, pod};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";

async fn grant(root: &Caller, name: &str, rules: Value, subject: Value) {
    root.post(ROLES, &json!({"metadata": {"name": name}, "rules": rules})).await.expect(201);
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
    root.post(BINDINGS, &json!({"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}))
        .await
        .expect(201);
}

fn user(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

#[tokio::test]
async fn nobody_learns_nothing_but_that_the_server_lives() {
    let world = World::start().await;
    let nobody = world.anyone();
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(nobody.get(path).await.code, 200, "{path}");
    }
    for path in ["/api", "/apis", "/metrics", "/openapi/v3", MAPS, "/nowhere"] {
        assert_eq!(nobody.get(path).await.code, 401, "{path}");
    }
    world.bearer("not.a.token").get(MAPS).await.refused(401);
    nobody.with("authorization", "Basic cm9vdDpyb290").get(MAPS).await.refused(401);
}

#[tokio::test]
async fn a_right_holds_from_the_answer_that_granted_it_until_it_is_taken() {
    let world = World::start().await;
    let (root, kim) = (world.root(), world.user("kim", &[]));
    let message = kim.get(PODS).await.refused(403);
    assert!(
        message.contains("User \"kim\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""),
        "{message}"
    );
    grant(&root, "reader", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]), user("kim"))
        .await;
    kim.get(PODS).await.expect(200);
    kim.get("/api/v1/namespaces/kube-system/pods").await.refused(403);
    kim.get("/api/v1/pods").await.refused(403);
    kim.get(&format!("{PODS}?watch=1")).await.refused(403);
    kim.post(PODS, &pod("p")).await.refused(403);
    kim.get(&format!("{PODS}/p/log")).await.refused(403);
    root.delete(&format!("{BINDINGS}/reader")).await.expect(200);
    kim.get(PODS).await.refused(403);
}

#[tokio::test]
async fn everyone_known_may_discover_and_ask_about_themselves() {
    let world = World::start().await;
    let kim = world.user("kim", &["ops"]);
    kim.get("/apis").await.expect(200);
    let review = kim.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.expect(201);
    assert_eq!(review["status"]["userInfo"], json!({"username": "kim", "groups": ["ops", "system:authenticated"]}));
    let ask = |verb: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": "default"}}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(kim.post(reviews, &ask("get")).await.expect(201)["status"]["allowed"], false);
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    grant(&world.root(), "r", rules, json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "ops"}))
        .await;
    assert_eq!(kim.post(reviews, &ask("get")).await.expect(201)["status"]["allowed"], true);
    assert_eq!(kim.post(reviews, &ask("delete")).await.expect(201)["status"]["allowed"], false);
    let rules = kim
        .post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &json!({"spec": {"namespace": "default"}}))
        .await
        .expect(201);
    assert!(
        rules["status"]["resourceRules"].as_array().expect("rules").iter().any(|r| r["resources"] == json!(["pods"]))
    );
    kim.get("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").await;
    let others = json!({"spec": {"user": "lee", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    kim.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &others).await.refused(403);
    let answer = world.root().post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &others).await.expect(201);
    assert_eq!(answer["status"]["allowed"], false);
}

#[tokio::test]
async fn rights_cannot_be_granted_by_who_lacks_them() {
    let world = World::start().await;
    let (root, kim) = (world.root(), world.user("kim", &[]));
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "patch", "get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    grant(&root, "roles", rules, user("kim")).await;
    let role = |name: &str, resource: &str| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]});
    kim.post(ROLES, &role("mine", "pods")).await.expect(201);
    let message = kim.post(ROLES, &role("more", "secrets")).await.refused(403);
    assert!(message.contains("not currently held"), "{message}");
    let more = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    kim.patch(&format!("{ROLES}/mine"), "merge-patch", &more).await.refused(403);
    let bind = |kind: &str, name: &str| {
        json!({"metadata": {"name": format!("b-{name}")}, "subjects": [user("kim")],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}})
    };
    kim.post(BINDINGS, &bind("ClusterRole", "cluster-admin")).await.refused(403);
    kim.post(BINDINGS, &bind("Role", "mine")).await.expect(201);
    let admin = world.user("lee", &["system:masters"]);
    admin.post(BINDINGS, &bind("ClusterRole", "cluster-admin")).await.expect(201);
}

#[tokio::test]
async fn one_acts_as_another_only_with_the_right_to() {
    let world = World::start().await;
    let kim = world.user("kim", &[]);
    kim.with("impersonate-user", "root").with("impersonate-group", "system:masters").get(PODS).await.refused(403);
    let root = world.root();
    root.with("impersonate-user", "kim").get(PODS).await.refused(403);
    root.with("impersonate-user", "kim").with("impersonate-group", "system:masters").get(PODS).await.expect(200);
    root.with("impersonate-group", "system:masters").get(PODS).await.refused(400);
}

#[tokio::test]
async fn a_pods_token_lives_as_long_as_its_pod() {
    let world = World::start().await;
    let root = world.root();
    let made = root.post(PODS, &pod("p")).await.expect(201);
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
        "expirationSeconds": 600, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}}});
    let issued = root.post(path, &request).await.expect(201);
    let token = issued["status"]["token"].as_str().expect("a token");
    let account = world.bearer(token);
    let who = account.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.expect(201);
    let info = &who["status"]["userInfo"];
    assert_eq!(info["username"], "system:serviceaccount:default:default");
    assert_eq!(
        info["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    assert_eq!(info["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    account.get(PODS).await.refused(403);
    let review = |token: &str| json!({"spec": {"token": token}});
    let reviewed = root.post("/apis/authentication.k8s.io/v1/tokenreviews", &review(token)).await.expect(201);
    assert_eq!(reviewed["status"]["authenticated"], true);
    root.delete(&format!("{PODS}/p")).await.expect(200);
    account.get("/apis").await.refused(401);
    let reviewed = root.post("/apis/authentication.k8s.io/v1/tokenreviews", &review(token)).await.expect(201);
    assert_eq!(reviewed["status"]["authenticated"], false);
    let mut short = request.clone();
    short["spec"] = json!({"expirationSeconds": 5});
    root.post(path, &short).await.refused(422);
}

#[tokio::test]
async fn an_accounts_token_is_not_inherited_by_its_successor() {
    let world = World::start().await;
    let root = world.root();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"metadata": {"name": "robot"}});
    root.post(accounts, &account).await.expect(201);
    let issued = root.post(&format!("{accounts}/robot/token"), &json!({})).await.expect(201);
    let robot = world.bearer(issued["status"]["token"].as_str().expect("a token"));
    robot.get("/apis").await.expect(200);
    root.delete(&format!("{accounts}/robot")).await.expect(200);
    root.post(accounts, &account).await.expect(201);
    robot.get("/apis").await.refused(401);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_at_the_door() {
    let (world, other) = (World::start().await, World::start().await);
    let stranger = other.authority.client_certificate("root", &["system:masters"]).expect("a certificate");
    let client = naru_client::ClientCertificate { certificate: stranger.certificate.into(), key: stranger.key.into() };
    let settings = naru_client::TlsSettings {
        authorities: world.authority.certificate().into(),
        client: Some(client),
        ..naru_client::TlsSettings::default()
    };
    let transport =
        naru_client::HttpTransport::tcp(&format!("https://{}", world.address), &settings).expect("a transport");
    let caller = Caller { transport: std::sync::Arc::new(transport), headers: vec![] };
    let request = caller.request(Method::GET, "/version", naru_client::empty_body());
    crate::support::within(caller.transport.call(request)).await.expect_err("no connection");
}

#[tokio::test]
async fn the_sockets_file_goes_with_its_server_and_a_live_one_is_not_taken() {
    let world = World::start().await;
    let path = world.socket();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("a socket").permissions());
    assert_eq!(mode & 0o777, 0o660);
    let again = naru_apiserver::Listeners { unix: Some(path.clone()), ..Default::default() };
    let error = world.server.bind(&again).await.err().expect("taken");
    assert!(error.to_string().contains("naru.sock"), "{error}");
    world.root().get("/version").await.expect(200);
}

#[tokio::test]
async fn a_right_in_a_namespace_reaches_no_other_namespace() {
    let world = World::start().await;
    let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    grant(&world.root(), "all", rules, user("kim")).await;
    let kim = world.user("kim", &[]);
    kim.get("/api/v1/namespaces/default").await.expect(200);
    for path in [
        "/api/v1/namespaces/default/namespaces",
        "/api/v1/namespaces/default/namespaces/kube-system",
        "/api/v1/namespaces/default/nodes",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/clusterroles",
    ] {
        kim.get(path).await.refused(404);
        kim.delete(path).await.refused(404);
    }
    for path in ["/api/v1/namespaces", "/api/v1/namespaces/kube-system", "/api/v1/nodes", "/metrics"] {
        kim.get(path).await.refused(403);
    }
}

#[tokio::test]
async fn others_can_verify_the_tokens_of_service_accounts() {
    let world = World::start().await;
    let root = world.root();
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = root.post(path, &json!({"spec": {"audiences": ["elsewhere"]}})).await.expect(201);
    let own = root.post(path, &json!({})).await.expect(201)["status"]["token"].as_str().expect("a token").to_owned();
    // A service account may look; nobody without a name.
    let account = world.bearer(&own);
    let found = account.get("/.well-known/openid-configuration").await.expect(200);
    let keys = account.get("/openid/v1/jwks").await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    world.anyone().get("/openid/v1/jwks").await.refused(401);
    assert!(found["jwks_uri"].as_str().expect("a place").ends_with("/openid/v1/jwks"), "{found}");

    // As a program elsewhere does it: by nothing but these documents.
    let token = issued["status"]["token"].as_str().expect("a token");
    let parts: Vec<&str> = token.split('.').collect();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let read = |text: &str| serde_json::from_slice::<Value>(&decode(text)).expect("JSON");
    let (header, claims) = (read(parts[0]), read(parts[1]));
    assert_eq!((&claims["iss"], &claims["aud"][0]), (&found["issuer"], &json!("elsewhere")));
    let keys = keys.json();
    let key = keys["keys"].as_array().expect("keys").iter().find(|key| key["kid"] == header["kid"]).expect("its key");
    assert_eq!((&key["alg"], &found["id_token_signing_alg_values_supported"][0]), (&header["alg"], &header["alg"]));
    let mut point = vec![4];
    ["x", "y"].iter().for_each(|half| point.extend(decode(key[half].as_str().expect("a number"))));
    let signed = format!("{}.{}", parts[0], parts[1]);
    ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &decode(parts[2]))
        .expect("signed by that key");
}
