//! What is wanted of one pod on this node, free of the API's types.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Gate, Pace, Why};

/// A container's name, shared by every map that is keyed by it.
pub type Name = Arc<str>;

/// Everything [`super::step`] needs to know about the wish. Equal wishes mean that nothing has to be done anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Set once the object carries a deletion time stamp.
    pub deletion: Option<Deletion>,
    /// Whether the processes should run; the pod itself stays (`naru.io/power`).
    pub power: Power,
    /// When an application container that ended is started again.
    pub restart: Restart,
    /// `spec.restartPolicy: Always`: such a pod is never finished, whatever its containers did.
    pub endless: bool,
    /// How long a restart waits.
    pub pace: Pace,
    /// `spec.activeDeadlineSeconds`, counted from the pod's start time.
    pub active_deadline: Option<Duration>,
    /// Docker's rules hold (`naru.io/restart` is there): a killed container stays down, an unhealthy one comes back.
    pub docker: bool,
    /// Default time between TERM and KILL.
    pub grace: Duration,
    /// The same where power stops or restarts (`naru.io/power-grace`).
    pub power_grace: Option<Duration>,
    /// Whether the pod gets links and an address of its own (not with `hostNetwork`, nor where it wants no network).
    pub networked: bool,
    /// The pod lives in the host's network and shows the host's addresses.
    pub on_host: bool,
    /// Whether other services that this pod depends on are in the wanted state.
    pub gate: Gate,
    /// Why the pod may not start for the first time yet, if it may not: its data is still in use.
    pub hold: Option<String>,
    /// Init containers in order, then application containers, then ephemeral ones.
    pub containers: Vec<Wanted>,
}

/// A pod on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When whatever still runs is killed.
    pub deadline: Timestamp,
    /// `metadata.deletionGracePeriodSeconds` of zero: nobody waits for hooks.
    pub forced: bool,
}

/// The value of `naru.io/power`: `running`, `stopped`, `paused`, `restart@<n>`, also `running@<n>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Power {
    /// Processes run; the token tells two wishes to start apart.
    Running(Arc<str>),
    /// Processes are stopped; sandbox, address and writable layers stay.
    Stopped,
    /// Processes are frozen.
    Paused,
    /// Every container is stopped and started once for each new token.
    Restart(Arc<str>),
}

/// When an ended application container starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Whatever its exit code.
    Always,
    /// After a non-zero exit code, at most `max` times when given (Docker's `on-failure:n`).
    OnFailure {
        /// Most restarts, counted since the pod was last powered on.
        max: Option<u32>,
    },
    /// Not at all.
    Never,
}

/// Exit codes that bring a container back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartRule {
    /// The rule holds for these codes, or (false) for all others.
    pub listed: bool,
    /// The codes.
    pub codes: Vec<i32>,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to completion before the next.
    Init,
    /// An init container with `restartPolicy: Always`: starts in order, keeps running, stops last.
    Sidecar,
    /// What the pod is for.
    App,
    /// Added to a running pod for debugging; never restarted.
    Ephemeral,
}

/// When an image is fetched (`imagePullPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before the first start of every pod.
    Always,
    /// When this node lacks it.
    IfNotPresent,
    /// The node must have it.
    Never,
}

/// One wanted container.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Unique within the pod.
    pub name: Name,
    /// What it is for.
    pub role: Role,
    /// The image reference as written.
    pub image: Arc<str>,
    /// When the image is fetched.
    pub pull: PullPolicy,
    /// The container's own `restartPolicy`, over the pod's; of sidecars it is their role.
    pub restart: Option<Restart>,
    /// Exit codes after which it is started again whatever its policy (`restartPolicyRules`), in order.
    pub rules: Vec<RestartRule>,
    /// Has a `postStart` hook.
    pub post_start: bool,
    /// Has a `preStop` hook.
    pub pre_stop: bool,
    /// Has a startup probe: not "started" until it succeeded.
    pub startup: bool,
    /// Has a readiness probe: not "ready" until it succeeded.
    pub readiness: bool,
    /// `terminationGracePeriodSeconds` of the liveness probe, for restarts that the probe asks for.
    pub liveness_grace: Option<Duration>,
}

impl Desired {
    /// The wanted container of that name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Wanted> {
        self.containers.iter().find(|wanted| &*wanted.name == name)
    }

    /// Time between TERM and KILL for a stop of this kind.
    #[must_use]
    pub fn grace_for(&self, why: &Why) -> Duration {
        let asked = self.power_grace.filter(|_| matches!(why, Why::Power | Why::Restart));
        asked.unwrap_or(self.grace)
    }

    /// Containers of one role, in the order of the spec.
    pub fn of(&self, role: Role) -> impl DoubleEndedIterator<Item = &Wanted> {
        self.containers.iter().filter(move |wanted| wanted.role == role)
    }
}

impl Wanted {
    /// Whether a rule brings it back after this exit code.
    #[must_use]
    pub fn returns_after(&self, code: i32) -> bool {
        self.rules.iter().any(|rule| rule.codes.contains(&code) == rule.listed)
    }

    /// Whether the container runs before the application containers.
    #[must_use]
    pub fn is_initial(&self) -> bool {
        matches!(self.role, Role::Init | Role::Sidecar)
    }
}
