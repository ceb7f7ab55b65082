//! Flags of Compose's verbs beyond the everyday ones.

use naru_testkit::{Host, shared_host, until};
use serde_json::Value;

fn host() -> Option<&'static Host> {
    shared_host(env!("CARGO_BIN_EXE_naru"))
}

#[test]
fn exec_as_another_user_in_another_place() {
    let Some(host) = host() else { return };
    let project = host.project("who", "services:\n  web: {image: naru.local/probe:1, user: '1000'}\n");
    project.up(&[]);
    for (arguments, expected) in [
        (&["exec", "-T", "web", "id", "-u"][..], "1000"),
        (&["exec", "-T", "-u", "0", "web", "id", "-u"], "0"),
        (&["exec", "-T", "-u", "5:6", "web", "id", "-g"], "6"),
        // Without a shell or `env` of the image.
        (&["exec", "-T", "-e", "A=b c", "-w", "/proc", "web", "sh", "-c", "echo $A $PWD"], "b c /proc"),
    ] {
        assert_eq!(project.naru(arguments).ok().text(), expected, "{arguments:?}");
    }
    let bits = |more: &[&str]| {
        let words = [&["exec", "-T"], more, &["web", "grep", "CapEff", "/proc/self/status"]].concat();
        project.naru(&words).ok().text().to_owned()
    };
    assert_ne!(bits(&["-u", "0"]), bits(&["-u", "0", "--privileged"]), "--privileged gives more");
}

#[test]
fn run_takes_mounts_ports_and_labels() {
    let Some(host) = host() else { return };
    let project = host.project(
        "task",
        "services:\n  web: {image: naru.local/probe:1, entrypoint: [/bin/sh, -c], command: [exec /probe], ports: ['8601:8080']}\n",
    );
    project.write("shared/file", "from here\n");
    let output = project.naru(&["run", "--rm", "-T", "-v", "./shared:/shared:ro", "web", "cat /shared/file"]).ok();
    assert!(output.stdout.ends_with("from here\n"), "{output}");
    project.naru(&["run", "--rm", "-T", "-v", "kept:/k", "web", "echo kept > /k/f"]).ok();
    project.naru(&["run", "--rm", "-T", "-v", "kept:/k", "web", "cat /k/f"]).ok().says(&["kept"]);
    project.write("more.env", "FROM_FILE=yes\n");
    project.naru(&["run", "--rm", "-T", "--env-from-file", "more.env", "web", "echo $FROM_FILE"]).ok().says(&["yes"]);
    // What the command line says wrongly is refused like the file's own.
    project.naru(&["run", "--rm", "-T", "-p", "80:web", "web", "true"]).refuses(&["<command line>", "80:web"]);
    let name = project.naru(&["run", "-d", "-p", "8602:8080", "-l", "a=b", "web"]).ok().text().to_owned();
    assert!(host.fetch(8602, "/host").contains("web"), "{name}");
    assert!(host.get([127, 0, 0, 1], 8601, "/").is_err(), "only what was asked for is published");
    let pod = project.kubectl(&["get", "pod", &name, "-o", "json"]).ok().json();
    assert!(pod["metadata"].to_string().contains("\"a\":\"b\""), "{pod}");
    project.kubectl(&["delete", "pod", &name, "--now"]).ok();
    until("the port is free", || host.get([127, 0, 0, 1], 8602, "/").is_err(), |free| *free);
    project.naru(&["run", "-d", "--service-ports", "web"]).ok();
    assert!(host.fetch(8601, "/host").contains("web"));
}

#[test]
fn a_service_goes_alone() {
    let Some(host) = host() else { return };
    let project =
        host.project("alone", "services:\n  web: {image: naru.local/probe:1}\n  db: {image: naru.local/probe:1}\n");
    project.up(&[]);
    let db = project.container("db")["Pod"].clone();
    project.naru(&["down", "-t", "0", "web"]).ok().says(&["alone-web-1", "Removed"]).hides(&["alone-db-1", "Network"]);
    assert_eq!(project.ps().len(), 1);
    assert_eq!(project.container("db")["Pod"], db);
    project.naru(&["down", "nosuch"]).refuses(&["no such service", "nosuch"]);
}

