//! The life of a project: up, what changed, stop and start, down; and that nothing is left in the end.

use naru_testkit::{Host, Leaks, shared_host};

fn host() -> Option<&'static Host> {
    shared_host(env!("CARGO_BIN_EXE_naru"))
}

#[test]
fn up_answers_and_down_leaves_nothing() {
    let Some(host) = Host::start(env!("CARGO_BIN_EXE_naru")) else { return };
    let before = Leaks::of(&host);
    let project = host.project(
        "shop",
        r#"
services:
  web:
    image: naru.local/probe:1
    ports: ["8080:8080"]
    depends_on: [db]
    volumes: ["data:/data", "/anonymous"]
    tmpfs: /scratch
    configs: [{source: greeting, target: /greeting}]
    deploy: {replicas: 2}
  db:
    image: naru.local/probe:1
configs:
  greeting: {content: hello}
volumes:
  data:
"#,
    );
    project.up(&[]).says(&["Volume", "data", "Created", "Service", "web", "Started"]);
    assert!(host.fetch(8080, "/host").starts_with("web"));
    assert_eq!(project.ps().len(), 3);
    project.naru(&["down", "-v", "-t", "1"]).ok().says(&["shop-web-1", "Removed", "data"]);
    Leaks::none_since(&host, &before);
    project.naru(&["ps", "-a", "-q"]).ok();
    assert!(project.naru(&["ls", "-a", "-q"]).ok().stdout.is_empty());
}
