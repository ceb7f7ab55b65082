//! A scratch node: an image of busybox, folders and cgroups of its own, all removed at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use naru_agent::{Agent, Attachment, Config, Dns, NetworkError, PodNetwork};
use naru_client::BoxFuture;
use naru_runtime::{
    image::{Healthcheck, ImageConfig, Images, Reference, Source},
    pod::{PodUid, Pods, PodsConfig, Runtime as _, SupervisorCommand},
};
use parking_lot::Mutex;
use tokio::{
    runtime::{Handle, Runtime as Executor},
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::api::Api;

const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "ls", "sleep", "true", "false", "id", "grep", "env", "pwd", "printf", "nc", "kill", "mkdir",
    "rm", "seq", "tr", "hostname", "touch", "stty", "head", "test", "httpd", "wget", "mount", "stat", "ln", "readlink",
];

/// Addresses without links.
#[derive(Default)]
pub struct NoNetwork {
    pub attached: Mutex<BTreeMap<PodUid, IpAddr>>,
    /// Other nodes that lead to pods, if there are any.
    pub others: Mutex<Option<Arc<Others>>>,
}

/// Data planes of other nodes.
#[derive(Default)]
pub struct Others {
    /// They were asked to lead nothing new to a pod.
    pub asked: Notify,
    /// They have followed.
    pub followed: Notify,
}

impl PodNetwork for NoNetwork {
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Vec<IpAddr>, NetworkError>> {
        let mut attached = self.attached.lock();
        let next = IpAddr::from([10, 42, 0, 2 + attached.len() as u8]);
        let address = *attached.entry(attachment.uid).or_insert(next);
        Box::pin(async move { Ok(vec![address]) })
    }

    fn withdraw<'a>(&'a self, _uid: &'a PodUid) -> BoxFuture<'a, bool> {
        let others = self.others.lock().is_some();
        Box::pin(async move { others })
    }

    fn followed<'a>(&'a self, _uid: &'a PodUid, until: Instant) -> BoxFuture<'a, ()> {
        let others = self.others.lock().clone();
        Box::pin(async move {
            let Some(others) = others else { return };
            others.asked.notify_one();
            let _ = timeout_at(until, others.followed.notified()).await;
        })
    }

    fn detach<'a>(&'a self, uid: &'a PodUid) -> BoxFuture<'a, Result<(), NetworkError>> {
        self.attached.lock().remove(uid);
        Box::pin(async { Ok(()) })
    }
}

pub struct Machine {
    pub scratch: tempfile::TempDir,
    pub api: Arc<Api>,
    pub network: Arc<NoNetwork>,
    pub pods_config: PodsConfig,
    /// The agent's process: an executor of its own, so that its end ends all that the agent ever began, down to the
    /// last connection and blocking call.
    process: Option<Executor>,
    agent: Option<Served>,
    images: Images,
}

/// An agent that answers.
#[derive(Clone)]
pub struct Served {
    agent: Arc<Agent>,
    process: Handle,
}

impl Served {
    /// Serves one connection.
    pub fn connect(self, stream: naru_client::BoxedIo) {
        let Served { agent, process } = self;
        process.spawn(async move { agent.serve(stream).await });
    }
}

/// Says why a test cannot run here, or gives a node with a running agent.
pub async fn machine() -> Option<Machine> {
    let skip = |why: &str| {
        eprintln!("SKIPPED: {why}");
        None
    };
    if !rustix::process::geteuid().is_root() {
        return skip("needs root");
    }
    let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists()) else {
        return skip("needs busybox (apt-get install busybox-static)");
    };
    if std::env::var_os("NARU_TEST_LOG").is_some() {
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_test_writer().try_init();
    }
    // As the server does; the images' folders are for every user too.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let scratch = tempfile::Builder::new().prefix("naru-agent-").tempdir().unwrap();
    let rootfs = scratch.path().join("rootfs");
    make_root(busybox.as_ref(), &rootfs);
    let images = Images::open(scratch.path().join("images")).await.unwrap();
    let config = ImageConfig { env: vec!["PATH=/bin".into()], volumes: vec!["/data".into()], ..ImageConfig::default() };
    let reference = Reference::parse("box:1").unwrap();
    images.import_rootfs(Source::Folder(rootfs.clone()), config.clone(), Some(&reference)).await.unwrap();
    let check = Healthcheck {
        test: vec!["CMD-SHELL".into(), "test -e /well".into()],
        interval: Some(std::time::Duration::from_secs(1)),
        retries: Some(1),
        start_period: Some(std::time::Duration::from_secs(300)),
        ..Healthcheck::default()
    };
    let config = ImageConfig { healthcheck: Some(check), ..config };
    let reference = Reference::parse("tested:1").unwrap();
    images.import_rootfs(Source::Folder(rootfs), config, Some(&reference)).await.unwrap();
    let pods_config = PodsConfig {
        state_dir: scratch.path().join("state"),
        run_dir: scratch.path().join("run"),
        supervisor: SupervisorCommand {
            program: env!("CARGO_BIN_EXE_naru-agent-test-supervisor").into(),
            args: Vec::new(),
        },
        // No other has the folder's name, in whatever process namespace.
        cgroup: scratch.path().file_name().unwrap().to_string_lossy().into_owned(),
    };
    let mut machine =
        Machine { scratch, api: Api::new(), network: Arc::default(), pods_config, process: None, agent: None, images };
    machine.start().await;
    Some(machine)
}

