//! Health by names, and counters by Kubernetes' names.

use naru_apiserver::User;
use serde_json::json;

use crate::support::{MAPS, World, config_map};

#[tokio::test]
async fn checks_have_the_names_that_clients_look_for() {
    let world = World::start().await;
    let nobody = world.anyone();
    let listing = nobody.get("/readyz?verbose").await.text();
    for name in ["ping", "etcd", "etcd-readiness", "informer-sync", "poststarthook/rbac/bootstrap-roles", "shutdown"] {
        assert!(listing.contains(&format!("[+]{name} ok\n")), "{name}: {listing}");
        assert_eq!(nobody.get(&format!("/readyz/{name}")).await.text(), "ok", "{name}");
    }
    assert!(listing.ends_with("readyz check passed\n"), "{listing}");
    let lives = nobody.get("/livez?verbose&exclude=etcd&exclude=nothing").await;
    assert_eq!(lives.code, 200);
    let text = lives.text();
    assert!(text.contains("[+]etcd excluded: ok\n") && !text.contains("[+]informer-sync "), "{text}");
    assert!(text.contains("warn: some health checks cannot be excluded: no matches for \"nothing\""), "{text}");
    assert_eq!(nobody.get("/livez/etcd").await.text(), "ok");
    assert_eq!(nobody.get("/healthz").await.text(), "ok");
    for path in ["/livez/informer-sync", "/readyz/nothing", "/healthz/poststarthook"] {
        assert_eq!(nobody.get(path).await.code, 404, "{path}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_what_they_are_about() {
    let world = World::start().await;
    let root = world.root();
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    root.post(&format!("{MAPS}?dryRun=All"), &config_map("b", &[])).await.expect(201);
    root.get(&format!("{MAPS}/a")).await.expect(200);
    root.get(&format!("{MAPS}/none")).await.refused(404);
    root.get(MAPS).await.expect(200);
    root.get("/api/v1/configmaps").await.expect(200);
    root.get("/version").await.expect(200);
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "y"}});
    let apply = root.with("content-type", "application/apply-patch+yaml");
    apply.send(http::Method::PATCH, &format!("{MAPS}/a?fieldManager=me"), applied.to_string()).await.expect(200);
    let watch = root.open(&format!("{MAPS}?watch=true")).await;
    let text = world.inside(User::new("prometheus", &["system:monitoring"])).get("/metrics").await.text();
    let about = |verb: &str, scope: &str, dry_run: &str| {
        format!(
            "component=\"apiserver\",dry_run=\"{dry_run}\",group=\"\",resource=\"configmaps\",scope=\"{scope}\",subresource=\"\",verb=\"{verb}\",version=\"v1\""
        )
    };
    for (code, verb, scope, dry_run, count) in [
        (201, "POST", "resource", "", 1),
        (201, "POST", "resource", "All", 1),
        (200, "GET", "resource", "", 1),
        (404, "GET", "resource", "", 1),
        (200, "LIST", "namespace", "", 1),
        (200, "LIST", "cluster", "", 1),
        (200, "APPLY", "resource", "", 1),
        (200, "WATCH", "namespace", "", 1),
    ] {
        let line = format!("apiserver_request_total{{code=\"{code}\",{}}} {count}\n", about(verb, scope, dry_run));
        assert!(text.contains(&line), "{line} is missing in\n{text}");
    }
    let of_get = about("GET", "resource", "");
    for line in [
        format!("apiserver_request_duration_seconds_bucket{{{of_get},le=\"60\"}} 2\n"),
        format!("apiserver_request_duration_seconds_bucket{{{of_get},le=\"+Inf\"}} 2\n"),
        format!("apiserver_request_duration_seconds_count{{{of_get}}} 2\n"),
        "# TYPE apiserver_request_duration_seconds histogram\n".to_owned(),
        "apiserver_current_inflight_requests{request_kind=\"mutating\"} 0\n".to_owned(),
        "apiserver_longrunning_requests{component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"\",subresource=\"\",verb=\"WATCH\",version=\"v1\"} 1\n".to_owned(),
        "apiserver_storage_objects{resource=\"configmaps\"} ".to_owned(),
        "process_resident_memory_bytes ".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("apiserver_audit_event_total"), "nobody wants an audit log");
    drop(watch);
}
