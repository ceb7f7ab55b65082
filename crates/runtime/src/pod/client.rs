//! The client side: one [`Pods`] a daemon.

use std::{
    collections::HashMap,
    fs,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::{
    ContainerConfig, ContainerName, ContainerState, PodConfig, PodCreated, PodError, PodEvent, PodLiveness, PodRecord,
    PodUid, ProcessPolicy, Renewal, Started, folder,
    follow::{self, Known},
    limits,
    link::Link,
    protocol::{Answer, Boot, Folders, Request, State, VERSION},
};
use crate::{
    cgroup::{Cgroup, Hierarchy, Survivors},
    seccomp,
    supervisor::attempt,
};

/// How a supervisor is started: a program that calls [`crate::supervisor_main`] with the arguments that follow `args`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisorCommand {
    /// The program; usually this very one.
    pub program: PathBuf,
    /// Arguments before those of the supervisor, for example `supervisor`.
    pub args: Vec<String>,
}

/// Where pods live and how their supervisors are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodsConfig {
    /// Durable: records and exit codes below `pods/<uid>/`.
    pub state_dir: PathBuf,
    /// Gone after a reboot: sockets below `pods/<uid>/`.
    pub run_dir: PathBuf,
    /// The supervisor's program.
    pub supervisor: SupervisorCommand,
    /// Name of the cgroup that all pods' cgroups are made in; usually `naru`. Under a delegated systemd service it is made
    /// below the service's own. An absolute path is the v2 group itself.
    pub cgroup: String,
}

/// All pods of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Pods(Arc<Inner>);

pub(super) struct Inner {
    pub(super) config: PodsConfig,
    hierarchy: Hierarchy,
    survivors: Survivors,
    filters: Mutex<Vec<(ProcessPolicy, Arc<OwnedFd>)>>,
    pub(super) known: Mutex<HashMap<PodUid, Known>>,
    pub(super) sender: mpsc::UnboundedSender<PodEvent>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<PodEvent>>>,
    pub(super) renewal: watch::Sender<Renewal>,
}

/// Files are read and removed where they may take their time.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The executor is being shut down, and with it whoever waits here.
        Err(error) if error.is_cancelled() => std::future::pending().await,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Pods {
    /// Prepares the folders and this machine's cgroups. Finds nothing yet: see [`super::Runtime::adopt`].
    pub fn open(config: PodsConfig) -> Result<Self, PodError> {
        for base in [&config.state_dir, &config.run_dir] {
            let pods = base.join("pods");
            fs::create_dir_all(&pods).map_err(folder::io_error("making", &pods))?;
        }
        let hierarchy = Hierarchy::prepare(&config.cgroup).map_err(|error| {
            let text = match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            };
            folder::io_error("preparing cgroups below", "/sys/fs/cgroup".as_ref())(std::io::Error::other(text))
        })?;
        let survivors = Survivors::prepare(&config.cgroup);
        let (sender, receiver) = mpsc::unbounded_channel();
        Ok(Self(Arc::new(Inner {
            config,
            hierarchy,
            survivors,
            filters: Mutex::default(),
            known: Mutex::default(),
            sender,
            receiver: Mutex::new(Some(receiver)),
            renewal: watch::Sender::default(),
        })))
    }

    /// How far the supervisors that [`super::Runtime::adopt`] found are on their way to this program.
    pub fn renewal(&self) -> watch::Receiver<Renewal> {
        self.0.renewal.subscribe()
    }

    /// Lets this daemon's program take the place of a supervisor, whichever that runs. Containers, their logs, sessions
    /// and waiting requests go on.
    ///
    /// # Errors
    /// When the program cannot take the pod over, or the supervisor is one that hands nothing over: it goes on.
    pub async fn renew_supervisor(&self, uid: &PodUid) -> Result<(), PodError> {
        self.0.renew(uid).await
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    pub(super) fn take_events(&self) -> Option<mpsc::UnboundedReceiver<PodEvent>> {
        self.0.receiver.lock().take()
    }
}

impl Inner {
    pub(super) fn folders(&self, uid: &PodUid) -> Folders {
        let below = |base: &PathBuf| base.join("pods").join(uid.as_str());
        Folders { state: below(&self.config.state_dir), run: below(&self.config.run_dir) }
    }

    pub(super) fn cgroup(&self, config: &PodConfig) -> Cgroup {
        Cgroup::of_pod(self.hierarchy.clone(), &config.cgroup_parent, &config.uid)
    }

    /// Sends one request and takes its first answer.
    pub(super) async fn ask(&self, uid: &PodUid, request: Request, fds: &[i32]) -> Result<Answer, PodError> {
        self.converse(uid, request, fds).await.map(|(_, answer, _)| answer)
    }

