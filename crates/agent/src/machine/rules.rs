//! Questions about one container that several decisions ask: may it start again, when, is it done.

use jiff::Timestamp;

use super::{Desired, Observed, Restart, Role, Seen, State, Wanted, Why, Wish};

/// When a container that does not run is started next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Not before this instant.
    At(Timestamp),
    /// Not at all.
    Never,
}

/// What becomes of a container that is not running.
pub(super) fn again(desired: &Desired, wanted: &Wanted, seen: &Seen, now: Timestamp) -> Again {
    let exit = match &seen.state {
        State::New => return Again::At(now),
        State::Running { .. } => return Again::Never,
        State::Exited(exit) => exit,
    };
    if seen.wish.is_some() && wanted.role != Role::Ephemeral {
        return Again::At(now);
    }
    if matches!(exit.why, Some(Why::Restart | Why::ImageChanged)) {
        return Again::At(now);
    }
    if seen.held {
        return Again::Never;
    }
    // Whoever stops a container for its health's sake owes it a start, whatever its rule says.
    let owed = desired.docker && wanted.role == Role::App && matches!(exit.why, Some(Why::Unhealthy(_)));
    let ruled = wanted.role != Role::Ephemeral && wanted.returns_after(exit.code);
    let own = wanted.restart.unwrap_or(desired.restart);
    let by_policy = || match (wanted.role, own) {
        (Role::Ephemeral, _) | (Role::App, Restart::Never) => false,
        (Role::Sidecar, _) | (Role::App, Restart::Always) => true,
        (Role::Init, Restart::Never) => exit.code != 0 && desired.endless && wanted.restart.is_none(),
        (Role::Init, _) => exit.code != 0,
        (Role::App, Restart::OnFailure { max }) => {
            let used = seen.starts.saturating_sub(1).saturating_sub(seen.starts_base);
            exit.code != 0 && max.is_none_or(|max| used < max)
        }
    };
    let allowed = owed || ruled || by_policy();
    if !allowed {
        return Again::Never;
    }
    let wait = desired.pace.restart_wait(seen.crashes);
    Again::At(exit.finished_at.checked_add(wait).unwrap_or(Timestamp::MAX))
}

/// Whether the pod has to wait before its first start.
pub(super) fn is_held(desired: &Desired, observed: &Observed) -> bool {
    desired.hold.is_some() && observed.containers.values().all(|seen| seen.starts == 0)
}

/// Whether the container ended and stays so.
pub(super) fn is_done(desired: &Desired, wanted: &Wanted, seen: &Seen, now: Timestamp) -> bool {
    matches!(seen.state, State::Exited(_)) && again(desired, wanted, seen, now) == Again::Never
}

/// Whether every init container has done its part in this sandbox: run to completion, or (sidecars) started.
/// A sidecar that dies later does not take the application containers back.
pub(super) fn is_initialized(desired: &Desired, observed: &Observed) -> bool {
    let current = observed.sandbox_number();
    let began = |seen: &Seen| seen.state != State::New && seen.sandbox == current;
    let apps_began = desired.of(Role::App).any(|wanted| observed.containers.get(&wanted.name).is_some_and(began));
    apps_began
        || desired.containers.iter().filter(|wanted| wanted.is_initial()).all(|wanted| {
            observed.containers.get(&wanted.name).is_some_and(|seen| match wanted.role {
                Role::Sidecar => seen.is_running() && seen.started,
                _ => seen.succeeded(),
            })
        })
}

/// Whether the pod can never do more: every application container is done, or an init container failed for good.
pub(super) fn is_finished(desired: &Desired, observed: &Observed, now: Timestamp) -> bool {
    if desired.endless {
        return false;
    }
    let done =
        |wanted: &Wanted| observed.containers.get(&wanted.name).is_some_and(|seen| is_done(desired, wanted, seen, now));
    let init_failed = desired
        .of(Role::Init)
        .any(|wanted| done(wanted) && observed.containers.get(&wanted.name).is_some_and(|seen| !seen.succeeded()));
    init_failed || desired.of(Role::App).all(done)
}

impl Wish {
    /// Whether a running container must be stopped for it.
    pub(super) fn needs_stop(self) -> bool {
        self == Wish::Restart
    }
}
