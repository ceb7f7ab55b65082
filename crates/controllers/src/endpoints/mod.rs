//! Where a Service leads: EndpointSlices, and the older Endpoints beside them.
//!
//! Slices are changed as little as possible: an endpoint stays in its slice, so that one pod's change is one small
//! write and not a reshuffle. A Service without a selector has Endpoints made by hand, which are mirrored to slices.

mod desired;
mod fit;
mod legacy;
mod membership;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use naru_api::naru::names;
use naru_client::{Cached, ObjectRef};
use parking_lot::Mutex;

use crate::cluster::{BY_SERVICE, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::resources::{ENDPOINTS, SLICES};
use crate::views::{EndpointSlice, Endpoints, Pod, Service};
use membership::Membership;

/// Who manages slices made from a selector.
pub(crate) const SELECTED: &str = "endpointslice-controller.k8s.io";
/// Who manages slices made from Endpoints.
const MIRRORED: &str = "endpointslicemirroring-controller.k8s.io";

/// Keeps the endpoints of Services.
pub(crate) struct ServiceEndpoints {
    cluster: Arc<Cluster>,
    members: Arc<Mutex<Membership>>,
}

impl ServiceEndpoints {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        ServiceEndpoints { cluster, members: Arc::default() }
    }
}

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
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let (own, members, pods) = (keys.clone(), self.members.clone(), self.cluster.pods.clone());
        self.cluster.services.listen(move |change| {
            let selector = change.after.as_ref().map(|service| &service.view.spec.selector);
            // Under the lock, so that a pod that comes meanwhile is either found here or told of afterwards.
            members.lock().set_service(change.key(), selector, |wanted| {
                let here = pods.list_in(&change.key().namespace);
                here.iter().filter(|pod| wanted(&pod.view.metadata.labels)).map(|pod| pod.key.clone()).collect()
            });
            own.add(change.key());
        });
        let from_endpoints = keys.clone();
        self.cluster.endpoints.listen(move |change| from_endpoints.add(change.key()));
        let from_slices = keys.clone();
        self.cluster.slices.listen(move |change| {
            for slice in change.sides().filter(|slice| manager(&slice.view).is_some()) {
                let service = slice.view.metadata.label(names::SLICE_SERVICE);
                service.iter().for_each(|name| from_slices.add(&ObjectRef::new(&slice.key.namespace, name)));
            }
        });
        let (keys, members) = (keys.clone(), self.members.clone());
        self.cluster.pods.listen(move |change| {
            let labels = |side: &'_ Option<Arc<Cached<Pod>>>| side.as_ref().map(|pod| pod.view.metadata.labels.clone());
            let (before, after) = (labels(&change.before), labels(&change.after));
            let concerned = members.lock().set_pod(change.key(), before.as_ref(), after.as_ref());
            concerned.iter().for_each(|service| keys.add(service));
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        let services = self.cluster.services.list();
        let endpoints = self.cluster.endpoints.list();
        services.iter().map(|service| service.key.clone()).chain(endpoints.iter().map(|e| e.key.clone())).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let service = self.cluster.services.get_ref(key).map(|service| service.view.clone());
        let pods = match &service {
            Some(service) if !service.spec.selector.is_empty() => {
                let members = self.members.lock().pods(key);
                let pods = members.iter().filter_map(|pod| self.cluster.pods.get_ref(pod)).map(|pod| pod.view.clone());
                // The newest state may be newer than the membership.
                pods.filter(|pod| selects(&service.spec.selector, pod)).collect()
            }
            _ => Vec::new(),
        };
        let slices =
            self.cluster.slices.by_index(BY_SERVICE, &key.to_string()).into_iter().map(|slice| slice.view.clone());
        let slices = slices.filter(|slice| manager(slice).is_some() && !slice.metadata.is_deleting()).collect();
        let endpoints = self.cluster.endpoints.get_ref(key).map(|endpoints| endpoints.view.clone());
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
