//! A scratch machine: a root filesystem of busybox, folders and cgroups of its own, all removed at the end.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use naru_runtime::pod::{
    ContainerConfig, ContainerName, ExecConfig, Exit, LogConfig, Overlay, PodConfig, PodError, PodEvent, PodUid, Pods,
    PodsConfig, Runtime, Session, Started, SupervisorCommand,
};
use tokio::{io::AsyncReadExt, sync::mpsc};

/// Long enough for a machine that builds something else at the same time.
pub const PATIENCE: Duration = Duration::from_secs(60);

const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "ls", "sleep", "true", "false", "id", "mount", "umount", "unshare", "hostname", "touch", "dd",
    "grep", "head", "tail", "wc", "stat", "df", "ps", "kill", "mkdir", "mknod", "chroot", "env", "pwd", "printf",
    "stty", "tty", "readlink", "test", "rm", "seq", "yes", "tr", "ulimit", "nproc", "sysctl", "ip", "chmod", "chown",
    "date", "setsid", "awk", "cut", "find", "usleep",
];

pub struct Machine {
    pub scratch: tempfile::TempDir,
    pub pods: Pods,
    pub config: PodsConfig,
    pub events: mpsc::UnboundedReceiver<PodEvent>,
    seen: Vec<PodEvent>,
}

/// Says why a test cannot run here, or gives a machine.
pub fn machine() -> Option<Machine> {
    machine_in(None)
}

/// The same with its groups in a v2 tree, wherever one is mounted: it may have no controller, but freezing, killing, device
/// programs and cloning into a group work there all the same.
pub fn machine_v2() -> Option<Machine> {
    let tree = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter().map(Path::new);
    match tree.into_iter().find(|t| t.join("cgroup.controllers").exists()) {
        Some(tree) => machine_in(Some(tree)),
        None => {
            eprintln!("SKIPPED: no cgroup v2 tree is mounted");
            None
        }
    }
}

fn machine_in(tree: Option<&Path>) -> Option<Machine> {
    let skip = |why: &str| {
        eprintln!("SKIPPED: {why}");
        None
    };
    if !rustix::process::geteuid().is_root() {
        return skip("needs root");
    }
    let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists()) else {
        return skip("needs busybox (apt-get install busybox-static)");
    };
    // The image's folders are for every user, whatever mask the test run has.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let scratch = tempfile::Builder::new().prefix("naru-pod-").tempdir().unwrap();
    make_root(busybox.as_ref(), &scratch.path().join("image"));
    let config = PodsConfig {
        state_dir: scratch.path().join("state"),
        run_dir: scratch.path().join("run"),
        supervisor: SupervisorCommand { program: env!("CARGO_BIN_EXE_naru-supervisor").into(), args: Vec::new() },
        cgroup: {
            // No other has the folder's name, in whatever process namespace.
            let name = scratch.path().file_name().unwrap().to_string_lossy().into_owned();
            tree.map_or(name.clone(), |t| t.join(&name).to_string_lossy().into_owned())
        },
    };
    let pods = Pods::open(config.clone()).unwrap();
    let events = pods.events().unwrap();
    Some(Machine { scratch, pods, config, events, seen: Vec::new() })
}

fn make_root(busybox: &Path, image: &Path) {
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
        fs::create_dir_all(image.join(folder)).unwrap();
    }
    fs::copy(busybox, image.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", image.join("bin").join(applet)).unwrap();
    }
    fs::write(image.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/srv/web:/bin/sh\n").unwrap();
    fs::write(image.join("etc/group"), "root:x:0:\nweb:x:102:\nlogs:x:200:web\n").unwrap();
    fs::write(image.join("etc/plain"), "not a program\n").unwrap();
}

impl Machine {
    pub fn image(&self) -> PathBuf {
        self.scratch.path().join("image")
    }

    /// A pod with nothing special.
    pub async fn pod(&self, uid: &str) -> PodUid {
        self.pod_with(uid, |_| {}).await
    }

    pub async fn pod_with(&self, uid: &str, change: impl FnOnce(&mut PodConfig)) -> PodUid {
        let uid = PodUid::new(uid).unwrap();
        let mut config = PodConfig::new(uid.clone(), "default", "web");
        change(&mut config);
        self.pods.create(config).await.unwrap();
        uid
    }

    /// A container that runs a shell script and logs.
    pub fn container(&self, uid: &PodUid, name: &str, script: &str) -> ContainerConfig {
        let base = self.pods.pod_dir(uid).join("rootfs").join(name);
        let root = Overlay { lower: vec![self.image()], upper: base.join("upper"), work: base.join("work") };
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        let mut config = ContainerConfig::new(ContainerName::new(name).unwrap(), 0, root, args);
        config.env = vec!["PATH=/bin".to_owned()];
        config.log = Some(LogConfig { path: self.log_path(uid, name), max_size: 0, max_files: 1 });
        config
    }

    pub fn log_path(&self, uid: &PodUid, name: &str) -> PathBuf {
        self.scratch.path().join("logs").join(uid.as_str()).join(format!("{name}.log"))
    }

    /// The text of a container's log, without times, streams and tags.
    pub fn log(&self, uid: &PodUid, name: &str) -> String {
        let text = fs::read_to_string(self.log_path(uid, name)).unwrap_or_default();
        let mut out = String::new();
        for line in text.lines() {
            let mut parts = line.splitn(4, ' ').skip(2);
            let (tag, text) = (parts.next().unwrap(), parts.next().unwrap_or_default());
            out.push_str(text);
            if tag == "F" {
                out.push('\n');
            }
        }
        out
    }

