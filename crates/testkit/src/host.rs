//! A machine in little, with a server.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::clock;
use crate::fault::Fault;
use crate::http::{Answer, get_here};
use crate::images::{self, Image};
use crate::lan::{Lan, Port};
use crate::namespace::{self, Namespace};
use crate::process::{Output, Running, run};
use crate::{Project, eventually, require};

/// How a host differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// More arguments of `naru server`.
    pub server: Vec<String>,
    /// Images that are loaded at once; busybox and the probe unless given.
    pub images: Option<Vec<Image>>,
    /// Whether the server is left for the test to start.
    pub idle: bool,
    /// The wire that it is on, with others; one of its own unless given.
    pub lan: Option<Lan>,
}

/// A machine in little: network namespaces, folders and a server of its own.
///
/// Removed by its janitor, a process that waits for the end of this one and is told early when the host is dropped.
#[derive(Debug)]
pub struct Host {
    program: PathBuf,
    folder: PathBuf,
    node: Namespace,
    neighbour: Namespace,
    cgroup: String,
    options: HostOptions,
    server: Mutex<Option<Child>>,
    kubeconfig: OnceLock<PathBuf>,
    loaded: Mutex<Vec<&'static str>>,
    janitor: Mutex<Option<(Child, ChildStdin)>>,
    port: Option<Port>,
}

/// The host that all tests of one file share; `None` (said loudly) where the machine lacks what it needs.
pub fn shared_host(program: &str) -> Option<&'static Host> {
    static SHARED: OnceLock<Option<Host>> = OnceLock::new();
    let mut first = false;
    let host = SHARED.get_or_init(|| {
        first = true;
        Host::start(program)
    });
    // Said once for each test: the first has heard it.
    if host.is_none() && !first { require::skipped("the same is missing for another test") } else { host.as_ref() }
}