    /// The same where more follows on the connection. Bounded: see [`limits`].
    pub(super) async fn converse(
        &self,
        uid: &PodUid,
        request: Request,
        fds: &[i32],
    ) -> Result<(Link, Answer, Option<OwnedFd>), PodError> {
        let limit = limits::limit(&request);
        let work = async {
            let mut link = self.open(uid, request, fds).await?;
            let (answer, fd) = self.first(uid, &mut link).await?;
            Ok((link, answer, fd))
        };
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => {
                let process = folder::holder(&self.folders(uid));
                Err(PodError::NoAnswer { uid: uid.clone(), process, limit })
            }
        }
    }

    async fn open(&self, uid: &PodUid, request: Request, fds: &[i32]) -> Result<Link, PodError> {
        let folders = self.folders(uid);
        match Link::open(&folders.socket(), request, fds).await {
            Ok(link) => Ok(link),
            Err(_) if !folders.boot().exists() => Err(PodError::NoPod(uid.clone())),
            Err(_) if folder::holder(&folders).is_none() => Err(PodError::SupervisorLost(uid.clone())),
            Err(error) => Err(folder::io_error("connecting to", &folders.socket())(error)),
        }
    }

    /// The first answer; refusals become errors.
    async fn first(&self, uid: &PodUid, link: &mut Link) -> Result<(Answer, Option<OwnedFd>), PodError> {
        let received = link.receive().await.map_err(|_| PodError::SupervisorLost(uid.clone()))?;
        match received.answer {
            Answer::WrongState { container, state } => Err(PodError::WrongState { uid: uid.clone(), container, state }),
            Answer::Failed(message) => Err(PodError::Failed { uid: uid.clone(), operation: "the request", message }),
            Answer::Version => Err(PodError::Version { uid: uid.clone(), supervisor: 0, ours: VERSION }),
            answer => Ok((answer, received.fd)),
        }
    }

    pub(super) fn unexpected(uid: &PodUid, operation: &'static str) -> PodError {
        let message = "the supervisor answered something else than was asked".to_owned();
        PodError::Failed { uid: uid.clone(), operation, message }
    }

    /// For requests that are only done or not.
    pub(super) async fn simple(&self, uid: &PodUid, what: &'static str, request: Request) -> Result<(), PodError> {
        match self.ask(uid, request, &[]).await {
            Ok(Answer::Done) => Ok(()),
            Ok(_) => Err(Self::unexpected(uid, what)),
            Err(PodError::Failed { uid, message, .. }) => Err(PodError::Failed { uid, operation: what, message }),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn supervisor_state(&self, uid: &PodUid) -> Result<State, PodError> {
        match self.ask(uid, Request::State, &[]).await? {
            Answer::State(state) => Ok(state),
            _ => Err(Self::unexpected(uid, "state")),
        }
    }

    pub(super) async fn create(self: &Arc<Self>, pod: PodConfig) -> Result<PodCreated, PodError> {
        let folders = self.folders(&pod.uid);
        if folders.boot().exists() {
            return Err(PodError::PodExists(pod.uid));
        }
        let uid = pod.uid.clone();
        let (hierarchy, survivors) = (self.hierarchy.clone(), self.survivors.clone());
        let boot = Boot { version: VERSION, pod, folders: folders.clone(), hierarchy, survivors };
        folder::write_boot(&boot)?;
        let cgroup = self.cgroup(&boot.pod);
        let known = Known::new(boot.pod);
        match self.spawn(&uid, &folders).await {
            Ok(created) => {
                self.known.lock().insert(uid.clone(), known);
                follow::start(self.clone(), uid).await?;
                Ok(created)
            }
            Err(error) => {
                // Nothing half-made stays behind.
                let swept = blocking(move || folder::sweep(&uid, &folders, Some(&cgroup))).await;
                if let Err(swept) = swept {
                    tracing::warn!(error = %swept, "sweeping a pod that could not be created");
                }
                Err(error)
            }
        }
    }

    /// A compiled filter as a memory file; the same one for all containers with the same policy.
    fn filter(&self, container: &ContainerName, policy: &ProcessPolicy) -> Result<Option<Arc<OwnedFd>>, PodError> {
        let same = |known: &ProcessPolicy| known.seccomp == policy.seccomp && known.capabilities == policy.capabilities;
        let mut filters = self.filters.lock();
        if let Some((_, filter)) = filters.iter().find(|(known, _)| same(known)) {
            return Ok(Some(filter.clone()));
        }
        let failed = |action: String| PodError::Start {
            container: container.clone(),
            failure: super::StartFailure { step: super::StartStep::Policy, action, errno: 0 },
        };
        let program = seccomp::compile(&policy.seccomp, policy.capabilities).map_err(|e| failed(e.to_string()))?;
        let Some(program) = program else { return Ok(None) };
        let file =
            crate::sys::memfd(c"naru-seccomp", &program).map_err(|e| failed(format!("keeping a filter: {e}")))?;
        let file = Arc::new(file);
        filters.push((policy.clone(), file.clone()));
        Ok(Some(file))
    }

    pub(super) async fn start(&self, uid: &PodUid, config: ContainerConfig) -> Result<Started, PodError> {
        let container = config.name.clone();
        let filter = self.filter(&container, &config.policy)?;
        let fds: Vec<i32> = filter.iter().map(|f| f.as_raw_fd()).collect();
        match self.ask(uid, Request::Start(Box::new(config)), &fds).await? {
            Answer::Started(started) => Ok(started),
            Answer::StartFailed(failure) => Err(PodError::Start { container, failure }),
            _ => Err(Self::unexpected(uid, "start")),
        }
    }

    /// Connects to every pod there is a folder of.
    pub(super) async fn adopt(self: &Arc<Self>) -> Result<Vec<PodRecord>, PodError> {
        // All at once: a supervisor that is silent must not keep the others' pods waiting.
        let pods = folder::list(&self.config.state_dir.join("pods"));
        let records = try_join_all(pods.into_iter().map(|uid| self.adopt_one(uid))).await?;
        let records: Vec<PodRecord> = records.into_iter().flatten().collect();
        let alive = |record: &PodRecord| match &record.liveness {
            PodLiveness::Alive(created) => Some((record.config.uid.clone(), created.supervisor_pid)),
            PodLiveness::SupervisorLost => None,
        };
        let supervisors: Vec<_> = records.iter().filter_map(alive).collect();
        let (survivors, processes) =
            (self.survivors.clone(), supervisors.iter().map(|(_, process)| *process).collect());
        // Those that an earlier version started are still in the daemon's own group. Nobody waits for that.
        tokio::task::spawn_blocking(move || survivors.take_in(processes));
        self.renew_all(supervisors);
        Ok(records)
    }

    async fn adopt_one(self: &Arc<Self>, uid: PodUid) -> Result<Option<PodRecord>, PodError> {
        let folders = self.folders(&uid);
        let Some(boot) = folder::read_boot(&folders) else {
            // Died before it was a pod: nothing in it is worth a report.
            tracing::warn!(pod = %uid, "removing a folder without a readable pod");
            blocking(move || folder::sweep(&uid, &folders, None)).await?;
            return Ok(None);
        };
        self.known.lock().insert(uid.clone(), Known::new(boot.pod.clone()));
        Ok(Some(match follow::start(self.clone(), uid.clone()).await {
            Ok(state) => PodRecord {
                config: boot.pod,
                liveness: PodLiveness::Alive(state.created),
                containers: state.containers,
            },
            Err(error) => {
                if let PodError::NoAnswer { .. } = error {
                    tracing::warn!(pod = %uid, %error, "a pod is given up with its supervisor");
                }
                PodRecord {
                    config: boot.pod,
                    liveness: PodLiveness::SupervisorLost,
                    containers: attempt::recall(&folders.attempts()),
                }
            }
        }))
    }

    pub(super) async fn state(&self, uid: &PodUid) -> Result<PodRecord, PodError> {
        let folders = self.folders(uid);
        let boot = folder::read_boot(&folders).ok_or_else(|| PodError::NoPod(uid.clone()))?;
        Ok(match self.supervisor_state(uid).await {
            Ok(state) => PodRecord {
                config: boot.pod,
                liveness: PodLiveness::Alive(state.created),
                containers: state.containers,
            },
            Err(PodError::SupervisorLost(_)) => PodRecord {
                config: boot.pod,
                liveness: PodLiveness::SupervisorLost,
                containers: attempt::recall(&folders.attempts()),
            },
            Err(error) => return Err(error),
        })
    }

    pub(super) async fn destroy(&self, uid: &PodUid) -> Result<(), PodError> {
        if let Some(known) = self.known.lock().get_mut(uid) {
            known.leaving = true;
        }
        match self.simple(uid, "destroy", Request::Destroy).await {
            Ok(()) => {
                let folders = self.folders(uid);
                blocking(move || folder::remove(&folders)).await?;
                self.known.lock().remove(uid);
                Ok(())
            }
            Err(PodError::NoPod(_)) => Ok(()),
            Err(PodError::SupervisorLost(_)) => self.sweep(uid).await,
            Err(error) => Err(error),
        }
    }

    pub(super) async fn sweep(&self, uid: &PodUid) -> Result<(), PodError> {
        let folders = self.folders(uid);
        let cgroup = folder::read_boot(&folders).map(|boot| self.cgroup(&boot.pod));
        if let Some(known) = self.known.lock().get_mut(uid) {
            known.leaving = true;
        }
        let swept = uid.clone();
        blocking(move || folder::sweep(&swept, &folders, cgroup.as_ref())).await?;
        self.known.lock().remove(uid);
        Ok(())
    }

    /// Kills a supervisor; the end of its connection is told as the pod's loss.
    pub(super) async fn kill_supervisor(&self, uid: &PodUid) -> Result<(), PodError> {
        let (folders, name) = (self.folders(uid), uid.clone());
        blocking(move || folder::kill_holder(&name, &folders)).await
    }

    /// The group of a container that runs.
    pub(super) async fn container_cgroup(&self, uid: &PodUid, name: &ContainerName) -> Result<Cgroup, PodError> {
        let record = self.state(uid).await?;
        let pod = self.cgroup(&record.config);
        match record.containers.get(name) {
            Some(found) if matches!(found.state, ContainerState::Running { .. }) => {
                Ok(pod.child(&format!("{name}.{}", found.attempt)))
            }
            _ => Err(PodError::WrongState {
                uid: uid.clone(),
                container: name.clone(),
                state: "is not running".to_owned(),
            }),
        }
    }
}