    pub async fn start(&self, uid: &PodUid, config: ContainerConfig) -> Result<Started, PodError> {
        self.pods.start(uid, config).await
    }

    /// Starts a container and waits for its end. Panics when it does not start.
    pub async fn run(&mut self, uid: &PodUid, config: ContainerConfig) -> Exit {
        let (name, attempt) = (config.name.clone(), config.attempt);
        if let Err(error) = self.pods.start(uid, config).await {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            panic!("{text}");
        }
        self.exit(uid, &name, attempt).await
    }

    /// Runs a script in a fresh container and gives what it wrote, in the order in which it did: of two streams the log
    /// need not tell it.
    pub async fn output(&mut self, uid: &PodUid, name: &str, script: &str) -> String {
        let config = self.container(uid, name, &format!("exec 2>&1; {script}"));
        self.run(uid, config).await;
        self.log(uid, name)
    }

    /// Waits for the exit event of one attempt.
    pub async fn exit(&mut self, uid: &PodUid, name: &ContainerName, attempt: u32) -> Exit {
        let is_it = |event: &PodEvent| match event {
            PodEvent::Exited { uid: u, container, attempt: a, exit }
                if u == uid && container == name && *a == attempt =>
            {
                Some(exit.clone())
            }
            _ => None,
        };
        if let Some(exit) = self.seen.iter().find_map(is_it) {
            return exit;
        }
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("no exit of {name}")).unwrap();
            let exit = is_it(&event);
            self.seen.push(event);
            if let Some(exit) = exit {
                return exit;
            }
        }
    }

    /// Forgets what was told so far.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    /// Waits for the loss of a pod's supervisor.
    pub async fn lost(&mut self, uid: &PodUid) {
        let wanted = PodEvent::SupervisorLost { uid: uid.clone() };
        while !self.seen.contains(&wanted) {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("no loss told").unwrap();
            self.seen.push(event);
        }
    }

    pub async fn exec(&self, uid: &PodUid, name: &str, script: &str) -> (String, Exit) {
        let config = ExecConfig { args: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ExecConfig::default() };
        let session = self.pods.exec(uid, &ContainerName::new(name).unwrap(), config).await.unwrap();
        finish(session).await
    }

    /// Processes, mounts and groups that belong to this machine.
    pub fn leftovers(&self) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        let scratch = self.scratch.path().to_string_lossy().into_owned();
        for (_, line) in self.mounts() {
            left.insert(format!("mount {line}"));
        }
        for group in self.groups() {
            left.insert(format!("group {}", group.display()));
        }
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&scratch) {
                left.insert(format!("process {}", entry.file_name().to_string_lossy()));
            }
        }
        for base in [&self.config.state_dir, &self.config.run_dir] {
            for entry in fs::read_dir(base.join("pods")).unwrap().flatten() {
                left.insert(format!("folder {}", entry.path().display()));
            }
        }
        left
    }

    /// Mounts below the scratch folder, the last one first: where, and the kernel's whole line.
    fn mounts(&self) -> Vec<(PathBuf, String)> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let place = |line: &str| line.split(' ').nth(4).map(|place| (PathBuf::from(place), line.to_owned()));
        let mut found: Vec<_> = table.lines().filter_map(place).collect();
        found.retain(|(place, _)| place.starts_with(self.scratch.path()));
        found.reverse();
        found
    }

    /// Groups below this machine's own.
    fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for base in self.bases() {
            for entry in fs::read_dir(base).into_iter().flatten().flatten() {
                // The daemon's own stays as long as its base.
                if entry.file_type().unwrap().is_dir() && entry.file_name() != "supervisors" {
                    found.push(entry.path());
                }
            }
        }
        found
    }

    fn bases(&self) -> Vec<PathBuf> {
        let top = Path::new("/sys/fs/cgroup");
        let mut bases = vec![top.join(&self.config.cgroup)];
        bases.extend(fs::read_dir(top).into_iter().flatten().flatten().map(|e| e.path().join(&self.config.cgroup)));
        bases.retain(|b| b.is_dir());
        bases
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let config = self.config.clone();
        // The test's own executor may be going down.
        let sweep = std::thread::spawn(move || {
            let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            executor.block_on(async {
                let pods = Pods::open(config.clone()).unwrap();
                for entry in fs::read_dir(config.state_dir.join("pods")).unwrap().flatten() {
                    let uid = PodUid::new(entry.file_name().to_string_lossy()).unwrap();
                    if let Err(error) = pods.sweep(&uid).await {
                        eprintln!("sweeping {uid}: {error}");
                    }
                }
            });
        });
        let _ = sweep.join();
        for (mount, _) in self.mounts() {
            let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
        }
        for base in self.bases() {
            // Supervisors that were killed take a moment.
            let deadline = Instant::now() + PATIENCE;
            while let Err(error) = fs::remove_dir(base.join("supervisors"))
                && error.kind() == std::io::ErrorKind::ResourceBusy
                && Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = fs::remove_dir(base);
        }
    }
}

pub async fn finish(mut session: Session) -> (String, Exit) {
    drop(session.stdin.take());
    let mut out = Vec::new();
    session.stdout.take().unwrap().read_to_end(&mut out).await.unwrap();
    if let Some(mut stderr) = session.stderr.take() {
        stderr.read_to_end(&mut out).await.unwrap();
    }
    let exit = tokio::time::timeout(PATIENCE, session.exit).await.expect("the process does not end").unwrap();
    (String::from_utf8_lossy(&out).into_owned(), exit)
}

/// Waits until something is so.
pub async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
