//! From the command line to a pod without containers.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
};

use super::{diary::note, run::Supervisor};
use crate::{
    cgroup::{Cgroup, Survivors},
    container,
    pod::{
        NamespaceMode, PodConfig, PodCreated,
        protocol::{Birth, Boot, VERSION},
    },
    sys::{self, Clone3, Forked, SignalQueue},
};

/// Docker's size of `/dev/shm`.
const SHM: u64 = 64 << 20;

/// A failed step, in words for the daemon.
#[derive(Debug, thiserror::Error)]
#[error("{action}")]
struct BootError {
    action: String,
    #[source]
    source: io::Error,
}

trait At<T> {
    fn at(self, action: impl FnOnce() -> String) -> Result<T, Box<dyn Error>>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: impl FnOnce() -> String) -> Result<T, Box<dyn Error>> {
        self.map_err(|source| BootError { action: action(), source: source.into() }.into())
    }
}

pub(super) fn main(boot_file: &Path) -> ! {
    sys::limit_heap();
    sys::close_from(3);
    match create(boot_file) {
        Ok(supervisor) => {
            tell(&Birth::Created(supervisor.created.clone()));
            sys::trim_heap();
            supervisor.run()
        }
        Err(error) => {
            tell(&Birth::Failed(in_words(error.as_ref())));
            std::process::exit(1)
        }
    }
}

/// An error with its causes on one line.
fn in_words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Tells the daemon, which reads our stdout to its end.
fn say(birth: &Birth) {
    if let Ok(line) = serde_json::to_vec(birth) {
        let _ = io::stdout().write_all(&line);
        let _ = io::stdout().flush();
    }
}

/// Tells it the last, and closes stdout.
fn tell(birth: &Birth) {
    say(birth);
    close_stdout();
}

fn close_stdout() {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(null.as_fd());
    }
}

fn create(boot_file: &Path) -> Result<Supervisor, Box<dyn Error>> {
    let text = fs::read(boot_file).at(|| format!("reading {}", boot_file.display()))?;
    let boot: Boot = serde_json::from_slice(&text)?;
    if boot.version != VERSION {
        return Err(format!("this supervisor speaks protocol {VERSION}, the daemon {}", boot.version).into());
    }
    step_aside(&boot.survivors);
    detach(&boot)?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(boot.folders.lock());
    let lock = lock.at(|| format!("opening {}", boot.folders.lock().display()))?;
    sys::lock_file(&lock).at(|| "locking the pod: another supervisor holds it".into())?;
    let signals = SignalQueue::of_supervisor().at(|| "queueing signals".into())?;
    let own_processes = File::open("/proc/self/ns/pid").at(|| "opening the process namespace".into())?;
    let cgroup = Cgroup::of_pod(boot.hierarchy.clone(), &boot.pod.cgroup_parent, &boot.pod.uid);
    let warnings = cgroup.create(&boot.pod.resources)?;
    warm_up(&cgroup);
    namespaces(&boot.pod)?;
    sysctls(&boot.pod)?;
    let shm = shared_memory(&boot)?;
    fs::create_dir_all(boot.folders.root()).at(|| format!("making {}", boot.folders.root().display()))?;
    fs::create_dir_all(boot.folders.attempts()).at(|| format!("making {}", boot.folders.attempts().display()))?;
    let pause = if boot.pod.share_process_namespace && !boot.pod.host_pid { Some(pause(&cgroup)?) } else { None };
    let listener = listen(&boot.folders.socket())?;
    let pid = std::process::id() as i32;
    let created = PodCreated { supervisor_pid: pid, netns: format!("/proc/{pid}/ns/net").into(), warnings };
    Ok(Supervisor::new(boot, created, cgroup, shm, lock, signals, listener, own_processes.into(), pause))
}

/// Leaves the daemon's control group. One that cannot goes on where it is: that matters only to who kills the daemon with
/// everything in its group.
fn step_aside(survivors: &Survivors) {
    let (born, refused) = survivors.be_born_there();
    if born {
        // The daemon knows the process that was here before.
        say(&Birth::Begun(std::process::id() as i32));
    }
    for error in refused {
        note(format_args!("this supervisor stays in the daemon's control group: {error}"));
    }
}

/// Leaves everything of the daemon's behind: session, folder, mask, errors.
fn detach(boot: &Boot) -> Result<(), Box<dyn Error>> {
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/").at(|| "entering /".into())?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let log = OpenOptions::new().create(true).append(true).open(boot.folders.log());
    let log = log.at(|| format!("opening {}", boot.folders.log().display()))?;
    rustix::stdio::dup2_stderr(log.as_fd()).at(|| "redirecting errors".into())?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).at(|| "becoming a reaper".into())?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .at(|| "closing memory to others".into())?;
    sys::set_name(c"naru-supervisor");
    // Best effort: a pod's processes should be chosen before what records their end.
    let _ = fs::write("/proc/self/oom_score_adj", "-999");
    Ok(())
}

