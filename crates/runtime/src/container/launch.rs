//! The life of a container's first process, from the clone to the program.

use std::{
    convert::Infallible,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use super::{
    device,
    failure::{At, Outcome},
    init, mask, mounts, policy,
    process::{self, FromHost, ProcessSpec, Streams},
    report::{Report, Reporter, read_report},
    root,
};
use crate::{
    cgroup::Cgroup,
    pod::{ContainerConfig, StartStep},
    sys::{self, Clone3, Forked},
};

/// What the child needs besides its configuration.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) config: &'a ContainerConfig,
    pub(crate) cgroup: &'a Cgroup,
    /// An empty folder; every container mounts its root there, in a namespace of its own.
    pub(crate) place: &'a Path,
    /// The pod's `/dev/shm`.
    pub(crate) shm: &'a Path,
    pub(crate) seccomp: Option<OwnedFd>,
    /// Whether the clone already put it into its cgroup.
    pub(crate) in_cgroup: bool,
}

/// Runs in a child cloned with new mount (and usually process) namespaces. Returns only a failure.
pub(crate) fn launch(wanted: &Launch<'_>, streams: Streams, report: &Reporter) -> Outcome<Infallible> {
    let config = wanted.config;
    process::die_with_parent()?;
    policy::oom_score(config.oom_score_adj, report)?;
    let nodes = device::collect(&config.devices)?;
    let entering = begin_entering(wanted, &nodes, report)?;
    let host = FromHost::gather(&config.policy)?;
    let sources = mounts::detach_from_host(config)?;
    let top = root::mount_overlay(&config.root, wanted.place)?;
    mounts::standard(top.as_fd(), config, wanted.shm)?;
    let dev = sys::open_in_root(top.as_fd(), Path::new("dev"), libc::O_PATH | libc::O_DIRECTORY)
        .at(StartStep::Device, || "opening /dev")?;
    device::standard(dev.as_fd())?;
    let finish_entering = || {
        finish_entering(entering)?;
        mounts::cgroups(top.as_fd(), config, wanted.cgroup)
    };
    // As late as possible, while the kernel moves this process: but what is mounted over groups must come after them.
    let early = touches_groups(config);
    let finish_entering = if early { finish_entering().map(|()| None)? } else { Some(finish_entering) };
    mounts::configured(top.as_fd(), config, sources)?;
    device::make(top.as_fd(), &nodes)?;
    mask::protect(top.as_fd(), &config.readonly_paths)?;
    mask::hide(top.as_fd(), &config.masked_paths)?;
    if let Some(finish) = finish_entering {
        finish()?;
    }
    sys::pivot_root(top.as_fd()).at(StartStep::Root, || "entering the root")?;
    drop((top, dev));
    let spec = ProcessSpec {
        args: &config.args,
        env: config.env.clone(),
        cwd: &config.cwd,
        user: &config.user,
        policy: &config.policy,
        seccomp: wanted.seccomp.as_ref().map(AsFd::as_fd),
        terminal: config.terminal,
    };
    if config.readonly_root {
        // The working directory may have to be made; a read-only root refuses that later.
        let _ = std::fs::create_dir_all(&config.cwd);
        let top = File::open("/").at(StartStep::Root, || "opening /")?;
        root::read_only(&top)?;
    }
    if config.init {
        return before_program(&spec, streams, host, report);
    }
    process::become_program(&spec, streams, host, true, report)
}

fn touches_groups(config: &ContainerConfig) -> bool {
    let targets = config.mounts.iter().map(|m| &m.target);
    let mut paths = targets.chain(&config.masked_paths).chain(&config.readonly_paths);
    paths.any(|path| path.starts_with("/sys/fs") || path == Path::new("/sys"))
}

/// A child that moves this process into its groups, and the socket it reports on.
struct Entering {
    report: OwnedFd,
    mover: OwnedFd,
}

/// Makes the groups and begins to enter them. On v1 before Linux 6.0 the first move after a while waits some 10 ms for every
/// CPU to pass through the kernel: a child does the moving, so that the mounts are made meanwhile.
fn begin_entering(wanted: &Launch<'_>, nodes: &[device::Node], report: &Reporter) -> Outcome<Option<Entering>> {
    if !wanted.in_cgroup {
        for warning in wanted.cgroup.create(&wanted.config.resources)? {
            report.warn(&warning);
        }
    }
    wanted.cgroup.limit_devices(&wanted.config.devices, &device::rules(nodes))?;
    if wanted.in_cgroup {
        return Ok(None);
    }
    if wanted.cgroup.is_entered_at_once() {
        wanted.cgroup.enter(0)?;
        return Ok(None);
    }
    let what = || "forking to enter the groups";
    let own = std::process::id();
    let (ours, theirs) = super::report_pair().at(StartStep::Cgroup, what)?;
    match sys::clone3(&Clone3::default()).at(StartStep::Cgroup, what)? {
        Forked::Parent { pidfd, .. } => Ok(Some(Entering { report: ours, mover: pidfd })),
        Forked::Child => {
            let moved = process::die_with_parent().and_then(|()| Ok(wanted.cgroup.enter(own)?));
            if let Err(failure) = moved {
                theirs.failed(&failure);
            }
            sys::exit_now(0)
        }
    }
}

/// Waits until the groups are entered. Only then comes the namespace: its root is where its first member is.
fn finish_entering(entering: Option<Entering>) -> Outcome {
    if let Some(Entering { report, mover }) = entering {
        let what = || "entering the groups";
        sys::wait_for(mover.as_fd()).at(StartStep::Cgroup, what)?;
        if let Some(Report::Failed(failure)) = read_report(report.as_fd()) {
            return Err(failure);
        }
    }
    sys::unshare(libc::CLONE_NEWCGROUP).at(StartStep::Namespaces, || "making a cgroup namespace")
}

/// Becomes the reaper, with the program as its child.
fn before_program(spec: &ProcessSpec<'_>, streams: Streams, host: FromHost, report: &Reporter) -> Outcome<Infallible> {
    match sys::clone3(&Clone3::default()).at(StartStep::Namespaces, || "forking behind the init")? {
        Forked::Child => {
            process::die_with_parent()?;
            process::become_program(spec, streams, host, true, report)
        }
        Forked::Parent { pid, pidfd } => {
            // Everything but the program's handle must go, the report socket above all: its closing means success.
            let handle = sys::keep_only(pidfd);
            sys::set_name(c"naru-init");
            init::reap_forever(pid, &handle)
        }
    }
}
