//! Starting a process in a running container: the supervisor's half.

use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Supervisor, end,
    handover::{Fd, Giver, Taker},
};
use crate::{
    container::{self, Enter, ProcessSpec, Report, Streams},
    pod::{
        AppArmor, Capabilities, ContainerName, ExecConfig, ProcessPolicy, Seccomp, StartFailure, StartStep,
        protocol::Answer,
    },
    sys::{self, Clone3, Forked},
};

/// A process that a client started.
#[derive(Debug)]
pub(super) struct Exec {
    client: u64,
    container: ContainerName,
    /// Until its program runs.
    pub(super) report: Option<OwnedFd>,
    ready: bool,
    failure: Option<StartFailure>,
    terminal: Option<OwnedFd>,
    started_at: Timestamp,
    /// Wait status, if it ended before its report was read.
    status: Option<i32>,
    handle: OwnedFd,
}

/// The same as it is handed over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecRecord {
    client: u64,
    container: ContainerName,
    report: Option<Fd>,
    ready: bool,
    failure: Option<StartFailure>,
    terminal: Option<Fd>,
    started_at: Timestamp,
    status: Option<i32>,
    handle: Fd,
}

impl Exec {
    pub(super) fn give(&self, giver: &mut Giver) -> ExecRecord {
        ExecRecord {
            client: self.client,
            container: self.container.clone(),
            report: giver.option(self.report.as_ref()),
            ready: self.ready,
            failure: self.failure.clone(),
            terminal: giver.option(self.terminal.as_ref()),
            started_at: self.started_at,
            status: self.status,
            handle: giver.fd(&self.handle),
        }
    }

    pub(super) fn take(record: ExecRecord, taker: &mut Taker) -> std::io::Result<Self> {
        Ok(Self {
            client: record.client,
            container: record.container,
            report: taker.option(record.report)?,
            ready: record.ready,
            failure: record.failure,
            terminal: taker.option(record.terminal)?,
            started_at: record.started_at,
            status: record.status,
            handle: taker.fd(record.handle)?,
        })
    }
}

/// Sorts what the client sent: stdin if it was asked for, then stdout and stderr.
fn streams(config: &ExecConfig, fds: Vec<OwnedFd>) -> Streams {
    let mut fds = fds.into_iter();
    if config.terminal.is_some() {
        return Streams::default();
    }
    let stdin = if config.stdin { fds.next() } else { None };
    Streams { stdin, stdout: fds.next(), stderr: fds.next() }
}

impl Supervisor {
    pub(super) fn exec(&mut self, client: u64, name: ContainerName, config: ExecConfig, fds: Vec<OwnedFd>) {
        match self.containers.get(&name) {
            Some(container) if container.runs() && container.paused => {
                return self.wrong_state(client, &name, "is paused; resume it first");
            }
            Some(container) if container.runs() => {}
            _ => return self.wrong_state(client, &name, "is not running"),
        }
        match self.clone_exec(client, &name, &config, streams(&config, fds)) {
            Ok((pid, exec)) => {
                self.execs.insert(pid, exec);
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let action = "cloning into the container's namespaces".to_owned();
                self.answer(client, Answer::StartFailed(StartFailure { step: StartStep::Namespaces, action, errno }));
            }
        }
    }

    fn clone_exec(
        &self,
        client: u64,
        name: &ContainerName,
        config: &ExecConfig,
        streams: Streams,
    ) -> std::io::Result<(i32, Exec)> {
        let Some(target) = self.containers.get(name) else { return Err(std::io::ErrorKind::NotFound.into()) };
        let (report, reporter) = container::report_pair()?;
        // With the host's processes there is nothing to join; the clone still belongs to the container's group.
        let member = if self.boot.pod.host_pid { None } else { Some(&target.pidfd) };
        match self.clone_among(member, &Clone3::default())? {
            Forked::Parent { pid, pidfd } => Ok((
                pid,
                Exec {
                    client,
                    container: name.clone(),
                    report: Some(report),
                    ready: false,
                    failure: None,
                    terminal: None,
                    started_at: Timestamp::now(),
                    status: None,
                    handle: pidfd,
                },
            )),
            Forked::Child => {
                let privileged = ProcessPolicy {
                    capabilities: Capabilities::ALL,
                    seccomp: Seccomp::Unconfined,
                    apparmor: AppArmor::Unconfined,
                    ..target.config.policy.clone()
                };
                let mut env = target.config.env.clone();
                env.extend(config.env.iter().cloned());
                if config.terminal.is_some() && !env.iter().any(|pair| pair.starts_with("TERM=")) {
                    env.push("TERM=xterm".to_owned());
                }
                let wanted = Enter {
                    container: target.pidfd.as_fd(),
                    cgroup: &target.cgroup,
                    oom_score_adj: target.config.oom_score_adj,
                    spec: ProcessSpec {
                        args: &config.args,
                        env,
                        cwd: config.cwd.as_deref().unwrap_or(&target.config.cwd),
                        user: config.user.as_ref().unwrap_or(&target.config.user),
                        policy: if config.privileged { &privileged } else { &target.config.policy },
                        seccomp: target.seccomp.as_ref().filter(|_| !config.privileged).map(AsFd::as_fd),
                        terminal: config.terminal,
                    },
                };
                let Err(failure) = container::enter(&wanted, streams, &reporter);
                reporter.failed(&failure);
                sys::exit_now(1)
            }
        }
    }

    pub(super) fn read_exec_report(&mut self, pid: i32) {
        loop {
            let Some(exec) = self.execs.get_mut(&pid) else { return };
            let Some(report) = &exec.report else { return };
            match container::read_report(report.as_fd()) {
                None => return,
                // The container's start told the same.
                Some(Report::Warning(_)) => {}
                Some(Report::Ready) => exec.ready = true,
                Some(Report::Failed(failure)) => exec.failure = Some(failure),
                Some(Report::Terminal(master)) => exec.terminal = Some(master),
                Some(Report::End) => {
                    exec.report = None;
                    return self.settle_exec(pid);
                }
            }
        }
    }

    fn settle_exec(&mut self, pid: i32) {
        let Some(exec) = self.execs.get_mut(&pid) else { return };
        let client = exec.client;
        if exec.ready && exec.failure.is_none() {
            exec.started_at = Timestamp::now();
            let (terminal, status) = (exec.terminal.take(), exec.status);
            self.answer_with(client, Answer::Executing { pid }, terminal);
            if let Some(status) = status {
                self.exec_ended(pid, status);
            }
            return;
        }
        let failure = exec.failure.take().unwrap_or_else(|| StartFailure {
            step: StartStep::Namespaces,
            action: "the starting process was killed".to_owned(),
            errno: 0,
        });
        self.execs.remove(&pid);
        self.answer(client, Answer::StartFailed(failure));
    }

    /// `true` when the process was one of ours.
    pub(super) fn exec_ended(&mut self, pid: i32, status: i32) -> bool {
        let Some(exec) = self.execs.get_mut(&pid) else { return false };
        if exec.report.is_some() {
            // Its report may still hold why it failed.
            exec.status = Some(status);
            self.read_exec_report(pid);
            return true;
        }
        if let Some(exec) = self.execs.remove(&pid) {
            let oom = self.containers.get(&exec.container).is_some_and(|c| end::by_memory(&c.cgroup, status));
            self.answer(exec.client, Answer::Ended(end::exit(status, oom, exec.started_at)));
        }
        true
    }
}