fn namespaces(pod: &PodConfig) -> Result<(), Box<dyn Error>> {
    let each = [
        (&pod.network, libc::CLONE_NEWNET, "network"),
        (&pod.ipc, libc::CLONE_NEWIPC, "IPC"),
        (&pod.uts, libc::CLONE_NEWUTS, "UTS"),
    ];
    let new = each.iter().filter(|(mode, ..)| **mode == NamespaceMode::Private).fold(0, |all, (_, flag, _)| all | flag);
    sys::unshare(new).at(|| "making namespaces".into())?;
    for (mode, flag, name) in each {
        if let NamespaceMode::Path(path) = mode {
            let file = File::open(path).at(|| format!("opening {name} namespace {}", path.display()))?;
            sys::join_by_file(file.as_fd(), flag).at(|| format!("joining {name} namespace {}", path.display()))?;
        }
    }
    if pod.network == NamespaceMode::Private {
        sys::loopback_up().at(|| "bringing lo up".into())?;
    }
    if pod.uts == NamespaceMode::Private {
        rustix::system::sethostname(pod.hostname.as_bytes())
            .at(|| format!("setting host name {:?} (at most 64 bytes)", pod.hostname))?;
        if let Some(domain) = &pod.domainname {
            rustix::system::setdomainname(domain.as_bytes()).at(|| format!("setting domain name {domain:?}"))?;
        }
    }
    Ok(())
}

/// Whether setting it changes this pod alone.
fn is_namespaced(pod: &PodConfig, name: &str) -> bool {
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| name.starts_with(p)) || name == "kernel.sem";
    (ipc && pod.ipc != NamespaceMode::Host) || (name.starts_with("net.") && pod.network != NamespaceMode::Host)
}

fn sysctls(pod: &PodConfig) -> Result<(), Box<dyn Error>> {
    for (name, value) in &pod.sysctls {
        let dotted = name.replace('/', ".");
        if !is_namespaced(pod, &dotted) || dotted.contains("..") {
            return Err(
                format!("kernel parameter {name} is not the pod's own: it would change the whole machine").into()
            );
        }
        let path = Path::new("/proc/sys").join(dotted.replace('.', "/"));
        fs::write(&path, value).at(|| format!("setting kernel parameter {name} to {value:?}"))?;
    }
    Ok(())
}

fn shared_memory(boot: &Boot) -> Result<PathBuf, Box<dyn Error>> {
    if boot.pod.ipc == NamespaceMode::Host {
        return Ok("/dev/shm".into());
    }
    let place = boot.folders.shm();
    fs::create_dir_all(&place).at(|| format!("making {}", place.display()))?;
    let options = format!("mode=1777,size={}", boot.pod.shm_size.unwrap_or(SHM));
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount(Some(Path::new("naru-shm")), &place, Some("tmpfs"), flags, Some(&options))
        .at(|| format!("mounting shared memory on {}", place.display()))?;
    Ok(place)
}

/// On v1 before Linux 6.0 the first move between groups after a while waits some 10 ms for every CPU to pass through the
/// kernel; the next ones do not. A child takes that wait now, while the daemon prepares the pod's first container.
fn warm_up(cgroup: &Cgroup) {
    if !cgroup.is_v2()
        && !cgroup.is_entered_at_once()
        && let Ok(Forked::Child) = sys::clone3(&Clone3::default())
    {
        close_stdout();
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        let _ = cgroup.enter(0);
        sys::exit_now(0)
    }
}

/// Process 1 of the pod's shared process namespace.
fn pause(cgroup: &Cgroup) -> Result<(i32, OwnedFd), Box<dyn Error>> {
    let flags = libc::CLONE_NEWPID as u64;
    match sys::clone3(&Clone3 { flags, cgroup: None }).at(|| "making a shared process namespace".into())? {
        Forked::Child => {
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            // The daemon reads our stdout to its end: this process must not keep it open.
            close_stdout();
            let _ = cgroup.child("pause").create(&crate::pod::Resources::default());
            let _ = cgroup.child("pause").enter(0);
            container::pause()
        }
        Forked::Parent { pid, pidfd } => Ok((pid, pidfd)),
    }
}

/// Binds the socket for root alone. The path may be longer than an address holds (108 bytes): its folder is named by
/// descriptor.
fn listen(path: &Path) -> Result<UnixListener, Box<dyn Error>> {
    let _ = fs::remove_file(path);
    let (folder, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
    let folder = File::open(folder).at(|| format!("opening {}", folder.display()))?;
    let short = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&folder).to_string()).join(name);
    let listener = UnixListener::bind(short).at(|| format!("binding {}", path.display()))?;
    listener.set_nonblocking(true).at(|| "preparing the socket".into())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).at(|| format!("protecting {}", path.display()))?;
    Ok(listener)
}
