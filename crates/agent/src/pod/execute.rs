//! Effects against the real node.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use naru_api::{View, k8s::api::core::v1::Pod};
use naru_client::{ClientError, DeleteOptions};
use naru_runtime::{
    image::{ImageRecord, Rootfs},
    pod::{ContainerName, PodCreated, PodError, PodLiveness, PodUid, Runtime},
};
use parking_lot::Mutex;

use super::{Node, Note, ServiceView, hooks, images, objects::Watched, service_variables, start};
use crate::{
    Attachment,
    machine::{self, Desired, Effect, EffectError, ImageSeen, Observed, Outcome},
    probes::Target,
    translate::{self, Facts, Paths},
    volumes::{self, Prepared},
};

/// The longest that a first start waits until this node leads to what its gates waited for.
const REACHED: std::time::Duration = std::time::Duration::from_secs(3);

/// The reason of a mount that waits for a claim's volume.
pub(super) const UNBOUND: &str = "ClaimNotBound";

/// An image as a container starts from it.
#[derive(Clone)]
pub(super) struct Resolved {
    pub image: Arc<ImageRecord>,
    pub rootfs: Arc<Rootfs>,
}

/// What the effects of one pod have found out and made.
#[derive(Default)]
struct Made {
    pod: Arc<Pod>,
    desired: Option<Arc<Desired>>,
    images: HashMap<String, Resolved>,
    /// Images of containers that ran before this process did.
    recalled: HashMap<String, Arc<ImageRecord>>,
    /// Warnings that a user of this pod has seen.
    warned: BTreeSet<String>,
    sandbox: Option<PodCreated>,
    prepared: Prepared,
    addresses: Vec<IpAddr>,
    /// The network was told to expect the pod, and has not let go of it since.
    expected: bool,
    /// Ready pods of services that the start gates name.
    reach: Vec<(String, IpAddr)>,
    watched: Option<Watched>,
}

/// What is done to a running container's processes.
enum Act {
    Signal(i32),
    Kill,
    Pause,
    Resume,
}

/// Performs one pod's effects.
pub(crate) struct Executor {
    pub node: Arc<Node>,
    pub uid: PodUid,
    pub paths: Paths,
    made: Mutex<Made>,
}

impl Executor {
    /// For a pod as found at boot or just seen.
    pub fn new(node: Arc<Node>, uid: PodUid, pod: Arc<Pod>, sandbox: Option<PodCreated>) -> Executor {
        let paths = Paths::new(&node.config.state_dir, pod.namespace(), pod.name(), uid.as_str());
        let known = sandbox.is_some().then_some(pod.status.as_ref()).flatten();
        let addresses = known.map(machine::addresses).unwrap_or_default();
        let made = Mutex::new(Made { pod, sandbox, addresses, ..Made::default() });
        Executor { node, uid, paths, made }
    }

    /// Takes the newest object.
    pub fn update(&self, pod: Arc<Pod>, desired: Arc<Desired>) {
        let mut made = self.made.lock();
        made.pod = pod;
        made.desired = Some(desired);
    }

    /// What the first start of a container may ask for at once: the services and addresses of its dependencies.
    pub fn is_to_reach(&self, pods: Vec<(String, IpAddr)>) {
        self.made.lock().reach = pods;
    }

    /// The newest object.
    pub fn pod(&self) -> Arc<Pod> {
        self.made.lock().pod.clone()
    }

    /// The sandbox, while there is one.
    pub fn sandbox(&self) -> Option<PodCreated> {
        self.made.lock().sandbox.clone()
    }

