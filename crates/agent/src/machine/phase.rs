//! `status.phase`.

use jiff::Timestamp;

use super::{Desired, Observed, Role, Seen, State, rules};

/// A pod's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Some container has not started yet.
    Pending,
    /// Every container was started; at least one runs or may run again.
    Running,
    /// Every application container ended with zero and stays so.
    Succeeded,
    /// It ended otherwise.
    Failed,
}

impl Phase {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }

    /// Nothing follows it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

/// Whether nothing of the pod runs any more, nor ever will.
#[must_use]
pub fn is_over(desired: &Desired, observed: &Observed, now: Timestamp) -> bool {
    phase(desired, observed, now).is_terminal()
}

/// The phase. A pod of `restartPolicy: Always` is terminal only on its way out: one whose containers are held down by
/// `naru.io/restart` or `naru.io/power` may be started again, so it stays `Running` and its controller keeps it.
pub(super) fn phase(desired: &Desired, observed: &Observed, now: Timestamp) -> Phase {
    let apps = || desired.of(Role::App).filter_map(|wanted| observed.containers.get(&wanted.name));
    if let Some(phase) = ended(desired, observed, now) {
        return phase;
    }
    let began = apps().all(|seen| seen.starts > 0 || seen.state != State::New);
    if began && rules::is_initialized(desired, observed) { Phase::Running } else { Phase::Pending }
}

fn ended(desired: &Desired, observed: &Observed, now: Timestamp) -> Option<Phase> {
    let apps = || desired.of(Role::App).filter_map(|wanted| observed.containers.get(&wanted.name));
    if observed.ending.is_some() {
        return (!observed.anything_runs()).then_some(Phase::Failed);
    }
    let finished = rules::is_finished(desired, observed, now);
    let leaving = desired.deletion.is_some() && !observed.anything_runs() && apps().any(|seen| seen.exit().is_some());
    if !finished && !leaving {
        return None;
    }
    Some(if apps().all(Seen::succeeded) { Phase::Succeeded } else { Phase::Failed })
}
