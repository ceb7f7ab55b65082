//! Servers that people run, from Debian's packages; and the image store's own verbs.

use std::fs;

use naru_testkit::{Host, Image, eventually, shared_host, until};

fn host() -> Option<&'static Host> {
    shared_host(env!("CARGO_BIN_EXE_naru"))
}

#[test]
fn the_example_counts_its_visitors() {
    let Some(host) = host() else { return };
    if host.try_load(Image::Redis).is_none() {
        return;
    }
    let text = fs::read_to_string(Host::repository("examples/hello/compose.yaml")).expect("the example");
    // The probe stands for the example's own service, which `make demo` compiles.
    let project = host.project(
        "redis",
        r#"
services:
  cache:
    image: naru.local/redis:7
    volumes: [data:/data]
    healthcheck: {test: [CMD, redis-cli, ping], interval: 1s}
  probe: {image: naru.local/probe:1, depends_on: {cache: {condition: service_healthy}}}
volumes: {data: {}}
"#,
    );
    assert!(text.contains("naru.local/redis:7"), "the example runs the same Redis");
    project.up(&[]);
    let redis =
        |words: &[&str]| project.exec("cache", &[&["redis-cli", "-h", "cache"], words].concat()).ok().text().to_owned();
    assert_eq!(redis(&["set", "kept", "yes"]), "OK");
    assert_eq!(redis(&["save"]), "OK");
    project.naru(&["down"]).ok();
    project.up(&[]);
    assert_eq!(redis(&["get", "kept"]), "yes", "a named volume keeps the data");
    assert_eq!(project.exec("cache", &["id", "-u"]).code, 127, "the image has no such program");
    let top = project.naru(&["top", "cache"]).ok();
    assert!(top.stdout.contains("redis-server") && top.stdout.contains("999"), "Redis runs as the image's user: {top}");
}

