//! Bodies: too large, too deep, too clever.

use std::fmt::Write;

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{clipped, refused, roomy, sent, unharmed};
use crate::support::{MAPS, World, config_map, within};

const HUNDRED_MEGABYTES: usize = 100 << 20;

/// Sends head and body until the server has enough of it: how many bytes it took, and its answer.
async fn pour(world: &World, head: &str, chunk: &[u8]) -> (usize, String) {
    let stream = UnixStream::connect(world.socket()).await.expect("a connection");
    let (mut read, mut write) = stream.into_split();
    let answer = tokio::spawn(async move {
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    });
    let mut taken = 0;
    if within(write.write_all(head.as_bytes())).await.is_ok() {
        while taken < HUNDRED_MEGABYTES && within(write.write_all(chunk)).await.is_ok() {
            taken += chunk.len();
        }
    }
    drop(write);
    (taken, within(answer).await.expect("an answer"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_are_not_taken() {
    let world = World::start().await;
    let head =
        |how: &str| format!("POST {MAPS} HTTP/1.1\r\nhost: naru\r\ncontent-type: application/json\r\n{how}\r\n\r\n");
    let plain = vec![b' '; 64 << 10];
    let announced = head(&format!("content-length: {HUNDRED_MEGABYTES}"));
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend_from_slice(&plain);
    chunk.extend_from_slice(b"\r\n");
    for (how, head, body) in [("announced", announced, plain), ("in chunks", head("transfer-encoding: chunked"), chunk)]
    {
        let (taken, answer) = pour(&world, &head, &body).await;
        // What fits into the buffers of a socket is taken before anybody can refuse it.
        assert!(taken < 16 << 20, "{how}: {taken} bytes were taken");
        // The answer is lost when the connection is closed under a client that does not look up from writing.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{how}: {}", clipped(&answer));
        unharmed(&world).await;
    }
}

#[test]
fn nothing_is_too_deep_to_be_refused() {
    roomy(depths_are_bounded);
}

async fn depths_are_bounded() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    let one = format!("{MAPS}/a");
    const DEPTH: usize = 200_000;
    let arrays = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let objects = format!("{}1{}", "{\"a\":".repeat(DEPTH), "}".repeat(DEPTH));
    for (what, body) in [("arrays", &arrays), ("objects", &objects), ("half", &"[".repeat(DEPTH))] {
        for kind in ["application/json", "application/yaml"] {
            refused(&format!("{what} {kind}"), &sent(&root, kind, MAPS, body.clone()).await);
        }
        for language in ["merge-patch+json", "json-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"] {
            let caller = root.with("content-type", &format!("application/{language}"));
            let answer = caller.send(Method::PATCH, &format!("{one}?fieldManager=m"), body.clone()).await;
            refused(&format!("{what} {language}"), &answer);
        }
        let options = root.with("content-type", "application/json").send(Method::DELETE, &one, body.clone()).await;
        refused(&format!("{what} as options"), &options);
    }
    let mut indented = String::new();
    for depth in 0..1500 {
        let _ = writeln!(indented, "{}a:", " ".repeat(depth));
    }
    refused("indented", &sent(&root, "application/yaml", MAPS, indented).await);
    let path = format!(r#"[{{"op":"add","path":"{}","value":1}}]"#, "/a".repeat(DEPTH));
    let caller = root.with("content-type", "application/json-patch+json");
    refused("a path", &caller.send(Method::PATCH, &one, path).await);
    unharmed(&world).await;
}

#[test]
fn aliases_do_not_multiply() {
    roomy(aliases_are_bounded);
}

async fn aliases_are_bounded() {
    let world = World::start().await;
    let root = world.root();
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for n in 1..12 {
        let before = format!("*a{}", n - 1);
        let _ = writeln!(laughs, "a{n}: &a{n} [{}]", vec![before; 9].join(", "));
    }
    let merged: String = (1..40).map(|n| format!("m{n}: &m{n} {{<<: [*m{0}, *m{0}], k{n}: *m{0}}}\n", n - 1)).collect();
    let merges = format!("m0: &m0 {{k: v}}\n{merged}");
    let endless = "a: &a [*a]\n".to_owned();
    for (what, body) in [("laughs", laughs), ("merges", merges), ("endless", endless)] {
        let whole = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n{body}");
        refused(what, &sent(&root, "application/yaml", MAPS, whole.clone()).await);
        let caller = root.with("content-type", "application/apply-patch+yaml");
        refused(what, &caller.send(Method::PATCH, &format!("{MAPS}/a?fieldManager=m"), whole).await);
    }
    unharmed(&world).await;
}

#[tokio::test]
async fn patches_do_not_multiply() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[("k", &"x".repeat(10_000))])).await.expect(201);
    let one = format!("{MAPS}/a");
    // Each copy holds all copies before: forty of them are more than any memory.
    let doubling: Vec<_> =
        (0..40).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")})).collect();
    refused("doubling", &root.patch(&one, "json-patch", &doubling.into()).await);
    let many: Vec<_> = (0..20_000).map(|n| json!({"op": "add", "path": "/data/n", "value": n.to_string()})).collect();
    refused("many operations", &root.patch(&one, "json-patch", &many.into()).await);
    assert_eq!(root.get(&one).await.expect(200)["data"].as_object().map(serde_json::Map::len), Some(1));
    unharmed(&world).await;
}

