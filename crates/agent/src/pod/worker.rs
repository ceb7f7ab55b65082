//! The task of one pod.

mod handle;
mod happened;
mod told;
mod wanted;

pub(crate) use handle::{Handle, Input, Judge, Wish};

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use naru_api::{View, k8s::api::core::v1::Pod};
use naru_runtime::pod::{Exit as RuntimeExit, PodLiveness, PodRecord, PodUid};
use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinSet},
};

use super::{Executor, Holder, Node, Note, events, start, status::StatusWriter};
use crate::{
    machine::{
        self, Desired, Effect, EffectError, Gate, GateSpec, Hook, Marks, Observed, Outcome, Power, Presence, Seen,
        State, Step, step,
    },
    probes::Prober,
    volumes,
};

/// How often volumes with a size limit are looked at: as often as kubelet does.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

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
}
