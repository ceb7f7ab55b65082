//! `Observed` at boot, from what the runtime found and what the API was last told.
//!
//! The runtime is right about processes, exits and attempts; the status only fills in what the runtime does not keep:
//! restart counts from before a reboot, how the attempt before ended, which image it was.

use std::net::IpAddr;

use jiff::Timestamp;
use naru_api::{
    k8s::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus},
    naru::{health, names},
};
use naru_runtime::pod::{self as runtime, ContainerState, PodLiveness, PodRecord};

use super::{Desired, Exit, Hook, ImageSeen, Name, Observed, Power, Role, Sandbox, Seen, State, Wanted};

/// Rebuilds what is known of one pod.
#[must_use]
pub fn adopt(
    desired: &Desired,
    record: Option<&PodRecord>,
    status: Option<&PodStatus>,
    power: Option<Power>,
    now: Timestamp,
) -> Observed {
    let mut observed = Observed {
        started_at: status.and_then(|status| status.start_time.as_ref()).map(|time| time.0),
        power,
        ..Observed::default()
    };
    // Which sandbox an attempt belonged to is only compared, so any number does for "this one" and "an earlier one".
    let alive = record.is_some_and(|record| matches!(record.liveness, PodLiveness::Alive(_)));
    if record.is_some() {
        (observed.sandboxes, observed.sandbox) = (1, Sandbox::Ready);
        // Told until the network has been looked at: nobody should think for a moment that the pod has no address.
        observed.addresses = status.map(addresses).unwrap_or_default();
    }
    observed.meet(desired, now);
    for wanted in &desired.containers {
        let known = record.and_then(|record| record.containers.iter().find(|(name, _)| name.as_str() == &*wanted.name));
        let told = status.and_then(|status| told(status, &wanted.name));
        let sick = status.and_then(|status| sick(status, &wanted.name));
        let seen = seen(wanted, known.map(|(_, known)| known), told, sick, record.is_some(), now);
        observed.containers.insert(wanted.name.clone(), seen);
    }
    if record.is_some() && !alive {
        observed.lose_sandbox(desired, "the pod's supervisor was lost", now);
    }
    if phase_is_terminal(status) && desired.deletion.is_none() {
        let status = status.cloned().unwrap_or_default();
        let known = ["DeadlineExceeded", "Evicted"].into_iter().find(|known| status.reason.as_deref() == Some(known));
        observed.ending =
            known.map(|reason| super::Ending { reason, message: status.message.clone().unwrap_or_default() });
    }
    observed
}

/// The pod's addresses as last told.
pub fn addresses(status: &PodStatus) -> Vec<IpAddr> {
    status.pod_ips.iter().flatten().filter_map(|address| address.ip.parse().ok()).collect()
}

fn phase_is_terminal(status: Option<&PodStatus>) -> bool {
    matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

fn told<'a>(status: &'a PodStatus, name: &Name) -> Option<&'a ContainerStatus> {
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == **name)
}

/// What the health test of an unhealthy container said, as last told.
fn sick(status: &PodStatus, name: &Name) -> Option<String> {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == names::UNHEALTHY)?;
    let message = condition.message.as_deref().filter(|_| condition.status == "True")?;
    health::tests(message).find(|(known, _)| *known == &**name).map(|(_, text)| text.to_owned())
}

fn seen(
    wanted: &Wanted,
    known: Option<&runtime::ContainerRecord>,
    told: Option<&ContainerStatus>,
    sick: Option<String>,
    sandboxed: bool,
    now: Timestamp,
) -> Seen {
    let mut seen = Seen { sandbox: 1, ..Seen::default() };
    if let Some(told) = told {
        let terminated = told.state.as_ref().and_then(|state| state.terminated.as_ref());
        let running = told.state.as_ref().and_then(|state| state.running.as_ref());
        let last = told.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let ever = terminated.is_some() || running.is_some() || last.is_some() || told.restart_count > 0;
        seen.starts = if ever { u32::try_from(told.restart_count).unwrap_or(0) + 1 } else { 0 };
        seen.last = last.map(Exit::told);
        seen.id = told.container_id.as_deref().and_then(|id| id.strip_prefix("naru://")).map(Into::into);
        if !told.image_id.is_empty() {
            let image = ImageSeen {
                reference: told.image.as_str().into(),
                id: "".into(),
                shown: told.image_id.as_str().into(),
            };
            seen.image = Some(image);
        }
        if known.is_none() {
            // Nothing of it is left on this machine. What had ended stays ended; what ran was lost with the machine.
            seen.state = match (terminated, running) {
                (Some(exit), _) if wanted.role != Role::Init || !sandboxed => State::Exited(Exit::told(exit)),
                (_, Some(running)) => {
                    let since = running.started_at.as_ref().map(|time| time.0);
                    State::Exited(Exit::lost("the machine or the pod's supervisor went away while it ran", since, now))
                }
                _ => match seen.last.take() {
                    Some(last) => State::Exited(last),
                    None => State::New,
                },
            };
            if wanted.role == Role::Init && !matches!(terminated, Some(exit) if exit.exit_code == 0) {
                seen.state = State::New;
            }
        }
    }
    let Some(known) = known else { return seen };
    seen.starts = known.attempt + 1;
    match &known.state {
        ContainerState::Starting | ContainerState::Lost => {
            seen.state = State::Exited(Exit::lost("the pod's supervisor was lost", None, now));
        }
        ContainerState::Running { pid, started_at, paused } => {
            // Hooks ran, or their result is unknown; running one twice is worse than not at all.
            let post_start = Hook::Done;
            seen.state = State::Running { since: *started_at, pid: *pid, paused: *paused, post_start, stop: None };
            let (started, ready) = told.map_or((false, false), |told| (told.started == Some(true), told.ready));
            seen.started = started || !wanted.startup;
            seen.ready = seen.started && (ready || !wanted.readiness);
            seen.sick = sick.filter(|_| !seen.ready);
        }
        ContainerState::Exited { exit } => seen.state = State::Exited(Exit::from_runtime(exit)),
    }
    seen
}

impl Exit {
    /// As the supervisor recorded it.
    #[must_use]
    pub fn from_runtime(exit: &runtime::Exit) -> Exit {
        Exit {
            code: exit.code,
            signal: exit.signal,
            reason: exit.reason(),
            message: String::new(),
            started_at: Some(exit.started_at),
            finished_at: exit.finished_at,
            why: None,
        }
    }

    /// As the API was told earlier.
    fn told(exit: &ContainerStateTerminated) -> Exit {
        let known = ["Completed", "OOMKilled", "Error", "StartError", "ContainerStatusUnknown"];
        let reason = known.into_iter().find(|known| exit.reason.as_deref() == Some(known)).unwrap_or("Error");
        Exit {
            code: exit.exit_code,
            signal: exit.signal,
            reason,
            message: exit.message.clone().unwrap_or_default(),
            started_at: exit.started_at.as_ref().map(|time| time.0),
            finished_at: exit.finished_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            why: None,
        }
    }
}
