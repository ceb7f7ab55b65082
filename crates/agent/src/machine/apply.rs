//! How what happened changes what is known. Nothing else writes to [`Observed`].

use jiff::Timestamp;

use super::{
    Effect, EffectError, Ending, Exit, Hook, Name, Observed, Outcome, Pace, Power, Presence, Role, Sandbox, Seen, Slot,
    State, Stop, Trouble, Wanted, Why, Wish, rules,
};
use crate::machine::Desired;

impl Observed {
    /// Makes room for every wanted container and forgets records of unwanted ones that never ran.
    pub fn meet(&mut self, desired: &Desired, now: Timestamp) {
        self.started_at.get_or_insert(now);
        for Wanted { name, .. } in &desired.containers {
            self.containers.entry(name.clone()).or_default();
        }
        // A pod that is seen for the first time takes its power wish as it is: there is nothing to restart yet.
        if self.power.is_none() {
            self.power = Some(desired.power.clone());
        }
    }

    /// Notes that an effect is under way.
    pub fn begin(&mut self, effect: &Effect) {
        self.busy.insert(effect.slot(), effect.clone());
    }

    /// Folds the end of an effect in.
    pub fn apply(&mut self, desired: &Desired, effect: &Effect, result: Result<Outcome, EffectError>, now: Timestamp) {
        let slot = effect.slot();
        self.busy.remove(&slot);
        match result {
            Ok(outcome) => {
                // Sweeping what a failed creation left is no success of the creation.
                let creation = |trouble: &Trouble| matches!(trouble.effect, Effect::CreateSandbox { .. });
                if !(*effect == Effect::DestroySandbox && self.trouble.get(&slot).is_some_and(creation)) {
                    self.trouble.remove(&slot);
                }
                self.succeed(desired, effect, outcome, now);
            }
            Err(error) => self.fail(desired, effect, error, now),
        }
    }

    /// A container's process ended. Exits of earlier attempts are ignored.
    pub fn exited(&mut self, desired: &Desired, name: &str, starts: u32, mut exit: Exit) {
        let Some(seen) = self.containers.get_mut(name) else { return };
        if seen.starts != starts {
            return;
        }
        if let State::Running { stop, .. } = &mut seen.state {
            exit.why = stop.take().map(|stop| stop.why).or(exit.why);
        } else if matches!(seen.state, State::Exited(_)) {
            return;
        }
        if exit.ran_for() >= desired.pace.forgiven_after {
            seen.crashes = 0;
        }
        // A wish to restart has been half granted; the other half is the start.
        if exit.why == Some(Why::Restart) {
            seen.wish = Some(Wish::Start);
        }
        (seen.started, seen.ready, seen.sick) = (false, false, None);
        seen.state = State::Exited(exit);
    }

    /// The supervisor is gone: whatever ran is lost, init containers must run again in the next sandbox.
    pub fn lose_sandbox(&mut self, desired: &Desired, message: &str, now: Timestamp) {
        let over = desired.deletion.is_some() || self.ending.is_some() || rules::is_finished(desired, self, now);
        if self.sandbox == Sandbox::Ready {
            self.sandbox = Sandbox::Unclean;
        }
        for (name, seen) in &mut self.containers {
            if let State::Running { since, .. } = seen.state {
                seen.state = State::Exited(Exit::lost(message, Some(since), now));
                (seen.started, seen.ready, seen.sick) = (false, false, None);
            }
            let init = desired.container(name).is_some_and(|wanted| wanted.role == Role::Init);
            if init
                && !over
                && let State::Exited(exit) = std::mem::take(&mut seen.state)
            {
                seen.last = Some(exit);
            }
        }
    }

    /// A probe's verdict changed for a running attempt.
    pub fn probed(&mut self, name: &str, starts: u32, started: Option<bool>, ready: Option<bool>) {
        let Some(seen) = self.containers.get_mut(name) else { return };
        if seen.starts != starts || !seen.is_running() {
            return;
        }
        seen.started = started.unwrap_or(seen.started);
        seen.ready = ready.unwrap_or(seen.ready);
    }

    /// A health test has decided, and its container is left running: as Docker tells it, an unhealthy one stays so until
    /// its test passes. Kubernetes knows no such thing.
    pub fn examined(&mut self, desired: &Desired, name: &str, starts: u32, healthy: Result<(), String>) {
        let Some(seen) = self.containers.get_mut(name) else { return };
        if seen.starts == starts && seen.is_running() && desired.docker {
            seen.sick = healthy.err();
        }
    }

