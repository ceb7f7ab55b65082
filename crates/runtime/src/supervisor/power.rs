//! The machine goes down: that is what SIGTERM means to a supervisor.
//!
//! Whoever turns a machine off sends TERM to every process, waits, and sends KILL. The supervisor uses the time between the
//! two as a stop of each container would: its stop signal, its grace, kill, and the exit on disk, so that the next boot
//! knows how each one ended. The alternative refused is to leave it to the daemon: it is ended by the same signal, perhaps
//! first.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Supervisor, container::Phase};
use crate::pod::{ContainerName, Stop};

/// Init systems kill everything after 90 s; an end must be on disk before.
const LONGEST: Duration = Duration::from_secs(80);

/// An end that was begun. It is never taken back.
#[derive(Debug)]
pub(super) struct PowerOff {
    /// When each container that was asked to end is killed.
    due: BTreeMap<ContainerName, Instant>,
    /// The last of them.
    last: Instant,
}

impl PowerOff {
    fn begin(now: Instant) -> Self {
        Self { due: BTreeMap::new(), last: now }
    }

    fn asked(&mut self, name: ContainerName, stop: Stop, now: Instant) {
        let due = now + Duration::from_secs(stop.grace.into()).min(LONGEST);
        self.last = self.last.max(due);
        self.due.insert(name, due);
    }

    /// How long until the next kill, or until nobody is waited for any more; `None` once all that is over.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        let next = self.due.values().copied().min().unwrap_or(self.last);
        match next.checked_duration_since(now).filter(|left| !left.is_zero()) {
            Some(left) => Some(left),
            None if self.due.is_empty() => None,
            None => Some(Duration::ZERO),
        }
    }

    /// Containers whose grace is over, each once.
    fn overdue(&mut self, now: Instant) -> Vec<ContainerName> {
        let over: Vec<_> = self.due.iter().filter(|(_, due)| **due <= now).map(|(name, _)| name.clone()).collect();
        self.due.retain(|_, due| *due > now);
        over
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
        let now = Instant::now();
        let mut power_off = PowerOff::begin(now);
        // Many programs take a second TERM as an order to end without further ado.
        let all_have_it = std::fs::read_to_string("/proc/1/comm").is_ok_and(|name| was_sent_to_all(&name));
        let names: Vec<ContainerName> = self.containers.keys().cloned().collect();
        for name in names {
            let Some(container) = self.containers.get_mut(&name) else { continue };
            match container.phase {
                Phase::Starting { .. } => self.kill(&name),
                Phase::Running => {
                    let stop = container.config.stop;
                    let has_it = container.asked_to_end || (all_have_it && stop.signal == libc::SIGTERM);
                    if !has_it {
                        let _ = container.signal(stop.signal);
                    }
                    power_off.asked(name.clone(), stop, now);
                    if container.paused {
                        self.thaw(&name);
                    }
                }
                Phase::Ending | Phase::Ended(_) => {}
            }
        }
        self.power_off = Some(power_off);
    }

    /// A signal that a client sends. What asks to end is remembered.
    pub(super) fn remember_signal(&mut self, name: &ContainerName, signal: i32) {
        if let Some(container) = self.containers.get_mut(name) {
            container.asked_to_end |= signal == container.config.stop.signal;
        }
    }

    /// Kills when the grace is over, and finishes when every end is on disk.
    pub(super) fn continue_power_off(&mut self) {
        let Some(power_off) = &mut self.power_off else { return };
        for name in power_off.overdue(Instant::now()) {
            self.kill(&name);
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
    fn each_is_killed_once_when_its_own_grace_is_over() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let name = |text: &str| ContainerName::new(text).unwrap();
        let mut power_off = PowerOff::begin(now);
        power_off.asked(name("quick"), Stop { grace: 2, ..Stop::default() }, now);
        power_off.asked(name("slow"), Stop { grace: 3600, ..Stop::default() }, now);
        assert_eq!(power_off.remaining(now), Some(seconds(2)));
        assert!(power_off.overdue(now + seconds(1)).is_empty());
        assert_eq!(power_off.remaining(now + seconds(2)), Some(Duration::ZERO));
        assert_eq!(power_off.overdue(now + seconds(2)), [name("quick")]);
        assert_eq!(power_off.remaining(now + seconds(2)), Some(LONGEST - seconds(2)));
        assert_eq!(power_off.overdue(now + LONGEST), [name("slow")]);
        assert!(power_off.overdue(now + LONGEST * 2).is_empty());
        assert_eq!(power_off.remaining(now + LONGEST), None);
    }

    #[test]
    fn a_shutdown_is_told_from_an_ordinary_init() {
        assert!(was_sent_to_all("systemd-shutdow\n"));
        assert!(!was_sent_to_all("systemd\n"));
    }
}
