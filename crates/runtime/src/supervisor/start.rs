//! Starting a container: the supervisor's half.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use jiff::Timestamp;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{
    Supervisor, attempt,
    container::{Container, Early, Output, Phase},
    job::Purpose,
    log::{Lines, LogFile},
};
use crate::{
    container::{self, Launch, Report, Reporter, Streams},
    pod::{ContainerConfig, ContainerName, Join, StartFailure, StartStep, Started, protocol::Answer},
    sys::{self, Clone3, Forked},
};

/// Our ends of a container's streams.
#[derive(Default)]
struct Ours {
    stdin: Option<OwnedFd>,
    outputs: Vec<Output>,
}

/// The ends of a container without a terminal.
fn pipes(config: &ContainerConfig) -> io::Result<(Ours, Streams)> {
    let (mut ours, mut theirs) = (Ours::default(), Streams::default());
    if config.terminal.is_some() {
        return Ok((ours, theirs));
    }
    if config.stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        (theirs.stdin, ours.stdin) = (Some(read), Some(write));
    }
    for (name, end) in [("stdout", &mut theirs.stdout), ("stderr", &mut theirs.stderr)] {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        ours.outputs.push(Output { pipe: read, name, lines: Lines::default() });
        *end = Some(write);
    }
    Ok((ours, theirs))
}

fn failure(step: StartStep, action: impl Into<String>, error: &io::Error) -> StartFailure {
    match error.raw_os_error() {
        Some(errno) => StartFailure { step, action: action.into(), errno },
        None => StartFailure { step, action: format!("{}: {error}", action.into()), errno: 0 },
    }
}

impl Supervisor {
    pub(super) fn start(&mut self, client: u64, config: ContainerConfig, fds: Vec<OwnedFd>) {
        let name = config.name.clone();
        if !self.destroyers.is_empty() {
            return self.wrong_state(client, &name, "cannot be started: its pod is being destroyed");
        }
        if self.power_off.is_some() {
            return self.wrong_state(client, &name, "cannot be started: the machine goes down");
        }
        if let Some(known) = self.containers.get(&name) {
            if !matches!(known.phase, Phase::Ended(_)) {
                return self.wrong_state(client, &name, "is running already");
            }
            if config.attempt <= known.config.attempt {
                let state = format!("was started before as attempt {}; expected a higher one", known.config.attempt);
                return self.wrong_state(client, &name, &state);
            }
        }
        match self.clone_container(client, config, fds.into_iter().next()) {
            Ok(container) => {
                if let Some(previous) = self.containers.insert(name, container) {
                    self.clean_up(previous);
                }
            }
            Err(failure) => self.answer(client, Answer::StartFailed(failure)),
        }
    }

    /// Removes the groups and files of an attempt that nobody will ask about again.
    pub(super) fn clean_up(&mut self, container: Container) {
        attempt::forget(&self.boot.folders.attempts(), &container.config.name, container.config.attempt);
        let cgroup = container.cgroup;
        self.work(Purpose::Forgotten, move || cgroup.remove().map_err(|error| error.to_string()));
    }

    fn clone_container(
        &self,
        client: u64,
        config: ContainerConfig,
        seccomp: Option<OwnedFd>,
    ) -> Result<Container, StartFailure> {
        let streams = |action: &str, e: io::Error| failure(StartStep::Streams, action, &e);
        let log = config.log.as_ref().map(LogFile::open).transpose();
        let log = log.map_err(|e| {
            let path = config.log.as_ref().map(|l| l.path.display().to_string()).unwrap_or_default();
            streams(&format!("opening log file {path}"), e)
        })?;
        let (ours, theirs) = pipes(&config).map_err(|e| streams("making pipes", e))?;
        let (report, reporter) = container::report_pair().map_err(|e| streams("making the report socket", e))?;
        attempt::begin(&self.boot.folders.attempts(), &config.name, config.attempt)
            .map_err(|e| streams("remembering the start", e))?;
        let cgroup = self.cgroup.child(&format!("{}.{}", config.name, config.attempt));
        let (pid, pidfd, warnings) = self.clone_into(&config, &cgroup, seccomp.as_ref(), theirs, reporter)?;
        let early = config.stdin.then(Early::default);
        let mut kept = config;
        kept.root.lower = Vec::new();
        kept.mounts = Vec::new();
        kept.masked_paths = Vec::new();
        kept.readonly_paths = Vec::new();
        Ok(Container {
            config: kept,
            phase: Phase::Starting { report, ready: false, failure: None, client },
            cgroup,
            pid,
            pidfd,
            started_at: Timestamp::now(),
            paused: false,
            asked_to_end: false,
            warnings,
            seccomp,
            status: None,
            stdin: ours.stdin,
            terminal: None,
            outputs: ours.outputs,
            log,
            copies: Vec::new(),
            early,
            removers: Vec::new(),
            removing: false,
        })
    }

