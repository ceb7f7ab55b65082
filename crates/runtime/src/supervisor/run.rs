//! The loop: whatever is ready gets its turn.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    connection::{Connection, Role},
    container::{Container, Phase},
    exec::Exec,
    handover::Renewal,
    job::Job,
    power::PowerOff,
};
use crate::{
    cgroup::Cgroup,
    pod::{
        ContainerName, ContainerRecord, PodCreated,
        protocol::{Answer, Boot, State, ToSupervisor, VERSION},
    },
    sys::{self, Clone3, Forked, SignalQueue},
};

/// Everything a supervisor knows.
pub(super) struct Supervisor {
    pub(super) boot: Boot,
    pub(super) created: PodCreated,
    pub(super) cgroup: Cgroup,
    pub(super) shm: PathBuf,
    /// Held as long as this process lives.
    pub(super) lock: File,
    signals: SignalQueue,
    pub(super) listener: UnixListener,
    pub(super) own_processes: OwnedFd,
    /// Process 1 of the shared process namespace.
    pub(super) pause: Option<(i32, OwnedFd)>,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) next_connection: u64,
    pub(super) containers: BTreeMap<ContainerName, Container>,
    pub(super) execs: BTreeMap<i32, Exec>,
    pub(super) jobs: Vec<Job>,
    pub(super) destroyers: Vec<u64>,
    /// A program that takes this one's place at the end of the turn.
    pub(super) renewal: Option<Renewal>,
    /// Set when the machine goes down.
    pub(super) power_off: Option<PowerOff>,
    /// Set when the pod is removed (or the machine goes down) and the last answers may go out.
    pub(super) finished: bool,
    pub(super) buffer: Box<[u8]>,
}

/// What a polled descriptor belongs to.
enum Ready {
    Signals,
    Listener,
    Connection(u64),
    Report(ContainerName),
    Output(ContainerName, usize),
    ExecReport(i32),
    Job(usize),
}

impl Supervisor {
    #[allow(clippy::too_many_arguments)] // Called once, with everything that boot has made.
    pub(super) fn new(
        boot: Boot,
        created: PodCreated,
        cgroup: Cgroup,
        shm: PathBuf,
        lock: File,
        signals: SignalQueue,
        listener: UnixListener,
        own_processes: OwnedFd,
        pause: Option<(i32, OwnedFd)>,
    ) -> Self {
        Self {
            boot,
            created,
            cgroup,
            shm,
            lock,
            signals,
            listener,
            own_processes,
            pause,
            connections: BTreeMap::new(),
            next_connection: 1,
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            jobs: Vec::new(),
            destroyers: Vec::new(),
            renewal: None,
            power_off: None,
            finished: false,
            buffer: vec![0; 16 * 1024].into_boxed_slice(),
        }
    }

    /// Runs until the pod is destroyed or the machine goes down.
    pub(super) fn run(mut self) -> ! {
        loop {
            for ready in self.wait() {
                self.serve(ready);
            }
            self.continue_power_off();
            self.close_connections();
            self.continue_renewal();
            if self.may_exit() {
                std::process::exit(0);
            }
        }
    }

    fn wait(&self) -> Vec<Ready> {
        let mut what = vec![Ready::Signals, Ready::Listener];
        let input = PollFlags::IN;
        let mut fds = vec![PollFd::new(&self.signals, input), PollFd::new(&self.listener, input)];
        for (id, connection) in &self.connections {
            let flags = if connection.wants_to_write() { input | PollFlags::OUT } else { input };
            what.push(Ready::Connection(*id));
            fds.push(PollFd::new(connection, flags));
        }
        for (name, container) in &self.containers {
            if let Phase::Starting { report, .. } = &container.phase {
                what.push(Ready::Report(name.clone()));
                fds.push(PollFd::new(report, input));
            }
            for (index, output) in container.outputs.iter().enumerate().rev() {
                what.push(Ready::Output(name.clone(), index));
                fds.push(PollFd::new(&output.pipe, input));
            }
        }
        for (pid, exec) in &self.execs {
            if let Some(report) = &exec.report {
                what.push(Ready::ExecReport(*pid));
                fds.push(PollFd::new(report, input));
            }
        }
        for (index, job) in self.jobs.iter().enumerate().rev() {
            what.push(Ready::Job(index));
            fds.push(PollFd::new(job, input));
        }
        // Interrupted or failed: an empty turn, then again.
        let remaining = self.power_off.as_ref().and_then(|power_off| power_off.remaining(Instant::now()));
        let timeout = remaining.and_then(|left| Timespec::try_from(left).ok());
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>();
        drop(fds);
        what.into_iter().zip(ready).filter_map(|(what, ready)| ready.then_some(what)).collect()
    }

