//! What Naru holds in memory: idle with the demo running, and for each further pod beyond the pod's own processes.

use std::fs;
use std::time::Duration;

use naru_testkit::{Host, Image};

use crate::host::{Bench, IMAGE, image};
use crate::peer::Docker;
use crate::report;
use crate::stamps::{await_stamp, stamps_below, wait};

const PODS: usize = 50;
/// After which nothing is on its way any more.
const CALM: Duration = Duration::from_secs(10);

/// Memory of a process in MB (2^20).
#[derive(Default, Clone, Copy)]
pub struct Weight {
    pub resident: f64,
    proportional: f64,
}

pub fn run() -> Option<()> {
    let bench = Bench::start()?;
    bench.host.try_load(Image::Redis)?;
    bench.load(&image("web", "examples/hello/web.rs", "naru.local/hello-web:1"));
    let demo = fs::read_to_string(Host::repository("examples/hello/compose.yaml")).expect("the demo");
    let project = bench.host.project("hello", &demo);
    project.naru(&["up", "-d", "--wait"]).ok();
    fetch_openapi(&bench);
    std::thread::sleep(CALM);
    let server = weigh(bench.host.server_pid()? as i32);
    let helper = sum(&helpers(&bench));
    report::value("server, resident", server.resident, "MB", None);
    report::value("server, proportional", server.proportional, "MB", None);
    report::value("helper, resident", helper.resident, "MB", None);
    report::value("helper, proportional", helper.proportional, "MB", None);
    let total = server.resident + helper.resident;
    report::value("server and helper, resident, demo running", total, "MB", Some(50.0));
    let demo_supervisors = supervisors(&bench);
    report::value("supervisors of the demo's 4 pods, proportional", sum(&demo_supervisors).proportional, "MB", None);
    extra_pods(&bench, server.proportional + helper.proportional, &demo_supervisors);
    drop(project);
    drop(bench);
    match Docker::start() {
        Some(docker) => weigh_peer(&docker),
        None => report::note("peer, measured before: dockerd + containerd 191 MB; a shim about 10 MB a container"),
    }
    Some(())
}

fn extra_pods(bench: &Bench, before: f64, known: &[i32]) {
    let slab = kernel("Slab:");
    let logs: Vec<_> = (0..PODS).map(|number| bench.pod(&format!("m{number}"), &[])).collect();
    logs.iter().for_each(|log| {
        await_stamp(log);
    });
    std::thread::sleep(CALM);
    let count = PODS as f64;
    let new: Vec<i32> = supervisors(bench).into_iter().filter(|pid| !known.contains(pid)).collect();
    let supervisor = sum(&new).proportional / count;
    let server = bench.host.server_pid().map(|pid| weigh(pid as i32)).unwrap_or_default();
    let growth = (server.proportional + sum(&helpers(bench)).proportional - before) / count;
    report::value("a further pod: its supervisor, proportional", supervisor, "MB", None);
    report::value("a further pod: growth of server and helper", growth, "MB", None);
    report::value("a further pod beyond its own processes", supervisor + growth, "MB", Some(0.3));
    report::value("a further pod: kernel slab (whole machine)", (kernel("Slab:") - slab) / count, "MB", None);
}

fn weigh_peer(docker: &Docker) {
    for _ in 0..PODS / 2 {
        docker.cli(&["run", "-d", IMAGE]);
    }
    wait("the peer's containers run", || {
        Some(()).filter(|()| stamps_below(&docker.logs(), "-json.log").len() == PODS / 2)
    });
    std::thread::sleep(CALM);
    let pids = |is_shim: bool| -> Vec<i32> {
        let found = docker.processes();
        found.into_iter().filter(|(line, _)| line.contains("containerd-shim") == is_shim).map(|(_, pid)| pid).collect()
    };
    report::value("peer in this run: dockerd and containerd, resident", sum(&pids(false)).resident, "MB", None);
    let shim = sum(&pids(true)).proportional / (PODS / 2) as f64;
    report::value("peer in this run: a container's shim, proportional", shim, "MB", None);
}

/// As kubectl does once for its schema.
fn fetch_openapi(bench: &Bench) {
    let socket = bench.socket();
    let get = |path: &str| crate::http::bytes(&socket, "GET", path, None).unwrap_or_else(|error| panic!("{error}"));
    get("/openapi/v2");
    let index: serde_json::Value = serde_json::from_slice(&get("/openapi/v3")).unwrap_or_default();
    for group in index["paths"].as_object().into_iter().flat_map(|paths| paths.values()) {
        get(group["serverRelativeURL"].as_str().unwrap_or("/openapi/v3"));
    }
}

fn helpers(bench: &Bench) -> Vec<i32> {
    of_role(bench, "helper")
}

fn supervisors(bench: &Bench) -> Vec<i32> {
    of_role(bench, "supervisor")
}

/// Processes of the program that have this role for this host.
fn of_role(bench: &Bench, role: &str) -> Vec<i32> {
    let folder = format!("{}/", bench.host.folder().display());
    let found = processes(|line| line.split(' ').nth(1) == Some(role) && line.contains(&folder));
    found.into_iter().map(|(_, pid)| pid).collect()
}

/// Command lines, with spaces between arguments, and identifiers of the processes that `wanted` takes.
pub fn processes(wanted: impl Fn(&str) -> bool) -> Vec<(String, i32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if wanted(&line) {
            found.push((line, pid));
        }
    }
    found
}

fn sum(pids: &[i32]) -> Weight {
    pids.iter().map(|pid| weigh(*pid)).fold(Weight::default(), |all, one| Weight {
        resident: all.resident + one.resident,
        proportional: all.proportional + one.proportional,
    })
}

/// What a process holds.
pub fn weigh(pid: i32) -> Weight {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Weight { resident: field(&text, "Rss:"), proportional: field(&text, "Pss:") }
}

fn kernel(key: &str) -> f64 {
    field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), key)
}

/// The megabytes on the line that begins with `key`.
fn field(text: &str, key: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
