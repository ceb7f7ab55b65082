//! Certificates by request: who decides, who signs, and what a certificate is good for.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use naru_client::ClientCertificate;
use naru_identity::{Requested, request_certificate, validity_of_pem};
use serde_json::{Value, json};
use x509_parser::extensions::GeneralName;

use crate::support::{Caller, World};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const KIM: &str = include_str!("../data/kim.csr");
const SERVING: &str = include_str!("../data/serving.csr");
const SEVERAL: &str = include_str!("../data/several.csr");

fn request(name: &str, signer: &str, usages: &[&str], pem: &str) -> Value {
    json!({"metadata": {"name": name},
        "spec": {"signerName": signer, "usages": usages, "request": BASE64.encode(pem)}})
}

fn condition(of: &str) -> Value {
    json!({"type": of, "status": "True", "reason": "Test", "message": ""})
}

/// Decides about a request as it stands.
async fn decide(caller: &Caller, name: &str, conditions: Value) -> crate::support::Answer {
    let mut request = caller.get(&format!("{REQUESTS}/{name}")).await.expect(200);
    request["status"]["conditions"] = conditions;
    caller.put(&format!("{REQUESTS}/{name}/approval"), &request).await
}

fn certificate(request: &Value) -> String {
    let text = request["status"]["certificate"].as_str().unwrap_or_else(|| panic!("no certificate: {request}"));
    String::from_utf8(BASE64.decode(text).expect("base64")).expect("PEM")
}

