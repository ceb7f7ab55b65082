//! The task of one pod.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use naru_api::{View, k8s::api::core::v1::Pod, naru::names};
use naru_runtime::pod::{Exit as RuntimeExit, PodLiveness, PodRecord, PodUid};
use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinHandle, JoinSet},
};

use super::{Executor, Holder, Node, Note, ObjectChange, events, start, status::StatusWriter};
use crate::{
    machine::{
        self, Deletion, Desired, Effect, EffectError, Exit, Gate, GateSpec, Hook, Marks, Observed, Outcome, Power,
        Presence, Sandbox, Seen, Slot, State, StatusInput, Step, Why, step,
    },
    probes::{Prober, Verdict},
    translate::{References, qos, with_image_health},
    volumes,
};

/// How often volumes with a size limit are looked at: as often as kubelet does.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

/// What is wanted: the newest object, or its absence.
#[derive(Clone)]
pub(crate) struct Wish {
    /// The object as last seen.
    pub pod: Arc<Pod>,
    /// It is no longer in the API.
    pub gone: bool,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A container's process ended.
    Exited {
        /// Which container.
        container: String,
        /// Which attempt, counted from 0.
        attempt: u32,
        /// How.
        exit: RuntimeExit,
    },
    /// The supervisor is gone.
    SupervisorLost,
    /// A container is about to get a signal that ends it, on request; or (`held` false) did not get it.
    Hold {
        /// Which container.
        container: String,
        /// Whether it stays down.
        held: bool,
    },
    /// A probe's verdict changed.
    Probe(Verdict),
    /// An object of the pod's namespace changed.
    Object(ObjectChange),
    /// Pods that start gates look at changed.
    Gates,
    /// Changes were missed: look at everything.
    LookAgain,
}

/// Judges the start gates of a pod in a namespace; names the pods that an open one leads to.
pub(crate) type Judge = Arc<dyn Fn(&str, &[GateSpec]) -> (Gate, Vec<(String, IpAddr)>) + Send + Sync>;

/// A running worker.
pub(crate) struct Handle {
    /// What happened goes here.
    pub inbox: mpsc::UnboundedSender<Input>,
    /// The pod's effects and folders, for the node's interface.
    pub executor: Arc<Executor>,
    /// What is known, after every change.
    pub view: watch::Receiver<Arc<Observed>>,
    wish: watch::Sender<Wish>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Gives the worker a newer wish, which the API has told.
    pub fn wish(&self, pod: Arc<Pod>, gone: bool) {
        // At once: another pod's worker may be about to start on this one's data.
        let Executor { node, uid, .. } = &*self.executor;
        node.claims.set(uid.as_str(), |before| {
            let known = Holder::of(&pod);
            let occupied = before.is_some_and(|before| before.occupied);
            Holder { ending: gone || known.ending, confirmed: true, occupied, ..known }
        });
        self.wish.send_replace(Wish { pod, gone });
    }

    /// Whether the pod is gone from this node.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// The object as last seen.
    pub fn pod(&self) -> Arc<Pod> {
        self.wish.borrow().pod.clone()
    }

    /// Ends the worker without touching its pod.
    pub fn abandon(&self) {
        self.task.abort();
    }
}

/// What a worker starts from.
pub(crate) struct Spawn {
    pub node: Arc<Node>,
    pub uid: PodUid,
    pub pod: Arc<Pod>,
    pub record: Option<PodRecord>,
    /// The power wish acted on before, as the annotation's text.
    pub power: Option<String>,
    /// What was kept of it besides.
    pub marks: Marks,
    /// The API has it; otherwise only the ledger or the runtime is known to.
    pub confirmed: bool,
    pub judge: Judge,
}