#[test]
fn nginx_serves_and_reloads() {
    let Some(host) = host() else { return };
    if host.try_load(Image::Nginx).is_none() {
        return;
    }
    let project = host.project(
        "nginx",
        r#"
services:
  front:
    image: naru.local/nginx:1
    ports: ["8701:80"]
    configs: [{source: site, target: /etc/nginx/sites-enabled/default}]
    depends_on: [back]
  back: {image: naru.local/probe:1, deploy: {replicas: 2}}
configs:
  site:
    content: |
      server {
        listen 80;
        resolver 127.0.0.11 valid=1s;
        location / { set $$target back; proxy_pass http://$$target:8080; }
        location /own { return 200 "from nginx"; }
      }
"#,
    );
    project.up(&[]);
    assert_eq!(host.fetch(8701, "/own"), "from nginx");
    assert!(host.fetch(8701, "/host").starts_with("back"), "the proxy finds its back end by Docker's resolver address");
    project.naru(&["kill", "-s", "HUP", "front"]).ok();
    assert_eq!(host.fetch(8701, "/own"), "from nginx");
    project.naru(&["stop", "front"]).ok();
    assert_eq!(project.container("front")["ExitCode"], 0, "the image's stop signal (QUIT) ends it well");
}

#[test]
fn postgres_keeps_its_rows() {
    let Some(host) = host() else { return };
    if host.try_load(Image::Postgres).is_none() {
        return;
    }
    let project = host.project(
        "pg",
        r#"
services:
  db:
    image: naru.local/postgres:15
    environment: {POSTGRES_PASSWORD: secret}
    shm_size: 64m
    volumes: [rows:/var/lib/postgresql/data]
    healthcheck: {test: [CMD, pg_isready, -h, 127.0.0.1], interval: 1s, retries: 60}
volumes: {rows: {}}
"#,
    );
    project.up(&[]);
    let sql = |text: &str| {
        let psql =
            ["exec", "-T", "-e", "PGPASSWORD=secret", "db", "psql", "-U", "postgres", "-h", "127.0.0.1", "-tAc", text];
        project.naru(&psql).ok().text().to_owned()
    };
    sql("create table t (n int)");
    sql("insert into t select generate_series(1, 1000)");
    project.up(&["--force-recreate"]);
    assert_eq!(eventually("the rows", || Ok::<_, String>(sql("select count(*) from t"))), "1000");
    project.naru(&["stop"]).ok();
    assert_eq!(project.container("db")["ExitCode"], 0, "a fast shut-down by the image's signal (INT)");
}

#[test]
fn images_are_listed_saved_loaded_and_removed() {
    let Some(host) = Host::start(env!("CARGO_BIN_EXE_naru")) else { return };
    let archive = host.folder().join("saved.tar");
    let path = archive.to_string_lossy().into_owned();
    let names = || host.naru(&["image", "ls"]).ok().stdout;
    host.naru(&["image", "tag", "naru.local/probe:1", "naru.local/copy:2"]).ok();
    assert!(names().contains("naru.local/copy"));
    let ids = host.naru(&["image", "ls", "-q"]).ok();
    assert_eq!(ids.lines().len(), 2, "two names, one image");
    let about = host.naru(&["image", "inspect", "naru.local/copy:2"]).ok().json();
    assert!(about[0].to_string().contains("/probe"), "{about}");

    host.naru(&["image", "save", "naru.local/copy:2", "-o", &path]).ok();
    host.naru(&["image", "rm", "naru.local/copy:2"]).ok();
    assert!(!names().contains("naru.local/copy"));
    host.naru(&["image", "load", "-i", &path]).ok().says(&["naru.local/copy:2"]);
    assert!(names().contains("naru.local/copy"));
    let mut load = host.program();
    load.args(["image", "load"]);
    host.run(load, &fs::read(&archive).expect("the archive")).ok().says(&["Loaded image: naru.local/copy:2"]);

    // What a container uses stays.
    let project = host.project("uses", "services:\n  web: {image: 'naru.local/probe:1'}\n");
    project.up(&[]);
    host.naru(&["image", "rm", "naru.local/copy:2"]).ok();
    host.naru(&["image", "rm", "naru.local/probe:1"]).refuses(&["naru.local/probe:1", "uses"]);
    host.naru(&["image", "prune"]).refuses(&["--force"]);
    host.naru(&["image", "prune", "-a", "-f"]).ok().says(&["Deleted", "reclaimed"]);
    assert!(names().contains("naru.local/probe") && !names().contains("busybox"));
    assert_eq!(project.container("web")["State"], "running");
    project.naru(&["down", "--rmi", "all"]).ok();
    until("down --rmi removes it", names, |text| !text.contains("naru.local/probe"));
    let used = fs::read_dir(host.state_dir().join("images")).map(|entries| entries.count()).unwrap_or(0);
    assert!(used > 0, "the store itself stays");
}

#[test]
fn several_files_and_profiles_make_one_project() {
    let Some(host) = host() else { return };
    let project = host.project(
        "merge",
        "services:\n  web: {image: naru.local/probe:1, environment: {A: base, B: base}, ports: ['8711:8080']}\n",
    );
    project.write(
        "over.yaml",
        "services:\n  web: {environment: {A: over}, ports: !override ['8712:8080']}\n  tool: {image: naru.local/probe:1, profiles: [debug]}\n",
    );
    project.write("parts/part.yaml", "services:\n  part: {extends: {file: base.yaml, service: common}}\n");
    project.write("parts/base.yaml", "services:\n  common: {image: naru.local/probe:1, env_file: part.env}\n");
    project.write("parts/part.env", "FROM=part\n");
    project.write("more.yaml", "include: [parts/part.yaml]\n");
    let files = ["-f", "compose.yaml", "-f", "over.yaml", "-f", "more.yaml"];
    project.naru(&[&files[..], &["up", "-d", "--wait"]].concat()).ok();
    assert_eq!(host.fetch(8712, "/env/A"), "over");
    assert_eq!(host.fetch(8712, "/env/B"), "base");
    assert!(host.get([127, 0, 0, 1], 8711, "/").is_err(), "!override replaces");
    let ask = project.naru(&[&files[..], &["exec", "-T", "part", "sh", "-c", "echo $FROM"]].concat()).ok();
    assert_eq!(ask.text(), "part");
    assert!(project.ps().iter().all(|row| row["Service"] != "tool"), "a profile that is not asked for");
    project.naru(&[&files[..], &["--profile", "debug", "up", "-d", "--wait"]].concat()).ok();
    assert!(project.ps().iter().any(|row| row["Service"] == "tool"));
}
