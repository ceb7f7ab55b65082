//! The verbs of a project's life, with the words, the flags and the exit codes of Compose.

use naru_testkit::{Host, Leaks, Project, eventually, missing, shared_host, until};
use serde_json::Value;

fn host() -> Option<&'static Host> {
    shared_host(env!("CARGO_BIN_EXE_naru"))
}

/// What `naru ps -a` says of each container: name, state, exit code.
fn states(project: &Project<'_>) -> Vec<(String, String, i64)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = project.ps();
    rows.iter().map(|row| (text(row, "Name"), text(row, "State"), row["ExitCode"].as_i64().unwrap_or(-1))).collect()
}

fn state(name: &str, word: &str, code: i64) -> (String, String, i64) {
    (name.to_owned(), word.to_owned(), code)
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
    healthcheck: {test: [CMD, wget, -q, -O-, "http://127.0.0.1:8080/health"], interval: 1s}
    deploy: {replicas: 2}
  db:
    image: naru.local/probe:1
    init: true
configs:
  greeting: {content: hello}
volumes:
  data:
"#,
    );
    project.up(&[]).says(&["Volume", "data", "Created", "Service", "web", "Healthy"]);
    assert!(host.fetch(8080, "/host").starts_with("web"));
    assert_eq!(project.ps().len(), 3);
    project.naru(&["kill", "db"]).ok();
    project.naru(&["restart", "-t", "1", "web"]).ok();
    project.naru(&["down", "-v", "-t", "1"]).ok().says(&[
        "shop-web-1",
        "Removed",
        "data",
        "Network shop_default  Removed",
    ]);
    Leaks::none_since(&host, &before);
    assert!(project.naru(&["ls", "-a", "-q"]).ok().stdout.is_empty());
    // Again, and on nothing: no fault.
    project.naru(&["down", "-v"]).ok().says(&["no resource found to remove"]);
}

#[test]
fn up_rolls_only_what_changed_and_says_so() {
    let Some(host) = host() else { return };
    let compose = |greeting: &str| {
        format!(
            "services:\n  web: {{image: naru.local/probe:1, environment: {{GREETING: {greeting}}}}}\n  \
             db: {{image: naru.local/probe:1, environment: {{NAME: db}}}}\n"
        )
    };
    let project = host.project("changes", &compose("hello"));
    project.up(&[]);
    let pods = |service: &str| project.container(service)["Pod"].clone();
    let (web, db) = (pods("web"), pods("db"));

    project.up(&[]).hides(&["Changed", "Created"]);
    assert_eq!((&web, &db), (&pods("web"), &pods("db")), "an unchanged file changes nothing");

    project.write("compose.yaml", &compose("goodbye"));
    project.up(&[]).says(&["Service web  Changed"]).hides(&["Service db  Changed"]);
    assert_eq!(pods("db"), db, "db did not change");
    assert_ne!(pods("web"), web, "web did");
    assert_eq!(project.exec("web", &["sh", "-c", "echo $GREETING"]).ok().text(), "goodbye");

    project.up(&["--force-recreate", "db"]);
    assert_ne!(pods("db"), db, "--force-recreate replaces what did not change");

    project.write("compose.yaml", "services:\n  web: {image: naru.local/probe:1, environment: {GREETING: goodbye}}\n");
    project.up(&["--remove-orphans"]).says(&["db", "Removed"]);
    until("the orphan is gone", || project.ps().len(), |count| *count == 1);
}

