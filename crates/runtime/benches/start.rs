//! How long a container takes from the request to its first instruction, and what a supervisor weighs.
//!
//! `start` answers when the program has been executed, so that the figure includes the answer's way back: a little more
//! than the first instruction. Needs root and busybox. Run: `cargo bench -p naru-runtime --bench start`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use naru_runtime::pod::{
    ContainerConfig, ContainerName, LogConfig, Overlay, PodConfig, PodLiveness, PodUid, Pods, PodsConfig, Runtime,
    SupervisorCommand,
};

struct Bench {
    scratch: tempfile::TempDir,
    pods: Pods,
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    println!("{what:<58} median {:>7.2} ms   p95 {:>7.2} ms   ({} times)", at(50), at(95), times.len());
}

impl Bench {
    fn open() -> Option<Self> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
        let (Some(busybox), true) = (busybox, rustix::process::geteuid().is_root()) else {
            eprintln!("SKIPPED: needs root and busybox (apt-get install busybox-static)");
            return None;
        };
        let scratch = tempfile::Builder::new().prefix("naru-bench-").tempdir().ok()?;
        let image = scratch.path().join("image");
        for folder in ["bin", "proc", "sys", "dev"] {
            fs::create_dir_all(image.join(folder)).ok()?;
        }
        fs::copy(busybox, image.join("bin/busybox")).ok()?;
        symlink("busybox", image.join("bin/sleep")).ok()?;
        symlink("busybox", image.join("bin/true")).ok()?;
        let supervisor = SupervisorCommand { program: env!("CARGO_BIN_EXE_naru-supervisor").into(), args: Vec::new() };
        let pods = Pods::open(PodsConfig {
            state_dir: scratch.path().join("state"),
            run_dir: scratch.path().join("run"),
            supervisor,
            cgroup: format!("naru-bench-{}", std::process::id()),
        })
        .ok()?;
        Some(Self { scratch, pods })
    }

    fn container(&self, uid: &PodUid, name: String, args: &[&str]) -> ContainerConfig {
        let base = self.pods.pod_dir(uid).join("rootfs").join(&name);
        let lower = vec![self.scratch.path().join("image")];
        let root = Overlay { lower, upper: base.join("upper"), work: base.join("work") };
        let log = LogConfig { path: base.join("log"), max_size: 10 << 20, max_files: 3 };
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        let mut config = ContainerConfig::new(ContainerName::new(name).expect("a plain name"), 0, root, args);
        config.env = vec!["PATH=/bin".into()];
        config.resources.memory_limit = Some(64 << 20);
        config.resources.pids_limit = Some(100);
        config.log = Some(log);
        config
    }

    async fn create(&self, name: String) -> (PodUid, Duration) {
        let uid = PodUid::new(name).expect("a plain name");
        let begin = Instant::now();
        self.pods.create(PodConfig::new(uid.clone(), "bench", "bench")).await.expect("a pod");
        (uid, begin.elapsed())
    }

    async fn start(&self, uid: &PodUid, name: String) -> Duration {
        let config = self.container(uid, name, &["sleep", "1000"]);
        let begin = Instant::now();
        self.pods.start(uid, config).await.expect("a container");
        begin.elapsed()
    }
}

/// Proportional and private bytes of a process, in KiB.
fn weight(pid: i32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0)
    };
    (value("Pss:"), value("Private_Dirty:") + value("Private_Clean:"))
}

async fn run(bench: &Bench) {
    let (uid, _) = bench.create("warm".into()).await;
    bench.start(&uid, "warm".into()).await;

    let mut created = Vec::new();
    let mut both = Vec::new();
    let mut uids = Vec::new();
    for at in 0..50 {
        let (uid, time) = bench.create(format!("pod{at}")).await;
        created.push(time);
        both.push(time + bench.start(&uid, "first".into()).await);
        uids.push(uid);
    }
    print("pod created", created);
    print("pod created and its first container started", both);

    let mut weights = Vec::new();
    for uid in &uids {
        if let Ok(PodLiveness::Alive(created)) = bench.pods.state(uid).await.map(|s| s.liveness) {
            weights.push(weight(created.supervisor_pid));
        }
    }
    weights.sort();
    let middle = weights[weights.len() / 2];
    println!(
        "{:<58} PSS {} KiB, private {} KiB",
        format!("supervisor with a container ({})", weights.len()),
        middle.0,
        middle.1
    );

    let mut times = Vec::new();
    for at in 0..100 {
        times.push(bench.start(&uid, format!("row{at}")).await);
    }
    print("container started, one after another", times);

    let mut times = Vec::new();
    for at in 0..30 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        times.push(bench.start(&uid, format!("alone{at}")).await);
    }
    print("container started after 150 ms of idling", times);

    let begin = Instant::now();
    let times = futures_util::future::join_all(uids.iter().map(|uid| bench.start(uid, "crowd".into()))).await;
    let wall = begin.elapsed().as_secs_f64() * 1000.0;
    print(&format!("50 containers in 50 pods at once (all: {wall:.0} ms)"), times);

    let mut times = Vec::new();
    for uid in uids.iter().take(25) {
        let begin = Instant::now();
        bench.pods.destroy(uid).await.expect("destroyed");
        times.push(begin.elapsed());
    }
    print("pod with two containers destroyed", times);
    futures_util::future::join_all(uids.iter().skip(25).chain([&uid]).map(|uid| bench.pods.destroy(uid))).await;
}

fn main() {
    let Some(bench) = Bench::open() else { return };
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("an executor");
    executor.block_on(run(&bench));
    for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = fs::remove_dir(entry.path().join(format!("naru-bench-{}", std::process::id())));
    }
}
