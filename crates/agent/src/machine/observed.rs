//! What is known about one pod on this node: rebuilt from the runtime at boot, advanced by outcomes and exits.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Desired, Effect, Name, Power, Slot};

/// What is known. Everything that was not asked for yet is `Unknown`, which the idempotent effects clear up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// When this node first took the pod up.
    pub started_at: Option<Timestamp>,
    /// Host-side volumes.
    pub volumes: Presence,
    /// Links and addresses.
    pub network: Presence,
    /// The pod's addresses while attached.
    pub addresses: Vec<IpAddr>,
    /// Namespaces and supervisor.
    pub sandbox: Sandbox,
    /// Sandboxes made so far.
    pub sandboxes: u32,
    /// By name.
    pub containers: BTreeMap<Name, Seen>,
    /// The power wish that was acted on.
    pub power: Option<Power>,
    /// Set when the pod ended for good.
    pub ending: Option<Ending>,
    /// The pod's folders are gone.
    pub cleaned: bool,
    /// The API has forgotten the object.
    pub finalized: bool,
    /// Effects under way.
    pub busy: BTreeMap<Slot, Effect>,
    /// Failed effects that will be tried again.
    pub trouble: BTreeMap<Slot, Trouble>,
}

/// What of [`Observed`] neither the runtime nor the API's object can tell, kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// Containers that were killed on request.
    pub held: Vec<String>,
    /// Containers that were, or are being, stopped because a probe failed.
    pub unhealthy: Vec<String>,
}

/// Whether something that is prepared once exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Not looked at by this process; perhaps left by an earlier one. Next: `Present` or `Absent`.
    #[default]
    Unknown,
    /// Not there.
    Absent,
    /// There and complete.
    Present,
}

/// The pod's namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// None. Next: `Ready` or `Unclean`.
    #[default]
    Absent,
    /// Alive. Next: `Unclean` (lost) or `Absent` (destroyed).
    Ready,
    /// Lost or half made: leftovers must be destroyed. Next: `Absent`.
    Unclean,
}

/// One container as known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Starts so far, this one included; the restart count is one less.
    pub starts: u32,
    /// The sandbox (counted from one) in which it was last started.
    pub sandbox: u32,
    /// Starts before the last power-on, which do not count against `on-failure:n`.
    pub starts_base: u32,
    /// Restarts in a row that the back-off counts.
    pub crashes: u32,
    /// Now.
    pub state: State,
    /// How the attempt before ended.
    pub last: Option<Exit>,
    /// The resolved image.
    pub image: Option<ImageSeen>,
    /// Startup probe passed (or there is none and it runs).
    pub started: bool,
    /// Readiness probe passes.
    pub ready: bool,
    /// Found unhealthy where Docker's rules hold, and left running: what its test said.
    pub sick: Option<String>,
    /// A wish for one start outside the restart policy.
    pub wish: Option<Wish>,
    /// Killed on request where Docker's rules hold: only a wish starts it again.
    pub held: bool,
    /// The runtime's name of the attempt.
    pub id: Option<Arc<str>>,
}

/// A container's state within its sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    /// Not started in this sandbox. Next: `Running` or `Exited` (a start that failed for good).
    #[default]
    New,
    /// A process runs. Next: `Exited`.
    Running {
        /// Since when.
        since: Timestamp,
        /// The process on the host.
        pid: i32,
        /// Frozen.
        paused: bool,
        /// The `postStart` hook.
        post_start: Hook,
        /// Set while it is being stopped.
        stop: Option<Stop>,
    },
    /// The process ended. Next: `Running` as a new attempt.
    Exited(Exit),
}

/// A hook's progress. `Failed` of `postStart` stops the container; of `preStop` it is only reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// Not run.
    #[default]
    Pending,
    /// Ran to its end.
    Done,
    /// Ended with an error.
    Failed(String),
}

/// A stop under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// Why.
    pub why: Why,
    /// When KILL follows.
    pub deadline: Timestamp,
    /// The `preStop` hook.
    pub pre_stop: Hook,
    /// The stop signal was sent.
    pub asked: bool,
    /// KILL was sent.
    pub killed: bool,
}

/// Why a container is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The pod is deleted.
    Deleted,
    /// The pod has ended (deadline passed, or every application container is done).
    Ended,
    /// Switched off.
    Power,
    /// Restart asked for.
    Restart,
    /// A liveness or startup probe failed.
    Unhealthy(String),
    /// The `postStart` hook failed.
    HookFailed(String),
    /// The container's image in the spec changed.
    ImageChanged,
}