async fn bind(root: &Caller, role: &str, user: &str) {
    let binding = json!({"metadata": {"name": format!("{role}-{user}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]});
    root.post(BINDINGS, &binding).await.expect(201);
}

async fn grant(root: &Caller, name: &str, rules: Value, user: &str) {
    root.post(ROLES, &json!({"metadata": {"name": name}, "rules": rules})).await.expect(201);
    bind(root, name, user).await;
}

#[tokio::test]
async fn a_signer_of_ones_own_is_served_by_the_api() {
    let world = World::start().await;
    let root = world.root();
    let signer = "example.com/mine";
    let mut wish = request("a", signer, &["digital signature", "key encipherment", "server auth"], KIM);
    wish["spec"]["expirationSeconds"] = 3600.into();
    for name in ["a", "b", "c"] {
        wish["metadata"]["name"] = name.into();
        root.post(REQUESTS, &wish).await.expect(201);
    }
    let found = root.get(&format!("{REQUESTS}?fieldSelector=spec.signerName%3Dexample.com%2Fmine")).await.expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(found["items"][0]["spec"]["expirationSeconds"], 3600);

    let path = format!("{REQUESTS}/a/approval");
    assert_eq!(root.get(&path).await.expect(200)["kind"], "CertificateSigningRequest");
    let patch = json!({"metadata": {"annotations": {"patchedapproval": "true"}},
        "status": {"conditions": [{"type": "ApprovalPatch", "status": "True", "reason": "e2e"}], "certificate": "eA=="}});
    let patched = root.patch(&path, "merge-patch", &patch).await.expect(200);
    assert_eq!(patched["metadata"]["annotations"]["patchedapproval"], "true");
    assert_eq!(patched["status"]["conditions"][0]["type"], "ApprovalPatch");
    assert!(patched["status"]["conditions"][0]["lastUpdateTime"].is_string());
    assert!(patched["status"].get("certificate").is_none(), "who decides does not sign");
    let conditions = json!([patched["status"]["conditions"][0], condition("Approved")]);
    let approved = decide(&root, "a", conditions).await.expect(200);
    assert_eq!(approved["status"]["conditions"][1]["type"], "Approved");
    assert!(approved["status"].get("certificate").is_none(), "signed by a program of somebody's");

    let path = format!("{REQUESTS}/a/status");
    root.get(&path).await.expect(200);
    let pem = BASE64.encode(world.authority.certificate());
    let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"certificate": pem}});
    let mut signed = root.patch(&path, "merge-patch", &patch).await.expect(200);
    assert_eq!(signed["metadata"]["annotations"]["patchedstatus"], "true");
    assert_eq!(signed["status"]["certificate"], pem);
    signed["status"]["conditions"].as_array_mut().expect("conditions").push(condition("StatusUpdate"));
    let updated = root.put(&path, &signed).await.expect(200);
    assert_eq!(updated["status"]["conditions"][2]["type"], "StatusUpdate");
    root.delete(&format!("{REQUESTS}/a")).await.expect(200);
    root.delete(REQUESTS).await.expect(200);
    assert_eq!(root.get(REQUESTS).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn deciding_and_signing_are_two_rights() {
    let world = World::start().await;
    let (root, kim) = (world.root(), world.user("kim", &[]));
    root.post(REQUESTS, &request("a", "example.com/mine", &["client auth"], KIM)).await.expect(201);
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "verbs": ["get", "update", "patch"], "resources":
        ["certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"]}]);
    grant(&root, "writes", rules, "kim").await;
    let signers = |verb: &str, name: &str| json!([{"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": [verb], "resourceNames": [name]}]);
    let message = decide(&kim, "a", json!([condition("Approved")])).await.refused(403);
    assert!(
        message.contains("user not permitted to approve requests with signerName \"example.com/mine\""),
        "{message}"
    );
    grant(&root, "approves", signers("approve", "example.com/*"), "kim").await;
    decide(&kim, "a", json!([condition("Approved")])).await.expect(200);

    let status = format!("{REQUESTS}/a/status");
    let patch = json!({"status": {"certificate": BASE64.encode(world.authority.certificate())}});
    let message = kim.patch(&status, "merge-patch", &patch).await.refused(403);
    assert!(message.contains("user not permitted to sign requests with signerName \"example.com/mine\""), "{message}");
    kim.patch(&status, "merge-patch", &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    grant(&root, "signs", signers("sign", "example.com/mine"), "kim").await;
    let junk = json!({"status": {"certificate": BASE64.encode("junk")}});
    let message = kim.patch(&status, "merge-patch", &junk).await.refused(422);
    assert!(message.contains("must contain at least one CERTIFICATE PEM block"), "{message}");
    kim.patch(&status, "merge-patch", &patch).await.expect(200);
    let other = json!({"status": {"certificate": BASE64.encode(world.authority.certificate().trim_end())}});
    let message = kim.patch(&status, "merge-patch", &other).await.refused(422);
    assert!(message.contains("updates may not modify existing certificate content"), "{message}");
    let decided = json!({"status": {"conditions": [condition("Approved"), condition("Denied")]}});
    let message = kim.patch(&status, "merge-patch", &decided).await.refused(422);
    assert!(message.contains("updates may not add a condition of type \"Denied\""), "{message}");
}

#[tokio::test]
async fn a_decision_is_one_or_the_other_for_good() {
    let world = World::start().await;
    let root = world.root();
    root.post(REQUESTS, &request("a", "kubernetes.io/kube-apiserver-client", &["client auth"], KIM)).await.expect(201);
    let message = decide(&root, "a", json!([condition("Approved"), condition("Denied")])).await.refused(422);
    assert!(message.contains("Approved and Denied conditions are mutually exclusive"), "{message}");
    let denied = decide(&root, "a", json!([condition("Denied")])).await.expect(200);
    assert!(denied["status"].get("certificate").is_none());
    let message = decide(&root, "a", json!([condition("Approved")])).await.refused(422);
    assert!(message.contains("updates may not remove a condition of type \"Denied\""), "{message}");
}

#[tokio::test]
async fn what_no_signer_could_sign_is_refused_at_once() {
    let world = World::start().await;
    let root = world.root();
    for (signer, usages, pem, words) in [
        ("kubernetes.io/legacy-unknown", "client auth", KIM, "the legacy signerName is not allowed"),
        ("example.com/mine", "everything", KIM, "spec.usages[0]: Unsupported value"),
        ("example.com/mine", "client auth", "junk", "PEM block type must be CERTIFICATE REQUEST"),
        (
            "example.com/mine",
            "client auth",
            world.authority.certificate(),
            "PEM block type must be CERTIFICATE REQUEST",
        ),
    ] {
        let message = root.post(REQUESTS, &request("a", signer, &[usages], pem)).await.refused(422);
        assert!(message.contains(words), "{message}");
    }
    let mut altered = KIM.to_owned();
    let at = altered.len() / 2;
    let other = if altered.as_bytes()[at] == b'A' { "B" } else { "A" };
    altered.replace_range(at..at + 1, other);
    root.post(REQUESTS, &request("a", "example.com/mine", &["client auth"], &altered)).await.refused(422);
}

#[tokio::test]
async fn a_client_gets_all_its_groups_for_as_long_as_it_asked() {
    let world = World::start().await;
    let root = world.root();
    let mut wish = request("a", "kubernetes.io/kube-apiserver-client", &["client auth", "digital signature"], SEVERAL);
    wish["spec"]["expirationSeconds"] = 3600.into();
    root.post(REQUESTS, &wish).await.expect(201);
    let signed = decide(&root, "a", json!([condition("Approved")])).await.expect(200);
    let pem = certificate(&signed);
    let (from, to) = validity_of_pem(&pem).expect("a validity");
    assert_eq!(to.as_second() - from.as_second(), 3600 + 300);
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
    let subject = naru_identity::subject_of(&block.contents).expect("a subject");
    let mut groups = subject.groups.clone();
    groups.sort();
    assert_eq!((subject.user.as_str(), groups), ("kim", ["devs", "ops", "web"].map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn a_node_gets_a_certificate_as_a_server_for_the_names_it_asked_for() {
    let world = World::start().await;
    let root = world.root();
    let signer = "kubernetes.io/kubelet-serving";
    root.post(REQUESTS, &request("a", signer, &["digital signature", "server auth"], SERVING)).await.expect(201);
    let signed = decide(&root, "a", json!([condition("Approved")])).await.expect(200);
    let pem = certificate(&signed);
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
    let read = block.parse_x509().expect("a certificate");
    let names = &read.subject_alternative_name().expect("readable").expect("there").value.general_names;
    assert!(matches!(names[0], GeneralName::DNSName("w1")), "{names:?}");
    assert!(matches!(names[1], GeneralName::IPAddress([192, 0, 2, 7])), "{names:?}");
    assert!(read.extended_key_usage().expect("readable").expect("there").value.server_auth);
    // Whoever is no node does not become one by this signer.
    root.post(REQUESTS, &request("b", signer, &["digital signature", "server auth"], KIM)).await.expect(201);
    let failed = decide(&root, "b", json!([condition("Approved")])).await.expect(200);
    let why = &failed["status"]["conditions"][1];
    assert_eq!((&why["type"], &why["reason"]), (&json!("Failed"), &json!("SignerValidationFailure")));
    assert_eq!(why["message"], "subject organization is not system:nodes");
}

fn node(name: &str) -> Requested {
    request_certificate(&format!("system:node:{name}"), &["system:nodes"]).expect("a request")
}

fn caller(world: &World, wish: &Requested, signed: &Value) -> Caller {
    let certificate = certificate(signed).into_bytes();
    world.certified(ClientCertificate { certificate, key: wish.key.clone().into_bytes() })
}

#[tokio::test]
async fn whoever_has_the_right_to_a_nodes_certificate_gets_one_and_a_person_can_give_it() {
    let world = World::start().await;
    let (root, kim) = (world.root(), world.user("kim", &[]));
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let usages = ["digital signature", "client auth"];
    bind(&root, "system:node-bootstrapper", "kim").await;
    let first = node("w1");
    let pending = kim.post(REQUESTS, &request("a", signer, &usages, &first.request)).await.expect(201);
    assert!(pending["status"].get("certificate").is_none(), "{pending}");
    bind(&root, "system:certificates.k8s.io:certificatesigningrequests:nodeclient", "kim").await;
    let signed = kim.post(REQUESTS, &request("b", signer, &usages, &first.request)).await.expect(201);
    let given = &signed["status"]["conditions"][0];
    assert_eq!((&given["type"], &given["reason"]), (&json!("Approved"), &json!("AutoApproved")));
    assert_eq!(given["message"], "Auto approving kubelet client certificate after SubjectAccessReview.");
    caller(&world, &first, &signed).get("/api/v1/nodes/w1").await.expect(200);

    // The name is taken: another machine gets it only from a person.
    let second = node("w1");
    let pending = kim.post(REQUESTS, &request("c", signer, &usages, &second.request)).await.expect(201);
    assert!(pending["status"].get("certificate").is_none(), "{pending}");
    let signed = decide(&root, "c", json!([condition("Approved")])).await.expect(200);
    caller(&world, &second, &signed).get("/api/v1/nodes/w1").await.expect(200);
    let third = node("w2");
    root.post(REQUESTS, &request("d", signer, &["client auth"], &third.request)).await.expect(201);
    let failed = decide(&root, "d", json!([condition("Approved")])).await.expect(200);
    assert_eq!(failed["status"]["conditions"][1]["reason"], "SignerValidationFailure");
    root.post(REQUESTS, &request("e", "example.com/mine", &usages, &third.request)).await.expect(201);
    root.get("/api/v1/nodes/w2").await.refused(404);
}