/// Starts a worker; `ended` is called when its pod is gone.
pub(crate) fn spawn(spawn: Spawn, ended: impl FnOnce() + Send + 'static) -> Handle {
    let Spawn { node, uid, pod, record, power, marks, confirmed, judge } = spawn;
    let holder = Holder { confirmed, occupied: record.is_some(), ..Holder::of(&pod) };
    node.claims.set(uid.as_str(), |_| holder);
    let sandbox = record.as_ref().and_then(|record| match &record.liveness {
        PodLiveness::Alive(created) => Some(created.clone()),
        PodLiveness::SupervisorLost => None,
    });
    let executor = Arc::new(Executor::new(node.clone(), uid, pod.clone(), sandbox));
    let (inbox, events) = mpsc::unbounded_channel();
    let (wish, wishes) = watch::channel(Wish { pod: pod.clone(), gone: false });
    let now = Timestamp::now();
    let desired = Arc::new(machine::desired(&pod, Gate::Open));
    let power = power.map(|text| machine::power(&text));
    let adopted = record.is_some();
    let adopt = {
        let pod = pod.clone();
        move |desired: &Desired| {
            let mut observed = machine::adopt(desired, record.as_ref(), pod.status.as_ref(), power.clone(), now);
            observed.mark(desired, &marks);
            observed
        }
    };
    let observed = adopt(&desired);
    let (view_sender, view) = watch::channel(Arc::new(observed.clone()));
    let mut worker = Worker {
        claims: node.claims.changes(),
        warned: None,
        status: StatusWriter::start(node.clone(), pod.clone()),
        node,
        executor: executor.clone(),
        wishes,
        events,
        inbox: inbox.clone(),
        view: view_sender,
        judge,
        gates: Vec::new(),
        probed: pod.clone(),
        tested: Vec::new(),
        pod,
        gone_at: None,
        desired,
        observed,
        tasks: JoinSet::new(),
        running: BTreeMap::new(),
        early: Vec::new(),
        probers: BTreeMap::new(),
        refresh: Refresh::Idle,
        measure_at: None,
        saved: None,
    };
    let task = tokio::spawn(async move {
        if adopted {
            worker.executor.recall(&worker.observed).await;
            worker.want();
            // Whether a container is ready is told anew where its image tests that.
            worker.observed = adopt(&worker.desired);
        }
        worker.take_wish();
        worker.run().await;
        worker.node.claims.leave(worker.executor.uid.as_str());
        ended();
    });
    Handle { inbox, executor, view, wish, task }
}

/// Whether the pod's files are being written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refresh {
    Idle,
    Running,
    /// Running, and something changed since it began.
    Again,
}

enum Done {
    Effect(Result<Outcome, EffectError>),
    /// The volume that holds too much.
    Measured(Option<String>),
    Refreshed(Result<(), EffectError>),
}

struct Worker {
    node: Arc<Node>,
    executor: Arc<Executor>,
    wishes: watch::Receiver<Wish>,
    events: mpsc::UnboundedReceiver<Input>,
    inbox: mpsc::UnboundedSender<Input>,
    view: watch::Sender<Arc<Observed>>,
    status: StatusWriter,
    judge: Judge,
    gates: Vec<GateSpec>,
    /// Signals that other pods took or let go of claims.
    claims: watch::Receiver<()>,
    /// The last trouble with the sandbox that the log has.
    warned: Option<String>,
    pod: Arc<Pod>,
    /// The pod with the health tests of its images.
    probed: Arc<Pod>,
    /// The containers that have such a test.
    tested: Vec<String>,
    gone_at: Option<Timestamp>,
    desired: Arc<Desired>,
    observed: Observed,
    tasks: JoinSet<Done>,
    /// What each task does; a task that is not here writes files again.
    running: BTreeMap<Id, Effect>,
    /// Exits of starts whose own answer has not come yet.
    early: Vec<(String, u32, RuntimeExit)>,
    probers: BTreeMap<machine::Name, Prober>,
    refresh: Refresh,
    /// When volumes with a size limit are looked at next.
    measure_at: Option<Timestamp>,
    saved: Option<(Arc<Pod>, Option<Power>, Marks)>,
}