#[test]
fn containers_stop_and_start_and_stay_who_they_are() {
    let Some(host) = host() else { return };
    let project = host.project("power", "services:\n  web: {image: naru.local/probe:1, command: [--term-code, '7']}\n");
    project.up(&[]);
    project.exec("web", &["sh", "-c", "echo kept > /kept"]).ok();
    let address = project.exec("web", &["hostname", "-i"]).ok().text().to_owned();
    let pod = project.container("web")["Pod"].clone();

    project.naru(&["stop", "web"]).ok().says(&["power-web-1", "Stopped"]);
    assert_eq!(states(&project), [state("power-web-1", "exited", 7)]);
    assert!(project.naru(&["ps", "-q"]).ok().stdout.is_empty(), "without -a only what runs");
    project.exec("web", &["true"]).refuses(&["web"]);

    project.naru(&["start"]).ok().says(&["Started"]);
    assert_eq!(states(&project), [state("power-web-1", "running", 0)]);
    assert_eq!(project.exec("web", &["cat", "/kept"]).ok().text(), "kept", "the writable layer stays");
    assert_eq!(project.exec("web", &["hostname", "-i"]).ok().text(), address, "the address stays");
    assert_eq!(project.container("web")["Pod"], pod, "the pod stays");

    project.naru(&["pause"]).ok();
    assert_eq!(states(&project), [state("power-web-1", "paused", 0)]);
    project.naru(&["unpause"]).ok();
    assert_eq!(states(&project), [state("power-web-1", "running", 0)]);

    let started = project.container("web")["RestartCount"].clone();
    project.naru(&["restart", "web"]).ok().says(&["Restarted"]);
    assert_eq!(states(&project), [state("power-web-1", "running", 0)]);
    assert_ne!(project.container("web")["RestartCount"], started, "a restart is counted");

    // USR1 is a signal like any other: the probe says so and goes on.
    project.naru(&["kill", "-s", "USR1", "web"]).ok();
    until("the signal arrives", || project.naru(&["logs", "web"]).stdout, |text| text.contains("got USR1"));
    assert_eq!(states(&project), [state("power-web-1", "running", 0)]);

    project.naru(&["stop"]).ok();
    project.naru(&["rm", "web"]).refuses(&["--force"]);
    project.naru(&["rm", "-f", "web"]).ok().says(&["power-web-1", "Removed"]);
    until("rm removes the container", || project.ps().len(), |count| *count == 0);
    project.naru(&["stop", "nosuch"]).refuses(&["no such service", "nosuch"]);
}

#[test]
fn exec_passes_everything_through() {
    let Some(host) = host() else { return };
    let project = host.project("execs", "services:\n  web: {image: naru.local/probe:1, environment: {A: b}}\n");
    project.up(&[]);
    let cases: &[(&[&str], i32, &str, &str)] = &[
        (&["exec", "-T", "web", "sh", "-c", "echo out; echo err >&2; exit 3"], 3, "out\n", "err\n"),
        (&["exec", "-T", "web", "sh", "-c", "echo $A"], 0, "b\n", ""),
        (&["exec", "-T", "-e", "C=d", "web", "sh", "-c", "echo $C"], 0, "d\n", ""),
        (&["exec", "-T", "-w", "/proc", "web", "pwd"], 0, "/proc\n", ""),
        (&["exec", "-T", "web", "sh", "-c", "kill -9 $$"], 137, "", ""),
        (&["exec", "-T", "--index", "1", "web", "echo", "-n", "x"], 0, "x", ""),
    ];
    for (arguments, code, stdout, stderr) in cases {
        let output = project.naru(arguments).exits(*code);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), (*stdout, *stderr), "{arguments:?}");
    }
    let big = vec![b'x'; 3 << 20];
    let counted = project.naru_fed(&big, &["exec", "-T", "web", "wc", "-c"]).ok();
    assert_eq!(counted.text().trim(), big.len().to_string(), "standard input arrives whole");
    let output = project.exec("web", &["head", "-c", "3000000", "/dev/zero"]).ok();
    assert_eq!(output.stdout.len(), 3_000_000, "standard output arrives whole");
    project.exec("web", &["/no/such/program"]).exits(127).says(&["/no/such/program"]).hides(&["{", "metadata"]);
    project.exec("nosuch", &["true"]).refuses(&["no such service", "nosuch"]);
    project.naru(&["exec", "-d", "web", "sh", "-c", "echo later > /later"]).ok();
    until("a detached command runs", || project.exec("web", &["cat", "/later"]).stdout, |text| text == "later\n");
}

#[test]
fn a_terminal_is_a_terminal() {
    let Some(host) = host() else { return };
    if missing(&["script"]) {
        return;
    }
    let project = host.project("tty", "services:\n  web: {image: naru.local/probe:1}\n");
    project.up(&[]);
    let mut shell = project.on_terminal(&["exec", "web", "sh"]);
    shell.write(b"tty; stty size; echo sum $((40 + 2))\n");
    shell.shows("sum 42");
    assert!(shell.stdout().contains("/dev/pts/"), "a terminal inside: {}", shell.stdout());
    shell.write(b"exit 9\n");
    assert_eq!(shell.wait().code, 9);
    let plain = project.exec("web", &["tty"]);
    assert_eq!(plain.text(), "not a tty", "-T gives none");
}

