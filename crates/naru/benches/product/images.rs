//! An image of one large layer on its way from the server to four nodes at once, against what the disk takes.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use naru_testkit::{Host, HostOptions, Lan};
use serde_json::json;

use crate::host::{cache, program, run as must};
use crate::report;
use crate::stamps::wait;

const IMAGE: &str = "naru.local/bench-large:1";
const NODES: usize = 4;
/// Megabytes of its layer, unless `NARU_BENCH_IMAGE_MB` says otherwise.
const SIZE: u64 = 500;

pub fn run() -> Option<()> {
    let size = std::env::var("NARU_BENCH_IMAGE_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(SIZE);
    let archive = large(size);
    let lan = Lan::new()?;
    let start = |idle: bool| {
        let options = HostOptions { images: Some(Vec::new()), idle, lan: Some(lan.clone()), ..HostOptions::default() };
        Host::start_with(&program(), options)
    };
    let server = start(false)?;
    let workers = (0..NODES).map(|_| start(true)).collect::<Option<Vec<Host>>>()?;
    let line = server.naru(&["token", "create"]).ok().text().trim().to_owned();
    let token = line.strip_prefix("naru join ")?;
    for (at, worker) in workers.iter().enumerate() {
        worker.naru(&["join", token, "--node-name", &format!("w{}", at + 1)]).ok();
    }
    server.naru(&["image", "load", "-i", &archive.to_string_lossy()]).ok();

    let pods: Vec<_> = (0..NODES).map(pod).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string();
    let begin = Instant::now();
    server.kubectl_fed(&list, &["apply", "-f", "-"]).ok();
    wait("every node has the image", || {
        let listed = |worker: &Host| {
            let text = std::fs::read_to_string(worker.state_dir().join("images/images.json")).unwrap_or_default();
            text.contains(IMAGE)
        };
        Some(()).filter(|()| workers.iter().all(listed))
    });
    let time = begin.elapsed();
    report::value(&format!("image of {size} MB from one node to {NODES} others"), time.as_secs_f64(), "s", None);
    let moved = size as f64 * NODES as f64;
    report::rate("that is, together", moved / time.as_secs_f64(), "MB/s", None);
    // Every node keeps the layer as it came, and unpacked.
    let disk = disk(server.folder(), size, NODES * 2);
    report::rate("the disk alone, the same bytes kept and unpacked", 2.0 * moved / disk.as_secs_f64(), "MB/s", None);
    report::value("the way there against the disk", time.as_secs_f64() / disk.as_secs_f64(), "times", None);
    Some(())
}

fn pod(number: usize) -> serde_json::Value {
    let node = format!("w{}", number + 1);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("large-{node}"), "namespace": "default"},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "restartPolicy": "Never",
            "containers": [{"name": "main", "image": IMAGE}]}})
}

/// The time to write so many files of this size, all at once, until the disk has them.
fn disk(folder: &Path, megabytes: u64, files: usize) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..files {
            scope.spawn(move || {
                let path = folder.join(format!("written-{number}"));
                let mut file = File::create(&path).expect("a file");
                let block = vec![number as u8 | 1; 1 << 20];
                (0..megabytes).for_each(|_| file.write_all(&block).expect("room on the disk"));
                file.sync_all().expect("the disk takes it");
                let _ = std::fs::remove_file(&path);
            });
        }
    });
    begin.elapsed()
}

/// The image's archive: one file that does not compress.
fn large(megabytes: u64) -> PathBuf {
    let folder = cache().join("bench");
    std::fs::create_dir_all(&folder).expect("a folder in the cache");
    let archive = folder.join(format!("large-{megabytes}.tar"));
    if !archive.exists() {
        let noise = folder.join("noise");
        let mut source = File::open("/dev/urandom").expect("random bytes").take(megabytes << 20);
        std::io::copy(&mut source, &mut File::create(&noise).expect("a file")).expect("room on the disk");
        let mut pack = Command::new(Host::repository("scripts/pack-image.sh"));
        pack.args(["--name", IMAGE, "--add", &format!("{}:/noise", noise.display()), "--entrypoint", "[\"/noise\"]"]);
        must(pack.arg("-o").arg(&archive));
        let _ = std::fs::remove_file(noise);
    }
    archive
}
