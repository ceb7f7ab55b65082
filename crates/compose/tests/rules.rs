//! The specification's rules of files, one by one: what two files, an extended service or a short form come to.
//!
//! Every expectation was held against Docker Compose's own loader (compose-go 2.16).

mod support;

use naru_compose::Loaded;
use serde_json::{Value, json};
use support::{error, one, run};

/// A service of a loaded project, as `naru config` shows it.
fn service(loaded: &Loaded, name: &str) -> Value {
    serde_json::to_value(&loaded.project.services[name]).expect("JSON")
}

fn over(base: &str, over: &str) -> Value {
    let top = "\nnetworks: {n: , m: }\nvolumes: {x: , y: , z: }\nsecrets: {s: {environment: X}}\nconfigs: {c: {content: hi}}\n";
    let base = format!("services: {{a: {{image: a, {base}}}, b: {{image: b}}}}{top}");
    let over = format!("services: {{a: {{{over}}}}}");
    let given = [("compose.yaml", base.as_str()), ("compose.override.yaml", over.as_str())];
    service(&run(&given, |_| {}).unwrap_or_else(|error| panic!("{base}\n{over}\n{error}")), "a")
}

#[test]
fn every_kind_of_sequence_merges_by_its_own_rule() {
    for (key, base, later, merged) in [
        ("environment", "[A=1, B=2]", "{B: 3, C: 4}", json!({"A": "1", "B": "3", "C": "4"})),
        ("labels", "[l=1]", "{l: '2', m: '3'}", json!({"l": "2", "m": "3"})),
        ("dns", "[1.1.1.1]", "8.8.8.8", json!(["1.1.1.1", "8.8.8.8"])),
        ("dns_search", "[a.b]", "a.b", json!(["a.b"])),
        ("cap_add", "[NET_ADMIN]", "[SYS_TIME, NET_ADMIN]", json!(["NET_ADMIN", "SYS_TIME"])),
        ("expose", "['1']", "[2, '1']", json!(["1", "2"])),
        ("tmpfs", "[/t1]", "/t2", json!(["/t1", "/t2"])),
        (
            "extra_hosts",
            "['h:1.2.3.4']",
            "{h: 5.6.7.8, k: 9.9.9.9}",
            json!({"h": ["1.2.3.4", "5.6.7.8"], "k": ["9.9.9.9"]}),
        ),
        ("command", "[a, b]", "c", json!(["c"])),
        ("entrypoint", "e f", "[]", json!([])),
        ("sysctls", "{a.b: 1}", "[a.b=2]", json!({"a.b": "2"})),
        ("ulimits", "{nofile: 10}", "{nofile: {soft: 1, hard: 2}}", json!({"nofile": {"soft": 1, "hard": 2}})),
        ("depends_on", "{b: {condition: service_healthy}}", "[b]", json!({"b": {"condition": "service_started"}})),
    ] {
        assert_eq!(over(&format!("{key}: {base}"), &format!("{key}: {later}"))[key], merged, "{key}");
    }
}

#[test]
fn what_is_known_by_its_place_is_replaced_whole() {
    let mounts = over("volumes: ['x:/x:ro', 'y:/y']", "volumes: ['z:/x', 'z:/z']")["volumes"].clone();
    let seen = |mount: &Value| format!("{}:{}:{}", mount["source"], mount["target"], mount["read_only"]);
    let seen: Vec<String> = mounts.as_array().expect("a list").iter().map(seen).collect();
    assert_eq!(seen, ["\"z\":\"/x\":null", "\"y\":\"/y\":null", "\"z\":\"/z\":null"]);
    let devices = over("devices: ['/dev/null:/dev/n0:r']", "devices: ['/dev/full:/dev/n0']")["devices"].clone();
    assert_eq!(devices, json!([{"source": "/dev/full", "target": "/dev/n0", "permissions": "rwm"}]));
    let secrets = over("secrets: [{source: s, uid: '7'}]", "secrets: [{source: s, mode: 0400}]")["secrets"].clone();
    assert_eq!(secrets, json!([{"source": "s", "mode": 0o400}]));
    let secrets = over("secrets: [s]", "secrets: [{source: s, target: /run/secrets/s}, {source: s, target: t}]");
    assert_eq!(secrets["secrets"].as_array().map(Vec::len), Some(2), "{secrets}");
    let ports = over("ports: ['80:80', '81:81']", "ports: ['80:80', {target: 81, published: 82}]")["ports"].clone();
    let seen: Vec<String> =
        ports.as_array().expect("a list").iter().map(|p| format!("{}:{}", p["published"], p["target"])).collect();
    assert_eq!(seen, ["\"80\":80", "\"81\":81", "\"82\":81"]);
    let twice = service(&one("services: {a: {image: a, ports: ['80:80', '80:80'], cap_add: [X, X]}}"), "a");
    assert_eq!((twice["ports"].as_array().map(Vec::len), &twice["cap_add"]), (Some(1), &json!(["X"])));
}