#[test]
fn run_is_a_container_of_its_own() {
    let Some(host) = host() else { return };
    let project = host.project(
        "oneoff",
        r#"
services:
  web:
    image: naru.local/probe:1
    entrypoint: [/bin/sh, -c]
    command: ["exec /probe"]
    environment: {A: b}
    ports: ["8091:8080"]
    depends_on: [db]
  db: {image: naru.local/probe:1}
"#,
    );
    let output = project.naru(&["run", "--rm", "-T", "web", "echo $A; exit 5"]).exits(5);
    assert!(output.stdout.ends_with("b\n"), "{output}");
    assert_eq!(project.container("db")["State"], "running", "what it depends on is started");
    project.naru(&["run", "--rm", "-T", "-e", "A=c", "web", "echo $A"]).ok().says(&["c\n"]);
    // Another entry point takes none of the service's arguments.
    let fed = project.naru_fed(b"from here\n", &["run", "--rm", "-T", "--no-deps", "--entrypoint", "cat", "web"]).ok();
    assert!(fed.stdout.contains("from here"), "{fed}");
    until("--rm removes it", || project.ps().len(), |count| *count == 1);
    let name = project.naru(&["run", "-d", "web"]).ok().text().to_owned();
    let pod = project.kubectl(&["get", "pod", &name, "-o", "json"]).ok().json();
    assert_eq!(pod["metadata"]["labels"]["com.docker.compose.oneoff"], "True");
    assert!(host.get([127, 0, 0, 1], 8091, "/").is_err(), "a one-off publishes nothing");
}

#[test]
fn logs_show_what_was_written() {
    let Some(host) = host() else { return };
    let project = host.project(
        "logs",
        r#"
services:
  web: {image: naru.local/probe:1, ports: ["8092:8080"]}
  talk: {image: naru.local/busybox:1, command: [sh, -c, "echo one; echo two; echo three; sleep 600"], stop_signal: KILL}
"#,
    );
    project.up(&[]);
    let all = until("three lines", || project.naru(&["logs", "talk"]).ok(), |output| output.lines().len() == 3);
    assert!(all.lines().iter().all(|line| line.starts_with("talk-1") && line.contains('|')), "{all}");
    let cases: &[(&[&str], &str)] = &[
        (&["logs", "--no-log-prefix", "talk"], "one\ntwo\nthree\n"),
        (&["logs", "--no-log-prefix", "--tail", "1", "talk"], "three\n"),
        (&["logs", "--no-log-prefix", "--tail", "0", "talk"], ""),
        (&["logs", "--no-log-prefix", "--since", "2020-01-01T00:00:00Z", "--tail", "2", "talk"], "two\nthree\n"),
        (&["logs", "--no-log-prefix", "--since", "2099-01-01T00:00:00Z", "talk"], ""),
    ];
    for (arguments, expected) in cases {
        assert_eq!(project.naru(arguments).ok().stdout, *expected, "{arguments:?}");
    }
    let stamped = project.naru(&["logs", "-t", "--no-log-prefix", "--tail", "1", "talk"]).ok();
    assert!(stamped.stdout.starts_with("20") && stamped.stdout.contains("Z three"), "{stamped}");

    let mut follow = project.start(&["logs", "-f", "--tail", "1", "web"]);
    follow.shows("probe listens");
    host.fetch(8092, "/print/2000/line");
    follow.shows("line 2000\n");
    let (text, _) = (follow.stdout(), follow.interrupt());
    assert_eq!(text.matches("| line ").count(), 2000, "no line is lost or doubled");
    follow.wait().ok();
    project.naru(&["logs", "nosuch"]).refuses(&["no such service", "nosuch"]);
    project.naru(&["logs", "--tail", "many"]).refuses(&["--tail", "many"]);
}

