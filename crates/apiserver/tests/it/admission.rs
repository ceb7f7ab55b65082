//! What the cluster adds and refuses.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::support::{PODS, World, config_map, pod, within};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const NAMESPACES: &str = "/api/v1/namespaces";

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["ports"] = json!([{"port": 80}]);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_cluster_starts_with_what_clients_expect() {
    let world = World::start().await;
    let root = world.root();
    for path in [
        "/api/v1/namespaces/kube-system",
        "/api/v1/namespaces/default/serviceaccounts/default",
        "/api/v1/namespaces/kube-node-lease/configmaps/kube-root-ca.crt",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:node",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        "/apis/storage.k8s.io/v1/storageclasses/local",
    ] {
        root.get(path).await.expect(200);
    }
    let kubernetes = root.get(&format!("{SERVICES}/kubernetes")).await.expect(200);
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.43.0.1");
    let slice = root.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await.expect(200);
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
}

#[tokio::test]
async fn a_restart_writes_only_what_is_missing() {
    let world = World::start().await;
    let root = world.root();
    let before = world.store.snapshot().revision();
    world.again().await;
    assert_eq!(world.store.snapshot().revision(), before, "nothing was missing");
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:discovery";
    let whole = root.get(role).await.expect(200);
    root.patch(role, "merge-patch", &json!({"rules": []})).await.expect(200);
    root.delete("/apis/storage.k8s.io/v1/storageclasses/local").await.expect(200);
    world.again().await;
    assert_eq!(root.get(role).await.expect(200)["rules"], whole["rules"]);
    root.get("/apis/storage.k8s.io/v1/storageclasses/local").await.expect(200);
    let own =
        json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}, "rules": []});
    root.patch(role, "merge-patch", &own).await.expect(200);
    world.again().await;
    assert_eq!(root.get(role).await.expect(200)["rules"], json!([]), "a role that is kept by hand is left alone");
}

#[tokio::test]
async fn a_new_namespace_can_be_used_at_once_and_a_missing_one_not() {
    let world = World::start().await;
    let root = world.root();
    let message = root.post("/api/v1/namespaces/shop/pods", &pod("p")).await.refused(404);
    assert!(message.contains("namespaces \"shop\" not found"), "{message}");
    let shop = root.post(NAMESPACES, &json!({"metadata": {"name": "shop"}})).await.expect(201);
    assert_eq!(shop["metadata"]["labels"]["kubernetes.io/metadata.name"], "shop");
    let made = root.post("/api/v1/namespaces/shop/pods", &pod("p")).await.expect(201);
    assert_eq!(made["metadata"]["namespace"], "shop");
}

#[tokio::test]
async fn a_namespace_takes_nothing_new_while_it_goes() {
    let world = World::start().await;
    let root = world.root();
    root.post(NAMESPACES, &json!({"metadata": {"name": "shop"}})).await.expect(201);
    root.post("/api/v1/namespaces/shop/configmaps", &config_map("a", &[])).await.expect(201);
    let marked = root.delete(&format!("{NAMESPACES}/shop")).await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    let message = root.post("/api/v1/namespaces/shop/configmaps", &config_map("b", &[])).await.refused(403);
    assert!(message.contains("being terminated"), "{message}");
    root.put("/api/v1/namespaces/shop/configmaps/a", &config_map("a", &[("k", "v")])).await.expect(200);
    root.delete("/api/v1/namespaces/shop/configmaps/a").await.expect(200);
    let mut done = marked.clone();
    done["spec"] = json!({});
    done["metadata"]["resourceVersion"] = Value::Null;
    root.put(&format!("{NAMESPACES}/shop"), &done).await.expect(200);
    root.get(&format!("{NAMESPACES}/shop")).await.expect(200);
    root.put(&format!("{NAMESPACES}/shop/finalize"), &done).await.expect(200);
    root.get(&format!("{NAMESPACES}/shop")).await.refused(404);
}

