//! Where a Service leads: EndpointSlices, and the older Endpoints beside them.
//!
//! Slices are changed as little as possible: an endpoint stays in its slice, so that one pod's change is one small
//! write and not a reshuffle. A Service without a selector has Endpoints made by hand, which are mirrored to slices.

mod desired;
mod fit;
mod legacy;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use naru_api::naru::names;
use naru_client::ObjectRef;

use crate::cluster::{BY_SERVICE, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::resources::{ENDPOINTS, SLICES};
use crate::views::{EndpointSlice, Endpoints, Pod, Service};

/// Who manages slices made from a selector.
pub(crate) const SELECTED: &str = "endpointslice-controller.k8s.io";
/// Who manages slices made from Endpoints.
const MIRRORED: &str = "endpointslicemirroring-controller.k8s.io";

/// Keeps the endpoints of Services.
pub(crate) struct ServiceEndpoints(pub(crate) Arc<Cluster>);

/// One Service and where it may lead.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) service: Option<Arc<Service>>,
    /// The pods that its selector matches.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The slices that name it and that we manage.
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
    /// The Endpoints of its name.
    pub(crate) endpoints: Option<Arc<Endpoints>>,
}

impl Controller for ServiceEndpoints {
    type View = View;

    fn name(&self) -> &'static str {
        "endpointslice"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.services.listen(move |change| own.add(change.key()));
        let from_endpoints = keys.clone();
        self.0.endpoints.listen(move |change| from_endpoints.add(change.key()));
        let from_slices = keys.clone();
        self.0.slices.listen(move |change| {
            for slice in change.sides().filter(|slice| manager(&slice.view).is_some()) {
                let service = slice.view.metadata.label(names::SLICE_SERVICE);
                service.iter().for_each(|name| from_slices.add(&ObjectRef::new(&slice.key.namespace, name)));
            }
        });
        let (keys, services) = (keys.clone(), self.0.services.clone());
        self.0.pods.listen(move |change| {
            for service in services.list_in(&change.key().namespace) {
                let selector = &service.view.spec.selector;
                if change.sides().any(|pod| selects(selector, &pod.view)) {
                    keys.add(&service.key);
                }
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        let services = self.0.services.list();
        let endpoints = self.0.endpoints.list();
        services.iter().map(|service| service.key.clone()).chain(endpoints.iter().map(|e| e.key.clone())).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let service = self.0.services.get_ref(key).map(|service| service.view.clone());
        let pods = match &service {
            Some(service) if !service.spec.selector.is_empty() => {
                let all = self.0.pods.list_in(&key.namespace).into_iter().map(|pod| pod.view.clone());
                all.filter(|pod| selects(&service.spec.selector, pod)).collect()
            }
            _ => Vec::new(),
        };
        let slices = self.0.slices.by_index(BY_SERVICE, &key.to_string()).into_iter().map(|slice| slice.view.clone());
        let slices = slices.filter(|slice| manager(slice).is_some() && !slice.metadata.is_deleting()).collect();
        let endpoints = self.0.endpoints.get_ref(key).map(|endpoints| endpoints.view.clone());
        Some(View { service, pods, slices, endpoints })
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }
}

/// Whether a Service's selector matches a pod; an empty one matches none.
fn selects(selector: &std::collections::BTreeMap<String, String>, pod: &Pod) -> bool {
    !selector.is_empty() && selector.iter().all(|(name, value)| pod.metadata.label(name) == Some(value))
}

/// Which of us manages a slice, if any does.
fn manager(slice: &EndpointSlice) -> Option<&'static str> {
    match slice.metadata.label(names::SLICE_MANAGED_BY) {
        Some(SELECTED) => Some(SELECTED),
        Some(MIRRORED) => Some(MIRRORED),
        _ => None,
    }
}

fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing("up to date");
    let service = view
        .service
        .as_deref()
        .filter(|service| !service.metadata.is_deleting() && service.spec.kind != "ExternalName");
    let Some(service) = service else {
        forget(&mut plan, view);
        return plan;
    };
    let (owner, groups) = if service.spec.selector.is_empty() {
        (MIRRORED, view.endpoints.as_deref().map(desired::mirrored).unwrap_or_default())
    } else {
        legacy::write(&mut plan, service, &view.pods, view.endpoints.as_deref());
        (SELECTED, desired::selected(service, &view.pods))
    };
    fit::fit(&mut plan, service, owner, groups, &view.slices);
    if !plan.writes.is_empty() {
        plan.reason = "endpoints changed".into();
    }
    plan
}

/// Takes away what is left of a Service that is gone.
fn forget(plan: &mut Plan, view: &View) {
    for slice in &view.slices {
        plan.push(Write::delete(SLICES, crate::ownership::key(&slice.metadata), &slice.metadata.uid));
    }
    let managed = view.endpoints.iter().filter(|endpoints| legacy::is_managed(endpoints));
    for endpoints in managed.filter(|endpoints| !endpoints.metadata.is_deleting()) {
        plan.push(Write::delete(ENDPOINTS, crate::ownership::key(&endpoints.metadata), &endpoints.metadata.uid));
    }
    plan.reason = "the service is gone".into();
}
