//! The end of containers, and what follows each finished job.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{Supervisor, attempt, connection::Role, container::Phase, diary::note, handover::Renewal, job::Purpose};
use crate::{
    cgroup::Cgroup,
    pod::{ContainerName, Exit, protocol::Answer},
};

/// From a wait status.
pub(super) fn exit(status: i32, oom: bool, started_at: Timestamp) -> Exit {
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    let code = signal.map_or_else(|| libc::WEXITSTATUS(status), |signal| 128 + signal);
    Exit { code, signal, oom, started_at, finished_at: Timestamp::now() }
}

/// Whether memory was the reason: the kernel killed in this group, and this process ended as by KILL (itself, or a shell
/// that passes on how its child ended).
pub(super) fn by_memory(cgroup: &Cgroup, status: i32) -> bool {
    let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
    let passed_on = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 128 + libc::SIGKILL;
    (killed || passed_on) && cgroup.oom_kills() > 0
}

/// Kills what a container left in a process namespace that outlives it, and waits until it is gone, so that its output is
/// complete.
fn kill_left(cgroup: &Cgroup) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !cgroup.processes().is_empty() && Instant::now() < deadline {
        cgroup.kill();
        thread::sleep(Duration::from_millis(2));
    }
}

impl Supervisor {
    /// A child ended.
    pub(super) fn ended(&mut self, pid: i32, status: i32) {
        if self.exec_ended(pid, status) {
            return;
        }
        let Some(name) = self.containers.iter().find(|(_, c)| c.pid == pid).map(|(name, _)| name.clone()) else {
            return;
        };
        let Some(container) = self.containers.get_mut(&name) else { return };
        container.status = Some(status);
        match container.phase {
            Phase::Starting { .. } => self.read_start_report(&name),
            _ => self.container_ended(&name, status),
        }
    }

    /// Its first process ended: writes that down.
    pub(super) fn container_ended(&mut self, name: &ContainerName, status: i32) {
        let folder = self.boot.folders.attempts();
        let Some(container) = self.containers.get_mut(name).filter(|c| c.runs()) else { return };
        container.phase = Phase::Ending;
        let exit = exit(status, by_memory(&container.cgroup, status), container.started_at);
        let (cgroup, attempt) = (container.cgroup.clone(), container.config.attempt);
        let purpose = Purpose::Ended { container: name.clone(), exit: exit.clone() };
        let name = name.clone();
        self.work(purpose, move || {
            kill_left(&cgroup);
            attempt::end(&folder, &name, attempt, &exit).map_err(|error| error.to_string())
        });
    }

    pub(super) fn job_done(&mut self, purpose: Purpose, result: Result<(), String>) {
        let as_answer = |result: Result<(), String>| result.map_or_else(Answer::Failed, |()| Answer::Done);
        match purpose {
            Purpose::Ended { container, exit } => {
                if let Err(error) = result {
                    note(format_args!("remembering the end of {container}: {error}"));
                }
                self.tell_end(&container, exit);
            }
            Purpose::Removed { container } => {
                let removers = self.containers.remove(&container).map(|c| c.removers).unwrap_or_default();
                for client in removers {
                    self.answer(client, as_answer(result.clone()));
                }
            }
            Purpose::Frozen { container, frozen, client } => {
                if let (Ok(()), Some(container)) = (&result, self.containers.get_mut(&container)) {
                    container.paused = frozen;
                }
                self.answer(client, as_answer(result));
            }
            Purpose::Answered { client } => self.answer(client, as_answer(result)),
            Purpose::Destroyed => self.destroyed(result),
            Purpose::Renewed { client, program, args } => self.tried(Renewal { client, program, args }, result),
            Purpose::StartFailed { client, failure } => {
                if let Err(error) = result {
                    note(format_args!("removing a failed start: {error}"));
                }
                self.answer(client, Answer::StartFailed(failure));
            }
            Purpose::Forgotten => {
                if let Err(error) = result {
                    note(format_args!("cleaning up: {error}"));
                }
            }
        }
    }

    /// The end is on disk: completes the log, then tells everyone.
    fn tell_end(&mut self, name: &ContainerName, exit: Exit) {
        let Some(container) = self.containers.get_mut(name) else { return };
        container.finish_output(&mut self.buffer);
        container.phase = Phase::Ended(exit.clone());
        container.seccomp = None;
        let attempt = container.config.attempt;
        let remove = !container.removers.is_empty();
        for client in self.subscribers() {
            let event = Answer::Event { container: name.clone(), attempt, exit: exit.clone() };
            self.answer(client, event);
        }
        let attached = |role: &Role| matches!(role, Role::Attached(to) if to == name);
        let attached: Vec<u64> =
            self.connections.iter().filter(|(_, c)| attached(&c.role)).map(|(id, _)| *id).collect();
        for client in attached {
            self.answer(client, Answer::Ended(exit.clone()));
        }
        if remove {
            self.remove_ended(name);
        }
        crate::sys::trim_heap();
    }

    pub(super) fn remove_ended(&mut self, name: &ContainerName) {
        let folder = self.boot.folders.attempts();
        let Some(container) = self.containers.get_mut(name).filter(|c| !c.removing) else { return };
        container.removing = true;
        let (cgroup, attempt, name) = (container.cgroup.clone(), container.config.attempt, name.clone());
        self.work(Purpose::Removed { container: name.clone() }, move || {
            attempt::forget(&folder, &name, attempt);
            cgroup.remove().map_err(|error| format!("{error}: {}", error.source))
        });
    }

    /// Last words. Whatever output is left goes to its log first.
    fn destroyed(&mut self, result: Result<(), String>) {
        let answer = result.map_or_else(Answer::Failed, |()| Answer::Done);
        for container in self.containers.values_mut() {
            container.finish_output(&mut self.buffer);
        }
        if matches!(answer, Answer::Done) {
            let _ = std::fs::remove_file(self.boot.folders.socket());
            self.finished = true;
        }
        for client in std::mem::take(&mut self.destroyers) {
            let again = match &answer {
                Answer::Failed(text) => Answer::Failed(text.clone()),
                _ => Answer::Done,
            };
            self.answer(client, again);
        }
    }
}
