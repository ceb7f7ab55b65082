//! The port that the agent works against, so that its tests can use a fake.

use std::{path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{
    ContainerConfig, ContainerName, ExecConfig, PodConfig, PodCreated, PodError, PodEvent, PodRecord, PodStats, PodUid,
    Resources, Session, Started,
};

type Answer<'a, T> = BoxFuture<'a, Result<T, PodError>>;

/// Pods and containers. Every call may be repeated: what is already so is no error, except a second `create` of a live pod
/// and a `start` of an attempt that ran before.
pub trait Runtime: Send + Sync + 'static {
    /// Finds every pod on this machine, with or without its supervisor, and reconnects. Call once, at boot.
    fn adopt(&self) -> Answer<'_, Vec<PodRecord>>;

    /// Takes the stream of events; the second call gives `None`.
    fn events(&self) -> Option<mpsc::UnboundedReceiver<PodEvent>>;

    /// Starts a supervisor and makes the pod's namespaces and cgroups.
    fn create(&self, config: PodConfig) -> Answer<'_, PodCreated>;

    /// Starts a container; done when its program was executed, or with the exact step that failed.
    fn start<'a>(&'a self, uid: &'a PodUid, config: ContainerConfig) -> Answer<'a, Started>;

    /// Signals the container's first process. No error when it has ended.
    fn signal<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName, signal: i32) -> Answer<'a, ()>;

    /// Kills every process of the container at once.
    fn kill<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answer<'a, ()>;

    /// Freezes its processes.
    fn pause<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answer<'a, ()>;

    /// Thaws them.
    fn resume<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answer<'a, ()>;

    /// Changes its limits while it runs.
    fn update<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName, resources: Resources) -> Answer<'a, ()>;

    /// Removes what is left of an ended container: processes, cgroup, exit file. Its upper folder and logs stay. A running
    /// one is killed first.
    fn remove<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answer<'a, ()>;

    /// Starts a process in a running container.
    fn exec<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName, config: ExecConfig) -> Answer<'a, Session>;

    /// Connects to the streams of a running container's first process.
    fn attach<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answer<'a, Session>;

    /// Reads the pod's counters.
    fn stats<'a>(&'a self, uid: &'a PodUid) -> Answer<'a, PodStats>;

    /// Process ids of the container, as the host counts.
    fn processes<'a>(&'a self, uid: &'a PodUid, container: &'a ContainerName) -> Answer<'a, Vec<i32>>;

    /// What the supervisor knows now.
    fn state<'a>(&'a self, uid: &'a PodUid) -> Answer<'a, PodRecord>;

    /// Kills what runs, removes cgroups and folders, ends the supervisor. Logs stay.
    fn destroy<'a>(&'a self, uid: &'a PodUid) -> Answer<'a, ()>;

    /// Removes everything of a pod whose supervisor is gone: processes, cgroups, mounts, socket, folders. Logs stay.
    fn sweep<'a>(&'a self, uid: &'a PodUid) -> Answer<'a, ()>;

    /// Kills a supervisor that does not answer, with everything that runs in the pod; told as
    /// [`PodEvent::SupervisorLost`]. The pod has to be swept.
    fn kill_supervisor<'a>(&'a self, uid: &'a PodUid) -> Answer<'a, ()>;

    /// The pod's own folder, removed with it: the place for upper and work folders and for small files to bind.
    fn pod_dir(&self, uid: &PodUid) -> PathBuf;
}

/// A handle to one pod.
#[derive(Clone)]
pub struct Pod {
    runtime: Arc<dyn Runtime>,
    uid: PodUid,
}

impl Pod {
    /// Creates it and returns the handle with what the network needs.
    pub async fn create(runtime: Arc<dyn Runtime>, config: PodConfig) -> Result<(Self, PodCreated), PodError> {
        let uid = config.uid.clone();
        let created = runtime.create(config).await?;
        Ok((Self { runtime, uid }, created))
    }

    /// A handle to a pod that exists.
    pub fn of(runtime: Arc<dyn Runtime>, uid: PodUid) -> Self {
        Self { runtime, uid }
    }

    /// Its identity.
    pub fn uid(&self) -> &PodUid {
        &self.uid
    }

    /// [`Runtime::start`].
    pub async fn start(&self, config: ContainerConfig) -> Result<Started, PodError> {
        self.runtime.start(&self.uid, config).await
    }

    /// [`Runtime::signal`].
    pub async fn signal(&self, container: &ContainerName, signal: i32) -> Result<(), PodError> {
        self.runtime.signal(&self.uid, container, signal).await
    }

    /// [`Runtime::exec`].
    pub async fn exec(&self, container: &ContainerName, config: ExecConfig) -> Result<Session, PodError> {
        self.runtime.exec(&self.uid, container, config).await
    }

    /// [`Runtime::remove`].
    pub async fn remove(&self, container: &ContainerName) -> Result<(), PodError> {
        self.runtime.remove(&self.uid, container).await
    }

    /// [`Runtime::destroy`].
    pub async fn destroy(&self) -> Result<(), PodError> {
        self.runtime.destroy(&self.uid).await
    }
}
