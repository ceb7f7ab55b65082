//! The pod's status as the API shows it: a pure projection of what is wanted and known.

use std::net::IpAddr;

use jiff::Timestamp;
use naru_api::k8s::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
        HostIP, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    Desired, Effect, Exit, Gate, Observed, Role, Seen, Slot, State, Trouble, Wanted, conditions, phase, rules,
    rules::Again,
};

/// What the status is made from.
pub struct StatusInput<'a> {
    /// The wish.
    pub desired: &'a Desired,
    /// The knowledge.
    pub observed: &'a Observed,
    /// Conditions on the object now: transition times are kept, other writers' conditions respected.
    pub conditions: &'a [PodCondition],
    /// `spec.readinessGates[].conditionType`.
    pub readiness_gates: &'a [String],
    /// Containers whose health their image tests.
    pub tested: &'a [String],
    /// `namespace/name` and uid, for messages.
    pub pod: &'a str,
    /// The node's addresses.
    pub host: &'a [IpAddr],
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Guaranteed, Burstable or BestEffort.
    pub qos: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// The status. Conditions hold only those that this node owns.
#[must_use]
pub fn status(input: &StatusInput<'_>) -> PodStatus {
    let (desired, observed) = (input.desired, input.observed);
    let phase = phase::phase(desired, observed, input.now);
    let mut addresses: Vec<IpAddr> = observed.addresses.clone();
    if desired.on_host && observed.started_at.is_some() {
        addresses = input.host.to_vec();
    }
    let statuses = |role: fn(Role) -> bool| -> Option<Vec<ContainerStatus>> {
        let list: Vec<_> =
            desired.containers.iter().filter(|wanted| role(wanted.role)).map(|wanted| one(input, wanted)).collect();
        (!list.is_empty()).then_some(list)
    };
    PodStatus {
        phase: Some(phase.as_str().to_owned()),
        conditions: Some(conditions::conditions(input, phase)),
        container_statuses: statuses(|role| role == Role::App),
        init_container_statuses: statuses(|role| matches!(role, Role::Init | Role::Sidecar)),
        ephemeral_container_statuses: statuses(|role| role == Role::Ephemeral),
        reason: observed.ending.as_ref().map(|ending| ending.reason.to_owned()),
        message: observed.ending.as_ref().map(|ending| ending.message.clone()),
        host_ip: input.host.first().map(ToString::to_string),
        host_ips: Some(input.host.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        pod_ip: addresses.first().map(ToString::to_string),
        pod_ips: Some(addresses.iter().map(|ip| PodIP { ip: ip.to_string() }).collect()),
        qos_class: Some(input.qos.to_owned()),
        start_time: observed.started_at.map(Time),
        observed_generation: input.generation,
        ..PodStatus::default()
    }
}

fn one(input: &StatusInput<'_>, wanted: &Wanted) -> ContainerStatus {
    let unknown = Seen::default();
    let seen = input.observed.containers.get(&wanted.name).unwrap_or(&unknown);
    let (state, shows_exit) = state(input, wanted, seen);
    // While it waits for its next attempt, the attempt that ended is the last one.
    let last = if shows_exit { seen.last.as_ref() } else { seen.exit().or(seen.last.as_ref()) };
    let id = seen.id.as_ref().map(|id| format!("naru://{id}"));
    let terminated =
        |exit: &Exit| ContainerState { terminated: Some(ended(exit, id.clone())), ..ContainerState::default() };
    ContainerStatus {
        name: wanted.name.to_string(),
        image: wanted.image.to_string(),
        image_id: seen.image.as_ref().map(|image| image.shown.to_string()).unwrap_or_default(),
        container_id: id.clone(),
        restart_count: i32::try_from(seen.restarts()).unwrap_or(i32::MAX),
        started: Some(seen.is_running() && seen.started),
        ready: is_ready(wanted, seen),
        state: Some(state),
        last_state: Some(last.map(terminated).unwrap_or_default()),
        ..ContainerStatus::default()
    }
}

/// Whether one container counts as ready: an init container once it is done, the others while they run and answer.
pub(super) fn is_ready(wanted: &Wanted, seen: &Seen) -> bool {
    match wanted.role {
        Role::Init => seen.succeeded(),
        Role::Ephemeral => false,
        Role::App | Role::Sidecar => seen.is_running() && seen.ready,
    }
}

/// The current state, and whether it already shows the last exit.
fn state(input: &StatusInput<'_>, wanted: &Wanted, seen: &Seen) -> (ContainerState, bool) {
    match &seen.state {
        State::Running { since, .. } => {
            let running = ContainerStateRunning { started_at: Some(Time(*since)) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, true)
        }
        State::New => (waiting(why_waiting(input, wanted)), true),
        State::Exited(exit) => {
            let again = if input.desired.deletion.is_some() || input.observed.ending.is_some() {
                Again::Never
            } else {
                rules::again(input.desired, wanted, seen, input.now)
            };
            let trouble = input.observed.trouble.get(&Slot::Container(wanted.name.clone()));
            match (again, trouble) {
                (Again::At(_), Some(trouble)) => (waiting(troubled(wanted, trouble)), false),
                (Again::At(_), None) if blocker(input).is_some() => (waiting(why_waiting(input, wanted)), false),
                (Again::At(at), None) if at > input.now => {
                    let wait = input.desired.pace.restart_wait(seen.crashes);
                    let text =
                        format!("back-off {wait:?} restarting failed container={} pod={}", wanted.name, input.pod);
                    (waiting(("CrashLoopBackOff".to_owned(), Some(text))), false)
                }
                _ => {
                    let id = seen.id.as_ref().map(|id| format!("naru://{id}"));
                    (ContainerState { terminated: Some(ended(exit, id)), ..ContainerState::default() }, true)
                }
            }
        }
    }
}

fn why_waiting(input: &StatusInput<'_>, wanted: &Wanted) -> (String, Option<String>) {
    let observed = input.observed;
    if let Some(trouble) = observed.trouble.get(&Slot::Container(wanted.name.clone())) {
        return troubled(wanted, trouble);
    }
    let held = input.desired.hold.clone().filter(|_| rules::is_held(input.desired, observed));
    let message = blocker(input).map(|trouble| trouble.message.clone()).or(held);
    if wanted.role == Role::App && message.is_none() {
        match &input.desired.gate {
            Gate::Open => {}
            Gate::Waiting(text) => return ("WaitingForDependency".to_owned(), Some(text.clone())),
            Gate::Failed(text) => return ("DependencyFailed".to_owned(), Some(text.clone())),
        }
    }
    let initial = input.desired.containers.iter().any(Wanted::is_initial);
    let reason = if initial && !rules::is_initialized(input.desired, observed) {
        "PodInitializing"
    } else {
        "ContainerCreating"
    };
    (reason.to_owned(), message)
}

/// What keeps every container of the pod from starting.
pub(super) fn blocker<'a>(input: &StatusInput<'a>) -> Option<&'a Trouble> {
    let making = |trouble: &&Trouble| {
        matches!(trouble.effect, Effect::CreateSandbox { .. } | Effect::DestroySandbox | Effect::Mount | Effect::Attach)
    };
    [Slot::Sandbox, Slot::Volumes, Slot::Network]
        .iter()
        .filter_map(|slot| input.observed.trouble.get(slot))
        .find(making)
}

/// The first failed pull shows its error; from the second on it is a back-off that carries the error.
fn troubled(wanted: &Wanted, trouble: &Trouble) -> (String, Option<String>) {
    let pulling = matches!(trouble.effect, Effect::Pull { .. });
    if pulling && trouble.reason == "ErrImagePull" && trouble.count > 1 {
        let text = format!("Back-off pulling image {:?}: {}: {}", wanted.image, trouble.reason, trouble.message);
        return ("ImagePullBackOff".to_owned(), Some(text));
    }
    (trouble.reason.to_owned(), Some(trouble.message.clone()))
}

fn waiting((reason, message): (String, Option<String>)) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn ended(exit: &Exit, container_id: Option<String>) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id,
        exit_code: exit.code,
        signal: exit.signal,
        reason: Some(exit.reason.to_owned()),
        message: (!exit.message.is_empty()).then(|| exit.message.clone()),
        started_at: exit.started_at.map(Time),
        finished_at: Some(Time(exit.finished_at)),
    }
}
