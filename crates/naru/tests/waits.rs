//! Whoever waits is told what for, and is not held for ever.

use naru_testkit::{Host, HostOptions, eventually, shared_host, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");

fn host() -> Option<&'static Host> {
    shared_host(PROGRAM)
}

#[test]
fn what_no_node_takes_is_told_and_not_waited_for() {
    let Some(host) = host() else { return };
    let service = "image: naru.local/probe:1, deploy: {resources: {reservations: {memory: 100T}}}";
    let project =
        host.project("placed", &format!("services:\n  big: {{{service}}}\n  web: {{image: naru.local/probe:1}}\n"));
    project.naru(&["up", "-d"]).refuses(&["big", "cannot be placed", "0/1 nodes", "memory"]);
    assert_eq!(project.container("web")["State"], "running", "the rest runs");
    let row = project.container("big");
    let status = row["Status"].as_str().unwrap_or_default();
    assert!(status.starts_with("Created (") && status.contains("memory"), "{row}");
    project.naru(&["ps"]).ok().says(&["Created (0/1 nodes"]);
    // A wish that fits in part: what fits runs, the rest is counted.
    let file = |cpus: &str| {
        let limits = format!("deploy: {{resources: {{reservations: {{cpus: '{cpus}'}}}}}}");
        format!("services:\n  web: {{image: naru.local/probe:1, {limits}}}\n")
    };
    let cpus = host.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.cpu}"]).ok();
    let cpus = match cpus.text().strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<f64>().expect("a number") / 1000.0,
        None => cpus.text().parse::<f64>().expect("a number"),
    };
    project.write("compose.yaml", &file(&format!("{:.2}", cpus * 0.7)));
    project.up(&["--remove-orphans"]);
    project.naru(&["scale", "web=3"]).refuses(&["web", "2 of 3 cannot be placed", "cpu"]);
    until("one runs", || project.ps().iter().filter(|row| row["State"] == "running").count(), |count| *count == 1);
    project.naru(&["scale", "web=1"]).ok();
}

#[test]
fn a_volume_that_cannot_be_mounted_is_told() {
    let Some(host) = host() else { return };
    let project = host.project(
        "mounts",
        "services:\n  web: {image: naru.local/probe:1, secrets: [token]}\nsecrets: {token: {external: true, name: later}}\n",
    );
    project.naru(&["up", "-d"]).refuses(&["web", "later"]);
    project.naru(&["ps", "--no-trunc"]).ok().says(&["Created (", "later"]);
    project.naru(&["run", "--rm", "-T", "web", "true"]).refuses(&["later"]);
    project.kubectl(&["create", "secret", "generic", "later", "--from-literal=data=x"]).ok();
    project.up(&[]);
}

#[test]
fn a_folder_that_went_away_does_not_hold_the_project() {
    let Some(host) = host() else { return };
    let folder = host.folder().join("went");
    std::fs::create_dir_all(&folder).expect("a folder");
    let mount =
        format!("{{type: bind, source: {}, target: /data, bind: {{create_host_path: false}}}}", folder.display());
    let file = format!("services:\n  web: {{image: naru.local/probe:1, volumes: [{mount}]}}\n");
    let project = host.project("went", &file);
    project.up(&[]);
    std::fs::remove_dir(&folder).expect("remove it");
    project.naru(&["up", "-d"]).refuses(&["went"]);
    project.naru(&["ps"]).ok().says(&["went-web-1"]);
    project.naru(&["down", "-t", "0"]).ok();
}

#[test]
fn a_server_that_goes_away_is_named() {
    let Some(host) = Host::start(PROGRAM) else { return };
    let file = "services:\n  slow:\n    image: naru.local/busybox:1\n    stop_grace_period: 100s\n    \
                command: [sh, -c, \"trap : TERM; while :; do sleep 1; done\"]\n";
    let project = host.project("away", file);
    project.up(&[]);
    let down = project.start(&["down"]);
    until("it is being ended", || project.ps(), |rows| rows.iter().all(|row| row["State"] == "removing"));
    host.kill_server();
    down.wait().refuses(&["the server does not answer any more", "naru up"]);
    project.naru(&["ps"]).refuses(&["no server runs", "naru up"]);
    host.restart_server();
    project.naru(&["down", "-t", "0"]).ok();
}

#[test]
fn networks_outlive_the_namespace_only_until_down() {
    let Some(host) = host() else { return };
    let project = host.project("deleted", "services:\n  web: {image: naru.local/probe:1}\n");
    project.up(&[]);
    host.kubectl(&["delete", "namespace", "deleted"]).ok();
    let networks = || host.kubectl(&["get", "networks.naru.io", "-o", "name"]).ok().stdout;
    // Controllers may be faster; whoever is, nothing is left.
    project.naru(&["down"]).ok();
    until("no network is left", networks, |text| !text.contains("deleted"));
    project.naru(&["down"]).ok().says(&["no resource found"]);
}

