//! A world that performs effects in memory: what a pod holds, and what its programs do.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use naru_api::k8s::api::core::v1::Pod;
use naru_runtime::pod::{
    self as runtime, ContainerName, ContainerRecord, ContainerState, PodConfig, PodCreated, PodLiveness, PodRecord,
    PodUid,
};
use serde_json::json;

use crate::machine::{
    self, Deletion, Desired, Effect, EffectError, Exit, Gate, ImageSeen, Observed, Outcome, Slot, Step, step,
};

/// What goes wrong, once, at the effect with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Fail(usize),
    CrashAfter(usize),
    CrashBefore(usize),
    Repeat(usize),
}

/// What the machine really holds.
#[derive(Default)]
pub(super) struct Real {
    pub sandbox: bool,
    pub supervisor: bool,
    pub volumes: bool,
    pub links: bool,
    pub folder: bool,
    pub object: bool,
    pub containers: BTreeMap<String, ContainerRecord>,
    /// Programs that end by themselves, with their exit codes.
    pub ends: BTreeMap<String, i32>,
    /// Sandboxes that still cannot be made.
    pub refused: u32,
    /// Programs that do not react to TERM.
    pub deaf: Vec<String>,
}

pub(super) struct World {
    pub desired: Desired,
    pub observed: Observed,
    pub now: Timestamp,
    pub real: Real,
    pub fault: Fault,
    pub log: Vec<String>,
    count: usize,
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

pub(super) fn pod(spec: serde_json::Value) -> Pod {
    let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// A pod with a sidecar, an init container and two applications.
pub(super) fn full(policy: &str) -> Desired {
    let spec = json!({
        "restartPolicy": policy,
        "initContainers": [
            {"name": "side", "image": "s", "restartPolicy": "Always"},
            {"name": "init", "image": "i"}],
        "containers": [
            {"name": "web", "image": "w", "lifecycle": {
                "postStart": {"exec": {"command": ["a"]}}, "preStop": {"exec": {"command": ["b"]}}}},
            {"name": "log", "image": "w"}]});
    machine::desired(&pod(spec), Gate::Open)
}

pub(super) fn single(policy: &str) -> Desired {
    let spec = json!({"restartPolicy": policy, "containers": [{"name": "web", "image": "w:1"}]});
    machine::desired(&pod(spec), Gate::Open)
}

impl World {
    pub fn new(desired: Desired) -> World {
        let now = at(0);
        let mut observed = Observed::default();
        observed.meet(&desired, now);
        let mut real = Real { object: true, ..Real::default() };
        real.ends.insert("init".into(), 0);
        World { desired, observed, now, real, fault: Fault::None, log: Vec::new(), count: 0 }
    }

    /// Effects performed so far.
    pub fn effects(&self) -> usize {
        self.count
    }

    /// Runs until nothing is left to do now; waits are skipped over up to `horizon`.
    pub fn run(&mut self, horizon: Duration) -> &mut World {
        let end = self.now.checked_add(horizon).unwrap();
        for _ in 0..2000 {
            self.ends();
            match step(&self.desired, &self.observed, self.now) {
                Step::Do(effect) => self.perform(&effect),
                Step::WaitUntil(at) if at <= end => {
                    assert!(at > self.now, "waits for the past after {:?}", self.log);
                    self.now = at;
                }
                Step::WaitUntil(_) | Step::Settled => return self,
            }
        }
        panic!("does not settle: {:?}", self.log.iter().rev().take(20).collect::<Vec<_>>());
    }

    pub fn settle(&mut self) -> &mut World {
        self.run(Duration::from_secs(3600))
    }

    pub fn delete(&mut self, grace: i64) -> &mut World {
        let deadline = self.now.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap();
        self.desired.deletion = Some(Deletion { deadline, forced: grace == 0 });
        self
    }

    pub fn later(&mut self, seconds: u64) -> &mut World {
        self.now = self.now.checked_add(Duration::from_secs(seconds)).unwrap();
        self
    }

    /// A running container ends by itself.
    pub fn exit(&mut self, name: &str, code: i32) -> &mut World {
        let record = self.real.containers.get_mut(name).expect("such a container");
        let ContainerState::Running { started_at, .. } = record.state else { panic!("{name} does not run") };
        let exit = runtime::Exit { code, signal: None, oom: false, started_at, finished_at: self.now };
        record.state = ContainerState::Exited { exit: exit.clone() };
        self.observed.exited(&self.desired, name, record.attempt + 1, Exit::from_runtime(&exit));
        self
    }

    pub fn lose_supervisor(&mut self) -> &mut World {
        self.real.supervisor = false;
        for record in self.real.containers.values_mut() {
            if matches!(record.state, ContainerState::Running { .. }) {
                record.state = ContainerState::Lost;
            }
        }
        self.observed.lose_sandbox(&self.desired, "lost", self.now);
        self
    }

    /// The agent dies and starts again: only what is real survives.
    pub fn crash(&mut self) -> &mut World {
        let record = self.real.sandbox.then(|| self.record());
        let power = self.observed.power.clone();
        let ending = self.observed.ending.clone();
        let marks = self.observed.marks();
        self.observed = machine::adopt(&self.desired, record.as_ref(), None, power, self.now);
        self.observed.mark(&self.desired, &marks);
        self.observed.ending = ending; // told by the status
        self
    }

    pub fn running(&self) -> Vec<&str> {
        let runs = |record: &ContainerRecord| matches!(record.state, ContainerState::Running { .. });
        self.real.containers.iter().filter(|(_, record)| runs(record)).map(|(name, _)| &**name).collect()
    }

    pub fn is_gone(&self) -> bool {
        let Real { sandbox, volumes, links, folder, object, .. } = &self.real;
        self.running().is_empty() && !(*sandbox || *volumes || *links || *folder || *object)
    }

    pub fn record(&self) -> PodRecord {
        let uid = PodUid::new("u").unwrap();
        let created = PodCreated { supervisor_pid: 1, netns: "/n".into(), warnings: Vec::new() };
        let liveness = if self.real.supervisor { PodLiveness::Alive(created) } else { PodLiveness::SupervisorLost };
        let containers = self.real.containers.iter();
        let containers = containers.map(|(name, record)| (ContainerName::new(name.as_str()).unwrap(), record.clone()));
        PodRecord { config: PodConfig::new(uid, "n", "p"), liveness, containers: containers.collect() }
    }

    fn perform(&mut self, effect: &Effect) {
        assert!(!self.observed.busy.contains_key(&effect.slot()), "{effect:?} while its slot is busy");
        if effect.is_bookkeeping() {
            self.observed.begin(effect);
            return self.observed.apply(&self.desired, effect, Ok(Outcome::Done), self.now);
        }
        let index = self.count;
        self.count += 1;
        if self.fault == Fault::CrashBefore(index) {
            self.crash();
            return;
        }
        self.log.push(format!("{effect:?}"));
        self.observed.begin(effect);
        let result = if self.fault == Fault::Fail(index) {
            Err(EffectError::new("Injected", "injected"))
        } else {
            let result = self.execute(effect);
            if self.fault == Fault::Repeat(index) && !matches!(effect, Effect::Start { .. }) {
                self.execute(effect)
            } else {
                result
            }
        };
        if self.fault == Fault::CrashAfter(index) {
            self.crash();
            return;
        }
        self.observed.apply(&self.desired, effect, result, self.now);
    }

    fn execute(&mut self, effect: &Effect) -> Result<Outcome, EffectError> {
        let real = &mut self.real;
        match effect {
            Effect::Mount => (real.volumes, real.folder) = (true, true),
            Effect::Unmount => {
                assert!(!real.sandbox, "volumes go after the sandbox");
                real.volumes = false;
            }
            Effect::CreateSandbox { .. } if real.refused > 0 => {
                real.refused -= 1;
                real.sandbox = true;
                return Err(EffectError::new("FailedCreatePodSandBox", "no group"));
            }
            Effect::CreateSandbox { .. } => {
                assert!(!real.sandbox || real.supervisor, "a lost sandbox must be destroyed first");
                (real.sandbox, real.supervisor, real.folder) = (true, true, true);
            }
            Effect::DestroySandbox => {
                (real.sandbox, real.supervisor) = (false, false);
                real.containers.clear();
            }
            Effect::Attach => {
                assert!(real.sandbox, "needs a namespace");
                real.links = true;
                return Ok(Outcome::Addresses(vec!["10.42.0.2".parse().unwrap()]));
            }
            Effect::Detach => real.links = false,
            Effect::Pull { container } => {
                let wanted = self.desired.container(container).expect("a wanted container");
                let image = ImageSeen { reference: wanted.image.clone(), id: "id".into(), shown: "id".into() };
                return Ok(Outcome::Image(image));
            }
            Effect::Start { container, attempt } => return self.begin_container(container, *attempt),
            Effect::Terminate { container } if real.deaf.iter().any(|deaf| *deaf == **container) => {}
            Effect::Terminate { container } | Effect::Kill { container } => {
                let code = if matches!(effect, Effect::Kill { .. }) { 137 } else { 0 };
                let name = container.to_string();
                if self.running().contains(&&*name) {
                    self.exit(&name, code);
                }
            }
            Effect::Pause { container } | Effect::Resume { container } => {
                let frozen = matches!(effect, Effect::Pause { .. });
                if let Some(ContainerRecord { state: ContainerState::Running { paused, .. }, .. }) =
                    real.containers.get_mut(&**container)
                {
                    *paused = frozen;
                }
            }
            Effect::PostStart { .. } | Effect::PreStop { .. } => {}
            Effect::Clean => {
                assert!(!real.volumes && !real.sandbox, "nothing may live in the folder");
                real.folder = false;
            }
            Effect::Finalize => {
                assert!(!real.folder && !real.links, "the object goes last");
                real.object = false;
            }
            Effect::BeginStop { .. } | Effect::AcceptPower(_) | Effect::End { .. } => unreachable!(),
        }
        Ok(Outcome::Done)
    }

    fn begin_container(&mut self, name: &machine::Name, attempt: u32) -> Result<Outcome, EffectError> {
        let real = &mut self.real;
        assert!(real.supervisor && real.volumes, "{name} starts unprepared");
        assert!(real.links || !self.desired.networked, "{name} starts without a network");
        let before = real.containers.get(&**name).map(|record| record.attempt);
        assert!(before.is_none_or(|before| before < attempt), "{name}: attempt {attempt} after {before:?}");
        let state = ContainerState::Running { pid: 7, started_at: self.now, paused: false };
        real.containers.insert(name.to_string(), ContainerRecord { attempt, state });
        Ok(Outcome::Started { pid: 7, at: self.now, id: "c".into() })
    }

    /// Lets programs end that end by themselves, once the machine knows of their start.
    fn ends(&mut self) {
        let due: Vec<(String, i32)> = self.real.ends.iter().map(|(name, code)| (name.clone(), *code)).collect();
        for (name, code) in due {
            let busy = self.observed.busy.contains_key(&Slot::Container(name.as_str().into()));
            if !busy && self.running().contains(&&*name) {
                self.exit(&name, code);
            }
        }
    }
}