#[tokio::test]
async fn pods_get_an_account_a_token_tolerations_and_a_priority() {
    let world = World::start().await;
    let root = world.root();
    let made = root.post(PODS, &pod("p")).await.expect(201);
    let spec = &made["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["priority"]), (&json!("default"), &json!(0)));
    assert_eq!(spec["tolerations"][0]["tolerationSeconds"], 5);
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(spec["volumes"][0]["projected"]["sources"][1]["configMap"]["name"], "kube-root-ca.crt");
    let mut plain = pod("q");
    plain["spec"]["automountServiceAccountToken"] = false.into();
    assert!(root.post(PODS, &plain).await.expect(201)["spec"].get("volumes").is_none());
    let mut stranger = pod("r");
    stranger["spec"]["serviceAccountName"] = "nobody".into();
    assert!(root.post(PODS, &stranger).await.refused(403).contains("serviceaccount \"nobody\" not found"));
    let mut critical = pod("s");
    critical["spec"]["priorityClassName"] = "system-node-critical".into();
    assert_eq!(root.post(PODS, &critical).await.expect(201)["spec"]["priority"], 2_000_001_000);
    critical["spec"]["priorityClassName"] = "unheard-of".into();
    root.post(PODS, &critical).await.refused(403);
}

#[tokio::test]
async fn claims_get_the_default_class_unless_they_want_none() {
    let world = World::start().await;
    let root = world.root();
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = |name: &str, class: Value| {
        json!({"metadata": {"name": name}, "spec": {"storageClassName": class,
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    };
    assert_eq!(root.post(claims, &claim("a", Value::Null)).await.expect(201)["spec"]["storageClassName"], "local");
    assert_eq!(root.post(claims, &claim("b", json!(""))).await.expect(201)["spec"]["storageClassName"], "");
}

#[tokio::test]
async fn services_never_share_an_address_or_a_port() {
    let world = World::start().await;
    let root = world.root();
    let made = (0..100).map(|n| {
        let root = root.clone();
        tokio::spawn(async move {
            let made = root.post(SERVICES, &service(&format!("s{n}"), json!({"type": "NodePort"}))).await.expect(201);
            (
                made["spec"]["clusterIP"].as_str().expect("an address").to_owned(),
                made["spec"]["ports"][0]["nodePort"].as_u64(),
            )
        })
    });
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for service in made.collect::<Vec<_>>() {
        let (address, port) = service.await.expect("a service");
        assert!(addresses.insert(address.clone()), "{address} was given twice");
        assert!(port.is_some_and(|p| (30_000..=32_767).contains(&p)) && ports.insert(port), "{port:?}");
    }
}

#[tokio::test]
async fn a_named_address_or_port_is_taken_once_and_given_back() {
    let world = World::start().await;
    let root = world.root();
    let fixed = |name: &str| {
        let mut service = service(name, json!({"type": "NodePort", "clusterIP": "10.43.7.7"}));
        service["spec"]["ports"][0]["nodePort"] = 31_000.into();
        service
    };
    root.post(SERVICES, &fixed("a")).await.expect(201);
    assert!(root.post(SERVICES, &fixed("b")).await.refused(422).contains("already allocated"));
    let mut port = service("b", json!({"type": "NodePort"}));
    port["spec"]["ports"][0]["nodePort"] = 31_000.into();
    assert!(root.post(SERVICES, &port).await.refused(422).contains("already allocated"));
    root.delete(&format!("{SERVICES}/a")).await.expect(200);
    root.post(SERVICES, &fixed("b")).await.expect(201);
    let outside = service("c", json!({"clusterIP": "192.168.0.1"}));
    assert!(root.post(SERVICES, &outside).await.refused(422).contains("not in the valid range"));
}

#[tokio::test]
async fn a_service_keeps_what_it_has_and_gives_back_what_it_no_longer_needs() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{SERVICES}/a");
    let first = root.post(SERVICES, &service("a", json!({"type": "NodePort"}))).await.expect(201);
    let again = root.put(&path, &service("a", json!({"type": "NodePort", "selector": {"x": "y"}}))).await.expect(200);
    assert_eq!(again["spec"]["clusterIP"], first["spec"]["clusterIP"]);
    assert_eq!(again["spec"]["ports"], first["spec"]["ports"]);
    let inner = root.put(&path, &service("a", json!({"type": "ClusterIP"}))).await.expect(200);
    assert!(inner["spec"]["ports"][0].get("nodePort").is_none());
    let mut other = service("b", json!({"type": "NodePort"}));
    other["spec"]["ports"][0]["nodePort"] = first["spec"]["ports"][0]["nodePort"].clone();
    root.post(SERVICES, &other).await.expect(201);
    let moved = service("a", json!({"clusterIP": "10.43.9.9"}));
    assert!(root.put(&path, &moved).await.refused(422).contains("immutable"));
    let headless = root.post(SERVICES, &service("h", json!({"clusterIP": "None"}))).await.expect(201);
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let external = json!({"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "example.com"}});
    assert!(root.post(SERVICES, &external).await.expect(201)["spec"].get("clusterIP").is_none());
}

#[tokio::test]
async fn the_servers_own_service_comes_back() {
    let world = World::start().await;
    let root = world.root();
    for path in ["/api/v1/namespaces/default/services/kubernetes", "/api/v1/namespaces/default/endpoints/kubernetes"] {
        let before = root.get(path).await.expect(200);
        root.delete(path).await.expect(200);
        let restored = async {
            loop {
                let now = root.get(path).await;
                if now.code == 200 {
                    break now.expect(200);
                }
                tokio::task::yield_now().await;
            }
        };
        let after = within(restored).await;
        assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
        assert_eq!(
            (&before["spec"]["clusterIP"], &before["subsets"]),
            (&after["spec"]["clusterIP"], &after["subsets"])
        );
    }
}

#[tokio::test]
async fn namespaces_that_every_cluster_has_stay() {
    let world = World::start().await;
    let root = world.root();
    for name in ["default", "kube-system", "kube-public"] {
        let message = root.delete(&format!("{NAMESPACES}/{name}")).await.refused(403);
        assert!(message.contains("this namespace may not be deleted"), "{message}");
    }
}

#[tokio::test]
async fn a_certificate_request_says_who_made_it() {
    let world = World::start().await;
    let kim = world.user("kim", &["system:masters"]);
    let request = json!({"metadata": {"name": "kim"}, "spec": {"signerName": "example.com/signer", "usages": ["client auth"],
        "request": STANDARD.encode(include_str!("../data/kim.csr")), "username": "someone-else", "uid": "7"}});
    let made = kim.post("/apis/certificates.k8s.io/v1/certificatesigningrequests", &request).await.expect(201);
    assert_eq!(made["spec"]["username"], "kim");
    assert_eq!(made["spec"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert!(made["spec"].get("uid").is_none(), "{made}");
}

#[tokio::test]
async fn a_pod_without_class_gets_the_default_one() {
    let world = World::start().await;
    let root = world.root();
    let first = root.post(PODS, &pod("first")).await.expect(201);
    assert_eq!(first["spec"]["priority"], 0);
    let class = json!({"metadata": {"name": "usual"}, "value": 7, "globalDefault": true});
    root.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await.expect(201);
    let second = root.post(PODS, &pod("second")).await.expect(201);
    assert_eq!((&second["spec"]["priority"], &second["spec"]["priorityClassName"]), (&json!(7), &json!("usual")));
}
