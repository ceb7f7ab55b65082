//! Another program on every node while containers run on; programs that do not come up; versions too far apart.
//!
//! A "version" is a copy of the program whose record says another one: a real, different file. Every machine has its own
//! copy of the program, which is exchanged there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use naru_testkit::{Cluster, Host, HostOptions, Image, Output, eventually_within, under_load};

const PATIENCE: Duration = Duration::from_secs(120);
const HEAD: &[u8] = b"\x7fnaru program record 1\nversion=";
const PORT: u16 = 30780;

/// The program's bytes, without what only a debugger reads: they are sent over wires here.
fn bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let small = folder.path().join("naru");
        let mut strip = Command::new("strip");
        match strip.args(["--strip-debug", "-o"]).arg(&small).arg(env!("CARGO_BIN_EXE_naru")).status() {
            Ok(status) if status.success() => fs::read(&small),
            _ => fs::read(env!("CARGO_BIN_EXE_naru")),
        }
        .expect("the program")
    })
}

/// Where the record's version is.
fn place() -> usize {
    static PLACE: OnceLock<usize> = OnceLock::new();
    *PLACE.get_or_init(|| {
        let own = [HEAD, env!("CARGO_PKG_VERSION").as_bytes(), b"\n"].concat();
        let places = all_of(bytes(), &own);
        assert_eq!(places.len(), 1, "one record in a program");
        places[0] + HEAD.len()
    })
}

/// The bytes of a program of this version.
fn version(wanted: &str) -> Vec<u8> {
    assert_eq!(wanted.len(), env!("CARGO_PKG_VERSION").len(), "a record of the same length");
    let mut bytes = bytes().to_vec();
    bytes[place()..place() + wanted.len()].copy_from_slice(wanted.as_bytes());
    bytes
}

fn all_of(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    // The first byte is rare enough to look for it alone.
    let starts = (0..bytes.len().saturating_sub(wanted.len())).filter(|at| bytes[*at] == wanted[0]);
    starts.filter(|at| bytes[*at..].starts_with(wanted)).collect()
}

/// Programs of a test, and of its machines.
struct Programs(tempfile::TempDir);

impl Programs {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, bytes).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        path
    }

    /// A machine's own copy.
    fn of(&self, machine: &str, version_of: &str) -> String {
        self.write(&format!("{machine}/naru"), &version(version_of)).to_string_lossy().into_owned()
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// A cluster whose machines have programs of their own, all of version 0.1.0.
    fn cluster(&self, workers: usize) -> Option<Cluster> {
        let mut cluster = Cluster::apart(&self.of("node-1", "0.1.0"), 0, &["--pod-eviction", "1h"])?;
        let token = cluster.token(&[]);
        for at in 1..=workers {
            let name = format!("w{at}");
            let worker = self.machine(&cluster, &name, "0.1.0")?;
            cluster.welcome(&worker, &token, &name);
            cluster.workers.push(worker);
        }
        Some(cluster)
    }

    fn machine(&self, cluster: &Cluster, name: &str, version_of: &str) -> Option<Host> {
        let options = HostOptions { idle: true, lan: Some(cluster.lan.clone()), ..HostOptions::default() };
        Host::start_with(&self.of(name, version_of), options)
    }
}

fn versions(cluster: &Cluster) -> BTreeMap<String, String> {
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    cluster.nodes().iter().map(|row| (text(row, "Name"), text(row, "Version"))).collect()
}

fn all(cluster: &Cluster, version: &str) -> bool {
    versions(cluster).values().all(|found| found == version)
}

/// Processes of a host's containers that stay: by their program, with the moment at which each began.
fn containers(host: &Host) -> BTreeMap<i32, String> {
    let mut found = BTreeMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let read = |name: &str| fs::read_to_string(process.path().join(name)).unwrap_or_default();
        if read("cgroup").contains(host.cgroup()) && read("comm").trim() == "probe" {
            let stat = read("stat");
            let began = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)).unwrap_or_default();
            found.insert(pid, began.to_owned());
        }
    }
    found
}