    /// A container gets a signal that ends it, on request: as after `docker kill`, its restart rule no longer holds.
    /// Kubernetes knows no such thing. `held` false takes it back.
    pub fn hold(&mut self, desired: &Desired, name: &str, held: bool) {
        if let Some(seen) = self.containers.get_mut(name) {
            seen.held = held && desired.docker;
        }
    }

    /// Something outside changed that a failed effect may have waited for: it may be tried at once.
    pub fn poke(&mut self, now: Timestamp) {
        for trouble in self.trouble.values_mut() {
            if !matches!(trouble.effect, Effect::Pull { .. } | Effect::CreateSandbox { .. }) {
                trouble.retry_at = trouble.retry_at.min(now);
            }
        }
    }

    fn succeed(&mut self, desired: &Desired, effect: &Effect, outcome: Outcome, now: Timestamp) {
        match effect {
            Effect::Mount => self.volumes = Presence::Present,
            Effect::Unmount => self.volumes = Presence::Absent,
            Effect::CreateSandbox { attempt } => {
                self.sandbox = Sandbox::Ready;
                self.sandboxes = attempt + 1;
            }
            Effect::DestroySandbox => {
                self.lose_sandbox(desired, "the pod's sandbox was destroyed", now);
                self.sandbox = Sandbox::Absent;
                if self.network == Presence::Present {
                    self.network = Presence::Unknown;
                }
            }
            Effect::Attach => {
                self.network = Presence::Present;
                if let Outcome::Addresses(addresses) = outcome {
                    self.addresses = addresses;
                }
            }
            Effect::Detach => {
                self.network = Presence::Absent;
                self.addresses.clear();
            }
            Effect::Clean => self.cleaned = true,
            Effect::Finalize => self.finalized = true,
            Effect::AcceptPower(power) => self.accept_power(power),
            Effect::End { reason, message } => {
                self.ending.get_or_insert(Ending { reason, message: message.clone() });
            }
            Effect::BeginStop { container, why, grace } => {
                let deadline = now.checked_add(*grace).unwrap_or(Timestamp::MAX);
                let begun = Stop { why: why.clone(), deadline, pre_stop: Hook::Pending, asked: false, killed: false };
                if let Some(State::Running { stop, .. }) = self.state_mut(container) {
                    match stop {
                        // A later reason may hurry a stop, never slow it down or send its signals again.
                        Some(stop) => (stop.deadline, stop.why) = (stop.deadline.min(deadline), begun.why),
                        None => *stop = Some(begun),
                    }
                }
            }
            Effect::Pull { container } => {
                if let (Some(seen), Outcome::Image(image)) = (self.containers.get_mut(container), outcome) {
                    seen.image = Some(image);
                }
            }
            Effect::Start { container, attempt } => self.note_start(desired, container, *attempt, outcome, now),
            Effect::PostStart { container } => self.note_post_start(desired, container, Hook::Done),
            Effect::PreStop { container } => self.with_stop(container, |stop| stop.pre_stop = Hook::Done),
            Effect::Terminate { container } => self.with_stop(container, |stop| stop.asked = true),
            Effect::Kill { container } => self.with_stop(container, |stop| stop.killed = true),
            Effect::Pause { container } | Effect::Resume { container } => {
                let frozen = matches!(effect, Effect::Pause { .. });
                if let Some(State::Running { paused, .. }) = self.state_mut(container) {
                    *paused = frozen;
                }
            }
        }
    }

