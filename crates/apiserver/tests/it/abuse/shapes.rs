//! Requests whose shape means two things, paths that lead elsewhere, selectors without end.

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{clipped, refused, unharmed};
use crate::support::{MAPS, World, config_map, within};

/// Sends bytes and reads until the server closes: the codes of its answers.
async fn codes(world: &World, bytes: &[u8]) -> Vec<u16> {
    let stream = UnixStream::connect(world.socket()).await.expect("a connection");
    let (mut read, mut write) = stream.into_split();
    // A server that refused half of it does not take the rest.
    let _ = within(write.write_all(bytes)).await;
    let mut answer = Vec::new();
    let _ = within(read.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

/// A request that would take `victim` away, as the last of its connection.
fn smuggled() -> String {
    format!("DELETE {MAPS}/victim HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn no_request_hides_in_another() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("victim", &[])).await.expect(201);
    for (what, head) in [
        ("two lengths", "content-length: 5\r\ncontent-length: 6"),
        ("a list of lengths", "content-length: 5, 6"),
        ("a signed length", "content-length: +5"),
        ("a negative length", "content-length: -5"),
        ("a hexadecimal length", "content-length: 0x5"),
        ("a length that overflows", "content-length: 99999999999999999999999"),
        ("another last encoding", "transfer-encoding: chunked, identity"),
        ("no chunks", "transfer-encoding: identity"),
        ("almost chunks", "transfer-encoding: xchunked"),
        ("a space before the colon", "transfer-encoding : chunked"),
        ("a folded line", "transfer-encoding:\r\n chunked"),
        ("a zero in a value", "x-a: \0"),
        ("a space in a name", "x a: b"),
    ] {
        let request = format!("POST {MAPS} HTTP/1.1\r\nhost: naru\r\n{head}\r\n\r\n0\r\n\r\n{}", smuggled());
        assert_eq!(codes(&world, request.as_bytes()).await, [400], "{what}");
    }
    let old =
        format!("POST {MAPS} HTTP/1.0\r\nhost: naru\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{}", smuggled());
    assert_eq!(codes(&world, old.as_bytes()).await.len(), 1, "chunks of the first version");
    for (what, chunk) in [
        ("a size that overflows", "FFFFFFFFFFFFFFFFFF\r\n"),
        ("a negative size", "-1\r\n"),
        ("a size that is none", "zz\r\n"),
        ("more than its size", "1\r\nabc\r\n0\r\n\r\n"),
    ] {
        let request = format!(
            "POST {MAPS} HTTP/1.1\r\nhost: naru\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{}",
            smuggled()
        );
        assert_eq!(codes(&world, request.as_bytes()).await, [400], "{what}");
    }
    root.get(&format!("{MAPS}/victim")).await.expect(200);
    // With both, the chunks count and the length does not, wherever it stands: what follows them is a request of its own.
    for head in
        ["content-length: 200\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 200"]
    {
        let last = "GET /readyz HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n\r\n";
        let request = format!(
            "POST {MAPS} HTTP/1.1\r\nhost: naru\r\ncontent-type: application/json\r\n{head}\r\n\r\n0\r\n\r\n{last}"
        );
        let told = codes(&world, request.as_bytes()).await;
        assert!(told == [400] || told == [400, 200], "{told:?}");
    }
    unharmed(&world).await;
}

#[tokio::test]
async fn heads_without_end_are_cut_off() {
    let world = World::start().await;
    let long = "x".repeat(300 << 10);
    let many: String = (0..20_000).map(|n| format!("x-{n}: y\r\n")).collect();
    for (what, request) in [
        ("a path", format!("GET /{long} HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n\r\n")),
        ("a value", format!("GET /readyz HTTP/1.1\r\nhost: naru\r\nconnection: close\r\nx: {long}\r\n\r\n")),
        ("a name", format!("GET /readyz HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n{long}: x\r\n\r\n")),
        ("many of them", format!("GET /readyz HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n{many}\r\n")),
        ("a method", format!("{long} /readyz HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n\r\n")),
    ] {
        let told = codes(&world, request.as_bytes()).await;
        assert!(told.len() <= 1 && told.iter().all(|code| matches!(code, 400 | 405 | 414 | 431)), "{what}: {told:?}");
    }
    unharmed(&world).await;
}

#[tokio::test]
async fn paths_lead_nowhere_but_where_they_say() {
    let world = World::start().await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "hidden"}});
    world.root().post("/api/v1/namespaces/kube-system/secrets", &secret).await.expect(201);
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let targets = [
        "/healthz/../api/v1/namespaces/kube-system/secrets",
        "/livez/%2e%2e/api/v1/secrets",
        "/version/..%2fapi/v1/secrets",
        "/readyz/..;/api/v1/secrets",
        "//api/v1/secrets",
        "/api//v1/secrets",
        "/api/v1//secrets",
        "/./api/v1/secrets",
        "/api/v1/namespaces/default/../kube-system/secrets",
        "/api/v1/namespaces/default%2F..%2Fkube-system/secrets",
        "/api/v1/namespaces/default/configmaps/..%2Fsecrets%2Fs",
        "/api/v1/namespaces/kube-system/secrets/%00",
        "/api/v1/namespaces/kube-system/secrets/s%00",
        "/api/v1/namespaces/kube-system/secrets/%zz",
        "/api/v1/namespaces/kube-system/secrets/%",
        "/api/v1/namespaces/kube-system/secrets/s/../s",
        "/API/V1/secrets",
        "/api/v1/secrets;a=b",
        "/apis/v1/secrets",
        "/api/v1/namespaces/kube-system/secrets/s/a/b/c",
        "*",
    ];
    for target in targets {
        for (who, allowed) in [("root", &[400, 404, 405][..]), ("nobody", &[400, 401, 403, 404, 405][..])] {
            let user = if who == "root" { "" } else { "impersonate-user: nobody\r\n" };
            let request = format!("GET {target} HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n{user}\r\n");
            let told = codes(&world, request.as_bytes()).await;
            assert!(matches!(told.as_slice(), [code] if allowed.contains(code)), "{who} {target}: {told:?}");
        }
    }
    let nobody = world.user("nobody", &[]);
    nobody.get(secrets).await.refused(403);
    let connect = codes(&world, b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: naru\r\nconnection: close\r\n\r\n").await;
    assert!(matches!(connect.as_slice(), [400..=499]), "{connect:?}");
    unharmed(&world).await;
}

#[tokio::test]
async fn selectors_may_be_long_and_not_endless() {
    let world = World::start().await;
    let root = world.root();
    let mut map = config_map("a", &[]);
    map["metadata"]["labels"] = json!({"l": "v7"});
    root.post(MAPS, &map).await.expect(201);
    let values = |count: usize| (0..count).map(|n| format!("v{n}")).collect::<Vec<_>>().join(",");
    let found = root.get(&format!("{MAPS}?labelSelector=l%20in%20({})", values(5_000))).await.expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    let terms = vec!["l!%3Dx"; 4_000].join(",");
    let found = root.get(&format!("{MAPS}?labelSelector={terms}")).await.expect(200);
    assert!(found["items"].as_array().is_some_and(|items| !items.is_empty()));
    for (what, selector) in [
        ("brackets", format!("l%20in%20({}", "(".repeat(10_000))),
        ("commas", ",".repeat(10_000)),
        ("bangs", "!".repeat(10_000)),
        ("a long key", format!("{}%3Dx", "k".repeat(10_000))),
        ("a long value", format!("l%3D{}", "v".repeat(10_000))),
    ] {
        refused(what, &root.get(&format!("{MAPS}?labelSelector={selector}")).await);
        let fields = root.get(&format!("{MAPS}?fieldSelector={selector}")).await;
        assert!(fields.code == 200 || fields.code == 400, "{what}: {}", clipped(&fields.text()));
    }
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchExpressions": (0..20_000).map(|n| json!({"key": "l", "operator": "In", "values": [format!("v{n}")]}))
            .collect::<Vec<_>>()},
        "template": {"metadata": {"labels": {"l": "v"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    refused(
        "expressions",
        &root.send(Method::POST, "/apis/apps/v1/namespaces/default/deployments", body.to_string()).await,
    );
    unharmed(&world).await;
}