#[test]
fn up_in_the_foreground_shows_logs_and_stops_on_interrupt() {
    let Some(host) = host() else { return };
    let project = host.project(
        "front",
        "services:\n  web: {image: naru.local/probe:1}\n  db: {image: naru.local/probe:1, command: [--ignore-term], stop_grace_period: 2s}\n",
    );
    let up = project.start(&["up"]);
    for name in ["web-1", "db-1"] {
        until(
            name,
            || up.stdout(),
            |text| text.lines().any(|line| line.starts_with(name) && line.contains("| probe listens")),
        );
    }
    up.interrupt();
    let output = up.wait();
    assert_eq!(output.code, 130, "{output}");
    assert_eq!(states(&project), [state("front-db-1", "exited", 137), state("front-web-1", "exited", 0)]);

    // Twice kills: the grace of an hour is not waited for.
    project.write(
        "compose.yaml",
        "services:\n  db: {image: naru.local/probe:1, command: [--ignore-term], stop_grace_period: 1h}\n",
    );
    let mut up = project.start(&["up"]);
    up.shows("probe listens");
    up.interrupt();
    until("it is told to end", || project.naru(&["logs", "db"]).ok().stdout, |text| text.contains("ignored TERM"));
    up.interrupt();
    assert_eq!(up.wait().code, 130);
}

#[test]
fn up_ends_with_its_containers_and_their_codes() {
    let Some(host) = host() else { return };
    let project = host.project(
        "ends",
        r#"
services:
  test: {image: naru.local/busybox:1, command: [sh, -c, "echo tested; exit 4"]}
  web: {image: naru.local/probe:1}
"#,
    );
    project.naru(&["up", "--abort-on-container-exit"]).exits(4).says(&["tested", "Aborting"]);
    until("the others are stopped", || project.container("web")["State"].clone(), |state| state == "exited");
    project.naru(&["up", "--exit-code-from", "test"]).exits(4);
    project.write("compose.yaml", "services:\n  test: {image: naru.local/busybox:1, command: [sh, -c, 'exit 0']}\n");
    project.naru(&["up"]).ok();
    let rows = project.until("test", "the old one is gone", |rows| rows.len() == 1);
    assert_eq!((&rows[0]["ExitCode"], &rows[0]["RestartCount"]), (&0.into(), &0.into()), "and was not run again");
}

#[test]
fn wait_and_one_shot_services() {
    let Some(host) = host() else { return };
    let project = host.project(
        "shots",
        r#"
services:
  job: {image: naru.local/busybox:1, command: [sh, -c, "exit 6"]}
  good: {image: naru.local/busybox:1, command: ["true"]}
"#,
    );
    project.naru(&["up", "-d", "good"]).ok();
    project.naru(&["up", "-d", "job"]);
    project.naru(&["wait", "good"]).ok();
    let output = project.naru(&["wait", "job"]).exits(6);
    assert!(output.stdout.contains('6'), "{output}");
    assert_eq!(states(&project), [state("shots-good-1", "exited", 0), state("shots-job-1", "exited", 6)]);
}

#[test]
fn create_makes_and_starts_nothing() {
    let Some(host) = host() else { return };
    let project = host.project("made", "services:\n  web: {image: naru.local/probe:1}\n");
    project.naru(&["create"]).ok().says(&["Service web  Created"]);
    project.until("web", "one that was not started", |rows| rows.len() == 1 && rows[0]["State"] == "created");
    project.naru(&["start"]).ok();
    project.until("web", "it runs", |rows| rows[0]["State"] == "running");
}

#[test]
fn scale_follows_the_number() {
    let Some(host) = host() else { return };
    let project = host.project("scales", "services:\n  web: {image: naru.local/probe:1}\n");
    project.up(&["--scale", "web=2"]);
    assert_eq!(project.ps().len(), 2);
    project.naru(&["scale", "web=5"]).ok();
    let names: Vec<Value> = project.ps().iter().map(|row| row["Name"].clone()).collect();
    assert_eq!(names, ["scales-web-1", "scales-web-2", "scales-web-3", "scales-web-4", "scales-web-5"]);
    project.naru(&["scale", "web=1"]).ok();
    project.until("web", "one is left, the first", |rows| rows.len() == 1 && rows[0]["Name"] == "scales-web-1");
    project.naru(&["scale", "web=0"]).ok();
    project.until("web", "none", |rows| rows.is_empty());
    project.naru(&["scale", "nosuch=2"]).refuses(&["no such service", "nosuch"]);
    project.naru(&["scale", "web=some"]).refuses(&["SERVICE=NUM", "web=some"]);
}