impl Host {
    /// Starts the usual host; `None` (said loudly) where the machine lacks what it needs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(program: &str) -> Option<Self> {
        Self::start_with(program, HostOptions::default())
    }

    /// Starts a host.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(program: &str, options: HostOptions) -> Option<Self> {
        if !require::root() || require::missing(&["ip", "nft", "nsenter", "awk", "tar"]) {
            return None;
        }
        let wanted = options.images.clone().unwrap_or_else(|| vec![Image::Busybox, Image::Probe]);
        if let Some(why) = wanted.iter().find_map(|image| image.archive().err()) {
            return require::skipped(&format!("test images cannot be made: {why}"));
        }
        let (word, folder) = own_folder();
        let name = format!("naru-t-{word}");
        fs::create_dir(folder.join("home")).expect("a home folder");
        let cgroup = cgroup(&folder.join("state"));
        let janitor = janitor(&name, &folder, program, &cgroup);
        let (node, neighbour, port) = match &options.lan {
            None => {
                let (node, neighbour) = namespace::pair(&name).expect("network namespaces");
                (node, neighbour, None)
            }
            Some(lan) => {
                let (node, router, port) = lan.attach(&name).expect("a place on the wire");
                (node, router, Some(port))
            }
        };
        let host = Self {
            program: program.into(),
            folder,
            node,
            neighbour,
            cgroup,
            server: Mutex::new(None),
            kubeconfig: OnceLock::new(),
            loaded: Mutex::new(Vec::new()),
            janitor: Mutex::new(Some(janitor)),
            port,
            options,
        };
        if !host.options.idle {
            host.start_server();
            wanted.into_iter().for_each(|image| host.load(image));
        }
        Some(host)
    }

    /// Its address on its wire.
    pub fn address(&self) -> std::net::Ipv4Addr {
        self.port.as_ref().map_or(crate::NODE, Port::address)
    }

    /// Pulls its cable out.
    ///
    /// # Panics
    /// When it is not on a wire with others.
    pub fn cut(&self) {
        self.port.as_ref().expect("a host on a wire").set(false);
    }

    /// Puts its cable back.
    ///
    /// # Panics
    /// When it is not on a wire with others.
    pub fn mend(&self) {
        self.port.as_ref().expect("a host on a wire").set(true);
    }

    /// Loses what it sends and fits `rule`, in nftables' words (everything when that is empty), until the value is dropped.
    ///
    /// # Panics
    /// When it is not on a wire with others, or the rule is none.
    #[track_caller]
    pub fn loses_sent(&self, rule: &str) -> Fault {
        self.port.as_ref().expect("a host on a wire").loses_sent(rule).expect("a rule")
    }

    /// The same with what it would receive.
    ///
    /// # Panics
    /// When the rule is none.
    #[track_caller]
    pub fn loses_received(&self, rule: &str) -> Fault {
        Fault::begin(&self.node, "eth0", rule).expect("a rule")
    }

    /// Sets the clock of every program that is started here from now on, or was since this was first called: by so many
    /// seconds it is ahead. `None` (said loudly) where that cannot be done.
    pub fn set_clock(&self, seconds: i64) -> Option<()> {
        if let Err(why) = clock::library() {
            return require::skipped(&format!("a clock cannot be set: {why}"));
        }
        clock::set(&self.clock_path(), seconds);
        Some(())
    }

    fn clock_path(&self) -> PathBuf {
        self.folder.join("clock")
    }

    /// Puts a filesystem of so many MiB below a folder of its state folder (the whole when that is empty): a small disk.
    /// Nothing may run here yet.
    ///
    /// # Panics
    /// When it cannot be mounted.
    #[track_caller]
    pub fn small_disk(&self, below: &str, mebibytes: u32) {
        let path = if below.is_empty() { self.state_dir() } else { self.state_dir().join(below) };
        fs::create_dir_all(&path).expect("a folder");
        let mut mount = self.command("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0700"), "none"]).arg(&path);
        self.run(mount, b"").ok();
    }

    /// Kills everything that runs here: the program, what it keeps running, and containers, as a loss of power does.
    pub fn kill_everything(&self) {
        self.kill_server();
        let folder = format!("{}/", self.folder.display());
        // Supervisors first would have their pods swept by a daemon that still runs: whoever is found is killed, until
        // nobody is.
        loop {
            let mut found = 0;
            for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
                let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                    continue;
                };
                let read = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
                let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
                let group = String::from_utf8_lossy(&read("cgroup")).into_owned();
                let test = pid == std::process::id() as i32;
                // A zombie has no arguments any more, and dies no further.
                if !test && !line.is_empty() && (line.contains(&folder) || group.contains(&self.cgroup)) {
                    found += 1;
                    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    }
                }
            }
            if found == 0 {
                return;
            }
        }
    }

    /// Its folder, below which everything of it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Its run folder.
    pub fn run_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The name of its control groups.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The server's process, when it runs.
    pub fn server_pid(&self) -> Option<u32> {
        let mut server = self.server();
        let running = server.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        server.as_ref().filter(|_| running).map(Child::id)
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command of a server of this host, with nothing started.
    pub fn server_command(&self) -> Command {
        let mut command = self.program();
        command.args(["server", "--listen", "0.0.0.0:6443", "--node-name", "node-1"]).args(&self.options.server);
        command
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready in time.
    #[track_caller]
    pub fn start_server(&self) {
        self.start_server_with(&[]);
    }

    /// Starts the server with more arguments than the host's own, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready in time.
    #[track_caller]
    pub fn start_server_with(&self, arguments: &[&str]) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the server's log");
        let mut command = self.server_command();
        command.args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        let child = command.spawn().expect("start the server");
        *self.server() = Some(child);
        eventually("the server is ready", || {
            assert!(self.server_pid().is_some(), "the server ended:\n{}", self.log_tail(30));
            ready(&self.run_dir().join("naru.sock")).map_err(|error| format!("{error}\n{}", self.log_tail(30)))
        });
    }

    /// Kills the server as a crash would.
    pub fn kill_server(&self) {
        if let Some(mut child) = self.server().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends the server as its user would, and waits for that.
    pub fn stop_server(&self) {
        if let Some(mut child) = self.server().take() {
            if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = child.wait();
        }
    }

    /// Kills the server and starts it again.
    #[track_caller]
    pub fn restart_server(&self) {
        self.kill_server();
        self.start_server();
    }

    /// Where the server's log is.
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self, count: usize) -> String {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// A command inside the host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.node.command(program);
        self.environment(&mut command);
        command
    }

    /// The program under test inside the host, to which its arguments are added.
    pub fn program(&self) -> Command {
        self.command(&self.program)
    }

    /// The variables of whoever uses this host: none of the test's own Compose or kubectl settings.
    pub(crate) fn environment(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["COMPOSE_", "NARU_", "DOCKER_", "KUBE"].iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command
            .env("NARU_STATE_DIR", self.state_dir())
            .env("NARU_RUN_DIR", self.run_dir())
            // Nobody waits five minutes for the end of a pressure.
            .env("NARU_EVICTION_PRESSURE_TRANSITION_PERIOD", "2s")
            .env("HOME", self.folder.join("home"))
            .env_remove("NO_COLOR")
            .current_dir(&self.folder);
        if let (true, Ok(library)) = (self.clock_path().exists(), clock::library()) {
            command.env("LD_PRELOAD", library).env("TEST_CLOCK", self.clock_path());
        }
    }

    /// Runs a command of [`Self::command`] or [`Self::program`] to its end. What is piped never holds escape codes.
    #[track_caller]
    pub fn run(&self, command: Command, input: &[u8]) -> Output {
        let output = run(command, input);
        assert!(!output.stdout.contains('\x1b') && !output.stderr.contains('\x1b'), "escape codes in a pipe: {output}");
        output
    }

    /// Runs the program.
    #[track_caller]
    pub fn naru(&self, arguments: &[&str]) -> Output {
        let mut command = self.program();
        command.args(arguments);
        self.run(command, b"")
    }

    /// Runs kubectl as the cluster's administrator.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_fed("", arguments)
    }

    /// The same with `input` on standard input (`-f -`).
    #[track_caller]
    pub fn kubectl_fed(&self, input: &str, arguments: &[&str]) -> Output {
        let mut command = self.kubectl_command();
        command.args(arguments);
        self.run(command, input.as_bytes())
    }

    /// Starts kubectl, to run beside the test.
    #[track_caller]
    pub fn start_kubectl(&self, arguments: &[&str]) -> Running {
        let mut command = self.kubectl_command();
        command.args(arguments);
        Running::spawn(command)
    }

    /// Starts any command of [`Self::command`], to run beside the test.
    #[track_caller]
    pub fn spawn(command: Command) -> Running {
        Running::spawn(command)
    }

    fn kubectl_command(&self) -> Command {
        let mut command = self.command("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command
    }

    /// The administrator's kubeconfig file.
    ///
    /// # Panics
    /// When the program does not write one.
    #[track_caller]
    pub fn kubeconfig(&self) -> &Path {
        self.kubeconfig.get_or_init(|| {
            let path = self.folder.join("kubeconfig");
            fs::write(&path, self.naru(&["kubeconfig"]).ok().stdout).expect("the kubeconfig file");
            path
        })
    }

    /// Runs `ip` inside the host.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, arguments: &str) -> Result<String, String> {
        self.node.ip(arguments)
    }

    /// A project named `name` with this compose.yaml.
    pub fn project(&self, name: &str, compose: &str) -> Project<'_> {
        Project::new(self, name, compose)
    }

    /// Loads an image, once a host.
    ///
    /// # Panics
    /// When it cannot be made or loaded.
    #[track_caller]
    pub fn load(&self, image: Image) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if !loaded.contains(&image.name()) {
            let archive = image.archive().expect("the image's archive");
            self.naru(&["image", "load", "-i", &archive.to_string_lossy()]).ok().says(&[image.name()]);
            loaded.push(image.name());
        }
    }

    /// Loads an image that packages of this machine are made into, or says that it cannot be.
    #[track_caller]
    pub fn try_load(&self, image: Image) -> Option<()> {
        match image.archive() {
            Ok(_) => {
                self.load(image);
                Some(())
            }
            Err(why) => require::skipped(&format!("{} cannot be made: {why}", image.name())),
        }
    }

    /// The path of a file of this repository.
    pub fn repository(path: &str) -> PathBuf {
        images::root().join(path)
    }

    /// Asks an HTTP server from the host itself.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn get(&self, address: impl Into<IpAddr>, port: u16, path: &str) -> Result<Answer, String> {
        let address = address.into();
        self.node.run(|| get_here(address, port, path))
    }

    /// Asks an HTTP server from the neighbour: another machine on the host's wire.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn get_from_outside(&self, address: impl Into<IpAddr>, port: u16, path: &str) -> Result<Answer, String> {
        let address = address.into();
        self.neighbour.run(|| get_here(address, port, path))
    }

    /// Waits until a server answers 200 at 127.0.0.1 and gives the body.
    #[track_caller]
    pub fn fetch(&self, port: u16, path: &str) -> String {
        eventually(&format!("http://127.0.0.1:{port}{path} answers"), || {
            let answer = self.get([127, 0, 0, 1], port, path)?;
            if answer.status == 200 { Ok(answer.body) } else { Err(format!("{answer:?}")) }
        })
    }

    /// Runs `work` on a thread with the host's network.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.node.run(work)
    }

    /// Runs `work` on a thread with the neighbour's network.
    pub fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.neighbour.run(work)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop_server();
        let janitor = self.janitor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((mut janitor, wakes)) = janitor {
            drop(wakes);
            let _ = janitor.wait();
        }
    }
}