    /// The pod's address, or the host's for a pod in the host's network.
    pub fn address(&self) -> Option<IpAddr> {
        let made = self.made.lock();
        let on_host = made.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        if on_host { Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)) } else { made.addresses.first().copied() }
    }

    /// Notes an event of this pod.
    pub fn note(&self, note: Note) {
        self.node.events.note(&self.pod(), note);
    }

    /// When the pod's files are to be written again.
    pub fn refresh_at(&self) -> Option<Timestamp> {
        self.made.lock().prepared.refresh_at
    }

    pub(super) fn runtime(&self) -> &dyn Runtime {
        &*self.node.config.runtime
    }

    pub(super) fn resolved(&self, container: &str) -> Option<Resolved> {
        self.made.lock().images.get(container).cloned()
    }

    /// The image of a container that was started by this process or found running.
    pub(super) fn image(&self, container: &str) -> Option<Arc<ImageRecord>> {
        let made = self.made.lock();
        made.images.get(container).map(|found| &found.image).or_else(|| made.recalled.get(container)).cloned()
    }

    /// Finds the images of containers that ran before this process did, by what was told of them.
    pub(super) async fn recall(&self, observed: &Observed) {
        for (name, seen) in &observed.containers {
            let Some(ImageSeen { reference, shown, .. }) = &seen.image else { continue };
            for known in [shown, reference] {
                if let Ok(Some(image)) = self.node.config.images.resolve(known).await {
                    self.made.lock().recalled.insert(name.to_string(), Arc::new(image));
                    break;
                }
            }
        }
    }

    /// Tells once what this machine could not do for the pod: it is no fault of the pod's, and does not change.
    pub(super) fn degraded(&self, warnings: &[String]) {
        for warning in warnings {
            if self.made.lock().warned.insert(warning.clone()) {
                self.note(Note::normal("Degraded", warning.clone()));
            }
        }
    }

    pub(super) fn prepared(&self) -> Prepared {
        self.made.lock().prepared.clone()
    }

    /// Whether the pod has ended for good.
    pub fn is_over(&self, observed: &Observed) -> bool {
        let desired = self.made.lock().desired.clone();
        desired.is_some_and(|desired| machine::is_over(&desired, observed, Timestamp::now()))
    }

    /// Whether one of the pod's volumes lies there.
    pub fn was_given(&self, folder: &std::path::Path) -> bool {
        self.made.lock().prepared.paths.values().any(|path| path == folder)
    }

    pub(super) fn facts(&self) -> Facts {
        let made = self.made.lock();
        let on_host = made.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        let pod_ips = if on_host { self.node.facts.host_ips.clone() } else { made.addresses.clone() };
        Facts { pod_ips, ..self.node.facts.clone() }
    }

    pub(super) fn container_id(&self, name: &str, attempt: u32) -> Arc<str> {
        format!("{}/{name}/{attempt}", self.uid).into()
    }

    pub(super) fn service_variables(&self, pod: &Pod) -> BTreeMap<String, String> {
        let services = &self.node.services;
        let mut found: Vec<(String, Arc<ServiceView>)> = Vec::new();
        if let Some(kubernetes) = services.get("default", "kubernetes") {
            found.push(("kubernetes".to_owned(), kubernetes.view.clone()));
        }
        if pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false) {
            let own = services.list_in(pod.namespace());
            found.extend(own.into_iter().map(|service| (service.key.name.to_string(), service.view.clone())));
        }
        service_variables(found.iter().map(|(name, view)| (name.as_str(), &**view)))
    }

    /// Performs an effect.
    pub async fn run(&self, effect: &Effect) -> Result<Outcome, EffectError> {
        match effect {
            Effect::Mount => self.mount().await,
            Effect::CreateSandbox { .. } => self.create_sandbox().await,
            Effect::Attach => self.attach().await,
            Effect::Pull { container } => self.pull(container).await,
            Effect::Start { container, attempt } => {
                self.node.config.network.rejoin(&self.uid);
                let reach = if *attempt == 0 { self.made.lock().reach.clone() } else { Vec::new() };
                if !reach.is_empty() {
                    // Its dependencies are ready, but the endpoints controller and this node's rules follow a moment later.
                    let pod = self.pod();
                    let reached = self.node.config.network.reach(pod.namespace(), &reach);
                    let _ = tokio::time::timeout(REACHED, reached).await;
                }
                self.start(container, *attempt).await
            }
            Effect::PostStart { container } => self.hook(container, true).await,
            Effect::PreStop { container } => self.hook(container, false).await,
            Effect::Terminate { container } => {
                self.part().await;
                self.act(container, Act::Signal(self.stop_signal(container))).await
            }
            Effect::Kill { container } => self.act(container, Act::Kill).await,
            Effect::Pause { container } => self.act(container, Act::Pause).await,
            Effect::Resume { container } => self.act(container, Act::Resume).await,
            Effect::Detach => {
                self.detach().await?;
                self.made.lock().addresses.clear();
                Ok(Outcome::Done)
            }
            Effect::DestroySandbox => self.destroy_sandbox().await,
            Effect::Unmount => self.blocking(volumes::unmount).await,
            Effect::Clean => {
                // Its sandbox never came up, so it never was attached.
                if self.made.lock().expected {
                    self.detach().await?;
                }
                self.node.tokens.forget(self.uid.as_str());
                let ledger = self.node.ledger.remove(self.uid.as_str());
                ledger.map_err(|error| EffectError::new("FailedClean", error))?;
                self.blocking(volumes::clean).await
            }
            Effect::Finalize => self.finalize().await,
            Effect::BeginStop { .. } | Effect::AcceptPower(_) | Effect::End { .. } => Ok(Outcome::Done),
        }
    }

    /// Writes the pod's files again after something they come from changed.
    pub async fn refresh(&self) -> Result<(), EffectError> {
        self.mount().await.map(drop)
    }

    async fn mount(&self) -> Result<Outcome, EffectError> {
        let pod = self.pod();
        let failed = |error: &dyn std::error::Error| EffectError::chain("FailedMount", error);
        let (references, tokens) = volumes::needs(&pod);
        let claims = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let claims =
            claims.into_iter().any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
        if claims || !references.config_maps.is_empty() || !references.secrets.is_empty() {
            let watched = self.node.objects.watch(pod.namespace(), &references, claims);
            self.made.lock().watched = Some(watched);
        }
        let lookup = self.node.objects.lookup(pod.namespace(), &references);
        let issued = self.node.tokens.get(&pod, &tokens, Timestamp::now());
        let fetched = futures_util::future::try_join(lookup, issued).await;
        let (lookup, (tokens, refresh_at)) = match fetched {
            Ok(fetched) => fetched,
            Err(error) => return self.remembered(&error).ok_or_else(|| failed(&error)),
        };
        let input = volumes::Prepare {
            pod: &pod,
            paths: &self.paths,
            state: &self.node.config.state_dir,
            client: &self.node.config.client,
            facts: &self.facts(),
            labels: &self.node.labels,
            lookup: &lookup,
            tokens: &tokens,
        };
        let mut prepared = match volumes::prepare(input).await {
            Ok(prepared) => prepared,
            Err(volumes::VolumeError::Api { ref source, .. }) if self.remembered(source).is_some() => {
                return Ok(Outcome::Done);
            }
            Err(error @ volumes::VolumeError::Unbound { .. }) => return Err(EffectError::chain(UNBOUND, &error)),
            Err(error) => return Err(failed(&error)),
        };
        prepared.refresh_at = refresh_at;
        self.remember(&prepared);
        self.made.lock().prepared = prepared;
        Ok(Outcome::Done)
    }

    /// While the API is away a pod that was mounted before starts again from what is there.
    fn remembered(&self, error: &ClientError) -> Option<Outcome> {
        if !matches!(error, ClientError::Transport { .. }) {
            return None;
        }
        let text = std::fs::read(self.paths.root.join("prepared.json")).ok()?;
        let saved: (BTreeMap<String, std::path::PathBuf>, Vec<String>) = serde_json::from_slice(&text).ok()?;
        saved.0.values().all(|path| path.exists()).then_some(())?;
        self.made.lock().prepared = Prepared { paths: saved.0, read_only: saved.1, refresh_at: None };
        Some(Outcome::Done)
    }

    fn remember(&self, prepared: &Prepared) {
        let text = serde_json::to_vec(&(&prepared.paths, &prepared.read_only)).unwrap_or_default();
        if let Err(error) = std::fs::write(self.paths.root.join("prepared.json"), text) {
            tracing::warn!(pod = %self.uid, %error, "the pod's volumes will not be found again while the API is away");
        }
    }

    async fn create_sandbox(&self) -> Result<Outcome, EffectError> {
        let pod = self.pod();
        let failed = |error: &dyn std::error::Error| EffectError::chain("FailedCreatePodSandBox", error);
        let domain = &self.node.config.dns.domain;
        let config = translate::pod_config(&pod, self.uid.clone(), domain, None).map_err(|error| failed(&error))?;
        if self.made.lock().desired.as_ref().is_some_and(|desired| desired.networked) {
            self.made.lock().expected = true;
            self.node.config.network.expect(&self.uid, &pod);
        }
        let created = match self.runtime().create(config).await {
            Ok(created) => created,
            // Made by a process that died before it could say so.
            Err(PodError::PodExists(_)) => match self.runtime().state(&self.uid).await.map(|record| record.liveness) {
                Ok(PodLiveness::Alive(created)) => created,
                Ok(PodLiveness::SupervisorLost) => {
                    return Err(EffectError::new("FailedCreatePodSandBox", "a lost sandbox of this pod is in the way"));
                }
                Err(error) => return Err(failed(&error)),
            },
            Err(error) => return Err(failed(&error)),
        };
        self.degraded(&created.warnings);
        self.made.lock().sandbox = Some(created);
        Ok(Outcome::Done)
    }

    async fn attach(&self) -> Result<Outcome, EffectError> {
        let pod = self.pod();
        let created =
            self.sandbox().ok_or_else(|| EffectError::new("FailedCreatePodSandBox", "the sandbox is gone"))?;
        let (node, owner) = (self.node.clone(), pod.clone());
        let warn = Arc::new(move |reason, text| node.events.note(&owner, Note::warning(reason, text)));
        let (uid, netns, pid) = (self.uid.clone(), created.netns, created.supervisor_pid);
        let attachment = Attachment { uid, netns, pid, pod, warn };
        let addresses = self.node.config.network.attach(attachment).await;
        let addresses = addresses.map_err(|error| EffectError::chain("FailedCreatePodSandBox", &error))?;
        self.made.lock().addresses.clone_from(&addresses);
        Ok(Outcome::Addresses(addresses))
    }

    async fn detach(&self) -> Result<(), EffectError> {
        let detached = self.node.config.network.detach(&self.uid).await;
        detached.map_err(|error| EffectError::chain("NetworkNotReleased", &error))?;
        self.made.lock().expected = false;
        Ok(())
    }

    async fn pull(&self, container: &str) -> Result<Outcome, EffectError> {
        let desired = self.made.lock().desired.clone();
        let wanted = desired.as_ref().and_then(|desired| desired.container(container));
        let wanted = wanted.ok_or_else(|| EffectError::new("ErrImagePull", format!("no container {container:?}")))?;
        let image = images::ensure(&self.node, &self.pod(), wanted).await?;
        let rootfs = self.node.config.images.rootfs(&image.id).await;
        let rootfs = rootfs.map_err(|error| EffectError::chain("ErrImagePull", &error))?;
        let shown = images::shown(&image, &wanted.image).into();
        let seen = ImageSeen { reference: wanted.image.clone(), id: image.id.to_string().into(), shown };
        let resolved = Resolved { image: Arc::new(image), rootfs: Arc::new(rootfs) };
        self.made.lock().images.insert(container.to_owned(), resolved);
        Ok(Outcome::Image(seen))
    }

    async fn hook(&self, name: &str, post_start: bool) -> Result<Outcome, EffectError> {
        let pod = self.pod();
        let Some((container, _)) = start::find(&pod, name) else { return Ok(Outcome::Done) };
        let lifecycle = container.lifecycle.clone().unwrap_or_default();
        let hook = if post_start { lifecycle.post_start } else { lifecycle.pre_stop };
        let Some(hook) = hook else { return Ok(Outcome::Done) };
        if let Some(commands) = hooks::Command::all(&pod, name, post_start) {
            for command in commands {
                hooks::run_command(self.runtime(), &self.uid, &runtime_name(name)?, command).await?;
            }
            return Ok(Outcome::Done);
        }
        let target = Target { container: &container, address: self.address() };
        hooks::run(self.runtime(), &self.uid, &runtime_name(name)?, &hook, &target).await?;
        Ok(Outcome::Done)
    }

    /// The signal that asks a container to stop.
    pub fn stop_signal(&self, name: &str) -> i32 {
        let pod = self.pod();
        let image = self.image(name);
        let container = start::find(&pod, name).map(|(container, _)| container).unwrap_or_default();
        translate::stop_signal(&pod, &container, image.as_ref().map(|image| &image.config))
    }

    async fn act(&self, name: &str, act: Act) -> Result<Outcome, EffectError> {
        let (runtime, uid, name) = (self.runtime(), &self.uid, runtime_name(name)?);
        let act_is_kill = matches!(act, Act::Kill);
        let done = match act {
            Act::Signal(signal) => runtime.signal(uid, &name, signal).await,
            Act::Kill => runtime.kill(uid, &name).await,
            Act::Pause => runtime.pause(uid, &name).await,
            Act::Resume => runtime.resume(uid, &name).await,
        };
        if let Err(error @ PodError::NoAnswer { .. }) = &done {
            let text = crate::chain(error);
            tracing::warn!(pod = %self.uid, error = %text, "a supervisor is silent");
            if act_is_kill {
                // Its processes were to end anyway, and nobody else can end them: they go with it.
                self.note(Note::warning(
                    "SupervisorNotAnswering",
                    format!("{text}; it is killed, and its pod with it"),
                ));
                let killed = runtime.kill_supervisor(uid).await;
                return killed.map(|()| Outcome::Done).map_err(|error| EffectError::chain("FailedKill", &error));
            }
            self.note(Note::warning("SupervisorNotAnswering", text));
        }
        match done {
            // What has ended needs no signal.
            Ok(()) | Err(PodError::WrongState { .. } | PodError::NoPod(_) | PodError::SupervisorLost(_)) => {
                Ok(Outcome::Done)
            }
            Err(error) => Err(EffectError::chain("FailedKill", &error)),
        }
    }

    async fn destroy_sandbox(&self) -> Result<Outcome, EffectError> {
        let failed = |error: PodError| EffectError::chain("FailedKillPodSandBox", &error);
        match self.runtime().destroy(&self.uid).await {
            Ok(()) => {}
            Err(PodError::NoPod(_) | PodError::SupervisorLost(_)) => {
                self.runtime().sweep(&self.uid).await.map_err(failed)?
            }
            Err(error) => {
                // A supervisor that does not answer any more is taken for lost at the second attempt.
                tracing::warn!(pod = %self.uid, %error, "a sandbox was not destroyed in order and is swept");
                self.runtime().sweep(&self.uid).await.map_err(failed)?;
            }
        }
        self.made.lock().sandbox = None;
        Ok(Outcome::Done)
    }

    async fn blocking(
        &self,
        work: impl FnOnce(&Paths) -> Result<(), volumes::VolumeError> + Send + 'static,
    ) -> Result<Outcome, EffectError> {
        let paths = self.paths.clone();
        let done = tokio::task::spawn_blocking(move || work(&paths)).await;
        let done = done.map_err(|error| EffectError::new("FailedUnmount", error))?;
        done.map_err(|error| EffectError::chain("FailedUnmount", &error))?;
        Ok(Outcome::Done)
    }

    async fn finalize(&self) -> Result<Outcome, EffectError> {
        let pod = self.pod();
        let api = self.node.config.client.api::<Pod>(Some(pod.namespace()));
        let options = DeleteOptions::exactly(self.uid.as_str()).grace(0);
        let deleted = tokio::time::timeout(Duration::from_secs(30), api.delete(pod.name(), &options)).await;
        match deleted {
            Ok(Ok(())) => Ok(Outcome::Done),
            // Gone already, or another pod has the name by now.
            Ok(Err(error)) if error.is_not_found() || error.is_conflict() => Ok(Outcome::Done),
            Ok(Err(error)) => Err(EffectError::chain("FailedFinalize", &error)),
            Err(_) => Err(EffectError::new("FailedFinalize", "the API server did not answer within 30 s")),
        }
    }
}

fn runtime_name(name: &str) -> Result<ContainerName, EffectError> {
    ContainerName::new(name).map_err(|error| EffectError::chain("InvalidContainer", &error))
}