fn make_root(busybox: &Path, root: &Path) {
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "data"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/tmp:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nweb:x:102:\n").unwrap();
    fs::write(root.join("data/seed"), "from the image\n").unwrap();
}

impl Machine {
    /// Starts the agent, or starts it again after [`Machine::crash`].
    pub async fn start(&mut self) {
        let process = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let pods_config = self.pods_config.clone();
        let (api, images, network) = (self.api.clone(), self.images.clone(), self.network.clone());
        let agent = process.spawn(async move {
            let config = Config {
                node_name: "node".into(),
                addresses: tokio::sync::watch::channel(vec!["192.0.2.1".parse().unwrap()]).1,
                state_dir: pods_config.state_dir.clone(),
                run_dir: pods_config.run_dir.clone(),
                client: api.client(),
                images,
                runtime: Arc::new(Pods::open(pods_config).unwrap()),
                network,
                dns: Dns::default(),
                labels: BTreeMap::new(),
                max_pods: 110,
                eviction: naru_agent::Eviction::default(),
                pod_cidr: None,
            };
            Agent::start(config).await.unwrap()
        });
        let agent = Arc::new(agent.await.unwrap());
        self.agent = Some(Served { agent, process: process.handle().clone() });
        self.process = Some(process);
    }

    /// The agent goes away between two instructions, with everything that it began.
    pub fn crash(&mut self) {
        self.agent = None;
        if let Some(process) = self.process.take() {
            // An executor must not be waited for on another's thread.
            let end = std::thread::spawn(move || process.shutdown_timeout(super::api::PATIENCE));
            end.join().unwrap();
        }
    }

    pub fn agent(&self) -> Served {
        self.agent.clone().unwrap()
    }

    pub fn state(&self) -> &Path {
        &self.pods_config.state_dir
    }

    /// The text of a container's log, all attempts, without times and streams.
    pub fn log(&self, pod: &str, container: &str) -> String {
        let dir = self.state().join("logs").join(format!("default_{pod}_uid-{pod}")).join(container);
        let mut files: Vec<PathBuf> =
            fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect();
        text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(|line| format!("{line}\n")).collect()
    }

    /// Waits until a container has written something, and gives its whole log.
    pub async fn until_log(&self, pod: &str, container: &str, wanted: &str) -> String {
        let deadline = std::time::Instant::now() + super::api::PATIENCE;
        loop {
            let log = self.log(pod, container);
            if log.contains(wanted) {
                return log;
            }
            assert!(std::time::Instant::now() < deadline, "{pod} never writes {wanted:?}: {log}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Processes of this node's pods.
    fn processes(&self) -> Vec<rustix::process::Pid> {
        let scratch = self.scratch.path().to_string_lossy().into_owned();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours = entries.filter(|entry| {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&scratch)
        });
        ours.filter_map(|entry| rustix::process::Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// Processes, mounts, folders, addresses that belong to this node's pods.
    pub fn leftovers(&self) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        let scratch = self.scratch.path().to_string_lossy().into_owned();
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(|line| line.contains(&scratch)) {
            left.insert(format!("mount {line}"));
        }
        left.extend(self.processes().iter().map(|pid| format!("process {pid}")));
        for base in ["pods", "agent", "logs", "agent/ledger"] {
            for entry in fs::read_dir(self.state().join(base)).into_iter().flatten().flatten() {
                if entry.file_name() != "ledger" {
                    left.insert(format!("folder {}", entry.path().display()));
                }
            }
        }
        left.extend(self.network.attached.lock().keys().map(|uid| format!("address of {uid}")));
        for base in self.groups() {
            for entry in fs::read_dir(base).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    // The daemon's own stay as long as their base.
                    && !["burstable", "besteffort", "supervisors"].contains(&&*entry.file_name().to_string_lossy())
                {
                    left.insert(format!("group {}", entry.path().display()));
                }
            }
        }
        left
    }

    fn groups(&self) -> Vec<PathBuf> {
        let top = Path::new("/sys/fs/cgroup");
        let mut bases = vec![top.join(&self.pods_config.cgroup)];
        bases.extend(
            fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path().join(&self.pods_config.cgroup)),
        );
        bases.retain(|base| base.is_dir());
        bases
            .iter()
            .flat_map(|base| [base.clone(), base.join("burstable"), base.join("besteffort")])
            .filter(|base| base.is_dir())
            .collect()
    }
}

/// Removes a group and those below it; a group is a folder that only its removal empties.
fn remove_groups(group: &Path) {
    for below in fs::read_dir(group).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&below.path());
        }
    }
    let _ = fs::remove_dir(group);
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.crash();
        let config = self.pods_config.clone();
        // The test's own executor may be going down.
        let sweep = std::thread::spawn(move || {
            let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            executor.block_on(async {
                let pods = Pods::open(config.clone()).unwrap();
                for entry in fs::read_dir(config.state_dir.join("pods")).into_iter().flatten().flatten() {
                    let uid = PodUid::new(entry.file_name().to_string_lossy()).unwrap();
                    if pods.destroy(&uid).await.is_err() {
                        let _ = pods.sweep(&uid).await;
                    }
                }
            });
        });
        let _ = sweep.join();
        for pid in self.processes() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let scratch = self.scratch.path().to_string_lossy().into_owned();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for point in table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&scratch))
        {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
        // Processes that were killed leave their groups a moment later.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while let groups @ [_, ..] = &self.groups()[..]
            && std::time::Instant::now() < deadline
        {
            groups.iter().rev().for_each(|base| remove_groups(base));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