#[test]
fn options_of_another_log_driver_go() {
    let base = "logging: {driver: json-file, options: {max-size: 1m}}";
    assert_eq!(
        over(base, "logging: {driver: local, options: {max-file: '2'}}")["logging"],
        json!({"driver": "local", "options": {"max-file": "2"}})
    );
    assert_eq!(
        over(base, "logging: {options: {max-file: '2'}}")["logging"]["options"],
        json!({"max-size": "1m", "max-file": "2"})
    );
}

#[test]
fn reset_and_override_hold_for_maps_lists_and_services() {
    let base = "ports: ['80:80'], environment: {A: 1, B: 2}, volumes: ['x:/x'], command: [c], depends_on: [b], labels: {x: 1}, networks: [n]";
    let merged = over(
        base,
        "ports: !override ['81:81'], environment: {A: !reset null}, volumes: !reset [], command: !reset null, depends_on: !reset {}, labels: !override {y: 2}, networks: !reset null",
    );
    assert_eq!(merged["ports"].as_array().map(Vec::len), Some(1));
    assert_eq!((&merged["environment"], &merged["labels"]), (&json!({"B": "2"}), &json!({"y": "2"})));
    assert_eq!(
        (&merged["volumes"], &merged["command"], &merged["depends_on"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(merged["networks"], json!({"default": null}));
    let given = [
        ("compose.yaml", "services: {a: {image: a}, b: {image: b}}"),
        ("compose.override.yaml", "services: {b: !reset null}"),
    ];
    assert_eq!(run(&given, |_| {}).expect("fine").project.services.len(), 1);
}

#[test]
fn an_extended_service_brings_everything_along() {
    let given = [
        ("compose.yaml", "services: {a: {extends: {file: sub/base.yaml, service: x}}, db: {image: db}}"),
        (
            "sub/base.yaml",
            "services: {x: {image: x, depends_on: [db], build: {context: ./ctx}, env_file: [x.env], volumes: ['./d:/d']}, db: {image: z}}",
        ),
        ("sub/x.env", "EX=1\n"),
    ];
    let a = service(&run(&given, |_| {}).expect("fine"), "a");
    assert_eq!(a["depends_on"]["db"]["condition"], "service_started");
    assert_eq!((&a["build"]["context"], &a["environment"]["EX"]), (&json!("/shop/sub/ctx"), &json!("1")));
    assert_eq!(a["volumes"][0]["source"], "/shop/sub/d");
    let profiled = "services: {a: {extends: base}, base: {image: b, profiles: [never]}, c: {image: c}}";
    assert_eq!(one(profiled).project.services.keys().collect::<Vec<_>>(), ["c"]);
}

#[test]
fn includes_have_folders_and_variables_of_their_own() {
    let given = [
        (
            "compose.yaml",
            "include: [{path: [inc/a.yaml, inc/b.yaml], project_directory: other, env_file: [inc/1.env, inc/2.env]}]\nservices: {web: {image: 'w:${V:-none}'}}",
        ),
        ("inc/a.yaml", "services: {db: {image: 'd:${V}-${W}', volumes: ['./x:/x']}}"),
        ("inc/b.yaml", "services: {db: {tty: true}}"),
        ("inc/1.env", "V=1\nW=1\n"),
        ("inc/2.env", "V=2\n"),
    ];
    let loaded = run(&given, |_| {}).expect("fine");
    let db = service(&loaded, "db");
    assert_eq!((&db["image"], &db["tty"]), (&json!("d:2-1"), &json!(true)));
    assert_eq!(db["volumes"][0]["source"], "/shop/other/x");
    assert_eq!(service(&loaded, "web")["image"], "w:none");
    let outer = [
        ("compose.yaml", "include: [s/c.yaml]\nservices: {web: {image: 'a:${V}'}}"),
        (".env", "V=outer\n"),
        ("s/c.yaml", "services: {db: {image: 'b:${V}-${Q}'}}"),
        ("s/.env", "V=inner\nQ=q\n"),
    ];
    assert_eq!(service(&run(&outer, |_| {}).expect("fine"), "db")["image"], "b:outer-q");
}

#[test]
fn permission_bits_are_octal_also_in_quotes() {
    let text = "services: {a: {image: a, secrets: [{source: s, mode: 0440}, {source: s, target: t, mode: '0400'}, {source: s, target: u, mode: 0o444}, {source: s, target: v, mode: '440'}], volumes: [{type: tmpfs, target: /t, tmpfs: {mode: '1770'}}]}}\nsecrets: {s: {environment: X}}";
    let a = service(&one(text), "a");
    let modes: Vec<i64> = a["secrets"].as_array().expect("a list").iter().filter_map(|s| s["mode"].as_i64()).collect();
    assert_eq!(modes, [0o440, 0o400, 0o444, 0o440]);
    assert_eq!(a["volumes"][0]["tmpfs"]["mode"], 0o1770);
    let wrong = error(
        &[(
            "compose.yaml",
            "services: {a: {image: a, secrets: [{source: s, mode: rw}]}}\nsecrets: {s: {environment: X}}",
        )],
        |_| {},
    );
    assert!(wrong.contains("expected permission bits such as 0440"), "{wrong}");
}

#[test]
fn yaml_does_not_read_ports_as_times() {
    let a = service(&one("services:\n  a:\n    image: a\n    ports:\n      - 22:22\n      - 443\n"), "a");
    assert_eq!(
        (&a["ports"][0]["published"], &a["ports"][0]["target"], &a["ports"][1]["target"]),
        (&json!("22"), &json!(22), &json!(443))
    );
}

#[test]
fn variables_are_replaced_in_values_alone() {
    let text = r#"services: {a: {image: "i:${TAG:-1.${MINOR:-2}}", environment: {A: "$$HOME", B: "${X:+yes}", C: "${U-}", D: "${E:-d}", F: "${E-d}", G: "${U:-${X:-z}}-t", H: "${U:-a:b}", "${X}": key}}}"#;
    let loaded = run(&[("compose.yaml", text)], |request| {
        request.variables.extend([("X".to_owned(), "x".to_owned()), ("E".to_owned(), String::new())]);
    })
    .expect("fine");
    let a = service(&loaded, "a");
    assert_eq!(a["image"], "i:1.2");
    assert_eq!(
        a["environment"],
        json!({"A": "$HOME", "B": "yes", "C": "", "D": "d", "F": "", "G": "x-t", "H": "a:b", "${X}": "key"})
    );
}

#[test]
fn label_files_stand_below_labels() {
    let given = [
        ("compose.yaml", "services: {a: {image: a, label_file: [./one.labels, two.labels], labels: {c: own}}}"),
        ("one.labels", "a=1\nb=1\nc=1\n"),
        ("two.labels", "# more\nb=2\n"),
    ];
    let a = service(&run(&given, |_| {}).expect("fine"), "a");
    assert_eq!(a["labels"], json!({"a": "1", "b": "2", "c": "own"}));
    let missing = error(&[given[0]], |_| {});
    assert!(missing.contains("/shop/one.labels") && missing.contains("named at /shop/compose.yaml:1:"), "{missing}");
}

#[test]
fn what_is_shared_or_linked_to_comes_first() {
    let text = "services: {a: {image: a, links: ['b:bb'], volumes_from: [c], network_mode: 'service:d'}, b: {image: b}, c: {image: c}, d: {image: d}}";
    let a = service(&one(text), "a");
    let needed: Vec<&String> = a["depends_on"].as_object().expect("a map").keys().collect();
    assert_eq!(needed, ["b", "c", "d"]);
    let circle = "services: {a: {image: a, network_mode: 'service:b'}, b: {image: b, depends_on: [a]}}";
    assert!(error(&[("compose.yaml", circle)], |_| {}).contains("a circle"));
}

#[test]
fn builds_have_contexts() {
    let text = "services: {a: {build: {dockerfile_inline: 'FROM x'}}, b: {build: {context: ./d, additional_contexts: [x=./y, z=docker-image://q, s=service:a]}}}";
    let loaded = one(text);
    assert_eq!(service(&loaded, "a")["build"]["context"], "/shop");
    assert_eq!(
        service(&loaded, "b")["build"]["additional_contexts"],
        json!({"x": "/shop/y", "z": "docker-image://q", "s": "service:a"})
    );
}

#[test]
fn a_written_project_name_is_made_one() {
    let loaded = one("name: My.Proj\nservices: {a: {image: a}}");
    assert_eq!(loaded.project.name, "myproj");
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.to_string().contains("compose.yaml:1:7: name: \"My.Proj\" becomes"))
    );
}

#[test]
fn contradictions_and_forms_are_told_with_their_place() {
    for (body, expected) in [
        (
            "cpus: 0.5, deploy: {resources: {limits: {cpus: '0.25'}}}",
            "cpus: contradicts `deploy.resources.limits.cpus` at /shop/compose.yaml:1:",
        ),
        ("mem_limit: 1g, deploy: {resources: {limits: {memory: 2g}}}", "mem_limit: contradicts"),
        ("build: {dockerfile: D, dockerfile_inline: x}", "excludes `dockerfile` at"),
        ("healthcheck: {test: [curl, x]}", "a list begins with NONE, CMD or CMD-SHELL, found \"curl\""),
        ("tmpfs: [/t], volumes: [{type: tmpfs, target: /t/}]", "/t is also mounted at"),
        ("tmpfs: ['/t:sise=1m']", "unknown option \"sise=1m\""),
        ("device_cgroup_rules: ['x 1:3 r']", "expected TYPE MAJOR:MINOR ACCESS"),
        ("oom_kill_disable: true", "expected false, found \"true\""),
        ("runtime: nvidia", "expected runc, found \"nvidia\""),
        ("isolation: hyperv", "expected default, found \"hyperv\""),
        ("uts: private", "expected one of host"),
        ("configs: [{source: c, uid: root}]", "expected a number, found \"root\""),
        ("ports: [{target: 80, host_ip: here}]", "expected an IP address, found \"here\""),
        (
            "volumes: [{type: bind, source: /, target: /r, bind: {create_host_path: true, recursive: disabled}}]",
            "what is mounted below is always seen too",
        ),
        ("volumes: [{type: image, source: i, target: /i}]", "not supported: mounts of type \"image\""),
        ("blkio_config: {weight_device: [{path: /dev/sda, weight: 9}]}", "weights of single devices are not set"),
    ] {
        let text = format!("services: {{a: {{image: a, {body}}}}}\nconfigs: {{c: {{content: x}}}}");
        let found = error(&[("compose.yaml", &text)], |_| {});
        assert!(found.contains(expected) && found.contains("/shop/compose.yaml:1:"), "{text}\n{found}");
    }
    for (text, expected) in [
        ("networks: {n: {external: true, internal: true}}", "networks.n.internal: `external` excludes it"),
        ("volumes: {v: {external: true, labels: [a]}}", "volumes.v.labels: `external` excludes it"),
    ] {
        let text = format!("services: {{a: {{image: a}}}}\n{text}");
        let found = error(&[("compose.yaml", &text)], |_| {});
        assert!(found.contains(expected), "{text}\n{found}");
    }
    one(
        "services: {a: {image: a, security_opt: ['label:disable'], oom_kill_disable: false, runtime: runc}}\nnetworks: {n: {enable_ipv6: false}}",
    );
}

#[test]
fn variables_stand_in_for_the_command_line() {
    let given = [
        ("a.yaml", "services: {a: {image: 'a:${T:-none}'}, p: {image: p, profiles: [dev]}}"),
        ("b.yaml", "services: {b: {image: b}}"),
        (".env", "COMPOSE_FILE=a.yaml;b.yaml\nCOMPOSE_PATH_SEPARATOR=;\nCOMPOSE_PROFILES=dev\nT=dot\n"),
        ("other.env", "T=other\n"),
        ("compose.yaml", "services: {default: {image: d}}"),
    ];
    let names = |change: &dyn Fn(&mut naru_compose::Request)| {
        let loaded = run(&given, |request| change(request)).expect("fine");
        let image = loaded.project.services.get("a").and_then(|a| a.image.clone()).unwrap_or_default();
        (loaded.project.services.into_keys().collect::<Vec<_>>().join(" "), image)
    };
    let set = |request: &mut naru_compose::Request, name: &str, value: &str| {
        request.variables.insert(name.to_owned(), value.to_owned());
    };
    assert_eq!(names(&|_| {}), ("a b p".into(), "a:dot".into()), "from .env");
    assert_eq!(names(&|r| set(r, "COMPOSE_PROFILES", "none")).0, "a b", "the shell stands over it");
    assert_eq!(names(&|r| r.files = vec!["b.yaml".into()]).0, "b", "and the command line over both");
    assert_eq!(names(&|r| set(r, "COMPOSE_DISABLE_ENV_FILE", "1")).0, "default");
    assert_eq!(
        names(&|r| {
            set(r, "COMPOSE_ENV_FILES", "other.env");
            set(r, "COMPOSE_FILE", "a.yaml");
            set(r, "COMPOSE_PATH_SEPARATOR", ";");
        }),
        ("a".into(), "a:other".into())
    );
}