#[test]
fn listings_can_be_narrowed() {
    let Some(host) = host() else { return };
    let project = host.project(
        "narrow",
        "services:\n  web: {image: naru.local/probe:1, volumes: ['data:/data'], deploy: {replicas: 2}}\n  \
         once: {image: naru.local/probe:1, entrypoint: [/bin/sh, -c], command: [echo done]}\nvolumes: {data: {}}\n",
    );
    project.up(&[]);
    let names = |arguments: &[&str]| -> Vec<String> {
        let rows = project.naru(arguments).ok().json_lines();
        let mut names: Vec<String> = rows.iter().filter_map(|row| row["Name"].as_str().map(str::to_owned)).collect();
        names.sort();
        names
    };
    let exited = || names(&["ps", "--format", "json", "--status", "exited"]);
    until("one has ended", exited, |seen| seen.iter().eq(["narrow-once-1"]));
    assert_eq!(names(&["ps", "--format", "json", "--filter", "status=running"]), ["narrow-web-1", "narrow-web-2"]);
    project.naru(&["ps", "--filter", "color=red"]).refuses(&["color=red", "status"]);
    let mut services: Vec<String> =
        project.naru(&["ps", "-a", "--services"]).ok().lines().iter().map(|line| (*line).to_owned()).collect();
    services.sort();
    assert_eq!(services, ["once", "web"]);
    let row = &project.ps()[0];
    assert_eq!(row["Command"], Value::from("/bin/sh -c echo done"));
    assert_eq!(project.naru(&["volumes", "-q"]).ok().lines(), ["narrow_data"]);
    project.naru(&["logs", "--index", "2", "web"]).ok().hides(&["web-1"]);
    project.naru(&["ls", "-q", "--filter", "name=arro"]).ok().says(&["narrow"]);
    assert!(project.naru(&["ls", "-q", "--filter", "name=nosuch"]).ok().text().is_empty());
    project.naru(&["events", "--since", "soon"]).refuses(&["soon"]);
    let mut events = project.start(&["events", "--since", "1h", "--json", "web"]);
    events.shows("Scheduled");
    events.interrupt();
    events.wait().ok();
    project.naru(&["config", "web", "-o", "merged.yaml"]).ok();
    let merged = std::fs::read_to_string(project.folder().join("merged.yaml")).expect("a file");
    assert!(merged.contains("web:") && !merged.contains("once:"), "{merged}");
    assert_eq!(project.naru(&["version", "--short"]).ok().text(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn up_shows_the_logs_that_are_asked_for() {
    let Some(host) = host() else { return };
    let say =
        |what: &str| format!("{{image: naru.local/probe:1, entrypoint: [/bin/sh, -c], command: ['echo I am {what}']}}");
    let file = format!("services:\n  web: {}\n  db: {}\n  job: {}\n", say("web"), say("db"), say("job"));
    let project = host.project("shown", &file);
    project
        .naru(&["up", "--no-attach", "db", "--timestamps"])
        .ok()
        .says(&["I am web", "I am job", "Z I am"])
        .hides(&["I am db"]);
    project.naru(&["down"]).ok();
    project.naru(&["up", "--attach", "db"]).ok().says(&["I am db"]).hides(&["I am web"]);
    project.naru(&["up", "--attach", "nosuch"]).refuses(&["nosuch"]);
}

#[test]
fn a_failure_ends_up_only_when_it_is_one() {
    let Some(host) = host() else { return };
    let file = "services:\n  good: {image: naru.local/probe:1, entrypoint: [/bin/sh, -c], command: [exit 0]}\n  \
                bad: {image: naru.local/probe:1, entrypoint: [/bin/sh, -c], command: [sleep 1; exit 4]}\n  \
                web: {image: naru.local/probe:1}\n";
    let project = host.project("fails", file);
    project.naru(&["up", "--abort-on-container-failure"]).exits(4);
    until("all have ended", || project.ps(), |rows| rows.iter().all(|row| row["State"] == "exited"));
}

#[test]
fn start_waits_and_wait_takes_down() {
    let Some(host) = host() else { return };
    let project = host.project(
        "waits",
        "services:\n  web: {image: naru.local/probe:1, healthcheck: {test: [CMD, wget, -q, -O-, 'http://127.0.0.1:8080/health'], interval: 1s}}\n",
    );
    project.naru(&["create", "--scale", "web=2"]).ok();
    assert!(project.ps().iter().all(|row| row["State"] == "created"), "{:?}", project.ps());
    project.naru(&["start", "--wait"]).ok();
    assert!(project.ps().iter().all(|row| row["Health"] == "healthy"), "{:?}", project.ps());
    let wait = project.start(&["wait", "--down-project", "web"]);
    project.naru(&["kill", "web"]).ok();
    project.naru(&["stop", "-t", "0"]);
    wait.wait();
    until("the project is gone", || project.ps().len(), |count| *count == 0);
}