#[test]
fn listings_are_for_people_and_programs() {
    let Some(host) = host() else { return };
    let project = host.project(
        "lists",
        r#"
services:
  web:
    image: naru.local/probe:1
    ports: ["127.0.0.1:8093:8080", "8094:53/udp"]
    healthcheck: {test: [CMD, "true"], interval: 1s}
  db: {image: naru.local/busybox:1, command: [sleep, "600"], stop_signal: KILL}
"#,
    );
    project.up(&[]);
    project.naru(&["ps"]).ok().says(&[
        "NAME",
        "IMAGE",
        "SERVICE",
        "STATUS",
        "PORTS",
        "lists-web-1",
        "Up",
        "(healthy)",
        "127.0.0.1:8093->8080/tcp",
        "0.0.0.0:8094->53/udp",
    ]);
    let row = project.container("web");
    assert_eq!((&row["Health"], &row["Project"]), (&"healthy".into(), &"lists".into()));
    assert_eq!(row["Publishers"][0]["PublishedPort"], 8093, "{row}");
    assert_eq!(project.naru(&["ps", "web", "-q"]).ok().lines().len(), 1);

    assert_eq!(project.naru(&["port", "web", "8080"]).ok().text(), "127.0.0.1:8093");
    assert_eq!(project.naru(&["port", "--protocol", "udp", "web", "53"]).ok().text(), "0.0.0.0:8094");
    project.naru(&["port", "web", "9"]).refuses(&["9/tcp"]);

    project.naru(&["images"]).ok().says(&["CONTAINER", "lists-web-1", "naru.local/probe", "1"]);
    let images = project.naru(&["images", "--format", "json"]).ok().json();
    assert_eq!(images.as_array().map(Vec::len), Some(2), "{images}");
    assert!(images[0]["Size"].as_u64().is_some_and(|size| size > 100_000), "{images}");

    let top = project.naru(&["top", "db"]).ok().says(&["lists-db-1", "PID", "sleep 600"]);
    assert!(!top.stdout.contains("probe"), "{top}");
    let stats = project.naru(&["stats", "--no-stream", "--format", "json"]).ok().json_lines();
    assert_eq!(stats.len(), 2);
    assert!(
        stats.iter().all(|row| row["PIDs"] != "0" && row["MemUsage"].as_str().is_some_and(|text| text.contains('B'))),
        "{stats:?}"
    );
    project.naru(&["stats", "--no-stream"]).ok().says(&["NAME", "CPU %", "lists-db-1"]);

    let listed = project.naru(&["ls", "--format", "json"]).ok().json();
    let own = listed.as_array().into_iter().flatten().find(|row| row["Name"] == "lists").cloned();
    assert_eq!(own.map(|row| row["Status"].clone()), Some("running(2)".into()), "{listed}");
    project.naru(&["ls"]).ok().says(&["NAME", "STATUS", "lists"]);
}

#[test]
fn events_tell_what_happens() {
    let Some(host) = host() else { return };
    let project = host.project("happens", "services:\n  web: {image: naru.local/probe:1}\n");
    project.up(&[]);
    let mut events = project.start(&["events", "--json"]);
    eventually("the stream shows a restart", || {
        project.naru(&["restart", "web"]).ok();
        let shown = events.stdout();
        if shown.lines().any(|line| line.contains("web") && line.contains("Started")) { Ok(()) } else { Err(shown) }
    });
    for line in events.stdout().lines() {
        let event: Value = serde_json::from_str(line).expect("a JSON object a line");
        assert!(event["time"].is_string() && event["action"].is_string(), "{event}");
    }
    events.shows("web");
    events.interrupt();
    events.wait().ok();
}