/// The programs that a host's supervisors run.
fn supervisors(host: &Host) -> Vec<(u64, u64)> {
    let wanted = host.state_dir().join("pods").to_string_lossy().into_owned();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&wanted)
            && let Ok(program) = fs::metadata(process.path().join("exe"))
        {
            found.push((program.dev(), program.ino()));
        }
    }
    found
}

fn file(path: impl AsRef<Path>) -> (u64, u64) {
    let found = fs::metadata(path).expect("a file");
    (found.dev(), found.ino())
}

/// Pods on all nodes, published on each.
fn serve(cluster: &Cluster, replicas: usize) {
    cluster.deploy(replicas, "");
    cluster.expose(PORT);
    eventually_within(PATIENCE, "all are ready", || {
        let ready = cluster.pods("default").iter().filter(|pod| pod.ready).count();
        if ready == replicas { Ok(()) } else { Err(format!("{ready}")) }
    });
    for host in std::iter::once(&cluster.server).chain(&cluster.workers) {
        eventually_within(PATIENCE, "each node answers", || host.get_from_outside(host.address(), PORT, "/").map(drop));
    }
}

fn hosts(cluster: &Cluster) -> Vec<&Host> {
    std::iter::once(&cluster.server).chain(&cluster.workers).collect()
}

fn upgrade(cluster: &Cluster, more: &[&str]) -> Output {
    cluster.server.naru(&[&["upgrade"], more].concat())
}

/// A pod on each node that asks the service by its name all the time, once it has been answered, and says what it missed.
fn asking(cluster: &Cluster) {
    let ask = "nslookup web.default.svc.cluster.local >/dev/null 2>&1 && wget -q -T 5 -O /dev/null http://web.default.svc.cluster.local/";
    let script = format!(
        "until {ask}; do sleep 0.1; done; i=0; while :; do if {ask}; then echo $i; else echo LOST $i; fi; i=$((i+1)); done"
    );
    let text = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "asking", "namespace": "default"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "asking"}}, "template": {
            "metadata": {"labels": {"app": "asking"}},
            "spec": {"terminationGracePeriodSeconds": 1, "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "asking"}}}],
                "containers": [{"name": "asking", "image": "naru.local/busybox:1", "command": ["sh", "-c", script]}]}}}});
    cluster.server.kubectl_fed(&text.to_string(), &["apply", "-f", "-"]).ok();
    eventually_within(PATIENCE, "all ask", || {
        let pods = cluster.pods("default");
        let asking: Vec<_> = pods.iter().filter(|pod| pod.name.starts_with("asking") && pod.ready).collect();
        let heard = |name: &str| cluster.server.kubectl(&["logs", name]).stdout.lines().count() > 5;
        if asking.len() == 3 && asking.iter().all(|pod| heard(&pod.name)) { Ok(()) } else { Err(format!("{asking:?}")) }
    });
}

