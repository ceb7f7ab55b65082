//! The next thing to do for a pod.

use jiff::Timestamp;

use super::{
    Desired, Effect, Gate, Hook, Observed, Power, Presence, Role, Sandbox, Seen, State, Stop, Wanted, Why, rules,
    rules::Again,
};

/// The answer of [`step`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Run this, and ask again at once: more may be possible beside it.
    Do(Effect),
    /// Nothing now; ask again then, or when something changes.
    WaitUntil(Timestamp),
    /// Nothing until something changes.
    Settled,
}

/// What the pod is heading for.
enum Goal {
    /// Gone, with everything it held.
    Removed,
    /// Ended: containers stopped, sandbox and address given back, folders kept for logs.
    Ended,
    /// Switched off: containers stopped, sandbox and address kept.
    Off,
    /// Running (or frozen).
    On,
}

/// Decides. Pure: equal arguments give equal answers.
#[must_use]
pub fn step(desired: &Desired, observed: &Observed, now: Timestamp) -> Step {
    let mut turn = Turn { desired, observed, now, wake: None };
    match turn.run() {
        Some(effect) => Step::Do(effect),
        None => turn.wake.map_or(Step::Settled, Step::WaitUntil),
    }
}

struct Turn<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    now: Timestamp,
    wake: Option<Timestamp>,
}

impl<'a> Turn<'a> {
    fn run(&mut self) -> Option<Effect> {
        let goal = self.goal();
        if let Some(ending) = self.overdue() {
            return Some(ending);
        }
        match goal {
            Goal::Removed => self.remove(),
            Goal::Ended => self.wind_down(&Why::Ended),
            Goal::Off => self.power_change().or_else(|| self.stop_all(&Why::Power)).or_else(|| self.sweep()),
            Goal::On => self.power_change().or_else(|| self.keep_running()),
        }
    }

    fn goal(&self) -> Goal {
        if self.desired.deletion.is_some() {
            Goal::Removed
        } else if self.observed.ending.is_some() || rules::is_finished(self.desired, self.observed, self.now) {
            Goal::Ended
        } else if self.desired.power == Power::Stopped {
            Goal::Off
        } else {
            Goal::On
        }
    }

    // === endings

    /// `activeDeadlineSeconds`.
    fn overdue(&mut self) -> Option<Effect> {
        if self.observed.ending.is_some() || self.desired.deletion.is_some() {
            return None;
        }
        let limit = self.desired.active_deadline?;
        let due = self.observed.started_at?.checked_add(limit).unwrap_or(Timestamp::MAX);
        if rules::is_finished(self.desired, self.observed, self.now) {
            return None;
        }
        if due > self.now {
            self.wait(due);
            return None;
        }
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        Some(Effect::End { reason: "DeadlineExceeded", message })
    }

    fn remove(&mut self) -> Option<Effect> {
        if let Some(effect) = self.stop_all(&Why::Deleted) {
            return Some(effect);
        }
        if !self.at_rest() {
            return None;
        }
        if let Some(effect) = self.give_back() {
            return Some(effect);
        }
        if self.observed.sandbox != Sandbox::Absent || self.observed.network != Presence::Absent {
            return None;
        }
        if self.observed.volumes != Presence::Absent {
            return self.offer(Effect::Unmount);
        }
        if !self.observed.cleaned {
            return self.offer(Effect::Clean);
        }
        if !self.observed.finalized {
            return self.offer(Effect::Finalize);
        }
        None
    }

    fn wind_down(&mut self, why: &Why) -> Option<Effect> {
        if let Some(effect) = self.stop_all(why) {
            return Some(effect);
        }
        if self.at_rest() { self.give_back() } else { None }
    }

    /// Sandbox and network go at the same time: neither needs the other.
    fn give_back(&mut self) -> Option<Effect> {
        if self.observed.sandbox != Sandbox::Absent
            && let Some(effect) = self.offer(Effect::DestroySandbox)
        {
            return Some(effect);
        }
        if self.observed.network != Presence::Absent
            && let Some(effect) = self.offer(Effect::Detach)
        {
            return Some(effect);
        }
        None
    }

    /// No process runs and none is about to.
    fn at_rest(&self) -> bool {
        let starting = self.desired.containers.iter().any(|wanted| self.observed.is_starting(&wanted.name));
        !starting && !self.observed.anything_runs()
    }

    // === stopping

