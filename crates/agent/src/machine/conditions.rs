//! The conditions that the node owns.

use naru_api::{
    k8s::{api::core::v1::PodCondition, apimachinery::pkg::apis::meta::v1::Time},
    naru::{health, names as annotations},
};

use super::{
    Phase, Presence, Role, Sandbox, StatusInput, rules,
    status::{blocker, is_ready},
};

/// One judged condition, before it gets its transition time.
struct Judged {
    kind: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Judged {
    fn holds(kind: &'static str) -> Judged {
        Judged { kind, holds: true, reason: None, message: None }
    }

    fn fails(kind: &'static str, reason: &'static str, message: Option<String>) -> Judged {
        Judged { kind, holds: false, reason: Some(reason), message }
    }
}

/// Kubernetes' own order, so that `kubectl describe` reads as users know it.
pub(super) fn conditions(input: &StatusInput<'_>, phase: Phase) -> Vec<PodCondition> {
    let observed = input.observed;
    let attached = observed.network == Presence::Present || !observed.addresses.is_empty();
    let connected = !input.desired.networked || attached;
    let sandboxed = observed.sandbox == Sandbox::Ready && connected;
    let containers = containers_ready(input, phase);
    let ready = ready(input, &containers);
    let blocker = blocker(input).filter(|_| !sandboxed);
    let sandbox = Judged {
        kind: "PodReadyToStartContainers",
        holds: sandboxed,
        reason: blocker.map(|trouble| trouble.reason),
        message: blocker.map(|trouble| trouble.message.clone()),
    };
    let mut judged = vec![sandbox, initialized(input, phase), ready, containers, Judged::holds("PodScheduled")];
    if !input.tested.is_empty() {
        // The spec does not show these tests: whoever shows a container's health finds them here.
        judged.push(Judged { message: Some(input.tested.join(" ")), ..Judged::holds(annotations::IMAGE_HEALTH) });
    }
    judged.extend(unhealthy(input));
    judged.extend(evicted(input));
    judged.into_iter().map(|judged| stamp(input, judged)).collect()
}

/// There only while it holds: what has no health test should not speak of one.
fn unhealthy(input: &StatusInput<'_>) -> Option<Judged> {
    let sick = input.desired.containers.iter().filter_map(|wanted| {
        let seen = input.observed.containers.get(&wanted.name)?;
        Some((&*wanted.name, seen.sick.as_deref()?))
    });
    let message = Some(health::message(sick)).filter(|message| !message.is_empty())?;
    let reason = Some("HealthTestFailed");
    Some(Judged { reason, message: Some(message), ..Judged::holds(annotations::UNHEALTHY) })
}

/// Why a pod whose node ran short of something was ended, in the words that Jobs and budgets look for.
fn evicted(input: &StatusInput<'_>) -> Option<Judged> {
    let ending = input.observed.ending.as_ref().filter(|ending| ending.reason == "Evicted")?;
    let (reason, message) = (Some("TerminationByKubelet"), Some(ending.message.clone()));
    Some(Judged { reason, message, ..Judged::holds("DisruptionTarget") })
}

fn initialized(input: &StatusInput<'_>, phase: Phase) -> Judged {
    if phase == Phase::Succeeded {
        return Judged { reason: Some("PodCompleted"), ..Judged::holds("Initialized") };
    }
    if rules::is_initialized(input.desired, input.observed) {
        return Judged::holds("Initialized");
    }
    let incomplete = names(input, |role| matches!(role, Role::Init | Role::Sidecar));
    Judged::fails(
        "Initialized",
        "ContainersNotInitialized",
        Some(format!("containers with incomplete status: [{incomplete}]")),
    )
}

fn containers_ready(input: &StatusInput<'_>, phase: Phase) -> Judged {
    match phase {
        Phase::Succeeded => return Judged::fails("ContainersReady", "PodCompleted", None),
        Phase::Failed => return Judged::fails("ContainersReady", "PodFailed", None),
        Phase::Pending | Phase::Running => {}
    }
    let unready = names(input, |role| matches!(role, Role::App | Role::Sidecar));
    if unready.is_empty() {
        return Judged::holds("ContainersReady");
    }
    Judged::fails("ContainersReady", "ContainersNotReady", Some(format!("containers with unready status: [{unready}]")))
}

fn ready(input: &StatusInput<'_>, containers: &Judged) -> Judged {
    if !containers.holds {
        return Judged { kind: "Ready", message: containers.message.clone(), ..*containers };
    }
    let missing = input
        .readiness_gates
        .iter()
        .find(|gate| !input.conditions.iter().any(|condition| condition.type_ == **gate && condition.status == "True"));
    match missing {
        Some(gate) => {
            let text = format!("the status of pod readiness gate {gate:?} is not \"True\"");
            Judged::fails("Ready", "ReadinessGatesNotReady", Some(text))
        }
        None => Judged::holds("Ready"),
    }
}

/// Names, in the order of the spec, of the containers of these roles that are not ready.
fn names(input: &StatusInput<'_>, role: fn(Role) -> bool) -> String {
    let wanted = input.desired.containers.iter().filter(|wanted| role(wanted.role));
    let unready =
        wanted.filter(|wanted| !input.observed.containers.get(&wanted.name).is_some_and(|seen| is_ready(wanted, seen)));
    unready.map(|wanted| &*wanted.name).collect::<Vec<_>>().join(" ")
}

/// The transition time moves only when the condition's status does.
fn stamp(input: &StatusInput<'_>, judged: Judged) -> PodCondition {
    let status = if judged.holds { "True" } else { "False" };
    let before = input.conditions.iter().find(|condition| condition.type_ == judged.kind && condition.status == status);
    let since = before.and_then(|condition| condition.last_transition_time.clone()).unwrap_or(Time(input.now));
    PodCondition {
        type_: judged.kind.to_owned(),
        status: status.to_owned(),
        reason: judged.reason.map(str::to_owned),
        message: judged.message,
        last_transition_time: Some(since),
        observed_generation: input.generation,
        ..PodCondition::default()
    }
}
