//! The forms and encodings in which answers come.

use http::Method;
use serde_json::{Value, json};

use crate::support::{MAPS, PODS, World, config_map, pod};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

#[tokio::test]
async fn people_get_tables() {
    let world = World::start().await;
    let root = world.root();
    root.post(PODS, &pod("p")).await.expect(201);
    let table = root.with("accept", TABLE).get(PODS).await.expect(200);
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "p");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert!(table["metadata"]["resourceVersion"].is_string());
    let one = root.with("accept", TABLE).get(&format!("{PODS}/p?includeObject=Object")).await.expect(200);
    assert_eq!(one["rows"][0]["object"]["kind"], "Pod");
}

#[tokio::test]
async fn metadata_can_be_asked_for_alone() {
    let world = World::start().await;
    let root = world.root().with("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    root.post(PODS, &pod("p")).await.expect(201);
    let list = root.get(PODS).await.expect(200);
    assert_eq!(
        (&list["kind"], &list["items"][0]["metadata"]["name"]),
        (&json!("PartialObjectMetadataList"), &json!("p"))
    );
    assert!(list["items"][0].get("spec").is_none());
}

#[tokio::test]
async fn yaml_goes_in_and_out() {
    let world = World::start().await;
    let root = world.root().with("content-type", "application/yaml").with("accept", "application/yaml");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: 'true'\n";
    let answer = root.send(Method::POST, MAPS, text).await;
    assert_eq!(answer.code, 201, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/yaml");
    let read: Value = serde_saphyr::from_str(&answer.text()).expect("YAML");
    assert_eq!(read["data"]["k"], "true", "text stays text: {}", answer.text());
    let list = root.get(MAPS).await;
    let read: Value = serde_saphyr::from_str(&list.text()).expect("YAML");
    assert_eq!(read["kind"], "ConfigMapList");
}

#[tokio::test]
async fn answers_within_a_machine_are_not_compressed() {
    let world = World::start().await;
    let near = world.user("admin", &["system:masters"]);
    near.post(MAPS, &config_map("a", &[("k", &"abc".repeat(100_000))])).await.expect(201);
    let answer = near.with("accept-encoding", "gzip").get(&format!("{MAPS}/a")).await;
    assert!(!answer.headers.contains_key("content-encoding"), "it would cost time and save nothing");
    answer.expect(200);
}

#[tokio::test]
async fn discovery_names_everything_in_both_forms() {
    let world = World::start().await;
    let root = world.root();
    assert_eq!(root.get("/api").await.expect(200)["versions"], json!(["v1"]));
    let groups = root.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().expect("groups").iter().any(|g| g["name"] == "apps"));
    let resources = root.get("/apis/apps/v1").await.expect(200);
    assert!(resources["resources"].as_array().expect("resources").iter().any(|r| r["name"] == "deployments/scale"));
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = root.with("accept", accept).get("/apis").await;
    assert_eq!(answer.expect(200)["kind"], "APIGroupDiscoveryList");
    assert!(answer.headers["content-type"].to_str().expect("text").contains("as=APIGroupDiscoveryList"));
}

#[tokio::test]
async fn openapi_documents_are_named_by_their_content() {
    let world = World::start().await;
    let root = world.root();
    let index = root.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a document for apps/v1").to_owned();
    let answer = root.get(&url).await;
    answer.expect(200);
    assert!(answer.headers["cache-control"].to_str().expect("text").contains("immutable"));
    let etag = answer.headers["etag"].to_str().expect("text").to_owned();
    assert_eq!(root.with("if-none-match", &etag).get("/openapi/v3/apis/apps/v1").await.code, 304);
    root.get("/openapi/v3/apis/nobody.io/v1").await.refused(404);
}

#[tokio::test]
async fn health_version_and_counters() {
    let world = World::start().await;
    let root = world.root();
    assert_eq!(root.get("/readyz").await.text(), "ok");
    assert!(root.get("/readyz?verbose").await.text().contains("[+]poststarthook/rbac/bootstrap-roles ok"));
    assert_eq!(root.get("/livez/ping").await.text(), "ok");
    root.get("/livez/nothing").await.refused(404);
    let version = root.get("/version").await.expect(200);
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    root.get("/version/").await.expect(200);
    let metrics = root.get("/metrics").await.text();
    assert!(metrics.contains("apiserver_storage_objects{resource=\"namespaces\"} 4"), "{metrics}");
}

#[tokio::test]
async fn openapi_documents_are_the_same_compressed_or_not() {
    let world = World::start().await;
    let root = world.root();
    for path in ["/openapi/v2", "/openapi/v3/api/v1"] {
        let zipped = root.with("accept-encoding", "gzip").get(path).await;
        assert_eq!(zipped.headers["content-encoding"], "gzip", "{path}");
        let plain = root.get(path).await;
        assert!(!plain.headers.contains_key("content-encoding"), "{path}");
        assert_eq!(plain.headers["etag"], zipped.headers["etag"]);
        let mut unzipped = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&zipped.bytes[..]), &mut unzipped).expect("gzip");
        assert_eq!(unzipped, plain.bytes);
        plain.expect(200);
    }
}

#[tokio::test]
async fn go_clients_get_the_description_in_protobuf() {
    let world = World::start().await;
    let root = world.root();
    let asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = root.with("accept", asked).get("/openapi/v2").await;
    assert_eq!(answer.code, 200);
    assert_eq!(answer.headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    assert!(answer.bytes.starts_with(b"\x0a\x032.0\x12"), "a document: its version, then about what it is");
    let plain = root.get("/openapi/v2").await;
    assert_ne!(plain.headers["etag"], answer.headers["etag"], "two forms are two entities");
    let pod = b"io.k8s.api.core.v1.Pod";
    assert!(answer.bytes.windows(pod.len()).any(|w| w == pod) && answer.bytes.len() > plain.bytes.len() / 4);
    let either = root.with("accept", &format!("application/json, {asked}")).get("/openapi/v2").await;
    assert_eq!(either.expect(200)["swagger"], "2.0");
    root.with("accept", "text/html").get("/openapi/v2").await.refused(406);
    root.with("accept", asked).get("/openapi/v3/api/v1").await.refused(406);
}

#[tokio::test]
async fn what_has_no_metadata_has_no_table() {
    let world = World::start().await;
    let table = world.root().with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    table.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await.refused(406);
}
