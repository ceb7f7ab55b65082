//! What the supervisor keeps of one container, and the copying of its output.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    handover::{Bytes, Fd, Giver, Taker},
    log::{Lines, LogFile, LogRecord},
};
use crate::{
    cgroup::Cgroup,
    pod::{ContainerConfig, ContainerState, Exit, StartFailure},
};

/// Read from one pipe before others get their turn.
const TURN: usize = 64 * 1024;

/// Where a container stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its child sets up. Next: `Running`, or gone from the table.
    Starting { report: OwnedFd, ready: bool, failure: Option<StartFailure>, client: u64 },
    /// Its program runs. Next: `Ending`.
    Running,
    /// It ended; its end is being written down. Next: `Ended`.
    Ending,
    /// Its end is on disk and its log complete.
    Ended(Exit),
}

/// One output stream.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) pipe: OwnedFd,
    pub(super) name: &'static str,
    pub(super) lines: Lines,
}

/// A client that gets a copy of the output.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) client: u64,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// What a container with an open stdin wrote before anybody attached. Whoever starts one to talk to it comes a moment
/// after its first words (a prompt, or all that a short program has to say) and is given them first.
#[derive(Debug, Default)]
pub(super) struct Early {
    chunks: VecDeque<(&'static str, Vec<u8>)>,
    size: usize,
}

impl Early {
    /// Kept at most; then the oldest goes.
    const MOST: usize = 64 * 1024;
    /// Somebody who attaches later did not wait for the first words.
    const AGE: SignedDuration = SignedDuration::from_secs(60);

    fn push(&mut self, stream: &'static str, chunk: &[u8]) {
        self.size += chunk.len();
        self.chunks.push_back((stream, chunk.to_vec()));
        while self.size > Self::MOST
            && let Some((_, oldest)) = self.chunks.pop_front()
        {
            self.size -= oldest.len();
        }
    }
}

#[derive(Debug)]
pub(super) struct Container {
    /// As it was started; what is no longer needed is emptied.
    pub(super) config: ContainerConfig,
    pub(super) phase: Phase,
    pub(super) cgroup: Cgroup,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) started_at: Timestamp,
    pub(super) paused: bool,
    /// A client sent what asks it to end.
    pub(super) asked_to_end: bool,
    pub(super) warnings: Vec<String>,
    pub(super) seccomp: Option<OwnedFd>,
    /// Wait status, once it ended.
    pub(super) status: Option<i32>,
    /// The way to its stdin.
    pub(super) stdin: Option<OwnedFd>,
    /// Its terminal.
    pub(super) terminal: Option<OwnedFd>,
    pub(super) outputs: Vec<Output>,
    pub(super) log: Option<LogFile>,
    pub(super) copies: Vec<Copy>,
    /// Until somebody attaches.
    pub(super) early: Option<Early>,
    /// Clients that wait for its removal.
    pub(super) removers: Vec<u64>,
    pub(super) removing: bool,
}

impl Copy {
    /// From what the client sent: stdout, then stderr.
    pub(super) fn new(client: u64, fds: Vec<OwnedFd>) -> Self {
        let mut fds = fds.into_iter();
        let mut next = || fds.next().filter(|fd| rustix::io::ioctl_fionbio(fd, true).is_ok());
        Self { client, stdout: next(), stderr: next() }
    }

    /// `false` when the client reads too slowly or is gone.
    fn write(&self, stream: &str, chunk: &[u8]) -> bool {
        let pipe = if stream == "stderr" { &self.stderr } else { &self.stdout };
        match pipe {
            None => true,
            Some(pipe) => matches!(rustix::io::write(pipe, chunk), Ok(written) if written == chunk.len()),
        }
    }
}