#[tokio::test]
async fn what_is_no_text_or_no_object_is_refused() {
    let world = World::start().await;
    let root = world.root();
    let map = |inside: &str| {
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},{inside}}}"#).into_bytes()
    };
    let mut broken = map(r#""data":{"k":"v"}"#);
    let end = broken.len();
    broken[end - 4] = 0xff;
    for (what, body) in [
        ("no UTF-8", broken),
        ("half a surrogate", map(r#""data":{"k":"\ud800"}"#)),
        ("an endless number", map(r#""data":{"k":1e999999}"#)),
        ("more than one", [map(r#""data":{}"#), map(r#""data":{}"#)].concat()),
        ("a null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("a text", b"\"ConfigMap\"".to_vec()),
        (
            "a name with a zero",
            String::from_utf8(map(r#""data":{}"#)).expect("text").replace(r#""a""#, r#""a\u0000""#).into_bytes(),
        ),
        ("half of it", map(r#""data":{}"#)[..30].to_vec()),
        ("nothing", Vec::new()),
    ] {
        refused(what, &sent(&root, "application/json", MAPS, body).await);
    }
    for (what, body) in [
        ("only the mark", b"k8s\0".to_vec()),
        ("no mark", b"\x0a\x02v1".to_vec()),
        ("a length beyond the end", b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec()),
        ("a number that never ends", [&b"k8s\0"[..], &[0xff; 64][..]].concat()),
        ("groups that open", [&b"k8s\0"[..], &[0x0b; 100_000][..]].concat()),
    ] {
        refused(what, &sent(&root, "application/vnd.kubernetes.protobuf", MAPS, body).await);
    }
    let zipped = root.with("content-encoding", "gzip");
    refused("compressed", &sent(&zipped, "application/json", MAPS, map(r#""data":{}"#)).await);
    unharmed(&world).await;
}

#[tokio::test]
async fn what_is_odd_is_told_within_bounds() {
    let world = World::start().await;
    let root = world.root();
    let odd: String = (0..60_000).map(|n| format!(r#""unknown{n}":1,"#)).collect();
    let body = |name: &str| format!(r#"{{{odd}"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}}}}"#);
    let warned = sent(&root, "application/json", &format!("{MAPS}?fieldValidation=Warn"), body("warned")).await;
    let told: usize = warned.headers.get_all("warning").iter().map(|value| value.len()).sum();
    assert!(told > 0 && told < 32 << 10, "{told} bytes of warnings");
    warned.expect(201);
    let named = format!(
        r#"{{"{}":1,"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"named"}}}}"#,
        "n".repeat(1 << 20)
    );
    let warned = sent(&root, "application/json", &format!("{MAPS}?fieldValidation=Warn"), named).await;
    let told: usize = warned.headers.get_all("warning").iter().map(|value| value.len()).sum();
    assert!(told > 0 && told < 32 << 10, "{told} bytes of warnings");
    refused(
        "strict",
        &sent(&root, "application/json", &format!("{MAPS}?fieldValidation=Strict"), body("strict")).await,
    );
    unharmed(&world).await;
}
