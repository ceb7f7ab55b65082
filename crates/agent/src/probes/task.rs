//! The task of one probed attempt.

use std::{sync::Arc, time::Duration};

use naru_api::k8s::api::core::v1::{Container, Probe};
use naru_runtime::pod::ContainerName;
use tokio::task::AbortHandle;

use super::{Counter, Target, Verdict, check::check};
use crate::{
    machine::{Seen, State},
    pod::Executor,
};

/// First pause between attempts before the first success.
const EARLY: Duration = Duration::from_millis(50);

/// Probes one attempt for as long as it lives.
pub(crate) struct Prober {
    starts: u32,
    task: AbortHandle,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is found goes here; false when nobody listens any more.
type Told = Arc<dyn Fn(Verdict) -> bool + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

struct Subject {
    executor: Arc<Executor>,
    container: Container,
    name: ContainerName,
    starts: u32,
    /// It ran before this process did: its first probe waits for its own place in the period.
    adopted: bool,
    /// A failing startup probe kills nothing, tells that, and goes on: see [`super`].
    patient: bool,
    told: Told,
}

impl Prober {
    /// Starts probing, if the container has any probe. With `patient` a container that was not healthy yet is not found
    /// dead.
    pub fn start(
        executor: Arc<Executor>,
        container: Container,
        seen: &Seen,
        patient: bool,
        told: impl Fn(Verdict) -> bool + Send + Sync + 'static,
    ) -> Option<Prober> {
        let State::Running { since, .. } = seen.state else { return None };
        let probes = [&container.startup_probe, &container.liveness_probe, &container.readiness_probe];
        let name = ContainerName::new(container.name.as_str()).ok()?;
        probes.iter().any(|probe| probe.is_some()).then_some(())?;
        let starts = seen.starts;
        let started = seen.started;
        let age = Duration::try_from(jiff::Timestamp::now().duration_since(since)).unwrap_or_default();
        let adopted = age > Duration::from_secs(5);
        let subject = Subject { executor, container, name, starts, adopted, patient, told: Arc::new(told) };
        let task = tokio::spawn(async move { subject.run(started).await }).abort_handle();
        Some(Prober { starts, task })
    }

    /// The attempt that is probed.
    pub fn starts(&self) -> u32 {
        self.starts
    }
}

impl Subject {
    async fn run(&self, started: bool) {
        if let Some(probe) = self.container.startup_probe.as_ref().filter(|_| !started)
            && !self.follow(Kind::Startup, probe).await
        {
            return;
        }
        let liveness = async {
            if let Some(probe) = &self.container.liveness_probe {
                self.follow(Kind::Liveness, probe).await;
            }
        };
        let readiness = async {
            if let Some(probe) = &self.container.readiness_probe {
                self.follow(Kind::Readiness, probe).await;
            }
        };
        tokio::join!(liveness, readiness);
    }

    /// Runs one kind of probe. A startup probe ends with its verdict (true: started); the others end when the container
    /// was found dead or nobody listens.
    async fn follow(&self, kind: Kind, probe: &Probe) -> bool {
        let number = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        let period = Duration::from_secs(number(probe.period_seconds, 10).into());
        let limit = Duration::from_secs(number(probe.timeout_seconds, 1).into());
        let failures = number(probe.failure_threshold, 3);
        let successes = if kind == Kind::Readiness { number(probe.success_threshold, 1) } else { 1 };
        let mut counter = Counter::new(successes, failures);
        let delay = Duration::from_secs(u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0));
        // After a restart of the agent everything would be probed at once.
        let delay = if self.adopted { period.mul_f64(rand::random::<f64>()) } else { delay };
        tokio::time::sleep(delay).await;
        // Starting a process is too dear to be repeated in haste.
        let mut early = (probe.exec.is_none() && kind != Kind::Liveness).then_some(EARLY);
        loop {
            let target = Target { container: &self.container, address: self.executor.address() };
            let runtime = &*self.executor.node.config.runtime;
            let result = check(runtime, &self.executor.uid, &self.name, probe, &target, limit).await;
            let failed = result.is_err();
            if let Some(pause) = early.filter(|pause| failed && *pause < period) {
                early = Some(pause * 2);
                tokio::time::sleep(pause).await;
                continue;
            }
            early = None;
            let changed = counter.take(!failed);
            if let Some(over) = self.tell(kind, result, changed) {
                return over;
            }
            tokio::time::sleep(period).await;
        }
    }

    /// Passes a result on; answers when the probing is over, and how.
    fn tell(&self, kind: Kind, result: Result<(), String>, changed: Option<bool>) -> Option<bool> {
        let word = match kind {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        };
        let failure = result.err();
        let note = failure.as_ref().map(|error| format!("{word} probe failed: {error}"));
        let mut verdict = Verdict {
            container: self.container.name.clone(),
            starts: self.starts,
            started: None,
            ready: None,
            unhealthy: None,
            // That it takes no requests for a while is no verdict on its health.
            healthy: changed
                .filter(|well| *well || kind != Kind::Readiness)
                .map(|well| if well { Ok(()) } else { Err(failure.unwrap_or_default()) }),
            note,
        };
        let mut over = None;
        match (kind, changed) {
            (Kind::Startup, Some(true)) => {
                verdict.started = Some(true);
                verdict.ready = self.container.readiness_probe.is_none().then_some(true);
                over = Some(true);
            }
            (Kind::Startup, Some(false)) if self.patient => {}
            (Kind::Startup | Kind::Liveness, Some(false)) => {
                verdict.unhealthy = Some(format!("{} probe", word.to_ascii_lowercase()));
                // With restarts switched off it stays unhealthy, and the probe keeps looking.
                over = (kind == Kind::Startup).then_some(false);
            }
            (Kind::Readiness, Some(ready)) => verdict.ready = Some(ready),
            _ => {}
        }
        let news = verdict.note.is_some() || changed.is_some();
        if news && !(self.told)(verdict) {
            return Some(false);
        }
        over
    }
}
