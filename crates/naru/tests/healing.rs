//! What dies comes back, and what dies of ours takes nothing with it: the server, a supervisor, the helper.
//!
//! Each test has a host of its own, because each kills its server.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use naru_testkit::{Host, HostOptions, Leaks, Project, until};
use rustix::process::{Pid, Signal, kill_process};

fn host() -> Option<Host> {
    Host::start(env!("CARGO_BIN_EXE_naru"))
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).expect("a process"), Signal::KILL).expect("kill a process of this host");
}

/// The processes of a host whose arguments hold `word`, by looking at all there are.
fn processes(host: &Host, words: &[&str]) -> Vec<u32> {
    let folder = host.folder().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if arguments.contains(&folder) && words.iter().all(|word| arguments.contains(word)) {
            found.push(pid);
        }
    }
    found
}

/// The processes inside of containers, which must be the same before and after what must not touch them.
fn contained(host: &Host) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        // What has ended stays listed until somebody asks how; its group may be gone by then.
        if fs::read_link(entry.path().join("exe")).is_err() {
            continue;
        }
        // Supervisors and the helper have a group of their own.
        if groups.lines().any(|group| group.contains(host.cgroup()) && !group.ends_with("/supervisors")) {
            found.insert(pid);
        }
    }
    found
}

fn supervisor_of(host: &Host, project: &Project<'_>, service: &str) -> u32 {
    let uid = project.container(service)["ID"].as_str().expect("the pod's uid").to_owned();
    let found = processes(host, &[" supervisor", &uid]);
    assert_eq!(found.len(), 1, "supervisors of {uid}: {found:?}");
    found[0]
}

