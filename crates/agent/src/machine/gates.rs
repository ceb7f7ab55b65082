//! Start gates: a pod that depends on other services of its project waits for them (`naru.io/start-gates`).

use std::net::IpAddr;

use serde::Deserialize;

use naru_api::{
    k8s::api::core::v1::{Pod, PodCondition},
    naru::{health, names},
};

/// One condition as written in the annotation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GateSpec {
    /// The service waited for: the value of the label `naru.io/service`.
    pub service: String,
    /// `service_started`, `service_healthy` or `service_completed_successfully`.
    pub condition: String,
    /// Whether a service that cannot pass any more holds this pod back for good.
    #[serde(default = "yes")]
    pub required: bool,
    /// Only pods of this version of the service's template count (`naru.io/template`).
    #[serde(default)]
    pub template: Option<String>,
}

fn yes() -> bool {
    true
}

/// The verdict over all conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The containers may start.
    Open,
    /// Not yet; the text names what is missing.
    Waiting(String),
    /// Never, unless the other service changes; the text says why.
    Failed(String),
}

/// Judges every condition over the pods that share the namespace. `pods_of(service)` lists that service's pods.
pub fn judge<P: AsRef<Pod>>(gates: &[GateSpec], pods_of: impl Fn(&str) -> Vec<P>) -> Gate {
    let mut verdict = Gate::Open;
    for gate in gates {
        let pods = pods_of(&gate.service);
        match one(gate, &pods) {
            Gate::Open => {}
            Gate::Waiting(text) if verdict == Gate::Open => verdict = Gate::Waiting(text),
            Gate::Waiting(_) => {}
            Gate::Failed(text) if gate.required => return Gate::Failed(text),
            Gate::Failed(_) => {}
        }
    }
    verdict
}

/// The pods that take connections and that open gates are about, as service and address: what starts now may ask for them
/// at once.
pub fn to_reach<P: AsRef<Pod>>(gates: &[GateSpec], pods_of: impl Fn(&str) -> Vec<P>) -> Vec<(String, IpAddr)> {
    let mut found = Vec::new();
    for gate in gates.iter().filter(|gate| gate.condition != "service_completed_successfully") {
        let pods = pods_of(&gate.service);
        let ready = live(gate, &pods).into_iter().filter(|pod| is_ready(pod));
        let addresses = ready.filter_map(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok());
        found.extend(addresses.map(|address| (gate.service.clone(), address)));
    }
    found
}

/// The pods of a gate's service that count.
fn live<'a, P: AsRef<Pod>>(gate: &GateSpec, pods: &'a [P]) -> Vec<&'a Pod> {
    let awaited = |pod: &Pod| {
        let version = pod.metadata.annotations.as_ref().and_then(|map| map.get(names::TEMPLATE));
        gate.template.is_none() || gate.template.as_ref() == version
    };
    let all = pods.iter().map(AsRef::as_ref);
    all.filter(|pod| pod.metadata.deletion_timestamp.is_none() && awaited(pod)).collect()
}

fn one<P: AsRef<Pod>>(gate: &GateSpec, pods: &[P]) -> Gate {
    let service = &gate.service;
    let live = live(gate, pods);
    if live.is_empty() {
        // An optional dependency that was not brought up is no dependency.
        return if gate.required {
            Gate::Waiting(format!("waiting for service {service:?} to exist"))
        } else {
            Gate::Open
        };
    }
    match gate.condition.as_str() {
        "service_completed_successfully" => completed(service, &live),
        "service_healthy" if live.iter().all(|pod| is_ready(pod)) => Gate::Open,
        "service_healthy" => {
            if let Some(code) = live.iter().find_map(|pod| failed_for_good(pod)) {
                return Gate::Failed(format!("service {service:?} ended with exit code {code} before it was healthy"));
            }
            match live.iter().find_map(|pod| unhealthy(pod)) {
                Some(said) => Gate::Failed(format!("service {service:?} is unhealthy: {said}")),
                None => Gate::Waiting(format!("waiting for service {service:?} to be healthy")),
            }
        }
        _ if live.iter().all(|pod| was_started(pod)) => Gate::Open,
        _ => Gate::Waiting(format!("waiting for service {service:?} to start")),
    }
}

fn completed(service: &str, pods: &[&Pod]) -> Gate {
    for pod in pods {
        match exit_codes(pod) {
            Some(codes) if codes.iter().all(|code| *code == 0) => {}
            Some(codes) => {
                let code = codes.into_iter().find(|code| *code != 0).unwrap_or_default();
                return Gate::Failed(format!("service {service:?} ended with exit code {code} instead of 0"));
            }
            None => return Gate::Waiting(format!("waiting for service {service:?} to complete")),
        }
    }
    Gate::Open
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &naru_api::k8s::api::core::v1::ContainerStatus> {
    pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten())
}

fn is_ready(pod: &Pod) -> bool {
    holding(pod, "Ready").is_some()
}

/// What the first failed health test of an unhealthy pod said.
fn unhealthy(pod: &Pod) -> Option<&str> {
    let message = holding(pod, names::UNHEALTHY)?.message.as_deref().unwrap_or_default();
    Some(health::tests(message).next().map_or(message, |(_, said)| said))
}

/// The condition of a type, if it holds.
fn holding<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == kind && condition.status == "True")
}

fn was_started(pod: &Pod) -> bool {
    let mut statuses = statuses(pod).peekable();
    statuses.peek().is_some()
        && statuses.all(|status| {
            let state = status.state.as_ref();
            status.restart_count > 0 || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        })
}

/// Exit codes when every application container has ended.
fn exit_codes(pod: &Pod) -> Option<Vec<i32>> {
    let wanted = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
    let codes: Option<Vec<i32>> =
        statuses(pod).map(|status| Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)).collect();
    codes.filter(|codes| !codes.is_empty() && codes.len() == wanted)
}

/// The exit code of a pod whose containers all ended and will not be started again.
fn failed_for_good(pod: &Pod) -> Option<i32> {
    let restart = pod.metadata.annotations.as_ref().and_then(|map| map.get("naru.io/restart"));
    if restart.is_some_and(|value| value != "no") {
        return None;
    }
    let codes = exit_codes(pod)?;
    let finished = restart.is_some() || pod.status.as_ref()?.phase.as_deref().is_some_and(|phase| phase == "Failed");
    finished.then(|| codes.into_iter().find(|code| *code != 0).unwrap_or(0))
}
