//! Lists: whole, in pages, of the past, by selector.

use naru_store::History;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::support::{Caller, MAPS, NoNodes, PODS, World, config_map, pod};

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("items").iter();
    items.map(|i| i["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

async fn fill(root: &Caller, count: usize) {
    for n in 0..count {
        let mut map = config_map(&format!("m{n}"), &[]);
        map["metadata"]["labels"] = json!({"even": (n % 2 == 0).to_string()});
        root.post(MAPS, &map).await.expect(201);
    }
}

#[tokio::test]
async fn pages_show_one_state_whatever_happens_between_them() {
    let world = World::start().await;
    let root = world.root();
    fill(&root, 5).await;
    let first = root.get(&format!("{MAPS}?limit=2")).await.expect(200);
    assert_eq!(names(&first), ["kube-root-ca.crt", "m0"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    root.delete(&format!("{MAPS}/m3")).await.expect(200);
    root.post(MAPS, &config_map("m1a", &[])).await.expect(201);
    let mut all = names(&first);
    let mut token = first["metadata"]["continue"].as_str().map(str::to_owned);
    while let Some(at) = token {
        let page = root.get(&format!("{MAPS}?limit=2&continue={at}")).await.expect(200);
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        all.extend(names(&page));
        token = page["metadata"]["continue"].as_str().map(str::to_owned);
    }
    assert_eq!(all, ["kube-root-ca.crt", "m0", "m1", "m2", "m3", "m4"]);
    root.get(&format!("{MAPS}?continue=nonsense")).await.refused(400);
}

#[tokio::test]
async fn the_past_can_be_listed_until_it_is_forgotten() {
    let history = History { transactions: 20, ..History::default() };
    let world = World::with(Arc::new(NoNodes), history).await;
    let root = world.root();
    fill(&root, 2).await;
    let then = root.get(&format!("{MAPS}?limit=1")).await.expect(200);
    let (version, token) =
        (then["metadata"]["resourceVersion"].as_str().expect("a version"), &then["metadata"]["continue"]);
    root.delete(&format!("{MAPS}/m0")).await.expect(200);
    let exact = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    assert!(names(&root.get(&exact).await.expect(200)).contains(&"m0".to_owned()));
    for n in 0..100 {
        root.put(&format!("{MAPS}/m1"), &config_map("m1", &[("n", &n.to_string())])).await.expect(200);
    }
    root.get(&exact).await.refused(410);
    let gone = root.get(&format!("{MAPS}?limit=1&continue={}", token.as_str().expect("a token"))).await;
    assert!(gone.refused(410).contains("too old to display a consistent list"));
    // Who can do with the present goes on from the last key.
    let token = gone.json()["metadata"]["continue"].as_str().expect("a way on").to_owned();
    let rest = root.get(&format!("{MAPS}?limit=5&continue={token}")).await.expect(200);
    assert_eq!((names(&then), names(&rest)), (vec!["kube-root-ca.crt".to_owned()], vec!["m1".to_owned()]));
    assert_ne!(rest["metadata"]["resourceVersion"], version);
    root.get(&format!("{MAPS}?watch=1&resourceVersion={version}")).await.refused(410);
    let future = root.get(&format!("{MAPS}?resourceVersion=999999")).await;
    assert!(future.refused(504).contains("Too large resource version"));
}

#[tokio::test]
async fn selectors_choose() {
    let world = World::start().await;
    let root = world.root();
    fill(&root, 4).await;
    let list = |query: &str| {
        let (root, path) = (root.clone(), format!("{MAPS}?{query}"));
        async move { names(&root.get(&path).await.expect(200)) }
    };
    assert_eq!(list("labelSelector=even%3Dtrue").await, ["m0", "m2"]);
    assert_eq!(list("labelSelector=even%20in%20(false)").await, ["m1", "m3"]);
    assert_eq!(list("fieldSelector=metadata.name%3Dm2").await, ["m2"]);
    assert_eq!(list("fieldSelector=metadata.name!%3Dm2&labelSelector=even%3Dtrue").await, ["m0"]);
    assert_eq!(list("labelSelector=even%3Dtrue&limit=1").await, ["m0"]);
    let across = root.get("/api/v1/configmaps?fieldSelector=metadata.namespace%3Dkube-system").await.expect(200);
    assert_eq!(names(&across), ["extension-apiserver-authentication", "kube-root-ca.crt"]);
    // What is asked for in one namespace never comes from another, whatever the selector says.
    assert!(list("fieldSelector=metadata.namespace%3Dkube-system").await.is_empty());
    assert!(list("fieldSelector=metadata.namespace%3Dkube-system,metadata.name%3Dkube-root-ca.crt").await.is_empty());
}

#[tokio::test]
async fn pods_are_found_by_their_node() {
    let world = World::start().await;
    let root = world.root();
    for (name, node) in [("a", "n1"), ("b", "n2"), ("c", "n1")] {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = node.into();
        root.post(PODS, &pod).await.expect(201);
    }
    let found = root.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.expect(200);
    assert_eq!(names(&found), ["a", "c"]);
}

#[tokio::test]
async fn a_list_of_many_objects_is_whole() {
    let world = World::start().await;
    let root = world.user("admin", &["system:masters"]);
    let text = "x".repeat(1000);
    for n in 0..300 {
        root.post(MAPS, &config_map(&format!("m{n:03}"), &[("k", &text)])).await.expect(201);
    }
    let answer = root.get(MAPS).await;
    assert_eq!(answer.headers["content-length"].to_str().expect("text"), answer.bytes.len().to_string());
    assert_eq!(answer.expect(200)["items"].as_array().map(Vec::len), Some(301));
}

#[tokio::test]
async fn a_list_of_very_many_objects_begins_before_its_length_is_known() {
    let world = World::start().await;
    let root = world.root();
    fill(&root, 2_001).await;
    let long = root.get(MAPS).await;
    assert_eq!(long.headers.get("content-length"), None);
    let pages = root.get(&format!("{MAPS}?limit=5000")).await;
    assert!(pages.headers.contains_key("content-length"));
    let (long, pages) = (long.expect(200), pages.expect(200));
    assert_eq!(long["items"].as_array().map(Vec::len), Some(2_002), "with the one that is in every namespace");
    assert_eq!(long, pages);
}