#[test]
fn a_killed_container_comes_back() {
    let Some(host) = host() else { return };
    let project = host.project(
        "comes",
        "services:\n  web: {image: naru.local/probe:1, restart: always, ports: ['8301:8080'], command: ['--term-code', '3']}\n",
    );
    project.up(&[]);
    let before = project.container("web");
    let processes = contained(&host);
    processes.iter().for_each(|pid| kill(*pid));
    let rows =
        project.until("web", "killed and back", |rows| rows[0]["RestartCount"] == 1 && rows[0]["State"] == "running");
    assert_eq!(rows[0]["Pod"], before["Pod"], "the same pod");
    host.fetch(8301, "/host");
    let pod = project.kubectl(&["get", "pods", "-o", "json"]).ok().json();
    let last = &pod["items"][0]["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 137, "what it died of is told: {last}");
}

#[test]
fn a_crashing_container_is_started_ever_more_slowly() {
    let Some(host) = host() else { return };
    let project = host
        .project("crashes", "services:\n  web: {image: naru.local/probe:1, command: [--exit, '9'], restart: always}\n");
    project.naru(&["up", "-d"]);
    let pod = until(
        "it backs off",
        || {
            project.kubectl(&["get", "pods", "-o", "json"]).ok().json()["items"][0]["status"]["containerStatuses"][0]
                .clone()
        },
        |status| status["state"]["waiting"]["reason"] == "CrashLoopBackOff",
    );
    assert!(pod["state"]["waiting"]["message"].as_str().is_some_and(|text| text.contains("back-off")), "{pod}");
    assert_eq!(pod["lastState"]["terminated"]["exitCode"], 9, "{pod}");
    project.kubectl(&["get", "events"]).ok().says(&["BackOff"]);
}

#[test]
fn a_killed_server_takes_nothing_with_it() {
    let Some(host) = host() else { return };
    let project = host.project(
        "survives",
        r#"
services:
  web: {image: naru.local/probe:1, ports: ["8302:8080"], restart: always, deploy: {replicas: 2}}
  client: {image: naru.local/probe:1, ports: ["8303:8080"]}
  ends: {image: naru.local/probe:1, ports: ["8304:8080"], restart: "no"}
  job: {image: naru.local/probe:1, command: [--wait-for, /go/now, --then-exit, "4"], volumes: ["./go:/go"], restart: "no"}
"#,
    );
    project.write("go/later", "");
    project.up(&[]);
    ["8302", "8303", "8304"].iter().for_each(|port| drop(host.fetch(port.parse().expect("a port"), "/host")));
    // Ready is not yet reachable (docs/flakes.md): what is to last without the server is there first.
    until(
        "both replicas answer",
        || (0..12).map(|_| host.fetch(8302, "/host")).collect::<BTreeSet<String>>(),
        |names| names.len() == 2,
    );
    host.fetch(8303, "/get/web:8080/host");
    let before = contained(&host);

    host.kill_server();
    assert_eq!(contained(&host), before, "no container ends with the server");
    let names: BTreeSet<String> = (0..12).map(|_| host.fetch(8302, "/host")).collect();
    assert_eq!(names.len(), 2, "the published port is balanced on");
    assert!(host.fetch(8303, "/get/web:8080/host").starts_with("web"), "names and services work on");
    assert!(host.get_from_outside(naru_testkit::NODE, 8302, "/host").is_ok(), "also from outside");
    host.fetch(8303, "/print/500/while-nobody-looked");
    let _ = host.get([127, 0, 0, 1], 8304, "/exit/7");
    project.write("go/now", "");
    until("both ended", || contained(&host).len(), |count| *count == before.len() - 2);

    host.start_server();
    let adopted: BTreeSet<u32> = contained(&host);
    assert!(adopted.is_subset(&before), "nothing was started anew");
    project
        .until("ends", "its exit code of that time", |rows| rows[0]["ExitCode"] == 7 && rows[0]["State"] == "exited");
    project.until("job", "its exit code of that time", |rows| rows[0]["ExitCode"] == 4 && rows[0]["State"] == "exited");
    project.until("web", "both run", |rows| {
        rows.len() == 2 && rows.iter().all(|row| row["State"] == "running" && row["RestartCount"] == 0)
    });
    let logs = project.naru(&["logs", "--no-log-prefix", "client"]).ok();
    assert_eq!(logs.stdout.matches("while-nobody-looked ").count(), 500, "every line of that time");
    project.naru(&["logs", "job"]).ok().says(&["went"]);
    host.fetch(8302, "/host");
    project.exec("web", &["true"]).ok();
    // The new server is in charge of what the old one made.
    project.naru(&["scale", "web=3"]).ok();
    project.naru(&["restart", "client"]).ok();
    project.naru(&["down", "-v", "-t", "1"]).ok();
    until("nothing runs", || contained(&host).len(), |count| *count == 0);
}

#[test]
fn a_server_that_ends_or_restarts_keeps_containers() {
    let Some(host) = host() else { return };
    let project =
        host.project("keeps", "services:\n  web: {image: naru.local/probe:1, ports: ['8305:8080'], restart: always}\n");
    project.up(&[]);
    host.fetch(8305, "/host");
    let before = contained(&host);
    for round in 0..3 {
        host.stop_server();
        host.start_server();
        assert_eq!(contained(&host), before, "round {round}");
    }
    host.fetch(8305, "/host");
    assert_eq!(project.container("web")["RestartCount"], 0);
    // What died while nobody ran is started again, once.
    host.kill_server();
    contained(&host).into_iter().for_each(kill);
    until("it is dead", || contained(&host).len(), |count| *count == 0);
    host.start_server();
    project.until("web", "it is back", |rows| {
        rows.len() == 1 && rows[0]["State"] == "running" && rows[0]["RestartCount"] == 1
    });
}

#[test]
fn a_killed_supervisor_is_replaced_cleanly() {
    let Some(host) = host() else { return };
    let before = Leaks::of(&host);
    let project = host.project(
        "replaced",
        "services:\n  web: {image: naru.local/probe:1, ports: ['8306:8080'], restart: always, volumes: ['data:/data']}\nvolumes: {data: {}}\n",
    );
    project.up(&[]);
    project.exec("web", &["sh", "-c", "echo kept > /data/kept"]).ok();
    let old = contained(&host);
    kill(supervisor_of(&host, &project, "web"));
    project.until("web", "a replacement runs", |rows| {
        let live: Vec<_> = rows.iter().filter(|row| row["State"] == "running").collect();
        live.len() == 1 && rows.len() == 1 && contained(&host).is_disjoint(&old)
    });
    host.fetch(8306, "/host");
    assert_eq!(project.exec("web", &["cat", "/data/kept"]).ok().text(), "kept");
    // While the server is away, too.
    let (supervisor, old) = (supervisor_of(&host, &project, "web"), contained(&host));
    host.kill_server();
    kill(supervisor);
    host.start_server();
    project.until("web", "a replacement runs", |rows| {
        rows.len() == 1 && rows[0]["State"] == "running" && contained(&host).is_disjoint(&old)
    });
    host.fetch(8306, "/host");
    project.naru(&["down", "-v", "-t", "1"]).ok();
    Leaks::none_since(&host, &before);
}

#[test]
fn a_killed_helper_is_replaced() {
    let Some(host) = host() else { return };
    let project = host.project(
        "helper",
        "services:\n  web: {image: naru.local/probe:1}\n  client: {image: naru.local/probe:1, ports: ['8307:8080']}\n",
    );
    project.up(&[]);
    host.fetch(8307, "/get/web:8080/host");
    let helper = processes(&host, &[" helper"]);
    assert_eq!(helper.len(), 1, "{helper:?}");
    kill(helper[0]);
    until("another helper", || processes(&host, &[" helper"]), |now| now.len() == 1 && *now != helper);
    host.fetch(8307, "/resolve/web");
    let asked = project.exec("client", &["nslookup", "web", "127.0.0.11"]);
    asked.ok();
}

#[test]
fn a_killed_server_in_the_middle_of_things() {
    let Some(host) = host() else { return };
    let before = Leaks::of(&host);
    let compose = |color: &str| {
        format!(
            "services:\n  web: {{image: naru.local/probe:1, environment: {{COLOR: {color}}}, deploy: {{replicas: 4}}}}\n"
        )
    };
    let project = host.project("middle", &compose("red"));
    // Killed while it makes pods, while it replaces them, while it removes them: the next one goes on.
    for (what, arguments, color) in [("up", &["up", "-d"][..], "red"), ("change", &["up", "-d"], "blue")] {
        project.write("compose.yaml", &compose(color));
        let up = project.start(arguments);
        until("pods are being made", || contained(&host).len(), |count| *count >= 1);
        host.kill_server();
        drop(up);
        host.start_server();
        project.up(&[]);
        project.until("web", what, |rows| rows.len() == 4 && rows.iter().all(|row| row["State"] == "running"));
        assert_eq!(project.exec("web", &["sh", "-c", "echo $COLOR"]).ok().text(), color);
    }
    let down = project.start(&["down", "-v", "-t", "1"]);
    until("pods are going", || contained(&host).len(), |count| *count < 4);
    host.kill_server();
    drop(down);
    host.start_server();
    project.naru(&["down", "-v", "-t", "1"]).ok();
    Leaks::none_since(&host, &before);
}

#[test]
fn who_kills_everything_in_the_servers_control_group_ends_only_the_server() {
    let tree = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let Some(tree) = tree.into_iter().find(|tree| tree.join("cgroup.controllers").exists()) else {
        eprintln!("SKIPPED: no cgroup v2 tree is mounted");
        return;
    };
    let Some(host) = host() else { return };
    let name = host.folder().file_name().expect("a name").to_string_lossy().into_owned();
    let group = Group::new(tree.join(format!("service-{name}")));
    let server = host.server_pid().expect("a server");
    fs::write(group.0.join("cgroup.procs"), server.to_string()).expect("move the server");
    // What it starts from now on comes from that group.
    let first = processes(&host, &[" helper "]);
    first.iter().for_each(|helper| kill(*helper));
    until("another helper", || processes(&host, &[" helper "]), |now| now.len() == 1 && *now != first);
    let project = host.project("group", "services:\n  web: {image: naru.local/probe:1, ports: ['8309:8080']}\n");
    project.up(&[]);
    host.fetch(8309, "/host");
    let (before, helper) = (contained(&host), processes(&host, &[" helper "]));
    assert!(!before.is_empty() && helper.len() == 1, "{before:?} {helper:?}");

    fs::write(group.0.join("cgroup.kill"), "1").expect("kill the group");
    until("its end", || host.server_pid(), Option::is_none);
    assert_eq!((contained(&host), processes(&host, &[" helper "])), (before.clone(), helper.clone()));
    host.fetch(8309, "/host");
    host.start_server();
    project.until("web", "as before", |rows| rows.iter().all(|row| row["State"] == "running"));
    assert_eq!((contained(&host), processes(&host, &[" helper "])), (before, helper));
}

/// A control group of this test's.
struct Group(PathBuf);

impl Group {
    fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("a control group");
        Self(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        while fs::remove_dir(&self.0).is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn one_state_folder_has_one_server() {
    let Some(host) = host() else { return };
    let pid = host.server_pid().expect("a server").to_string();
    let second = host.run(host.server_command(), b"");
    second.refuses(&[&pid]);
    host.naru(&["ls"]).ok();
    assert!(host.server_pid().is_some(), "the first goes on");
}

#[test]
fn up_starts_the_server_and_uninstall_leaves_nothing() {
    let options = HostOptions { idle: true, ..HostOptions::default() };
    let Some(host) = Host::start_with(env!("CARGO_BIN_EXE_naru"), options) else { return };
    let project = host.project(
        "starts",
        "services:\n  web: {image: naru.local/probe:1, ports: ['8308:8080'], secrets: [key], tmpfs: /t, volumes: ['data:/data']}\n\
         secrets: {key: {file: ./key}}\nvolumes: {data: {}}\n",
    );
    project.write("key", "secret");
    project.naru(&["ps"]).refuses(&["no server runs", "naru up"]);
    let archive = naru_testkit::Image::Probe.archive().expect("an archive");
    host.naru(&["image", "load", "-i", &archive.to_string_lossy()]).ok();
    project.up(&[]);
    host.fetch(8308, "/host");
    assert!(!contained(&host).is_empty());
    host.naru(&["uninstall"]).refuses(&["--yes"]);
    host.naru(&["uninstall", "--volumes", "--yes"]).ok();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*host.state_dir().to_string_lossy()), "nothing stays mounted");
    assert!(!host.state_dir().exists() && !host.run_dir().exists());
    assert!(contained(&host).is_empty());
    assert!(processes(&host, &["helper"]).is_empty() && processes(&host, &["server"]).is_empty());
    let left = host.command("nft").args(["list", "tables"]).output().expect("nft");
    assert!(!String::from_utf8_lossy(&left.stdout).contains("naru"), "rules are gone");
    let links = host.ip("-o link show").expect("links");
    assert_eq!(links.lines().count(), 2, "lo and eth0: {links}");
    let groups = host.command("find").args(["/sys/fs/cgroup", "-name", host.cgroup()]).output().expect("find");
    assert_eq!(String::from_utf8_lossy(&groups.stdout), "", "control groups are gone");
}
