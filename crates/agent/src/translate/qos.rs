//! Quality of service and what follows from it.

use naru_api::{
    Quantity,
    k8s::api::core::v1::{Container, PodSpec, ResourceRequirements},
};

/// How firmly a pod's resources are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has equal requests and limits of CPU and memory.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl Qos {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// A resource of a list, when it is there and not zero.
pub(super) fn amount(resources: Option<&ResourceRequirements>, limits: bool, name: &str) -> Option<Quantity> {
    let resources = resources?;
    let list = if limits { resources.limits.as_ref() } else { resources.requests.as_ref() };
    let quantity = Quantity::parse(&list?.get(name)?.0).ok()?;
    (!quantity.is_zero()).then_some(quantity)
}

/// The class of a pod, over its init and application containers.
#[must_use]
pub fn qos(spec: &PodSpec) -> Qos {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let (mut any, mut all) = (false, true);
    for container in containers() {
        for name in ["cpu", "memory"] {
            let limit = amount(container.resources.as_ref(), true, name);
            let request = amount(container.resources.as_ref(), false, name).or(limit);
            any |= limit.is_some() || request.is_some();
            all &= limit.is_some() && limit == request;
        }
    }
    match (any, all) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// The kernel's out-of-memory score of a container, as Kubernetes computes it: the less of the node's memory a burstable
/// container asked for, the sooner it is chosen.
#[must_use]
pub fn oom_score_adj(spec: &PodSpec, container: &Container, node_memory: i64) -> i32 {
    match qos(spec) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = amount(container.resources.as_ref(), false, "memory").map_or(0, |quantity| quantity.value());
            let share = request.saturating_mul(1000) / node_memory.max(1);
            i32::try_from(1000 - share).unwrap_or(3).clamp(3, 999)
        }
    }
}
