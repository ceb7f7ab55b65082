//! Pods and their containers, as the agent sees them.
//!
//! Everything that touches a running container goes through one small supervisor process a pod (see the `supervisor`
//! module); this module is its client. The alternative refused is to create containers inside the daemon: a threaded
//! process cannot safely fork, and whatever it parents dies or loses its exit code with it.
//!
//! - configuration: [`PodConfig`], [`ContainerConfig`] and their parts;
//! - what happened: [`PodRecord`], [`Exit`], [`PodEvent`], [`PodStats`];
//! - the port: the [`Runtime`] trait with [`Pods`] behind it, and the [`Pod`] handle;
//! - processes inside: [`ExecConfig`], [`Session`].

mod capability;
mod client;
mod config;
mod container;
mod error;
mod event;
mod folder;
mod follow;
mod limits;
mod link;
mod names;
mod operations;
pub(crate) mod protocol;
mod renewal;
mod resources;
mod runtime;
mod session;
mod spawn;
mod streams;

pub use capability::{Capabilities, Capability, UnknownCapability};
pub use client::{Pods, PodsConfig, SupervisorCommand};
pub use config::{NamespaceMode, PodConfig};
pub use container::{
    AppArmor, ContainerConfig, DeviceSpec, Devices, Join, LogConfig, Mount, MountSource, Overlay, ProcessPolicy,
    Propagation, RunAs, Seccomp, Shm, Stop, TerminalSize,
};
pub use error::{PodError, StartFailure, StartStep};
pub use event::{
    ContainerRecord, ContainerState, ContainerUsage, Exit, InterfaceUsage, PodCreated, PodEvent, PodLiveness,
    PodRecord, PodStats, Started, Usage,
};
pub use names::{ContainerName, InvalidName, PodUid};
pub use renewal::Renewal;
pub use resources::{Resources, Rlimit, Throttle};
pub use runtime::{Pod, Runtime};
pub use session::{ExecConfig, Reader, Session, Terminal, Writer};
