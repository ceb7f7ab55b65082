//! What each request does.

use std::os::fd::{AsFd, OwnedFd};

use super::{
    Supervisor,
    connection::Role,
    container::{Copy, Phase},
    diary::note,
    job::{Job, Purpose},
};
use crate::pod::{
    ContainerName,
    protocol::{Answer, Request},
};

impl Supervisor {
    pub(super) fn request(&mut self, client: u64, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Start(config) => self.start(client, *config, fds),
            Request::Exec { container, config } => self.exec(client, container, *config, fds),
            Request::Attach { container } => self.attach(client, container, fds),
            Request::CloseStdin => {
                if let Some(Role::Attached(name)) = self.connections.get(&client).map(|c| &c.role)
                    && let Some(container) = self.containers.get_mut(name)
                    && container.config.stdin_once
                {
                    container.stdin = None;
                }
            }
            Request::Signal { container, signal } => {
                self.remember_signal(&container, signal);
                let paused = self.containers.get(&container).is_some_and(|c| c.paused);
                let done = self.containers.get_mut(&container).map_or(Ok(()), |c| c.signal(signal));
                if paused && signal == libc::SIGKILL {
                    self.thaw(&container);
                }
                let answer = match done {
                    Ok(()) => Answer::Done,
                    Err(error) => Answer::Failed(format!("sending signal {signal}: {error}")),
                };
                self.answer(client, answer);
            }
            Request::Kill { container } => {
                self.kill(&container);
                self.answer(client, Answer::Done);
            }
            Request::Freeze { container, frozen } => self.freeze(client, container, frozen),
            Request::Update { container, resources } => {
                let Some(cgroup) = self.running(client, &container) else { return };
                self.work(Purpose::Answered { client }, move || match cgroup.limit(&resources) {
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("{error}: {}", error.source)),
                });
            }
            Request::Remove { container } => self.remove(client, &container),
            Request::State => self.answer(client, Answer::State(self.state())),
            Request::Subscribe => {
                self.answer(client, Answer::State(self.state()));
                if let Some(connection) = self.connections.get_mut(&client) {
                    connection.role = Role::Subscriber;
                }
            }
            Request::Renew { program, args } => self.renew(client, program, args),
            Request::Destroy => self.destroy(client),
        }
    }

    /// The group of a running container; otherwise the client is told what the container is.
    fn running(&mut self, client: u64, name: &ContainerName) -> Option<crate::cgroup::Cgroup> {
        match self.containers.get(name) {
            Some(container) if container.runs() => Some(container.cgroup.clone()),
            _ => {
                self.wrong_state(client, name, "is not running");
                None
            }
        }
    }

    pub(super) fn wrong_state(&mut self, client: u64, name: &ContainerName, state: &str) {
        self.answer(client, Answer::WrongState { container: name.clone(), state: state.to_owned() });
    }

    /// Starts a job, or tells whoever waits that it cannot be.
    pub(super) fn work(&mut self, purpose: Purpose, work: impl FnOnce() -> Result<(), String>) {
        match Job::spawn(purpose, work) {
            Ok(job) => self.jobs.push(job),
            Err(error) => note(format_args!("starting a helper: {error}")),
        }
    }

    fn attach(&mut self, client: u64, name: ContainerName, fds: Vec<OwnedFd>) {
        let Some(container) = self.containers.get_mut(&name).filter(|c| c.runs()) else {
            return self.wrong_state(client, &name, "is not running");
        };
        let answer = Answer::Attached { terminal: container.terminal.is_some() };
        match container.way_in() {
            Ok(way_in) => {
                container.attach(Copy::new(client, fds));
                self.answer_with(client, answer, way_in);
                if let Some(connection) = self.connections.get_mut(&client) {
                    connection.role = Role::Attached(name);
                }
            }
            Err(error) => self.answer(client, Answer::Failed(format!("attaching: {error}"))),
        }
    }

    fn freeze(&mut self, client: u64, name: ContainerName, frozen: bool) {
        let Some(cgroup) = self.running(client, &name) else { return };
        self.work(Purpose::Frozen { container: name, frozen, client }, move || {
            cgroup.freeze(frozen).map_err(|error| format!("{error}: {}", error.source))
        });
    }

    pub(super) fn thaw(&mut self, name: &ContainerName) {
        if let Some(container) = self.containers.get_mut(name) {
            container.paused = false;
            let cgroup = container.cgroup.clone();
            self.work(Purpose::Forgotten, move || cgroup.freeze(false).map_err(|error| error.to_string()));
        }
    }

    /// Kills every process of a container.
    pub(super) fn kill(&mut self, name: &ContainerName) {
        let Some(container) = self.containers.get_mut(name) else { return };
        if matches!(container.phase, Phase::Ended(_)) {
            return;
        }
        // The first one by its handle: while it starts, it may not be in its group yet.
        let _ = crate::sys::signal_by_pidfd(container.pidfd.as_fd(), libc::SIGKILL);
        container.cgroup.kill();
        container.paused = false;
    }

    fn remove(&mut self, client: u64, name: &ContainerName) {
        let Some(container) = self.containers.get_mut(name) else {
            return self.answer(client, Answer::Done);
        };
        container.removers.push(client);
        if matches!(container.phase, Phase::Ended(_)) {
            self.remove_ended(name);
        } else {
            self.kill(name);
        }
    }

    /// The daemon is told when nothing of the pod is left but this process.
    fn destroy(&mut self, client: u64) {
        self.destroyers.push(client);
        if self.destroyers.len() > 1 {
            return;
        }
        let names: Vec<_> = self.containers.keys().cloned().collect();
        for name in names {
            self.kill(&name);
        }
        if let Some((_, pause)) = &self.pause {
            let _ = crate::sys::signal_by_pidfd(pause.as_fd(), libc::SIGKILL);
        }
        let (cgroup, shm) = (self.cgroup.clone(), self.boot.folders.shm());
        self.work(Purpose::Destroyed, move || {
            let _ = crate::sys::unmount(&shm, libc::MNT_DETACH);
            cgroup.remove().map_err(|error| format!("{error}: {}", error.source))
        });
    }
}
