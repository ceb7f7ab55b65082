//! What happened to a pod, taken into what is known of it.

use jiff::Timestamp;
use naru_api::{View, naru::names};
use naru_runtime::pod::Exit as RuntimeExit;

use super::{Input, Worker};
use crate::{
    machine::{Effect, Exit, Outcome, Sandbox, Why},
    pod::{Note, events, start},
    probes::Verdict,
};

impl Worker {
    pub(super) fn take(&mut self, input: Input) {
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
            Input::Evict { message, grace } => self.evict(message, grace, now),
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

    /// Ends the pod for good because its node runs short of something, sooner than its own grace would.
    fn evict(&mut self, message: String, grace: std::time::Duration, now: Timestamp) {
        self.end("Evicted", message, now);
        if self.observed.ending.is_none() {
            return;
        }
        let grace = grace.min(self.desired.grace);
        let running = self.observed.containers.iter().filter(|(_, seen)| seen.is_running());
        let names: Vec<_> = running.map(|(name, _)| name.clone()).collect();
        for container in names {
            let stop = Effect::BeginStop { container, why: Why::Ended, grace };
            self.observed.apply(&self.desired, &stop, Ok(Outcome::Done), now);
        }
    }

    pub(super) fn exited(&mut self, container: String, attempt: u32, exit: RuntimeExit) {
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
}