/// A start outside the restart policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Start when it does not run.
    Start,
    /// Stop and start.
    Restart,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// Exit code; 128 + signal where a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// `OOMKilled`, `Error`, `Completed`, `StartError`, `ContainerStatusUnknown`.
    pub reason: &'static str,
    /// The termination message, or what went wrong.
    pub message: String,
    /// When it had started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Why the agent had stopped it, when it had.
    pub why: Option<Why>,
}

/// A resolved image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSeen {
    /// As written in the spec.
    pub reference: Arc<str>,
    /// The image's id, by which the runtime finds its layers; empty when this process has not resolved it.
    pub id: Arc<str>,
    /// What `status.containerStatuses[].imageID` shows.
    pub shown: Arc<str>,
}

/// The pod has ended for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// `status.reason`.
    pub reason: &'static str,
    /// `status.message`.
    pub message: String,
}

/// A failed effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// What failed.
    pub effect: Effect,
    /// Failures in a row.
    pub count: u32,
    /// Not tried again before.
    pub retry_at: Timestamp,
    /// When it last failed.
    pub at: Timestamp,
    /// CamelCase reason.
    pub reason: &'static str,
    /// The whole chain in one line.
    pub message: String,
}

impl Seen {
    /// Restarts so far.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    /// Whether a process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// How it ended, if it is not running.
    #[must_use]
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited(exit) => Some(exit),
            State::New | State::Running { .. } => None,
        }
    }

    /// Ran to its end without an error.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit().is_some_and(|exit| exit.code == 0)
    }
}

impl ImageSeen {
    /// Whether a container of that reference can be started from it.
    #[must_use]
    pub fn serves(&self, reference: &str) -> bool {
        !self.id.is_empty() && *self.reference == *reference
    }
}

impl Exit {
    /// How long the attempt ran.
    #[must_use]
    pub fn ran_for(&self) -> Duration {
        let began = self.started_at.unwrap_or(self.finished_at);
        Duration::try_from(self.finished_at.duration_since(began)).unwrap_or_default()
    }
}

impl Observed {
    /// What must be kept on disk.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let names = |fits: fn(&Seen) -> bool| -> Vec<String> {
            self.containers.iter().filter(|(_, seen)| fits(seen)).map(|(name, _)| name.to_string()).collect()
        };
        let unhealthy = |seen: &Seen| {
            let why = match &seen.state {
                State::New => None,
                State::Running { stop, .. } => stop.as_ref().map(|stop| &stop.why),
                State::Exited(exit) => exit.why.as_ref(),
            };
            matches!(why, Some(Why::Unhealthy(_)))
        };
        Marks { held: names(|seen| seen.held), unhealthy: names(unhealthy) }
    }

    /// Puts back what was kept on disk.
    pub fn mark(&mut self, desired: &Desired, marks: &Marks) {
        marks.held.iter().for_each(|name| self.hold(desired, name, true));
        for name in &marks.unhealthy {
            if let Some(State::Exited(exit)) = self.containers.get_mut(&**name).map(|seen| &mut seen.state) {
                exit.why.get_or_insert(Why::Unhealthy("probe".to_owned()));
            }
        }
    }

    /// Whether any container's process runs.
    #[must_use]
    pub fn anything_runs(&self) -> bool {
        self.containers.values().any(Seen::is_running)
    }

    /// Whether the pod has, or may have, processes on this machine.
    #[must_use]
    pub fn is_occupied(&self) -> bool {
        let making = matches!(self.busy.get(&Slot::Sandbox), Some(Effect::CreateSandbox { .. }));
        self.sandbox != Sandbox::Absent || making || self.anything_runs()
    }

    /// The number, counted from one, of the sandbox that containers started from now on belong to.
    #[must_use]
    pub fn sandbox_number(&self) -> u32 {
        if self.sandbox == Sandbox::Ready { self.sandboxes } else { self.sandboxes + 1 }
    }

    /// Whether a start is under way for that container.
    #[must_use]
    pub fn is_starting(&self, name: &Name) -> bool {
        matches!(self.busy.get(&Slot::Container(name.clone())), Some(Effect::Start { .. }))
    }
}
