//! Amounts of resources. CPU counts in thousandths, everything else in units.

use std::collections::BTreeMap;

use naru_api::k8s::api::core::v1::{Container, PodSpec};
use naru_api::k8s::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use naru_api::quantity::Quantity;

/// Amounts by resource name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<String, i64>);

impl Resources {
    /// Reads a list as objects have it; what cannot be read counts as nothing (it was refused when it was written).
    pub fn read(list: Option<&BTreeMap<String, ApiQuantity>>) -> Self {
        let read = |(name, amount): (&String, &ApiQuantity)| {
            let quantity = Quantity::parse(&amount.0).ok()?;
            Some((name.clone(), if name == "cpu" { quantity.milli() } else { quantity.value() }))
        };
        Self(list.into_iter().flatten().filter_map(read).collect())
    }

    /// The amount of one resource.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_default() += amount;
        }
    }

    fn at_least(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let own = self.0.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }

    /// What a pod sets aside: its containers together, or its init containers where those need more, and its overhead
    /// (Kubernetes, "Resource Management for Pods and Containers"; sidecars run beside both).
    pub fn of_pod(spec: &PodSpec) -> Self {
        let of = |container: &Container| Self::read(container.resources.as_ref().and_then(|r| r.requests.as_ref()));
        let mut total = Self::default();
        spec.containers.iter().for_each(|container| total.add(&of(container)));
        let mut sidecars = Self::default();
        let mut peak = Self::default();
        for container in spec.init_containers.iter().flatten() {
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&of(container));
                peak.at_least(&sidecars);
            } else {
                let mut here = sidecars.clone();
                here.add(&of(container));
                peak.at_least(&here);
            }
        }
        total.add(&sidecars);
        total.at_least(&peak);
        if let Some(own) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
            // What is said of the pod as a whole stands over the sum.
            total.0.extend(Self::read(Some(own)).0);
        }
        total.add(&Self::read(spec.overhead.as_ref()));
        total.0.insert("pods".to_owned(), 1);
        total
    }
}
