//! From the API's pod to [`Desired`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use naru_api::{
    k8s::api::core::v1::{
        Container, ContainerRestartRuleOnExitCodes, EphemeralContainer, Lifecycle, Pod, PodSpec, Probe,
    },
    naru::names,
};

use super::{Deletion, Desired, Gate, Pace, Power, PullPolicy, Restart, RestartRule, Role, Wanted};

/// What the object asks for. `gate` is the verdict over its start gates. Values that validation would have refused
/// fall back to Kubernetes' defaults.
#[must_use]
pub fn parse(pod: &Pod, gate: Gate) -> Desired {
    let none = BTreeMap::new();
    let empty = PodSpec::default();
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&none);
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let own = annotations.get(names::RESTART);
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let docker = own.is_some();
    let mut apps = spec.containers.iter().map(|container| container.restart_policy.as_deref());
    let on_host = spec.host_network == Some(true);
    Desired {
        deletion: deletion(pod),
        power: annotations.get(names::POWER).map_or_else(|| Power::Running("".into()), |text| power(text)),
        restart: own.map_or_else(|| restart(policy), |text| restart(text)),
        endless: match docker {
            true => policy == "Always",
            // A container that is always started again keeps its pod from ever ending, and only such a one does.
            false => apps.any(|own| own.unwrap_or(policy) == "Always"),
        },
        pace: if docker { Pace::DOCKER } else { Pace::KUBERNETES },
        active_deadline: seconds(spec.active_deadline_seconds),
        docker,
        power_grace: annotations.get(names::POWER_GRACE).and_then(|text| text.parse().ok()).map(Duration::from_secs),
        grace: seconds(spec.termination_grace_period_seconds).unwrap_or(Duration::from_secs(30)),
        networked: !on_host && annotations.get(names::NETWORK_MODE).is_none_or(|mode| mode != "none"),
        on_host,
        gate,
        hold: None,
        containers: containers(spec),
    }
}

fn seconds(value: Option<i64>) -> Option<Duration> {
    value.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
}

fn deletion(pod: &Pod) -> Option<Deletion> {
    let at: Timestamp = pod.metadata.deletion_timestamp.as_ref()?.0;
    Some(Deletion { deadline: at, forced: pod.metadata.deletion_grace_period_seconds == Some(0) })
}

/// Reads the annotation's text.
#[must_use]
pub fn power(text: &str) -> Power {
    match text.split_once('@').map_or((text, ""), |(word, token)| (word, token)) {
        ("stopped", _) => Power::Stopped,
        ("paused", _) => Power::Paused,
        ("restart", token) => Power::Restart(token.into()),
        (_, token) => Power::Running(token.into()),
    }
}

impl Power {
    /// The annotation's text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Power::Running(token) if token.is_empty() => "running".to_owned(),
            Power::Running(token) => format!("running@{token}"),
            Power::Stopped => "stopped".to_owned(),
            Power::Paused => "paused".to_owned(),
            Power::Restart(token) => format!("restart@{token}"),
        }
    }
}

/// Kubernetes' and Docker's words alike.
fn restart(text: &str) -> Restart {
    let (word, count) = text.split_once(':').map_or((text, None), |(word, count)| (word, count.parse().ok()));
    match word {
        "no" | "Never" => Restart::Never,
        "on-failure" | "OnFailure" => Restart::OnFailure { max: count.filter(|count| *count > 0) },
        _ => Restart::Always,
    }
}

fn containers(spec: &PodSpec) -> Vec<Wanted> {
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        wanted(container, if sidecar { Role::Sidecar } else { Role::Init })
    });
    let apps = spec.containers.iter().map(|container| wanted(container, Role::App));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(debugger);
    init.chain(apps).chain(ephemeral).collect()
}

fn wanted(container: &Container, role: Role) -> Wanted {
    let image: Arc<str> = container.image.as_deref().unwrap_or_default().into();
    let hooked = |pick: fn(&Lifecycle) -> bool| role != Role::Init && container.lifecycle.as_ref().is_some_and(pick);
    let probed = |probe: &Option<Probe>| role != Role::Init && probe.is_some();
    let liveness = container.liveness_probe.as_ref();
    let own = container.restart_policy.as_deref().filter(|_| role != Role::Sidecar);
    let rules = container.restart_policy_rules.iter().flatten().filter(|rule| rule.action == "Restart");
    Wanted {
        restart: own.map(restart),
        rules: rules.filter_map(|rule| rule.exit_codes.as_ref()).map(rule_of).collect(),
        name: container.name.as_str().into(),
        role,
        pull: pull(container.image_pull_policy.as_deref(), &image),
        image,
        post_start: hooked(|lifecycle| lifecycle.post_start.is_some()),
        pre_stop: hooked(|lifecycle| lifecycle.pre_stop.is_some()),
        startup: probed(&container.startup_probe),
        readiness: probed(&container.readiness_probe),
        liveness_grace: liveness.and_then(|probe| seconds(probe.termination_grace_period_seconds)),
    }
}

fn rule_of(codes: &ContainerRestartRuleOnExitCodes) -> RestartRule {
    RestartRule { listed: codes.operator == "In", codes: codes.values.clone().unwrap_or_default() }
}

fn debugger(container: &EphemeralContainer) -> Wanted {
    let image: Arc<str> = container.image.as_deref().unwrap_or_default().into();
    Wanted {
        name: container.name.as_str().into(),
        role: Role::Ephemeral,
        restart: None,
        rules: Vec::new(),
        pull: pull(container.image_pull_policy.as_deref(), &image),
        image,
        post_start: false,
        pre_stop: false,
        startup: false,
        readiness: false,
        liveness_grace: None,
    }
}

/// The API defaults the policy; without one the tag decides as it would there.
fn pull(policy: Option<&str>, image: &str) -> PullPolicy {
    match policy {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some(_) => PullPolicy::IfNotPresent,
        None => {
            let name = image.rsplit('/').next().unwrap_or(image);
            let floating = !name.contains('@') && (name.ends_with(":latest") || !name.contains(':'));
            if floating { PullPolicy::Always } else { PullPolicy::IfNotPresent }
        }
    }
}