    fn fail(&mut self, desired: &Desired, effect: &Effect, error: EffectError, now: Timestamp) {
        match effect {
            Effect::CreateSandbox { .. } => self.sandbox = Sandbox::Unclean,
            Effect::Attach => self.network = Presence::Unknown,
            Effect::Mount => self.volumes = Presence::Unknown,
            // Hooks are not tried again: a failed postStart stops the container, a failed preStop is only reported.
            Effect::PostStart { container } => {
                return self.note_post_start(desired, container, Hook::Failed(error.message));
            }
            Effect::PreStop { container } => {
                return self.with_stop(container, |stop| stop.pre_stop = Hook::Failed(error.message));
            }
            Effect::Start { container, attempt } => {
                if let Some(exit) = error.exit {
                    let started = Outcome::Started { pid: 0, at: now, id: "".into() };
                    self.note_start(desired, container, *attempt, started, now);
                    return self.exited(desired, container, attempt + 1, *exit);
                }
            }
            _ => {}
        }
        let slot = effect.slot();
        let before = self.trouble.get(&slot).filter(|trouble| trouble.effect.same_kind(effect));
        let count = before.map_or(0, |trouble| trouble.count) + 1;
        let pace = match effect {
            Effect::Pull { .. } => Pace::PULL,
            Effect::CreateSandbox { .. } => Pace::SANDBOX,
            _ => Pace::EFFECT,
        };
        let retry_at = now.checked_add(pace.retry_wait(count)).unwrap_or(Timestamp::MAX);
        let EffectError { reason, message, .. } = error;
        self.trouble.insert(slot, Trouble { effect: effect.clone(), count, retry_at, at: now, reason, message });
    }

    fn note_start(&mut self, desired: &Desired, name: &Name, attempt: u32, outcome: Outcome, now: Timestamp) {
        let sandbox = self.sandbox_number();
        let Some(seen) = self.containers.get_mut(name) else { return };
        let wanted = desired.container(name);
        if let State::Exited(exit) = std::mem::take(&mut seen.state) {
            // Restarts that somebody asked for are no crashes.
            let asked = seen.wish.is_some() || matches!(exit.why, Some(Why::Restart | Why::Power | Why::ImageChanged));
            seen.crashes = if asked { 0 } else { seen.crashes + 1 };
            if asked {
                seen.starts_base = seen.starts;
            }
            seen.last = Some(exit);
        }
        seen.starts = attempt + 1;
        seen.sandbox = sandbox;
        (seen.wish, seen.held, seen.sick) = (None, false, None);
        let (pid, since) = match outcome {
            Outcome::Started { pid, at, id } => {
                seen.id = (!id.is_empty()).then_some(id);
                (pid, at)
            }
            _ => (0, now),
        };
        let hook = wanted.is_some_and(|wanted| wanted.post_start);
        let post_start = if hook { Hook::Pending } else { Hook::Done };
        seen.state = State::Running { since, pid, paused: false, post_start, stop: None };
        seen.started = !hook && wanted.is_none_or(|wanted| !wanted.startup);
        seen.ready = seen.started && wanted.is_none_or(|wanted| !wanted.readiness);
    }

    fn note_post_start(&mut self, desired: &Desired, name: &Name, done: Hook) {
        let wanted = desired.container(name);
        let Some(seen) = self.containers.get_mut(name) else { return };
        let State::Running { post_start, .. } = &mut seen.state else { return };
        *post_start = done;
        if *post_start == Hook::Done && wanted.is_none_or(|wanted| !wanted.startup) {
            seen.started = true;
            seen.ready = seen.ready || wanted.is_none_or(|wanted| !wanted.readiness);
        }
    }

    fn accept_power(&mut self, power: &Power) {
        let wish = match power {
            Power::Running(_) => Some(Wish::Start),
            Power::Restart(_) => Some(Wish::Restart),
            Power::Stopped | Power::Paused => None,
        };
        for seen in self.containers.values_mut() {
            let stays = matches!(seen.state, State::Running { stop: None, .. });
            seen.wish = wish.filter(|wish| wish.needs_stop() || !stays);
            seen.held = seen.held && wish.is_none();
        }
        self.power = Some(power.clone());
    }

    fn state_mut(&mut self, name: &Name) -> Option<&mut State> {
        self.containers.get_mut(name).map(|seen: &mut Seen| &mut seen.state)
    }

    fn with_stop(&mut self, name: &Name, change: impl FnOnce(&mut Stop)) {
        if let Some(State::Running { stop: Some(stop), .. }) = self.state_mut(name) {
            change(stop);
        }
    }
}

impl Exit {
    /// The end of a process that nobody saw end.
    #[must_use]
    pub fn lost(message: &str, started_at: Option<Timestamp>, now: Timestamp) -> Exit {
        Exit {
            code: 137,
            signal: None,
            reason: "ContainerStatusUnknown",
            message: message.to_owned(),
            started_at,
            finished_at: now,
            why: None,
        }
    }
}

impl Slot {
    /// The container that the slot belongs to.
    #[must_use]
    pub fn container(&self) -> Option<&Name> {
        match self {
            Slot::Container(name) | Slot::Signal(name) => Some(name),
            _ => None,
        }
    }
}