impl Worker {
    async fn run(&mut self) {
        loop {
            let wake = self.act();
            self.probe();
            self.publish();
            if self.observed.finalized {
                return;
            }
            let wake = self.earliest(wake);
            tokio::select! {
                biased;
                Some(input) = self.events.recv() => self.take(input),
                Some(done) = self.tasks.join_next_with_id() => self.finish(done),
                changed = self.wishes.changed() => match changed {
                    Ok(()) => self.take_wish(),
                    Err(_) => return,
                },
                // The machine is asked again; it looks at the claims itself.
                Ok(()) = self.claims.changed(), if self.is_new() => {}
                () = tokio::time::sleep(wake) => self.woken(),
            }
            while let Ok(input) = self.events.try_recv() {
                self.take(input);
            }
        }
    }

    /// Starts everything that the machine names; returns when to ask again.
    fn act(&mut self) -> Option<Timestamp> {
        loop {
            let now = Timestamp::now();
            self.look_at_claims();
            match step(&self.desired, &self.observed, now) {
                Step::Do(effect) if effect.is_bookkeeping() => {
                    if let Some(note) = events::of_effect(&effect, &Ok(Outcome::Done)) {
                        self.executor.note(note);
                    }
                    self.observed.apply(&self.desired, &effect, Ok(Outcome::Done), now);
                }
                Step::Do(effect) => {
                    tracing::trace!(pod = %self.executor.uid, ?effect, "begins");
                    self.observed.begin(&effect);
                    let (executor, work) = (self.executor.clone(), effect.clone());
                    let task = self.tasks.spawn(async move { Done::Effect(executor.run(&work).await) });
                    self.running.insert(task.id(), effect);
                }
                Step::WaitUntil(at) => return Some(at),
                Step::Settled => return None,
            }
        }
    }

    /// Whether no container of the pod was ever started.
    fn is_new(&self) -> bool {
        self.observed.containers.values().all(|seen| seen.starts == 0)
    }

    /// Holds a new pod while one that is ending has its data.
    fn look_at_claims(&mut self) {
        let wait = self.is_new().then(|| self.node.claims.wait(self.executor.uid.as_str())).flatten();
        if wait == self.desired.hold {
            return;
        }
        if let Some(text) = &wait {
            self.executor.note(Note::normal("WaitingForVolume", format!("The pod {text}")));
        }
        self.desired = Arc::new(Desired { hold: wait, ..Desired::clone(&self.desired) });
        self.executor.update(self.pod.clone(), self.desired.clone());
    }

    fn earliest(&self, wake: Option<Timestamp>) -> Duration {
        let refresh = self.executor.refresh_at().filter(|_| self.observed.volumes == Presence::Present);
        let due = wake.into_iter().chain(refresh).chain(self.measure_at).min();
        let Some(due) = due else { return Duration::from_secs(24 * 3600) };
        let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
        // Wall clocks jump: never sleep so long that a jump goes unnoticed for more than a minute.
        left.clamp(Duration::from_millis(1), Duration::from_secs(60))
    }

    fn woken(&mut self) {
        let now = Timestamp::now();
        if self.measure_at.is_some_and(|at| at <= now) {
            self.measure_at = now.checked_add(MEASURED_EVERY).ok();
            let (pod, paths) = (self.pod.clone(), self.executor.paths.clone());
            self.tasks.spawn(async move {
                let looked = tokio::task::spawn_blocking(move || volumes::exceeded(&pod, &paths)).await;
                Done::Measured(looked.unwrap_or_default())
            });
        }
        if self.executor.refresh_at().is_some_and(|at| at <= Timestamp::now()) {
            self.refresh();
        }
    }

