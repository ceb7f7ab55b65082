//! Machines become nodes, and nodes touch only what is theirs.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::Method;
use jiff::{Timestamp, ToSpan};
use naru_client::{ClientCertificate, TUNNEL_PATH, TUNNEL_PROTOCOL, empty_body, serve_tunnel};
use naru_identity::{BootstrapToken, Requested, request_certificate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, Caller, PODS, World, pod, within};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const TOKENS: &str = "/api/v1/namespaces/kube-system/secrets";

async fn token(world: &World, fields: &[(&str, &str)]) -> BootstrapToken {
    let token = BootstrapToken::generate();
    let mut data = json!({
        "token-id": token.id, "token-secret": token.secret, "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:naru:worker",
    });
    for (name, value) in fields {
        data[*name] = (*value).into();
    }
    let secret = json!({"metadata": {"name": format!("bootstrap-token-{}", token.id)},
        "type": "bootstrap.kubernetes.io/token", "stringData": data});
    world.root().post(TOKENS, &secret).await.expect(201);
    token
}

fn wish(name: &str) -> Requested {
    request_certificate(&format!("system:node:{name}"), &["system:nodes"]).expect("a request")
}

async fn send(caller: &Caller, wish: &Requested) -> Answer {
    let request = json!({"metadata": {"generateName": "node-"}, "spec": {
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth"],
        "request": BASE64.encode(&wish.request)}});
    caller.post(REQUESTS, &request).await
}

/// The caller that an answer to a wish makes.
fn caller(world: &World, wish: &Requested, signed: &Value) -> Caller {
    let certificate = signed["status"]["certificate"].as_str().expect("a certificate");
    let certificate = BASE64.decode(certificate).expect("base64");
    world.certified(ClientCertificate { certificate, key: wish.key.clone().into_bytes() })
}

async fn join(world: &World, name: &str) -> Caller {
    let token = token(world, &[]).await;
    let wish = wish(name);
    let signed = send(&world.bearer(&token.bearer()), &wish).await.expect(201);
    caller(world, &wish, &signed)
}

#[tokio::test]
async fn a_machine_with_a_token_becomes_a_node_and_nothing_else() {
    let world = World::start().await;
    let token = token(&world, &[]).await;
    let machine = world.bearer(&token.bearer());
    let described = machine.get("/naru/v1/cluster").await.expect(200);
    assert_eq!(described["servers"], json!(["192.0.2.1:6443"]));
    for path in ["/api/v1/nodes", PODS, TOKENS, REQUESTS, "/apis"] {
        assert_ne!(machine.get(path).await.json()["kind"], "List", "{path}");
    }
    machine.get("/api/v1/nodes").await.refused(403);
    machine.get(TOKENS).await.refused(403);

    let wish = wish("w1");
    let signed = send(&machine, &wish).await.expect(201);
    assert_eq!(signed["status"]["conditions"][0]["type"], "Approved");
    let node = caller(&world, &wish, &signed);
    let own = node.get("/api/v1/nodes/w1").await.expect(200);
    assert_eq!(own["metadata"]["labels"]["naru.io/role"], "worker");
    node.get("/naru/v1/cluster").await.expect(200);
    node.get("/naru/v1/tunnel").await.refused(400);
    // Its answer was lost: the same key asks again. Another key does not get the name.
    send(&machine, &wish).await.expect(201);
    let message = send(&machine, &crate::joining::wish("w1")).await.refused(409);
    assert!(message.contains("name w1 is taken") && message.contains("naru node rm w1"), "{message}");
}

#[tokio::test]
async fn two_machines_that_want_one_name_do_not_both_get_it() {
    let world = World::start().await;
    let token = token(&world, &[]).await;
    let machine = world.bearer(&token.bearer());
    let wishes: Vec<Requested> = (0..8).map(|_| wish("w1")).collect();
    let answers = futures_util::future::join_all(wishes.iter().map(|wish| send(&machine, wish))).await;
    let mut codes: Vec<u16> = answers.iter().map(|answer| answer.code.as_u16()).collect();
    codes.sort();
    assert_eq!(codes, [201, 409, 409, 409, 409, 409, 409, 409]);
    let (wish, answer) = wishes.iter().zip(&answers).find(|(_, answer)| answer.code == 201).expect("one");
    caller(&world, wish, &answer.json()).get("/api/v1/nodes/w1").await.expect(200);
}