#[test]
fn containers_run_on_while_every_node_gets_another_program() {
    let programs = Programs::new();
    let Some(cluster) = programs.cluster(2) else { return };
    serve(&cluster, 6);
    asking(&cluster);
    let before: Vec<_> = hosts(&cluster).into_iter().map(containers).collect();
    assert_eq!(before.iter().map(BTreeMap::len).sum::<usize>(), 6, "{before:?}");
    let new = programs.write("new", &version("0.2.0")).to_string_lossy().into_owned();

    upgrade(&cluster, &["--to", &new, "--check"]).ok().says(&["node-1", "w1", "w2", "0.1.0", "0.2.0", "upgrade"]);
    assert!(all(&cluster, "0.1.0"), "that changed nothing");
    // What does not fit is refused before anything happens.
    let far = programs.write("far", &version("0.3.0")).to_string_lossy().into_owned();
    upgrade(&cluster, &["--to", &far, "--yes"]).refuses(&["more than one minor version apart", "Go by 0.2 first"]);
    let mut other = version("0.2.0");
    let machine: u16 = if other[18] == 183 { 62 } else { 183 };
    other[18..20].copy_from_slice(&machine.to_le_bytes());
    let other = programs.write("other", &other).to_string_lossy().into_owned();
    upgrade(&cluster, &["--to", &other, "--yes"]).refuses(&["the program is for"]);
    upgrade(&cluster, &["--to", "/bin/true", "--yes"]).refuses(&["is no program of Naru"]);
    upgrade(&cluster, &["--to", &new, "--node", "w9"]).refuses(&["there is no node w9", "w1"]);
    upgrade(&cluster, &["--to", &new]).refuses(&["Nobody is there to answer"]);
    cluster.workers[0].naru(&["upgrade", "--to", &new, "--yes"]).refuses(&["on a server"]);
    assert!(all(&cluster, "0.1.0"));

    let address = cluster.workers[1].address();
    for (program, wanted) in [(&new, "0.2.0"), (&programs.path("old"), "0.1.0")] {
        if wanted == "0.1.0" {
            programs.write("old", &version("0.1.0"));
        }
        let begun = std::time::Instant::now();
        let (done, load) =
            under_load(&cluster.server, address, PORT, || upgrade(&cluster, &["--to", program, "--yes"]));
        eprintln!("to {wanted} in {:?}, {} requests meanwhile\n{}", begun.elapsed(), load.asked, done.stdout);
        done.ok().says(&["node-1", "w1", "w2", wanted, "ran on"]);
        assert!(load.lost.is_empty(), "{} of {} were lost: {:?}", load.lost.len(), load.asked, load.lost.first());
        assert!(all(&cluster, wanted), "{:?}", versions(&cluster));
        let after: Vec<_> = hosts(&cluster).into_iter().map(containers).collect();
        assert_eq!(after, before, "the same processes");
        let events = cluster.server.kubectl(&["get", "events", "-A"]).ok().stdout;
        assert!(!events.contains("has not been heard of"), "no node was lost meanwhile: {events}");
        for (host, name) in hosts(&cluster).into_iter().zip(["node-1", "w1", "w2"]) {
            let (now, kept) = (programs.path(&format!("{name}/naru")), programs.path(&format!("{name}/naru.previous")));
            assert_eq!(fs::read(&now).expect("read"), fs::read(program).expect("read"), "{name}");
            assert_ne!(
                fs::read(&kept).expect("read"),
                fs::read(program).expect("read"),
                "the old one is kept on {name}"
            );
            let supervisors = supervisors(host);
            assert!(!supervisors.is_empty() && supervisors.iter().all(|found| *found == file(&now)), "{name}");
        }
        upgrade(&cluster, &["--to", program, "--yes"]).ok().says(&["runs it already"]);
    }
    for pod in cluster.pods("default").into_iter().filter(|pod| pod.name.starts_with("asking")) {
        let log = cluster.server.kubectl(&["logs", &pod.name]).ok().stdout;
        let (asked, lost) = (log.lines().count(), log.lines().find(|line| line.contains("LOST")));
        assert!(asked > 20 && lost.is_none(), "{} on {} asked {asked} times: {lost:?}", pod.name, pod.node);
        // Everything works with everything.
        cluster.server.kubectl(&["exec", &pod.name, "--", "echo", "through"]).ok().says(&["through"]);
    }
    cluster.server.naru(&["status"]).ok().says(&["All is well"]);
}

/// A program that says which version it is, and then does as the C text says.
fn broken(programs: &Programs, name: &str, then: &str) -> Option<String> {
    let source = programs.write(
        &format!("{name}.c"),
        format!(
            "#include <stdio.h>\n#include <string.h>\n#include <unistd.h>\nint main(int count, char **words) {{\n\
             if (count > 1 && !strcmp(words[1], \"--version\")) {{ puts(\"naru 0.2.0\"); return 0; }}\n{then}\nreturn 1; }}\n"
        )
        .as_bytes(),
    );
    let made = programs.0.path().join(name);
    match Command::new("cc").arg("-o").arg(&made).arg(&source).status() {
        Ok(status) if status.success() => {}
        _ => {
            eprintln!("SKIPPED: no C compiler");
            return None;
        }
    }
    let mut bytes = fs::read(&made).expect("the program");
    bytes.extend_from_slice(HEAD);
    bytes.extend_from_slice(b"0.2.0\nstore=1\n");
    bytes.extend_from_slice(&[0; 128]);
    Some(programs.write(name, &bytes).to_string_lossy().into_owned())
}