    /// Application and init containers first; sidecars, last to first, once those are gone.
    fn stop_all(&mut self, why: &Why) -> Option<Effect> {
        let observed = self.observed;
        let mut last = true;
        for wanted in self.desired.containers.iter().filter(|wanted| wanted.role != Role::Sidecar) {
            let seen = observed.containers.get(&wanted.name);
            last &= !seen.is_some_and(Seen::is_running) && !observed.is_starting(&wanted.name);
            if let Some(effect) = self.stop_one(wanted, why) {
                return Some(effect);
            }
        }
        for wanted in self.desired.of(Role::Sidecar).rev() {
            if !last {
                // Past the deadline nobody is spared for the sake of order.
                let late = self.desired.deletion.is_some_and(|deletion| deletion.deadline <= self.now);
                if !late {
                    return None;
                }
            }
            last &= !observed.containers.get(&wanted.name).is_some_and(Seen::is_running);
            if let Some(effect) = self.stop_one(wanted, why) {
                return Some(effect);
            }
        }
        None
    }

    /// Moves one running container towards its end for this reason.
    fn stop_one(&mut self, wanted: &Wanted, why: &Why) -> Option<Effect> {
        let seen = self.observed.containers.get(&wanted.name)?;
        let State::Running { stop, .. } = &seen.state else { return None };
        let deadline = match (self.desired.deletion, stop) {
            (Some(deletion), _) => Some(deletion.deadline),
            (None, Some(stop)) => Some(stop.deadline),
            (None, None) => None,
        };
        let grace = match deadline {
            Some(deadline) => std::time::Duration::try_from(deadline.duration_since(self.now)).unwrap_or_default(),
            None => self.desired.grace_for(why),
        };
        let Some(stop) = stop else {
            return self.offer(Effect::BeginStop { container: wanted.name.clone(), why: why.clone(), grace });
        };
        if stop.why != *why {
            return self.offer(Effect::BeginStop { container: wanted.name.clone(), why: why.clone(), grace });
        }
        self.pursue_stop(wanted, seen, stop)
    }

    /// Hook, signal, KILL.
    fn pursue_stop(&mut self, wanted: &Wanted, seen: &Seen, stop: &Stop) -> Option<Effect> {
        let container = || wanted.name.clone();
        let forced = self.desired.deletion.is_some_and(|deletion| deletion.forced);
        let deadline = match self.desired.deletion {
            Some(deletion) => deletion.deadline.min(stop.deadline),
            None => stop.deadline,
        };
        if stop.killed {
            return None;
        }
        if forced || deadline <= self.now {
            return self.offer(Effect::Kill { container: container() });
        }
        self.wait(deadline);
        if wanted.pre_stop && stop.pre_stop == Hook::Pending {
            return self.offer(Effect::PreStop { container: container() });
        }
        if stop.asked {
            return None;
        }
        // A frozen process cannot act on a signal.
        if let State::Running { paused: true, .. } = seen.state {
            return self.offer(Effect::Resume { container: container() });
        }
        self.offer(Effect::Terminate { container: container() })
    }

    // === running

    /// A power wish that was not acted on yet.
    fn power_change(&mut self) -> Option<Effect> {
        let seen = self.observed.power.as_ref()?;
        (*seen != self.desired.power).then(|| Effect::AcceptPower(self.desired.power.clone()))
    }

    /// Leftovers of a sandbox that was lost or half made.
    fn sweep(&mut self) -> Option<Effect> {
        if self.observed.sandbox == Sandbox::Unclean { self.offer(Effect::DestroySandbox) } else { None }
    }

    fn keep_running(&mut self) -> Option<Effect> {
        if self.observed.sandbox == Sandbox::Unclean {
            return self.sweep();
        }
        for wanted in &self.desired.containers {
            if let Some(effect) = self.tend(wanted) {
                return Some(effect);
            }
        }
        let lineup = self.lineup();
        // What runs keeps its network and files too: after a restart of the agent both are looked at again.
        if lineup.is_empty() && !self.observed.anything_runs() {
            return None;
        }
        if let Some(effect) = self.prepare(&lineup) {
            return Some(effect);
        }
        if !self.is_prepared() {
            return None;
        }
        lineup.into_iter().find_map(|due| self.start(due))
    }

    /// Whatever a running container needs.
    fn tend(&mut self, wanted: &Wanted) -> Option<Effect> {
        let seen = self.observed.containers.get(&wanted.name)?;
        let State::Running { paused, post_start, stop, .. } = &seen.state else { return None };
        let container = || wanted.name.clone();
        if let Some(stop) = stop {
            return self.pursue_stop(wanted, seen, stop);
        }
        let frozen = self.desired.power == Power::Paused;
        if *paused != frozen {
            let effect = if frozen {
                Effect::Pause { container: container() }
            } else {
                Effect::Resume { container: container() }
            };
            return self.offer(effect);
        }
        let why = match post_start {
            Hook::Pending => return self.offer(Effect::PostStart { container: container() }),
            Hook::Failed(message) => Some(Why::HookFailed(message.clone())),
            Hook::Done if seen.wish.is_some_and(super::Wish::needs_stop) => Some(Why::Restart),
            Hook::Done => {
                let changed = seen.image.as_ref().is_some_and(|image| image.reference != wanted.image);
                changed.then_some(Why::ImageChanged)
            }
        };
        let why = why?;
        let grace = self.desired.grace_for(&why);
        self.offer(Effect::BeginStop { container: container(), why, grace })
    }