#[test]
fn what_is_somebody_elses_is_named() {
    let Some(host) = host() else { return };
    let owner = host.project(
        "owner",
        "services:\n  web: {image: naru.local/probe:1, volumes: ['data:/data']}\nvolumes: {data: {}}\n",
    );
    owner.up(&[]);
    let guest = host.project(
        "guest",
        "services:\n  web: {image: naru.local/probe:1, volumes: ['data:/data']}\n\
         volumes: {data: {external: true, name: owner_data}}\n",
    );
    guest.naru(&["up", "-d"]).refuses(&["volumes.data", "owner_data", "project owner"]);
    guest.write(
        "compose.yaml",
        "services:\n  web: {image: naru.local/probe:1, volumes: ['data:/data']}\nvolumes: {data: {external: true, name: nosuch}}\n",
    );
    guest.naru(&["up", "-d"]).refuses(&["volumes.data", "nosuch", "external"]);
    assert!(guest.ps().is_empty(), "a refusal makes nothing");
    // Names that are the system's.
    for name in ["default", "kube-system"] {
        owner.naru(&["-p", name, "-f", "../guest/plain.yaml", "up", "-d"]).refuses(&["plain.yaml"]);
        guest.write("plain.yaml", "services:\n  web: {image: naru.local/probe:1}\n");
        guest.naru(&["-p", name, "-f", "plain.yaml", "up", "-d"]).refuses(&[name, "-p"]);
        guest.naru(&["-p", name, "down"]).refuses(&[name, "not a Compose project"]);
        std::fs::remove_file(guest.folder().join("plain.yaml")).expect("remove");
    }
}

#[test]
fn files_that_are_none_are_told() {
    let Some(host) = host() else { return };
    let project = host.project("odd", "services:\n  web: {image: naru.local/probe:1}\n");
    project.write("zero.yaml", "");
    project.naru(&["-f", "zero.yaml", "up", "-d"]).refuses(&["zero.yaml", "empty"]);
    project.naru(&["-f", ".", "up", "-d"]).refuses(&["directory"]);
    let fed =
        project.naru_fed(b"services:\n  web: {image: naru.local/probe:1}\n", &["-f", "-", "-p", "odd", "up", "-d"]);
    fed.ok().says(&["Service web"]);
    // Two at the same time end in the same, and both well.
    let [first, second] = [project.start(&["up", "-d"]), project.start(&["up", "-d"])];
    first.wait().ok();
    second.wait().ok();
    assert_eq!(project.ps().len(), 1);
}

#[test]
fn a_state_folder_that_is_a_mount_is_emptied_and_stays() {
    let options = HostOptions { idle: true, ..HostOptions::default() };
    let Some(host) = Host::start_with(PROGRAM, options) else { return };
    let state = host.state_dir();
    std::fs::create_dir_all(&state).expect("a folder");
    let mut mount = host.command("mount");
    mount.args(["-t", "tmpfs", "-o", "size=200m", "none"]).arg(&state);
    host.run(mount, b"").ok();
    host.start_server();
    host.stop_server();
    host.naru(&["uninstall", "--volumes", "--yes"]).ok().says(&["a mount of its own"]);
    let left = std::fs::read_dir(&state).expect("the folder is there").count();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = mounts.lines().any(|line| line.split(' ').nth(4) == state.to_str());
    let mut unmount = host.command("umount");
    unmount.arg(&state);
    host.run(unmount, b"").ok();
    assert_eq!((left, mounted), (0, true), "emptied, and still mounted");
}

#[test]
fn a_log_is_taken_up_again_by_the_next_server() {
    let Some(host) = Host::start(PROGRAM) else { return };
    let file = "services:\n  web:\n    image: naru.local/busybox:1\n    init: true\n    \
                command: [sh, -c, \"n=0; while :; do n=$$((n+1)); echo line $$n; sleep 0.2; done\"]\n";
    let project = host.project("taken", file);
    project.up(&[]);
    let mut logs = project.start(&["logs", "-f"]);
    logs.shows("line 1");
    host.kill_server();
    host.restart_server();
    let last = |text: &str| text.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).max();
    let before = last(&logs.stdout()).unwrap_or(0);
    eventually("lines after the restart", || match last(&logs.stdout()) {
        Some(now) if now > before + 3 => Ok(()),
        now => Err(format!("{before} then {now:?}")),
    });
}