/// A folder that no other host has, and the word that is in every name of this host.
///
/// Not the process id: in process namespaces of their own, two test runs have the same, and so has a run after one that
/// was killed together with its janitors; either would take what is the other's.
fn own_folder() -> (String, PathBuf) {
    loop {
        let word = format!("{:08x}", RandomState::new().build_hasher().finish() as u32);
        // Short: the paths of sockets end at 108 bytes.
        let folder = PathBuf::from(format!("/tmp/nt-{word}"));
        match fs::DirBuilder::new().mode(0o755).create(&folder) {
            Ok(()) => return (word, folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{}: {error}", folder.display()),
        }
    }
}

/// Starts the process that removes everything once this one has ended or says so.
fn janitor(name: &str, folder: &Path, program: &str, cgroup: &str) -> (Child, ChildStdin) {
    use std::os::unix::process::CommandExt;
    let mut child = Command::new("sh")
        .args(["-c", include_str!("janitor.sh")])
        .env("NAME", name)
        .env("FOLDER", folder)
        .env("PROGRAM", program)
        .env("CGROUP", cgroup)
        .env("KEEP", std::env::var_os("NARU_TEST_KEEP").unwrap_or_default())
        .current_dir("/")
        // Ctrl-C on the test run is not meant for it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start the janitor");
    let wakes = child.stdin.take().expect("a pipe");
    (child, wakes)
}

/// The name of the control groups of a state folder, as the program makes it (FNV-1a).
fn cgroup(state_dir: &Path) -> String {
    let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = state_dir.to_string_lossy().as_bytes().iter().fold(0x811c_9dc5_u32, fold);
    format!("naru-{hash:08x}")
}

/// Whether the server behind the socket says that it is ready.
fn ready(socket: &Path) -> Result<(), String> {
    let fault = |error: std::io::Error| format!("{}: {error}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(fault)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).map_err(fault)?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: naru\r\nConnection: close\r\n\r\n").map_err(fault)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(fault)?;
    let status = text.lines().next().unwrap_or_default().to_owned();
    if status.contains(" 200") { Ok(()) } else { Err(text) }
}