#[tokio::test]
async fn a_token_that_is_wrong_expired_removed_or_used_up_lets_nobody_in() {
    let world = World::start().await;
    let good = token(&world, &[]).await;
    let wrong = BootstrapToken { secret: "0000000000000000".into(), ..good.clone() };
    let message = send(&world.bearer(&wrong.bearer()), &wish("w1")).await.refused(401);
    assert!(message.contains("not known"), "{message}");

    let past = Timestamp::now().checked_sub(1.second()).expect("a time").to_string();
    let expired = token(&world, &[("expiration", &past)]).await;
    let message = send(&world.bearer(&expired.bearer()), &wish("w1")).await.refused(401);
    assert!(message.contains("expired at"), "{message}");

    world.root().delete(&format!("{TOKENS}/bootstrap-token-{}", good.id)).await.expect(200);
    send(&world.bearer(&good.bearer()), &wish("w1")).await.refused(401);

    let once = token(&world, &[("usage-once", "true")]).await;
    let machine = world.bearer(&once.bearer());
    let wishes: Vec<Requested> = (0..4).map(|at| wish(&format!("n{at}"))).collect();
    let answers = futures_util::future::join_all(wishes.iter().map(|wish| send(&machine, wish))).await;
    let let_in = answers.iter().filter(|answer| answer.code == 201).count();
    assert_eq!(let_in, 1, "{answers:?}");
    send(&machine, &wish("late")).await.refused(401);
    let nodes = world.root().get("/api/v1/nodes").await.expect(200);
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(1), "nothing of those that were refused is left");
}

#[tokio::test]
async fn certificates_are_for_nodes_only() {
    let world = World::start().await;
    let token = token(&world, &[]).await;
    let machine = world.bearer(&token.bearer());
    for (user, groups) in [
        ("root", &["system:masters"][..]),
        ("system:node:a", &["system:masters"]),
        ("system:node:a", &["system:nodes", "system:masters"]),
        ("system:node:A_b", &["system:nodes"]),
        ("kim", &["system:nodes"]),
    ] {
        let wish = request_certificate(user, groups).expect("a request");
        send(&machine, &wish).await.refused(403);
    }
    // Whoever was not invited is left waiting for a person.
    let kim = world.root();
    let pending = send(&kim, &wish("a")).await.expect(201);
    assert!(pending["status"].get("certificate").is_none());
}

#[tokio::test]
async fn a_node_renews_its_own_certificate_and_no_others() {
    let world = World::start().await;
    let (old, _other) = (join(&world, "w1").await, join(&world, "w2").await);
    let message = send(&old, &wish("w2")).await.refused(403);
    assert!(message.contains("its own certificate only"), "{message}");
    let again = wish("w1");
    let signed = send(&old, &again).await.expect(201);
    let new = caller(&world, &again, &signed);
    new.get("/api/v1/nodes/w1").await.expect(200);
    old.get("/api/v1/nodes/w1").await.expect(200);
    let third = wish("w1");
    let signed = send(&new, &third).await.expect(201);
    caller(&world, &third, &signed).get("/api/v1/nodes/w1").await.expect(200);
    old.get("/api/v1/nodes/w1").await.refused(401);
}

#[tokio::test]
async fn a_removed_node_is_nobody_also_when_another_has_its_name() {
    let world = World::start().await;
    let first = join(&world, "w1").await;
    world.root().delete("/api/v1/nodes/w1").await.expect(200);
    let message = first.get("/api/v1/nodes/w1").await.refused(401);
    assert!(message.contains("removed from the cluster"), "{message}");
    first.post("/api/v1/nodes", &json!({"metadata": {"name": "w1"}})).await.refused(401);
    let second = join(&world, "w1").await;
    second.get("/api/v1/nodes/w1").await.expect(200);
    let message = first.get("/api/v1/nodes/w1").await.refused(401);
    assert!(message.contains("another machine's"), "{message}");
}

/// Pods `here` on w1 and `there` on w2, each with a secret of its own.
async fn shop(world: &World) {
    let root = world.root();
    for (name, node) in [("here", "w1"), ("there", "w2")] {
        root.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": name}, "stringData": {"a": "b"}}))
            .await
            .expect(201);
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = node.into();
        pod["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": name}}]);
        root.post(PODS, &pod).await.expect(201);
    }
}

