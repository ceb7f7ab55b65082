//! Whole projects through the loader, from files in memory.

mod support;

use naru_compose::Request;
use support::{error, one, run};

#[test]
fn short_and_long_forms_become_one() {
    let project = one(r#"
services:
  web:
    image: web
    command: serve --port "80 81"
    environment: [A=1, "B=x=y"]
    ports: ["8080:80", "127.0.0.1:9000-9001:90-91/udp", 70, {target: 60, published: "6000"}]
    volumes: ["data:/data:ro", "./conf:/conf", "/anon", {type: tmpfs, target: /tmp, tmpfs: {size: 64m}}]
    depends_on: [db]
    ulimits: {nofile: 1024}
    healthcheck: {test: "curl -f localhost"}
    extra_hosts: ["a=1.2.3.4", "b:::1"]
  db: {image: db}
volumes: {data: }
"#)
    .project;
    let web = &project.services["web"];
    assert_eq!(web.command.as_deref(), Some(["serve", "--port", "80 81"].map(str::to_owned).as_slice()));
    assert_eq!(web.environment["B"].as_deref(), Some("x=y"));
    let ports: Vec<_> = web
        .ports
        .iter()
        .map(|p| {
            format!(
                "{}:{}:{}/{}",
                p.host_ip.as_deref().unwrap_or(""),
                p.published.as_deref().unwrap_or(""),
                p.target,
                p.protocol
            )
        })
        .collect();
    assert_eq!(ports, [":8080:80/tcp", "127.0.0.1:9000:90/udp", "127.0.0.1:9001:91/udp", "::70/tcp", ":6000:60/tcp"]);
    let mounts: Vec<_> =
        web.volumes.iter().map(|m| format!("{} {} {}", m.kind, m.source.as_deref().unwrap_or("-"), m.target)).collect();
    assert_eq!(mounts, ["volume data /data", "bind /shop/conf /conf", "volume - /anon", "tmpfs - /tmp"]);
    assert_eq!(web.depends_on["db"].condition, "service_started");
    assert_eq!((web.ulimits["nofile"].soft, web.ulimits["nofile"].hard), (1024, 1024));
    let test = web.healthcheck.as_ref().and_then(|h| h.test.clone()).expect("a test");
    assert_eq!(test, ["CMD-SHELL", "curl -f localhost"]);
    assert_eq!(web.extra_hosts["b"], ["::1"]);
    assert_eq!(project.name, "shop");
    assert_eq!(project.volumes["data"].name, "shop_data");
    assert_eq!(project.networks["default"].name, "shop_default");
    assert!(web.networks.contains_key("default"));
}

#[test]
fn a_later_file_lies_over_an_earlier_one() {
    let base = "
services:
  web:
    image: web:1
    command: [a, b]
    environment: {A: 1, B: 2}
    ports: ['80:80', '81:81']
    volumes: ['data:/data', 'logs:/logs']
    dns: [1.1.1.1]
    labels: {keep: yes, gone: yes}
    expose: ['1', '2']
volumes: {data: , logs: , fast: }
";
    let over = "
services:
  web:
    image: web:2
    command: [c]
    environment: [B=3]
    ports: ['80:80', '82:82']
    volumes: ['fast:/data']
    dns: [8.8.8.8]
    labels: {gone: !reset null}
    expose: !override ['3']
";
    let loaded = run(&[("compose.yaml", base), ("compose.override.yaml", over)], |_| {}).expect("fine");
    let web = &loaded.project.services["web"];
    assert_eq!(web.image.as_deref(), Some("web:2"));
    assert_eq!(web.command.as_deref(), Some(["c".to_owned()].as_slice()));
    assert_eq!((web.environment["A"].as_deref(), web.environment["B"].as_deref()), (Some("1"), Some("3")));
    assert_eq!(web.ports.iter().map(|p| p.target).collect::<Vec<_>>(), [80, 81, 82]);
    assert_eq!(web.volumes.iter().filter_map(|m| m.source.as_deref()).collect::<Vec<_>>(), ["fast", "logs"]);
    assert_eq!(web.dns, ["1.1.1.1", "8.8.8.8"]);
    assert_eq!(web.labels.keys().collect::<Vec<_>>(), ["keep"]);
    assert_eq!(web.expose, ["3"]);
}

#[test]
fn variables_come_from_the_shell_above_env_files() {
    let text = "services: {web: {image: 'web:${TAG}', environment: {FROM_FILE: , GIVEN: , ABSENT: }, env_file: [{path: extra.env}, {path: none.env, required: false}]}}";
    let given =
        [("compose.yaml", text), (".env", "TAG=1\nFROM_FILE=file\nGIVEN=file\n"), ("extra.env", "X=${TAG}\nGIVEN=no")];
    let loaded = run(&given, |request| {
        request.variables.insert("GIVEN".into(), "shell".into());
        request.variables.insert("HOME".into(), "/root".into());
    })
    .expect("fine");
    let web = &loaded.project.services["web"];
    assert_eq!(web.image.as_deref(), Some("web:1"));
    let read = |name: &str| web.environment.get(name).and_then(|v| v.as_deref());
    assert_eq!(
        (read("X"), read("GIVEN"), read("FROM_FILE"), read("ABSENT")),
        (Some("1"), Some("shell"), Some("file"), None)
    );
    assert!(loaded.used_variables.contains("GIVEN") && !loaded.used_variables.contains("HOME"));
}

#[test]
fn extends_follows_files_and_finds_circles() {
    let given = [
        ("compose.yaml", "services: {web: {extends: {file: base/common.yaml, service: app}, environment: {B: own}}}"),
        (
            "base/common.yaml",
            "services: {app: {extends: root, image: app, environment: {A: app}, volumes: ['./x:/x']}, root: {image: root, environment: {A: root, B: root}}}",
        ),
    ];
    let web = run(&given, |_| {}).expect("fine").project.services["web"].clone();
    assert_eq!(web.image.as_deref(), Some("app"));
    assert_eq!((web.environment["A"].as_deref(), web.environment["B"].as_deref()), (Some("app"), Some("own")));
    assert_eq!(web.volumes[0].source.as_deref(), Some("/shop/base/x"));
    let circle = error(&[("compose.yaml", "services: {a: {extends: b}, b: {extends: a}}")], |_| {});
    assert!(circle.contains("compose.yaml:1:") && circle.contains("a circle: a → b → a"), "{circle}");
    let missing = error(&[("compose.yaml", "services: {a: {extends: {file: no.yaml, service: x}}}")], |_| {});
    assert!(missing.contains("/shop/no.yaml") && missing.contains("named at"), "{missing}");
}

#[test]
fn includes_stand_beside_and_may_be_laid_over() {
    let given = [
        ("compose.yaml", "include: [sub/compose.yaml]\nservices: {web: {image: web, depends_on: [db]}}"),
        ("sub/compose.yaml", "services: {db: {image: 'db:${V}', volumes: ['./d:/d']}}"),
        ("sub/.env", "V=7"),
    ];
    let project = run(&given, |_| {}).expect("fine").project;
    assert_eq!(project.services["db"].image.as_deref(), Some("db:7"));
    assert_eq!(project.services["db"].volumes[0].source.as_deref(), Some("/shop/sub/d"));
    let over = [given[1], given[2], ("compose.yaml", "include: [sub/compose.yaml]\nservices: {db: {image: other}}")];
    let loaded = run(&over, |_| {}).expect("laid over");
    let db = &loaded.project.services["db"];
    assert_eq!((db.image.as_deref(), db.volumes.len()), (Some("other"), 1));
    let notice = loaded.warnings.iter().map(ToString::to_string).find(|text| text.contains("laid over")).expect("told");
    assert!(notice.contains("/shop/compose.yaml:2:") && notice.contains("sub/compose.yaml:1:"), "{notice}");
    let itself = error(&[("compose.yaml", "include: [b.yaml]\nservices: {}"), ("b.yaml", "include: [b.yaml]")], |_| {});
    assert!(itself.contains("includes itself"), "{itself}");
}

#[test]
fn profiles_leave_services_out() {
    let text = "services: {web: {image: w}, debug: {image: d, profiles: [dev]}, tool: {image: t, profiles: [tools], depends_on: {debug: {condition: service_started, required: false}}}}";
    let names = |change: &dyn Fn(&mut Request)| {
        let loaded = run(&[("compose.yaml", text)], |r| change(r)).expect("fine");
        loaded.project.services.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(&|_| {}), ["web"]);
    assert_eq!(names(&|r| r.profiles = vec!["dev".into()]), ["debug", "web"]);
    assert_eq!(names(&|r| r.profiles = vec!["*".into()]), ["debug", "tool", "web"]);
    assert_eq!(names(&|r| r.services = vec!["tool".into()]), ["tool", "web"]);
    let needed =
        error(&[("compose.yaml", "services: {a: {image: a, depends_on: [b]}, b: {image: b, profiles: [p]}}")], |_| {});
    assert!(needed.contains("left out by its profiles"), "{needed}");
    assert!(error(&[("compose.yaml", text)], |r| r.services = vec!["webb".into()]).contains("no such service: webb"));
}

#[test]
fn the_project_is_named_by_flag_variable_file_or_folder() {
    let text = [("compose.yaml", "name: filed\nservices: {a: {image: 'a:${COMPOSE_PROJECT_NAME}'}}")];
    let named = |change: &dyn Fn(&mut Request)| {
        let project = run(&text, |r| change(r)).expect("fine").project;
        (project.name.clone(), project.services["a"].image.clone().expect("image"))
    };
    assert_eq!(named(&|_| {}), ("filed".into(), "a:filed".into()));
    assert_eq!(
        named(&|r| {
            r.variables.insert("COMPOSE_PROJECT_NAME".into(), "shell".into());
        })
        .0,
        "shell"
    );
    assert_eq!(named(&|r| r.name = Some("flag".into())), ("flag".into(), "a:flag".into()));
    assert!(error(&text, |r| r.name = Some("My Project".into())).contains("try \"myproject\""));
}

#[test]
fn every_reference_must_lead_somewhere() {
    for (text, expected) in [
        ("services: {a: {image: a, networks: [n]}}", "the network \"n\" is not defined"),
        (
            "services: {a: {image: a, volumes: ['v:/v']}}",
            "the volume \"v\" is not defined; define it under the top-level `volumes`",
        ),
        ("services: {a: {image: a, configs: [c]}}", "the config \"c\" is not defined"),
        ("services: {a: {image: a, secrets: [s]}}", "the secret \"s\" is not defined"),
        ("services: {a: {image: a, depends_on: [b]}}", "the service \"b\" is not defined; the project has a"),
        ("services: {a: {image: a, depends_on: [b]}, b: {image: b, depends_on: [a]}}", "a circle: a → b → a"),
        ("services: {a: {image: a, network_mode: 'service:x'}}", "the service \"x\" is not defined"),
        ("services: {a: {image: a, network_mode: host, networks: [n]}}\nnetworks: {n: }", "excludes `networks`"),
        ("services: {a: {}}", "expected `image` or `build`"),
        ("services: {a: {image: NOT VALID}}", "expected [REGISTRY/]NAME[:TAG][@DIGEST]"),
        ("services: {a: {image: 'Web:1'}}", "the name in lower case"),
        ("services: {a: {image: 'web:'}}", "expected [REGISTRY/]NAME"),
        ("services: {a: {image: a, scale: 2, container_name: x}}", "one name cannot serve several replicas"),
        ("services: {a: {image: a, scale: 2, deploy: {replicas: 3}}}", "contradicts `deploy.replicas`"),
        ("services: {a: {image: a, restart: sometimes}}", "expected no, always, unless-stopped"),
        (
            "services: {a: {image: a, ports: ['80:80']}, b: {image: b, ports: ['0.0.0.0:80:81']}}",
            "80/tcp is also published by \"a\"",
        ),
        ("services: {a: {image: a, ports: ['80-82:80-81']}}", "the ranges differ in length"),
        ("services: {a: {image: a, ports: ['99999:80']}}", "bad published port"),
        ("services: {a: {image: a}}\nsecrets: {s: {file: ./gone}}", "/shop/gone is not there"),
        (
            "services: {a: {image: a}}\nconfigs: {c: {content: x, file: y}}",
            "expected one source, found file and content",
        ),
        (
            "services: {a: {image: a, volumes: [{type: bind, source: ./gone, target: /x}]}}",
            "/shop/gone is not there: make it",
        ),
        ("services: {a: {image: a, volumes: ['x:y:z:q']}}", "expected [SOURCE:]TARGET[:MODE]"),
        ("services: {a: {image: a, cap_add: NET}}", "expected a list"),
        ("{}", "expected at least one service"),
        ("", "the file is empty"),
    ] {
        let found = error(&[("compose.yaml", text)], |_| {});
        assert!(found.contains(expected) && found.contains("/shop/compose.yaml"), "{text}\n{found}");
    }
}

#[test]
fn image_names_of_every_form_are_taken() {
    for image in [
        "web",
        "web:1.10",
        "a/b",
        "naru.local/a_b/c-d:T.1",
        "localhost:5000/x",
        "[::1]:5000/x:y",
        "w@sha256:0123456789abcdef0123456789abcdef",
    ] {
        one(&format!("services: {{a: {{image: '{image}'}}}}"));
    }
}

#[test]
fn a_project_survives_being_written_and_read() {
    let project = one("
x-team: {lead: kim}
services:
  web: {image: w, networks: {default: , back: {aliases: [w]}}, healthcheck: {test: x, interval: 1m30s}, mem_limit: 64m, x-note: 1}
networks: {back: {internal: true}}
")
    .project;
    let json = serde_json::to_string(&project).expect("JSON");
    assert_eq!(serde_json::from_str::<naru_compose::Project>(&json).expect("back"), project);
    assert_eq!(project.extensions["x-team"]["lead"], "kim");
    assert!(project.services["web"].networks["default"].is_none());
}

#[test]
fn no_file_says_which_names_are_looked_for() {
    let found = error(&[], |_| {});
    assert!(found.contains("compose.yaml") && found.contains("-f"), "{found}");
    let found = error(&[], |r| r.files = vec!["x.yaml".into()]);
    assert!(found.contains("cannot read /shop/x.yaml"), "{found}");
}