    /// Containers whose turn it is, with the earliest instant of their start.
    fn lineup(&mut self) -> Vec<Due<'a>> {
        if self.desired.power == Power::Paused {
            return Vec::new();
        }
        let desired = self.desired;
        let mut lineup = Vec::new();
        let initialized = rules::is_initialized(desired, self.observed);
        for wanted in desired.containers.iter().filter(|wanted| wanted.is_initial()) {
            let Some(seen) = self.observed.containers.get(&wanted.name) else { continue };
            let done = match wanted.role {
                Role::Sidecar => seen.is_running() && seen.started,
                _ => initialized || seen.succeeded(),
            };
            if done {
                continue;
            }
            if !seen.is_running() {
                self.queue(wanted, seen, &mut lineup);
            }
            if !initialized {
                return lineup;
            }
        }
        let held = self.desired.gate != Gate::Open;
        for wanted in desired.containers.iter().filter(|wanted| !wanted.is_initial()) {
            let Some(seen) = self.observed.containers.get(&wanted.name) else { continue };
            // Gates hold the first start only; a restart does not ask again.
            let gated = held && seen.starts == 0 && wanted.role == Role::App;
            if !seen.is_running() {
                self.queue(wanted, seen, &mut lineup);
                if gated && let Some(due) = lineup.last_mut().filter(|due| due.wanted.name == wanted.name) {
                    due.at = None;
                }
            }
        }
        lineup
    }

    fn queue(&self, wanted: &'a Wanted, seen: &'a Seen, lineup: &mut Vec<Due<'a>>) {
        if let Again::At(at) = rules::again(self.desired, wanted, seen, self.now) {
            let held = rules::is_held(self.desired, self.observed);
            lineup.push(Due { wanted, seen, at: (!held).then_some(at) });
        }
    }

    /// Volumes, sandbox, network and images, all at once; also while gates hold the start.
    fn prepare(&mut self, lineup: &[Due<'_>]) -> Option<Effect> {
        let observed = self.observed;
        if observed.sandbox == Sandbox::Absent
            && !lineup.is_empty()
            && let Some(effect) = self.offer(Effect::CreateSandbox { attempt: observed.sandboxes })
        {
            return Some(effect);
        }
        for due in lineup {
            let fresh = due.seen.image.as_ref().is_some_and(|image| image.serves(&due.wanted.image));
            if !fresh && let Some(effect) = self.offer(Effect::Pull { container: due.wanted.name.clone() }) {
                return Some(effect);
            }
        }
        if observed.volumes != Presence::Present
            && let Some(effect) = self.offer(Effect::Mount)
        {
            return Some(effect);
        }
        if observed.sandbox == Sandbox::Ready
            && self.desired.networked
            && observed.network != Presence::Present
            && let Some(effect) = self.offer(Effect::Attach)
        {
            return Some(effect);
        }
        None
    }

    fn is_prepared(&self) -> bool {
        let observed = self.observed;
        observed.sandbox == Sandbox::Ready
            && observed.volumes == Presence::Present
            && (!self.desired.networked || observed.network == Presence::Present)
    }

    fn start(&mut self, due: Due<'_>) -> Option<Effect> {
        let at = due.at?;
        let image = due.seen.image.as_ref()?;
        if !image.serves(&due.wanted.image) {
            return None;
        }
        if at > self.now {
            self.wait(at);
            return None;
        }
        self.offer(Effect::Start { container: due.wanted.name.clone(), attempt: due.seen.starts })
    }

    // === bookkeeping of the turn

    /// The effect, unless its slot is busy or it failed a moment ago.
    fn offer(&mut self, effect: Effect) -> Option<Effect> {
        let slot = effect.slot();
        if self.observed.busy.contains_key(&slot) {
            return None;
        }
        if let Some(trouble) = self.observed.trouble.get(&slot)
            && trouble.effect.same_kind(&effect)
            && trouble.retry_at > self.now
        {
            self.wait(trouble.retry_at);
            return None;
        }
        Some(effect)
    }

    fn wait(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// A container that is to be started.
struct Due<'a> {
    wanted: &'a Wanted,
    seen: &'a Seen,
    /// Not before this; `None` while something holds it.
    at: Option<Timestamp>,
}