    fn finish(&mut self, done: Result<(Id, Done), tokio::task::JoinError>) {
        let now = Timestamp::now();
        let (id, done) = match done {
            Ok(done) => done,
            Err(error) => {
                let failed = EffectError::new("InternalError", format!("the work was cut off: {error}"));
                (error.id(), Done::Effect(Err(failed)))
            }
        };
        match (self.running.remove(&id), done) {
            (Some(effect), Done::Effect(result)) => {
                tracing::trace!(pod = %self.executor.uid, ?effect, ?result, "ends");
                let waited = self.observed.started_at.map(|since| now.duration_since(since)).unwrap_or_default();
                let early = events::is_early_wait(&result, waited);
                if let Some(note) = events::of_effect(&effect, &result).filter(|_| !early) {
                    self.executor.note(note);
                }
                self.observed.apply(&self.desired, &effect, result, now);
                self.warn_of(&effect);
                if matches!(effect, Effect::Pull { .. }) {
                    // The image may bring a health test along.
                    self.want();
                }
                if matches!(effect, Effect::Start { .. }) {
                    for (container, attempt, exit) in std::mem::take(&mut self.early) {
                        self.exited(container, attempt, exit);
                    }
                }
            }
            (_, Done::Measured(None)) => {}
            (_, Done::Measured(Some(message))) => self.end("Evicted", message, now),
            (_, Done::Refreshed(result)) => {
                let again = self.refresh == Refresh::Again;
                self.refresh = Refresh::Idle;
                if let Err(error) = result {
                    self.executor.note(Note::warning("FailedMount", error.message));
                }
                if again {
                    self.refresh();
                }
            }
            // A refresh that was cut off.
            (None, Done::Effect(_)) => self.refresh = Refresh::Idle,
        }
    }

    /// The log has each new reason why a pod's sandbox cannot be made once: who only looks at it should not miss that.
    fn warn_of(&mut self, effect: &Effect) {
        if !matches!(effect, Effect::CreateSandbox { .. } | Effect::Attach) {
            return;
        }
        let trouble = self.observed.trouble.get(&effect.slot()).map(|trouble| trouble.message.clone());
        if let Some(error) = trouble.as_ref().filter(|text| self.warned.as_ref() != Some(text)) {
            tracing::warn!(pod = %self.pod.name(), uid = %self.executor.uid, %error, "a pod's sandbox cannot be made; it is tried again, ever less often");
        }
        self.warned = trouble;
    }

    /// Ends the pod for good.
    fn end(&mut self, reason: &'static str, message: String, now: Timestamp) {
        if self.desired.deletion.is_none() && self.observed.ending.is_none() {
            let effect = Effect::End { reason, message };
            events::of_effect(&effect, &Ok(Outcome::Done)).into_iter().for_each(|note| self.executor.note(note));
            self.observed.apply(&self.desired, &effect, Ok(Outcome::Done), now);
        }
    }

    fn take(&mut self, input: Input) {
        let now = Timestamp::now();
        match input {
            Input::Exited { container, attempt, exit } => self.exited(container, attempt, exit),
            Input::SupervisorLost => {
                if self.observed.sandbox == Sandbox::Ready {
                    let text = "the pod's supervisor was lost; its sandbox is replaced";
                    self.executor.note(Note::warning("SandboxChanged", text));
                    self.observed.lose_sandbox(&self.desired, text, now);
                }
            }
            Input::Hold { container, held } => self.observed.hold(&self.desired, &container, held),
            Input::Probe(verdict) => self.probed(verdict, now),
            Input::Object(change) if self.refers_to(&change) => {
                self.observed.poke(now);
                self.refresh();
            }
            Input::Object(_) => {}
            Input::LookAgain => {
                self.observed.poke(now);
                self.refresh();
                self.judge_gates();
            }
            Input::Gates => self.judge_gates(),
        }
    }

    fn exited(&mut self, container: String, attempt: u32, exit: RuntimeExit) {
        let starts = self.observed.containers.get(&*container).map_or(0, |seen| seen.starts);
        if attempt + 1 > starts {
            self.early.push((container, attempt, exit));
            return;
        }
        let mut known = Exit::from_runtime(&exit);
        if let Some((spec, _)) = start::find(&self.pod, &container) {
            known.message = self.executor.paths.last_words(&spec, attempt, known.code != 0);
        }
        self.observed.exited(&self.desired, &container, attempt + 1, known);
        let backs_off = self.observed.containers.get(&*container).is_some_and(|seen| seen.crashes > 0);
        let stays = self.desired.deletion.is_none() && exit.code != 0 && backs_off;
        if stays {
            let text = format!(
                "Back-off restarting failed container {container} in pod {}({})",
                self.pod.name(),
                self.executor.uid
            );
            self.executor.note(Note::warning("BackOff", text).of(&container));
        }
    }