#[tokio::test]
async fn a_node_reads_the_secrets_of_its_pods_and_of_no_others() {
    let world = World::start().await;
    let (w1, w2) = (join(&world, "w1").await, join(&world, "w2").await);
    shop(&world).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    w1.get(&format!("{secrets}/here")).await.expect(200);
    w1.get(&format!("{secrets}/there")).await.refused(403);
    w2.get(&format!("{secrets}/here")).await.refused(403);
    for query in ["", "?watch=1", "?fieldSelector=metadata.name%3Dthere", "?labelSelector=a%3Db", "?limit=1"] {
        w1.get(&format!("{secrets}{query}")).await.refused(403);
        w1.get(&format!("/api/v1/secrets{query}")).await.refused(403);
    }
    let list = w1.get(&format!("{secrets}?fieldSelector=metadata.name%3Dhere")).await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    w1.get(&format!("{secrets}?fieldSelector=metadata.name%3Dhere,metadata.name%3Dthere")).await.refused(403);
    w1.get(&format!("{secrets}?fieldSelector=metadata.name%21%3Dhere")).await.refused(403);
    w1.get(&format!("{TOKENS}/bootstrap-token-abcdef")).await.refused(403);
    w1.delete(&format!("{secrets}/here")).await.refused(403);
    // Its pods' certificate of the cluster is a config map like any other.
    w1.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt").await.expect(200);
    w1.get("/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt").await.refused(403);
}