#[test]
fn a_program_that_does_not_come_up_is_taken_back() {
    let programs = Programs::new();
    let Some(ends) = broken(&programs, "ends", "") else { return };
    let Some(hangs) = broken(&programs, "hangs", "for (;;) pause();") else { return };
    let Some(silent) = broken(&programs, "silent", "") else { return };
    // One that does not even tell its version is found out before anything is exchanged.
    let text = fs::read(&silent).expect("read");
    let at = all_of(&text, b"naru 0.2.0\0")[0];
    let mut text = text;
    text[at] = b'x';
    programs.write("silent", &text);
    let Some(cluster) = programs.cluster(1) else { return };
    serve(&cluster, 4);
    let before: Vec<_> = hosts(&cluster).into_iter().map(containers).collect();
    upgrade(&cluster, &["--to", &silent, "--yes", "--node", "w1"]).refuses(&["w1", "to --version"]);
    let address = cluster.workers[0].address();
    for (node, program, why) in [
        ("w1", &ends, "ended before"),
        ("w1", &hangs, "within 8 s"),
        ("node-1", &ends, "ended before"),
        ("node-1", &hangs, "within 8 s"),
    ] {
        let own = programs.path(&format!("{node}/naru"));
        let (done, load) = under_load(&cluster.server, address, PORT, || {
            upgrade(&cluster, &["--to", program, "--yes", "--node", node, "--timeout", "8s"])
        });
        eprintln!("{node}, {why}: {}{}", done.stdout, done.stderr);
        done.refuses(&["went back to 0.1.0", why, &format!("stops at {node}")]);
        assert!(load.lost.is_empty(), "{} of {} were lost: {:?}", load.lost.len(), load.asked, load.lost.first());
        assert_eq!(fs::read(&own).expect("read"), version("0.1.0"), "the old program is back");
        eventually_within(PATIENCE, "all nodes are ready", || {
            let ready = cluster.nodes().iter().filter(|row| row["Status"] == "Ready").count();
            if ready == 2 { Ok(()) } else { Err(format!("{:?}", cluster.nodes())) }
        });
        let after: Vec<_> = hosts(&cluster).into_iter().map(containers).collect();
        assert_eq!(after, before, "the same processes");
    }
    // And a good one still comes up.
    let new = programs.write("new", &version("0.2.0")).to_string_lossy().into_owned();
    upgrade(&cluster, &["--to", &new, "--yes"]).ok().says(&["node-1", "w1", "ran on"]);
    assert!(all(&cluster, "0.2.0"));
}

#[test]
fn what_was_interrupted_or_away_is_done_the_next_time() {
    let programs = Programs::new();
    let Some(cluster) = programs.cluster(2) else { return };
    serve(&cluster, 3);
    let before: Vec<_> = hosts(&cluster).into_iter().map(containers).collect();
    let new = programs.write("new", &version("0.2.0")).to_string_lossy().into_owned();
    cluster.workers[1].cut();
    eventually_within(PATIENCE, "w2 is away", || match cluster.status_of("w2").as_str() {
        "Ready" => Err("still ready".to_owned()),
        _ => Ok(()),
    });
    // Broken off while the server's program is being exchanged, and while it is on its way to the worker.
    for word in ["node-1", "w1"] {
        let mut command = cluster.server.program();
        command.args(["upgrade", "--to", &new, "--yes", "--node", word, "-o", "json"]);
        let mut running = Host::spawn(command);
        running.shows("sending");
        running.signal(rustix::process::Signal::KILL);
        running.wait();
    }
    upgrade(&cluster, &["--to", &new, "--yes"]).ok().says(&["w1", "0.2.0", "w2", "is away"]);
    let found = versions(&cluster);
    assert_eq!((found["node-1"].as_str(), found["w1"].as_str(), found["w2"].as_str()), ("0.2.0", "0.2.0", "0.1.0"));
    cluster.server.naru(&["status"]).says(&["w2"]);
    cluster.workers[1].mend();
    eventually_within(PATIENCE, "w2 is back, one version behind", || match cluster.status_of("w2").as_str() {
        "Ready" => Ok(()),
        other => Err(other.to_owned()),
    });
    let lines = upgrade(&cluster, &["--to", &new, "--yes", "--format", "json"]).ok().json_lines();
    let done: Vec<_> = lines.iter().filter(|line| line["step"] == "done").map(|line| line["node"].clone()).collect();
    assert_eq!(done, ["w2"], "{lines:?}");
    assert!(all(&cluster, "0.2.0"));
    let after: Vec<_> = hosts(&cluster).into_iter().map(containers).collect();
    assert_eq!(after, before, "the same processes");
}

