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
    report::Reporter,
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
    enter_cgroup(wanted, &nodes, report)?;
    let host = FromHost::gather(&config.policy)?;
    let sources = mounts::detach_from_host(config)?;
    let top = root::mount_overlay(&config.root, wanted.place)?;
    mounts::standard(top.as_fd(), config, wanted.cgroup, wanted.shm)?;
    let dev = sys::open_in_root(top.as_fd(), Path::new("dev"), libc::O_PATH | libc::O_DIRECTORY)
        .at(StartStep::Device, || "opening /dev")?;
    device::standard(dev.as_fd())?;
    mounts::configured(top.as_fd(), config, sources)?;
    device::make(top.as_fd(), &nodes)?;
    mask::protect(top.as_fd(), &config.readonly_paths)?;
    mask::hide(top.as_fd(), &config.masked_paths)?;
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

fn enter_cgroup(wanted: &Launch<'_>, nodes: &[device::Node], report: &Reporter) -> Outcome {
    if !wanted.in_cgroup {
        for warning in wanted.cgroup.create(&wanted.config.resources)? {
            report.warn(&warning);
        }
    }
    wanted.cgroup.limit_devices(&wanted.config.devices, &device::rules(nodes))?;
    if !wanted.in_cgroup {
        wanted.cgroup.enter()?;
    }
    // After entering: the new namespace's root is where its first member is.
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
