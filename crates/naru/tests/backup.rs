//! A cluster in a file, and out of it again: on another machine, over a damaged store, at times by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use naru_testkit::{Host, HostOptions, Image, Lan, eventually, eventually_within, until};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");
/// Longer than any wait that is right.
const PATIENCE: Duration = Duration::from_secs(90);

fn start(lan: &Lan, idle: bool, server: &[&str]) -> Option<Host> {
    let server = server.iter().map(|word| (*word).to_owned()).collect();
    Host::start_with(PROGRAM, HostOptions { idle, lan: Some(lan.clone()), server, ..HostOptions::default() })
}

/// A key in a file that its owner alone can read.
fn key(host: &Host, name: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = host.folder().join(name);
    fs::write(&path, host.naru(&["backup", "key"]).ok().stdout).expect("the key's file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its owner's alone");
    path
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn create(host: &Host, key: &Path, name: &str) -> (PathBuf, Value) {
    let path = host.folder().join(name);
    let made = host.naru(&["backup", "create", "--key-file", &text(key), "-o", &text(&path), "--format", "json"]);
    (path, made.ok().json())
}

fn config_maps(host: &Host) -> Vec<String> {
    let list = host.kubectl(&["get", "configmaps", "-n", "default", "-o", "name"]).ok();
    list.lines().into_iter().filter_map(|line| line.strip_prefix("configmap/w-")).map(str::to_owned).collect()
}

fn revision(host: &Host) -> u64 {
    let list = host.kubectl(&["get", "--raw", "/api/v1/namespaces"]).ok().json();
    list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

/// Everything that a state folder of a server begins with; none of it may be there.
fn untouched(host: &Host) {
    for name in ["store", "pki", "server.json", "restore.part", "restore.whole"] {
        assert!(!host.state_dir().join(name).exists(), "{name} is there");
    }
}

#[test]
fn a_cluster_comes_back_on_another_machine_with_everything_that_was_acknowledged() {
    let Some(lan) = Lan::new() else { return };
    let Some(first) = start(&lan, false, &["--pod-network", "10.77.0.0/16"]) else { return };
    let Some(second) = start(&lan, true, &[]) else { return };
    let compose = "services:\n  web: {image: naru.local/probe:1, restart: always, ports: ['8080:8080'], environment: {PASSWORD: hunter2}}\n";
    let project = first.project("shop", compose);
    project.up(&[]);
    first.kubectl(&["create", "secret", "generic", "token", "--from-literal=word=swordfish"]).ok();
    let key = key(&first, "backup.key");

    // A backup while others write, and what they had been answered by when it began.
    let (acknowledged, ended) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let (file, made, before) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let name = format!("w-{number}");
                first.kubectl(&["create", "configmap", &name, "-n", "default"]).ok();
                acknowledged.lock().expect("the names").push(number.to_string());
            }
        });
        let count = || acknowledged.lock().expect("the names").len();
        until("some are written", count, |count| *count >= 5);
        let before = acknowledged.lock().expect("the names").clone();
        let (file, made) = create(&first, &key, "one.backup");
        let then = count();
        until("it goes on", count, |count| *count > then);
        ended.store(true, Ordering::Relaxed);
        (file, made, before)
    });
    assert!(made["sealed"] == true && made["volumes"] == false && made["objects"].as_u64() > Some(20), "{made}");
    let issued = revision(&first);
    assert!(made["revision"].as_u64() < Some(issued));
    let bytes = fs::read(&file).expect("the backup");
    for secret in ["PRIVATE KEY", "swordfish", "hunter2"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} can be read in it");
    }
    let verify = |file: &Path, key: &Path| first.naru(&["backup", "verify", &text(file), "--key-file", &text(key)]);
    verify(&file, &key).ok().says(&["is whole and unaltered", "sealed   yes"]);
    // Whoever may do everything by a role still may not have the cluster's keys.
    first.kubectl(&["create", "clusterrolebinding", "kim", "--clusterrole=cluster-admin", "--user=kim"]).ok();
    eventually("kim may do everything", || {
        let output = first.kubectl(&["get", "--raw", "/metrics", "--as", "kim"]);
        if output.code == 0 { Ok(()) } else { Err(output.to_string()) }
    });
    first.kubectl(&["get", "--raw", "/naru/v1/backup", "--as", "kim"]).refuses(&["system:masters"]);
    first.naru(&["backup", "create"]).refuses(&["naru backup key", "--unsealed"]);

    // The first machine is lost; what runs on it knows nothing of what follows.
    first.kill_server();
    refusals(&second, &file, &key, &self::key(&first, "other.key"), &bytes);
    let restored = second.naru(&["backup", "restore", &text(&file), "--key-file", &text(&key)]).ok();
    restored.says(&["Restored", "Volumes and images are not part of a backup", "node-1"]);
    second
        .naru(&["backup", "restore", &text(&file), "--key-file", &text(&key)])
        .refuses(&["there is a cluster", "--replace"]);
    second.start_server();
    assert!(first.fetch(8080, "/host").len() > 1, "the old machine's containers go on");
    let there = config_maps(&second);
    let lost: Vec<_> = before.iter().filter(|name| !there.contains(name)).collect();
    assert!(lost.is_empty(), "acknowledged before the backup, and not there: {lost:?}");
    let word = second.kubectl(&["get", "secret", "token", "-o", "jsonpath={.data.word}"]).ok();
    assert_eq!(word.text(), "c3dvcmRmaXNo");

    // What was issued is never issued again, and whoever watched from before lists anew.
    assert!(revision(&second) > issued + (1 << 39), "{} after {issued}", revision(&second));
    let watch = format!("/api/v1/configmaps?watch=1&resourceVersion={issued}");
    let mut watch = second.start_kubectl(&["get", "--raw", &watch]);
    watch.shows("too old resource version");
    // It has the network that it had, and its certificate is for the new machine.
    eventually("the node is this machine", || {
        let path = "jsonpath={.spec.podCIDR} {.status.addresses[*].address}";
        let seen = second.kubectl(&["get", "node", "node-1", "-o", path]);
        let (subnet, addresses) = seen.text().split_once(' ').unwrap_or_default();
        let here = addresses.split(' ').any(|address| address == second.address().to_string());
        if subnet == "10.77.0.0/24" && here { Ok(()) } else { Err(seen.to_string()) }
    });
    let address = format!("https://{}:6443", second.address());
    second.kubectl(&["--server", &address, "get", "--raw", "/version"]).ok();
    // The old administrator's file is good here too: it is the same cluster.
    second.kubectl(&["--kubeconfig", &text(first.kubeconfig()), "--server", &address, "get", "--raw", "/version"]).ok();
    // And it runs what it was told to run.
    second.load(Image::Busybox);
    second.load(Image::Probe);
    eventually_within(PATIENCE, "the project runs here", || {
        second.get([127, 0, 0, 1], 8080, "/host").map_err(|error| format!("{error}\n{}", second.log_tail(5))).map(drop)
    });
}