#[test]
fn one_minor_version_apart_works_and_two_are_refused() {
    let programs = Programs::new();
    let Some(mut cluster) = programs.cluster(0) else { return };
    let token = cluster.token(&[]);
    // Two ahead: nothing is half joined.
    let Some(far) = programs.machine(&cluster, "far", "0.3.0") else { return };
    Cluster::join(&far, &token, "far").refuses(&["0.3.0", "0.1.0", "one minor version apart"]);
    assert!(!far.state_dir().join("node").exists());
    assert_eq!(cluster.nodes().len(), 1);
    // One ahead works like any other.
    let Some(ahead) = programs.machine(&cluster, "ahead", "0.2.0") else { return };
    cluster.welcome(&ahead, &token, "ahead");
    cluster.workers.push(ahead);
    serve(&cluster, 4);
    assert!(cluster.ready_on(["ahead"])[0] > 0);
    let pod = cluster.pods("default").into_iter().find(|pod| pod.node == "ahead").expect("a pod").name;
    cluster.server.kubectl(&["exec", &pod, "--", "echo", "through"]).ok().says(&["through"]);
    cluster.server.kubectl(&["logs", &pod]).ok();
    assert_eq!(versions(&cluster)["ahead"], "0.2.0");

    // By hand, two ahead on a node that is one: its connection is refused, and everybody can see why.
    let ahead = &cluster.workers[0];
    let before = containers(ahead);
    fs::rename(programs.write("next", &version("0.3.0")), programs.path("ahead/naru")).expect("exchanged");
    let stop = |host: &Host| {
        let pid = fs::read_to_string(host.state_dir().join("node.lock")).expect("the lock").trim().to_owned();
        Command::new("kill").arg(&pid).status().expect("kill");
        eventually_within(PATIENCE, "the worker ends", || match Path::new(&format!("/proc/{pid}")).exists() {
            true => Err("not yet".to_owned()),
            false => Ok(()),
        });
    };
    stop(ahead);
    let mut again = ahead.program();
    again.arg("agent");
    let running = Host::spawn(again);
    eventually_within(PATIENCE, "it is told", || {
        let said = cluster.server.naru(&["status"]).stdout;
        let all = ["0.3.0", "one minor version apart"].iter().all(|text| said.contains(text));
        if all { Ok(()) } else { Err(said) }
    });
    let conditions = r#"{.status.conditions[?(@.type=="naru.io/VersionSkew")].status}"#;
    let condition = cluster.server.kubectl(&["get", "node", "ahead", "-o", &format!("jsonpath={conditions}")]);
    assert_eq!(condition.ok().text(), "True");
    ahead.naru(&["status"]).says(&["one minor version apart"]);
    assert_eq!(containers(ahead), before, "its containers run on");
    // With a program that fits it is back.
    fs::rename(programs.write("next", &version("0.1.0")), programs.path("ahead/naru")).expect("exchanged");
    running.signal(rustix::process::Signal::TERM);
    running.wait();
    let mut again = ahead.program();
    again.arg("agent");
    let _running = Host::spawn(again);
    eventually_within(PATIENCE, "the condition is gone", || {
        let condition = cluster.server.kubectl(&["get", "node", "ahead", "-o", &format!("jsonpath={conditions}")]);
        match condition.ok().text() {
            "" | "False" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    eventually_within(PATIENCE, "it is connected", || {
        let through = cluster.server.kubectl(&["exec", &pod, "--", "echo", "back"]);
        if through.code == 0 { Ok(()) } else { Err(through.stderr) }
    });
    assert_eq!(containers(ahead), before);
    cluster.server.load(Image::Busybox);
}