#[tokio::test]
async fn a_node_runs_nothing_elsewhere_and_speaks_for_itself_only() {
    let world = World::start().await;
    let (w1, _w2) = (join(&world, "w1").await, join(&world, "w2").await);
    shop(&world).await;
    for node in ["w1", "w2"] {
        let mut pod = pod("new");
        pod["spec"]["nodeName"] = node.into();
        w1.post(PODS, &pod).await.refused(403);
    }
    let ready = json!({"status": {"phase": "Running"}});
    w1.patch(&format!("{PODS}/here/status"), "strategic-merge-patch", &ready).await.expect(200);
    w1.patch(&format!("{PODS}/there/status"), "strategic-merge-patch", &ready).await.refused(403);
    w1.patch(&format!("{PODS}/here"), "strategic-merge-patch", &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .refused(403);
    let labelled = json!({"metadata": {"labels": {"app": "db"}}, "status": {"phase": "Running"}});
    let after = w1.patch(&format!("{PODS}/here/status"), "strategic-merge-patch", &labelled).await;
    assert!(after.code == 403 || after.json()["metadata"].get("labels").is_none(), "{after:?}");
    w1.delete(&format!("{PODS}/there")).await.refused(403);
    w1.delete(PODS).await.refused(403);
    let bind = json!({"target": {"kind": "Node", "name": "w1"}});
    w1.post(&format!("{PODS}/there/binding"), &bind).await.refused(403);
    w1.get(&format!("{PODS}/there/exec?command=sh")).await.refused(403);

    let label = |key: &str| json!({"metadata": {"labels": {key: "x"}}});
    w1.patch("/api/v1/nodes/w1", "merge-patch", &label("disk")).await.expect(200);
    w1.patch("/api/v1/nodes/w2", "merge-patch", &label("disk")).await.refused(403);
    w1.patch("/api/v1/nodes/w1", "merge-patch", &label("naru.io/role")).await.refused(403);
    let hash = json!({"metadata": {"annotations": {"naru.io/key-hash": "x"}}});
    w1.patch("/api/v1/nodes/w1", "merge-patch", &hash).await.refused(403);
    w1.patch("/api/v1/nodes/w1/status", "merge-patch", &hash).await;
    w1.get("/api/v1/nodes/w1").await.expect(200);
    w1.patch("/api/v1/nodes/w1", "merge-patch", &json!({"spec": {"podCIDR": "10.42.9.0/24"}})).await.refused(403);
    w1.delete("/api/v1/nodes/w2").await.refused(403);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    w1.post(leases, &json!({"metadata": {"name": "w2"}})).await.refused(403);
    w1.post(leases, &json!({"metadata": {"name": "w1"}})).await.expect(201);
    w1.with("impersonate-user", "system:node:w2")
        .with("impersonate-group", "system:nodes")
        .get(PODS)
        .await
        .refused(403);
}

#[tokio::test]
async fn a_node_gets_tokens_for_pods_that_run_on_it() {
    let world = World::start().await;
    let w1 = join(&world, "w1").await;
    shop(&world).await;
    let ask = async |name: &str, bind: bool| {
        let uid = world.root().get(&format!("{PODS}/{name}")).await.expect(200)["metadata"]["uid"].clone();
        let bound = if bind { json!({"kind": "Pod", "name": name, "uid": uid}) } else { Value::Null };
        let request = json!({"spec": {"boundObjectRef": bound}});
        w1.post("/api/v1/namespaces/default/serviceaccounts/default/token", &request).await
    };
    ask("here", true).await.expect(201);
    ask("there", true).await.refused(403);
    ask("here", false).await.refused(403);
}

/// Keeps the connection of a node, which answers every stream by saying its name.
async fn connect(node: &Caller, name: &'static str) -> tokio::task::JoinHandle<()> {
    let request = node.with("connection", "Upgrade").with("upgrade", TUNNEL_PROTOCOL);
    let request = request.request(Method::GET, TUNNEL_PATH, empty_body());
    let (_, io) = within(node.transport.upgrade(request)).await.expect("a connection");
    tokio::spawn(async move {
        let said = serve_tunnel(io, move |mut io| {
            Box::pin(async move {
                let mut request = vec![0; 4096];
                let _ = io.read(&mut request).await;
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                let _ = io.write_all(answer.as_bytes()).await;
            })
        });
        let _ = said.await;
    })
}

#[tokio::test]
async fn logs_come_over_the_connection_that_the_pods_node_dialled() {
    let world = World::start().await;
    let (w1, w2) = (join(&world, "w1").await, join(&world, "w2").await);
    shop(&world).await;
    let mut presence = world.server.presence();
    assert!(presence.borrow().is_empty());
    let first = connect(&w1, "w1").await;
    within(presence.wait_for(|nodes| nodes.contains("w1"))).await.expect("seen");
    let _second = connect(&w2, "w2").await;
    within(presence.wait_for(|nodes| nodes.len() == 2)).await.expect("seen");
    for (pod, node) in [("here", "w1"), ("there", "w2")] {
        assert_eq!(world.root().get(&format!("{PODS}/{pod}/log")).await.text(), node);
    }
    // A newer connection takes over from the older; a node that is gone is noticed.
    let newer = connect(&w1, "newer").await;
    within(first).await.expect("the older one is ended");
    assert_eq!(world.root().get(&format!("{PODS}/here/log")).await.text(), "newer");
    newer.abort();
    within(presence.wait_for(|nodes| !nodes.contains("w1"))).await.expect("noticed");
    world.root().get(&format!("{PODS}/here/log")).await.refused(503);
    let stranger = world.user("kim", &["system:masters"]);
    let request = stranger.with("connection", "Upgrade").with("upgrade", TUNNEL_PROTOCOL);
    let request = request.request(Method::GET, TUNNEL_PATH, empty_body());
    within(stranger.transport.upgrade(request)).await.err().expect("only nodes");
}

#[tokio::test]
async fn a_node_asks_others_for_images_of_its_own_pods_and_for_nothing_else() {
    let world = World::start().await;
    let (w1, w2) = (join(&world, "w1").await, join(&world, "w2").await);
    let mut own = pod("own");
    own["spec"]["nodeName"] = "w1".into();
    own["spec"]["containers"][0]["image"] = "shop/web:1".into();
    world.root().post(PODS, &own).await.expect(201);
    let mut presence = world.server.presence();
    let _second = connect(&w2, "from w2").await;
    within(presence.wait_for(|nodes| nodes.contains("w2"))).await.expect("seen");
    let images = "/api/v1/nodes/w2/proxy/images";
    let blob = format!("{images}/blobs/sha256:{}", "0".repeat(64));
    for path in [format!("{images}/offer?name=shop/web:1"), format!("{blob}?name=shop%2Fweb:1&from=7")] {
        assert_eq!(w1.get(&path).await.text(), "from w2", "{path}");
        w2.get(&path).await.refused(403);
        w1.post(&path, &json!({})).await.refused(403);
    }
    for path in ["offer", "offer?name=shop/web", "offer?name=", "save?name=shop/web:1", "?name=shop/web:1"] {
        w1.get(&format!("{images}/{path}")).await.refused(403);
    }
    w1.get("/api/v1/nodes/w2/proxy/containerLogs/default/there/web?name=shop/web:1").await.refused(403);
    w1.get("/api/v1/nodes/w2/proxy/images/blobs/../save?name=shop/web:1").await.refused(403);
    world.root().delete(&format!("{PODS}/own?gracePeriodSeconds=0")).await;
    w1.get(&format!("{images}/offer?name=shop/web:1")).await.refused(403);
}