/// What cannot be restored, and that nothing of it is there afterwards.
fn refusals(host: &Host, file: &Path, key: &Path, other: &Path, bytes: &[u8]) {
    let restore = |file: &Path, key: &Path| host.naru(&["backup", "restore", &text(file), "--key-file", &text(key)]);
    restore(file, other).refuses(&["another key", "nothing was changed"]);
    untouched(host);
    host.naru(&["backup", "restore", &text(file)]).refuses(&["is sealed", "--key-file"]);
    untouched(host);
    let wrong = |name: &str, bytes: &[u8]| {
        let path = host.folder().join(name);
        fs::write(&path, bytes).expect("a backup");
        path
    };
    restore(&wrong("cut.backup", &bytes[..bytes.len() - 7]), key).refuses(&["damaged at byte", "cut off"]);
    untouched(host);
    let mut flipped = bytes.to_vec();
    flipped[bytes.len() / 2] ^= 1;
    restore(&wrong("flipped.backup", &flipped), key).refuses(&["damaged at byte", "altered"]);
    untouched(host);
    let mut newer = bytes.to_vec();
    newer[12] = 9;
    restore(&wrong("newer.backup", &newer), key).refuses(&["format version 9", "newer naru"]);
    restore(&wrong("text.backup", b"hello"), key).refuses(&["no backup of naru"]);
    restore(Path::new("/nowhere/x.backup"), key).refuses(&["/nowhere/x.backup"]);
    untouched(host);
    let list = host.naru(&["backup", "ls", "--from", &text(host.folder())]).ok();
    list.says(&["cut.backup", "cut off", "this is no backup of naru", "whole"]);
}