#[test]
fn files_are_copied_in_and_out() {
    let Some(host) = host() else { return };
    let project = host.project("copies", "services:\n  web: {image: naru.local/probe:1}\n");
    project.up(&[]);
    let local = project.write("in.txt", "from here\n");
    project.write("tree/a/b.txt", "deep\n");
    project.naru(&["cp", &local.to_string_lossy(), "web:/tmp/in.txt"]).ok();
    assert_eq!(project.exec("web", &["cat", "/tmp/in.txt"]).ok().stdout, "from here\n");
    project.naru(&["cp", "./tree", "web:/tmp/"]).ok();
    assert_eq!(project.exec("web", &["cat", "/tmp/tree/a/b.txt"]).ok().stdout, "deep\n");
    project.exec("web", &["sh", "-c", "echo back > /tmp/out.txt"]).ok();
    project.naru(&["cp", "web:/tmp/out.txt", "./out.txt"]).ok();
    assert_eq!(std::fs::read_to_string(project.folder().join("out.txt")).ok().as_deref(), Some("back\n"));
    project.naru(&["cp", "web:/tmp/tree", "./back"]).ok();
    assert_eq!(std::fs::read_to_string(project.folder().join("back/a/b.txt")).ok().as_deref(), Some("deep\n"));
    project.naru(&["cp", "web:/no/such", "./x"]).refuses(&["/no/such"]);
    assert!(!project.folder().join("x").exists(), "a refused copy leaves no file");
}

#[test]
fn config_shows_the_project_as_understood() {
    let Some(host) = host() else { return };
    let project = host.project(
        "configs",
        r#"
services:
  web:
    image: naru.local/${IMAGE:-probe}:1
    environment: {FROM: "${FROM_ENV_FILE}"}
    profiles: [front]
  db: {image: naru.local/probe:1, volumes: ["data:/data"]}
volumes: {data: {}}
"#,
    );
    project.write(".env", "FROM_ENV_FILE=dotenv\n");
    project.naru(&["config", "--profile", "front"]).ok().says(&["naru.local/probe:1", "dotenv", "name: configs"]);
    let with =
        project.naru_with(&[("IMAGE", "other")], &["--profile", "front", "config", "--format", "json"]).ok().json();
    assert_eq!(with["services"]["web"]["image"], "naru.local/other:1");
    assert_eq!(project.naru(&["config", "--services"]).ok().stdout, "db\n");
    assert_eq!(project.naru(&["config", "--volumes"]).ok().stdout, "data\n");
    assert_eq!(project.naru(&["config", "--profiles"]).ok().stdout, "front\n");
    assert!(project.naru(&["config", "-q"]).ok().stdout.is_empty());
}

#[test]
fn a_project_is_the_same_through_kubectl() {
    if missing(&["kubectl"]) {
        return;
    }
    let Some(host) = host() else { return };
    let project = host.project(
        "kube",
        r#"
services:
  web: {image: naru.local/probe:1, ports: ["8521:8080"], restart: always, deploy: {replicas: 2}}
  my_db: {image: naru.local/probe:1, volumes: ["data:/data"]}
volumes: {data: {}}
"#,
    );
    project.up(&[]);
    host.kubectl(&["get", "namespace", "kube", "--show-labels"]).ok().says(&["naru.io/project=kube"]);
    project.kubectl(&["get", "deployments,pods,services,pvc", "-l", "naru.io/project=kube"]).ok().says(&[
        "deployment.apps/web",
        "2/2",
        "service/web",
    ]);
    let pods = || project.kubectl(&["get", "pods", "-l", "naru.io/service=web", "-o", "json"]).ok().json();
    let name = |pods: &Value, at: usize| pods["items"][at]["metadata"]["name"].as_str().expect("a name").to_owned();
    let first = name(&pods(), 0);
    project.kubectl(&["delete", "pod", &first]).ok();
    project.until("web", "another took its place and its number", |rows| {
        let names: std::collections::BTreeSet<&str> = rows.iter().filter_map(|row| row["Name"].as_str()).collect();
        rows.iter().all(|row| row["State"] == "running" && row["Pod"] != *first)
            && names == std::collections::BTreeSet::from(["kube-web-1", "kube-web-2"])
    });
    project.kubectl(&["scale", "deployment/web", "--replicas=4"]).ok();
    project.until("web", "four run", |rows| rows.len() == 4 && rows.iter().all(|row| row["State"] == "running"));
    project.kubectl(&["get", "projects.naru.io", "kube", "-o", "yaml"]).ok().says(&["my_db"]);
    // The next up makes it what the file says.
    project.up(&[]);
    project
        .until("web", "two, as the file says", |rows| rows.iter().filter(|row| row["State"] == "running").count() == 2);
    host.kubectl(&["delete", "namespace", "kube"]).ok();
    until(
        "the project is gone",
        || host.naru(&["ls", "-a", "-q"]).ok().stdout,
        |text| !text.lines().any(|line| line == "kube"),
    );
}