    fn probed(&mut self, verdict: Verdict, now: Timestamp) {
        let Verdict { container, starts, started, ready, unhealthy, healthy, note } = verdict;
        if let Some(note) = note {
            self.executor.note(Note::warning("Unhealthy", note).of(&container));
        }
        self.observed.probed(&container, starts, started, ready);
        let off = self.pod.metadata.annotations.as_ref().and_then(|notes| notes.get(names::HEALTHCHECK_RESTART));
        let Some(why) = unhealthy.filter(|_| off.is_none_or(|text| text != "false")) else {
            if let Some(healthy) = healthy {
                self.observed.examined(&self.desired, &container, starts, healthy);
            }
            return;
        };
        if self.observed.containers.get(&*container).is_none_or(|seen| seen.starts != starts) {
            return;
        }
        let wanted = self.desired.container(&container);
        let grace = wanted.and_then(|wanted| wanted.liveness_grace).unwrap_or(self.desired.grace);
        let stop = Effect::BeginStop { container: container.as_str().into(), why: Why::Unhealthy(why), grace };
        if let Some(note) = events::of_effect(&stop, &Ok(Outcome::Done)) {
            self.executor.note(note);
        }
        self.observed.apply(&self.desired, &stop, Ok(Outcome::Done), now);
    }

    /// Reads the newest wish and everything that depends on it.
    fn take_wish(&mut self) {
        let Wish { pod, gone } = self.wishes.borrow_and_update().clone();
        let labels = (&pod.metadata.labels, &pod.metadata.annotations);
        let relabelled = labels != (&self.pod.metadata.labels, &self.pod.metadata.annotations);
        self.pod = pod;
        let now = Timestamp::now();
        if gone {
            self.gone_at.get_or_insert(now);
        }
        let text = self.pod.metadata.annotations.as_ref().and_then(|notes| notes.get(names::START_GATES));
        self.gates = match text.map(|text| serde_json::from_str(text)) {
            None => Vec::new(),
            Some(Ok(gates)) => gates,
            Some(Err(error)) => {
                self.executor.note(Note::warning("InvalidAnnotation", format!("{}: {error}", names::START_GATES)));
                Vec::new()
            }
        };
        self.want();
        self.observed.meet(&self.desired, now);
        if relabelled {
            // The downward API shows labels and annotations.
            self.refresh();
        }
    }

    fn judge_gates(&mut self) {
        if !self.gates.is_empty() {
            self.want();
        }
    }

    fn want(&mut self) {
        let (gate, reach) = match self.gates.as_slice() {
            [] => (Gate::Open, Vec::new()),
            gates => (self.judge)(self.pod.namespace(), gates),
        };
        self.executor.is_to_reach(reach);
        let spec = self.pod.spec.as_ref();
        let names = spec.into_iter().flat_map(|spec| &spec.containers).map(|container| &container.name);
        let images: BTreeMap<&String, _> = names.filter_map(|name| Some((name, self.executor.image(name)?))).collect();
        let found = with_image_health(&self.pod, |name| images.get(&name.to_owned()).map(|image| &image.config));
        (self.probed, self.tested) = found;
        let mut desired = machine::desired(&self.probed, gate);
        desired.hold.clone_from(&self.desired.hold);
        if let Some(at) = self.gone_at {
            // Nobody can say any more how long to wait.
            desired.deletion = Some(Deletion { deadline: at, forced: true });
        }
        if volumes::has_limits(&self.pod) && self.measure_at.is_none() {
            self.measure_at = Timestamp::now().checked_add(MEASURED_EVERY).ok();
        }
        self.desired = Arc::new(desired);
        self.executor.update(self.pod.clone(), self.desired.clone());
    }