    fn clone_into(
        &self,
        config: &ContainerConfig,
        cgroup: &crate::cgroup::Cgroup,
        seccomp: Option<&OwnedFd>,
        streams: Streams,
        reporter: Reporter,
    ) -> Result<(i32, OwnedFd, Vec<String>), StartFailure> {
        let mut warnings = Vec::new();
        // On v2 a child can be cloned straight into its group, which spares it a wait of the kernel's.
        let group = match cgroup.open_v2() {
            None if cgroup.is_v2() => {
                warnings = cgroup.create(&config.resources).map_err(StartFailure::from)?;
                cgroup.open_v2()
            }
            group => group,
        };
        let (member, new) = match &config.join {
            Join::Container(name) => match self.containers.get(name).filter(|c| c.runs()) {
                Some(target) => (Some(&target.pidfd), 0),
                None => {
                    let action = format!("joining the processes of container {name}: it is not running");
                    return Err(StartFailure { step: StartStep::Namespaces, action, errno: 0 });
                }
            },
            Join::Pod if self.boot.pod.host_pid => (None, 0),
            Join::Pod => match &self.pause {
                Some((_, pause)) => (Some(pause), 0),
                None => (None, libc::CLONE_NEWPID),
            },
        };
        let flags = (libc::CLONE_NEWNS | new) as u64;
        let clone = Clone3 { flags, cgroup: group.as_ref().map(AsFd::as_fd) };
        let forked = self
            .clone_among(member, &clone)
            .map_err(|e| failure(StartStep::Namespaces, "cloning into new namespaces", &e))?;
        match forked {
            Forked::Parent { pid, pidfd } => Ok((pid, pidfd, warnings)),
            Forked::Child => {
                let launch = Launch {
                    config,
                    cgroup,
                    place: &self.boot.folders.root(),
                    shm: &self.shm,
                    seccomp: seccomp.and_then(|fd| fd.try_clone().ok()),
                    in_cgroup: group.is_some(),
                };
                let Err(failure) = container::launch(&launch, streams, &reporter);
                reporter.failed(&failure);
                sys::exit_now(1)
            }
        }
    }

    pub(super) fn read_start_report(&mut self, name: &ContainerName) {
        loop {
            let Some(container) = self.containers.get_mut(name) else { return };
            let Phase::Starting { report, ready, failure, .. } = &mut container.phase else { return };
            match container::read_report(report.as_fd()) {
                None => return,
                Some(Report::Warning(text)) => container.warnings.push(text),
                Some(Report::Ready) => *ready = true,
                Some(Report::Failed(found)) => *failure = Some(found),
                Some(Report::Terminal(master)) => {
                    let copy = master.as_fd().try_clone_to_owned();
                    if let (Ok(pipe), Ok(())) = (copy, rustix::io::ioctl_fionbio(&master, true)) {
                        container.outputs.push(Output { pipe, name: "stdout", lines: Lines::default() });
                        container.terminal = Some(master);
                    }
                }
                Some(Report::End) => return self.settle_start(name),
            }
        }
    }

    /// The report socket closed: the program runs, or never will.
    fn settle_start(&mut self, name: &ContainerName) {
        let Some(container) = self.containers.get_mut(name) else { return };
        let Phase::Starting { ready, failure, client, .. } = &mut container.phase else { return };
        let (ready, failure, client) = (*ready, failure.take(), *client);
        if ready && failure.is_none() {
            container.started_at = Timestamp::now();
            container.phase = Phase::Running;
            let started = Started {
                pid: container.pid,
                started_at: container.started_at,
                warnings: std::mem::take(&mut container.warnings),
            };
            let status = container.status;
            self.answer(client, Answer::Started(started));
            if let Some(status) = status {
                self.container_ended(name, status);
            }
            return;
        }
        let failure = failure.unwrap_or_else(|| StartFailure {
            step: StartStep::Namespaces,
            action: "the starting process was killed".to_owned(),
            errno: 0,
        });
        let Some(container) = self.containers.remove(name) else { return };
        let _ = sys::signal_by_pidfd(container.pidfd.as_fd(), libc::SIGKILL);
        for remover in container.removers {
            self.answer(remover, Answer::Done);
        }
        attempt::forget(&self.boot.folders.attempts(), name, container.config.attempt);
        // Told when nothing of it is left: the client may try the same attempt again.
        let cgroup = container.cgroup;
        self.work(Purpose::StartFailed { client, failure }, move || cgroup.remove().map_err(|error| error.to_string()));
    }
}
