//! What clients find before they ask for anything.

use std::sync::Arc;

use http::Method;
use naru_apiserver::{Build, Settings};
use naru_store::History;
use serde_json::{Value, json};

use crate::support::{NoNodes, World, settings};

fn list<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value[field].as_array().into_iter().flatten()
}

#[tokio::test]
async fn every_group_leads_to_its_versions_and_they_to_their_resources() {
    let world = World::start().await;
    let root = world.root();
    let groups = root.get("/apis").await.expect(200);
    let mut seen = 0;
    for group in list(&groups, "groups") {
        let name = group["name"].as_str().expect("a name");
        let preferred = &group["preferredVersion"];
        assert!(
            list(group, "versions").any(|version| version == preferred),
            "{name}: {preferred} is none of its versions"
        );
        let itself = root.get(&format!("/apis/{name}")).await.expect(200);
        assert_eq!((&itself["kind"], &itself["preferredVersion"]), (&json!("APIGroup"), preferred));
        for version in list(group, "versions") {
            let full = version["groupVersion"].as_str().expect("a version");
            assert_eq!(full, format!("{name}/{}", version["version"].as_str().expect("a version")));
            let resources = root.get(&format!("/apis/{full}")).await.expect(200);
            assert_eq!((&resources["kind"], &resources["groupVersion"]), (&json!("APIResourceList"), &json!(full)));
            let complete = |r: &&Value| {
                r["name"].as_str().is_some_and(|name| !name.is_empty())
                    && r["kind"].is_string()
                    && r["verbs"].is_array()
            };
            assert!(list(&resources, "resources").next().is_some(), "{full}");
            assert!(list(&resources, "resources").all(|r| complete(&r)), "{resources}");
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} versions of groups");
    let core = root.get("/api/v1").await.expect(200);
    assert_eq!(
        (&core["groupVersion"], root.get("/api").await.expect(200)["versions"][0].clone()),
        (&json!("v1"), json!("v1"))
    );
    let pods = list(&core, "resources").find(|r| r["name"] == "pods").expect("pods");
    assert_eq!((&pods["kind"], &pods["singularName"]), (&json!("Pod"), &json!("pod")));
}

#[tokio::test]
async fn the_aggregated_form_is_what_its_accept_header_asks_for() {
    let world = World::start().await;
    let root = world.root();
    let newest = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    for (accept, kind, version) in [
        (newest.to_owned(), "APIGroupDiscoveryList", "apidiscovery.k8s.io/v2"),
        // As Go's clients ask: the newest first, then what older servers have.
        (format!("{newest},{beta},application/json"), "APIGroupDiscoveryList", "apidiscovery.k8s.io/v2"),
        ("application/json".to_owned(), "APIGroupList", "v1"),
        ("*/*".to_owned(), "APIGroupList", "v1"),
    ] {
        let answer = root.with("accept", &accept).get("/apis").await;
        let sent = answer.headers["content-type"].to_str().expect("text").to_owned();
        let found = answer.expect(200);
        assert_eq!((&found["kind"], &found["apiVersion"]), (&json!(kind), &json!(version)), "{accept}");
        assert_eq!(sent.contains("as=APIGroupDiscoveryList"), kind == "APIGroupDiscoveryList", "{accept}: {sent}");
    }
    let whole = root.with("accept", newest).get("/apis").await.expect(200);
    for wanted in
        ["apps", "batch", "admissionregistration.k8s.io", "apiextensions.k8s.io", "flowcontrol.apiserver.k8s.io"]
    {
        let group = list(&whole, "items").find(|group| group["metadata"]["name"] == wanted);
        let version = &group.unwrap_or_else(|| panic!("{wanted}"))["versions"][0];
        assert!(list(version, "resources").next().is_some(), "{wanted}");
        assert_eq!(version["freshness"], "Current", "{wanted}");
    }
    let core = root.with("accept", newest).get("/api").await.expect(200);
    let mut resources = list(&core["items"][0]["versions"][0], "resources");
    let pods = resources.find(|r| r["resource"] == "pods").expect("pods");
    assert_eq!((&pods["responseKind"]["kind"], &pods["scope"]), (&json!("Pod"), &json!("Namespaced")));
    assert!(list(pods, "subresources").any(|sub| sub["subresource"] == "status"));
}

#[tokio::test]
async fn odd_fields_of_built_in_kinds_are_told_all_at_once() {
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments?fieldValidation=Strict";
    let world = World::start().await;
    let root = world.root().with("content-type", "application/json");
    let template =
        r#"{"metadata": {"labels": {"app": "nginx"}}, "spec": {"containers": [{"name": "nginx", "image": "nginx"}]}}"#;
    let deployment = |metadata: &str, spec: &str| {
        format!(
            r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "my-dep"{metadata}}},
            "spec": {{{spec} "selector": {{"matchLabels": {{"app": "nginx"}}}}, "template": {template}}}}}"#
        )
    };
    let odd =
        deployment("", r#""unknown1": "val1", "unknownDupe": 1, "unknownDupe": 2, "paused": true, "paused": false,"#);
    let refused = root.send(Method::POST, DEPLOYMENTS, odd).await.refused(400);
    assert!(refused.contains("strict decoding error: "), "{refused}");
    for part in
        [r#"unknown field "spec.unknown1""#, r#"unknown field "spec.unknownDupe""#, r#"duplicate field "spec.paused""#]
    {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let odd = deployment(r#", "unknownMeta": "foo", "labels": {"app": "nginx"}"#, "");
    let refused = root.send(Method::POST, DEPLOYMENTS, odd).await.refused(400);
    assert!(refused.contains(r#"strict decoding error: unknown field "metadata.unknownMeta""#), "{refused}");
    root.send(Method::POST, DEPLOYMENTS, deployment("", "")).await.expect(201);
}

#[tokio::test]
async fn the_version_tells_what_the_server_was_built_from() {
    let build = Build { commit: "0123abc", tree: "clean", date: "2026-01-02T03:04:05Z", compiler: "rustc 1.99.0" };
    let settings = Settings { build, ..settings() };
    let world = World::with_settings(Arc::new(NoNodes), History::default(), settings).await;
    let version = world.anyone().get("/version").await.expect(200);
    for (field, value) in [
        ("major", "1"),
        ("minor", "36"),
        ("gitCommit", "0123abc"),
        ("gitTreeState", "clean"),
        ("buildDate", "2026-01-02T03:04:05Z"),
        ("goVersion", "rustc 1.99.0"),
        ("compiler", "rustc"),
    ] {
        assert_eq!(version[field], value, "{field}");
    }
    assert!(version["platform"].as_str().is_some_and(|text| text.starts_with("linux/")), "{version}");
    assert!(version["gitVersion"].as_str().is_some_and(|text| text.starts_with("v1.36.")), "{version}");
}