    fn refers_to(&self, change: &ObjectChange) -> bool {
        if *change.namespace != *self.pod.namespace() {
            return false;
        }
        let name = &*change.name;
        let (mut found, _) = volumes::needs(&self.pod);
        let spec = self.pod.spec.as_ref();
        let containers =
            spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
        for container in containers {
            let References { config_maps, secrets } = crate::translate::references(container);
            found.config_maps.extend(config_maps);
            found.secrets.extend(secrets);
        }
        match change.kind {
            "ConfigMap" => found.config_maps.contains(name),
            "Secret" => found.secrets.contains(name),
            _ => spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| {
                volume.ephemeral.is_some()
                    || volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.claim_name == name)
            }),
        }
    }

    /// Writes the pod's files again, if they were written before.
    fn refresh(&mut self) {
        if self.observed.volumes != Presence::Present || self.desired.deletion.is_some() {
            return;
        }
        match self.refresh {
            Refresh::Idle => {
                self.refresh = Refresh::Running;
                let executor = self.executor.clone();
                self.tasks.spawn(async move { Done::Refreshed(executor.refresh().await) });
            }
            Refresh::Running | Refresh::Again => self.refresh = Refresh::Again,
        }
    }

    /// Probes what runs, and nothing else.
    fn probe(&mut self) {
        let live = |seen: &Seen| matches!(seen.state, State::Running { post_start: Hook::Done, paused: false, .. });
        let observed = &self.observed;
        self.probers.retain(|name, prober| {
            observed.containers.get(name).is_some_and(|seen| live(seen) && seen.starts == prober.starts())
        });
        for (name, seen) in observed.containers.iter().filter(|(_, seen)| live(seen)) {
            if self.probers.contains_key(name) {
                continue;
            }
            let Some((container, _)) = start::find(&self.probed, name) else { continue };
            let inbox = self.inbox.clone();
            let told = move |verdict| inbox.send(Input::Probe(verdict)).is_ok();
            if let Some(prober) = Prober::start(self.executor.clone(), container, seen, self.desired.docker, told) {
                self.probers.insert(name.clone(), prober);
            }
        }
    }

    fn publish(&mut self) {
        let spec = self.pod.spec.as_ref();
        let gates = spec.into_iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
        let readiness_gates: Vec<String> = gates.map(|gate| gate.condition_type.clone()).collect();
        let conditions = self.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let host = self.node.config.addresses.borrow().clone();
        let status = machine::status(&StatusInput {
            desired: &self.desired,
            observed: &self.observed,
            conditions,
            readiness_gates: &readiness_gates,
            tested: &self.tested,
            pod: &format!("{}_{}({})", self.pod.name(), self.pod.namespace(), self.executor.uid),
            host: &host,
            generation: self.pod.metadata.generation,
            qos: spec.map_or("BestEffort", |spec| qos(spec).as_str()),
            now: Timestamp::now(),
        });
        let occupied = self.observed.is_occupied();
        self.node.claims.set(self.executor.uid.as_str(), |before| {
            let holder = before.cloned().unwrap_or_else(|| Holder::of(&self.pod));
            Holder { occupied, ..holder }
        });
        let cleaning = self.observed.cleaned || self.observed.busy.contains_key(&Slot::Folder);
        if !cleaning {
            self.save();
        }
        if self.gone_at.is_none() {
            self.status.tell(status);
        }
        self.view.send_replace(Arc::new(self.observed.clone()));
    }

    /// Keeps the ledger in step with the object and the power wish.
    fn save(&mut self) {
        let power = self.observed.power.clone();
        let marks = self.observed.marks();
        let same = |(pod, known, kept): &(Arc<Pod>, Option<Power>, Marks)| {
            Arc::ptr_eq(pod, &self.pod) && *known == power && *kept == marks
        };
        if self.saved.as_ref().is_some_and(same) {
            return;
        }
        let text = power.as_ref().map(machine::Power::text);
        let saved = self.node.ledger.save(self.executor.uid.as_str(), &self.pod, text.as_deref(), &marks);
        self.saved = Some((self.pod.clone(), power, marks));
        if let Err(error) = saved {
            tracing::warn!(pod = %self.executor.uid, %error, "the pod was not saved and is not found while the API is away");
        }
    }
}
