//! The machine goes down: that is what SIGTERM means to a supervisor.
//!
//! Whoever turns a machine off sends TERM to every process, waits, and sends KILL. The supervisor uses the time between the
//! two as a stop of each container would: signal, grace, kill, and the exit on disk, so that the next boot knows how each
//! one ended. The alternative refused is to leave it to the daemon: it is ended by the same signal, perhaps first.

use std::time::{Duration, Instant};

use super::{Supervisor, container::Phase};
use crate::pod::ContainerName;

/// Asks a container to end.
const STOP_SIGNAL: i32 = libc::SIGTERM;

/// From the signal to the kill; what Docker gives, and well within what init systems wait before they kill all.
const GRACE: Duration = Duration::from_secs(10);

/// An end that was begun. It is never taken back.
#[derive(Debug)]
pub(super) struct PowerOff {
    deadline: Instant,
    killed: bool,
}

impl PowerOff {
    fn begin(now: Instant) -> Self {
        Self { deadline: now + GRACE, killed: false }
    }

    /// How long until the grace is over; `None` once it is.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.deadline.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// `true` once, when the grace is over.
    fn is_time_to_kill(&mut self, now: Instant) -> bool {
        self.remaining(now).is_none() && !std::mem::replace(&mut self.killed, true)
    }
}

/// Whether process 1 is the one that ends a machine, having sent the same TERM to every process there is.
fn was_sent_to_all(first_process: &str) -> bool {
    // The kernel keeps 15 bytes of `systemd-shutdown`.
    first_process.trim_end() == "systemd-shutdow"
}

impl Supervisor {
    /// Asks every container to end, each one once.
    pub(super) fn power_off(&mut self) {
        if self.power_off.is_some() {
            return;
        }
        self.power_off = Some(PowerOff::begin(Instant::now()));
        // Many programs take a second TERM as an order to end without further ado.
        let all_have_it = std::fs::read_to_string("/proc/1/comm").is_ok_and(|name| was_sent_to_all(&name));
        let names: Vec<ContainerName> = self.containers.keys().cloned().collect();
        for name in names {
            let Some(container) = self.containers.get_mut(&name) else { continue };
            match container.phase {
                Phase::Starting { .. } => self.kill(&name),
                Phase::Running => {
                    if !container.asked_to_end && !all_have_it {
                        let _ = container.signal(STOP_SIGNAL);
                    }
                    if container.paused {
                        self.thaw(&name);
                    }
                }
                Phase::Ending | Phase::Ended(_) => {}
            }
        }
    }

    /// A signal that a client sends. What asks to end is remembered.
    pub(super) fn remember_signal(&mut self, name: &ContainerName, signal: i32) {
        if let Some(container) = self.containers.get_mut(name).filter(|_| signal == STOP_SIGNAL) {
            container.asked_to_end = true;
        }
    }

    /// Kills when the grace is over, and finishes when every end is on disk.
    pub(super) fn continue_power_off(&mut self) {
        let Some(power_off) = &mut self.power_off else { return };
        if power_off.is_time_to_kill(Instant::now()) {
            let names: Vec<ContainerName> = self.containers.keys().cloned().collect();
            for name in names {
                self.kill(&name);
            }
        }
        let ended = self.containers.values().all(|container| matches!(container.phase, Phase::Ended(_)));
        if ended && self.jobs.is_empty() && self.destroyers.is_empty() && !self.finished {
            let _ = std::fs::remove_file(self.boot.folders.socket());
            self.finished = true;
        }
    }

    /// Whether this process may end: everything is done, and told to whoever listens within the grace.
    pub(super) fn may_exit(&self) -> bool {
        let told = self.connections.values().all(|connection| !connection.wants_to_write());
        let late = self.power_off.as_ref().is_some_and(|power_off| power_off.remaining(Instant::now()).is_none());
        self.finished && (told || late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_once_when_the_grace_is_over() {
        let now = Instant::now();
        let mut power_off = PowerOff::begin(now);
        assert_eq!(power_off.remaining(now), Some(GRACE));
        assert!(!power_off.is_time_to_kill(now + GRACE / 2));
        assert_eq!(power_off.remaining(now + GRACE), None);
        assert!(power_off.is_time_to_kill(now + GRACE));
        assert!(!power_off.is_time_to_kill(now + GRACE * 2));
    }

    #[test]
    fn a_shutdown_is_told_from_an_ordinary_init() {
        assert!(was_sent_to_all("systemd-shutdow\n"));
        assert!(!was_sent_to_all("systemd\n"));
    }
}