    fn serve(&mut self, ready: Ready) {
        match ready {
            Ready::Signals => {
                // INT and HUP are a terminal's, which is none of ours. A pod ends by request.
                let machine_goes_down = self.signals.drain().contains(&libc::SIGTERM);
                while let Some((pid, status)) = sys::reap() {
                    self.ended(pid, status);
                }
                if machine_goes_down {
                    self.power_off();
                }
            }
            Ready::Listener => {
                while let Ok((stream, _)) = self.listener.accept() {
                    if let Some(connection) = Connection::accept(stream) {
                        self.connections.insert(self.next_connection, connection);
                        self.next_connection += 1;
                    }
                }
            }
            Ready::Connection(id) => self.converse(id),
            Ready::Report(name) => self.read_start_report(&name),
            Ready::Output(name, index) => {
                if let Some(container) = self.containers.get_mut(&name) {
                    container.copy(index, &mut self.buffer, false);
                }
            }
            Ready::ExecReport(pid) => self.read_exec_report(pid),
            Ready::Job(index) => {
                if let Some(result) = self.jobs.get_mut(index).and_then(Job::poll) {
                    let job = self.jobs.swap_remove(index);
                    self.job_done(job.purpose, result);
                }
            }
        }
    }

    fn converse(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.flush();
        for body in connection.read() {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let fds = connection.take_fds();
            match serde_json::from_slice::<ToSupervisor>(&body) {
                Ok(message) if message.v <= VERSION => self.request(id, message.request, fds),
                Ok(_) => connection.answer(Answer::Version, None),
                Err(error) => connection.answer(Answer::Failed(format!("request not understood: {error}")), None),
            }
        }
    }

    /// Tells one client, if it is still there.
    pub(super) fn answer(&mut self, client: u64, answer: Answer) {
        self.answer_with(client, answer, None);
    }

    pub(super) fn answer_with(&mut self, client: u64, answer: Answer, fd: Option<OwnedFd>) {
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.answer(answer, fd);
        }
    }

    pub(super) fn subscribers(&self) -> Vec<u64> {
        self.connections.iter().filter(|(_, c)| c.role == Role::Subscriber).map(|(id, _)| *id).collect()
    }

    fn close_connections(&mut self) {
        let over: Vec<u64> = self.connections.iter().filter(|(_, c)| c.over).map(|(id, _)| *id).collect();
        for id in over {
            let Some(connection) = self.connections.remove(&id) else { continue };
            let Role::Attached(name) = connection.role else { continue };
            if let Some(container) = self.containers.get_mut(&name) {
                container.copies.retain(|copy| copy.client != id);
                if container.config.stdin_once {
                    container.stdin = None;
                }
            }
        }
    }

    pub(super) fn state(&self) -> State {
        let record = |c: &Container| ContainerRecord { attempt: c.config.attempt, state: c.state() };
        State {
            created: self.created.clone(),
            containers: self.containers.iter().map(|(name, c)| (name.clone(), record(c))).collect(),
        }
    }
}

impl Supervisor {
    /// Clones a child that lives in the process namespace of `member`, if there is one.
    pub(super) fn clone_among(&self, member: Option<&OwnedFd>, clone: &Clone3<'_>) -> io::Result<Forked> {
        let Some(member) = member else { return sys::clone3(clone) };
        // Tells where new children go; this process stays where it is.
        sys::join_by_pidfd(member.as_fd(), libc::CLONE_NEWPID)?;
        let forked = sys::clone3(clone);
        if !matches!(forked, Ok(Forked::Child)) {
            // Back to our own: permitted to everyone, so that only a broken kernel refuses it.
            sys::join_by_file(self.own_processes.as_fd(), libc::CLONE_NEWPID)?;
        }
        forked
    }
}
