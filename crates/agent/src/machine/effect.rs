//! What a step can ask for. Every effect is idempotent: running it twice, or again after a crash in its middle, ends in
//! the same state.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Exit, ImageSeen, Name, Power, Why};

/// One thing to do for a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Prepare every volume on the host side.
    Mount,
    /// Make the pod's namespaces and their supervisor.
    CreateSandbox {
        /// How many sandboxes this pod had before.
        attempt: u32,
    },
    /// Connect the pod to the network.
    Attach,
    /// Make the container's image present and resolve it.
    Pull {
        /// Whose image.
        container: Name,
    },
    /// Create and start the container's process.
    Start {
        /// Which container.
        container: Name,
        /// How many times it was started before.
        attempt: u32,
    },
    /// Run the `postStart` hook.
    PostStart {
        /// Which container.
        container: Name,
    },
    /// Run the `preStop` hook.
    PreStop {
        /// Which container.
        container: Name,
    },
    /// Ask the container to stop (TERM or its stop signal).
    Terminate {
        /// Which container.
        container: Name,
    },
    /// End the container's processes at once.
    Kill {
        /// Which container.
        container: Name,
    },
    /// Freeze the container's processes.
    Pause {
        /// Which container.
        container: Name,
    },
    /// Thaw the container's processes.
    Resume {
        /// Which container.
        container: Name,
    },
    /// Take the pod off the network and free its addresses.
    Detach,
    /// End the supervisor and everything that is left in the pod's namespaces and cgroup.
    DestroySandbox,
    /// Undo `Mount`.
    Unmount,
    /// Remove the pod's folders.
    Clean,
    /// Let the API server forget the object.
    Finalize,

    /// Note that a container is to be stopped; the hook and signals follow in later steps. Local bookkeeping.
    BeginStop {
        /// Which container.
        container: Name,
        /// Why.
        why: Why,
        /// Time between now and KILL.
        grace: Duration,
    },
    /// Note that the power wish was seen. Local bookkeeping.
    AcceptPower(Power),
    /// Note that the pod has ended for good. Local bookkeeping.
    End {
        /// `status.reason`.
        reason: &'static str,
        /// `status.message`.
        message: String,
    },
}

/// What an effect occupies: two effects with the same slot never run at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The pod's volumes.
    Volumes,
    /// The sandbox.
    Sandbox,
    /// The pod's links and addresses.
    Network,
    /// One container's image, start and hooks.
    Container(Name),
    /// One container's signals, which must get through while a hook hangs.
    Signal(Name),
    /// The pod's folders.
    Folder,
    /// The object in the API.
    Object,
    /// The observed state itself.
    Book,
}

/// What a finished effect found out.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing beyond its success.
    Done,
    /// `Attach`: the pod's addresses.
    Addresses(Vec<IpAddr>),
    /// `Pull`: the image.
    Image(ImageSeen),
    /// `Start`: the process.
    Started {
        /// Its id on the host.
        pid: i32,
        /// When it was started.
        at: Timestamp,
        /// The runtime's name of this attempt.
        id: Arc<str>,
    },
}

/// Why an effect failed, in the words that a user meets in `kubectl describe`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct EffectError {
    /// A CamelCase reason such as `ErrImagePull`.
    pub reason: &'static str,
    /// The whole chain in one line.
    pub message: String,
    /// The failed start counts as an attempt that ended like this (the program is missing, not executable …).
    pub exit: Option<Box<Exit>>,
}

impl EffectError {
    /// An error that is tried again after a while.
    pub fn new(reason: &'static str, message: impl fmt::Display) -> EffectError {
        EffectError { reason, message: message.to_string(), exit: None }
    }

    /// An error with its sources appended, each once.
    pub fn chain(reason: &'static str, error: &dyn std::error::Error) -> EffectError {
        EffectError { reason, message: crate::chain(error), exit: None }
    }
}

impl Effect {
    /// What the effect occupies while it runs.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match self {
            Effect::Mount | Effect::Unmount => Slot::Volumes,
            Effect::CreateSandbox { .. } | Effect::DestroySandbox => Slot::Sandbox,
            Effect::Attach | Effect::Detach => Slot::Network,
            Effect::Pull { container }
            | Effect::Start { container, .. }
            | Effect::PostStart { container }
            | Effect::PreStop { container } => Slot::Container(container.clone()),
            Effect::Terminate { container }
            | Effect::Kill { container }
            | Effect::Pause { container }
            | Effect::Resume { container } => Slot::Signal(container.clone()),
            Effect::Clean => Slot::Folder,
            Effect::Finalize => Slot::Object,
            Effect::BeginStop { .. } | Effect::AcceptPower(_) | Effect::End { .. } => Slot::Book,
        }
    }

    /// Whether the effect changes nothing but `Observed` and so needs no executor.
    #[must_use]
    pub fn is_bookkeeping(&self) -> bool {
        self.slot() == Slot::Book
    }

    /// Whether two effects are the same kind of work (a failure of one delays the other).
    #[must_use]
    pub fn same_kind(&self, other: &Effect) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}