impl Container {
    pub(super) fn state(&self) -> ContainerState {
        match &self.phase {
            Phase::Starting { .. } => ContainerState::Starting,
            Phase::Running | Phase::Ending => {
                ContainerState::Running { pid: self.pid, started_at: self.started_at, paused: self.paused }
            }
            Phase::Ended(exit) => ContainerState::Exited { exit: exit.clone() },
        }
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Copies what one stream has to the log and to attached clients. `all`: until it is empty, else one turn.
    pub(super) fn copy(&mut self, index: usize, buffer: &mut [u8], all: bool) {
        let mut entries = Vec::new();
        let mut ended = false;
        let mut turn = 0;
        let Some(output) = self.outputs.get_mut(index) else { return };
        while all || turn < TURN {
            match rustix::io::read(&output.pipe, &mut *buffer) {
                Ok(0) => ended = true,
                Ok(read) => {
                    turn += read;
                    let chunk = &buffer[..read];
                    if let Some(log) = &mut self.log {
                        output.lines.push(chunk, output.name, Timestamp::now(), &mut entries);
                        log.write(&entries);
                        entries.clear();
                    }
                    let name = output.name;
                    if let Some(early) = &mut self.early {
                        early.push(name, chunk);
                    }
                    self.copies.retain(|copy| copy.write(name, chunk));
                    if read < buffer.len() && !all {
                        break;
                    }
                    continue;
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => {}
                // A terminal whose last user is gone says EIO.
                Err(_) => ended = true,
            }
            break;
        }
        self.forget_early();
        if ended {
            let mut output = self.outputs.remove(index);
            output.lines.finish(output.name, Timestamp::now(), &mut entries);
            if let Some(log) = self.log.as_mut().filter(|_| !entries.is_empty()) {
                log.write(&entries);
            }
        }
    }

    /// Adds a client, which first gets what was said before anybody listened.
    pub(super) fn attach(&mut self, copy: Copy) {
        self.forget_early();
        let early = self.early.take().unwrap_or_default();
        if early.chunks.iter().all(|(stream, chunk)| copy.write(stream, chunk)) {
            self.copies.push(copy);
        }
    }

    fn forget_early(&mut self) {
        if Timestamp::now().duration_since(self.started_at) > Early::AGE {
            self.early = None;
        }
    }

    /// Empties and closes every stream: nothing more can come.
    pub(super) fn finish_output(&mut self, buffer: &mut [u8]) {
        for index in (0..self.outputs.len()).rev() {
            self.copy(index, buffer, true);
        }
        for mut output in std::mem::take(&mut self.outputs) {
            let mut entries = Vec::new();
            output.lines.finish(output.name, Timestamp::now(), &mut entries);
            if let Some(log) = self.log.as_mut().filter(|_| !entries.is_empty()) {
                log.write(&entries);
            }
        }
        self.log = None;
        self.stdin = None;
        self.terminal = None;
        self.copies.clear();
    }

    /// A descriptor for an attached client to write to.
    pub(super) fn way_in(&self) -> io::Result<Option<OwnedFd>> {
        let fd = self.terminal.as_ref().or(self.stdin.as_ref());
        fd.map(|fd| fd.as_fd().try_clone_to_owned()).transpose()
    }

    /// Sends a signal to the first process. It ends frozen processes only when thawed, which KILL therefore does.
    pub(super) fn signal(&mut self, signal: i32) -> io::Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        match crate::sys::signal_by_pidfd(self.pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => sent,
        }
    }
}

/// A container as it is handed over. Its group follows from its name and attempt.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerRecord {
    config: ContainerConfig,
    phase: PhaseRecord,
    pid: i32,
    pidfd: Fd,
    started_at: Timestamp,
    paused: bool,
    asked_to_end: bool,
    warnings: Vec<String>,
    seccomp: Option<Fd>,
    status: Option<i32>,
    stdin: Option<Fd>,
    terminal: Option<Fd>,
    outputs: Vec<OutputRecord>,
    log: Option<LogRecord>,
    copies: Vec<CopyRecord>,
    early: Option<Vec<(String, Bytes)>>,
    removers: Vec<u64>,
    removing: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum PhaseRecord {
    Starting { report: Fd, ready: bool, failure: Option<StartFailure>, client: u64 },
    Running,
    Ending,
    Ended(Exit),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutputRecord {
    pipe: Fd,
    name: String,
    line: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CopyRecord {
    client: u64,
    stdout: Option<Fd>,
    stderr: Option<Fd>,
}

/// The stream of this name.
fn stream(name: &str) -> &'static str {
    if name == "stderr" { "stderr" } else { "stdout" }
}

impl ContainerRecord {
    pub(super) fn attempt(&self) -> u32 {
        self.config.attempt
    }
}

impl Phase {
    fn give(&self, giver: &mut Giver) -> PhaseRecord {
        match self {
            Self::Starting { report, ready, failure, client } => PhaseRecord::Starting {
                report: giver.fd(report),
                ready: *ready,
                failure: failure.clone(),
                client: *client,
            },
            Self::Running => PhaseRecord::Running,
            Self::Ending => PhaseRecord::Ending,
            Self::Ended(exit) => PhaseRecord::Ended(exit.clone()),
        }
    }

    fn take(record: PhaseRecord, taker: &mut Taker) -> io::Result<Self> {
        Ok(match record {
            PhaseRecord::Starting { report, ready, failure, client } => {
                Self::Starting { report: taker.fd(report)?, ready, failure, client }
            }
            PhaseRecord::Running => Self::Running,
            PhaseRecord::Ending => Self::Ending,
            PhaseRecord::Ended(exit) => Self::Ended(exit),
        })
    }
}

impl Early {
    fn give(&self) -> Vec<(String, Bytes)> {
        self.chunks.iter().map(|(name, chunk)| ((*name).to_owned(), Bytes(chunk.clone()))).collect()
    }

    fn take(record: Vec<(String, Bytes)>) -> Self {
        let mut early = Self::default();
        for (name, chunk) in record {
            early.push(stream(&name), &chunk.0);
        }
        early
    }
}

impl Container {
    pub(super) fn give(&self, giver: &mut Giver) -> ContainerRecord {
        let output = |output: &Output, giver: &mut Giver| OutputRecord {
            pipe: giver.fd(&output.pipe),
            name: output.name.to_owned(),
            line: output.lines.give(),
        };
        let copy = |copy: &Copy, giver: &mut Giver| CopyRecord {
            client: copy.client,
            stdout: giver.option(copy.stdout.as_ref()),
            stderr: giver.option(copy.stderr.as_ref()),
        };
        ContainerRecord {
            config: self.config.clone(),
            phase: self.phase.give(giver),
            pid: self.pid,
            pidfd: giver.fd(&self.pidfd),
            started_at: self.started_at,
            paused: self.paused,
            asked_to_end: self.asked_to_end,
            warnings: self.warnings.clone(),
            seccomp: giver.option(self.seccomp.as_ref()),
            status: self.status,
            stdin: giver.option(self.stdin.as_ref()),
            terminal: giver.option(self.terminal.as_ref()),
            outputs: self.outputs.iter().map(|one| output(one, giver)).collect(),
            log: self.log.as_ref().map(|log| log.give(giver)),
            copies: self.copies.iter().map(|one| copy(one, giver)).collect(),
            early: self.early.as_ref().map(Early::give),
            removers: self.removers.clone(),
            removing: self.removing,
        }
    }

    pub(super) fn take(record: ContainerRecord, cgroup: Cgroup, taker: &mut Taker) -> io::Result<Self> {
        let mut outputs = Vec::new();
        for output in record.outputs {
            let (pipe, name, lines) = (taker.fd(output.pipe)?, stream(&output.name), Lines::take(output.line));
            outputs.push(Output { pipe, name, lines });
        }
        let mut copies = Vec::new();
        for copy in record.copies {
            let (stdout, stderr) = (taker.option(copy.stdout)?, taker.option(copy.stderr)?);
            copies.push(Copy { client: copy.client, stdout, stderr });
        }
        Ok(Self {
            config: record.config,
            phase: Phase::take(record.phase, taker)?,
            cgroup,
            pid: record.pid,
            pidfd: taker.fd(record.pidfd)?,
            started_at: record.started_at,
            paused: record.paused,
            asked_to_end: record.asked_to_end,
            warnings: record.warnings,
            seccomp: taker.option(record.seccomp)?,
            status: record.status,
            stdin: taker.option(record.stdin)?,
            terminal: taker.option(record.terminal)?,
            outputs,
            log: record.log.map(|log| LogFile::take(log, taker)).transpose()?,
            copies,
            early: record.early.map(Early::take),
            removers: record.removers,
            removing: record.removing,
        })
    }
}
