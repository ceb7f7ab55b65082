//! Limits as cgroup values.

use naru_api::k8s::api::core::v1::{Container, PodSpec, ResourceRequirements};
use naru_runtime::pod::Resources;

use super::{Extras, TranslateError, qos::amount};

const PERIOD_US: u64 = 100_000;

/// One container's limits; the annotations' finer ones come on top.
pub(super) fn container(container: &Container, extras: &Extras) -> Result<Resources, TranslateError> {
    let mut resources = of(container.resources.as_ref());
    extras.apply(&mut resources)?;
    Ok(resources)
}

/// Kubernetes' arithmetic: 1024 shares a CPU, quota in periods of 100 ms of at least 1 ms.
fn of(wanted: Option<&ResourceRequirements>) -> Resources {
    let milli = |limits| amount(wanted, limits, "cpu").and_then(|cpu| u64::try_from(cpu.milli()).ok());
    let bytes = |limits| amount(wanted, limits, "memory").and_then(|memory| u64::try_from(memory.value()).ok());
    let quota = milli(true).map(|milli| (milli * PERIOD_US / 1000).max(1000));
    Resources {
        cpu_shares: milli(false).or_else(|| milli(true)).map(|milli| (milli * 1024 / 1000).clamp(2, 262_144)),
        cpu_quota_us: quota,
        cpu_period_us: quota.map(|_| PERIOD_US),
        memory_limit: bytes(true),
        ..Resources::default()
    }
}

/// Limits over the whole pod: sums, where every container has one; pod-level resources win.
pub(super) fn pod(spec: &PodSpec) -> Resources {
    if spec.resources.is_some() {
        return of(spec.resources.as_ref());
    }
    let each: Vec<Resources> = spec.containers.iter().map(|container| of(container.resources.as_ref())).collect();
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars: Vec<Resources> = sidecars
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| of(container.resources.as_ref()))
        .collect();
    let all = || each.iter().chain(&sidecars);
    let shares: u64 = all().filter_map(|resources| resources.cpu_shares).sum();
    Resources { cpu_shares: (shares > 0).then_some(shares.min(262_144)), ..Resources::default() }
}