#[test]
fn a_damaged_store_is_replaced_under_running_containers_and_workers_come_back() {
    let Some(lan) = Lan::new() else { return };
    let Some(server) = start(&lan, false, &[]) else { return };
    let Some(worker) = start(&lan, true, &[]) else { return };
    let Some(late) = start(&lan, true, &[]) else { return };
    let line = server.naru(&["token", "create"]).ok().text().trim_start_matches("naru join ").to_owned();
    worker.naru(&["join", &line, "--node-name", "w1"]).ok();
    worker.load(Image::Probe);
    let project = server.project("kept", "services:\n  web: {image: naru.local/probe:1, deploy: {replicas: 4}}\n");
    project.up(&[]);
    let running = || {
        let mut rows: Vec<(String, String)> = project
            .ps()
            .iter()
            .filter(|row| row["State"] == "running")
            .map(|row| (row["Pod"].to_string(), row["ID"].to_string()))
            .collect();
        rows.sort();
        rows
    };
    let containers = until("all run", running, |rows| rows.len() == 4);
    let key = key(&server, "backup.key");
    let (file, _) = create(&server, &key, "one.backup");
    server.kubectl(&["create", "configmap", "after", "-n", "default"]).ok();
    // Of this one the backup knows nothing.
    late.naru(&["join", &line, "--node-name", "w2"]).ok();
    let restore = |more: &[&str]| {
        let key = text(&key);
        server.naru(&[&["backup", "restore", &text(&file), "--key-file", &key], more].concat())
    };
    restore(&[]).refuses(&["a server runs", "systemctl stop naru"]);
    restore(&["--replace"]).refuses(&["a server runs"]);

    server.stop_server();
    let store = server.state_dir().join("store");
    let log = fs::read_dir(&store).expect("the store").flatten().map(|entry| entry.path());
    let log = log.filter(|path| text(path).contains("/log-")).max().expect("a log");
    let mut bytes = fs::read(&log).expect("the log");
    bytes[100] ^= 0xff;
    fs::write(&log, bytes).expect("damage");
    let refused = server.run(server.server_command(), b"");
    refused.refuses(&["damaged at byte", "naru backup restore"]);
    restore(&[]).refuses(&["--replace"]);
    restore(&["--replace"]).ok().says(&["before-restore-"]);
    server.start_server();
    server.kubectl(&["get", "configmap", "after", "-n", "default"]).refuses(&["NotFound"]);
    let nodes = || {
        let list = server.naru(&["node", "ls", "--format", "json"]).ok().json();
        let nodes = list.as_array().cloned().unwrap_or_default();
        nodes.iter().map(|row| row["Status"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    until("all nodes are ready", nodes, |nodes| nodes.len() == 3 && nodes.iter().all(|status| status == "Ready"));
    until("the same containers run", running, |rows| *rows == containers);
    // The server's own answers reach the worker's containers again.
    eventually_within(PATIENCE, "a command runs in each", || {
        for index in ["1", "2", "3", "4"] {
            let output = project.naru(&["exec", "-T", "--index", index, "web", "echo", "here"]);
            if !output.stdout.contains("here") {
                return Err(output.to_string());
            }
        }
        Ok(())
    });
    // The one that joined after the backup is asked about, and is a member like any other: removed, it stays out.
    server.naru(&["status"]).says(&["node w2 came back by a certificate", "naru node update --accept w2"]);
    server.naru(&["node", "update", "--accept", "w2"]).ok();
    server.naru(&["status"]).ok().says(&["All is well"]);
    server.naru(&["node", "rm", "w2", "--force"]).ok();
    until(
        "it is told",
        || late.naru(&["status"]),
        |status| status.stdout.contains("w2 was removed from the cluster") || status.stderr.contains("w2 was removed"),
    );
    assert_eq!(nodes().len(), 2);
}

#[test]
fn machines_that_were_removed_after_the_backup_do_not_come_back_unasked() {
    let Some(lan) = Lan::new() else { return };
    let Some(server) = start(&lan, false, &["--pod-eviction", "1s"]) else { return };
    let (Some(told), Some(off)) = (start(&lan, true, &[]), start(&lan, true, &[])) else { return };
    let line = server.naru(&["token", "create"]).ok().text().trim_start_matches("naru join ").to_owned();
    told.naru(&["join", &line, "--node-name", "told"]).ok();
    off.naru(&["join", &line, "--node-name", "off"]).ok();
    off.load(Image::Probe);
    let key = key(&server, "backup.key");
    let (file, _) = create(&server, &key, "one.backup");
    // One hears that it is removed, the other is off and does not.
    off.cut();
    for name in ["told", "off"] {
        server.naru(&["node", "rm", "--force", name]).ok();
    }
    let here = || told.naru(&["status"]);
    until("it knows", here, |status| {
        status.stdout.contains("node told was removed from the cluster") && status.stdout.contains("(removed)")
    });

    server.stop_server();
    let (file, key) = (text(&file), text(&key));
    let restore = ["backup", "restore", &file, "--key-file", &key, "--replace", "--returning", "0s"];
    server.naru(&restore).ok().says(&["naru node rm"]);
    server.start_server();
    off.mend();
    let node = |name: &str| server.kubectl(&["get", "node", name, "-o", "json"]).ok().json();
    let taints = || node("off")["spec"]["taints"].to_string();
    until("the one that was off is held", taints, |taints| taints.contains("naru.io/unconfirmed"));
    server
        .naru(&["status"])
        .says(&["node off came back long after this cluster was restored", "naru node update --accept off"]);
    // The one that was told stays away, and says so.
    // The backup has it as ready, until nobody hears of it.
    let ready = || node("told")["status"]["conditions"].as_array().cloned().unwrap_or_default();
    until("it is given up", ready, |all| !all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
    here().says(&["node told was removed from the cluster"]);
    server.naru(&["node", "rm", "--force", "told"]).ok();
    let project = server.project("all", "services:\n  web: {image: naru.local/probe:1, deploy: {mode: global}}\n");
    project.up(&[]);
    let places = || {
        let mut nodes: Vec<String> = project
            .ps()
            .iter()
            .filter(|row| row["State"] == "running")
            .map(|row| row["Node"].as_str().unwrap_or_default().to_owned())
            .collect();
        nodes.sort();
        nodes
    };
    until("it runs on the server alone", places, |nodes| *nodes == ["node-1"]);
    server.naru(&["node", "update", "--accept", "off"]).ok();
    until("and there, once it is accepted", places, |nodes| *nodes == ["node-1", "off"]);
    // It may join again as any machine.
    told.naru(&["leave", "--yes", "--force"]).ok();
    let line = server.naru(&["token", "create"]).ok().text().trim_start_matches("naru join ").to_owned();
    told.naru(&["join", &line, "--node-name", "told"]).ok();
}

#[test]
fn machines_that_joined_after_the_backup_keep_their_addresses_or_begin_anew_and_never_share_them() {
    let Some(lan) = Lan::new() else { return };
    let Some(server) = start(&lan, false, &["--pod-eviction", "1h"]) else { return };
    let key = key(&server, "backup.key");
    let (file, _) = create(&server, &key, "one.backup");
    let token = || server.naru(&["token", "create"]).ok().text().trim_start_matches("naru join ").to_owned();
    let mut workers = Vec::new();
    for name in ["w1", "w2"] {
        let Some(worker) = start(&lan, true, &[]) else { return };
        worker.naru(&["join", &token(), "--node-name", name]).ok();
        worker.load(Image::Probe);
        workers.push(worker);
    }
    let subnets = || -> std::collections::BTreeMap<String, String> {
        let list = server.naru(&["node", "ls", "--format", "json"]).ok().json();
        let rows = list.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rows.iter()
            .filter(|row| row["Status"] == "Ready")
            .map(|row| (text(&row["Name"]), text(&row["PodSubnet"])))
            .collect()
    };
    let own = |name: &str| subnets().get(name).cloned().unwrap_or_default();
    assert_eq!([own("w1"), own("w2")], ["10.42.1.0/24", "10.42.2.0/24"]);

    // The first is away while the second comes back, and while another machine joins.
    workers[0].cut();
    server.stop_server();
    server.naru(&["backup", "restore", &text(&file), "--key-file", &text(&key), "--replace"]).ok();
    server.start_server();
    until("w2 keeps what its pods have", subnets, |all| all.get("w2").is_some_and(|subnet| subnet == "10.42.2.0/24"));
    let Some(third) = start(&lan, true, &[]) else { return };
    third.naru(&["join", &token(), "--node-name", "w3"]).ok();
    assert_eq!(own("w3"), "10.42.1.0/24", "nobody has these now");
    workers[0].mend();
    eventually_within(PATIENCE, "w1 begins anew with others", || {
        let noted = fs::read_to_string(workers[0].state_dir().join("network/pod-subnet")).unwrap_or_default();
        let all = subnets();
        let given = all.get("w1").cloned().unwrap_or_default();
        if given == "10.42.3.0/24" && noted.trim() == given { Ok(()) } else { Err(format!("{all:?}, there {noted}")) }
    });
    // Pods run there, with addresses of these.
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "there"}, "spec": {"nodeName": "w1",
        "containers": [{"name": "a", "image": "naru.local/probe:1"}]}}"#;
    server.kubectl_fed(pod, &["apply", "-f", "-"]).ok();
    eventually_within(PATIENCE, "a pod is reached there", || {
        let seen = server.kubectl(&["get", "pod", "there", "-o", "jsonpath={.status.podIP}"]).stdout;
        if !seen.starts_with("10.42.3.") {
            return Err(seen);
        }
        server.get(seen.parse::<std::net::IpAddr>().map_err(|error| error.to_string())?, 8080, "/host").map(drop)
    });
}

#[test]
fn the_server_makes_backups_by_itself_and_keeps_the_newest() {
    let Some(lan) = Lan::new() else { return };
    let Some(host) = start(&lan, true, &[]) else { return };
    let (key, place) = (key(&host, "backup.key"), host.folder().join("backups"));
    // Without a key nothing starts: the fault would be found when the backups are needed.
    let mut bare = host.server_command();
    bare.args(["--backup-to", &text(&place)]);
    host.run(bare, b"").refuses(&["naru backup key", "--backup-key-file"]);
    let with = |place: &Path| {
        let (key, place) = (text(&key), format!("file://{}", place.display()));
        let words = ["--backup-to", &place, "--backup-every", "1s", "--backup-keep", "2", "--backup-key-file", &key];
        words.map(str::to_owned).to_vec()
    };
    let mut command = host.server_command();
    command.args(with(&place));
    let server = Host::spawn(command);
    let names = || {
        let mut names: Vec<String> = fs::read_dir(&place)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    };
    let first = until("some are made", names, |names| names.len() >= 2)[0].clone();
    until("the oldest goes", names, |names| names.len() == 2 && !names.contains(&first));
    let listed = host.naru(&["backup", "ls", "--format", "json"]).ok().json();
    assert_eq!(listed["schedule"]["keep"], "2", "{listed}");
    host.naru(&["backup", "ls"]).ok().says(&["-auto.backup", "whole", "The server makes one every 1s and keeps 2"]);
    eventually("an event tells of it", || {
        let events = host.kubectl(&["get", "events", "-n", "default"]);
        if events.stdout.contains("BackupCreated") { Ok(()) } else { Err(events.to_string()) }
    });
    // The place is no folder any more: it is told, and the server goes on.
    let mut number = 0;
    eventually("a file is in the way", || {
        // The server may make the folder again in between.
        number += 1;
        let _ = fs::rename(&place, host.folder().join(format!("gone-{number}")));
        fs::write(&place, "a file").map_err(|error| error.to_string())
    });
    eventually("the failure is told", || {
        let events = host.kubectl(&["get", "events", "-n", "default"]).ok();
        let status = host.kubectl(&["get", "configmap", "naru-backups", "-n", "kube-system", "-o", "json"]).ok().json();
        let told = status["data"]["error"].as_str().is_some_and(|error| error.contains("backups"));
        if events.stdout.contains("BackupFailed") && told { Ok(()) } else { Err(format!("{events} {status}")) }
    });
    host.naru(&["status"]).says(&["the backup to file://", "failed at", "naru backup ls"]);
    fs::remove_file(&place).expect("out of the way");
    eventually("and made again", || {
        let rows = host.naru(&["backup", "ls"]);
        if names().is_empty() || rows.stderr.contains("failed") { Err(rows.to_string()) } else { Ok(()) }
    });
    // One of them is as good as any.
    let newest = text(&place.join(names().last().expect("a backup")));
    host.naru(&["backup", "verify", &newest, "--key-file", &text(&key)]).ok().says(&["is whole"]);
    drop(server);
}
